"""The data set `photos-2afc`: its photographs, triplets, splits and file."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from watson_jax.datasets import load_photos_2afc, photographs, photos_2afc
from watson_jax.datasets._opinions import Opinion, preference, read_opinions
from watson_jax.datasets.photos_2afc import (
    COLOR_TYPES,
    COLORS,
    HELD_OUT_SCENES,
    HELD_OUT_TYPES,
    SPLITS,
)

NUMBER = 4
IMAGES = ("reference", "first", "second")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An own cache, and few triplets."""
    monkeypatch.setattr(photos_2afc, "_NUM_RECORDS", dict.fromkeys(SPLITS, NUMBER))
    monkeypatch.setenv("WATSON_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def quick(monkeypatch):
    """Triplets with two distortions that take no time."""
    versions = list(read_opinions())
    pair = [versions.index(("white noise", 3)), versions.index(("JPEG", 2))]
    monkeypatch.setattr(photos_2afc, "_pairs", lambda split, color: np.array([pair]))


def assert_equal(data, other):
    for name in (*IMAGES, "preference"):
        np.testing.assert_array_equal(getattr(data, name), getattr(other, name))
    np.testing.assert_equal(dict(data.categories), dict(other.categories))


def allowed(split, color):
    """The pairs of versions that a triplet may show."""
    versions = list(read_opinions())
    return [(versions[i], versions[j]) for i, j in photos_2afc._pairs(split, color)]


def test_photographs():
    photos = photographs()
    assert set(photos) == {
        "astronaut", "chelsea", "china", "coffee", "flower", "motorcycle", "rocket",
    }  # fmt: skip
    for scene, photo in photos.items():
        assert photo.shape == ((300, 400, 3) if scene == "chelsea" else (384, 512, 3))
        assert photo.dtype == np.uint8
        assert photo.std() > 20
    assert set(HELD_OUT_SCENES) < set(photos)


def test_missing_packages_are_named(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sklearn" else find_spec(name)
    )
    with pytest.raises(ImportError, match=r"need sklearn; install .*'watson-jax\[experiments\]'"):
        photographs()


def test_a_photograph_that_is_not_shipped_is_named(monkeypatch):
    monkeypatch.setitem(photos_2afc.photographs.__globals__["_FILES"], "chelsea", ("PIL", "x.png"))
    with pytest.raises(FileNotFoundError, match=r"no photograph .*x\.png; .* version of PIL"):
        photographs()


def test_import_needs_none_of_the_extra():
    code = (
        "import sys, watson_jax.datasets;"
        "print({'skimage', 'sklearn', 'PIL', 'tqdm'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (Opinion(3.0, 0.5, 30), Opinion(3.0, 0.9, 30), 0.5),
        (Opinion(2.0, 0.6, 30), Opinion(3.0, 0.8, 30), 0.841345),  # Φ(1)
        (Opinion(3.0, 0.8, 30), Opinion(2.0, 0.6, 30), 0.158655),
        (Opinion(1.0, 0.3, 30), Opinion(2.0, 0.4, 30), 0.977250),  # Φ(2)
    ],
)
def test_preference_by_hand(first, second, expected):
    assert preference(first, second) == pytest.approx(expected, abs=1e-6)


def test_records_show_what_they_say(cache, monkeypatch):
    versions = list(read_opinions())
    noise, blur = ("white noise", 3), ("lens blur", 2)
    pair = np.array([[versions.index(noise), versions.index(blur)]])
    monkeypatch.setattr(photos_2afc, "_pairs", lambda split, color: pair)
    data = load_photos_2afc("val-scenes")
    assert len(data) == NUMBER
    for name in IMAGES:
        assert getattr(data, name).shape == (NUMBER, 64, 64, 3)
        assert getattr(data, name).dtype == np.uint8
    # Φ((2.6536 - 3.0451) / √(0.8397² + 0.7954²)) = Φ(-0.3385)
    assert data.preference.dtype == np.float32
    np.testing.assert_allclose(data.preference, 0.36749, atol=1e-4)
    assert set(data.categories) == {"white noise", "lens blur"}
    for members in data.categories.values():
        np.testing.assert_array_equal(members, np.arange(NUMBER))

    # Patches are cut from distorted photographs, at the same place of each.
    patches = {}
    for scene in HELD_OUT_SCENES:
        photo = photographs()[scene]
        images = [photo, *(photos_2afc._distort(photo, scene, v, 0) for v in (noise, blur))]
        limits = [size - 63 for size in photo.shape[:2]]
        for y, x in zip(*photos_2afc._positions(scene, limits, 0), strict=True):
            cut = [image[y : y + 64, x : x + 64] for image in images]
            patches[cut[0].tobytes()] = (cut[1], cut[2])
    for reference, first, second in zip(data.reference, data.first, data.second, strict=True):
        np.testing.assert_array_equal((first, second), patches[reference.tobytes()])


