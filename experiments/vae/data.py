"""The images a VAE trains on, as bytes: `digits` from scikit-learn and `mnist`."""

import dataclasses
import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

DATA_NAMES = ("digits", "mnist")
IDX_FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}

_IDX_BYTES_3D = 0x803  # magic number: unsigned bytes, three dimensions
_NUM_TRAIN_DIGITS = 1536  # twelve batches of 128; the other 261 are held out


@dataclasses.dataclass(frozen=True)
class Images:
    """Training and held-out images, `[number, 32, 32, 1]` bytes."""

    train: UInt8[np.ndarray, "train 32 32 1"]
    test: UInt8[np.ndarray, "test 32 32 1"]


def load_images(name: str, data_dir: str | os.PathLike[str] | None = None) -> Images:
    """Reads a data set.

    Args:
      name: "digits" (needs no files) or "mnist".
      data_dir: for "mnist": a folder of TensorFlow Datasets or one with the IDX image files;
        by default the folder TensorFlow Datasets uses.

    Raises:
      ValueError: if the name is unknown, or a file is not what it should be.
      OSError: if files are missing.
    """
    if name == "digits":
        return _load_digits()
    if name == "mnist":
        return _load_mnist(data_dir)
    raise ValueError(f"--data must be one of {', '.join(DATA_NAMES)}, got {name!r}.")


def _load_digits() -> Images:
    """Scikit-learn's 1,797 handwritten digits, 8×8 in 17 grey levels.

    They are enlarged smoothly to 28×28 and get the frame of zeros that MNIST has.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    small = load_digits().images.astype(np.float32) * (255 / 16)
    large = [
        np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.LANCZOS))
        for image in small
    ]
    # Lanczos overshoots a little at edges, hence the clip.
    images = _frame(np.clip(np.rint(np.stack(large)), 0, 255).astype(np.uint8))
    order = np.random.default_rng(0).permutation(len(images))  # the same split on every machine
    return Images(images[order[:_NUM_TRAIN_DIGITS]], images[order[_NUM_TRAIN_DIGITS:]])


def _load_mnist(data_dir: str | os.PathLike[str] | None) -> Images:
    """MNIST from whichever of the two formats the folder holds, zero-padded from 28 to 32."""
    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    folder = folder.expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"--data_dir must be a folder with MNIST, got {str(folder)!r}, which does not exist."
        )
    read = _read_tfds if (folder / "mnist").is_dir() else _read_idx_split
    return Images(*(_frame(read(folder, split)) for split in ("train", "test")))


def _frame(images: UInt8[np.ndarray, "number 28 28"]) -> UInt8[np.ndarray, "number 32 32 1"]:
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None]


def _read_tfds(folder: Path, split: str) -> UInt8[np.ndarray, "number 28 28"]:
    import tensorflow_datasets as tfds

    try:
        source = tfds.data_source("mnist", split=split, data_dir=folder, download=False)
    except (NotImplementedError, ValueError, AssertionError) as error:
        # Other file formats of TensorFlow Datasets need TensorFlow itself to be read.
        raise ValueError(
            f"--data_dir={folder} holds no MNIST that can be read at random; prepare it with "
            "`tfds build mnist --file_format=array_record`."
        ) from error
    images = np.empty((len(source), 28, 28), np.uint8)
    for index, example in enumerate(source):
        images[index] = example["image"][..., 0]
    return images


def _read_idx_split(folder: Path, split: str) -> UInt8[np.ndarray, "number 28 28"]:
    for name in (IDX_FILES[split], IDX_FILES[split] + ".gz"):
        if (folder / name).is_file():
            images = read_idx_images(folder / name)
            if images.shape[1:] != (28, 28):
                raise ValueError(f"{folder / name} must hold 28x28 images, got {images.shape[1:]}.")
            return images
    raise FileNotFoundError(
        f"--data_dir must hold TensorFlow Datasets' folder 'mnist' or the file "
        f"{IDX_FILES[split]!r} (or .gz), got {str(folder)!r}, which has neither."
    )


def read_idx_images(path: Path) -> UInt8[np.ndarray, "number height width"]:
    """Reads grey images from a file in MNIST's own format, compressed or not.

    Raises:
      ValueError: if the file is no such file, is cut short or has bytes left over.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged or cut short; fetch it again ({error}).") from error
    if len(content) < 16 or struct.unpack(">I", content[:4])[0] != _IDX_BYTES_3D:
        raise ValueError(f"{path} is no IDX file of images: it must start with 00 00 08 03.")
    shape = struct.unpack(">III", content[4:16])
    expected, got = 16 + int(np.prod(shape, dtype=np.int64)), len(content)
    if got != expected:
        raise ValueError(f"{path} must have {expected} bytes for its {shape[0]} images, got {got}.")
    return np.frombuffer(content, np.uint8, offset=16).reshape(shape)
