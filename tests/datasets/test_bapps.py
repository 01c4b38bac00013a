"""BAPPS from its folders and from TensorFlow Datasets, in small."""

import contextlib
import functools
import hashlib
import http.server
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from watson_jax import datasets
from watson_jax.datasets import _decoded, bapps
from watson_jax.datasets._bapps_layout import JND, TRAIN, VAL

# Third parties: TFDS still touches names that its own dependencies deprecate.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow_datasets")

LOADERS = {
    TRAIN: functools.partial(datasets.load_bapps, subset="train"),
    VAL: functools.partial(datasets.load_bapps, subset="val"),
    JND: datasets.load_bapps_jnd,
}
TFDS_LOADERS = {
    TRAIN: functools.partial(datasets.load_bapps_tfds, subset="train"),
    VAL: functools.partial(datasets.load_bapps_tfds, subset="val"),
    JND: datasets.load_bapps_jnd_tfds,
}
every_subset = pytest.mark.parametrize("subset", LOADERS, ids=lambda subset: subset.name)


def publish(root, subset):
    """Makes three records for each category, one large, one small and one grey."""
    rng = np.random.default_rng(0)
    for category in subset.categories:
        folder = root / subset.path / category
        for kind in (*subset.images, subset.judgement):
            (folder / kind).mkdir(parents=True)
        for index, shape in enumerate([(256, 256, 3), (64, 64, 3), (80, 80)]):
            for kind in subset.images:
                image = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
                image.save(folder / kind / f"{index:06}.png")
            np.save(folder / subset.judgement / f"{index:06}.npy", [rng.integers(6) / 5])


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    for subset in LOADERS:
        publish(root, subset)
    return root


