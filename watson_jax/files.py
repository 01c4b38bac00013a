"""Files, for every part of this project: written whole or not at all, and named in errors."""

import contextlib
import os
import pathlib
import secrets
import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import BinaryIO

_FEW = 3


@contextlib.contextmanager
def atomic_write(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a new file beside `path` that takes its place only if the block ends without error."""
    # Opened by name rather than with `tempfile`, whose files no other user may read.
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a crash can keep the new name and lose the bytes
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@contextlib.contextmanager
def locked(path: pathlib.Path, *, wait: bool) -> Iterator[None]:
    """Holds the lock that is a file; the system lets go of it if this process is killed.

    Args:
      path: the file, which is made if need be and stays.
      wait: whether to wait while another process holds it.

    Raises:
      BlockingIOError: if another one holds it and this one is not to wait.
    """
    with open(path, "wb") as file:
        try:
            import fcntl  # not on Windows

            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except (ImportError, OSError):  # nor does every file system know locks
            pass
        yield


def cache_folder() -> pathlib.Path:
    """The folder for downloads and decoded images: `WATSON_JAX_CACHE`, else the user's cache."""
    if folder := os.environ.get("WATSON_JAX_CACHE"):
        return pathlib.Path(folder).expanduser()
    return pathlib.Path(import_pooch().os_cache("watson_jax"))


def import_pooch() -> ModuleType:
    """The module; only on use, because importing it takes longer than the rest of this library."""
    with warnings.catch_warnings():
        # In a notebook, tqdm asks for ipywidgets, which nothing here needs.
        warnings.filterwarnings("ignore", "IProgress not found")
        import pooch
    return pooch


def plain(text: object, most: int = 300) -> str:
    """Text from a file for a sentence: no control characters, which terminals obey, and not endless.

    Long text loses its middle, since errors name the file first and the reason last.
    """
    shown = str(text)
    if len(shown) > most:
        shown = f"{shown[: most // 2]}…{shown[-(most // 2) :]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def clause(error: Exception) -> str:
    """What an error says, as part of a sentence: its first line, without a full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return plain(lines[0]).rstrip(" .")


def sentence(error: Exception) -> str:
    """The text of an error; the system's own have none that is a sentence."""
    if isinstance(error, OSError) and error.strerror:
        return f"{plain(error.filename or 'The file system')}: {clause(OSError(error.strerror))}."
    return str(error)


def first_few(files: Sequence[str]) -> str:
    """Names the first of the files and says how many more there are."""
    more = f" and {len(files) - _FEW} more" if len(files) > _FEW else ""
    return ", ".join(map(plain, files[:_FEW])) + more
