"""The files are built by hand, byte for byte as `torch.save` writes them; PyTorch is not needed."""

import hashlib
import io
import os
import pathlib
import pickle
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from watson_jax.weights import CheckpointError, _torch, read_torch

END = b"."
PROTOCOL = b"\x80\x02"
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def long(value):
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def many(*values):
    return b"(" + b"".join(values) + b"t"


def storage(key, size, kind="FloatStorage"):
    kind = f"ctorch\n{kind}\n".encode()
    return many(text("storage"), kind, text(key), text("cpu"), number(size)) + b"Q"


def tensor(stored, shape, strides, offset=0):
    args = many(
        stored,
        number(offset),
        many(*map(long, shape)),
        many(*map(long, strides)),
        b"\x89",
        ORDERED_DICT,
    )
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + args + b"R"


def dictionary(items):
    return ORDERED_DICT + b"(" + b"".join(text(k) + v for k, v in items.items()) + b"u"


def state_dict(items):
    """With the `_metadata` attribute that every module's state dict has."""
    metadata = (
        b"}" + text("_metadata") + dictionary({"": b"}" + text("version") + b"K\x01s"}) + b"s"
    )
    return dictionary(items) + metadata + b"b"


def legacy(body, storages):
    """`storages` holds (number of elements, bytes) by key."""
    sizes = many(*[text("short"), number(2)]).replace(b"t", b"u")
    system = b"}(" + text("little_endian") + b"\x88" + text("type_sizes") + b"}" + sizes + b"u"
    keys = b"](" + b"".join(map(text, storages)) + b"e"
    heads = [long(0x1950A86A20F9469CFC6C), b"M\xe9\x03", system, body, keys]
    stored = [struct.pack("<q", count) + raw for count, raw in storages.values()]
    return b"".join(PROTOCOL + head + END for head in heads) + b"".join(stored)


def zipped(body, storages, *, folder="archive", extra=(), compression=zipfile.ZIP_STORED):
    members = {"data.pkl": PROTOCOL + body + END, ".format_version": b"1"}
    members |= {f"data/{key}": raw for key, (_, raw) in storages.items()}
    members |= {"version": b"3\n", ".data/serialization_id": b"0" * 40, **dict(extra)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"{folder}/{name}"), content, compression)
    return buffer.getvalue()


VALUES = np.arange(12, dtype="<f4")
STORAGES = {"70": (12, VALUES.tobytes())}
BODY = state_dict({"weight": tensor(storage("70", 12), (3, 4), (4, 1))})
containers = pytest.mark.parametrize("container", [legacy, zipped])


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return read_torch(path)

    return read


@containers
def test_reads_a_state_dict(read, container):
    arrays = read(container(BODY, STORAGES))
    assert list(arrays) == ["weight"]
    np.testing.assert_array_equal(arrays["weight"], VALUES.reshape(3, 4))
    assert arrays["weight"].dtype == np.float32
    assert not arrays["weight"].flags.writeable


@containers
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("DoubleStorage", "f8"),
        ("FloatStorage", "f4"),
        ("HalfStorage", "f2"),
        ("LongStorage", "i8"),
        ("IntStorage", "i4"),
        ("ShortStorage", "i2"),
        ("CharStorage", "i1"),
        ("ByteStorage", "u1"),
        ("BoolStorage", "bool"),
    ],
)
def test_keeps_the_type(read, container, kind, dtype):
    values = np.array([0, 1, 1, 0], dtype=np.dtype(dtype).newbyteorder("<"))
    body = state_dict({"x": tensor(storage("a", 4, kind), (4,), (1,))})
    array = read(container(body, {"a": (4, values.tobytes())}))["x"]
    np.testing.assert_array_equal(array, values)
    assert array.dtype == np.dtype(dtype)