@pytest.fixture
def own(published, tmp_path):
    """A copy of the training set that a test may damage."""
    shutil.copytree(published / TRAIN.path, tmp_path / "own" / TRAIN.path)
    return tmp_path / "own"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("WATSON_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def expected_image(path):
    """The protocol: Pillow's bilinear filter, which averages over what it leaves out."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))


def arrays(data):
    return [value for name, value in vars(data).items() if name != "categories"]


@every_subset
def test_folders_are_read_as_the_protocol_has_it(subset, published):
    data = LOADERS[subset](published)
    *images, shares = arrays(data)
    assert len(data) == 3 * len(subset.categories)
    assert list(data.categories) == list(subset.categories)
    for category, indices in data.categories.items():
        folder = published / subset.path / category
        for number, index in enumerate(indices):
            for kind, array in zip(subset.images, images, strict=True):
                np.testing.assert_array_equal(
                    array[index], expected_image(folder / kind / f"{number:06}.png")
                )
            judgement = np.load(folder / subset.judgement / f"{number:06}.npy")
            assert shares[index] == np.float32(judgement[0])
    assert (shares.dtype, images[0].dtype) == (np.float32, np.uint8)


def test_large_images_are_shrunk_smoothly_and_small_ones_kept(own):
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(own / TRAIN.path / "cnn/p0/000000.png")
    data = datasets.load_bapps(own, "train")
    assert abs(data.first[3][2:-2, 2:-2].astype(int) - 127).max() <= 1
    with Image.open(own / TRAIN.path / "cnn/p0/000001.png") as small:
        np.testing.assert_array_equal(data.first[4], np.asarray(small))


def test_any_folder_around_the_images_will_do(published, tmp_path):
    (tmp_path / "dataset").symlink_to(published)
    reference = datasets.load_bapps(published, "val")
    for folder in (tmp_path, tmp_path / "dataset", str(published / "2afc")):
        assert datasets.load_bapps(folder, "val").first.filename == reference.first.filename
    assert len(datasets.load_bapps_jnd(published / "jnd")) == 6


@every_subset
def test_builder_and_both_readers_agree(subset, published, tmp_path, monkeypatch):
    monkeypatch.setattr(bapps, "_RECORDS_PER_FILE", 2)
    builder = tfds.builder(f"bapps/{subset.name}", data_dir=tmp_path)
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(manual_dir=published),
    )
    category = subset.categories[-1]
    source = tfds.data_source(f"bapps/{subset.name}", split=category, data_dir=tmp_path)
    assert [record["id"] for record in source] == [b"000000", b"000001", b"000002"]
    with Image.open(published / subset.path / category / "p1/000000.png") as image:
        np.testing.assert_array_equal(source[0]["p1"], np.asarray(image))
    from_folder, from_tfds = LOADERS[subset](published), TFDS_LOADERS[subset](tmp_path)
    for one, other in zip(arrays(from_folder), arrays(from_tfds), strict=True):
        np.testing.assert_array_equal(one, other)
    for name, indices in from_folder.categories.items():
        np.testing.assert_array_equal(indices, from_tfds.categories[name])


@contextlib.contextmanager
def serve(folder):
    """A web server for the files of `folder`."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_archives_are_downloaded_and_their_checksums_recorded(published, tmp_path, monkeypatch):
    archive = tmp_path / VAL.archive
    with tarfile.open(archive, "w:gz") as file:
        file.add(published / VAL.path, "val")  # as the authors' archives of 2AFC begin
    monkeypatch.setattr(bapps.Bapps, "code_path", tfds.core.Path(tmp_path / "bapps.py"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve(tmp_path) as url:
        monkeypatch.setattr(bapps, "URL", url)
        bapps.Bapps(config=VAL.name, data_dir=tmp_path / "tfds").download_and_prepare(
            file_format="array_record",
            download_config=tfds.download.DownloadConfig(register_checksums=True),
        )
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert sha256 in (tmp_path / "checksums.tsv").read_text()
    assert len(datasets.load_bapps_tfds(tmp_path / "tfds", "val")) == 18


def test_archives_may_lie_in_the_manual_folder_and_damage_is_noticed(published, tmp_path):
    manual = tmp_path / "manual"
    manual.mkdir()
    with tarfile.open(manual / JND.archive, "w:gz") as file:
        file.add(published / "jnd", "jnd")
    whole = (manual / JND.archive).read_bytes()

    def prepare():
        bapps.Bapps(config=JND.name, data_dir=tmp_path).download_and_prepare(
            file_format="array_record",
            download_config=tfds.download.DownloadConfig(manual_dir=manual),
        )

    for damaged in (whole[:-1000], b"<html>not here</html>"):
        (manual / JND.archive).write_bytes(damaged)
        with pytest.raises(ValueError, match=r"jnd.tar.gz is damaged or cut short \(.*; delete"):
            prepare()
    (manual / JND.archive).write_bytes(whole)
    prepare()
    assert len(datasets.load_bapps_jnd_tfds(tmp_path)) == 6


def test_unprepared_tfds_folders_are_one_sentence(published, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"`data_dir` must hold bapps/2afc-val, got '.*prep"
    ):
        datasets.load_bapps_tfds(tmp_path, "val")
    builder = bapps.Bapps(config=JND.name, data_dir=tmp_path)
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(manual_dir=published),
    )
    info = Path(builder.data_dir, "dataset_info.json")
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match="read at random, got tfrecord; prepare it anew as"):
        datasets.load_bapps_jnd_tfds(tmp_path)


def test_wrong_subsets_and_folders_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match='`subset` must be "train" or "val", got \'test\''):
        datasets.load_bapps(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match=r"hold BAPPS's 2afc/val, got .* fetch https://"):
        datasets.load_bapps(tmp_path, "val")


