"""The Watson losses of one pair of images, equation by equation: what is read here is what runs.

Coefficients have the axes `[channel, block, frequency]`, with the 8x8 (DCT) or 8x5 (DFT)
frequencies in one axis: the block transform is then a matrix product, and all else is elementwise.
A loss has three steps: `features`, which no parameter enters; `terms`; and `distance`.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from watson_jax.losses._watson.params import WatsonDftParams, WatsonParams
from watson_jax.losses._watson.stages import (
    amplitude,
    contrast_masking,
    luminance_masking,
    p_norm,
    phase_distance,
)
from watson_jax.transforms._batch import for_each, merge_axes
from watson_jax.transforms._blocks import differing_blocks, flat_blocks, pad_to_blocks
from watson_jax.transforms._color import split_channels
from watson_jax.transforms._dct import dct_of_blocks
from watson_jax.transforms._dft import dft_of_blocks

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


class Features(NamedTuple):
    """What the transform says of a pair of images, before any parameter comes in."""

    difference: Float[Array, "channels blocks frequencies"]  # C_x - C_y, or |C_x| - |C_y|
    magnitudes: Float[Array, "channels blocks frequencies"]  # |C_y|
    brightness: Float[Array, "channels blocks 1"]  # C_00k of the reference
    mean_brightness: Float[Array, "channels 1 1"]
    angle: Float[Array, "channels blocks frequencies"] | None  # Watson-DFT alone


class Terms(NamedTuple):
    """Inputs to pooling."""

    difference: Float[Array, "channels blocks frequencies"]  # (C_x - C_y) / S
    phase: Float[Array, "channels blocks frequencies"] | None  # w angle, Watson-DFT alone


def dct_features(image: Array, reference: Array, options: WatsonOptions) -> Features:
    """DCT coefficients of a pair of images."""
    image, reference = pad_to_blocks(image), pad_to_blocks(reference)
    c_x, c_y = (dct_of_blocks(flat_blocks(split_channels(x))) for x in (image, reference))
    differs = differing_blocks(image, reference)
    brightness = jnp.maximum(c_y[..., :1], 0)  # Images with negative values may have a DC below 0.
    return Features(
        jnp.where(differs, c_x - c_y, 0),
        c_y * jnp.sign(c_y),  # As jnp.abs, but with derivative 0 and not 1 at 0.
        brightness,
        jnp.mean(brightness, (-2, -1), keepdims=True),
        None,
    )


def dft_features(image: Array, reference: Array, options: WatsonOptions) -> Features:
    """Amplitudes and phases of the DFT of a pair of images."""
    image, reference = pad_to_blocks(image), pad_to_blocks(reference)
    c_x, c_y = (dft_of_blocks(flat_blocks(split_channels(x))) for x in (image, reference))
    differs = differing_blocks(image, reference)
    a_x, a_y = amplitude(c_x), amplitude(c_y)
    brightness = a_y[..., :1]
    return Features(
        jnp.where(differs, a_x - a_y, 0),
        a_y,
        brightness,
        jnp.mean(brightness, (-2, -1), keepdims=True),
        jnp.where(differs, phase_distance(c_x, c_y, phase_floor=options.phase_floor), 0),
    )


def features(
    kind: type[WatsonParams],
    image: Array,
    reference: Array,
    options: WatsonOptions,
    mean_brightness: Array | None = None,
) -> Features:
    """`dct_features` or `dft_features`, by the class of parameters.

    Where a mean brightness is given, it takes the place of the reference's own.
    """
    of_pair = dft_features if kind is WatsonDftParams else dct_features
    found = of_pair(image, reference, options)
    return found if mean_brightness is None else found._replace(mean_brightness=mean_brightness)


def batch_mean_brightness(
    kind: type[WatsonParams],
    references: Float[Array, "*batch height width channels"],
    options: WatsonOptions,
) -> Float[Array, "channels 1 1"]:
    """The mean brightness of all references together, as in the authors' luminance masking."""
    of_each = for_each(lambda x: features(kind, x, x, options).mean_brightness, references)
    return jnp.mean(of_each, tuple(range(of_each.ndim - 3)))


def terms(params: WatsonParams, features: Features, options: WatsonOptions) -> Terms:
    """Everything in units of the masked thresholds; phases in those of their weights."""
    t_l = luminance_masking(  # eq. 5
        per_frequency(params.thresholds),
        features.brightness,
        features.mean_brightness,
        per_channel(params.luminance_exponent),
        floor=options.luminance_floor,
    )
    # On black, a large exponent takes it to 0, where S has no slope.
    t_l = jnp.maximum(t_l, SMALLEST_THRESHOLD)
    s = contrast_masking(
        t_l, features.magnitudes, per_channel(params.contrast_exponent)
    )  # eq. 6, 7
    difference = features.difference / s
    if features.angle is None or not isinstance(params, WatsonDftParams):
        return Terms(difference, None)
    return Terms(difference, per_frequency(params.phase_weights) * features.angle)


def distance(params: WatsonParams, terms: Terms, options: WatsonOptions) -> Float[Array, ""]:
    """Pools the terms of each channel (eq. 4, 8, 10) and adds up the channels (eq. 9)."""
    norm = p_norm(terms.difference, params.pooling_exponent, axis=(-2, -1))
    phase = None if terms.phase is None else jnp.sum(terms.phase, (-2, -1))
    return add_up(params, norm, phase, terms.difference.shape[-2], options)


def add_up(
    params: WatsonParams,
    norm: Float[Array, " channels"],
    phase: Float[Array, " channels"] | None,
    blocks: int,
    options: WatsonOptions,
) -> Float[Array, ""]:
    """The weighted sum of the channels (eq. 9)."""
    if options.over_blocks == "mean":
        norm = norm * blocks ** (-1 / params.pooling_exponent)
        phase = None if phase is None else phase / blocks
    return jnp.sum(params.channel_weights * (norm if phase is None else norm + phase), -1)


def block_distances(
    params: WatsonParams, terms: Terms, options: WatsonOptions
) -> Float[Array, " blocks"]:
    """Every block's share of the distance: of the norm in proportion to its part of the sum."""
    blocks = terms.difference.shape[-2] if options.over_blocks == "mean" else 1
    p = params.pooling_exponent[:, None]
    norm = p_norm(terms.difference, p, axis=-1)
    whole = p_norm(norm, p[:, 0], axis=-1)[..., None]
    # norm^p is the block's part of the sum, whole^p the sum.
    ratio = jnp.where(norm == 0, 1, norm) / jnp.where(whole == 0, 1, whole)
    share = jnp.where(norm == 0, 0, ratio**p)
    result = whole * share * blocks ** (-1 / p)
    if terms.phase is not None:
        result = result + jnp.sum(terms.phase, -1) / blocks
    return jnp.sum(params.channel_weights[:, None] * result, -2)


def per_channel(x: Float[Array, " channels"]) -> Float[Array, "channels 1 1"]:
    return x[..., None, None]


def per_frequency(x: Float[Array, "channels 8 half"]) -> Float[Array, "channels 1 frequencies"]:
    return merge_axes(x, -2)[..., None, :]
