"""The convolution that CPUs do their own way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from watson_jax.models import _conv


@pytest.mark.parametrize(
    ("number", "height", "width", "inputs", "outputs"),
    # With one image left over, fewer images than go at once, and more inputs than outputs.
    [(5, 7, 6, 3, 4), (1, 8, 8, 4, 2), (3, 64, 64, 32, 33)],
)
def test_gradients_are_those_of_xla(number, height, width, inputs, outputs):
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(number, height, width, inputs)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, inputs, outputs)), jnp.float32)

    def loss(conv, image, kernel):
        return jnp.sum(jnp.sin(conv(image, kernel)))

    found, expected = (
        jax.jit(jax.value_and_grad(lambda *x, c=conv: loss(c, *x), (0, 1)))(image, kernel)
        for conv in (_conv.conv_3x3, _conv._native)
    )
    # Sums of up to 12,000 terms in another order.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * float(jnp.abs(b).max())),
        found,
        expected,
    )
