"""The mean absolute and the mean squared difference."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.images import degenerate_pairs, noise
from watson_jax.losses._pixel import l1, l2

LOSSES = {"l1": (l1, np.abs), "l2": (l2, np.square)}

pytestmark = pytest.mark.filterwarnings("ignore::watson_jax.RangeWarning")


@pytest.fixture(params=LOSSES)
def name(request):
    return request.param


@pytest.fixture
def loss(name):
    return LOSSES[name][0]


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (2, 3, 6, 4, 1), (0, 4, 4, 3)])
def test_mean_over_one_image(name, loss, shape):
    image, reference = noise(1, *shape), noise(2, *shape)
    expected = LOSSES[name][1](np.float64(image) - np.float64(reference)).mean((-3, -2, -1))
    np.testing.assert_allclose(loss(image, reference), expected, rtol=1e-6)


def test_identical_images_are_at_0_with_gradient_0(loss):
    image = noise(1, 4, 4, 3)
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(image, image)
    assert value == 0
    assert not np.any(gradients[0])
    assert not np.any(gradients[1])


def test_gradient_of_l1_is_0_at_equal_pixels_alone():
    image = jnp.array([0.5, 0.25, 0.75]).reshape(1, 3, 1)
    gradient = jax.grad(l1)(image, jnp.full((1, 3, 1), 0.5))
    np.testing.assert_allclose(gradient.ravel(), [0, -1 / 3, 1 / 3], rtol=1e-6)


def test_everything_is_finite(loss):
    for image, reference in degenerate_pairs(3).values():
        found = jax.value_and_grad(loss, argnums=(0, 1))(1e4 * image, 1e4 * reference)
        chex.assert_tree_all_finite(found)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_images_are_compared_in_float32(loss, dtype):
    image, reference = (noise(seed, 4, 4, 1).astype(dtype) for seed in (1, 2))
    assert loss(image, reference).dtype == jnp.float32
    assert jax.grad(loss)(image, reference).dtype == dtype


def test_shapes_must_agree(loss):
    with pytest.raises(ValueError, match="must have the same shape"):
        loss(noise(1, 4, 4, 1), noise(2, 2, 4, 4, 1))


@pytest.mark.parametrize("pairs_of", ["rgb64", "gray64", "gray32_mnist"])
def test_recorded(name, loss, pairs_of, goldens, x64):
    pairs, recorded = goldens(f"pairs_{pairs_of}"), goldens(f"{pairs_of}_{name}")
    image, reference = (jnp.asarray(pairs[key], "float64") for key in ("input", "target"))
    size = image[0].size  # The authors sum over pixels.
    np.testing.assert_allclose(size * loss(image, reference), recorded["value_f64"], rtol=1e-10)
    gradient = size * jax.grad(lambda x: loss(x, reference).sum())(image)
    np.testing.assert_allclose(gradient, recorded["grad_f32"].astype("float64"), atol=1e-6)
