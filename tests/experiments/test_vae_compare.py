"""What is measured and shown of finished VAE runs."""

import csv
import dataclasses
import json
import math
import os
import re
import shutil
import struct
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import watson_jax as wj
from experiments._common.cli import UserError
from experiments.vae import (
    compare_figures,
    compare_table,
    comparison,
    data,
    labels,
    outcomes,
    quality,
    runs,
    train,
)
from experiments.vae.configs import PRESETS, VaeConfig
from experiments.vae.idx import read_idx
from tests.experiments.command import assert_one_sentence, run_each
from tests.test_docs import NEEDS_RUN, PAGES, blocks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:orbax")

TINY = dataclasses.replace(PRESETS["smoke"], epochs=1, train_images=128, loss="l2")


def blurred(images):
    return (
        images + np.roll(images, 1, 1) + np.roll(images, 1, 2) + np.roll(images, (1, 1), (1, 2))
    ) / 4


def noise(*shape):
    return np.random.default_rng(0).random(shape).astype(np.float32)


def test_laplacian_of_a_point_by_hand():
    image = np.zeros((1, 5, 5, 1), np.float32)
    image[0, 2, 2] = 1
    # Nine inner pixels: -4 in the middle, 1 at four, 0 at four; their mean is 0.
    np.testing.assert_allclose(quality.laplacian_variance(image), [(16 + 4) / 9], rtol=1e-6)


def test_ramps_have_no_laplacian_and_grey_is_its_own_luma():
    ramp = np.broadcast_to(np.linspace(0, 1, 9, dtype=np.float32)[:, None, None], (1, 9, 9, 1))
    assert quality.laplacian_variance(ramp)[0] < 1e-12
    images = noise(2, 8, 8, 1)
    np.testing.assert_allclose(quality.luma(images.repeat(3, -1)), images[..., 0], atol=1e-6)


def test_blur_lowers_sharpness_and_changes_the_spectrum():
    images = noise(4, 32, 32, 3)
    assert quality.sharpness(images, images) == 1
    assert quality.sharpness(blurred(images), images) < 0.3
    spectrum, blurred_spectrum = map(quality.radial_spectrum, (images, blurred(images)))
    assert quality.log_distance(spectrum, spectrum) == 0
    assert quality.log_distance(blurred_spectrum, spectrum) > 0.3
    assert quality.log_distance(100 * spectrum, spectrum) == pytest.approx(2)
    assert blurred_spectrum[-1] / spectrum[-1] < 0.1 < blurred_spectrum[0] / spectrum[0]


def test_chroma_error_sees_colours_alone():
    rng = np.random.default_rng(0)
    images = rng.random((2, 8, 8, 3)).astype(np.float32) / 2
    assert quality.chroma_error(images, images) == 0
    assert quality.chroma_error(images + 0.25, images) < 1e-12
    # Red alone changes Cb by -0.1687 and Cr by 0.5 of what is added.
    expected = (0.1687**2 + 0.5**2) / 2 * 0.1**2
    red = images + np.float32([0.1, 0, 0])
    assert quality.chroma_error(red, images) == pytest.approx(expected, rel=1e-3)


def test_only_reconstructions_in_colour_have_an_error_of_chroma():
    data = noise(4, 32, 32, 3)
    images = {"reconstructions": data + np.float32([0.1, 0, 0]), "samples": data}
    name = "chroma error of reconstructions, 1e-3"
    error = quality.chroma_error(images["reconstructions"], data)
    assert outcomes.likeness(images, data)[name] == 1e3 * error > 0
    assert name not in outcomes.likeness({"samples": data}, data)
    assert name not in outcomes.likeness({"reconstructions": data[..., :1]}, data[..., :1])


