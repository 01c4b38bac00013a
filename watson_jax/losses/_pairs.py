"""Lifting a distance of one pair of images to batches, in pieces that stay in a CPU's cache."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from watson_jax._platform import by_platform
from watson_jax._sharding import is_on_one_device, vary_alike
from watson_jax.transforms._batch import for_each

Distance = Callable[[Any, jax.Array, jax.Array], jax.Array]

# How many numbers (pixels times channels) of images a CPU works on at once: measured for colour images
# of 64x64. With more, what a Watson loss makes of them leaves the caches; with less, it is too little
# work for several cores.
PIECE_SIZE = 200_000

# Images with more numbers are worked on in bands, on CPUs. Whole ones, which keep what the gradient
# needs, are faster as long as they take less than the 32 MB that are mapped anew in every call: 512x512.
LARGE_IMAGE = 800_000


def map_pairs(
    distance: Distance,
    params: Any,
    image: jax.Array,
    reference: jax.Array,
    *,
    on_cpu: Distance | None = None,
    in_bands: Distance | None = None,
) -> jax.Array:
    """Computes `distance(params, image, reference)` for every pair of a batch.

    The gradient is computed together with the value, on CPUs piece by piece, so that nothing is stored
    for later but the gradient itself. Any order of `jit`, `vmap`, `grad`, `jvp` works on the result.

    Args:
      distance: of one pair `[H, W, C]` each, to a number.
      params: a pytree of arrays, shared by all pairs; None stands for nothing.
      image: shape `[..., H, W, C]`.
      reference: the same shape.
      on_cpu: the same distance as CPUs are to compute it, in pieces of the batch. None: they do as all
        other platforms.
      in_bands: the same for images above `LARGE_IMAGE`.

    Returns:
      Distances, shape `[...]`.
    """
    shape = image.shape[-3:]
    if shape[-1] == 1:  # As a last axis it would make XLA copy whole batches to another layout.
        image, reference = image[..., 0], reference[..., 0]

    def reshaped(distance, params, image, reference):
        return distance(params, image.reshape(shape), reference.reshape(shape))

    if in_bands is not None and math.prod(shape) > LARGE_IMAGE:
        on_cpu, is_large = in_bands, True
    else:
        is_large = False
    distances = tuple(fn and functools.partial(reshaped, fn) for fn in (distance, on_cpu))
    axes = 2 if shape[-1] == 1 else 3
    return _map_pairs(distances, axes, is_large, *vary_alike(params, image, reference))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _map_pairs(distances, axes, is_large, params, image, reference):
    fns = (fn and functools.partial(fn, params) for fn in distances)
    return _for_all_pairs(*fns, axes, is_large, image, reference)


def _map_pairs_jvp(distances, axes, is_large, primals, tangents):
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
    value, gradients = _for_all_pairs(*fns, axes, is_large, *leaves[n_params:])
    dvalue = jnp.zeros_like(value)
    for i, gradient in zip(moving, gradients, strict=True):
        tangent = dleaves[i] if i >= n_params else jnp.broadcast_to(dleaves[i], gradient.shape)
        dvalue = dvalue + jnp.sum(gradient * tangent, tuple(range(value.ndim, gradient.ndim)))
    return value, dvalue


_map_pairs.defjvp(_map_pairs_jvp, symbolic_zeros=True)


def _saturate(gradient):
    """Bounds a gradient that leaves the range of its dtype, as on black blocks beside huge values."""
    largest = float(jnp.finfo(gradient.dtype).max) ** 0.75
    return jnp.clip(gradient, -largest, largest)


def piece_length(shape: Sequence[int]) -> int:
    """How many items of this shape a CPU works on at once."""
    # With a power of two, batches of usual sizes leave no rest to compile anew.
    most = max(1, PIECE_SIZE // max(1, math.prod(shape)))
    return 2 ** (most.bit_length() - 1)


def _for_all_pairs(fn, on_cpu, axes, is_large, *images):
    def at_once(*images):
        return for_each(fn, *images, axes=axes)

    def at_once_on_cpu(*images):
        return for_each(on_cpu, *images, axes=axes)

    def in_pieces(*images):
        pairs = [x.reshape(number, *item) for x in images]
        if number == 1:  # which a loop would copy
            result = jax.tree.map(lambda x: x[None], on_cpu(*(x[0] for x in pairs)))
        else:
            result = jax.lax.map(lambda pair: on_cpu(*pair), pairs, batch_size=length)
        return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), result)

    if on_cpu is None:
        return at_once(*images)
    batch, item = images[0].shape[:-axes], images[0].shape[-axes:]
    number = math.prod(batch)
    if not isinstance(number, int) or not is_on_one_device(images[0]):
        cpu = at_once_on_cpu  # A symbolic number, of an export, has no pieces either.
    else:
        length = min(number, piece_length(item))
        cpu = in_pieces if number and (number > length or is_large) else at_once_on_cpu
    return by_platform(*images, cpu=cpu, default=at_once)
