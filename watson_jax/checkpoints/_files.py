"""Whole files in, whole files out: an interrupted write never leaves half a file behind."""

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator
from typing import BinaryIO

from watson_jax.checkpoints._errors import MalformedError


def read_file(path: str | os.PathLike[str], most: int) -> bytes:
    """Returns the bytes of `path`; an `OSError` keeps its type and names the path in a sentence.

    Raises:
      MalformedError: if they are more than `most`, before they are read.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise MalformedError(f"it has {size / 1e6:.0f} MB, more than {most / 1e6:.0f} MB")
            return file.read(size)  # not what is written to it meanwhile
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {os.fspath(path)}; check the path.") from None
    except OSError as error:
        raise type(error)(f"Cannot read {os.fspath(path)}: {error.strerror}.") from None


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