@containers
def test_bfloat16_becomes_float32(read, container):
    values = np.array([1.0, -2.5, 3e38], np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2")
    body = state_dict({"x": tensor(storage("a", 3, "BFloat16Storage"), (3,), (1,))})
    array = read(container(body, {"a": (3, halves.tobytes())}))["x"]
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, values, rtol=2**-7)  # 8 bits of mantissa


@containers
def test_views_of_one_storage(read, container):
    whole = storage("70", 12)
    body = state_dict(
        {
            "transposed": tensor(whole, (4, 3), (1, 4)),
            "column": tensor(whole, (3,), (4,), offset=3),
            "corner": tensor(whole, (1, 1), (10**30, 7), offset=11),  # strides that are never used
            "scalar": tensor(whole, (), (), offset=5),
            "empty": tensor(whole, (0, 5), (5, 1)),
            "parameter": b"ctorch._utils\n_rebuild_parameter\n"
            + many(tensor(whole, (2,), (1,)), b"\x88", ORDERED_DICT)
            + b"R",
        }
    )
    arrays = read(container(body, STORAGES))
    matrix = VALUES.reshape(3, 4)
    np.testing.assert_array_equal(arrays["transposed"], matrix.T)
    np.testing.assert_array_equal(arrays["column"], matrix[:, 3])
    np.testing.assert_array_equal(arrays["corner"], [[11]])
    assert arrays["scalar"].shape == ()
    assert arrays["scalar"] == 5
    assert arrays["empty"].shape == (0, 5)
    np.testing.assert_array_equal(arrays["parameter"], [0, 1])


@containers
def test_nested_dictionaries_are_joined_with_dots(read, container):
    leaf = tensor(storage("70", 12), (12,), (1,))
    body = dictionary({"model": state_dict({"conv.weight": leaf}), "bias": leaf})
    assert list(read(container(body, STORAGES))) == ["model.conv.weight", "bias"]


def test_text_and_dictionaries_of_python_2(read):
    def old_text(value):
        return b"U" + bytes([len(value)]) + value.encode()

    pair = b"](" + old_text("weight") + tensor(storage("70", 12), (12,), (1,)) + b"e"
    body = b"ccollections\nOrderedDict\n]" + pair + b"a\x85R"
    np.testing.assert_array_equal(read(legacy(body, STORAGES))["weight"], VALUES)


def test_big_endian_zip(read):
    content = zipped(
        BODY, {"70": (12, VALUES.astype(">f4").tobytes())}, extra={"byteorder": b"big"}
    )
    np.testing.assert_array_equal(read(content)["weight"].ravel(), VALUES)


@pytest.mark.slow
@containers
def test_every_truncation_is_an_error(read, container):
    content = container(BODY, STORAGES)
    for length in range(len(content)):
        with pytest.raises(CheckpointError):
            read(content[:length])


@pytest.mark.slow
@containers
def test_every_changed_byte_is_read_or_refused(read, container):
    content = container(BODY, STORAGES)
    rng = random.Random(0)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= rng.randrange(1, 256)
        changed[rng.randrange(len(content))] ^= rng.choice([0, 0, 255])
        assert_read_or_refused(read, bytes(changed))


def test_damage_inside_an_intact_zip_is_read_or_refused(read):
    rng = random.Random(1)  # the archive's own checksums hide such damage from the test above
    for position in range(len(BODY)):
        changed = bytearray(BODY)
        changed[position] = rng.randrange(256)
        assert_read_or_refused(read, zipped(bytes(changed), STORAGES))


def assert_read_or_refused(read, content):
    try:
        arrays = read(content)
    except CheckpointError:
        return
    assert all(type(name) is str for name in arrays)
    assert all(type(array) is np.ndarray for array in arrays.values())
    assert all(array.size <= VALUES.size for array in arrays.values())


class Hostile:
    def __init__(self, call, *args):
        self.call = call, args

    def __reduce__(self):
        return self.call


