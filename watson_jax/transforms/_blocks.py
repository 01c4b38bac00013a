"""Cutting images into the disjoint 8x8 blocks on which Watson's model works."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from watson_jax.transforms._batch import for_each, merge_axes, split_axis

BLOCK_SIZE = 8


def pad_to_blocks(
    image: Float[ArrayLike, "*batch height width channels"],
) -> Float[Array, "*batch padded_height padded_width channels"]:
    """Pads height and width to multiples of 8 by repeating the bottom and right edge.

    The authors' code refuses other sizes; a repeated edge adds no contrast of its own.

    Args:
      image: shape `[..., H, W, C]`.

    Returns:
      Shape `[..., 8 ceil(H / 8), 8 ceil(W / 8), C]`.

    Raises:
      ValueError: if `image` has fewer than three axes.

    Example:
      >>> pad_to_blocks(jnp.ones((28, 30, 1))).shape
      (32, 32, 1)
    """
    image = _as_image(image)
    height, width = image.shape[-3:-1]
    padding = ((0, -height % 8), (0, -width % 8), (0, 0))
    if not np.any(padding):
        return image
    return for_each(lambda x: jnp.pad(x, padding, mode="edge"), image)


def split_blocks(
    image: Float[ArrayLike, "*batch height width channels"],
) -> Float[Array, "*batch rows columns 8 8 channels"]:
    """Cuts an image into its disjoint 8x8 blocks, row by row.

    Args:
      image: shape `[..., H, W, C]`, H and W multiples of 8.

    Returns:
      Shape `[..., H / 8, W / 8, 8, 8, C]`.

    Raises:
      ValueError: if a side is not a multiple of 8.

    Example:
      >>> split_blocks(jnp.ones((16, 24, 1))).shape
      (2, 3, 8, 8, 1)
    """
    image = _as_image(image)
    height, width = image.shape[-3:-1]
    if height % BLOCK_SIZE or width % BLOCK_SIZE:
        raise ValueError(
            f"`image` sides must be multiples of {BLOCK_SIZE}, got {height}x{width}; "
            "pass it through `pad_to_blocks` first."
        )
    blocks = split_axis(split_axis(image, -2, BLOCK_SIZE), -4, BLOCK_SIZE)
    return jnp.moveaxis(blocks, -4, -3)


def _as_image(image: ArrayLike) -> Array:
    image = jnp.asarray(image)
    if image.ndim < 3:
        raise ValueError(
            f"`image` must be [..., height, width, channels], got shape {image.shape}."
        )
    return image


def merge_blocks(
    blocks: Float[ArrayLike, "*batch rows columns 8 8 channels"],
) -> Float[Array, "*batch height width channels"]:
    """Puts blocks back together, the inverse of `split_blocks`.

    Args:
      blocks: shape `[..., rows, columns, 8, 8, C]`.

    Returns:
      Shape `[..., 8 rows, 8 columns, C]`.

    Example:
      >>> merge_blocks(jnp.ones((2, 3, 8, 8, 1))).shape
      (16, 24, 1)
    """
    return merge_axes(merge_axes(jnp.moveaxis(blocks, -3, -4), -5), -3)


def mean_of_blocks(
    image: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch rows columns channels"]:
    """The mean of every 8x8 block; sides are multiples of 8."""
    channels = image.shape[-1]
    # As a product: see `_sum_by_product` of the p-norm.
    lines = split_axis(merge_axes(image, -2), -1, BLOCK_SIZE * channels)
    lines = split_axis(lines, -3, BLOCK_SIZE)
    mean = np.tile(np.eye(channels), (BLOCK_SIZE, 1)) / BLOCK_SIZE**2
    return jnp.sum(multiply(lines, mean), -3)


def flat_blocks(
    planes: Float[Array, "*batch channels height width"],
) -> Float[Array, "*batch channels blocks 64"]:
    """The 8x8 blocks of every channel, row by row, each flattened; sides are multiples of 8."""
    blocks = split_axis(split_axis(planes, -1, BLOCK_SIZE), -3, BLOCK_SIZE)
    return merge_axes(merge_axes(jnp.moveaxis(blocks, -2, -3), -2), -3)


def differing_blocks(
    image: Float[Array, "*batch height width channels"],
    reference: Float[Array, "*batch height width channels"],
) -> Bool[Array, "*batch 1 blocks 1"]:
    """Where two images have not the same block.

    Compilers may round the same sum differently in two places. A difference in the last digit, to a
    power below 1, would keep identical images apart.
    """
    differs = jnp.any(split_blocks(image) != split_blocks(reference), (-3, -2, -1))
    return merge_axes(differs, -2)[..., None, :, None]


def transform_blocks(
    blocks: Float[Array, "*batch pixels"], basis: np.ndarray
) -> Float[Array, "*batch frequencies"]:
    """Multiplies flattened blocks with a basis; each of its columns but the first adds up to 0.

    The product is taken of the differences to the first pixel, so that the coefficients of a flat block,
    other than the first, are exactly 0: with rounding errors in their place the phase of a white wall
    would be noise. To the gradient this pixel is a constant, since it cancels.
    """
    corner = jax.lax.stop_gradient(blocks[..., :1])
    of_constant = np.where(np.arange(basis.shape[1]) == 0, basis.sum(0), 0)
    of_constant = np.expand_dims(of_constant, tuple(range(blocks.ndim - 1)))
    return multiply(blocks - corner, basis) + corner * jnp.asarray(of_constant, blocks.dtype)


def multiply(
    blocks: Float[Array, "*batch pixels"], basis: np.ndarray
) -> Float[Array, "*batch frequencies"]:
    """The product, in full precision on every device."""
    return jnp.matmul(blocks, jnp.asarray(basis, blocks.dtype), precision=jax.lax.Precision.HIGHEST)
