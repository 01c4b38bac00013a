"""The angle between the phases of two Fourier coefficients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from watson_jax.losses._elementary import arctan2
from watson_jax.losses._masking import EPSILON


def phase_distance(
    coefficients: Complex[Array, "*shape"],
    reference: Complex[Array, "*shape"],
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
    return angle_between(
        coefficients.real, coefficients.imag, reference.real, reference.imag, phase_floor
    )


def angle_between(
    x_re: Array,
    x_im: Array,
    y_re: Array,
    y_im: Array,
    phase_floor: float = 0.0,
    *,
    rotation: complex | np.ndarray = 1,
) -> Array:
    """`phase_distance` of numbers that come as real and imaginary parts.

    If they were multiplied by a `rotation`, of magnitude 1, so is the epsilon added to them.
    """
    e_re, e_im = (
        jnp.asarray(EPSILON * part, x_re.dtype) for part in (np.real(rotation), np.imag(rotation))
    )
    angle = _angle(x_re + e_re, x_im + e_im, y_re + e_re, y_im + e_im)
    if phase_floor == 0:
        return angle
    smaller = jnp.minimum(x_re**2 + x_im**2, y_re**2 + y_im**2)
    fade = jnp.minimum(smaller / phase_floor**2, 1)
    # Quadratic in the amplitude near 0, where the gradient of the angle grows like its inverse.
    return angle * fade * (2 - fade)


@jax.custom_jvp
def _angle(x_re, x_im, y_re, y_im):
    sine, cosine = _sine(x_re, x_im, y_re, y_im), x_re * y_re + x_im * y_im
    return arctan2(jnp.abs(sine), cosine)


@_angle.defjvp
def _angle_jvp(primals, tangents):
    (x_re, x_im, y_re, y_im), (dx_re, dx_im, dy_re, dy_im) = primals, tangents
    # A phase turns by Im(conj(x) dx) / |x|^2. sign(0) = 0 gives a derivative of 0 at both ends.
    turn_x = _turn(x_re, x_im, dx_re, dx_im)
    turn_y = _turn(y_re, y_im, dy_re, dy_im)
    return _angle(*primals), jnp.sign(_sine(*primals)) * (turn_x - turn_y)


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


def _nonzero(x):
    return jnp.where(x == 0, 1, x)
