"""The command line, called within this process."""

import csv
import io
import json
import runpy
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

import watson_jax as wj
from watson_jax.cli import main

SIDE = 16


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three pairs, one in a subfolder and one of another size, and a file without a partner."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i, (name, size) in enumerate((("a", 16), ("b", 16), ("sub/c", 24))):
        reference = rng.integers(60, 190, (size, SIDE, 3), np.uint8)
        image = reference + np.uint8(5 * i + 5)
        write(root / "reference" / f"{name}.png", reference)
        write(root / "image" / f"{name}.bmp", image)
    write(root / "image" / "alone.png", reference)
    write(root / "image" / ".hidden.png", reference)
    (root / "image" / "notes.txt").touch()
    return root


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def l1_of(i):
    return (5 * i + 5) / 255


def test_folders_are_matched_by_name(folders, capsys):
    pair = (folders / "image", folders / "reference")
    status, out, err = run(capsys, "compare", *pair, "--loss=l1,l2", "--format=csv")
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["image"] for row in rows] == [
        str(folders / "image" / f"{name}.bmp") for name in ("a", "b", "sub/c")
    ]
    for i, row in enumerate(rows):
        np.testing.assert_allclose(float(row["l1"]), l1_of(i), rtol=1e-4)
        np.testing.assert_allclose(float(row["l2"]), l1_of(i) ** 2, rtol=1e-4)
    assert f"Left out of {folders / 'image'}, without a partner: alone." in err
    assert "median" in err

    status, out, _ = run(capsys, "compare", *pair, "--loss=l1", "--loss=l2", "--format=json")
    found = json.loads(out)
    assert [record["l1"] for record in found["pairs"]] == [float(row["l1"]) for row in rows]
    summary = found["summary"][0]
    assert summary["loss"] == "l1"
    np.testing.assert_allclose([summary["mean"], summary["median"]], l1_of(1), rtol=1e-4)
    assert [worst["pair"] for worst in summary["worst"]] == ["sub/c", "b", "a"]

    status, out, _ = run(capsys, "compare", *pair, "--loss=l1")
    assert out.splitlines()[0].split() == ["pair", "l1"]
    assert out.splitlines()[1].startswith(f"a      {l1_of(0):.4f}")
    assert "3 pairs\nloss" in out


def test_all_pairs_in_batches_of_one_program(folders, capsys, monkeypatch):
    from watson_jax.cli import _compare

    monkeypatch.setattr(_compare, "_BATCH_PIXELS", 3 * SIDE**2)
    one = folders / "reference" / "a.png"
    shutil.copytree(folders / "image", folders / "equal", dirs_exist_ok=True)
    shutil.rmtree(folders / "equal" / "sub")
    (folders / "equal" / "alone.png").unlink()
    status, out, _ = run(
        capsys, "compare", folders / "equal", one, "--all-pairs", "--loss=l1", "--format=json"
    )
    assert status == 0
    assert [pair["image"][-5:] for pair in json.loads(out)["pairs"]] == ["a.bmp", "b.bmp"]
    status, out, _ = run(
        capsys, "compare", folders / "equal", folders / "equal", "--all-pairs", "--loss=l1",
        "--format=json",
    )  # fmt: skip
    values = np.reshape([pair["l1"] for pair in json.loads(out)["pairs"]], (2, 2))
    assert values[0, 0] == values[1, 1] == 0
    np.testing.assert_allclose(values[0, 1], values[1, 0], rtol=1e-6)
    assert values[0, 1] > 0.1


def test_weights_colour_and_map(folders, capsys, tmp_path):
    pair = (folders / "image" / "b.bmp", folders / "reference" / "b.png")
    status, out, _ = run(
        capsys, "compare", *pair, "--loss=l1,watson-dct:initial", "--color=gray",
        f"--map={tmp_path / 'sub' / 'map.png'}", "--format=json",
    )  # fmt: skip
    assert status == 0
    image, reference = (
        np.asarray(Image.open(path)) @ np.float32([0.299, 0.587, 0.114])[:, None] / np.float32(255)
        for path in pair
    )
    expected = wj.get_loss("watson-dct", color="gray", weights="initial")(image, reference)
    (found,) = json.loads(out)["pairs"]
    np.testing.assert_allclose(found["watson-dct:initial"], expected, rtol=1e-4)
    picture = np.asarray(Image.open(tmp_path / "sub" / "map.png"))
    assert picture.shape == (384 + 14, 384, 3)
    blocks = picture[:384].reshape(2, 192, 2, 192, 3).mean((1, 3))
    assert np.ptp(blocks, axis=(0, 1)).max() > 20  # the four blocks differ


def test_weights_are_for_the_losses_that_have_some(folders, capsys):
    pair = (folders / "image" / "b.bmp", folders / "reference" / "b.png")
    compare = ("compare", *pair, "--format=json", "--weights=initial")
    status, out, _ = run(capsys, *compare, "--loss=l1,watson-dct")
    assert status == 0
    (found,) = json.loads(out)["pairs"]
    (named,) = json.loads(run(capsys, *compare[:-1], "--loss=watson-dct:initial")[1])["pairs"]
    assert found["watson-dct"] == named["watson-dct:initial"]
    status, _, err = run(capsys, *compare, "--loss=l1,l2")
    assert (status, err) == (2, "error: --weights is for losses with weights, got --loss=l1,l2.\n")


