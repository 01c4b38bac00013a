"""The Watson losses of large images in bands, rows of 8x8 blocks that fit into the cache.

Value and gradient take one pass. How much a band's norm counts is known only once all bands are, but
every channel is a grey image with parameters of its own (eq. 9): the gradient of each channel's norm and
of its phases is kept, two numbers for a number of the image, and multiplied with that afterwards.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from watson_jax._sharding import vary_alike
from watson_jax.losses._pairs import piece_length
from watson_jax.losses._watson import formula
from watson_jax.losses._watson.cpu.formula import features, pool, terms
from watson_jax.losses._watson.params import WatsonDftParams
from watson_jax.losses._watson.stages import amplitude, p_norm
from watson_jax.transforms._blocks import BLOCK_SIZE, mean_of_blocks, pad_to_blocks
from watson_jax.transforms._color import split_channels


def distance_in_bands(params, mean_brightness, image, reference, options):
    """The distance of one pair, whose p-norm is the p-norm of the bands' p-norms."""
    kind = type(params)
    image, reference = pad_to_blocks(image), pad_to_blocks(reference)
    blocks = image.shape[0] * image.shape[1] // BLOCK_SIZE**2
    if mean_brightness is None:
        mean_brightness = _mean_brightness(kind, reference)
    image, reference = (x.reshape(-1, BLOCK_SIZE, *x.shape[1:]) for x in (image, reference))

    def pool_channel(params, mean_brightness, image, reference):
        params, mean_brightness = jax.tree.map(lambda x: x[None], (params, mean_brightness))
        seen = features(kind, image[..., None], reference[..., None], options, mean_brightness)
        return jax.tree.map(lambda x: x[0], pool(params, terms(params, seen, options)))

    norms, phases = _pool_bands(jax.vmap(pool_channel), params, mean_brightness, image, reference)
    norm = p_norm(norms, params.pooling_exponent, axis=0)
    phase = None if phases is None else jnp.sum(phases, 0)
    return formula.add_up(params, norm, phase, blocks, options)


def _mean_brightness(kind, reference):
    """That of `formula.Features`, of the blocks' means."""
    means = split_channels(mean_of_blocks(reference))
    if kind is WatsonDftParams:
        brightness = amplitude(jax.lax.complex(means, jnp.zeros_like(means)))
    else:
        brightness = jnp.maximum(BLOCK_SIZE * means, 0)
    return jnp.mean(brightness, (-2, -1), keepdims=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pool_bands(pool, params, mean_brightness, image, reference):
    """What `pool` makes of the channels of every band: arrays `[bands, channels]`."""

    def pool_band(pair):
        return pool(params, mean_brightness, *_channels(pair))

    return _map_bands(pool_band, image, reference)


def _pool_bands_fwd(pool, *arguments):
    moving = [any(x.perturbed for x in jax.tree.leaves(a)) for a in arguments]
    params, mean_brightness, *images = jax.tree.map(lambda x: x.value, arguments)

    def pool_band(pair):
        at = (params, mean_brightness, *_channels(pair))

        def pool_moved(values):
            return pool(*(a if v is None else v for a, v in zip(at, values, strict=True)))

        pooled, pull = jax.vjp(
            pool_moved, [a if m else None for a, m in zip(at, moving, strict=True)]
        )
        norm_or_phase, tree = jax.tree.flatten(pooled)
        ones = (
            [jnp.full_like(y, i == j) for j, y in enumerate(norm_or_phase)]
            for i in range(len(norm_or_phase))
        )
        return pooled, [pull(jax.tree.unflatten(tree, one))[0] for one in ones]

    return _map_bands(pool_band, *images)


def _pool_bands_bwd(pool, gradients, cotangents):
    def add_up(*gradients):
        """Arrays `[bands, channels, ...]`, times how much each band and channel counts."""
        counts = (jnp.expand_dims(c, range(2, gradients[0].ndim)) for c in cotangents)
        return sum(c * g for c, g in zip(counts, gradients, strict=True))

    cotangents = jax.tree.leaves(cotangents)
    params, mean_brightness, *images = jax.tree.map(add_up, *gradients)
    params, mean_brightness = jax.tree.map(lambda g: jnp.sum(g, 0), (params, mean_brightness))
    return params, mean_brightness, *(g if g is None else _to_colors(g) for g in images)


_pool_bands.defvjp(_pool_bands_fwd, _pool_bands_bwd, symbolic_zeros=True)


def _map_bands(fn, image, reference):
    length = min(len(image), piece_length(image.shape[1:]))
    return jax.lax.map(fn, (image, reference), batch_size=length)


def _channels(pair):
    image, reference = pair
    channels = split_channels(image)
    # Pixels that are the same stay the same: see `differing_blocks`.
    same = jnp.all(image == reference, -1)
    return channels, jnp.where(same, channels, split_channels(reference))


def _to_colors(gradient):
    """The gradient w.r.t. bands `[bands, 8, width, channels]`, of that w.r.t. their channels."""
    bands, channels, *size = gradient.shape
    image, _ = vary_alike(jnp.zeros((bands, *size, channels), gradient.dtype), gradient)
    return jax.vjp(split_channels, image)[1](gradient)[0]
