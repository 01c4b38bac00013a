"""Decoders and descents that say how good a loss is as an objective."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import watson_jax as wj
from experiments.objective import decoder, descent
from experiments.vae.data import load_images
from experiments.vae.quality import to_float
from tests.experiments.command import assert_one_sentence, run


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax's schedules mix integer step counts with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_steps_to_reach_are_of_the_median_image():
    psnr = np.array([[10, 10, 10], [30, 20, 10], [30, 30, 10]])
    assert descent.steps_to_reach(psnr, 20) == 2
    assert descent.steps_to_reach(psnr, 25) == 3
    assert descent.steps_to_reach(psnr, 40) is None


def test_descents_come_home():
    images = to_float(load_images("digits").train[:2, 8:24, 8:24])
    loss = wj.get_loss("l2", color="gray")
    for start in descent.starts(images, seed=0).values():  # from noise, some pixels take longer
        end, psnr = descent.descend(loss, start, images, steps=100, seed=0)
        assert end.shape == images.shape
        assert psnr.shape == (100, 2)
        assert np.all(psnr[-1] > psnr[0] + 15)
        assert np.median(np.abs(end - images)) < 0.02


@pytest.mark.slow
def test_decoders_learn_and_repeat():
    images = to_float(load_images("digits").train[:64])
    loss = wj.get_loss("l2", color="gray")
    options = {"latents": 8, "batch_size": 32, "learning_rate": 2e-3, "seed": 0}
    fit = decoder.fit_decoder(loss, images, steps=40, **options)
    assert fit.images.shape == images.shape
    assert fit.gradient_norms.shape == (40,)
    assert np.mean((fit.images - images) ** 2) < 0.7 * fit.curve[0][1]
    again = decoder.fit_decoder(loss, images, steps=40, **options)
    np.testing.assert_array_equal(again.images, fit.images)


@pytest.mark.slow
def test_the_command_judges_and_draws(tmp_path):
    workdir = tmp_path / "out"
    flags = ["--quick", "--data=digits", "--losses=l2,watson-dft:initial", f"--workdir={workdir}"]
    done = run("experiments.objective.main", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sharpness" in done.stdout
    record = json.loads((workdir / "objective.json").read_text())
    assert [*record["runs"]] == ["l2", "watson-dft:initial"]
    assert record["runs"]["l2"]["from blur: dB"]["mean"] > 10
    for name in ("decoded.png", "descents.png"):
        with Image.open(workdir / name) as picture:
            assert min(picture.size) > 100


@pytest.mark.slow
def test_wrong_flags_are_one_sentence(tmp_path):
    cases = [
        (["--losses=l3"], "--losses or --judges must be one of"),
        (["--data=digits", "--skip=1500"], "--images must be at most 36"),
        (["--data=digits", "--latents=99", "--quick"], "--latents must be at most 64"),
    ]
    assert_one_sentence("experiments.objective.main", cases, cwd=tmp_path)