@containers
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("call", [os.system, eval, os.mkdir])
def test_nothing_is_executed(read, container, protocol, call, tmp_path):
    mark = tmp_path / "executed"
    argument = {os.system: f"touch {mark}", eval: f"open({str(mark)!r}, 'w')"}.get(call, str(mark))
    body = pickle.dumps({"weight": Hostile(call, argument)}, protocol)[:-1]
    with pytest.raises(CheckpointError):
        read(container(body, STORAGES))
    assert not mark.exists()


WHOLE = storage("70", 12)
LEAF = tensor(WHOLE, (12,), (1,))
HOSTILE = {
    "call of a storage type": b"ctorch\nFloatStorage\n)R",
    "hidden module": b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n",
    "instance": b"(ios\nsystem\n",
    "object": b"(cos\nsystem\no",
    "new object": b"ccollections\nOrderedDict\n)\x81",
    "extension registry": b"\x82\x01",
    "attributes of a global": b"ccollections\nOrderedDict\n}b",
    "attributes of a list": b"]}b",
    "huge memo index": b"}r\xff\xff\xff\xffNNs",
    "huge text": b"X\xff\xff\xff\xff",
    "huge long": b"\x8b\xff\xff\xff\x7f",
    "huge bytes": b"\x8e" + b"\xff" * 8,
    "huge bytearray": b"\x96" + b"\xff" * 7 + b"\x00",
    "deep key": b"}" + b")" + b"\x85" * 150_000 + b"Ns",
    "deep value": b"}" + text("x") + b"]" * 90_000 + b"a" * 89_999 + b"s",
    "doubling key": b"})" + b"q\x00h\x00\x86" * 100 + b"Ns",
    "number as key": b"}K\x01" + LEAF + b"s",
    "circle": b"}q\x00" + text("x") + b"h\x00s",
    "doubling": b"}"
    + b"".join(b"q\x00}" + text("a") + b"h\x00s" + text("b") + b"h\x00s" for _ in "x" * 60),
    "long names": b"}" + text("x" * 2000) + LEAF + b"s",
    "list": b"](" + LEAF + b"e",
    "number": b"}" + text("epoch") + b"K\x01s",
    "endless pickle": b"N" * 210_000,
    "empty stack": b"s",
    "unknown memo": b"h\x07",
    "lone mark": b"t",
    "bare tensor": LEAF,
    "global as a tensor": b"}" + text("x") + b"ctorch\nFloatStorage\ns",
    "bad reference": b"K\x01Q",
    "storage inside a storage": b"}"
    + text("x")
    + tensor(
        many(
            text("storage"), b"ctorch\nFloatStorage\n", text("70"), text("cpu"), number(12), many()
        )
        + b"Q",
        (1,),
        (1,),
    )
    + b"s",
}
TENSORS = {
    "behind the end": tensor(WHOLE, (13,), (1,)),
    "offset behind the end": tensor(WHOLE, (1,), (1,), offset=12),
    "negative offset": tensor(WHOLE, (1,), (1,), offset=-1),
    "stride behind the end": tensor(WHOLE, (2,), (12,)),
    "negative stride": tensor(WHOLE, (2,), (-1,), offset=5),
    "negative size": tensor(WHOLE, (-1,), (1,)),
    "repeated elements": tensor(WHOLE, (10**9,), (0,)),
    "absurd size": tensor(WHOLE, (2**62, 2**62), (1, 1)),
    "absurd empty size": tensor(WHOLE, (0, 2**62, 2**62), (1, 1, 1)),
    "too many axes": tensor(WHOLE, (1,) * 100, (1,) * 100),
    "fewer strides than axes": tensor(WHOLE, (3, 4), (1,)),
    "missing storage": tensor(storage("71", 12), (12,), (1,)),
    "another size": tensor(storage("70", 6), (1,), (1,)),
    "absurd storage": tensor(storage("70", 2**31 - 1), (1,), (1,)),
    "storage outside the folder": tensor(storage("../data.pkl", 12), (1,), (1,)),
    "two types of one storage": LEAF + text("y") + tensor(storage("70", 12, "IntStorage"), (), ()),
}
HOSTILE |= {name: b"}(" + text("x") + body + b"u" for name, body in TENSORS.items()}


