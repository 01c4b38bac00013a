"""Large images in bands against the formula, which takes them as a whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import watson_jax as wj
from tests.images import noise
from watson_jax.losses._spec import CHANNELS
from watson_jax.losses._watson import api
from watson_jax.losses._watson.formula import WatsonOptions


@pytest.fixture
def in_bands(monkeypatch):
    """Runs a function on images of more than 900 numbers in bands of two rows of blocks."""

    def run(fn, *args):
        with monkeypatch.context() as patch:
            patch.setattr("watson_jax.losses._pairs.LARGE_IMAGE", 900)
            patch.setattr("watson_jax.losses._pairs.PIECE_SIZE", 2400)
            return fn(*args)

    return run


def distances(params, image, reference, *, implementation="auto", **options):
    """The distances, compiled anew, since the sizes are read when a shape is compiled."""
    options = WatsonOptions(**options)
    return api._distances.__wrapped__(params, image, reference, options, implementation)


def images(number, channels, height=28):
    """A pair, by default of four rows of blocks, the last one padded."""
    return [noise(seed, number, height, 40, channels) for seed in (1, 2)]


def assert_close(found, expected, tolerance):
    """Relative to each array's largest entry, or to the largest of all where that one is rounding."""
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True))
    scales = [float(jnp.max(jnp.abs(b))) for _, b in pairs]
    for (a, b), own_scale in zip(pairs, scales, strict=True):
        # The logit of a single channel has no effect, so that its gradient is rounding alone.
        scale = own_scale if own_scale > 1e-12 * max(scales) else max(scales)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "color", "shape", "options"),
    [
        ("watson-dft", "gray", (1, 36), {}),  # five rows of blocks, so that one is left over
        ("watson-dft", "rgb", (2, 28), {"luminance": "batch"}),
        ("watson-dct", "rgb", (2, 28), {"over_blocks": "mean"}),
    ],
    ids=str,
)
def test_value_and_gradient(name, color, shape, options, in_bands):
    params = wj.load_params(name, color=color, weights="initial")
    number, height = shape
    image, reference = images(number, CHANNELS[color], height)

    def value_and_gradient(implementation):
        def total(*args):
            return distances(*args, implementation=implementation, **options).sum()

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))

    run = value_and_gradient("auto")
    found = in_bands(run, params, image, reference)
    assert_close(found, value_and_gradient("plain")(params, image, reference), 1e-4)
    value, (_, *gradients) = run(params, image, image)
    assert value == 0
    assert not any(np.any(gradient) for gradient in gradients)


@pytest.mark.slow
def test_second_derivatives_of_several_parameter_sets(in_bands, x64):
    params = wj.load_params("watson-dct", color="gray", weights="initial")
    sets = jax.tree.map(lambda p: np.stack([p, 1.1 * p]).astype("float64"), params)
    image, reference = (x.astype("float64") for x in images(1, 1))

    def second_derivatives(implementation):
        def total(*args):
            return distances(*args, implementation=implementation, luminance_floor=0.5).sum()

        @jax.jit
        @functools.partial(jax.vmap, in_axes=(0, None, None))
        def run(*at):
            return jax.jvp(jax.grad(total, argnums=(0, 1, 2)), at, jax.tree.map(jnp.cos, at))

        return run

    args = (sets, image, reference)
    assert_close(
        in_bands(second_derivatives("auto"), *args), second_derivatives("plain")(*args), 1e-9
    )
