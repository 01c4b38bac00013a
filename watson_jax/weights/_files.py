"""Reading a file of parameters as a whole."""

import os

from watson_jax.weights._errors import MalformedError


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
