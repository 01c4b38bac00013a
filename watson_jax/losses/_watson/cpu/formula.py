"""The Watson losses of one pair of images as `..formula` defines them, in less time on CPUs.

Transforms take half the multiplications and leave frequencies in an order of their own, elementary
functions are polynomials, and no power is taken of what belongs to a frequency or a block alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from watson_jax.losses._watson import formula
from watson_jax.losses._watson.cpu.elementary import arctan2, exp, log
from watson_jax.losses._watson.cpu.folded import DCT_ORDER, ROTATION, dct_of_image, dft_of_image
from watson_jax.losses._watson.formula import SMALLEST_THRESHOLD, Features, Terms, WatsonOptions
from watson_jax.losses._watson.params import WatsonDftParams, WatsonParams
from watson_jax.losses._watson.stages import (
    EPSILON,
    Functions,
    angle_between,
    fade_out,
    log_luminance,
    p_norm_with,
    smooth_maximum,
)
from watson_jax.transforms._blocks import differing_blocks, pad_to_blocks


def _sum_by_product(x: Array, axes: tuple[int, ...]) -> Array:
    """A sum as a product with ones: XLA's CPU code runs a sum of powers several times as long."""
    ones = jnp.ones([x.shape[a] for a in axes], x.dtype)
    contracted = ((axes, tuple(range(len(axes)))), ((), ()))
    return jax.lax.dot_general(x, ones, contracted, precision=jax.lax.Precision.HIGHEST)


_FUNCTIONS = Functions(exp, log, arctan2, _sum_by_product)


def features(
    kind: type[WatsonParams],
    image: Array,
    reference: Array,
    options: WatsonOptions,
    mean_brightness: Array | None = None,
) -> Features:
    """`formula.features`."""
    image, reference = pad_to_blocks(image), pad_to_blocks(reference)
    differs = differing_blocks(image, reference)
    angle = None
    if kind is WatsonDftParams:
        x, y = dft_of_image(image), dft_of_image(reference)
        c_x, c_y = (_absolute(*_add_epsilon(parts, 1 + 1j)) for parts in (x, y))
        brightness = c_y[..., :1]
        angle = angle_between(*_add_epsilon(x, 1), *_add_epsilon(y, 1), _FUNCTIONS)
        angle = fade_out(angle, *x, *y, options.phase_floor)
        angle = jnp.where(differs, angle, 0)
    else:
        c_x, c_y = dct_of_image(image), dct_of_image(reference)
        brightness = jnp.maximum(c_y[..., :1], 0)
    if mean_brightness is None:
        mean_brightness = jnp.mean(brightness, (-2, -1), keepdims=True)
    return Features(
        jnp.where(differs, c_x - c_y, 0), c_y * jnp.sign(c_y), brightness, mean_brightness, angle
    )


def distance(
    params: WatsonParams,
    mean_brightness: Array | None,
    image: Array,
    reference: Array,
    options: WatsonOptions,
) -> Float[Array, ""]:
    """The distance of one pair; the mean is that of the reference where none is given."""
    seen = features(type(params), image, reference, options, mean_brightness)
    pooled = pool(params, terms(params, seen, options))
    return formula.add_up(params, *pooled, seen.difference.shape[-2], options)


def terms(params: WatsonParams, features: Features, options: WatsonOptions) -> Terms:
    """`formula.terms`."""
    r = formula.per_channel(params.contrast_exponent)

    of_frequency = _per_frequency(params.log_thresholds)
    of_block = log_luminance(
        features.brightness,
        features.mean_brightness,
        formula.per_channel(params.luminance_exponent),
        options.luminance_floor,
    )

    def masked(power: Array | float) -> Array:
        """T_L^power of eq. 5, as the product of what belongs to the frequency and to the block."""
        t_l = jnp.exp(power * of_frequency) * jnp.exp(power * of_block)
        return jnp.maximum(t_l, SMALLEST_THRESHOLD**power)

    # As `contrast_masking`, but without the power of every T_L.
    s = smooth_maximum(masked(1.0), exp(r * log(features.magnitudes + EPSILON)) * masked(1 - r))
    difference = features.difference * (1 / s)  # The reciprocal is the derivative too.
    if features.angle is None or not isinstance(params, WatsonDftParams):
        return Terms(difference, None)
    return Terms(difference, _per_frequency(params.phase_weights) * features.angle)


def pool(
    params: WatsonParams, terms: Terms
) -> tuple[Float[Array, " channels"], Float[Array, " channels"] | None]:
    """The p-norm (eq. 4, 8) and the sum of phases (eq. 10) of each channel."""
    norm = p_norm_with(_FUNCTIONS, terms.difference, params.pooling_exponent, axis=(-2, -1))
    return norm, None if terms.phase is None else jnp.sum(terms.phase, (-2, -1))


def _add_epsilon(parts: tuple[Array, Array], direction: complex) -> tuple[Array, Array]:
    """Adds epsilon to coefficients that were multiplied by `ROTATION`, turned as they are."""
    real, imaginary = parts
    rotation = np.expand_dims(ROTATION, tuple(range(real.ndim - 1)))
    epsilon = EPSILON * direction * rotation
    return (
        real + jnp.asarray(epsilon.real, real.dtype),
        imaginary + jnp.asarray(epsilon.imag, real.dtype),
    )


@jax.custom_jvp
def _absolute(real: Array, imaginary: Array) -> Array:
    return jnp.sqrt(real**2 + imaginary**2)


@_absolute.defjvp
def _absolute_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> Any:
    # As JAX's own, but with the division last: its transpose then comes first, and XLA, which repeats
    # all that is cheaper than a division, computes what both parts' gradients share once.
    (real, imaginary), (dreal, dimaginary) = primals, tangents
    value = _absolute(real, imaginary)
    return value, (real * dreal + imaginary * dimaginary) / value


def _per_frequency(x: Float[Array, "channels 8 half"]) -> Float[Array, "channels 1 frequencies"]:
    flat = formula.per_frequency(x)
    # Those of the DCT are 64, those of the DFT 40.
    return flat[..., DCT_ORDER] if flat.shape[-1] == len(DCT_ORDER) else flat