def test_each_pair_has_a_map_of_its_own(folders, capsys, tmp_path):
    for side in ("image", "reference"):
        for name in ("a b", "a-b"):
            write(tmp_path / side / f"{name}.png", np.zeros((8, 8, 3), np.uint8))
    out = tmp_path / "maps"
    pair = (tmp_path / "image", tmp_path / "reference")
    assert run(capsys, "compare", *pair, "--loss=watson-dct", f"--map={out}")[0] == 0
    assert {path.name for path in out.iterdir()} == {"a b.png", "a-b.png"}


def test_the_size_of_adaptive_s_parameters_follows_the_images(folders, capsys):
    pair = (folders / "image", folders / "reference")
    status, out, _ = run(capsys, "compare", *pair, "--loss=adaptive", "--format=json")
    assert status == 0
    assert all(record["adaptive"] is not None for record in json.loads(out)["pairs"])


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["compare", "a"], 2, "the following arguments are required: reference; see"),
        (["compare", "{r}/a.png", "{r}/b.png", "--losses=l1"], 2,
         "unrecognized arguments: --losses=l1; see `watson-jax compare --help`"),
        (["compare", "{r}/a.png", "{r}/b.png", "--format=xml"], 2, "invalid choice: 'xml'"),
        (["compare", "{r}/a.png", "{r}/b.png", "--loss=l3"], 2, "The loss must be one of l1, "),
        (["compare", "{r}/a.png", "none.png"], 2, "must be a file or folder, got none.png"),
        (["compare", "{r}/a.png", "{r}"], 2, "--all-pairs compares a file with each image in it"),
        (["compare", "{r}/sub", "{i}"], 2, "must hold images of the same names, got c and "),
        (["compare", "{r}/a.png", "{r}/sub/c.png"], 1, "a.png with 16x16 pixels and {r}/sub/c.png "
         "with 16x24"),
        (["compare", "{r}/a.png", "{i}/notes.txt"], 1, "notes.txt is no readable image"),
        (["compare", "{r}/a.png", "{r}/b.png", "--loss=lpips-alex"], 1, "at least 31 pixels high"),
        (["compare", "{r}/a.png", "{r}/b.png", "--loss=l1:initial"], 2,
         "the weights in --loss=l1:initial must be left out"),
        (["compare", "{r}/a.png", "{r}/b.png", "--backbone=x.pth"], 2, "--backbone is for LPIPS"),
        (["compare", "{r}/a.png", "{r}/b.png", "--weights=no"], 2, "--weights must be 'packaged'"),
        (["compare", "{r}/a.png", "{r}/b.png", "--weights={r}/a.png"], 1, "a.png"),
        (["compare", "{r}/a.png", "{r}/b.png", "--background=nocolour"], 2, "--background must be"),
        (["compare", "{r}/a.png", "{r}/b.png", "--map=x.jpg"], 2, "must name a .png file for one"),
        (["compare", "{r}/a.png", "{r}/b.png", "--loss=l1", "--map=x.png"], 2,
         "--map needs one of watson-dct, watson-dft in --loss, got l1"),
        (["fetch"], 2, "fetch must be given names of losses or --all"),
        (["fetch", "watson-dft:initial"], 2, "weights of watson-dft to download (published), got"),
        ([], 2, "required: compare|list|fetch"),
    ],
)  # fmt: skip
def test_errors_are_one_sentence(folders, arguments, status, sentence, capsys):
    names = {"r": folders / "reference", "i": folders / "image"}
    found, out, err = run(capsys, *(argument.format(**names) for argument in arguments))
    assert found == status
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sentence.format(**names) in err


def test_two_images_of_a_name(tmp_path, folders, capsys):
    for name in ("a.png", "a.bmp"):
        write(tmp_path / name, np.zeros((8, 8), np.uint8))
    status, _, err = run(capsys, "compare", tmp_path, folders / "reference")
    assert status == 2
    assert "must hold one image of a name, got a.bmp and a.png" in err


def test_the_list_has_every_loss(capsys):
    status, out, _ = run(capsys, "list", "--format=json")
    assert status == 0
    records = json.loads(out)
    assert [record["loss"] for record in records] == list(wj.list_losses())
    assert records[-1]["licence of downloads"] == "BSD for LPIPS and torchvision"
    assert "packaged published initial" in run(capsys, "list")[1]


def test_fetching(reference_folder, tmp_path, capsys, monkeypatch):
    status, out, _ = run(capsys, "fetch", "watson-dct", "adaptive:published", f"--to={tmp_path}")
    assert status == 0
    assert len(out.splitlines()) == 4
    assert len(list(tmp_path.glob("*.pth"))) == 4
    monkeypatch.setenv("WATSON_JAX_WEIGHTS_DIR", str(tmp_path))
    wj.load_params("watson-dct", color="gray", weights="published")
    assert run(capsys, "fetch", "watson-dct", f"--to={tmp_path}")[0] == 0  # where they are already
    assert len(list(tmp_path.iterdir())) == 4
    assert "l1 needs no download" in run(capsys, "fetch", "l1")[2]


def test_as_a_module(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["watson_jax", "compare", "no", "no"])
    with pytest.raises(SystemExit) as info:
        runpy.run_module("watson_jax", run_name="__main__")
    assert info.value.code == 2
    assert capsys.readouterr().err == (
        "error: The image must be a file or folder, got no, which is none.\n"
    )
