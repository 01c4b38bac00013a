"""Images of the VAE experiments: patches of photographs, CelebA, and whatever lies in a folder."""

import importlib.resources.abc
import io
import json
import os
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from experiments.vae import data, image_files
from experiments.vae.celeb_a import CROP

# Third parties: TFDS still touches names that its own dependencies deprecate.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow_datasets")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("WATSON_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def noise(seed, width=40, height=30, mode="RGB"):
    shape = (height, width, len(mode)) if len(mode) > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def encoded(image, kind="png", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def expected(image, box, size=64, mode="RGB"):
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    part = image.convert(mode).crop(box).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(part).reshape(size, size, -1)


# Twelve images by name, in the order of names, and files among them that are none.
IMAGES = {f"{name}/{i}.PNG": noise(2 * i + (name == "b")) for name in "ab" for i in range(6)}
OTHERS = {"a/list.txt": b"0.png 1.png", "a/._0.png": b"from macOS", ".trash/0.png": b"thrown away"}


def files():
    return OTHERS | {name: encoded(image) for name, image in IMAGES.items()}


def write_folder(path, contents):
    for name, content in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_zip(path, contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def write_tar(path, contents):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def joined(images):
    """All images in an order that does not depend on the split."""
    both = [image for part in (images.train, images.test) for image in part]
    return np.stack(sorted(both, key=lambda image: image.tobytes()))


def test_folders_are_split_by_name_and_seed(tmp_path):
    folder = write_folder(tmp_path / "images", files())
    middle = {name: expected(image, (5, 0, 35, 30)) for name, image in IMAGES.items()}

    def split(seed):
        """The names of both parts."""
        images = data.load_images("folder", folder, seed=seed)
        return [
            [next(n for n in middle if np.array_equal(middle[n], image)) for image in part]
            for part in (images.train, images.test)
        ]

    splits = [split(seed) for seed in range(3)]
    for train, test in splits:
        assert sorted(train + test) == sorted(middle)
        assert test
        assert train == sorted(train)
    assert len({str(test) for _, test in splits}) > 1
    assert split(0) == splits[0]
    # One that goes, and one that comes before all others, move none.
    gone = splits[0][0][0]
    (folder / gone).unlink()
    middle["0.png"] = expected(noise(99), (5, 0, 35, 30))
    write_folder(folder, {"0.png": encoded(noise(99))})
    train, test = split(0)
    assert set(splits[0][1]) <= set(test) <= {*splits[0][1], "0.png"}
    assert set(train) <= {*splits[0][0], "0.png"} - {gone}


@pytest.mark.parametrize("number", [2, 5, 5000])
def test_about_a_tenth_is_held_out(number):
    images = np.arange(number, dtype=np.uint8).reshape(-1, 1, 1, 1)
    for names in ([f"{i}.png" for i in range(number)], ["same.png"] * number):
        split = data._split((images, names), seed=0)
        assert len(split.train) + len(split.test) == number
        assert 1 <= len(split.test) < number
    split = data._split((images, [f"{i}.png" for i in range(number)]), seed=3)
    assert len(split.test) == pytest.approx(number / 10, rel=0.2, abs=2)


@pytest.mark.parametrize(
    ("name", "write"),
    [("x.zip", write_zip), ("x.tar", write_tar), ("x.tar.gz", write_tar), ("no_suffix", write_tar)],
)
def test_archives_are_read_like_folders_and_never_unpacked(name, write, tmp_path, cache):
    reference = data.load_images("folder", write_folder(tmp_path / "images", files()))
    path = write(tmp_path / name, files() | {"../../outside.png": encoded(noise(9))})
    before = {p for p in tmp_path.rglob("*") if cache not in p.parents}
    images = data.load_images("folder", path)
    np.testing.assert_array_equal(images.train, reference.train)
    np.testing.assert_array_equal(images.test, reference.test)
    assert {p for p in tmp_path.rglob("*") if cache not in p.parents} == before


def test_transparent_parts_become_white(tmp_path):
    palette = Image.new("P", (8, 8))  # all of it is colour 0, black
    contents = {f"{i}.png": encoded(palette, transparency=0) for i in range(2)}
    images = data.load_images("folder", write_folder(tmp_path, contents))
    assert np.all(images.train == 255)


def test_crop_size_and_color_are_those_asked_for(tmp_path):
    sideways = Image.Exif()
    sideways[0x0112] = 6  # the camera was held so that the top is to the right
    contents = {
        "0.png": encoded(noise(0, mode="L")),
        "1.webp": encoded(noise(1, mode="RGBA"), "webp"),
        "2.gif": encoded(noise(2).quantize(8), "gif"),
        "3.jpg": encoded(noise(3), "jpeg", exif=sideways),
    }
    path = write_tar(tmp_path / "x.tar", contents)
    images = [Image.open(io.BytesIO(content)) for content in contents.values()]
    images[3] = images[3].transpose(Image.Transpose.ROTATE_270)
    for crop, size, color in (
        ((2, 3, 20, 29), 64, "rgb"), ([1, 0, 9, 8], 8, "gray"), (None, 7, "gray"),
    ):  # fmt: skip
        loaded = data.load_images("folder", path, crop=crop, image_size=size, color=color)
        boxes = [crop] * 4 if crop else [(5, 0, 35, 30)] * 3 + [(0, 5, 30, 35)]
        mode = {"rgb": "RGB", "gray": "L"}[color]
        wanted = [
            expected(image, box, size, mode) for image, box in zip(images, boxes, strict=True)
        ]
        np.testing.assert_array_equal(joined(loaded), joined(data.Images(wanted, wanted[:0])))


def test_images_are_decoded_once_for_each_listing_and_format(tmp_path, monkeypatch):
    decoded = []
    decode = image_files._decode
    monkeypatch.setattr(image_files, "_decode", lambda *args: decoded.append(1) or decode(*args))

    def number_decoded(path, **options):
        decoded.clear()
        data.load_images("folder", path, **options)
        return len(decoded)

    folder = write_folder(tmp_path / "images", files())
    assert number_decoded(folder) == 12
    assert number_decoded(folder, seed=1) == 0
    assert number_decoded(folder, image_size=8) == number_decoded(folder, color="gray") == 12
    (folder / "a/0.PNG").write_bytes(encoded(noise(8, width=31)))
    assert number_decoded(folder) == 12
    archive = write_zip(tmp_path / "x.zip", files())
    assert [number_decoded(archive), number_decoded(archive)] == [12, 0]
    write_zip(archive, dict(list(files().items())[:-1]))
    assert number_decoded(archive) == 11


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar])
def test_unusable_images_are_named_and_left_out(write, tmp_path, capsys):
    sixteen_bits = Image.fromarray(np.full((40, 40), 1000, np.uint16))
    broken = {
        "a/0_cut.png": encoded(noise(0))[:-500],
        "a/0_empty.jpg": b"",
        "a/0_small.png": encoded(noise(0, width=20)),
        "a/0_deep.png": encoded(sixteen_bits),
    }
    contents = dict(sorted((files() | broken).items()))
    path = write(tmp_path / "x.tar", contents)
    for _ in range(2):  # decoded, then from the cache
        images = data.load_images("folder", path, crop=(0, 0, 30, 30))
        assert len(images.train) + len(images.test) == 12
        wanted = [expected(image, (0, 0, 30, 30)) for image in IMAGES.values()]
        np.testing.assert_array_equal(joined(images), joined(data.Images(wanted, wanted[:0])))
        sentence = capsys.readouterr().err.splitlines()[-1]
        assert sentence == (
            "Skipped 4 of 16 images: a/0_cut.png (no readable image), a/0_deep.png (more than 8 bits, "
            "mode I;16), a/0_empty.jpg (no readable image) and 1 more."
        )


