"""CelebA as prepared by TensorFlow Datasets, read without TensorFlow."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.vae.image_files import Contents, Decoded, Format, decode_once, describe_file

CROP = (25, 45, 153, 178)
"""The paper's crop of the aligned images, which have 178x218 pixels."""

_SPLITS = ("train", "validation", "test")


def read_celeb_a(folder: Path, image_format: Format) -> Decoded:
    """Reads all 202,599 aligned images, split after split.

    Args:
      folder: of TensorFlow Datasets, the one that holds `celeb_a`.
      image_format: what to make of each image.

    Returns:
      The images, and as names their split and place in it.

    Raises:
      FileNotFoundError: if CelebA has not been prepared there.
      ValueError: if it cannot be read at random, or its images are damaged.
    """
    missing = FileNotFoundError(
        f"--data_dir must hold TensorFlow Datasets' folder 'celeb_a', got {str(folder)!r}, which does "
        "not; prepare it with `tfds build celeb_a --file_format=array_record`, or read the archive of "
        f"aligned images as --data=folder with the crop {','.join(map(str, CROP))}."
    )
    if not (folder / "celeb_a").is_dir():
        raise missing
    import tensorflow_datasets as tfds

    builder = tfds.builder("celeb_a", data_dir=folder)
    if not builder.is_prepared():
        raise missing
    prepared = Path(builder.data_dir).resolve()
    identity = [str(prepared), *map(describe_file, sorted(prepared.iterdir()))]

    @contextlib.contextmanager
    def open_contents() -> Iterator[Contents]:
        decoders = {"image": tfds.decode.SkipDecoding()}
        try:
            sources = [builder.as_data_source(split=s, decoders=decoders) for s in _SPLITS]
        except NotImplementedError as error:
            raise ValueError(
                f"--data_dir must hold CelebA in a format to be read at random, got "
                f"{builder.info.file_format.value} in {str(prepared)!r}; prepare it anew with "
                "`tfds build celeb_a --file_format=array_record`."
            ) from error
        yield (
            sum(map(len, sources)),
            (
                (f"{split}/{index}", functools.partial(_read_image, source, index))
                for split, source in zip(_SPLITS, sources, strict=True)
                for index in range(len(source))
            ),
        )

    return decode_once("celeb_a", prepared, identity, image_format, open_contents)


def _read_image(source: Sequence[Any], index: int) -> bytes:
    return source[index]["image"]
