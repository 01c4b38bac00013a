"""Elementary functions that a Watson loss takes of every coefficient, fast on CPUs.

XLA computes its own exponentials and logarithms on CPUs in about three times, its arctan2 in twenty
times as long, and with them a Watson loss would take half as long again. In float32 these are
polynomials here, on every backend; in float64 they are XLA's.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import bitcast_convert_type

# All three fitted for the smallest error by iteratively reweighted least squares on Chebyshev nodes;
# lowest power first. `tests/losses/test_cpu_elementary.py` bounds their errors.

# exp(t) on [-log(2) / 2, log(2) / 2], relative error 2e-9.
_EXP = (
    1.0000000005541716,
    1.0000000363231734,
    0.49999992079735717,
    0.16666420169932944,
    0.04166822558772852,
    0.0083748157987543,
    0.001383684497292396,
)

# log(1 + t) / t on [sqrt(1/2) - 1, sqrt(2) - 1], error 2.6e-8.
_LOG = (
    0.9999999750454862,
    -0.4999997774200496,
    0.3333416045898051,
    -0.2500294603836642,
    0.19958416936828938,
    -0.16543739359375653,
    0.1491738068770591,
    -0.14482177141731797,
    0.08959892965041782,
)

# arctan(t) / t on [0, 1], of t^2, relative error 1.5e-8.
_ARCTAN = (
    0.999999985,
    -0.333330733,
    0.199926191,
    -0.14203642,
    0.106409244,
    -0.0750427398,
    0.0426912756,
    -0.0160684787,
    0.00284985197,
)

# log(2) in two parts, the first short enough that its product with an exponent is exact.
_LOG2_HIGH = 0.693359375
_LOG2_LOW = float(np.log(2) - _LOG2_HIGH)
_SQRT_HALF_BITS = int(np.float32(np.sqrt(0.5)).view(np.int32))
_MANTISSA_BITS, _EXPONENT_BIAS = 23, 127


@jax.custom_jvp
def exp(x: jax.Array) -> jax.Array:
    """e^x; in float32 no less than e^-87 = 1.6e-38 and no more than e^88 = 1.7e38."""
    if x.dtype != jnp.float32:
        return jnp.exp(x)
    x = jnp.clip(x, -87, 88)
    exponent = jnp.round(x * np.float32(1 / np.log(2)))
    rest = (x - exponent * _LOG2_HIGH) - exponent * _LOG2_LOW
    power_of_two = (exponent.astype(jnp.int32) + _EXPONENT_BIAS) << _MANTISSA_BITS
    return _polynomial(_EXP, rest) * bitcast_convert_type(power_of_two, jnp.float32)


@exp.defjvp
def _exp_jvp(primals, tangents):
    value = exp(*primals)
    return value, value * tangents[0]


@jax.custom_jvp
def log(x: jax.Array) -> jax.Array:
    """The natural logarithm of positive numbers; in float32 of at least 1.2e-38."""
    if x.dtype != jnp.float32:
        return jnp.log(x)
    bits = bitcast_convert_type(x, jnp.int32)
    exponent = (bits - _SQRT_HALF_BITS) >> _MANTISSA_BITS
    mantissa = bitcast_convert_type(bits - (exponent << _MANTISSA_BITS), jnp.float32)
    exponent = exponent.astype(jnp.float32)
    t = mantissa - 1
    value = exponent * _LOG2_HIGH + (exponent * _LOG2_LOW + t * _polynomial(_LOG, t))
    return jnp.where(jnp.isnan(x), x, value)


@log.defjvp
def _log_jvp(primals, tangents):
    return log(*primals), tangents[0] / primals[0]


def arctan2(sine: jax.Array, cosine: jax.Array) -> jax.Array:
    """The angle of a point, for `sine` >= 0: in [0, pi], and 0 for the origin."""
    if sine.dtype != jnp.float32:
        return jnp.arctan2(sine, cosine)
    low = jnp.minimum(sine, jnp.abs(cosine))
    high = jnp.maximum(sine, jnp.abs(cosine))
    ratio = low / jnp.where(high == 0, 1, high)
    angle = ratio * _polynomial(_ARCTAN, ratio * ratio)
    angle = jnp.where(sine > jnp.abs(cosine), np.float32(np.pi / 2) - angle, angle)
    return jnp.where(cosine < 0, np.float32(np.pi) - angle, angle)


def _polynomial(coefficients: tuple[float, ...], x: jax.Array) -> jax.Array:
    return functools.reduce(
        lambda value, c: value * x + np.float32(c),
        reversed(coefficients[:-1]),
        jnp.full_like(x, coefficients[-1]),
    )