@pytest.mark.parametrize("side", [8, 9])
def test_radial_spectrum_is_that_of_a_plain_loop(side):
    images = noise(3, side, side, 1)
    window = np.sin(np.pi * np.arange(1, side + 1) / (side + 1)) ** 2
    rings = {}
    for x in images[..., 0].astype(np.float64):
        power = np.abs(np.fft.fft2((x - x.mean()) * np.outer(window, window))) ** 2
        for i in range(side):
            for j in range(side):
                radius = math.hypot(min(i, side - i), min(j, side - j))
                rings.setdefault(round(radius), []).append(power[i, j])
    expected = [np.mean(rings[r]) for r in range(1, side // 2 + 1)]
    np.testing.assert_allclose(quality.radial_spectrum(images), expected, rtol=1e-4)


def test_recognition_counts_confident_digits_only():
    probabilities = np.full((100, 11), 0.01)
    probabilities[:50, 3] = 0.95
    probabilities[50:75, 7] = 0.95
    probabilities[75:90, 10] = 0.99  # sure that there is no digit
    found = quality.recognition(probabilities)
    assert found["recognised"] == 0.75
    assert found["classes"] == 2
    assert found["entropy"] == pytest.approx(math.log2(3) - 2 / 3)
    assert quality.recognition(np.full((2, 11), 0.1))["recognised"] == 0


def test_frechet_distance_has_its_closed_form():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 3))
    # Of mean 0 and covariance 1.
    x = np.linalg.solve(np.linalg.cholesky(np.cov(x.T)), (x - x.mean(axis=0)).T).T
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    first, second = x * [1, 2, 3] @ turn, x * [2, 2, 1] @ turn + [1, 0, 2]
    assert quality.frechet_distance(first, second) == pytest.approx(5 + 1 + 0 + 4)
    assert quality.frechet_distance(first, first[::-1]) == pytest.approx(0, abs=1e-9)
    # Covariances that do not commute: tr (C1 C2)^(1/2) of two 2x2 matrices is known.
    a, b = x[:, :2] * [1, 2], x[:, :2] @ [[1, 1], [0, 1]]
    c1, c2 = np.cov(a.T), np.cov(b.T)
    root = math.sqrt(np.trace(c1 @ c2) + 2 * math.sqrt(np.linalg.det(c1 @ c2)))
    expected = np.trace(c1) + np.trace(c2) - 2 * root
    assert quality.frechet_distance(a, b) == pytest.approx(expected)


def test_reader_knows_digits_and_refuses_the_rest():
    images, digits = data.load_images("digits"), labels.load_labels("digits")
    seen, held_out = map(quality.to_float, (images.train, images.test))
    reader = quality.DigitReader(seen, digits.train, held_out, digits.test, passes=20)
    assert reader.accuracy > 0.97  # also that labels belong to their images
    np.testing.assert_allclose(  # the features are what the last layer sees
        jax.nn.softmax(
            reader.features(held_out) @ reader._network.coefs_[1] + reader._network.intercepts_[1]
        ),
        reader.probabilities(held_out),
        atol=1e-5,
    )
    shares = [
        quality.recognition(reader.probabilities(x))["recognised"]
        for x in (held_out, (held_out[1:] + held_out[:-1]) / 2, noise(200, 32, 32, 1))
    ]
    assert shares[0] > 0.6
    assert max(shares[1:]) < 0.25


def idx(values, magic=0x801):
    return struct.pack(">II", magic, len(values)) + bytes(values)


def test_labels_of_idx_files(tmp_path):
    for name, part in zip(labels.IDX_FILES.values(), ([5, 0, 4], [7]), strict=True):
        (tmp_path / name).write_bytes(idx(part))
    loaded = labels.load_labels("mnist", tmp_path)
    assert loaded.train.tolist() == [5, 0, 4]
    assert loaded.test.tolist() == [7]
    cases = {
        "cut": (idx([1, 2])[:-1], "must have 10 bytes for its 2 labels, got 9"),
        "images": (idx([1, 2], magic=0x803), "no IDX file of labels"),
        "plain.gz": (idx([1]), "damaged or cut short"),
    }
    for name, (damaged, sentence) in cases.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=sentence):
            read_idx(tmp_path / name, what="labels", dimensions=1)
    with pytest.raises(
        FileNotFoundError, match=r"or the file 't.*-labels-idx1-ubyte' \(or \.gz\), got"
    ):
        labels.load_labels("mnist", tmp_path.parent)
    with pytest.raises(UserError, match="got 'photos'"):
        labels.load_labels("photos")


