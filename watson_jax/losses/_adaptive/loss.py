"""Barron's adaptive robust loss of images, whose shapes and scales are learned with the model."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from watson_jax._checks import check_pair
from watson_jax.losses._adaptive.params import AdaptiveParams
from watson_jax.losses._adaptive.robust import general_robust_loss, robust_log_partition
from watson_jax.transforms._color import LUMA
from watson_jax.transforms._dct import dct_matrix

# Rows Y, U, V; columns R, G, B; times the factor that makes the determinant 1, so that the likelihood
# of pixels is that of their colours.
YUV_MATRIX = 1.580227820074 * np.array(
    [
        LUMA,
        [-0.14714119, -0.28886916, 0.43601035],
        [0.61497538, -0.51496512, -0.10001026],
    ]
)


def adaptive(
    params: AdaptiveParams,
    image: Float[ArrayLike, "*batch height width channels"],
    reference: Float[ArrayLike, "*batch height width channels"],
) -> Float[Array, "*batch"]:
    """The adaptive robust loss of two images: a negative log-likelihood of their difference.

    The difference image, in YUV, goes through an orthonormal DCT over its whole height and width. Each
    coefficient follows Barron's general distribution with a shape and a scale of its own. Train these
    together with the model; at fixed scales of 1 the loss is close to a squared error. The sum is over
    the coefficients of one image. Parameters of the paper's authors have other axes; see
    `AdaptiveParams`.

    Args:
      params: from `load_params("adaptive", ...)`, for images of this size.
      image: the distorted image, floats in [0, 1], shape `[..., H, W, C]` with C = 3 (RGB) or 1 (grey,
        which is repeated three times).
      reference: the original, the same shape.

    Returns:
      Negative log-likelihoods, shape `[...]`; lower is more similar, lowest and with gradient 0 for
      identical images, at a value that depends on `params` and may be negative. float32, or float64 for
      float64 images.

    Raises:
      TypeError: if `params` are of another loss, or an image is not floating point.
      ValueError: if a shape is wrong, or the images do not have the size of the parameters.

    Example:
      >>> from watson_jax.losses._adaptive.params import initial_adaptive_params
      >>> params = initial_adaptive_params((16, 16))
      >>> reference = jnp.linspace(0, 1, 256).reshape(16, 16, 1)
      >>> print(f"{adaptive(params, reference**2, reference):.2f}")
      915.00

    References:
      J. T. Barron: A General and Adaptive Robust Loss Function. CVPR 2019.
    """
    return _adaptive(*_check_arguments(params, image, reference))


@jax.jit
def _adaptive(params, image, reference):
    coefficients = coefficients_of_difference(params.authors_axes, image, reference)
    return negative_log_likelihood(params, coefficients)


def coefficients_of_difference(
    authors_axes: bool,
    image: Float[Array, "*batch height width channels"],
    reference: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch 3 height width"]:
    """What the parameters are about: the difference image in YUV, after the DCT."""
    difference = image - reference
    if difference.shape[-1] == 1:
        difference = jnp.concatenate([difference] * 3, -1)
    return _transform(jnp.moveaxis(difference, -1, -3), authors_axes)


def negative_log_likelihood(
    params: AdaptiveParams, coefficients: Float[Array, "*batch 3 height width"]
) -> Float[Array, "*batch"]:
    """Of the coefficients of each image, under the general distribution."""
    alpha, scale = (jnp.moveaxis(x, -1, -3) for x in (params.shape_parameters, params.scales))
    # The same for every pair. Relative to one of them, as thousands of equal numbers, which these are at
    # first, add up with thousands of equal rounding errors.
    constants = jnp.log(scale) + robust_log_partition(alpha)
    first = constants[0, 0, 0]
    constant = constants.size * first + jnp.sum(constants - first)
    leading = range(coefficients.ndim - 3)
    alpha, scale = (jnp.expand_dims(x, leading) for x in (alpha, scale))
    return jnp.sum(general_robust_loss(coefficients, alpha, scale), (-3, -2, -1)) + constant


def _transform(
    planes: Float[Array, "*batch 3 height width"], authors_axes: bool
) -> Float[Array, "*batch 3 height width"]:
    """Colour transform and two-dimensional DCT of a difference image, channels first."""
    multiply = functools.partial(jnp.einsum, precision="highest")
    yuv = jnp.asarray(YUV_MATRIX, planes.dtype)
    first, rows, columns = (jnp.asarray(dct_matrix(n), planes.dtype) for n in planes.shape[-3:])
    if authors_axes:
        triples = planes.reshape(*planes.shape[:-3], -1, 3)
        mixed = multiply("...nc,dc->...nd", triples, yuv).reshape(planes.shape)
        mixed = multiply("uh,...chw->...cuw", rows, mixed)
        return multiply("dc,...chw->...dhw", first, mixed)
    mixed = multiply("dc,...chw->...dhw", yuv, planes)
    mixed = multiply("...hw,vw->...hv", mixed, columns)
    return multiply("uh,...hw->...uw", rows, mixed)


def _check_arguments(params: Any, image: Any, reference: Any) -> tuple[Any, Any, Any]:
    if type(params) is not AdaptiveParams:
        raise TypeError(
            f"`params` must be AdaptiveParams, got {type(params).__name__}; "
            "the parameters come first: adaptive(params, image, reference)."
        )
    shapes = [jnp.shape(x) for x in (params.alpha_latent, params.scale_latent)]
    if len(shapes[0]) != 3 or shapes[0][-1] != 3 or shapes[0] != shapes[1]:
        raise ValueError(
            "`params` must be one set, with `alpha_latent` and `scale_latent` of the shape "
            f"[height, width, 3], got {shapes[0]} and {shapes[1]}; use jax.vmap for several sets."
        )
    image, reference = check_pair(image, reference)
    if image.shape[-3:-1] != shapes[0][:2]:
        (height, width), (found_height, found_width) = shapes[0][:2], image.shape[-3:-1]
        raise ValueError(
            f"`image` must be {height}x{width}, the size of the parameters, "
            f"got {found_height}x{found_width}; make parameters with "
            f"image_size=({found_height}, {found_width})."
        )
    return jax.tree.map(lambda x: jnp.asarray(x, image.dtype), params), image, reference
