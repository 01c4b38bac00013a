"""Full-range YCbCr, the colour space of JPEG, in which eq. 9 of the paper weighs its channels."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from watson_jax._checks import check_floating

LUMA = (0.299, 0.587, 0.114)
# Rows Y, Cb, Cr; columns R, G, B. The chroma rows add up to 0.
YCBCR_MATRIX = np.array(
    [
        LUMA,
        [-0.1687, -0.3313, 0.5],
        [0.5, -0.4187, -0.0813],
    ]
)
LUMA_WEIGHTS = np.array(LUMA, np.float32)
"""What makes the luma of R, G and B: `image @ LUMA_WEIGHTS`."""


def rgb_to_ycbcr(image: Float[ArrayLike, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Converts RGB to luma and chroma.

        Y  =  .299  R + .587  G + .114  B
        Cb = -.1687 R - .3313 G + .5    B + .5
        Cr =  .5    R - .4187 G - .0813 B + .5

    Args:
      image: RGB in [0, 1], shape `[..., 3]`.

    Returns:
      Y, Cb, Cr in [0, 1], shape `[..., 3]`.

    Raises:
      TypeError: if `image` is not floating point.
      ValueError: if its last axis is not of length 3.

    Example:
      >>> rgb_to_ycbcr(jnp.array([1.0, 1.0, 1.0])).tolist()
      [1.0, 0.5, 0.5]
    """
    return jnp.stack(ycbcr_planes(_check_colors(image)), axis=-1)


def ycbcr_planes(
    image: Float[Array, "*batch 3"],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"], Float[Array, "*batch"]]:
    """The channels of `rgb_to_ycbcr` one by one."""
    # Split and not indexed: the transpose puts colours together instead of adding up padded ones, which
    # takes a CPU three times as long.
    red, green, blue = (color[..., 0] for color in jnp.split(image, 3, axis=-1))
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    # As differences, so that the chroma of a grey pixel is exactly 0.5 and not 0.5 with rounding
    # errors, whose phase would count.
    chroma_blue = 0.1687 * (blue - red) + 0.3313 * (blue - green) + 0.5
    chroma_red = 0.4187 * (red - green) + 0.0813 * (red - blue) + 0.5
    return luma, chroma_blue, chroma_red


def split_channels(
    image: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch channels height width"]:
    """Y, Cb and Cr of an RGB image, or grey, each an image of its own."""
    planes = ycbcr_planes(image) if image.shape[-1] == 3 else (image[..., 0],)
    return jnp.stack(planes, -3)


def ycbcr_to_rgb(image: Float[ArrayLike, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Converts luma and chroma back to RGB, the inverse of `rgb_to_ycbcr`.

    Args:
      image: Y, Cb, Cr, shape `[..., 3]`.

    Returns:
      RGB, shape `[..., 3]`; not clipped.

    Raises:
      TypeError: if `image` is not floating point.
      ValueError: if its last axis is not of length 3.

    Example:
      >>> ycbcr_to_rgb(jnp.array([1.0, 0.5, 0.5])).tolist()
      [1.0, 1.0, 1.0]
    """
    image = _check_colors(image)
    inverse = jnp.asarray(np.linalg.inv(YCBCR_MATRIX).T, image.dtype)
    offset = jnp.asarray([0, 0.5, 0.5], image.dtype)
    return jnp.matmul(image - jnp.broadcast_to(offset, image.shape), inverse, precision="highest")


def _check_colors(image: Any) -> Array:
    image = check_floating("image", image)
    if image.shape[-1:] != (3,):
        raise ValueError(
            f"`image` must have 3 channels in its last axis, got the shape {image.shape}; convert grey "
            "ones with jnp.repeat(x, 3, -1), move channels-first axes with jnp.moveaxis(x, -3, -1)."
        )
    return image