@containers
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_content_is_refused_at_no_cost(read, container, body):
    content = container(body, STORAGES)
    tracemalloc.start()
    try:
        with pytest.raises(
            CheckpointError, match=r"weights\.pth is not a readable PyTorch .*; del"
        ):
            read(content)
        assert tracemalloc.get_traced_memory()[1] < 30e6  # for 200 kB of opcodes at most
    finally:
        tracemalloc.stop()


def test_legacy_storages_must_fit(read):
    raw = VALUES.tobytes()
    for storages in [
        {"70": (11, raw)},
        {"70": (-1, raw)},
        {"70": (12, raw), "71": (0, b"")},
        {"71": (12, raw)},
        {"70": (12, raw + b"\0")},
        {},
    ]:
        with pytest.raises(CheckpointError):
            read(legacy(BODY, storages))


@containers
def test_many_views_of_one_storage_are_too_much(read, container, monkeypatch):
    views = {f"x{i}": tensor(storage("70", 12), (12,), (1,)) for i in range(5)}
    content = container(state_dict(views), STORAGES)
    monkeypatch.setattr(_torch, "MAX_ARRAYS", 5 * 12 * 4)
    assert len(read(content)) == 5
    monkeypatch.setattr(_torch, "MAX_ARRAYS", 5 * 12 * 4 - 1)
    with pytest.raises(CheckpointError, match="its tensors take more than"):
        read(content)


def encrypted(content):
    changed = bytearray(content)
    changed[6] |= 1  # the flags of the first member, and of its entry in the directory
    changed[content.index(b"PK\1\2") + 8] |= 1
    return bytes(changed)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_tricks_are_refused(read):
    bomb = {"data/bomb": b"\0" * 10**7}
    tricks = {
        "compressed": zipped(BODY, STORAGES, extra=bomb, compression=zipfile.ZIP_DEFLATED),
        "encrypted": encrypted(zipped(BODY, STORAGES)),
        "plain relative path": zipped(BODY, STORAGES, extra={"../../evil": b""}),
        "one data.pkl": zipped(BODY, STORAGES, extra={"code/data.pkl": b""}),
        "byte order": zipped(BODY, STORAGES, extra={"byteorder": b"middle"}),
        "missing or cut": zipped(BODY, {"70": (12, VALUES.tobytes()[:-1])}),
    }
    buffer = io.BytesIO(zipped(BODY, STORAGES))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("archive/data.pkl", b"N.")
    tricks["same name"] = buffer.getvalue()
    for message, content in tricks.items():
        with pytest.raises(CheckpointError, match=message):
            read(content)


def test_other_files_are_refused(read):
    for content in [
        b"",
        b"PK",
        b"PK\3\4",
        b"<html>not found</html>",
        pickle.dumps({}),
        b"\0" * 100,
    ]:
        with pytest.raises(CheckpointError):
            read(content)


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"There is no file .*missing\.pth; check the path\."
    ):
        read_torch(tmp_path / "missing.pth")
    with pytest.raises(OSError, match="Cannot read"):
        read_torch(tmp_path)


@pytest.mark.skipif("WATSON_JAX_REFERENCE" not in os.environ, reason="needs the published files")
def test_reads_the_published_files():
    folder = pathlib.Path(os.environ["WATSON_JAX_REFERENCE"], "weights")
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    for expected, name in (line.split() for line in lines):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected
        assert all(np.isfinite(array).all() for array in read_torch(folder / name).values())
    arrays = read_torch(folder / "rgb_watson_fft_trial0.pth")
    assert len(arrays) == 21
    assert arrays["w_tild"].shape == (3,)
    assert arrays["ly.t_tild"].shape == arrays["lcb.w_phase_tild"].shape == (8, 5)
    assert arrays["ly.blocksize"] == 8
