"""The one-sided two-dimensional DFT of 8x8 blocks."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.lax import Precision, complex
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float

from watson_jax._checks import check_floating
from watson_jax.transforms._batch import merge_axes, split_axis
from watson_jax.transforms._blocks import BLOCK_SIZE, merge_blocks, split_blocks, transform_blocks

HALF = BLOCK_SIZE // 2 + 1

# The frequencies that are their own complex conjugate: their coefficients are real, so that their
# phase can only be 0 or pi.
SELF_CONJUGATE = np.zeros((BLOCK_SIZE, HALF), bool)
SELF_CONJUGATE[::4, ::4] = True


def _dft_basis() -> np.ndarray:
    """exp(-2 pi i (u m + v n) / 8) / 64, axes [u, v, m, n], v only up to the fifth."""
    u, v, m, n = np.mgrid[:BLOCK_SIZE, :HALF, :BLOCK_SIZE, :BLOCK_SIZE]
    quarter_turns = (u * m + v * n) % BLOCK_SIZE
    # Entries that are 0 stand there as 0 and not as 1e-17, as does the whole imaginary part at the
    # self-conjugate frequencies.
    cosine = np.round(np.cos(np.pi * np.arange(BLOCK_SIZE) / 4), 15)
    cosine[1::2] = np.copysign(np.sqrt(0.5), cosine[1::2])
    sine = np.roll(cosine, 2)
    return (cosine[quarter_turns] - 1j * sine[quarter_turns]) / BLOCK_SIZE**2


DFT_BASIS = _dft_basis()
_FLAT_BASIS = DFT_BASIS.reshape(-1, BLOCK_SIZE**2).T

# A real block has X[-u, -v] = conj(X[u, v]), so that every column of the half spectrum but the first
# and the last stands for two of the whole.
MULTIPLICITY = np.array([1, 2, 2, 2, 1])


def block_dft(
    image: Float[ArrayLike, "*batch height width channels"],
) -> Complex[Array, "*batch rows columns 8 5 channels"]:
    """Takes the one-sided two-dimensional DFT of each disjoint 8x8 block.

    Args:
      image: shape `[..., H, W, C]`, H and W multiples of 8.

    Returns:
      Coefficients divided by 64, shape
      `[..., rows, columns, vertical frequency (8), horizontal frequency (5), C]`;
      the DC coefficient at `[0, 0]` is the mean of the block. complex64, or complex128 for float64.

    Raises:
      TypeError: if `image` is not floating point.
      ValueError: if a side is not a multiple of 8.

    Example:
      >>> block_dft(jnp.ones((16, 24, 1))).shape
      (2, 3, 8, 5, 1)
    """
    image = check_floating("image", image)
    blocks = jnp.moveaxis(split_blocks(image), -1, -3)
    coefficients = dft_of_blocks(merge_axes(blocks, -2))
    return jnp.moveaxis(split_axis(coefficients, -1, HALF), -3, -1)


def dft_of_blocks(blocks: Float[Array, "*batch 64"]) -> Complex[Array, "*batch 40"]:
    """The coefficients of flattened blocks, `[vertical, horizontal]` frequency in one axis."""
    # One product for both parts, so that the blocks are read once.
    parts = transform_blocks(blocks, np.concatenate([_FLAT_BASIS.real, _FLAT_BASIS.imag], 1))
    return complex(*jnp.split(parts, 2, -1))


def inverse_block_dft(
    coefficients: Complex[ArrayLike, "*batch rows columns 8 5 channels"],
) -> Float[Array, "*batch height width channels"]:
    """Rebuilds the image from its blocks' DFT coefficients, the inverse of `block_dft`.

    Args:
      coefficients: shape `[..., rows, columns, 8, 5, C]`.

    Returns:
      Real, shape `[..., 8 rows, 8 columns, C]`.

    Raises:
      TypeError: if `coefficients` are not floating point.

    Example:
      >>> image = jnp.linspace(0, 1, 64).reshape(8, 8, 1)
      >>> bool(jnp.allclose(inverse_block_dft(block_dft(image)), image, atol=1e-6))
      True
    """
    coefficients = check_floating("coefficients", coefficients, jnp.inexact)
    basis = BLOCK_SIZE**2 * DFT_BASIS * MULTIPLICITY[:, None, None]
    # Re(conj(basis) c), summed over the half spectrum.
    real, imaginary = (
        jnp.einsum(
            "...uvc,uvmn->...mnc", part, jnp.asarray(b, part.dtype), precision=Precision.HIGHEST
        )
        for part, b in ((coefficients.real, basis.real), (coefficients.imag, basis.imag))
    )
    return merge_blocks(real + imaginary)
