"""Images decoded and shrunk once, then kept in a file that is mapped into memory."""

import concurrent.futures
import contextlib
import hashlib
import importlib.util
import io
import itertools
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, UInt8

from watson_jax.checkpoints._fetch import cache_folder
from watson_jax.checkpoints._files import atomic_write
from watson_jax.datasets._bad_files import bad_files_error

SIDE = 64

_RECORDS_AT_ONCE = 256  # bounds what waits in memory for the disk

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
    digest = hashlib.sha256()
    for part in itertools.chain([str(folder)], identity):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    cache = pathlib.Path(cache_dir).expanduser() if cache_dir else cache_folder()
    cached = cache / "decoded" / f"{name}-{digest.hexdigest()[:16]}"
    images_path, shares_path = cached / "images.npy", cached / "shares.npy"
    if not images_path.exists():
        cached.mkdir(parents=True, exist_ok=True)
        with _alone(cached):
            if not images_path.exists():  # else another process has made it meanwhile
                _check_packages()
                _check_space(cached, shape)
                read = open_reader()
                # The images take their name last and thereby say that both files are whole.
                with atomic_write(images_path) as file:
                    shares = _decode_all(name, folder, shape, read, file)
                    with atomic_write(shares_path) as shares_file:
                        np.save(shares_file, shares)
    return np.load(images_path, mmap_mode="r"), np.load(shares_path)


def _decode_all(
    name: str, folder: pathlib.Path, shape: tuple[int, int], read: Reader, file: BinaryIO
) -> Float[np.ndarray, " records"]:
    from tqdm import tqdm

    number = shape[0]
    header = {"descr": "|u1", "fortran_order": False, "shape": (*shape, SIDE, SIDE, 3)}
    # Written, not mapped: on a full disk, a write is an error that can be caught.
    np.lib.format.write_array_header_1_0(file, header)
    shares = np.empty(number, np.float32)
    bad: list[str] = []

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

    with (
        concurrent.futures.ThreadPoolExecutor() as pool,  # Pillow works without Python's lock
        tqdm(total=number, desc=f"Decoding {name}, once", unit=" records") as progress,
    ):
        for start in range(0, number, _RECORDS_AT_ONCE):
            indices = range(start, min(start + _RECORDS_AT_ONCE, number))
            for index, (pixels, share, problems) in zip(
                indices, pool.map(read_and_decode, indices), strict=True
            ):
                bad += problems
                shares[index] = share
                file.write(pixels)
                progress.update()
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


def _check_packages() -> None:
    if missing := [name for name in ("PIL", "tqdm") if not importlib.util.find_spec(name)]:
        raise ImportError(
            f"Decoding images needs {', '.join(missing)}; "
            "install the extra with `pip install 'watson-jax[experiments]'`."
        )


def _check_space(cached: pathlib.Path, shape: tuple[int, int]) -> None:
    needed = shape[0] * shape[1] * SIDE * SIDE * 3
    free = shutil.disk_usage(cached).free
    if free < needed:
        raise OSError(
            f"`cache_dir` must have {needed / 1e9:.1f} GB free for the decoded images, got {cached} "
            f"with {free / 1e9:.1f} GB; name another folder, also by WATSON_JAX_CACHE."
        )


@contextlib.contextmanager
def _alone(cached: pathlib.Path) -> Iterator[None]:
    """Waits until no other process decodes into this folder, and clears what a killed one has left."""
    with open(cached / ".lock", "wb") as file:
        with contextlib.suppress(ImportError):
            import fcntl  # not on Windows, where the files of a running process cannot be removed

            fcntl.flock(file, fcntl.LOCK_EX)  # let go by the system if this process is killed
        for half in cached.glob(".*.part"):
            half.unlink()
        yield
