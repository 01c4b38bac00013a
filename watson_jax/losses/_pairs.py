"""Lifting a distance of one pair of images to batches, at a size that stays in the cache."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

# How many numbers (pixels times channels) of images a CPU works on at once: measured for colour images
# of 64x64. With more, what a Watson loss makes of them leaves the caches; with less, it is too little
# work for several cores.
PIECE_SIZE = 200_000

# Images with more numbers are worked on in bands, on CPUs. Whole ones, which keep what the gradient
# needs, are faster as long as they take less than the 32 MB that are mapped anew in every call: 512x512.
LARGE_IMAGE = 800_000


def map_pairs(
    distance: Callable[[Any, jax.Array, jax.Array], jax.Array],
    params: Any,
    image: jax.Array,
    reference: jax.Array,
    *,
    in_bands: Callable[[Any, jax.Array, jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """Computes `distance(params, image, reference)` for every pair of a batch.

    The gradient is computed together with the value, piece by piece, so that nothing is stored for
    later but the gradient itself. Any order of `jit`, `vmap`, `grad`, `jvp` works on the result.

    Args:
      distance: of one pair `[H, W, C]` each, to a number.
      params: a pytree of arrays, shared by all pairs; None stands for nothing.
      image: shape `[..., H, W, C]`.
      reference: the same shape.
      in_bands: the same distance, for CPUs and images above `LARGE_IMAGE`.

    Returns:
      Distances, shape `[...]`.
    """
    *batch, height, width, channels = image.shape
    shape = (height, width, channels)
    # A last axis of one channel would make XLA copy whole batches to another layout.
    outer = (-1, height, width) if channels == 1 else (-1, *shape)

    def reshaped(distance, params, image, reference):
        return distance(params, image.reshape(shape), reference.reshape(shape))

    is_large = in_bands is not None and math.prod(shape) > LARGE_IMAGE
    distances = (
        functools.partial(reshaped, distance),
        functools.partial(reshaped, in_bands) if is_large else None,
    )
    image, reference = image.reshape(outer), reference.reshape(outer)
    return _map_pairs(distances, params, image, reference).reshape(batch)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _map_pairs(distances, params, image, reference):
    fns = (fn and functools.partial(fn, params) for fn in distances)
    return _in_pieces(*fns, image, reference)


def _map_pairs_jvp(distances, primals, tangents):
    # Only what is differentiated is computed: tangents that are zero come as such.
    leaves, tree = jax.tree.flatten(primals)
    dleaves = jax.tree.leaves(tangents, is_leaf=lambda t: isinstance(t, SymbolicZero))
    moving = [i for i, t in enumerate(dleaves) if not isinstance(t, SymbolicZero)]
    n_params = len(leaves) - 2

    def with_gradients(distance, image, reference):
        at = [*leaves[:n_params], image, reference]

        def moved(values):
            full = list(at)
            for i, value in zip(moving, values, strict=True):
                full[i] = value
            return distance(*jax.tree.unflatten(tree, full))

        value, gradients = jax.value_and_grad(moved)([at[i] for i in moving])
        return value, [_saturate(gradient) for gradient in gradients]

    fns = (fn and functools.partial(with_gradients, fn) for fn in distances)
    value, gradients = _in_pieces(*fns, *leaves[n_params:])
    dvalue = jnp.zeros_like(value)
    for i, gradient in zip(moving, gradients, strict=True):
        tangent = dleaves[i] if i >= n_params else jnp.broadcast_to(dleaves[i], gradient.shape)
        axes = tuple(range(1, gradient.ndim))
        dvalue = dvalue + jnp.sum(gradient * tangent, axes)
    return value, dvalue


_map_pairs.defjvp(_map_pairs_jvp, symbolic_zeros=True)


def _saturate(gradient):
    """Bounds a gradient that leaves the range of its dtype, as on black blocks beside huge values."""
    largest = float(jnp.finfo(gradient.dtype).max) ** 0.75
    return jnp.clip(gradient, -largest, largest)


def piece_length(items: jax.Array) -> int:
    """How many items of an array `[number, ...]` a CPU works on at once."""
    # With a power of two, batches of usual sizes leave no rest to compile anew.
    most = max(1, PIECE_SIZE // max(1, math.prod(items.shape[1:])))
    return min(len(items), 2 ** (most.bit_length() - 1))


def _in_pieces(fn, in_bands, *images):
    number, length = len(images[0]), piece_length(images[0])
    if number == length and in_bands is None:
        return jax.vmap(fn)(*images)

    def in_pieces(*images):
        of_pair = in_bands or fn
        if number == 1:  # which a loop would copy
            return jax.tree.map(lambda x: x[None], of_pair(*(x[0] for x in images)))
        return jax.lax.map(lambda pair: of_pair(*pair), images, batch_size=length)

    return jax.lax.platform_dependent(
        *images, cpu=in_pieces, default=lambda *images: jax.vmap(fn)(*images)
    )
