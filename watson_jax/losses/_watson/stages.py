"""The stages of the Watson losses: masking, pooling and the distance of phases.

Each works on arrays of any shape; `formula.py` puts them together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float

from watson_jax._checks import widen

EPSILON = 1e-10  # Wherever the paper has an epsilon.
_MOST_LOG = 40.0


class Functions(NamedTuple):
    """What pooling and phases are computed with: XLA's functions, or faster ones of the same values."""

    exp: Callable[[Array], Array] = jnp.exp
    log: Callable[[Array], Array] = jnp.log
    arctan2: Callable[[Array, Array], Array] = jnp.arctan2
    sum: Callable[[Array, tuple[int, ...]], Array] = jnp.sum


XLA = Functions()


def luminance_masking(
    thresholds: Float[ArrayLike, "*#shape"],
    dc: Float[ArrayLike, "*#shape"],
    mean_dc: Float[ArrayLike, "*#shape"],
    exponent: Float[ArrayLike, "*#shape"],
    *,
    floor: float = 0.0,
) -> Float[Array, "*shape"]:
    """Scales the thresholds by the brightness of a block (eq. 5): T_L = T (C_00 / mean C_00)^alpha.

    Args:
      thresholds: T, the smallest visible difference of each coefficient, > 0.
      dc: the blocks' DC coefficients C_00 of the reference, >= 0.
      mean_dc: their mean over the image, >= 0.
      exponent: alpha.
      floor: a lower bound on the ratio. The paper has none (0): on black blocks a threshold can then
        run to 0 or grow without bound.

    Returns:
      Masked thresholds, in the shape to which the arguments broadcast. Their factor stays between e^-40
      and e^40, which only exponents beyond 1.7 reach.

    Example:
      >>> print(f"{luminance_masking(2.0, jnp.array(0.9), jnp.array(0.1), 0.5):.3f}")
      6.000
    """
    thresholds, dc, mean_dc, exponent = map(widen, (thresholds, dc, mean_dc, exponent))
    return thresholds * jnp.exp(log_luminance(dc, mean_dc, exponent, floor))


def log_luminance(dc: Array, mean_dc: Array, exponent: Array, floor: float) -> Array:
    """The logarithm of the factor of eq. 5, (C_00 / mean C_00)^alpha."""
    # A quotient's derivative has the square of the mean, 1e-20 on black, which can leave float32.
    log_ratio = jnp.log(dc + EPSILON) - jnp.log(mean_dc + EPSILON)
    if floor:
        log_ratio = jnp.maximum(log_ratio, math.log(floor))
    # Published exponents reach 35 on black. With an exponent of 5 the threshold would leave float32.
    return jnp.clip(exponent * log_ratio, -_MOST_LOG, _MOST_LOG)


def smooth_maximum(
    a: Float[ArrayLike, "*#shape"], b: Float[ArrayLike, "*#shape"]
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
    a, b = widen(a), widen(b)
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)
    gap = high - low
    return high - gap * jax.nn.sigmoid(-gap)


def contrast_masking(
    thresholds: Float[ArrayLike, "*#shape"],
    magnitudes: Float[ArrayLike, "*#shape"],
    exponent: Float[ArrayLike, "*#shape"],
) -> Float[Array, "*shape"]:
    """Raises thresholds where the reference has energy: S = smax(T_L, |C|^r T_L^(1-r)) (eq. 6, 7).

    Args:
      thresholds: T_L, luminance-masked thresholds, > 0.
      magnitudes: |C|, magnitudes of the reference's coefficients, >= 0.
      exponent: r in (0, 1).

    Returns:
      The masked threshold S (Watson's slack) of each coefficient, in the shape to which the arguments
      broadcast.

    Example:
      >>> print(f"{contrast_masking(jnp.array(1.0), jnp.array(100.0), 0.5):.3f}")
      9.999
    """
    thresholds, magnitudes, exponent = map(widen, (thresholds, magnitudes, exponent))
    log_masked = exponent * jnp.log(magnitudes + EPSILON) + (1 - exponent) * jnp.log(thresholds)
    return smooth_maximum(thresholds, jnp.exp(log_masked))


def amplitude(coefficients: Complex[Array, "*shape"]) -> Float[Array, "*shape"]:
    """|c + epsilon + i epsilon|, the authors' way to keep the amplitude differentiable at 0."""
    real, imaginary = coefficients.real + EPSILON, coefficients.imag + EPSILON
    return jnp.sqrt(real**2 + imaginary**2)


def phase_distance(
    coefficients: Complex[ArrayLike, "*shape"],
    reference: Complex[ArrayLike, "*shape"],
    *,
    phase_floor: float = 0.0,
) -> Float[Array, "*shape"]:
    """The angle in [0, pi] between two complex numbers, arccos(cos(Phi_x - Phi_y)) (eq. 10).

    1e-10 is added to both, so that two zeros are at an angle of 0. The derivative is 0 where the
    angle is 0 or pi. The authors multiply the cosine by 1 - 1e-7 to keep arccos differentiable,
    which puts equal phases at an angle of 4e-4.

    Args:
      coefficients: any complex numbers.
      reference: the same shape.
      phase_floor: amplitude below which the phase of a coefficient is taken for noise: the angle fades
        out with the smaller of the two amplitudes. The paper has no such bound (0).

    Returns:
      Angles in [0, pi], the same shape.

    Example:
      >>> angles = phase_distance(jnp.array([1 + 0j, 1j, -1 + 0j]), jnp.array([2 + 0j] * 3))
      >>> (angles / jnp.pi).tolist()
      [0.0, 0.5, 1.0]
    """
    coefficients, reference = jnp.asarray(coefficients), jnp.asarray(reference)
    angle = angle_between(
        coefficients.real + EPSILON, coefficients.imag, reference.real + EPSILON, reference.imag
    )
    return fade_out(
        angle, coefficients.real, coefficients.imag, reference.real, reference.imag, phase_floor
    )


