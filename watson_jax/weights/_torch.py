"""State dicts that PyTorch saved, read as NumPy arrays without PyTorch and without risk."""

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from watson_jax.weights._errors import MalformedError, naming
from watson_jax.weights._files import read_file
from watson_jax.weights._limits import MAX_ARRAYS, MAX_DEPTH, MAX_FILE
from watson_jax.weights._pickle import Storage, Tensor, read_pickle
from watson_jax.weights._zip import read_members

_LEGACY_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MAX_NAME = 200  # a long name that many tensors begin with would multiply a small file

Storages = dict[str, tuple[Storage, np.ndarray]]


def read_torch(
    path: str | os.PathLike[str], *, without: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """Reads a state dict written by `torch.save`, in the zip or in the older pickle-stream format.

    Only tensors are admitted. The file is never unpickled by Python, so that nothing in it can run,
    and nothing is allocated for a size that the file merely claims.

    Args:
      path: the `.pth` or `.pt` file.
      without: beginnings of names to leave out, such as the classifier of a network whose features
        alone are needed; their data, which can be most of the file, is not kept.

    Returns:
      The tensors by name, in the file's order; names inside nested dictionaries are joined with a
      dot. The arrays are read-only, and share memory where the tensors did. bfloat16, which NumPy
      does not have, becomes float32; every other type stays what it is.

    Raises:
      FileNotFoundError: if there is no such file.
      CheckpointError: if the file is damaged, holds anything but tensors, or is larger than `_limits`
        allows.
    """
    with naming(path, "PyTorch state dict"):
        data = read_file(path, MAX_FILE)
        read = _read_zip if data.startswith(b"PK") else _read_legacy
        tensors, storages = read(data, without)
        return {name: _strided(tensor, storages) for name, tensor in tensors.items()}


def _read_zip(data: bytes, without: tuple[str, ...]) -> tuple[dict[str, Tensor], Storages]:
    members = read_members(data, lambda name: name.endswith(("/data.pkl", "/byteorder")))
    folders = [name.removesuffix("/data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise MalformedError("its zip archive does not hold one data.pkl")
    folder = folders[0]
    root, _ = read_pickle(members[f"{folder}/data.pkl"])
    tensors = _without(_flatten(root), without)
    needed = {f"{folder}/data/{tensor.storage.key}" for tensor in tensors.values()}
    members |= read_members(data, lambda name: name in needed)
    order = {b"little": "<", b"big": ">"}.get(members.get(f"{folder}/byteorder", b"little"))
    if order is None:
        raise MalformedError("its byte order is neither little nor big")
    storages: Storages = {}
    for tensor in tensors.values():
        storage = tensor.storage
        if storage.key not in storages:
            content = members.pop(f"{folder}/data/{storage.key}", None)
            if content is None or len(content) != storage.size * _itemsize(storage):
                raise MalformedError(f"the data of storage {storage.key[:20]!a} is missing or cut")
            storages[storage.key] = storage, _decode(storage, content, 0, order)
    return tensors, storages


def _read_legacy(data: bytes, without: tuple[str, ...]) -> tuple[dict[str, Tensor], Storages]:
    """Reads five pickles: magic number, protocol, the writer's system, the object, storage keys.

    The storages follow in the order of their keys, each as a count of elements and the elements,
    little-endian whatever the writer's system was.
    """
    magic, position = read_pickle(data)
    if magic != _LEGACY_MAGIC_NUMBER:
        raise MalformedError("it does not begin like a file of torch.save")
    protocol, position = read_pickle(data, position)
    if protocol != _LEGACY_PROTOCOL:
        raise MalformedError("it has an unknown protocol version")
    _, position = read_pickle(data, position)
    root, position = read_pickle(data, position)
    keys, position = read_pickle(data, position)
    every = _flatten(root)
    used = {tensor.storage.key: tensor.storage for tensor in every.values()}
    tensors = _without(every, without)
    needed = {tensor.storage.key for tensor in tensors.values()}
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise MalformedError("its list of storages is damaged")
    storages: Storages = {}
    for key in keys:
        storage = used.pop(key, None)
        if storage is None:
            raise MalformedError("its list of storages does not fit its tensors")
        count = int.from_bytes(data[position : position + 8], "little")
        size = storage.size * _itemsize(storage)
        position += 8
        if count != storage.size or size > len(data) - position:
            raise MalformedError(f"the data of storage {key[:20]!a} is missing or cut")
        if key in needed:
            storages[key] = storage, _decode(storage, data, position, "<")
        position += size
    if position != len(data):
        raise MalformedError("it goes on after its last storage")
    return tensors, storages


def _without(tensors: dict[str, Tensor], without: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors that are asked for, if they are not too large to be read."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(without)}
    stored = sum(_width(storage) * storage.size for storage in {x.storage for x in kept.values()})
    # Views of one storage become arrays of their own where they are used.
    viewed = sum(_width(x.storage) * math.prod(x.shape) for x in kept.values())
    if max(stored, viewed) > MAX_ARRAYS:
        raise MalformedError(f"its tensors take more than {MAX_ARRAYS / 1e6:.0f} MB")
    return kept


def _flatten(root: Any) -> dict[str, Tensor]:
    if type(root) is not dict:
        raise MalformedError("it does not hold a dictionary of tensors")
    tensors: dict[str, Tensor] = {}
    for name, tensor in _leaves(root, "", {id(root)}, MAX_DEPTH):
        if name in tensors:
            raise MalformedError(f"it names {name[:80]!a} twice")
        tensors[name] = tensor
    return tensors


def _leaves(tree: dict, prefix: str, seen: set[int], levels: int) -> Iterator[tuple[str, Tensor]]:
    for key, value in tree.items():
        name = prefix + key
        if len(name) > _MAX_NAME:
            raise MalformedError("it holds an absurdly long name")
        if type(value) is Tensor:
            yield name, value
        elif type(value) is dict:
            # One that is met twice may hold itself, or others that double at every level.
            if id(value) in seen or not levels:
                raise MalformedError("its dictionaries are nested too deeply or in a circle")
            seen.add(id(value))
            yield from _leaves(value, f"{name}.", seen, levels - 1)
        else:
            raise MalformedError(f"{name[:80]!a} is not a tensor (save only the state_dict())")


def _itemsize(storage: Storage) -> int:
    return 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize


def _width(storage: Storage) -> int:
    """Bytes of an element in memory; parameters become float32."""
    return max(4, _itemsize(storage))


def _decode(storage: Storage, data: bytes, position: int, order: str) -> np.ndarray:
    """Copies a storage out of `data`, where it may lie unaligned, into the machine's byte order."""
    match storage.dtype:
        case "bfloat16":  # the upper half of a float32
            halves = np.frombuffer(data, f"{order}u2", storage.size, position)
            flat = (halves.astype(np.uint32) << 16).view(np.float32)
        case "bool":  # bytes other than 0 and 1 are no valid NumPy booleans
            flat = np.frombuffer(data, np.uint8, storage.size, position) != 0
        case dtype:
            flat = np.frombuffer(data, order + dtype, storage.size, position).astype(dtype)
    flat.setflags(write=False)
    return flat


def _strided(tensor: Tensor, storages: Storages) -> np.ndarray:
    storage, flat = storages.get(tensor.storage.key, (None, None))
    if flat is None or storage != tensor.storage:
        raise MalformedError("its tensors disagree about a storage")
    shape, strides = tensor.shape, tensor.strides
    if 0 in shape:
        if math.prod(size or 1 for size in shape) >= 2**31:
            raise MalformedError("a tensor has an absurd shape")
        return flat[:0].reshape(shape)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    # The second check refuses tensors that repeat their elements, and could grow without end.
    if last >= flat.size or math.prod(shape) > flat.size:
        raise MalformedError("a tensor reaches outside its storage or repeats its elements")
    bytes_apart = [  # the stride along an axis of one is never used, and may be any number
        stride * flat.itemsize if n > 1 else 0 for n, stride in zip(shape, strides, strict=True)
    ]
    return np.lib.stride_tricks.as_strided(
        flat[tensor.offset :], shape, bytes_apart, writeable=False
    )
