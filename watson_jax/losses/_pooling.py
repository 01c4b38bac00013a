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

    For p >= 1 no slope is steeper than 1. Below 1, where the authors' fits lie, |x|^p has an infinite
    slope at 0: there it is taken at |x| + 1e-10, where the authors take it, so that it is bounded.
    Entries that are exactly 0 have value 0 and gradient 0. The authors add 1e-10 to every entry and
    every power in the value too, which leaves identical images at a distance above 0.

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
    return _norm_and_slopes(x, p, axes, _sum_by_product)[0]


@_p_norm.defjvp
def _p_norm_jvp(axes, primals, tangents):
    (x, p), (dx, dp) = primals, tangents
    norm, slopes, shares = _norm_and_slopes(x, p, axes)
    # dL/dp = L / p^2 sum_i s_i log s_i
    entropy = jnp.sum(shares * _log(shares), axes)
    return norm, jnp.sum(jnp.sign(x) * slopes * dx, axes) + norm * entropy / p**2 * dp


def _sum_by_product(x, axes):
    """A sum as a product with ones: XLA's CPU code runs a sum of powers several times as long."""
    ones = jnp.ones([x.shape[a] for a in axes], x.dtype)
    contracted = ((axes, tuple(range(len(axes)))), ((), ()))
    return jax.lax.dot_general(x, ones, contracted, precision=jax.lax.Precision.HIGHEST)


def _norm_and_slopes(x, p, axes, add_up=jnp.sum):
    """The norm L, its slopes dL/d|x| = (|x| / L)^(p-1), and the shares |x|^p / sum |x|^p."""
    p = jnp.expand_dims(p, axes)
    epsilon = jnp.where(p < 1, EPSILON, 0)
    size = x * jnp.sign(x)  # As jnp.abs, but with derivative 0 and not 1 at 0.
    # All relative to the largest, so that no power overflows.
    largest = _nonzero(jnp.max(size, axes, keepdims=True) + epsilon)
    powers = exp((p - 1) * (log(_nonzero(size + epsilon)) - jnp.log(largest)))
    # |x|^p of the same power is |x| (|x| + e)^(p-1) (1 + e/|x|)^(1-p). In float32 the last factor is
    # left out, which is 1 to rounding for |x| above 0.001 and to a percent above 1e-8: smaller changes
    # are rounding errors of the images themselves.
    terms = size * powers
    if x.dtype == jnp.float64:
        terms = terms * jnp.exp((1 - p) * jnp.log1p(epsilon / _nonzero(size)))
    total = jnp.expand_dims(add_up(terms, axes), axes)
    log_total = _log(total / largest)
    norm = jnp.where(total == 0, 0, largest * jnp.exp(log_total / p))
    # A small p makes the slope at 0 infinite, where its sign is to take it to 0.
    slopes = jnp.minimum(powers * jnp.exp((1 - p) / p * log_total), float(jnp.finfo(x.dtype).max))
    return jnp.squeeze(norm, axes), slopes, terms / _nonzero(total)


def _log(x):
    """Log x, and 0 where x is 0."""
    return jnp.log(_nonzero(x))


def _nonzero(x):
    return jnp.where(x == 0, 1, x)
