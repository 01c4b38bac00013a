"""The Watson losses as the paper writes them: every equation once, in the order of the paper.

This is what the losses mean. `_watson.py` computes the same faster and is tested against it. Arrays
of coefficients have the axes [..., channel, row, column, vertical, horizontal frequency].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from watson_jax.losses._masking import EPSILON, contrast_masking, luminance_masking
from watson_jax.losses._phase import phase_distance
from watson_jax.losses._pooling import p_norm
from watson_jax.losses._watson_params import WatsonDctParams, WatsonDftParams
from watson_jax.transforms import block_dct, block_dft, pad_to_blocks, rgb_to_ycbcr


@dataclasses.dataclass(frozen=True)
class WatsonOptions:
    """What the paper, the authors' code and this library do differently; the defaults are the paper."""

    luminance: Literal["image", "batch"] = "image"
    over_blocks: Literal["sum", "mean"] = "sum"
    luminance_floor: float = 0.0
    phase_floor: float = 0.0


class Terms(NamedTuple):
    """What is left to be pooled: both of shape [..., channel, row, column, vertical, horizontal]."""

    visible: Array  # |Delta C| / S
    phase: Array | None  # w angle, Watson-DFT alone


def spectrum(transform: Callable, image: Array) -> Array:
    """Pads, converts colour to YCbCr and transforms blocks; channels move before the blocks."""
    image = pad_to_blocks(image)
    if image.shape[-1] == 3:
        image = rgb_to_ycbcr(image)
    return jnp.moveaxis(transform(image), -1, -5)


def visible_change(
    params: WatsonDctParams, dc: Array, magnitudes: Array, options: WatsonOptions
) -> Array:
    """S of eq. 5 to 7, from the DC coefficients and the magnitudes of the reference."""
    leading = tuple(range(dc.ndim - 5)) if options.luminance == "batch" else ()
    mean_dc = jnp.mean(dc, (*leading, -4, -3), keepdims=True)
    t_l = luminance_masking(
        _per_block(params.thresholds),
        dc,
        mean_dc,
        _per_channel(params.luminance_exponent),
        floor=options.luminance_floor,
    )
    return contrast_masking(t_l, magnitudes, _per_channel(params.contrast_exponent))


def watson_dct_terms(
    params: WatsonDctParams, image: Array, reference: Array, options: WatsonOptions
) -> Terms:
    """|C_x - C_y| / S of eq. 4, for orthonormal DCT coefficients."""
    c_x, c_y = spectrum(block_dct, image), spectrum(block_dct, reference)
    # Images with negative values have negative DC coefficients, which have no power alpha.
    dc = jnp.maximum(c_y[..., :1, :1], 0)
    magnitudes = c_y * jnp.sign(c_y)  # As jnp.abs, but with derivative 0 and not 1 at 0.
    s = visible_change(params, dc, magnitudes, options)
    return Terms((c_x - c_y) / s, None)


def watson_dft_terms(
    params: WatsonDftParams, image: Array, reference: Array, options: WatsonOptions
) -> Terms:
    """|A_x - A_y| / S of eq. 8 and w |angle| of eq. 10, for amplitudes A and phases of the DFT."""
    c_x, c_y = spectrum(block_dft, image), spectrum(block_dft, reference)
    a_x, a_y = amplitude(c_x), amplitude(c_y)
    s = visible_change(params, a_y[..., :1, :1], a_y, options)
    angle = phase_distance(c_x, c_y, phase_floor=options.phase_floor)
    return Terms((a_x - a_y) / s, _per_block(params.phase_weights) * angle)


def amplitude(c: Array) -> Array:
    """|c + epsilon + i epsilon|, the authors' way to keep the amplitude differentiable at 0."""
    return jnp.sqrt((c.real + EPSILON) ** 2 + (c.imag + EPSILON) ** 2)


def pool(params: WatsonDctParams, terms: Terms, options: WatsonOptions) -> Float[Array, "*batch"]:
    """Adds everything up: the p-norm (eq. 4, 8), the phases (eq. 10) and the channels (eq. 9)."""
    everything = (-4, -3, -2, -1)
    blocks = terms.visible.shape[-4] * terms.visible.shape[-3]
    distance = p_norm(terms.visible, params.pooling_exponent, axis=everything)
    if options.over_blocks == "mean":
        distance = distance * blocks ** (-1 / params.pooling_exponent)
    if terms.phase is not None:
        phase = jnp.sum(terms.phase, everything)
        distance = distance + (phase / blocks if options.over_blocks == "mean" else phase)
    return jnp.sum(params.channel_weights * distance, -1)


def block_map(
    params: WatsonDctParams, terms: Terms, options: WatsonOptions
) -> Float[Array, "*batch rows columns"]:
    """Every block's share of the distance: the pooled norm in proportion to the block's own sum."""
    blocks = terms.visible.shape[-4] * terms.visible.shape[-3]
    p = params.pooling_exponent
    norm = p_norm(terms.visible, p, axis=(-4, -3, -2, -1))[..., None, None]
    # (norm of the block / norm of all)^p = sum of the block / sum of all
    ratio = p_norm(terms.visible, p[..., None, None], axis=(-2, -1)) / jnp.where(norm == 0, 1, norm)
    share = jnp.where(ratio == 0, 0, jnp.where(ratio == 0, 1, ratio) ** p[..., None, None])
    if options.over_blocks == "mean":
        norm = norm * blocks ** (-1 / p[..., None, None])
    distance = norm * share
    if terms.phase is not None:
        phase = jnp.sum(terms.phase, (-2, -1))
        distance = distance + (phase / blocks if options.over_blocks == "mean" else phase)
    return jnp.sum(params.channel_weights[..., None, None] * distance, -3)


def _per_channel(x: Array) -> Array:
    """[channel] -> [channel, row, column, vertical, horizontal frequency]."""
    return x[..., None, None, None, None]


def _per_block(x: Array) -> Array:
    """[channel, vertical, horizontal frequency] -> the same with rows and columns of blocks."""
    return x[..., None, None, :, :]
