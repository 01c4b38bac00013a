"""Lifting a distance of one pair of images to batches, at a size that stays in the cache."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

# How many numbers of an image a CPU works on at once. The arrays that a Watson loss makes of them take
# some thirty times as much memory, which is to stay in the second-level cache.
PIECE_SIZE = 200_000


def map_pairs(
    distance: Callable[[Any, jax.Array, jax.Array], jax.Array],
    params: Any,
    image: jax.Array,
    reference: jax.Array,
) -> jax.Array:
    """Computes `distance(params, image, reference)` for every pair of a batch.

    The gradient is computed together with the value, piece by piece, so that nothing is stored for
    later but the gradient itself. Any order of `jit`, `vmap`, `grad`, `jvp` works on the result.

    Args:
      distance: of one pair `[H, W, C]` each, to a number.
      params: a pytree of arrays, shared by all pairs; None stands for nothing.
      image: shape `[..., H, W, C]`.
      reference: the same shape.

    Returns:
      Distances, shape `[...]`.
    """
    *batch, height, width, channels = image.shape
    shape = (height, width, channels)
    # A last axis of one channel would make XLA copy whole batches to another layout.
    outer = (-1, height, width) if channels == 1 else (-1, *shape)

    def of_pair(params, image, reference):
        return distance(params, image.reshape(shape), reference.reshape(shape))

    return _map_pairs(of_pair, params, image.reshape(outer), reference.reshape(outer)).reshape(batch)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _map_pairs(distance, params, image, reference):
    return _in_pieces(functools.partial(distance, params), image, reference)


def _map_pairs_jvp(distance, primals, tangents):
    # Only what is differentiated is computed: tangents that are zero come as such.
    leaves, tree = jax.tree.flatten(primals)
    dleaves = jax.tree.leaves(tangents, is_leaf=lambda t: isinstance(t, SymbolicZero))
    moving = [i for i, t in enumerate(dleaves) if not isinstance(t, SymbolicZero)]
    n_params = len(leaves) - 2

    def one_pair(image, reference):
        at = [*leaves[:n_params], image, reference]

        def moved(values):
            full = list(at)
            for i, value in zip(moving, values, strict=True):
                full[i] = value
            return distance(*jax.tree.unflatten(tree, full))

        value, gradients = jax.value_and_grad(moved)([at[i] for i in moving])
        return value, [_saturate(gradient) for gradient in gradients]

    value, gradients = _in_pieces(one_pair, *leaves[n_params:])
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


def _in_pieces(fn, *images):
    whole = jax.vmap(fn)
    number, *shape = images[0].shape
    size = max(1, PIECE_SIZE // max(1, math.prod(shape)))
    if number <= size:
        return whole(*images)
    # With a power of two, batches of usual sizes leave no rest to compile anew.
    size = 2 ** (size.bit_length() - 1)

    def in_pieces(*images):
        return jax.lax.map(lambda pair: fn(*pair), images, batch_size=size)

    return jax.lax.platform_dependent(
        *images, cpu=in_pieces, default=lambda *images: whole(*images)
    )
