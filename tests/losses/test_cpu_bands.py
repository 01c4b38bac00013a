"""Large images in bands against the same images as a whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import watson_jax as wj
from tests.images import noise


@pytest.fixture
def in_bands(monkeypatch):
    """Runs a function on images of more than 900 numbers in bands of two rows of blocks."""

    def run(fn, *args):
        with monkeypatch.context() as patch:
            patch.setattr("watson_jax.losses._pairs.LARGE_IMAGE", 900)
            patch.setattr("watson_jax.losses._pairs.PIECE_SIZE", 2400)
            jax.clear_caches()  # The sizes are read when a shape is compiled.
            result = fn(*args)
            jax.clear_caches()
        return result

    return run


def images(number, channels):
    """A pair of five rows of blocks, the last one padded."""
    return [noise(seed, number, 36, 40, channels) for seed in (1, 2)]


def assert_close(found, expected, tolerance):
    """Relative to each array's largest entry, or to the largest of all where that one is rounding."""
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True))
    scales = [float(jnp.max(jnp.abs(b))) for _, b in pairs]
    for (a, b), own_scale in zip(pairs, scales, strict=True):
        # The logit of a single channel has no effect, so that its gradient is rounding alone.
        scale = own_scale if own_scale > 1e-12 * max(scales) else max(scales)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("name", "number", "options"),
    [
        ("watson-dft", 1, {}),
        ("watson-dft", 2, {"luminance": "batch"}),
        ("watson-dct", 2, {"over_blocks": "mean"}),
    ],
    ids=str,
)
def test_value_and_gradient(name, number, options, in_bands):
    loss = wj.get_loss(name, color="rgb", weights="initial", **options)

    def run(*args):  # a new function each time, which is compiled with the sizes of now
        return jax.jit(jax.value_and_grad(lambda *a: loss.fn(*a).sum(), argnums=(0, 1, 2)))(*args)

    args = (loss.params, *images(number, 3))
    assert_close(in_bands(run, *args), run(*args), 1e-4)


def test_second_derivatives_of_several_parameter_sets(in_bands, x64):
    loss = wj.get_loss("watson-dct", color="gray", weights="initial", luminance_floor=0.5)
    sets = jax.tree.map(lambda p: jnp.stack([p, 1.1 * p]).astype("float64"), loss.params)
    image, reference = (x.astype("float64") for x in images(1, 1))

    @functools.partial(jax.vmap, in_axes=(0, None, None))
    def run(params, image, reference):
        gradient = jax.grad(lambda *args: loss.fn(*args).sum(), argnums=(0, 1, 2))
        at = (params, image, reference)
        return jax.jvp(gradient, at, jax.tree.map(jnp.cos, at))

    args = (sets, image, reference)
    assert_close(in_bands(run, *args), run(*args), 1e-9)


def test_identical_images_are_at_no_distance(in_bands):
    loss = wj.get_loss("watson-dft", color="gray", weights="initial")
    image = images(1, 1)[0]
    value, gradient = in_bands(jax.value_and_grad(lambda x: loss(x, image).sum()), image)
    assert value == 0
    assert not jnp.any(gradient)
