"""The parameters of the Adaptive loss, stored unconstrained, with their readable values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from watson_jax.weights import CheckpointError

MIN_SHAPE, MAX_SHAPE = 0.001, 1.999
MIN_SCALE = 1e-5


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class AdaptiveParams:
    """Parameters of the Adaptive loss: a shape and a scale for each coefficient of an image.

    The fields are free real numbers, so that an optimizer may move them anywhere, together with the
    model; the properties are what they mean. Axes are vertical frequency, horizontal frequency, and
    Y, U, V.

    `authors_axes` marks the parameters that the paper's authors fitted. Their code gave images with
    channels first to functions that want them last: the colour matrix mixes three values that lie side
    by side in one channel, and the transform runs over channels and height. Their axes here are channel
    frequency last, vertical frequency first, and horizontal *position*.
    """

    alpha_latent: Float[Array, "height width 3"]
    scale_latent: Float[Array, "height width 3"]
    authors_axes: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def shape_parameters(self) -> Float[Array, "height width 3"]:
        """Barron's alpha in (0.001, 1.999): Cauchy's loss near 0, the squared error near 2."""
        return MIN_SHAPE + (MAX_SHAPE - MIN_SHAPE) * jax.nn.sigmoid(self.alpha_latent)

    @property
    def scales(self) -> Float[Array, "height width 3"]:
        """Barron's c >= 1e-5, the size of a coefficient at which the loss ceases to be quadratic."""
        at_1 = math.log(math.e - 1)  # The softplus of this is 1.
        return MIN_SCALE + (1 - MIN_SCALE) * jax.nn.softplus(self.scale_latent + at_1)


def initial_adaptive_params(image_size: tuple[int, int]) -> AdaptiveParams:
    """The starting values of the Adaptive loss: every shape and every scale is 1.

    Args:
      image_size: height and width of the images; grey ones have the same parameters as those in
        colour.

    Returns:
      float32 parameters.

    Raises:
      ValueError: if `image_size` is not two whole numbers > 0.
    """
    size = tuple(image_size) if isinstance(image_size, (tuple, list)) else ()
    if len(size) != 2 or not all(isinstance(n, (int, np.integer)) and n > 0 for n in size):
        raise ValueError(
            f"`image_size` must be (height, width), two whole numbers > 0, got {image_size!r}."
        )
    shape = (int(size[0]), int(size[1]), 3)
    return AdaptiveParams(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.float32))


def adaptive_params_from_torch(state: Mapping[str, np.ndarray]) -> AdaptiveParams:
    """Converts the authors' state dict: flat vectors of square images in the order channel, row, column.

    Args:
      state: the entries of the file.

    Returns:
      float32 parameters with `authors_axes`.

    Raises:
      CheckpointError: if an entry is missing or of no such size.
    """
    latents = {}
    for field in ("alpha_latent", "scale_latent"):
        key = "robust_loss.adaptive_lossfun.latent_" + field.removesuffix("_latent")
        found = state.get("." + key, state.get(key))  # The dot is a slip in the published files.
        if found is None:
            raise CheckpointError(f"the entry {key} is missing")
        side = math.isqrt(found.size // 3)
        if not side or found.size != 3 * side**2:
            raise CheckpointError(
                f"{key} has {found.size} elements, which make no square image of three channels"
            )
        latents[field] = np.moveaxis(np.float32(found).reshape(3, side, side), 0, -1)
    alpha, scale = latents["alpha_latent"], latents["scale_latent"]
    if alpha.shape != scale.shape:
        raise CheckpointError(
            f"alpha_latent and scale_latent differ in shape, {alpha.shape} and {scale.shape}"
        )
    return AdaptiveParams(jnp.asarray(alpha), jnp.asarray(scale), authors_axes=True)
