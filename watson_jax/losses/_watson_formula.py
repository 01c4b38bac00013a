"""The Watson losses of one pair of images, equation by equation.

Coefficients have the axes [channel, block, frequency], with the 8x8 (DCT, in `DCT_ORDER`) or 8x5 (DFT)
frequencies flattened, and complex numbers are pairs of real arrays: the layout in which the transforms
are matrix products and everything else is elementwise, which compilers make fast on every backend.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from watson_jax.losses._elementary import exp, log
from watson_jax.losses._masking import EPSILON, luminance_masking, smooth_maximum
from watson_jax.losses._phase import angle_between
from watson_jax.losses._pooling import p_norm
from watson_jax.losses._watson_params import WatsonDftParams, WatsonParams
from watson_jax.transforms import pad_to_blocks, split_blocks
from watson_jax.transforms._batch import merge_axes
from watson_jax.transforms._blocks import BLOCK_SIZE, mean_of_blocks
from watson_jax.transforms._color import split_channels
from watson_jax.transforms._folded import (
    DCT_ORDER,
    ROTATION,
    dct_of_image,
    dft_of_image,
)

SMALLEST_THRESHOLD = 1e-19
"""Far below any that published or packaged weights reach; float32 still holds 1 over its square."""


@dataclasses.dataclass(frozen=True)
class WatsonOptions:
    """Where paper, authors' code and this library differ; the defaults are the paper.

    The floors here are those that count: the parameter set's own, or what the caller put in their place.
    """

    luminance: Literal["image", "batch"] = "image"
    over_blocks: Literal["sum", "mean"] = "sum"
    luminance_floor: float = 0.0
    phase_floor: float = 0.0


class Coefficients(NamedTuple):
    """What the transform says of a pair of images, before any parameter comes in."""

    difference: Float[Array, "channels blocks frequencies"]  # C_x - C_y, or |C_x| - |C_y|
    magnitudes: Float[Array, "channels blocks frequencies"]  # |C_y|
    brightness: Float[Array, "channels blocks 1"]  # C_00k of the reference
    mean_brightness: Float[Array, " channels"]
    angle: Float[Array, "channels blocks frequencies"] | None  # Watson-DFT alone


class Terms(NamedTuple):
    """What remains to be pooled."""

    visible: Float[Array, "channels blocks frequencies"]  # (C_x - C_y) / S
    phase: Float[Array, "channels blocks frequencies"] | None  # w angle, Watson-DFT alone


def watson_dct_coefficients(
    image: Array, reference: Array, mean_brightness: Array | None, options: WatsonOptions
) -> Coefficients:
    """Orthonormal DCT coefficients; the mean is that of `reference` where none is given."""
    c_x, c_y = dct_of_image(pad_to_blocks(image)), dct_of_image(pad_to_blocks(reference))
    brightness = dct_brightness(c_y[..., :1])
    return Coefficients(
        unless_equal(image, reference, c_x - c_y),
        c_y * jnp.sign(c_y),  # As jnp.abs, but with derivative 0 and not 1 at 0.
        brightness,
        jnp.mean(brightness, (-2, -1)) if mean_brightness is None else mean_brightness,
        None,
    )


def watson_dft_coefficients(
    image: Array, reference: Array, mean_brightness: Array | None, options: WatsonOptions
) -> Coefficients:
    """Amplitudes and phases of the DFT; the mean is that of `reference` where none is given."""
    x_re, x_im = dft_of_image(pad_to_blocks(image))
    y_re, y_im = dft_of_image(pad_to_blocks(reference))
    rotation = ROTATION[None, None]
    a_x, a_y = amplitude(x_re, x_im, rotation), amplitude(y_re, y_im, rotation)
    brightness = a_y[..., :1]
    angle = angle_between(x_re, x_im, y_re, y_im, options.phase_floor, rotation=rotation)
    return Coefficients(
        unless_equal(image, reference, a_x - a_y),
        a_y,
        brightness,
        jnp.mean(brightness, (-2, -1)) if mean_brightness is None else mean_brightness,
        unless_equal(image, reference, angle),
    )


def watson_terms(params: WatsonParams, coefficients: Coefficients, options: WatsonOptions) -> Terms:
    """The terms of eq. 4 or 8, and those of the phases in eq. 10."""
    # The reciprocal is the derivative too.
    visible = coefficients.difference * (1 / visible_change(params, coefficients, options))
    if not isinstance(params, WatsonDftParams) or coefficients.angle is None:
        return Terms(visible, None)
    return Terms(visible, per_frequency(params.phase_weights) * coefficients.angle)


def visible_change(
    params: WatsonParams, coefficients: Coefficients, options: WatsonOptions
) -> Float[Array, "channels blocks frequencies"]:
    """S of eq. 5 to 7, from the reference alone."""
    r = per_channel(params.contrast_exponent)

    def masked(power: Array | float) -> Array:
        """T_L^power of eq. 5, as the product of what belongs to the frequency and to the block."""
        t_l = luminance_masking(
            jnp.exp(power * per_frequency(params.log_thresholds)),
            coefficients.brightness,
            per_channel(coefficients.mean_brightness),
            per_channel(params.luminance_exponent) * power,
            floor=options.luminance_floor,
        )
        # On black, a large exponent takes it to 0, where S has no slope.
        return jnp.maximum(t_l, SMALLEST_THRESHOLD**power)

    # As `contrast_masking`, but without the power of every T_L.
    return smooth_maximum(
        masked(1.0), exp(r * log(coefficients.magnitudes + EPSILON)) * masked(1 - r)
    )


def distance(params: WatsonParams, terms: Terms, options: WatsonOptions) -> Float[Array, ""]:
    """Adds everything up."""
    return add_up(params, pool(params, terms), terms.visible.shape[-2], options)


def pool(
    params: WatsonParams, terms: Terms
) -> tuple[Float[Array, " channels"], Float[Array, " channels"] | None]:
    """The p-norm (eq. 4, 8) and the sum of phases (eq. 10) of each channel."""
    norm = p_norm(terms.visible, params.pooling_exponent, axis=(-2, -1))
    return norm, None if terms.phase is None else jnp.sum(terms.phase, (-2, -1))


def add_up(
    params: WatsonParams,
    pooled: tuple[Float[Array, " channels"], Float[Array, " channels"] | None],
    blocks: int,
    options: WatsonOptions,
) -> Float[Array, ""]:
    """The weighted sum of the channels (eq. 9)."""
    norm, phase = pooled
    if options.over_blocks == "mean":
        norm = norm * blocks ** (-1 / params.pooling_exponent)
        phase = None if phase is None else phase / blocks
    result = norm if phase is None else norm + phase
    return jnp.sum(params.channel_weights * result, -1)


def block_distances(
    params: WatsonParams, terms: Terms, options: WatsonOptions
) -> Float[Array, " blocks"]:
    """Every block's share of the distance: of the norm in proportion to its part of the sum."""
    blocks = terms.visible.shape[-2] if options.over_blocks == "mean" else 1
    p = params.pooling_exponent[:, None]
    norm = p_norm(terms.visible, p, axis=-1)
    whole = p_norm(norm, p[:, 0], axis=-1)[:, None]
    # norm^p is the block's part of the sum, whole^p the sum.
    ratio = jnp.where(norm == 0, 1, norm) / jnp.where(whole == 0, 1, whole)
    share = jnp.where(norm == 0, 0, ratio**p)
    result = whole * share * blocks ** (-1 / p)
    if terms.phase is not None:
        result = result + jnp.sum(terms.phase, -1) / blocks
    return jnp.sum(params.channel_weights[:, None] * result, 0)