def fade_out(angle, x_re, x_im, y_re, y_im, phase_floor):
    """Lets the angle of x and y vanish with the smaller of their amplitudes."""
    if phase_floor == 0:
        return angle
    smaller = jnp.minimum(x_re**2 + x_im**2, y_re**2 + y_im**2)
    fade = jnp.minimum(smaller / phase_floor**2, 1)
    # Quadratic in the amplitude near 0, where the gradient of the angle grows like its inverse.
    return angle * fade * (2 - fade)


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def angle_between(x_re, x_im, y_re, y_im, functions=XLA):
    """The angle in [0, pi] of numbers that come as real and imaginary parts."""
    sine, cosine = _sine(x_re, x_im, y_re, y_im), x_re * y_re + x_im * y_im
    return functions.arctan2(jnp.abs(sine), cosine)


@angle_between.defjvp
def _angle_between_jvp(functions, primals, tangents):
    (x_re, x_im, y_re, y_im), (dx_re, dx_im, dy_re, dy_im) = primals, tangents
    # A phase turns by Im(conj(x) dx) / |x|^2. sign(0) = 0 gives a derivative of 0 at both ends.
    turn_x = _turn(x_re, x_im, dx_re, dx_im)
    turn_y = _turn(y_re, y_im, dy_re, dy_im)
    return angle_between(*primals, functions), jnp.sign(_sine(*primals)) * (turn_x - turn_y)


def _turn(re, im, dre, dim):
    # One division after the other: their square would leave float32 in the second derivative.
    size = jnp.sqrt(_nonzero(re**2 + im**2))
    return (re / size * dim - im / size * dre) / size


def _sine(x_re, x_im, y_re, y_im):
    """|x| |y| times the sine of the angle from y to x, exactly 0 for x = y.

    There the two products may be contracted into a fused multiply-add under `jit`, and then do not
    cancel. (Those of the difference x - y do, but lose an x far smaller than y.)
    """
    return jnp.where((x_re == y_re) & (x_im == y_im), 0, x_im * y_re - x_re * y_im)


def p_norm(
    x: Float[ArrayLike, "*shape"], p: Float[ArrayLike, "*#pooled"], *, axis: int | Sequence[int]
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
    x, p = widen(x), widen(p)
    if not jnp.issubdtype(p.dtype, jnp.floating):  # whole numbers have no tangents
        p = p.astype(x.dtype)
    return p_norm_with(XLA, x, p, axis)


def p_norm_with(functions: Functions, x: Array, p: Array, axis: int | Sequence[int]) -> Array:
    """`p_norm`, computed with these functions."""
    axes = tuple(a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis))
    shape = jnp.broadcast_shapes(p.shape, [n for a, n in enumerate(x.shape) if a not in axes])
    return _p_norm(x, jnp.broadcast_to(p, shape), axes, functions)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _p_norm(x, p, axes, functions):
    return _norm_and_slopes(x, p, axes, functions)[0]


@_p_norm.defjvp
def _p_norm_jvp(axes, functions, primals, tangents):
    (x, p), (dx, dp) = primals, tangents
    norm, slopes, shares = _norm_and_slopes(x, p, axes, functions._replace(sum=jnp.sum))
    # dL/dp = L / p^2 sum_i s_i log s_i
    entropy = jnp.sum(shares * _log(shares), axes)
    return norm, jnp.sum(jnp.sign(x) * slopes * dx, axes) + norm * entropy / p**2 * dp


def _norm_and_slopes(x, p, axes, functions):
    """The norm L, its slopes dL/d|x| = (|x| / L)^(p-1), and the shares |x|^p / sum |x|^p."""
    p = jnp.expand_dims(p, axes)
    epsilon = jnp.where(p < 1, EPSILON, 0)
    size = x * jnp.sign(x)  # As jnp.abs, but with derivative 0 and not 1 at 0.
    # All relative to the largest, so that no power overflows.
    largest = _nonzero(jnp.max(size, axes, keepdims=True) + epsilon)
    # Entries that are 0 stand for the largest, as their own power might be infinite.
    base = jnp.where(size + epsilon == 0, largest, size + epsilon)
    powers = functions.exp((p - 1) * (functions.log(base) - jnp.log(largest)))
    # |x|^p of the same power is |x| (|x| + e)^(p-1) (1 + e/|x|)^(1-p). In float32 the last factor is
    # left out, which is 1 to rounding for |x| above 0.001 and to a percent above 1e-8: smaller changes
    # are rounding errors of the images themselves.
    terms = size * powers
    if x.dtype == jnp.float64:
        terms = terms * jnp.exp((1 - p) * jnp.log1p(epsilon / _nonzero(size)))
    total = jnp.expand_dims(functions.sum(terms, axes), axes)
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
