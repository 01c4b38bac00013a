"""Moving the image under the block grid, so that no pixel always lies at a block's border."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from watson_jax._checks import check_pair
from watson_jax._sharding import keep_sharding
from watson_jax.transforms._batch import for_each

MAX_SHIFT = 4


def grid_shift(
    image: Float[ArrayLike, "*batch height width channels"],
    reference: Float[ArrayLike, "*batch height width channels"],
    offset: Int[ArrayLike, 2] | tuple[int, int],
) -> tuple[
    Float[Array, "*batch height width channels"], Float[Array, "*batch height width channels"]
]:
    """Moves both images by the same offset; what comes in from outside repeats the edge.

    Pixel (h, w) of a result is pixel (h + vertical, w + horizontal) of the input. The authors' code
    counts its offsets from 0 to 7, where 4 is no shift: theirs less 4 is ours.

    Args:
      image: shape `[..., H, W, C]`.
      reference: the same shape.
      offset: whole pixels (vertical, horizontal), each from -4 to 4; may be traced, and is then
        clipped to that range.

    Returns:
      The shifted pair, shapes as before.

    Raises:
      ValueError: if the shapes differ, or if a concrete offset lies outside [-4, 4].

    Example:
      >>> image = jnp.linspace(0, 0.75, 4).reshape(1, 4, 1)
      >>> grid_shift(image, image, (0, 1))[0].ravel().tolist()
      [0.25, 0.5, 0.75, 0.75]
    """
    check_pair(image, reference, channels=())
    is_traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(offset))
    # NumPy's for a concrete one: under `jit` an array of JAX would be traced from here on.
    given: Any = jnp.asarray(offset) if is_traced else np.asarray(offset)
    clipped = np.zeros(2, np.int32)
    is_two_whole_numbers = given.shape == (2,) and jnp.issubdtype(given.dtype, jnp.integer)
    if is_two_whole_numbers:  # clipped in their own type, as a narrower one would wrap around
        least = max(-MAX_SHIFT, jnp.iinfo(given.dtype).min)
        clipped = given.clip(least, MAX_SHIFT).astype(np.int32)
    if not is_two_whole_numbers or not (is_traced or np.array_equal(clipped, given)):
        raise ValueError(
            "`offset` must be two whole numbers (vertical, horizontal) from "
            f"{-MAX_SHIFT} to {MAX_SHIFT}, got {jax.typeof(given) if is_traced else given.tolist()}."
        )

    def shift(x, corner):
        return for_each(lambda image: _crop(image, *corner), x)

    corner = jnp.asarray(clipped + MAX_SHIFT)
    return (
        keep_sharding(shift, jnp.asarray(image), corner),
        keep_sharding(shift, jnp.asarray(reference), corner),
    )


def _crop(image, vertical, horizontal):
    """An image as large, that begins there in one whose edges are repeated `MAX_SHIFT` times."""
    padded = jnp.pad(image, ((MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT), (0, 0)), mode="edge")
    return jax.lax.dynamic_slice(
        padded, (vertical, horizontal, jnp.zeros_like(vertical)), image.shape
    )


def random_grid_shift(
    key: PRNGKeyArray,
    image: Float[ArrayLike, "*batch height width channels"],
    reference: Float[ArrayLike, "*batch height width channels"],
) -> tuple[
    Float[Array, "*batch height width channels"], Float[Array, "*batch height width channels"]
]:
    """Moves a pair by a random offset, for training; leave it out of evaluation.

    One offset for all pairs of the call; `jax.vmap` over keys draws one for each. Offsets are
    uniform in [-4, 4] in both directions, as the paper says; the authors' code leaves out +4.

    Args:
      key: a `jax.random` key.
      image: shape `[..., H, W, C]`.
      reference: the same shape.

    Returns:
      The shifted pair, shapes as before.

    Raises:
      TypeError: if `key` is something else.
      ValueError: if the shapes differ.

    Example:
      >>> image = jnp.ones((2, 16, 16, 3))
      >>> random_grid_shift(jax.random.key(0), image, image)[0].shape
      (2, 16, 16, 3)
    """
    if not isinstance(key, (jax.Array, np.ndarray)):
        raise TypeError(
            f"`key` must be a key of jax.random, got {key!r}; jax.random.key(0) makes one."
        )
    offset = jax.random.randint(key, (2,), -MAX_SHIFT, MAX_SHIFT + 1)
    return grid_shift(image, reference, offset)
