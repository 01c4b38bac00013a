"""Records of images and a judgement, decoded and shrunk once."""

import io
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, UInt8

from watson_jax.datasets._bad_files import bad_files_error
from watson_jax.datasets.decoding import check_space, in_parallel, made_once, write_header
from watson_jax.files import atomic_write

SIDE = 64

# Gives a record's encoded images, by the names to blame if they are damaged, and its judgement.
Reader = Callable[[int], tuple[Mapping[str, pathlib.Path | io.BytesIO], float]]


def load_decoded(
    name: str,
    folder: pathlib.Path,
    identity: Iterable[str],
    shape: tuple[int, int],
    open_reader: Callable[[], Reader],
    cache_dir: str | os.PathLike[str] | None,
) -> tuple[UInt8[np.ndarray, "records images 64 64 3"], Float[np.ndarray, " records"]]:
    """Returns the images, 64×64, and the judgements, from the cache if they have been decoded before.

    Args:
      name: of the data set.
      folder: where it lies.
      identity: what it consists of; if this or the folder changes, everything is decoded anew.
      shape: how many records, and how many images each has.
      open_reader: called only if there is nothing in the cache.
      cache_dir: the folder to keep the result in, by default the library's own.

    Raises:
      ImportError: if Pillow or tqdm is missing.
      ValueError: if images are damaged or not square; it names the first and how many more.
      OSError: if the disk is too small.
    """

    def make(cached: pathlib.Path, file: BinaryIO) -> None:
        check_space(cached, shape[0] * shape[1] * SIDE * SIDE * 3)
        shares = _decode_all(name, folder, shape, open_reader(), file)
        with atomic_write(cached / "shares.npy") as shares_file:
            np.save(shares_file, shares)

    cached = made_once(name, itertools.chain([str(folder)], identity), make, cache_dir)
    return np.load(cached / "images.npy", mmap_mode="r"), np.load(cached / "shares.npy")


def _decode_all(
    name: str, folder: pathlib.Path, shape: tuple[int, int], read: Reader, file: BinaryIO
) -> Float[np.ndarray, " records"]:
    def read_and_decode(index: int) -> tuple[bytes, float, list[str]]:
        contents, share = read(index)
        pixels, problems = [], []
        for label, content in contents.items():
            try:
                pixels.append(_decode(content))
            except Exception as error:  # which one depends on where a file is damaged
                reason = str(error) if isinstance(error, _NotSquareError) else "no readable image"
                problems.append(f"{label} ({reason})")
        return b"".join(pixels), share, problems

    number = shape[0]
    write_header(file, (*shape, SIDE, SIDE, 3))
    shares = np.empty(number, np.float32)
    bad: list[str] = []
    records = in_parallel(
        read_and_decode, range(number), number=number, name=f"{name}, once", unit="records"
    )
    for index, (pixels, share, problems) in enumerate(records):
        bad += problems
        shares[index] = share
        file.write(pixels)
    if bad:
        raise bad_files_error(folder, bad)
    return shares


class _NotSquareError(Exception):
    """Shrinking the image to a square would distort it."""


def _decode(content: pathlib.Path | io.BytesIO) -> bytes:
    from PIL import Image

    with Image.open(content) as image:
        if image.width != image.height:
            raise _NotSquareError(f"{image.width}x{image.height} is not square")
        # This filter is part of the protocol: scores change with it.
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return small.tobytes()