def test_labels_of_both_copies_of_real_mnist_agree():
    folder = os.environ.get("WATSON_JAX_DATA")
    if not folder:
        pytest.skip("WATSON_JAX_DATA names no folder with MNIST")
    # TFDS shuffles, so compare how many there are of each.
    from_idx = labels.load_labels("mnist", Path(folder, "mnist")).test
    from_tfds = labels._read_tfds(Path(folder, "tensorflow_datasets"), "test")
    for digits in (from_idx, from_tfds):
        counts = np.bincount(digits)
        assert counts.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_labels_of_runs_say_what_differs():
    config = VaeConfig(log_weight=1.5)

    def names(*changes):
        return outcomes.labels_of([dataclasses.replace(config, **change) for change in changes])

    assert names({}, {"seed": 1}) == ["watson-dft"] * 2
    assert names({}, {"loss": "l2", "log_weight": 9.0}) == ["watson-dft", "l2"]
    assert names({}, {"log_weight": 2.0}) == ["λ = 1.5", "λ = 2"]
    assert names({}, {"weights": "published"}) == ["watson-dft", "watson-dft (published)"]
    # Files by their names, as whole paths would fill a picture.
    assert names({}, {"weights": "a/w.npz"}) == ["watson-dft", "watson-dft (w.npz)"]
    assert names({"weights": "a/w.npz"}, {"weights": "b/w.npz"}) == [
        "watson-dft (a/w.npz)", "watson-dft (b/w.npz)",
    ]  # fmt: skip
    longer = config.with_epochs(500)
    assert outcomes.labels_of([config, longer]) == [
        "watson-dft, epochs = 250",
        "watson-dft, epochs = 500",
    ]
    assert names({"halving_epochs": 50.0}, {"epochs": 500, "halving_epochs": 300.0}) == [
        "watson-dft, epochs = 250, halving_epochs = 50",
        "watson-dft, epochs = 500, halving_epochs = 300",
    ]
    assert names({}, {"hidden": 8}, {"loss": "l2"}) == [
        "watson-dft, hidden = 1024", "watson-dft, hidden = 8", "l2",
    ]  # fmt: skip


def test_rows_of_pictures_show_every_pixel_with_gaps_between():
    tables = noise(2, 1, 3, 4, 4, 1)
    canvas, tops = compare_figures.stack([compare_figures.tile(table) for table in tables])
    assert canvas.shape == (4 + 4 + 4, 12, 3)
    assert tops == [0, 8]
    np.testing.assert_array_equal(canvas[8:, 4:8, 1], tables[1, 0, 1, :, :, 0])
    assert (canvas[4:8] == 1).all()


def test_large_pictures_lose_columns_not_their_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(compare_figures, "_MOST_BYTES", 30_000)
    images = noise(1, 12, 32, 32, 3)
    compare_figures.save_rows(tmp_path / "x.png", {"noise": images}, title="", note="")
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.width < 12 * 64
        pixels = np.asarray(picture.convert("RGB"))
    last = pixels[40:104, -16 - 64 : -16][1:-1:2, 1:-1:2]
    assert np.abs(last - np.rint(255 * images[0, -1, : len(last), : len(last)])).mean() < 1


