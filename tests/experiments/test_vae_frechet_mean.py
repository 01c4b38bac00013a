"""Fréchet means of groups of images."""

import jax
import numpy as np
import pytest

import watson_jax as wj
from experiments.vae.groups import frechet_means, similar_images
from tests.experiments.command import run_each
from tests.images import noise


def test_groups_are_of_the_nearest():
    images = np.linspace(0, 1, 11, dtype=np.float32).reshape(-1, 1, 1, 1)
    groups = similar_images(images, size=3, groups=11, seed=0)
    for group in groups[..., 0, 0, 0]:
        first = np.clip(group[0], 0.1, 0.9)
        np.testing.assert_allclose(sorted(group), first + np.array([-0.1, 0, 0.1]), atol=1e-6)


def test_by_l2_it_is_the_mean():
    groups = noise(1, 2, 5, 8, 8, 1)
    loss = wj.get_loss("l2", color="gray")
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules need it
        means = frechet_means(loss, groups, jax.random.key(0))
    np.testing.assert_allclose(means, groups.mean(1), atol=0.02)


@pytest.mark.slow
def test_command_draws_and_refuses(tmp_path):
    arguments = ("--sizes=2", "--groups=4", "--losses=l2", f"--workdir={tmp_path}")
    commands = [arguments, ["--sizes=2,x"]]
    done, wrong = run_each("experiments.vae.frechet_mean", commands, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "frechet_means.png").stat().st_size < 300_000
    assert wrong.returncode == 2
    assert wrong.stderr.strip() == "error: --sizes must be whole numbers, got '2,x'."
