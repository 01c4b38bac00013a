"""Flat dictionaries of arrays in `.npz` files, which NumPy alone can read."""

import io
import math
import os
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from watson_jax.files import atomic_write, plain
from watson_jax.weights._errors import MalformedError, naming
from watson_jax.weights._files import read_file
from watson_jax.weights._limits import MAX_ARRAYS
from watson_jax.weights._zip import check_member_name, read_members

_SUFFIX = ".npy"
_KINDS = "biufcUS"  # what means the same without NumPy's extension types or a pickle


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the arrays of an uncompressed `.npz` file; pickled objects are refused.

    Args:
      path: a file written by `write_npz` or `numpy.savez`.

    Returns:
      The arrays by name.

    Raises:
      FileNotFoundError: if there is no such file.
      CheckpointError: if the file is damaged, is no such file, or is larger than `_limits` allows.
    """
    with naming(path, "uncompressed .npz file"):
        data = read_file(path, MAX_ARRAYS)
        arrays = {}
        for name, content in read_members(data).items():
            if not name.endswith(_SUFFIX):
                raise MalformedError(f"it holds {name[:80]!a}, which is no array")
            arrays[name.removesuffix(_SUFFIX)] = _read_array(content)
        return arrays


def is_npz(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins with an array in a zip archive, as `.npz` files do and PyTorch's do not."""
    try:
        with open(path, "rb") as file:
            head = file.read(30)  # of the first member: 26 bytes, two lengths, and then its name
            name = file.read(int.from_bytes(head[26:28], "little"))
    except OSError:  # which reading it will say in a sentence
        return False
    return head.startswith(b"PK\3\4") and name.endswith(_SUFFIX.encode())


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, ArrayLike]) -> None:
    """Writes `arrays` to exactly `path`; equal arrays give equal bytes.

    The file appears as a whole or not at all: an existing one stays as it was until the new one is
    complete.

    Args:
      path: the file to write, whatever its suffix.
      arrays: numbers or text by name; a name may hold slashes, as in `"encoder/conv/kernel"`.

    Raises:
      ValueError: if a name is not a plain relative path.
      TypeError: if an array holds objects, or a type that NumPy cannot describe, such as bfloat16.
      OSError: if the folder does not exist, cannot be written to or is full.
    """
    members = {f"{name}{_SUFFIX}": _array_bytes(name, arrays[name]) for name in sorted(arrays)}
    try:
        with atomic_write(pathlib.Path(path)) as file, zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name), content)  # dated 1980, not today
    except OSError as error:
        raise type(error)(
            f"Cannot write {plain(os.fspath(path))}: {error.strerror}; "
            "choose a folder that exists, is writable and has space."
        ) from None


def _array_bytes(name: str, value: ArrayLike) -> bytes:
    try:
        check_member_name(name)
    except MalformedError as problem:
        raise ValueError(f"`arrays` cannot be saved: {problem}.") from None
    array = np.asarray(value, order="C")
    if array.dtype.kind not in _KINDS:
        raise TypeError(
            f"`arrays[{name!r}]` must hold numbers or text that NumPy knows, got {array.dtype}; "
            "convert it, for example to float32."
        )
    content = io.BytesIO()
    np.lib.format.write_array(content, array, allow_pickle=False)
    return content.getvalue()


def _read_array(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise MalformedError("an array has an unknown header")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        size, start = math.prod(shape), stream.tell()
        if dtype.kind not in _KINDS:
            raise MalformedError("an array holds something else than numbers or text")
        # Checked before anything is allocated for a shape that the header merely claims.
        if size * dtype.itemsize != len(content) - start:
            raise MalformedError("the header of an array does not fit its data")
        flat = np.frombuffer(content, dtype, size, start)
        return flat.reshape(shape, order="F" if is_fortran else "C").copy()
    except MalformedError:
        raise
    except Exception:  # NumPy parses the header as Python text, which fails in many ways
        raise MalformedError("the header of an array is damaged") from None