def test_missing_files_are_named_before_anything_is_read(own, cache):
    folder = own / TRAIN.path
    (folder / "cnn/ref/000001.png").unlink()
    (folder / "cnn/judge/000002.npy").unlink()
    (folder / "mix/p0/._000000.png").write_bytes(b"left by another system")
    shutil.rmtree(folder / "traditional/p1")
    shutil.rmtree(folder / "mix/p1")
    with pytest.raises(
        FileNotFoundError,
        match=r"lacks all of traditional/p1, cnn/ref/000001.png, cnn/judge/000002.npy and 1 more;",
    ):
        datasets.load_bapps(own, "train")
    assert not cache.exists()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([0.5, 0.5], "not one number"),
        ([1.2], r"1.2 is outside \[0, 1\]"),
        ([np.nan], "nan is outside"),
        (["yes"], "not one number"),
        ([object()], "not one number"),
    ],
)
def test_wrong_judgements_are_named(value, reason, own):
    np.save(own / TRAIN.path / "traditional/judge/000001.npy", value)
    (own / TRAIN.path / "mix/judge/000000.npy").write_bytes(b"")
    with pytest.raises(
        ValueError,
        match=rf"traditional/judge/000001.npy \({reason}.*, mix/judge/000000.npy \(not one number\);",
    ):
        datasets.load_bapps(own, "train")


def test_all_damaged_images_are_named_and_nothing_is_kept(own, cache):
    folder = own / TRAIN.path
    image = folder / "traditional/p0/000000.png"
    image.write_bytes(image.read_bytes()[:-5000])
    (folder / "cnn/p1/000002.png").write_bytes(b"no image")
    Image.new("RGB", (64, 48)).save(folder / "mix/ref/000001.png")
    (folder / "mix/ref/000002.png").unlink()
    (folder / "mix/ref/000002.png").mkdir()
    with pytest.raises(
        ValueError,
        match=r"traditional/p0/000000.png \(no readable image\), cnn/p1/000002.png \(no readable "
        r"image\), mix/ref/000001.png \(64x48 is not square\) and 1 more;",
    ):
        datasets.load_bapps(own, "train")
    assert {path.name for path in cache.rglob("*") if path.is_file()} == {".lock"}


def test_images_are_decoded_once_for_each_listing(own, tmp_path, monkeypatch):
    decoded = []
    decode = _decoded._decode
    monkeypatch.setattr(_decoded, "_decode", lambda file: decoded.append(file) or decode(file))

    def number_decoded(folder, **kwargs):
        decoded.clear()
        data = datasets.load_bapps(folder, "train", **kwargs)
        assert isinstance(data.reference, np.memmap)
        return len(decoded)

    assert number_decoded(own) == 27
    assert number_decoded(own) == 0
    assert number_decoded(own, cache_dir=tmp_path / "elsewhere") == 27
    for kind in (*TRAIN.images, TRAIN.judgement):
        for path in (own / TRAIN.path / "mix" / kind).glob("000002.*"):
            path.unlink()
    assert number_decoded(own) == 24
    own = own.rename(tmp_path / "renamed")
    assert number_decoded(own) == 24


def test_a_killed_process_leaves_no_half_cache(own, cache):
    image = own / TRAIN.path / "mix/p1/000002.png"
    whole = image.read_bytes()
    image.unlink()
    os.mkfifo(image)  # the last image, at which the process will wait for ever
    program = (
        "import sys, watson_jax.datasets as datasets;"
        "assert not {'PIL', 'tqdm', 'tensorflow_datasets'} & set(sys.modules);"
        f"datasets.load_bapps({str(own)!r}, 'train')"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as process:
        deadline = time.monotonic() + 120
        while not list(cache.rglob("*.part")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    image.unlink()
    image.write_bytes(whole)
    data = datasets.load_bapps(own, "train")
    np.testing.assert_array_equal(data.second[-1], expected_image(image))
    names = {path.name for path in cache.rglob("*") if path.is_file()}
    assert names == {".lock", "images.npy", "shares.npy"}


def test_small_disks_are_noticed_first(own, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(OSError, match=r"`cache_dir` must have 0.0 GB free .* name another folder"):
        datasets.load_bapps(own, "train")


def test_missing_packages_are_one_sentence(own, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"needs PIL; install the extra .*experiments"):
        datasets.load_bapps(own, "train")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    monkeypatch.delitem(sys.modules, "watson_jax.datasets.bapps")
    with pytest.raises(ImportError, match=r"needs tensorflow-datasets; install the extra"):
        importlib.import_module("watson_jax.datasets.bapps")
