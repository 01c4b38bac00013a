"""Barron's general robust loss, and the probability distribution of which it is the exponent."""

from __future__ import annotations

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def general_robust_loss(
    x: Float[Array, "*#shape"], alpha: Float[Array, "*#shape"], scale: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """A loss of a residual whose shape runs from outlier-blind to quadratic.

        rho(x, alpha, c) = |alpha - 2| / alpha (((x / c)^2 / |alpha - 2| + 1)^(alpha / 2) - 1)

    and its limits: log((x / c)^2 / 2 + 1), Cauchy's loss, at alpha = 0, and (x / c)^2 / 2 at alpha = 2.

    Args:
      x: residuals, any numbers.
      alpha: the shape, any finite number.
      scale: c > 0, the size of a residual at which the loss ceases to be quadratic.

    Returns:
      Losses >= 0, in the shape to which the arguments broadcast. Value and derivatives are finite;
      that with respect to alpha, which is infinite at alpha = 2, is 0 there.

    Example:
      >>> values = general_robust_loss(jnp.full(3, 2.0), jnp.array([0.0, 1.0, 2.0]), 1.0)
      >>> [f"{value:.4f}" for value in values]
      ['1.0986', '1.2361', '2.0000']

    References:
      J. T. Barron: A General and Adaptive Robust Loss Function. CVPR 2019, eq. 1, 8.
    """
    square = (x / scale) ** 2
    gap = jnp.abs(alpha - 2)
    quadratic = gap == 0
    gap = jnp.where(quadratic, 1, gap)
    log_base = jnp.log1p(square / gap)
    # gap / alpha (e^(alpha log_base / 2) - 1), in which alpha no longer divides.
    robust = gap / 2 * log_base * _relative_expm1(alpha / 2 * log_base)
    return jnp.where(quadratic, square / 2, robust)


def robust_negative_log_likelihood(
    x: Float[Array, "*#shape"], alpha: Float[Array, "*#shape"], scale: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """The negative log-likelihood of Barron's general distribution.

    The general robust loss and what makes its exponential integrate to 1 over x, which keeps alpha and
    the scale from running away when they are learned: rho(x, alpha, c) + log c + log Z(alpha).

    Args:
      x: residuals, any numbers.
      alpha: the shape, in [0, 2].
      scale: c > 0.

    Returns:
      Any numbers, in the shape to which the arguments broadcast; lower is more likely.

    Example:
      >>> print(f"{robust_negative_log_likelihood(jnp.array(1.0), jnp.array(2.0), 1.0):.6f}")
      1.418939

    References:
      J. T. Barron: A General and Adaptive Robust Loss Function. CVPR 2019, eq. 16.
    """
    constant = jnp.log(scale) + robust_log_partition(alpha)
    return general_robust_loss(x, alpha, scale) + constant


def robust_log_partition(alpha: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The logarithm of the normalising constant, Z(alpha) = integral of exp(-rho(x, alpha, 1)) dx.

    From two Chebyshev series, fitted on first use to a quadrature of the integral, with an error below
    1e-7. In float32 rounding adds 3e-7.

    Args:
      alpha: the shape, in [0, 2]; values outside count as the nearest end.

    Returns:
      log Z, the same shape, from log(pi sqrt(2)) at 0 down to log(sqrt(2 pi)) at 2, with a derivative
      that agrees with the value. It goes to infinity like log(2 - alpha) at 2, and is 0 there.

    Example:
      >>> [f"{value:.6f}" for value in robust_log_partition(jnp.array([0.0, 1.0, 2.0]))]
      ['1.491303', '1.185495', '0.918939']

    References:
      J. T. Barron: A General and Adaptive Robust Loss Function. CVPR 2019, eq. 17.
    """
    alpha = jnp.clip(alpha, 0, 2)
    is_low = alpha < 1
    lower, upper = _log_partition_series()
    low = _chebyshev(lower, _low_variable(jnp.where(is_low, alpha, 1)))
    # Kept away from 2 inside the roots, whose derivative there is infinite. (The maximum of alpha and 1
    # would have half of the derivative at 1, where training starts.)
    high = jnp.where(is_low, 1, jnp.minimum(alpha, 2 - 1e-6))
    high = _chebyshev(upper, _high_variable(high))
    high = jnp.where(alpha == 2, math.log(2 * math.pi) / 2, high)
    return jnp.where(is_low, low, high)


def log_partition_by_quadrature(alpha: np.ndarray) -> np.ndarray:
    """The logarithm of Z in float64 NumPy, for 0 <= alpha < 2, to rounding.

    With x = sqrt(2 - alpha) sinh t the base of the power is cosh(t)^2: the integrand is analytic in a
    strip about the real line that is the same for every alpha and falls at least like exp(-t), where
    the trapezoidal rule converges exponentially.
    """
    step = 0.04
    t = np.arange(0, 45, step)
    log_cosh = t + np.log1p(np.exp(-2 * t)) - math.log(2)
    alpha = np.asarray(alpha, np.float64)[..., None]
    u = alpha * log_cosh
    growth = np.where(u == 0, 1, np.expm1(u) / np.where(u == 0, 1, u))
    integrand = np.exp(log_cosh - (2 - alpha) * log_cosh * growth)
    integral = step * (2 * integrand.sum(-1) - integrand[..., 0])
    return np.log(integral) + 0.5 * np.log(2 - alpha[..., 0])


# Variables in [-1, 1] in which log Z is smooth: at alpha = 2 it behaves like (2 - alpha) log(2 - alpha),
# at alpha = 0 its derivatives grow too fast for a power series to converge.
_NEAR_0 = 0.01


def _low_variable(alpha):
    low, high = math.sqrt(_NEAR_0), math.sqrt(1 + _NEAR_0)
    return (2 * (alpha + _NEAR_0) ** 0.5 - low - high) / (high - low)


def _low_inverse(variable):
    low, high = math.sqrt(_NEAR_0), math.sqrt(1 + _NEAR_0)
    return ((variable * (high - low) + low + high) / 2) ** 2 - _NEAR_0


def _high_variable(alpha):
    return 2 * ((2 - alpha) ** 0.5) ** 0.5 - 1


def _high_inverse(variable):
    return 2 - ((variable + 1) / 2) ** 4


@functools.cache
def _log_partition_series(degree: int = 16) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Chebyshev coefficients of log Z over alpha in [0, 1] and [1, 2]."""
    angles = np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1)
    basis = np.cos(np.outer(np.arange(degree + 1), angles)) * 2 / (degree + 1)
    basis[0] /= 2
    low, high = (
        basis @ log_partition_by_quadrature(np.clip(inverse(np.cos(angles)), 0, 2))
        for inverse in (_low_inverse, _high_inverse)
    )
    return tuple(map(float, low)), tuple(map(float, high))


def _chebyshev(coefficients, x):
    """The sum of Chebyshev polynomials by Clenshaw's recurrence, which is stable in float32."""
    last, before = jnp.zeros_like(x), jnp.zeros_like(x)
    for coefficient in reversed(coefficients[1:]):
        last, before = coefficient + 2 * x * last - before, last
    return coefficients[0] + x * last - before


def _relative_expm1(u):
    """(e^u - 1) / u, 1 at 0, with all derivatives accurate near 0."""
    small = jnp.abs(u) < 0.5
    v = jnp.where(small, u, 0)
    series = jnp.ones_like(v)
    for n in range(16, 1, -1):
        series = 1 + v / n * series
    u = jnp.where(small, 1, u)
    return jnp.where(small, series, jnp.expm1(u) / u)
