"""The polynomials in place of XLA's functions are as exact as float32 is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.derivatives import check_derivatives
from watson_jax.losses._watson.cpu import elementary

# Half a unit in the last place of float32 is 6e-8 of a number; these round a few times.
ROUNDING = 2.5e-7


def test_exp():
    x = np.linspace(-86, 87, 100_001, dtype=np.float32)
    found = np.asarray(jax.jit(elementary.exp)(x), np.float64)
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64)), rtol=ROUNDING)


def test_exp_stays_finite_and_lets_nan_through():
    found = elementary.exp(jnp.array([-1e4, -jnp.inf, 1e4, jnp.inf, jnp.nan]))
    assert np.all(found[:2] <= 1.7e-38)
    assert np.all(found[2:4] >= 1.6e38)
    assert np.all(np.isfinite(found[:4]))
    assert np.isnan(found[4])


def test_log():
    x = np.geomspace(1.2e-38, 3e38, 100_001).astype(np.float32)
    near_one = np.linspace(0.5, 2, 100_001, dtype=np.float32)
    for values in (x, near_one):
        found = np.asarray(jax.jit(elementary.log)(values), np.float64)
        expected = np.log(values.astype(np.float64))
        np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=1e-8)
    assert elementary.log(jnp.float32(1)) == 0
    assert np.isnan(elementary.log(jnp.float32(jnp.nan)))


def test_arctan2():
    turn = np.linspace(0, np.pi, 10_001)
    for radius in (1e-18, 1.0, 1e18):
        y, x = (radius * f(turn) for f in (np.sin, np.cos))
        y, x = np.abs(y).astype(np.float32), x.astype(np.float32)
        found = np.asarray(jax.jit(elementary.arctan2)(y, x), np.float64)
        expected = np.arctan2(y.astype(np.float64), x.astype(np.float64))
        np.testing.assert_allclose(found, expected, atol=ROUNDING)
    assert elementary.arctan2(jnp.float32(0), jnp.float32(0)) == 0


@pytest.mark.parametrize("function", [elementary.exp, elementary.log])
def test_derivatives(function, x64):
    x = np.array([0.3, 1.0, 5.0])
    gradient = jax.vmap(jax.grad(function))
    check_derivatives(function, (x,), rtol=1e-5)
    check_derivatives(gradient, (x,), rtol=1e-5)
    run = jax.jit(gradient)
    np.testing.assert_allclose(run(np.float32(x)), run(x), rtol=ROUNDING)
