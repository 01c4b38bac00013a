"""The part of the pickle language that PyTorch writes, read without Python's unpickler.

Even with its names restricted, Python's unpickler lets a file set attributes, hash tuples that are
nested without end, and reserve memory for sizes it merely claims. This reader has no way to do any
of that: it knows the opcodes of a state dict, its dictionary keys are strings, and the few global
names a state dict refers to stand for the inert records below. Anything else is an error.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from watson_jax.weights._errors import MalformedError

# Far above any state dict (about 50 per tensor); bounds the memory that a hostile file can take.
_MAX_OPCODES = 50_000
_MAX_DIMENSIONS = 32


class Storage(NamedTuple):
    """A reference to a flat array of numbers that lies elsewhere in the file."""

    dtype: str
    key: str
    size: int


class Tensor(NamedTuple):
    """A view into a storage; offset and strides count elements. Not yet checked against it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _StorageType(NamedTuple):
    dtype: str


class _Builder(NamedTuple):
    build: Callable[[Any], Any]


def _ordered_dict(args: Any) -> dict[str, Any]:
    match args:
        case ():
            return {}
        case (list(pairs),) if all(type(p) is list and len(p) == 2 for p in pairs):  # Python 2
            built = _dictionary([key for key, _ in pairs], [value for _, value in pairs])
            pairs.clear()  # a list that could be used again and again would cost quadratic time
            return built
    raise MalformedError("its pickle builds a dictionary from something else than pairs")


def _tensor(args: Any) -> Tensor:
    match args:
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_):
            if len(shape) == len(strides) <= _MAX_DIMENSIONS:
                numbers = (offset, *shape, *strides)
                if all(type(number) is int and number >= 0 for number in numbers):
                    return Tensor(storage, offset, shape, strides)
    raise MalformedError("its pickle builds a tensor without a storage or a valid shape")


def _parameter(args: Any) -> Tensor:
    match args:
        case (Tensor() as tensor, *_):
            return tensor
    raise MalformedError("its pickle builds a parameter from something else than a tensor")


_GLOBALS: dict[str, _Builder | _StorageType] = {
    "collections.OrderedDict": _Builder(_ordered_dict),
    "torch._utils._rebuild_tensor": _Builder(_tensor),  # before PyTorch 0.3
    "torch._utils._rebuild_tensor_v2": _Builder(_tensor),
    "torch._utils._rebuild_parameter": _Builder(_parameter),
    "torch.DoubleStorage": _StorageType("f8"),
    "torch.FloatStorage": _StorageType("f4"),
    "torch.HalfStorage": _StorageType("f2"),
    "torch.BFloat16Storage": _StorageType("bfloat16"),  # NumPy has no such type
    "torch.LongStorage": _StorageType("i8"),
    "torch.IntStorage": _StorageType("i4"),
    "torch.ShortStorage": _StorageType("i2"),
    "torch.CharStorage": _StorageType("i1"),
    "torch.ByteStorage": _StorageType("u1"),
    "torch.BoolStorage": _StorageType("bool"),
}


def read_pickle(data: bytes, start: int = 0) -> tuple[Any, int]:
    """Reads one pickled object made of plain values, dictionaries, lists, tuples and tensors.

    Args:
      data: bytes that hold the pickle.
      start: where in `data` it begins.

    Returns:
      The object, with a `Tensor` for each tensor, and the position after the pickle's end.

    Raises:
      MalformedError: for anything that a pickled state dict does not contain.
    """
    return _Machine(data, start).run()


