"""Working on batches whose leading axes may be spread over devices.

No reshape here touches a leading axis, or more than one other axis, so that JAX can tell in what way the
result is spread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def for_each(fn: Callable[..., Any], *arrays: jax.Array, axes: int = 3) -> Any:
    """Applies a function of single items to batches of them.

    Args:
      fn: of items with as many axes as `axes`.
      *arrays: batches of items, all with the same leading axes.
      axes: the number of axes of an item; 3 for images `[H, W, C]`.

    Returns:
      What `fn` returns, with these leading axes.
    """
    for _ in range(arrays[0].ndim - axes):
        fn = jax.vmap(fn)
    return fn(*arrays)


def split_axis(x: jax.Array, axis: int, size: int) -> jax.Array:
    """Makes two axes of one, `[..., n, ...]` to `[..., n / size, size, ...]`."""
    axis %= x.ndim
    return x.reshape(*x.shape[:axis], x.shape[axis] // size, size, *x.shape[axis + 1 :])


def merge_axes(x: jax.Array, axis: int) -> jax.Array:
    """Makes one axis of `axis` and the next, the inverse of `split_axis`."""
    axis %= x.ndim
    merged = x.shape[axis] * x.shape[axis + 1]
    return x.reshape(*x.shape[:axis], merged, *x.shape[axis + 2 :])