def test_what_holds_no_images_is_one_sentence_and_leaves_nothing(tmp_path, cache):
    whole = write_tar(tmp_path / "x.tar", files()).read_bytes()
    packed = write_tar(tmp_path / "x.tar.gz", files()).read_bytes()
    zipped = write_zip(tmp_path / "x.zip", files()).read_bytes()
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "around", {"sub/faces.tar.gz": packed, "list.txt": b""})
    write_folder(tmp_path / "few", {"0.png": b"", "1.png": encoded(noise(0)), "list.txt": b""})
    cases = {
        "nowhere": "got '.*nowhere', which does not exist",
        "empty": "at least 2 usable images, got 0 in '.*empty': looked for .bmp, .gif",
        "around": r"no images but an archive; if they are in it, name '.*around/sub/faces.tar.gz'\.",
        "few": r"at least 2 usable images, got 1 in '.*few': not 0.png \(no readable image\)\.",
        "text.tar": "which is none of these, or damaged",
        "cut.zip": "which is none of these, or damaged",
        "cut.tar": r"cut.tar is damaged or cut short \(.*\); fetch",
        "between.tar": r"between.tar is damaged or cut short \(it does not end",
        "cut.tar.gz": r"cut.tar.gz is damaged or cut short \(",
        "holed.tar.gz": r"holed.tar.gz is damaged or cut short \(",
    }
    damaged = {
        "text.tar": b"<html>not here</html>",
        "cut.zip": zipped[:-100],
        "cut.tar": whole[: len(whole) // 2 + 700],
        "between.tar": whole[: whole.rindex(b"./b/3.PNG")],
        "cut.tar.gz": packed[: len(packed) // 2],
        "holed.tar.gz": packed[:2000] + bytes(2000) + packed[4000:],
    }
    write_folder(tmp_path, damaged)
    for name, sentence in cases.items():
        with pytest.raises((ValueError, OSError), match=sentence):
            data.load_images("folder", tmp_path / name)
    with pytest.raises(ValueError, match=r"--data_dir must name a folder, .*, got none"):
        data.load_images("folder")
    assert {path.name for path in cache.rglob("*") if path.is_file()} == {".lock"}


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("folders", {}, "got 'folders'; did you mean 'folder'?"),
        ("digits", {"image_size": 64}, "image_size must not be set with --data=digits, got 64."),
        ("mnist", {"color": "rgb"}, "color must not be set with --data=mnist, got rgb."),
        ("photos", {"crop": (0, 0, 8, 8)}, "crop must not be set with --data=photos"),
        (
            "photos",
            {"image_size": 301},
            "image_size must be at most 300 with --data=photos, got 301.",
        ),
        ("folder", {"image_size": 0}, "image_size must be at least 1, got 0."),
        ("folder", {"color": "grey"}, "color must be one of rgb, gray, got 'grey'."),
        ("folder", {"crop": (8, 0, 8, 8)}, "crop must be left,top,right,bottom .*, got 8,0,8,8."),
        ("folder", {"crop": (0, 8, 8)}, "crop must be left,top,right,bottom .*, got 0,8,8."),
        ("folder", {"crop": (-1, 0, 8, 8)}, "crop must be left,top,right,bottom .*, got -1,0,8,8."),
    ],
)
def test_wrong_options_are_one_sentence(name, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        data.load_images(name, **options)


@pytest.mark.slow
def test_photos_hold_out_whole_scenes(monkeypatch):
    images = data.load_images("photos")
    assert images.train.shape == (4096, 64, 64, 3)
    assert images.test.shape == (512, 64, 64, 3)
    again, other = data.load_images("photos"), data.load_images("photos", seed=1)
    np.testing.assert_array_equal(images.train, again.train)
    assert (images.train != other.train).any()
    small = data.load_images("photos", image_size=32, color="gray")
    assert small.test.shape == (512, 32, 32, 1)
    # Photographs that say with each pixel which one they are, and where.
    scenes = list(data.photographs())
    rows, columns = np.mgrid[:90, :100]
    flat = {s: np.stack([rows, columns, 0 * rows + i], -1) for i, s in enumerate(scenes)}
    monkeypatch.setattr(
        data, "photographs", lambda: {s: x.astype(np.uint8) for s, x in flat.items()}
    )
    images = data.load_images("photos")
    held_out = {scenes.index(scene) for scene in ("china", "coffee")}
    assert set(np.unique(images.test[..., 2])) == held_out
    assert set(np.unique(images.train[..., 2])) == set(range(7)) - held_out
    corners = images.train[:, 0, 0, :2]
    np.testing.assert_array_equal(images.train[:, -1, -1, :2], corners + 63)
    np.testing.assert_array_equal(corners.max(0), [26, 36])
    np.testing.assert_array_equal(corners.min(0), [0, 0])


@pytest.fixture
def celeb_a(tmp_path, monkeypatch):
    """A folder of TensorFlow Datasets with ten aligned images, made by its own builder."""
    # TFDS asks for its backport to prepare its own data sets, but does not install it.
    monkeypatch.setitem(sys.modules, "importlib_resources", importlib.resources)
    builder = tfds.builder("celeb_a", data_dir=tmp_path / "tfds")
    faces = {"train": 7, "validation": 2, "test": 1}

    def examples(split):
        for index in range(faces[split]):
            features = dict(builder.info.features)
            image = io.BytesIO(encoded(noise(len(split) + index, 178, 218), "jpeg"))
            yield (
                index,
                {"image": image}
                | {name: dict.fromkeys(features[name], 0) for name in features if name != "image"},
            )

    monkeypatch.setattr(
        type(builder), "_split_generators", lambda *_: {split: examples(split) for split in faces}
    )
    builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_dir), [next(examples(s))[1]["image"] for s in faces]


