"""The orthonormal two-dimensional DCT of 8x8 blocks."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from watson_jax._checks import check_floating
from watson_jax.transforms._batch import merge_axes, split_axis
from watson_jax.transforms._blocks import BLOCK_SIZE, merge_blocks, split_blocks, transform_blocks


@functools.cache
def dct_matrix(size: int) -> np.ndarray:
    """Orthonormal type-II DCT: row u holds s_u cos(pi (2 n + 1) u / (2 size))."""
    frequency, position = np.mgrid[:size, :size]
    matrix = np.sqrt(2 / size) * np.cos(np.pi * (2 * position + 1) * frequency / (2 * size))
    matrix[0] /= np.sqrt(2)
    return matrix


DCT_MATRIX = dct_matrix(BLOCK_SIZE)
DCT_BASIS = np.kron(DCT_MATRIX, DCT_MATRIX).T
"""In both directions: of flattened blocks, axes [pixel, frequency]."""


def block_dct(
    image: Float[ArrayLike, "*batch height width channels"],
) -> Float[Array, "*batch rows columns 8 8 channels"]:
    """Takes the orthonormal type-II DCT of each disjoint 8x8 block, in both directions.

    Args:
      image: shape `[..., H, W, C]`, H and W multiples of 8.

    Returns:
      Coefficients `[..., rows, columns, vertical frequency, horizontal frequency, C]`;
      the DC coefficient at `[0, 0]` is eight times the mean of the block.

    Raises:
      TypeError: if `image` is not floating point.
      ValueError: if a side is not a multiple of 8.

    Example:
      >>> block_dct(jnp.ones((16, 24, 1))).shape
      (2, 3, 8, 8, 1)
    """
    image = check_floating("image", image)
    blocks = jnp.moveaxis(split_blocks(image), -1, -3)
    coefficients = dct_of_blocks(merge_axes(blocks, -2))
    return jnp.moveaxis(split_axis(coefficients, -1, BLOCK_SIZE), -3, -1)


def dct_of_blocks(blocks: Float[Array, "*batch 64"]) -> Float[Array, "*batch 64"]:
    """The coefficients of flattened blocks, `[vertical, horizontal]` frequency in one axis."""
    return transform_blocks(blocks, DCT_BASIS)


def inverse_block_dct(
    coefficients: Float[ArrayLike, "*batch rows columns 8 8 channels"],
) -> Float[Array, "*batch height width channels"]:
    """Rebuilds the image from its blocks' DCT coefficients, the inverse of `block_dct`.

    Args:
      coefficients: shape `[..., rows, columns, 8, 8, C]`.

    Returns:
      Shape `[..., 8 rows, 8 columns, C]`.

    Raises:
      TypeError: if `coefficients` are not floating point.

    Example:
      >>> image = jnp.linspace(0, 1, 64).reshape(8, 8, 1)
      >>> bool(jnp.allclose(inverse_block_dct(block_dct(image)), image, atol=1e-6))
      True
    """
    coefficients = check_floating("coefficients", coefficients)
    matrix = jnp.asarray(DCT_MATRIX, coefficients.dtype)
    blocks = jnp.einsum(
        "...uvc,ui,vj->...ijc", coefficients, matrix, matrix, precision=Precision.HIGHEST
    )
    return merge_blocks(blocks)
