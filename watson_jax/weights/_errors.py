"""The errors that files cause: what users see, and what a reader of bytes raises."""

import contextlib
import os
from collections.abc import Iterator

from watson_jax.files import clause, plain


class CheckpointError(ValueError):
    """A file of parameters is damaged, hostile, or of another kind than expected."""


class DownloadError(OSError):
    """A published file could not be fetched; the message says how to place it by hand."""


class MalformedError(ValueError):
    """What is wrong with some bytes, as a clause of the sentence that `naming` makes of it."""


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