def test_celeb_a_is_cropped_as_in_the_paper(celeb_a, monkeypatch):
    prepared, firsts = celeb_a
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared.parents[1]))
    images = data.load_images("celeb_a")
    assert images.train.shape[1:] == images.test.shape[1:] == (64, 64, 3)
    assert len(images.train) + len(images.test) == 10
    everything = {image.tobytes() for part in (images.train, images.test) for image in part}
    for first in firsts:
        with Image.open(first) as image:
            assert expected(image, CROP).tobytes() in everything
    assert data.load_images("celeb_a", image_size=8, color="gray").train.shape[1:] == (8, 8, 1)
    assert "tensorflow" not in sys.modules


def test_celeb_a_that_is_not_there_is_one_sentence(celeb_a, tmp_path):
    prepared, _ = celeb_a
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"^--data_dir must .*, got '.*', which does"):
            data.load_images("celeb_a", folder)
    info = prepared / "dataset_info.json"
    content = info.read_text()
    info.write_text(json.dumps(json.loads(content) | {"fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match=r"be read at random, got tfrecord in .*; prepare it anew"):
        data.load_images("celeb_a", prepared.parents[1])
    info.unlink()
    with pytest.raises(
        FileNotFoundError, match="prepare it with `tfds build celeb_a --file_format"
    ):
        data.load_images("celeb_a", prepared.parents[1])


@pytest.mark.slow
def test_real_faces_are_read_from_their_archive():
    folder = os.environ.get("WATSON_JAX_DATA")
    if not folder:
        pytest.skip("WATSON_JAX_DATA names no folder with faces")
    (path,) = Path(folder, "celeba_10k").glob("*.tar")
    images = data.load_images("folder", path, crop=(12, 22, 76, 89))
    assert len(images.train) + len(images.test) == 10_000
    assert 900 < len(images.test) < 1100
    # They are aligned: even the mean face has two eyes, each darker than the cheek below it.
    mean = images.test.mean((0, 3))
    for columns in (slice(18, 23), slice(42, 47)):
        assert mean[30:34, columns].mean() < mean[40:44, columns].mean() - 50
