"""One error for many files."""

import os
from collections.abc import Sequence

from watson_jax.files import first_few


def bad_files_error(folder: str | os.PathLike[str], files: Sequence[str]) -> ValueError:
    """Makes the error for files, each with its reason, that cannot be used."""
    return ValueError(
        f"{os.fspath(folder)} must hold sound files, got {first_few(files)}; "
        "replace them by unpacking their archive again."
    )
