"""MNIST's own file format: big-endian sizes, then bytes."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8


def read_idx_in(folder: Path, name: str, *, what: str, dimensions: int) -> UInt8[np.ndarray, "..."]:
    """Reads the file of this name in MNIST's folder, or the one with .gz; errors: see `read_idx`.

    Raises:
      FileNotFoundError: if there is neither.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return read_idx(path, what=what, dimensions=dimensions)
    raise FileNotFoundError(
        f"--data_dir must hold TensorFlow Datasets' folder 'mnist' or the file {name!r} (or .gz), got "
        f"{str(folder)!r}, which has neither."
    )


def read_idx(path: Path, *, what: str, dimensions: int) -> UInt8[np.ndarray, "..."]:
    """Reads a file of images or labels, compressed or not.

    Args:
      path: the file; a name that ends in .gz is decompressed.
      what: what it should hold, for the error messages.
      dimensions: how many the array should have.

    Raises:
      ValueError: if the file is no such file, is cut short or has bytes left over.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged or cut short; fetch it again ({error}).") from error
    header = 4 + 4 * dimensions
    # The third byte stands for unsigned bytes, the fourth for the number of dimensions.
    if len(content) < header or content[:4] != bytes((0, 0, 8, dimensions)):
        raise ValueError(
            f"{path} is no IDX file of {what}: it must start with 00 00 08 0{dimensions}."
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected, got = header + int(np.prod(shape, dtype=np.int64)), len(content)
    if got != expected:
        raise ValueError(f"{path} must have {expected} bytes for its {shape[0]} {what}, got {got}.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
