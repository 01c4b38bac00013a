"""The block transforms of whole images with half the multiplications.

Cosines and sines about the centre of a block stay the same, or change their sign, when the block is
turned by half a turn. So each pixel is first added to its opposite and subtracted from it; a coefficient
takes either the 32 sums or the 32 differences. `block_dct` and `block_dft` are the definitions.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from watson_jax.transforms._batch import merge_axes, split_axis
from watson_jax.transforms._blocks import BLOCK_SIZE, multiply, transform_blocks
from watson_jax.transforms._color import split_channels
from watson_jax.transforms._dct import DCT_BASIS
from watson_jax.transforms._dft import HALF

_HALF_BLOCK = BLOCK_SIZE**2 // 2


def folded_blocks(
    image: Float[Array, "*batch height width channels"],
) -> tuple[Float[Array, "*batch channels blocks 32"], Float[Array, "*batch channels blocks 32"]]:
    """Sums and differences of opposite pixels in every 8x8 block of Y, Cb and Cr, or of grey.

    Args:
      image: RGB or grey; sides are multiples of 8.
    """
    channels = split_channels(image)
    # [..., rows, 8, columns, 8]
    blocks = split_axis(split_axis(channels, -1, BLOCK_SIZE), -3, BLOCK_SIZE)
    upper, lower = lax.split(blocks, [BLOCK_SIZE // 2] * 2, blocks.ndim - 3)
    lower = lax.rev(lower, (blocks.ndim - 3, blocks.ndim - 1))

    def flatten(halves):
        return merge_axes(merge_axes(jnp.moveaxis(halves, -2, -3), -2), -3)

    return flatten(upper + lower), flatten(upper - lower)


def _centred_dft() -> np.ndarray:
    """exp(-2 pi i (u m + v n) / 8) / 64, m and n from the block's centre, axes [(m, n), (u, v)]."""
    u, v, m, n = np.mgrid[:BLOCK_SIZE, :HALF, :BLOCK_SIZE, :BLOCK_SIZE]
    sixteenths = (u * (2 * m - 7) + v * (2 * n - 7)) % 16
    # All cosines from those of a quarter of a turn: opposite ones then cancel to the last digit, and 0
    # is not 1e-17.
    first = np.array([1, np.cos(np.pi / 8), np.sqrt(0.5), np.sin(np.pi / 8)])
    cosine = np.concatenate([first, [0], -first[:0:-1], -first, [0], first[:0:-1]])
    basis = (cosine - 1j * np.roll(cosine, 4))[sixteenths] / BLOCK_SIZE**2
    return basis.reshape(-1, BLOCK_SIZE**2).T


_CENTRED_DFT = _centred_dft()
_COSINES, _SINES = (part[:_HALF_BLOCK] for part in (_CENTRED_DFT.real, _CENTRED_DFT.imag))

# What a coefficient of `block_dft` is multiplied with to become one of `dft_of_image`: its phase at the
# first pixel.
ROTATION = _CENTRED_DFT[0] * BLOCK_SIZE**2


def dft_of_image(
    image: Float[Array, "*batch height width channels"],
) -> tuple[Float[Array, "*batch channels blocks 40"], Float[Array, "*batch channels blocks 40"]]:
    """`block_dft` of Y, Cb and Cr, or of grey, times `ROTATION`: real parts and imaginary parts.

    Phases are relative to the centre of a block, where those of `block_dft` are relative to its first
    pixel. Amplitudes, and angles between two images, are the same.

    Args:
      image: RGB or grey; sides are multiples of 8.
    """
    sums, differences = folded_blocks(image)
    # Two products: of one, both halves would stay in memory as long as either is needed.
    return transform_blocks(sums, _COSINES), multiply(differences, _SINES)


_U, _V = np.mgrid[:BLOCK_SIZE, :BLOCK_SIZE].reshape(2, -1)
DCT_ORDER = np.argsort((_U + _V) % 2, kind="stable").astype(np.int32)
"""The order in which `dct_of_image` leaves the frequencies `8 u + v`: sums first."""

_DCT = DCT_BASIS[:_HALF_BLOCK, DCT_ORDER]
_OF_SUMS, _OF_DIFFERENCES = _DCT[:, :_HALF_BLOCK], _DCT[:, _HALF_BLOCK:]


def dct_of_image(
    image: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch channels blocks 64"]:
    """`block_dct` of Y, Cb and Cr, or of grey, frequencies in `DCT_ORDER`.

    Args:
      image: RGB or grey; sides are multiples of 8.
    """
    sums, differences = folded_blocks(image)
    parts = transform_blocks(sums, _OF_SUMS), multiply(differences, _OF_DIFFERENCES)
    return jnp.concatenate(parts, -1)