def test_table_is_readable(tmp_path):
    columns = {"training images": {"a": [1.0]}, "l2": {"b": [0.5], "a": [2.0, 4.0]}}
    table = compare_table.Table("digits", columns, ["A note."])
    assert table.format().splitlines() == [
        "digits",
        "",
        "                            l2",
        "   training images   (2 seeds)",
        "b                -       0.500",
        "a             1.00  3.00 ±1.41",
        "",
        "A note.",
    ]
    table.write_csv(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["measure"] for line in lines] == ["a", "b", "a"]
    assert float(lines[-1]["std"]) == pytest.approx(math.sqrt(2))
    assert lines[0]["std"] == ""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a run, the same with another seed, and one that pretends another loss."""
    folder = tmp_path_factory.mktemp("runs")
    with jax.numpy_dtype_promotion("standard"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "draw", lambda *_: [])  # takes longer than the training
        train.train_and_evaluate(TINY, folder / "a")
    config = json.loads((folder / "a" / "config.json").read_text())
    for name, changes in {"b": {"seed": 1}, "c": {"loss": "ssim", "epochs": 2}}.items():
        shutil.copytree(folder / "a", folder / name)
        (folder / name / "config.json").write_text(json.dumps(config | changes))
    return folder


@pytest.mark.slow
def test_run_is_read_back(finished):
    run = runs.load_run(finished / "a")
    assert dataclasses.replace(run.config, log_weight=None) == TINY
    assert run.rows[-1]["epoch"] == 1
    latents = noise(2, 3, 2)
    images = run.decode(latents)
    assert images.shape == (2, 3, 32, 32, 1)
    np.testing.assert_allclose(images[1], jax.jit(run.model.decode)(latents[1]), atol=1e-6)
    held_out = run.held_out(10)
    np.testing.assert_array_equal(held_out[1], run.experiment.images.test[26])
    assert len(run.held_out(1000)) == 261
    assert run.encode(quality.to_float(held_out)).shape == (10, 2)
    one, none = np.zeros((32, 32, 1)), np.zeros((0, 2))
    assert run.encode(one).shape == (2,)
    assert run.decode([[0, 0], [1, 1]]).shape == (2, 32, 32, 1)
    assert run.decode(none).shape == (0, 32, 32, 1)
    with pytest.raises(TypeError, match=r"floats in \[0, 1\], got uint8; divide"):
        run.encode(held_out)
    with pytest.raises(ValueError, match=r"floats in \[0, 1\], got 0 to 255; divide"):
        run.encode(held_out.astype(np.float32))
    with pytest.raises(ValueError, match=r"floats in \[0, 1\], got nan"):
        run.encode(one + np.nan)
    with pytest.raises(ValueError, match=r"`images` must have the shape \[\.\.\., 32, 32, 1\]"):
        run.encode(one[:16])
    with pytest.raises(ValueError, match=r"`latents` must have the shape .* got \(3, 5\)\."):
        run.decode(np.zeros((3, 5)))


@pytest.mark.slow
def test_the_docs_use_a_run(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished / "a", "runs/digits-watson-dft")
    found = {}
    for _, note, code in blocks(PAGES["docs/experiments.md"], "python"):
        if note == NEEDS_RUN:
            exec(code, found)
    assert found["latents"].shape == (5, 2)
    assert found["images"].shape == (5, 32, 32, 1)


@pytest.mark.slow
def test_comparison_leaves_table_pictures_and_report(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quality, "_PASSES", (1, 1))
    files = comparison.compare([str(finished)], tmp_path, number=64, losses=["l2", "ssim"])
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("(2 seeds)", "±0.000", "c has done 1 of 2 epochs."))
    pictures = [file for file in files if file.suffix == ".png"]
    assert {file.stem for file in pictures} == {
        "reconstructions", "samples", "interpolations", "manifolds", "spectra", "curves",
    }  # fmt: skip
    assert max(file.stat().st_size for file in pictures) < 300_000

    record = json.loads((tmp_path / "comparison.json").read_text())
    assert set(record["runs"]) == {"training images", "l2", "ssim"}
    l2 = record["runs"]["l2"]["l2 of reconstructions"]
    assert len(l2["values"]) == 2
    assert l2["mean"] == record["runs"]["ssim"]["l2 of reconstructions"]["mean"]  # the same model
    assert record["folders"]["l2"] == [str(finished / "a"), str(finished / "b")]

    report = (tmp_path / "report.html").read_text()
    assert report.count("data:image/png;base64,") == len(pictures)
    without_pictures = re.sub(r"data:image/png;base64,[\w+/=]+", "", report)
    assert not re.search(r"https?:|src=\"[^\"]|<script|@import|url\(", without_pictures)
    assert "sharpness of samples" in report


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda run: (run / "config.json").write_text("{"), "config.json is damaged"),
        (lambda run: (run / "config.json").write_text('{"data": "x"}'), "is not that of a VAE"),
        (lambda run: (run / "config.json").write_text('{"trials": 3}'), "unexpected keyword"),
        (lambda run: (run / "metrics.jsonl").write_text('{"epo'), "whose metrics.jsonl is damaged"),
        (lambda run: (run / "metrics.jsonl").write_text(""), "not finished its first epoch"),
        (lambda run: shutil.rmtree(run / "checkpoints"), "holds a run without a checkpoint"),
        (lambda run: shutil.rmtree(next(run.glob("checkpoints/[0-9]*")) / "default"), "cannot be used"),
    ],
)  # fmt: skip
def test_damaged_runs_are_one_sentence(finished, tmp_path, damage, sentence):
    run = tmp_path / "run"
    shutil.copytree(finished / "a", run)
    damage(run)
    with pytest.raises(UserError, match=sentence):
        runs.load_run(run)


@pytest.mark.slow
def test_runs_that_do_not_go_together(finished, tmp_path):
    with pytest.raises(UserError, match=r"^--runs must be a folder .* has no config\.json\.$"):
        runs.find_runs([str(tmp_path)])
    assert runs.find_runs([str(finished), str(finished / "a")]) == [finished / n for n in "abc"]
    shutil.copytree(finished / "a", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"data": "mnist"}))
    with pytest.raises(UserError, match=r"must have the same data, got digits in .* and mnist in"):
        comparison.compare([str(finished), str(tmp_path)], tmp_path / "x", number=64, losses=["l2"])


@pytest.mark.slow
def test_runs_of_different_shapes_do_not_go_together(finished, tmp_path, monkeypatch):
    def half_of_b(folder):
        run = runs.load_run(folder)
        if folder.name == "b":
            images = run.experiment.images
            images = dataclasses.replace(images, test=images.test[:, :16])
            experiment = dataclasses.replace(run.experiment, images=images)
            run = dataclasses.replace(run, experiment=experiment)
        return run

    monkeypatch.setattr(comparison, "load_run", half_of_b)
    monkeypatch.setattr(comparison, "_make_reader", lambda run: None)
    with pytest.raises(UserError, match=r"one shape, got 32x32x1 in .*a and 16x32x1 in .*b\.$"):
        comparison.compare([str(finished)], tmp_path, number=64, losses=["l2"])


def test_losses_are_named_without_the_folders_of_their_files(tmp_path):
    def names(*texts):
        return [*quality.make_losses(texts, (32, 32, 1))]

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        wj.save_params(tmp_path / folder / "w.npz", wj.get_loss("watson-dft", color="gray").params)
    files = [f"watson-dft:{tmp_path / folder / 'w.npz'}" for folder in ("a", "b")]
    assert names("l2", "watson-dft:packaged", files[0]) == [
        "l2",
        "watson-dft:packaged",
        "watson-dft:w.npz",
    ]
    assert names("l2", *files) == ["l2", *files]
    assert names("l2", "l2") == ["l2"]


@pytest.mark.slow
def test_wrong_flags_are_one_sentence(tmp_path):
    cases = [
        ([], "--runs must name folders of finished runs, got none."),
        (
            ["--runs=nowhere"],
            "--runs must be a folder that training has left, got nowhere, which does not exist.",
        ),
        (["--number=10"], "--number must be an integer of at least 64, got '10'."),
    ]
    assert_one_sentence("experiments.vae.compare", cases, cwd=tmp_path)


@pytest.mark.slow
def test_samples_of_a_finished_run(finished, tmp_path):
    own = tmp_path / "own.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(own)
    (tmp_path / "text.png").write_text("no image")
    run = f"--run={finished / 'a'}"
    five = (run, "--number=5")
    cases = {
        "samples": ([*five, "--output=samples.npy"], (5, 32, 32, 1)),
        "manifold": ([*five, "--kind=manifold", "--output=manifold.npy"], (5, 5, 32, 32, 1)),
        "interpolations": (
            [*five, "--kind=interpolations", "--output=interpolations.npy"],
            (5, 8, 32, 32, 1),
        ),
        "own": (
            [run, "--kind=reconstructions", f"--images={own}", "--output=own.npy"],
            (1, 32, 32, 1),
        ),
        "picture": ([run, "--kind=reconstructions", "--number=5"], None),
        "wrong": (["--run=nowhere"], None),
        "kind": ([run, "--kind=sample"], None),
        "images": ([run, f"--images={own}"], None),
        "pairs": ([run, "--kind=interpolations", f"--images={own},{own},{own}"], None),
        "number": ([run, "--kind=reconstructions", f"--images={own}", "--number=1"], None),
        "file": ([run, "--kind=reconstructions", "--images=none.png"], None),
        "text": ([run, "--kind=reconstructions", "--images=text.png"], None),
    }
    commands = [arguments for arguments, _ in cases.values()]
    done = run_each("experiments.vae.sample", commands, cwd=tmp_path)
    found = dict(zip(cases, done, strict=True))
    for name, (_, shape) in cases.items():
        if shape:
            assert found[name].returncode == 0, found[name].stderr
            layout = " x ".join(map(str, shape[:-3]))
            assert found[name].stdout == f"{layout} images: {name}.npy\n"
            images = np.load(tmp_path / f"{name}.npy")
            assert images.shape == shape
            assert np.all((images > 0) & (images < 1))  # none is filled up with white
    assert found["picture"].returncode == 0
    with Image.open(tmp_path / "reconstructions.png") as picture:
        assert min(picture.size) > 200
    sentences = {
        "wrong": "--run must be a folder that training has left, got nowhere, which does not exist.",
        "images": "--images must go with --kind=reconstructions or interpolations, got --kind=samples.",
        "pairs": "--images must be pairs for --kind=interpolations, got 3.",
        "number": "--number must not be set with --images, got 1; all images are drawn.",
        "file": "--images must be image files, got none.png, which is no file.",
        "text": "--images=text.png is no readable image: its format is unknown.",
    }
    for name, text in sentences.items():
        assert found[name].stderr == f"error: {text}\n"
    assert "did you mean 'samples'" in found["kind"].stderr
