"""One error for many files."""

import os
from collections.abc import Sequence

from watson_jax.checkpoints._errors import plain

_FEW = 3


def first_few(files: Sequence[str]) -> str:
    """Names the first of the files and says how many more there are."""
    more = f" and {len(files) - _FEW} more" if len(files) > _FEW else ""
    return ", ".join(map(plain, files[:_FEW])) + more


def bad_files_error(folder: str | os.PathLike[str], files: Sequence[str]) -> ValueError:
    """Makes the error for files, each with its reason, that cannot be used."""
    return ValueError(
        f"{os.fspath(folder)} must hold sound files, got {first_few(files)}; "
        "replace them by unpacking their archive again."
    )