def unless_equal(
    image: Array, reference: Array, values: Float[Array, "channels blocks frequencies"]
) -> Float[Array, "channels blocks frequencies"]:
    """Puts 0 where the images have the same block.

    Compilers may round the same sum differently in two places. A difference in the last digit, to a
    power below 1, would keep identical images apart.
    """
    differs = split_blocks(pad_to_blocks(image)) != split_blocks(pad_to_blocks(reference))
    differs = jnp.any(differs, (-3, -2, -1)).ravel()
    return jnp.where(differs[None, :, None], values, 0)


def amplitude(real: Array, imaginary: Array, rotation: complex | np.ndarray = 1) -> Array:
    """|c + epsilon + i epsilon|, the authors' way to keep the amplitude differentiable at 0.

    Of numbers that were multiplied by `rotation`, of magnitude 1, so is the epsilon.
    """
    epsilon = EPSILON * (1 + 1j) * np.asarray(rotation)
    return _absolute(
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


def dct_brightness(dc: Array) -> Array:
    """What luminance masking compares: images with negative values may have a DC below 0."""
    return jnp.maximum(dc, 0)


def mean_brightness(
    coefficients: Callable[..., Coefficients],
    reference: Float[Array, "*batch height width channels"],
) -> Float[Array, " channels"]:
    """The mean over all leading axes that the authors' luminance masking refers to."""
    block_means = split_channels(mean_of_blocks(pad_to_blocks(reference)))
    if coefficients is watson_dct_coefficients:
        dc = dct_brightness(BLOCK_SIZE * block_means)
    else:
        dc = amplitude(block_means, jnp.zeros_like(block_means))
    return jnp.mean(dc, (*range(dc.ndim - 3), -2, -1))


def per_channel(x: Float[Array, " channels"]) -> Float[Array, "channels 1 1"]:
    return x[..., None, None]


def per_frequency(x: Float[Array, "channels 8 half"]) -> Float[Array, "channels 1 frequencies"]:
    flat = merge_axes(x, -2)[..., None, :]
    # Those of the DCT are 64, those of the DFT 40.
    return flat[..., DCT_ORDER] if flat.shape[-1] == len(DCT_ORDER) else flat
