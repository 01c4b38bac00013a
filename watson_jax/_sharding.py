"""How arrays are spread over devices, as far as it can be known while a function is traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec


def vary_alike(*trees: Any) -> tuple[Any, ...]:
    """Makes all arrays vary over the same manual axes, those of any of them, under `shard_map`.

    JAX adds up over devices the gradient of what is the same on all of them. A rule that takes
    gradients inside would do so once more, so rules are given arrays that differ alike: the sum is then
    the transpose of this step, and happens once.

    Args:
      *trees: pytrees of arrays.

    Returns:
      The same pytrees.
    """
    axes = frozenset().union(*(_varying(x) for x in jax.tree.leaves(trees)))

    def vary(x: jax.Array) -> jax.Array:
        return jax.lax.pcast(x, tuple(sorted(axes - _varying(x))), to="varying")

    return jax.tree.map(vary, trees) if axes else trees


def _varying(x: jax.Array) -> frozenset[str]:
    return jax.typeof(x).manual_axis_type.varying


def spread_alike(image: jax.Array, reference: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Spreads two batches of images over an explicit mesh as JAX does the result of both.

    Single images are put together where they were split: most losses look across any line.
    """
    if not any(jax.typeof(x).sharding.mesh.explicit_axes for x in (image, reference)):
        return image, reference
    both = jax.eval_shape(jax.lax.add, image, reference)
    whole = PartitionSpec(*both.sharding.spec[: both.ndim - 3])
    sharding = both.sharding.update(spec=whole)
    return jax.sharding.reshard(image, sharding), jax.sharding.reshard(reference, sharding)


def keep_sharding(fn: Callable[..., jax.Array], x: jax.Array, *arguments: Any) -> jax.Array:
    """Calls `fn(x, *arguments)` and spreads the result over an explicit mesh as `x` is.

    For functions with steps whose sharding JAX does not derive, such as slices at traced positions.
    """
    sharding = jax.typeof(x).sharding
    if sharding.mesh.explicit_axes:
        fn = jax.sharding.auto_axes(fn, out_sharding=sharding)
    return fn(x, *arguments)


def is_on_one_device(x: jax.Array) -> bool:
    """Whether the computation on an array is one device's alone, as it is under `shard_map`.

    A loop over parts of an array that is spread over several devices would gather it on each of them.
    Meshes that are left to the compiler cannot be seen here, so any further device counts.
    """
    mesh = jax.typeof(x).sharding.mesh
    if not mesh.empty and mesh.are_all_axes_manual:
        return True
    return jax.device_count() == 1 and not mesh.explicit_axes
