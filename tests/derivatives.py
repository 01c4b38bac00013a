"""Derivatives against central differences."""

import jax
import jax.numpy as jnp
import numpy as np


def check_derivatives(fn, at, *, rtol, step=1e-6, atol=0.0):
    """Forward and reverse mode along a random direction, in float64, both by one compiled program.

    Args:
      fn: any function of arrays to an array.
      at: its arguments, pytrees of float64.
      rtol: how far derivatives may be from differences.
      step: of the differences, in units of the direction.
      atol: the same as an absolute number.
    """
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: rng.normal(size=np.shape(x)), at)

    @jax.jit
    def run(at):
        value, forward = jax.jvp(fn, at, direction)
        weights = 1.5 + jnp.cos(jnp.arange(1.0, value.size + 1)).reshape(value.shape)
        gradient = jax.vjp(fn, *at)[1](weights)
        products = jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)
        return value, forward, weights, sum(jax.tree.leaves(products))

    def value_at(size):
        return run(jax.tree.map(lambda x, d: x + size * d, at, direction))[0]

    _, forward, weights, backward = run(at)
    expected = (value_at(step) - value_at(-step)) / (2 * step)
    np.testing.assert_allclose(forward, expected, rtol=rtol, atol=atol)
    np.testing.assert_allclose(backward, np.sum(weights * expected), rtol=rtol, atol=atol)
