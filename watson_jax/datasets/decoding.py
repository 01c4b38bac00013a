"""Images made once, then kept in a file that is mapped into memory."""

import collections
import concurrent.futures
import contextlib
import hashlib
import importlib.util
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, TypeVar

import numpy as np

from watson_jax.files import atomic_write, cache_folder, locked

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING = 64  # bounds what is in memory at a time


def made_once(
    name: str,
    identity: Iterable[str],
    make: Callable[[pathlib.Path, BinaryIO], None],
    cache_dir: str | os.PathLike[str] | None = None,
) -> pathlib.Path:
    """Returns the folder with `images.npy`, after having it made if it is not there yet.

    Args:
      name: the first part of the folder's name.
      identity: what the images depend on; with another one they are made anew.
      make: called with that folder and a file, to write the images to the file and whatever else belongs
        to them beside it. The file takes the name `images.npy` last and thereby says that all is whole.
      cache_dir: the folder to keep the result in, by default the library's own.

    Raises:
      ImportError: if Pillow or tqdm is missing, and needed.
    """
    digest = hashlib.sha256()
    for part in identity:
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    cache = pathlib.Path(cache_dir).expanduser() if cache_dir else cache_folder()
    folder = cache / "decoded" / f"{name}-{digest.hexdigest()[:16]}"
    images = folder / "images.npy"
    if not images.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if not images.exists():  # else another process has made it meanwhile
                _check_packages()
                with atomic_write(images) as file:
                    make(folder, file)
    return folder


def check_space(folder: pathlib.Path, needed: int) -> None:
    """Raises an `OSError` if there is no space for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"`cache_dir` must have {needed / 1e9:.1f} GB free for the decoded images, got {folder} "
            f"with {free / 1e9:.1f} GB; name another folder, also by WATSON_JAX_CACHE."
        )


def write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Writes how a file of bytes starts that NumPy loads; its length does not depend on `shape[0]`."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    # Written, not mapped: on a full disk, a write is an error that can be caught.
    np.lib.format.write_array_header_1_0(file, header)


def in_parallel(
    function: Callable[[Item], Result], items: Iterable[Item], *, number: int, name: str, unit: str
) -> Iterator[Result]:
    """Yields the results in order and shows how far it is; takes items only as they are needed."""
    _check_packages()
    from tqdm import tqdm

    with (
        concurrent.futures.ThreadPoolExecutor() as pool,  # Pillow works without Python's lock
        tqdm(total=number, desc=f"Decoding {name}", unit=f" {unit}") as progress,
    ):
        waiting: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) == _WAITING:
                yield waiting.popleft().result()
                progress.update()
        for future in waiting:
            yield future.result()
            progress.update()


def _check_packages() -> None:
    if missing := [name for name in ("PIL", "tqdm") if not importlib.util.find_spec(name)]:
        raise ImportError(
            f"Decoding images needs {', '.join(missing)}; "
            "install the extra with `pip install 'watson-jax[experiments]'`."
        )


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
    """Waits until no other process decodes into this folder, and clears what a killed one has left."""
    with locked(folder / ".lock", wait=True):
        for half in folder.glob(".*.part"):
            half.unlink()
        yield
