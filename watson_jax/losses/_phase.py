"""The angle between the phases of two Fourier coefficients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

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
    angle = _angle(coefficients + EPSILON, reference + EPSILON)
    if phase_floor == 0:
        return angle
    smaller = jnp.minimum(_squared(coefficients), _squared(reference))
    fade = jnp.minimum(smaller / phase_floor**2, 1)
    # Quadratic in the amplitude near 0, where the gradient of the angle grows like its inverse.
    return angle * fade * (2 - fade)


def _squared(z):
    return z.real**2 + z.imag**2


def _cross(a, b):
    """|a| |b| sin of the angle from b to a, exactly 0 for a = b.

    Computed from the difference: the two products of Im(a conj(b)) may be contracted into a fused
    multiply-add under `jit`, and then do not cancel.
    """
    d = a - b
    return d.imag * b.real - d.real * b.imag


@jax.custom_jvp
def _angle(a, b):
    return jnp.arctan2(jnp.abs(_cross(a, b)), a.real * b.real + a.imag * b.imag)


@_angle.defjvp
def _angle_jvp(primals, tangents):
    (a, b), (da, db) = primals, tangents
    # The phase of a turns by Im(conj(a) da) / |a|^2. sign(0) = 0 gives 0 at both ends.
    turn_a = (a.real * da.imag - a.imag * da.real) / jnp.where(a == 0, 1, _squared(a))
    turn_b = (b.real * db.imag - b.imag * db.real) / jnp.where(b == 0, 1, _squared(b))
    return _angle(a, b), jnp.sign(_cross(a, b)) * (turn_a - turn_b)
