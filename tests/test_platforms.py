"""What other platforms compute, run on the one there is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import watson_jax as wj
from tests.example_losses import example_loss
from tests.images import noise
from watson_jax._platform import by_platform, pretend
from watson_jax.losses._ssim import _blur
from watson_jax.models._conv import conv_3x3
from watson_jax.training._two_afc import _for_each_trial


def of_each_platform(fn, *arguments):
    """The results of `fn` as a CPU, a GPU and a TPU compute them, all on this platform."""
    for platform in ("cpu", "cuda", "tpu"):
        with pretend(platform):
            yield jax.jit(fn)(*arguments)


def assert_all_close(results, **tolerance):
    first, *others = results
    for other in others:
        jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerance), first, other)


def test_each_platform_has_its_own():
    choose = functools.partial(
        by_platform, cpu=lambda x: x + 1, tpu=lambda x: x + 2, default=lambda x: x + 3
    )
    assert list(of_each_platform(choose, 0)) == [1, 3, 2]


# LPIPS is the same on all platforms. MS-SSIM differs by the blur of small planes, which is tested below.
LOSSES = [name for name in wj.list_losses() if "lpips" not in name and name != "ms-ssim"]


@pytest.mark.slow(except_for="watson-dft")
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients(name, x64):
    loss = example_loss(name, "rgb")
    images = [noise(seed, 3, 32, 32, 3).astype("float64") for seed in (0, 1)]
    run = jax.value_and_grad(lambda x, y: jnp.sum(loss(x, y) * jnp.arange(1.0, 4)), (0, 1))
    # Sums in other orders, in float64.
    assert_all_close(of_each_platform(run, *images), rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_blurred_planes_of_all_sizes(x64):
    """MS-SSIM halves 32x32 pixels down to 2x2, and puts zeros around them."""
    planes = [noise(side, 3, side + 10, side + 11).astype("float64") for side in (1, 2, 4, 16, 37)]
    run = jax.value_and_grad(lambda planes: sum(jnp.sum(_blur(x) ** 2) for x in planes))
    assert_all_close(of_each_platform(run, planes), rtol=1e-9, atol=1e-12)


def test_convolutions(x64):
    rng = np.random.default_rng(0)
    image, kernel = rng.normal(size=(3, 6, 8, 2)), rng.normal(size=(3, 3, 2, 4))
    run = jax.grad(lambda *x: jnp.sum(jnp.sin(conv_3x3(*x))), (0, 1))
    assert_all_close(of_each_platform(run, image, kernel), rtol=1e-9, atol=1e-12)


def test_trials():
    run = functools.partial(_for_each_trial, lambda trial: jnp.sin(trial).sum())
    assert_all_close(of_each_platform(run, jnp.arange(12.0).reshape(3, 4)), rtol=1e-6)
