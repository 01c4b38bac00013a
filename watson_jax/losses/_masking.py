"""Watson's masking: how brightness and contrast of the reference raise the visible change."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1e-10  # Wherever the paper has an epsilon.


def luminance_masking(
    thresholds: Float[Array, "*#shape"],
    dc: Float[Array, "*#shape"],
    mean_dc: Float[Array, "*#shape"],
    exponent: Float[Array, "*#shape"],
    *,
    floor: float = 0.0,
) -> Float[Array, "*shape"]:
    """Scales the thresholds by the brightness of a block (eq. 5): T_L = T (C_00 / mean C_00)^alpha.

    Args:
      thresholds: T, smallest visible change of each coefficient, > 0.
      dc: the blocks' DC coefficients C_00 of the reference, >= 0.
      mean_dc: their mean over the image, >= 0.
      exponent: alpha.
      floor: a lower bound on the ratio. The paper has none (0): on black blocks a threshold can then
        run to 0 or grow without bound.

    Returns:
      Masked thresholds, in the shape to which the arguments broadcast.

    Example:
      >>> print(f"{luminance_masking(2.0, jnp.array(0.9), jnp.array(0.1), 0.5):.3f}")
      6.000
    """
    ratio = jnp.maximum((dc + EPSILON) / (mean_dc + EPSILON), floor)
    return thresholds * jnp.exp(exponent * jnp.log(ratio))


def smooth_maximum(
    a: Float[Array, "*#shape"], b: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """The mean of two numbers weighted by their softmax (eq. 7): (a e^a + b e^b) / (e^a + e^b).

    Written with the sigmoid of the difference, which cannot overflow.

    Args:
      a: any numbers.
      b: any numbers.

    Returns:
      A value between both and never above the larger.

    Example:
      >>> float(smooth_maximum(jnp.array(1000.0), jnp.array(1.0)))
      1000.0
    """
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)
    gap = high - low
    return high - gap * jax.nn.sigmoid(-gap)


def contrast_masking(
    thresholds: Float[Array, "*#shape"],
    magnitudes: Float[Array, "*#shape"],
    exponent: Float[Array, "*#shape"],
) -> Float[Array, "*shape"]:
    """Raises thresholds where the reference has energy: S = smax(T_L, |C|^r T_L^(1-r)) (eq. 6, 7).

    Args:
      thresholds: T_L, luminance-masked thresholds, > 0.
      magnitudes: |C|, magnitudes of the reference's coefficients, >= 0.
      exponent: r in (0, 1).

    Returns:
      The visible change S of each coefficient, in the shape to which the arguments broadcast.

    Example:
      >>> print(f"{contrast_masking(jnp.array(1.0), jnp.array(100.0), 0.5):.3f}")
      9.999
    """
    log_masked = exponent * jnp.log(magnitudes + EPSILON) + (1 - exponent) * jnp.log(thresholds)
    return smooth_maximum(thresholds, jnp.exp(log_masked))
