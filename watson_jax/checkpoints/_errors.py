"""The errors that files cause: what users see, and what a reader of bytes raises."""

import contextlib
import os
from collections.abc import Iterator


class CheckpointError(ValueError):
    """A file of parameters is damaged, hostile, or of another kind than expected."""


class DownloadError(OSError):
    """A published file could not be fetched; the message says how to place it by hand."""


class MalformedError(ValueError):
    """What is wrong with some bytes, as a clause of the sentence that `naming` makes of it."""


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


@contextlib.contextmanager
def naming(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """Turns `MalformedError` into a `CheckpointError` that names `path` and the expected `kind`."""
    try:
        yield
    except MalformedError as problem:
        raise CheckpointError(
            f"{plain(os.fspath(path))} is not a readable {kind}: {clause(problem)}; "
            "delete it and download or save it again."
        ) from None