def test_scenes_of_splits_are_disjoint():
    train, *val = (set(photos_2afc._scenes(split)) for split in SPLITS)
    assert all(scenes == set(HELD_OUT_SCENES) for scenes in val)
    assert train == set(photographs()) - set(HELD_OUT_SCENES)


@pytest.mark.parametrize("color", COLORS)
def test_types_of_splits(color):
    for split in SPLITS:
        pairs = allowed(split, color)
        held_out = [any(name in HELD_OUT_TYPES for name, _ in pair) for pair in pairs]
        assert all(held_out) if split == "val-types" else not any(held_out)
        types = {name for pair in pairs for name, _ in pair}
        assert types.isdisjoint(COLOR_TYPES) if color == "gray" else types > set(COLOR_TYPES)
        assert {"color quantization", "color noise"} < types
        for first, second in pairs:
            opinions = read_opinions()[first], read_opinions()[second]
            assert first != second
            assert not all(opinion.is_of_original for opinion in opinions)


def test_same_arguments_give_the_same_records(cache, tmp_path):
    splits = ("val-scenes", "val-types")
    one = {split: load_photos_2afc(split) for split in splits}
    other = {split: load_photos_2afc(split, cache_dir=tmp_path / "2") for split in splits[::-1]}
    for split in splits:
        assert_equal(one[split], other[split])


def test_other_arguments_give_other_records(cache, quick):
    arguments = (
        ("train", "rgb", 0),
        ("train", "gray", 0),
        ("train", "rgb", 1),
        ("val-types", "rgb", 0),
    )
    data = [load_photos_2afc(split, color=color, seed=seed) for split, color, seed in arguments]
    assert len({triplets.reference.tobytes() for triplets in data}) == len(data)


def test_file_is_made_once(cache, quick, monkeypatch):
    data = load_photos_2afc("val-types")
    assert [path.name for path in cache.iterdir()] == ["photos-2afc-v1-val-types-rgb-0.npz"]
    monkeypatch.setattr(photos_2afc, "_make", None)
    assert_equal(load_photos_2afc("val-types"), data)


def test_damaged_file_is_made_again(cache, quick):
    data = load_photos_2afc("val-scenes")
    (path,) = cache.iterdir()
    sound = path.read_bytes()
    middle = len(sound) // 2
    changed = sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :]
    for damaged in (sound[:-1000], sound[:middle], changed, b"", b"no archive"):
        path.write_bytes(damaged)
        assert_equal(load_photos_2afc("val-scenes"), data)
        assert len(path.read_bytes()) == len(sound)


def test_folder_that_cannot_be_written_to(cache, quick, tmp_path):
    data = load_photos_2afc("val-scenes")
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match=r"^Cannot write .*, so that it is made again .*space\.$"):
        other = load_photos_2afc("val-scenes", cache_dir=tmp_path / "file" / "folder")
    assert_equal(other, data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, "`split` must be one of train, val-scenes, val-types, got 'test'."),
        ({"split": "train", "color": "grey"}, "`color` must be one of rgb, gray, got 'grey'."),
        ({"split": "train", "seed": -1}, "`seed` must not be negative, got -1."),
    ],
)
def test_wrong_arguments(cache, arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        load_photos_2afc(**arguments)
    assert str(error.value) == message
    assert not cache.exists()
