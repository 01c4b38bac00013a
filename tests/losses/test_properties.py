"""What holds for any shape, type and range of images, and for any parameters."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import watson_jax as wj
from tests.example_losses import example_loss
from tests.images import noise
from watson_jax.losses._spec import CHANNELS

any_length = st.integers(0, 60)
SHOWN = ("l1", "ssim", "watson-dct", "watson-dft")  # the others share their code, or trace for long


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
@settings(max_examples=4, deadline=None)
@given(
    batch=st.lists(st.integers(0, 3), max_size=3),
    more=st.tuples(any_length, any_length),
    color=st.sampled_from([*CHANNELS]),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
)
def test_shapes_and_types(name, batch, more, color, dtype):
    least = wj.loss_info(name).min_size
    shape = (*batch, least + more[0], least + more[1], CHANNELS[color])
    loss, image = example_loss(name, color), jax.ShapeDtypeStruct(shape, dtype)
    value = jax.eval_shape(loss, image, image)
    assert (value.shape, value.dtype) == (tuple(batch), np.float32)
    gradient = jax.eval_shape(jax.grad(lambda *pair: loss(*pair).sum()), image, image)
    assert (gradient.shape, gradient.dtype) == (shape, dtype)


@functools.cache
def value_and_gradients(name, floors):
    loss = wj.get_loss(name, color="rgb", weights="initial", **dict.fromkeys(floors, 0.1))
    return loss.params, jax.jit(jax.value_and_grad(loss.fn, argnums=(0, 1, 2)))


@pytest.mark.parametrize(
    ("name", "floors"),
    [("watson-dft", ("phase_floor", "luminance_floor")), ("watson-dct", ("luminance_floor",))],
)
@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    spread=st.floats(0, 4),
    low=st.floats(-1, 1),
    high=st.floats(-1, 1),
    contrast=st.sampled_from([0, 1e-3, 1]),
)
@example(seed=0, spread=3.0, low=0.0, high=-1.0, contrast=1)  # both have exponents that are raised
@example(seed=1, spread=1.25, low=0.0, high=0.0, contrast=1e-3)
@example(seed=10, spread=3.0, low=0.0, high=0.0, contrast=1)  # an exponent of 0.1 and no brightness
def test_any_parameters(name, floors, seed, spread, low, high, contrast):
    params, run = value_and_gradients(name, floors)
    rng = np.random.default_rng(seed)
    leaves, structure = jax.tree.flatten(params)
    drawn = [x + np.float32(spread) * rng.standard_normal(x.shape, np.float32) for x in leaves]
    params = jax.tree.unflatten(structure, drawn)
    # Files with a smaller exponent are refused. Where thresholds are apart by e^20 as well, the
    # distance reaches 1e27, and float32 does not hold its gradient.
    least = np.float32(0.1 if spread <= 3 else 0.5)
    params = dataclasses.replace(
        params, pooling_exponent=np.maximum(params.pooling_exponent, least)
    )
    image = np.float32(low) + np.float32(high - low) * noise(seed, 16, 16, 3)
    other = image + np.float32(contrast) * (noise(seed + 1, 16, 16, 3) - np.float32(0.5))
    value, gradients = run(params, image, other)
    assert value >= 0
    assert np.isfinite(value)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
    value, (_, *of_images) = run(params, image, image)
    assert value == 0
    assert not np.any(of_images)
