"""The p-norm with which visible changes are added up."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from watson_jax.losses._elementary import exp, log
from watson_jax.losses._masking import EPSILON


def p_norm(
    x: Float[Array, "*shape"], p: Float[Array, "*#pooled"], *, axis: int | Sequence[int]
) -> Float[Array, "*pooled"]:
    """Pools magnitudes (eq. 4, 8): (sum |x|^p)^(1/p).

    Fitted exponents lie below 1, where |x|^p has an infinite slope at 0. Entries that are exactly 0
    have value 0 and gradient 0 here, and elsewhere the slope is taken at |x| + 1e-10, where the authors
    take it, so that it is bounded. They add 1e-10 to every entry and every power in the value too,
    which leaves identical images at a distance above 0.

    Args:
      x: any numbers.
      p: the exponent, > 0, broadcastable to the result.
      axis: the axis or axes to pool over.

    Returns:
      `x` without the pooled axes.

    Example:
      >>> float(p_norm(jnp.array([3.0, 0.0, 4.0]), jnp.array(2.0), axis=0))
      5.0
    """
    axes = tuple(a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis))
    shape = jnp.broadcast_shapes(p.shape, [n for a, n in enumerate(x.shape) if a not in axes])
    return _p_norm(x, jnp.broadcast_to(p, shape), axes)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _p_norm(x, p, axes):
    return _norm_and_slopes(x, p, axes)[0]


@_p_norm.defjvp
def _p_norm_jvp(axes, primals, tangents):
    (x, p), (dx, dp) = primals, tangents
    norm, slopes, log_x = _norm_and_slopes(x, p, axes)
    # dL/dp = L / p^2 sum_i s_i log s_i, for the shares s_i = |x_i|^p / sum |x|^p = |x_i| dL/d|x_i| / L
    shares = jnp.abs(x) * slopes / jnp.expand_dims(jnp.where(norm == 0, 1, norm), axes)
    log_shares = jnp.expand_dims(p, axes) * (log_x - jnp.expand_dims(_log(norm), axes))
    entropy = jnp.sum(shares * log_shares, axes)
    return norm, jnp.sum(jnp.sign(x) * slopes * dx, axes) + norm * entropy / p**2 * dp


def _norm_and_slopes(x, p, axes):
    """The norm L, its slopes dL/d|x| = (|x| / L)^(p-1), and log |x|; the last two at |x| + 1e-10."""
    p = jnp.expand_dims(p, axes)
    size = jnp.abs(x)
    # All relative to the largest, so that no power overflows.
    largest = jnp.max(size, axes, keepdims=True) + EPSILON
    log_x = log(size + EPSILON)
    powers = exp((p - 1) * (log_x - jnp.log(largest)))
    # |x|^p of the same power is |x| (|x| + e)^(p-1) (1 + e/|x|)^(1-p). In float32 the last factor is 1
    # for |x| above 0.001, and below these terms hardly count: it would cost more than it says.
    terms = size * powers
    if x.dtype == jnp.float64:
        terms = terms * jnp.exp((1 - p) * jnp.log1p(EPSILON / jnp.where(size == 0, 1, size)))
    total = jnp.sum(terms, axes, keepdims=True) / largest
    norm = jnp.where(total == 0, 0, largest * jnp.exp(_log(total) / p))
    slopes = powers * jnp.exp((1 - p) / p * _log(total))
    return jnp.squeeze(norm, axes), slopes, log_x


def _log(x):
    """Log x, and 0 where x is 0."""
    return jnp.log(jnp.where(x == 0, 1, x))
