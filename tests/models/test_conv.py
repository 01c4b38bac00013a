"""Convolutions have the values and gradients of XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from watson_jax.models import _conv


def xla_conv(image, kernel):
    return jax.lax.conv_general_dilated(
        image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def arrays(number, height, width, inputs, outputs, size=3):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(number, height, width, inputs))
    kernel = rng.normal(size=(size, size, inputs, outputs))
    return jnp.asarray(image, jnp.float32), jnp.asarray(kernel, jnp.float32)


@pytest.mark.parametrize(
    ("number", "height", "width", "inputs", "outputs"),
    # With one image left over, fewer images than go at once, more inputs than outputs, and fewer
    # pixels than the kernel has.
    [(5, 7, 6, 3, 4), (1, 8, 8, 4, 2), (3, 64, 64, 32, 33), (3, 2, 2, 3, 4), (2, 1, 1, 4, 3)],
)
def test_gradients_are_those_of_xla(number, height, width, inputs, outputs):
    image, kernel = arrays(number, height, width, inputs, outputs)

    def loss(conv, image, kernel):
        return jnp.sum(jnp.sin(conv(image, kernel)))

    found, expected = (
        jax.jit(jax.value_and_grad(lambda *x, c=conv: loss(c, *x), (0, 1)))(image, kernel)
        for conv in (_conv.conv_3x3, xla_conv)
    )
    # Sums of up to 12,000 terms in another order.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * float(jnp.abs(b).max())),
        found,
        expected,
    )


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 8), (8, 1), (3, 3), (4, 7)])
def test_convolve_is_that_of_xla(shape, size):
    image, kernel = arrays(2, *shape, 3, 4, size)
    found = _conv.convolve(image, kernel, jax.lax.Precision.HIGHEST)
    # Sums of up to 75 terms of size 1, in another order.
    np.testing.assert_allclose(found, xla_conv(image, kernel), rtol=1e-5, atol=1e-5)


def test_small_images_are_not_convolved_by_xla():
    # With it, 32 images of 2x2 pixels and 512 channels took 380 ms on a CPU; the product takes 3.
    for shape, is_product in (((2, 2), True), ((1, 8), True), ((3, 3), False)):
        image, kernel = arrays(1, *shape, 3, 4)
        text = str(jax.make_jaxpr(_conv.convolve)(image, kernel))
        assert ("conv_general_dilated" not in text) == is_product
