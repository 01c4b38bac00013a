"""The p-norm with which visible changes are added up."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

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
    return _norm_and_log_shares(x, p, axes)[0]


@_p_norm.defjvp
def _p_norm_jvp(axes, primals, tangents):
    (x, p), (dx, dp) = primals, tangents
    norm, log_shares = _norm_and_log_shares(x, p, axes)
    expand = functools.partial(jnp.expand_dims, axis=axes)
    safe_norm = jnp.where(norm == 0, 1, norm)
    # dL/dx = sign(x) (|x| / L)^(p-1), with sign(0) = 0
    ratio = (jnp.abs(x) + EPSILON) / expand(safe_norm)
    slope = jnp.sign(x) * jnp.exp((expand(p) - 1) * jnp.log(ratio))
    # dL/dp = L / p^2 sum_i s_i log s_i, for the shares s_i = |x_i|^p / sum |x|^p
    entropy = jnp.sum(jnp.where(x == 0, 0, jnp.exp(log_shares) * log_shares), axes)
    return norm, jnp.sum(slope * dx, axes) + norm * entropy / p**2 * dp


def _norm_and_log_shares(x, p, axes):
    """The norm, and log(|x_i|^p / sum |x|^p), which is of no use where x is 0."""
    is_zero = x == 0
    log_x = jnp.log(jnp.where(is_zero, 1, jnp.abs(x)))
    log_powers = jnp.expand_dims(p, axes) * log_x
    # Relative to the largest, so that no power overflows.
    largest = jnp.max(jnp.where(is_zero, -jnp.inf, log_powers), axes, keepdims=True)
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    total = jnp.sum(jnp.where(is_zero, 0, jnp.exp(log_powers - largest)), axes, keepdims=True)
    all_zero = total == 0
    log_sum = largest + jnp.log(jnp.where(all_zero, 1, total))
    norm = jnp.where(all_zero, 0, jnp.exp(log_sum / jnp.expand_dims(p, axes)))
    return jnp.squeeze(norm, axes), log_powers - log_sum