class _Machine:
    """The stack machine of a pickle: a stack, the marks on it, and a memo of shared objects."""

    def __init__(self, data: bytes, start: int):
        self.data, self.position = data, start
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> tuple[Any, int]:
        try:
            for _ in range(_MAX_OPCODES):
                opcode = self.take(1)
                if opcode == b".":
                    return self.stack.pop(), self.position
                self.step(opcode)
        except (IndexError, KeyError, UnicodeDecodeError):  # empty stack, unknown memo, bad text
            raise MalformedError("its pickle is damaged") from None
        raise MalformedError("its pickle is too long for a state dict")

    def step(self, opcode: bytes) -> None:
        stack = self.stack
        match opcode:
            case b"\x80":  # PROTO; the same opcodes mean the same in every protocol
                self.take(1)
            case b"N":
                stack.append(None)
            case b"\x88":
                stack.append(True)
            case b"\x89":
                stack.append(False)
            case b"K":
                stack.append(self.number("<B"))
            case b"M":
                stack.append(self.number("<H"))
            case b"J":
                stack.append(self.number("<i"))
            case b"G":
                stack.append(self.number(">d"))
            case b"\x8a":  # LONG1
                stack.append(int.from_bytes(self.take(self.number("<B")), "little", signed=True))
            case b"X":  # text of Python 3
                stack.append(self.take(self.number("<I")).decode())
            case b"U":  # text of Python 2, which wrote some of the published files
                stack.append(self.take(self.number("<B")).decode("ascii"))
            case b"T":
                stack.append(self.take(self.number("<I")).decode("ascii"))
            case b"q":
                self.memo[self.number("<B")] = stack[-1]
            case b"r":
                self.memo[self.number("<I")] = stack[-1]
            case b"h":
                stack.append(self.memo[self.number("<B")])
            case b"j":
                stack.append(self.memo[self.number("<I")])
            case b"(":
                self.marks.append(len(stack))
            case b")":
                stack.append(())
            case b"\x85" | b"\x86" | b"\x87":  # tuples of one, two and three
                stack.append(tuple(self.pop(opcode[0] - 0x84)))
            case b"t":
                stack.append(tuple(self.pop_to_mark()))
            case b"]":
                stack.append([])
            case b"a":
                self.extend(self.pop(1))
            case b"e":
                self.extend(self.pop_to_mark())
            case b"}":
                stack.append({})
            case b"s":
                self.set_items(self.pop(2))
            case b"u":
                self.set_items(self.pop_to_mark())
            case b"c":
                stack.append(_find_global(self.line(), self.line()))
            case b"Q":
                stack.append(_find_storage(stack.pop()))
            case b"R":
                builder, args = self.pop(2)
                if type(builder) is not _Builder:
                    raise MalformedError("its pickle calls something that builds no tensor")
                stack.append(builder.build(args))
            case b"b":  # attributes of an object: of a state dict, `_metadata`, which nothing needs
                stack.pop()
                if type(stack[-1]) is not dict:
                    raise MalformedError("its pickle sets attributes of something else than a dict")
            case _:
                raise MalformedError(f"its pickle has the opcode {opcode!r}, which no tensor needs")

    def take(self, count: int) -> bytes:
        taken = self.data[self.position : self.position + count]
        if len(taken) < count:
            raise MalformedError("its pickle ends too early")
        self.position += count
        return taken

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + 200)
        if end < 0:
            raise MalformedError("its pickle holds a global name without end")
        return self.take(end + 1 - self.position)[:-1].decode()

    def pop(self, count: int) -> list[Any]:
        return self.pop_from(len(self.stack) - count)

    def pop_to_mark(self) -> list[Any]:
        return self.pop_from(self.marks.pop())

    def pop_from(self, start: int) -> list[Any]:
        if not 0 <= start <= len(self.stack):
            raise IndexError(start)
        popped = self.stack[start:]
        del self.stack[start:]
        return popped

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise MalformedError("its pickle appends to something else than a list")
        target.extend(values)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise MalformedError("its pickle stores items in something else than a dictionary")
        target.update(_dictionary(items[::2], items[1::2]))


def _dictionary(keys: list[Any], values: list[Any]) -> dict[str, Any]:
    if len(keys) != len(values) or not all(type(key) is str for key in keys):
        raise MalformedError("its pickle holds a dictionary whose keys are not all text")
    return dict(zip(keys, values, strict=True))


def _find_global(module: str, name: str) -> _Builder | _StorageType:
    try:
        return _GLOBALS[f"{module}.{name}"]
    except KeyError:
        raise MalformedError(f"it refers to {f'{module}.{name}'!a}, which is no tensor") from None


def _find_storage(reference: Any) -> Storage:
    match reference:
        # The last entry, in files from before 2018, places a storage inside another one.
        case ("storage", _StorageType(dtype), str(key), str(), int(size)) | (
            "storage",
            _StorageType(dtype),
            str(key),
            str(),
            int(size),
            None,
        ) if size >= 0:
            return Storage(dtype, key, size)
    raise MalformedError("its pickle refers to a storage in an unknown way")
