import contextlib
import errno
import os
import random
import zipfile

import numpy as np
import pytest

from watson_jax.weights import CheckpointError, _npz, read_npz, read_torch, write_npz

ARRAYS = {
    "encoder/conv/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "file": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "scalar": np.int32(3),
    "empty": np.zeros((0, 4), bool),
    "config": np.array('{"loss": "watson-dft"}'),
}


def test_round_trip(tmp_path):
    path = tmp_path / "no_suffix"
    write_npz(path, ARRAYS)
    assert os.listdir(tmp_path) == ["no_suffix"]
    arrays = read_npz(path)
    assert set(arrays) == set(ARRAYS)
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], expected)
        assert arrays[name].dtype == np.asarray(expected).dtype
        assert arrays[name].shape == np.shape(expected)


def test_numpy_reads_what_is_written_and_the_other_way_round(tmp_path):
    write_npz(tmp_path / "ours.npz", ARRAYS)
    with np.load(tmp_path / "ours.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == sorted(ARRAYS)
        np.testing.assert_array_equal(arrays["file"], ARRAYS["file"])
    np.savez(tmp_path / "theirs.npz", a=ARRAYS["scalar"], b=ARRAYS["file"])
    arrays = read_npz(tmp_path / "theirs.npz")
    np.testing.assert_array_equal(arrays["b"], ARRAYS["file"])
    assert arrays["a"] == 3


def test_equal_arrays_give_equal_bytes(tmp_path):
    write_npz(tmp_path / "a", ARRAYS)
    write_npz(tmp_path / "b", dict(reversed(ARRAYS.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_damage_is_an_error(tmp_path):
    path = tmp_path / "weights.npz"
    write_npz(path, {"a": np.arange(3.0)})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"weights\.npz is not a readable"):
            read_npz(path)
    rng = random.Random(0)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= rng.randrange(1, 256)
        path.write_bytes(changed)
        with contextlib.suppress(CheckpointError):
            assert all(type(array) is np.ndarray for array in read_npz(path).values())


def npy(header, data=b""):
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "member",
    [
        b"",
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (10**15,)}\n"),
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,)}\n"),
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, %d, %d)}\n" % (2**62, 2**62)),
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}\n", b"\0" * 8),
        npy(b"{'descr': '<U0', 'fortran_order': False, 'shape': (5,)}\n"),
        npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n", b"\0" * 8),
        npy(b"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}\n", b"\0" * 8),
        npy(b"-" * 9000 + b"1"),
        npy(b"(" * 9000),
        npy(b"__import__('os').system('exit')\n"),
    ],
)
def test_hostile_arrays_are_refused(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
        archive.writestr("a.npy", member)
    with pytest.raises(CheckpointError):
        read_npz(tmp_path / "weights.npz")


def test_pickled_objects_and_compressed_files_are_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    np.savez_compressed(tmp_path / "compressed.npz", a=np.zeros(10**6))
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("readme.txt", "")
    for name, message in [
        ("objects", "numbers"),
        ("compressed", "compressed"),
        ("other", "no array"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            read_npz(tmp_path / f"{name}.npz")


def test_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    with path.open("wb") as file:
        file.truncate(3_000_000_000)  # a hole, which takes no space
    for read in (read_npz, read_torch):
        with pytest.raises(CheckpointError, match=r"it has 3000 MB, more than \d+ MB; delete it"):
            read(path)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(4097):
            archive.writestr(f"{number}.npy", b"")
    for read in (read_npz, read_torch):
        with pytest.raises(CheckpointError, match="holds more than 4096 members"):
            read(path)
    write_npz(path, {"a": np.zeros(100)})
    monkeypatch.setattr(_npz, "MAX_ARRAYS", 800)
    with pytest.raises(CheckpointError, match="more than 0 MB"):
        read_npz(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*missing\.npz"):
        read_npz(tmp_path / "missing.npz")


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    write_npz(path, {"a": np.zeros(3)})
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(
        OSError, match=r"Cannot write .*weights\.npz: No space left on device; choose"
    ):
        write_npz(path, {"a": np.ones(3)})
    assert os.listdir(tmp_path) == ["weights.npz"]
    assert path.read_bytes() == before


def test_paths_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for path in [tmp_path / "missing" / "a.npz", tmp_path / "file" / "a.npz", tmp_path]:
        with pytest.raises(OSError, match=f"Cannot write {path}: .*; choose") as info:
            write_npz(path, {"a": np.ones(3)})
        assert info.value.__suppress_context__
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["", "/a", "../a", "a//b", "a\\b"])
def test_odd_names_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="`arrays` cannot be saved"):
        write_npz(tmp_path / "a.npz", {name: np.zeros(1)})


@pytest.mark.parametrize("value", [np.array([None]), np.zeros(2, "V2")])
def test_odd_types_are_refused(tmp_path, value):
    with pytest.raises(TypeError, match="must hold numbers or text"):
        write_npz(tmp_path / "a.npz", {"a": value})
    assert os.listdir(tmp_path) == []
