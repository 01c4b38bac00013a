"""The losses that compare pixel by pixel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from watson_jax._checks import check_pair
from watson_jax.losses._spec import LossSpec


def l1(
    image: Float[ArrayLike, "*batch height width channels"],
    reference: Float[ArrayLike, "*batch height width channels"],
) -> Float[Array, "*batch"]:
    """The mean absolute difference of two images; also called `mae`.

    The mean is over the pixels and channels of one image; the authors' code sums over the batch.

    Args:
      image: the distorted image, floats in [0, 1], shape `[..., H, W, C]`.
      reference: the original, the same shape.

    Returns:
      Distances >= 0, shape `[...]`, 0 for identical images; lower is more similar. float32, or float64
      for float64 images. The gradient is 0 where pixels are equal.

    Raises:
      TypeError: if an image is not floating point.
      ValueError: if the shapes are wrong.

    Example:
      >>> float(l1(jnp.full((4, 4, 1), 0.75), jnp.full((4, 4, 1), 0.5)))
      0.25
    """
    return _l1(*check_pair(image, reference))


def l2(
    image: Float[ArrayLike, "*batch height width channels"],
    reference: Float[ArrayLike, "*batch height width channels"],
) -> Float[Array, "*batch"]:
    """The mean squared difference of two images; also called `mse`. optax's `l2_loss` is half of it.

    The mean is over the pixels and channels of one image; the authors' code sums over the batch.

    Args:
      image: the distorted image, floats in [0, 1], shape `[..., H, W, C]`.
      reference: the original, the same shape.

    Returns:
      Distances >= 0, shape `[...]`, 0 for identical images; lower is more similar. float32, or float64
      for float64 images.

    Raises:
      TypeError: if an image is not floating point.
      ValueError: if the shapes are wrong.

    Example:
      >>> float(l2(jnp.full((4, 4, 1), 0.75), jnp.full((4, 4, 1), 0.5)))
      0.0625
    """
    return _l2(*check_pair(image, reference))


@jax.jit
def _l1(image, reference):
    difference = image - reference
    # The sign is 0 at 0, and so is the gradient; that of jnp.abs is not, in every version of JAX.
    magnitude = difference * jax.lax.stop_gradient(jnp.sign(difference))
    return jnp.mean(magnitude, (-3, -2, -1))


@jax.jit
def _l2(image, reference):
    return jnp.mean(jnp.square(image - reference), (-3, -2, -1))


L1 = LossSpec(
    name="l1",
    aliases=("mae",),
    summary="mean absolute error",
    function=l1,
    log_weights={None: (9.0, 9.5)},
)
L2 = LossSpec(
    name="l2",
    aliases=("mse",),
    summary="mean squared error",
    function=l2,
    log_weights={None: (9.5, 11.0)},
)
