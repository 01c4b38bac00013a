"""SSIM and multi-scale SSIM, written as losses.

Ours, because the one well-kept JAX implementation, `dm_pix.ssim`, has finite gradients but neither
the authors' border nor scales, and gets small distances as a difference to 1.

With d = x - y, both factors of SSIM are differences to 1 by themselves:

    1 - (2 mu_x mu_y + C1) / (mu_x^2 + mu_y^2 + C1) = mu_d^2 / (mu_x^2 + mu_y^2 + C1)
    1 - (2 cov_xy + C2) / (var_x + var_y + C2) = var_d / (var_x + var_y + C2)

so that nothing is subtracted from 1: identical images are at exactly 0 with gradient 0, and small
distances are as accurate as large ones. Complements multiply as 1 - (1 - a)(1 - b) = a + b - a b.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from watson_jax._checks import check_pair
from watson_jax.losses._pairs import map_pairs
from watson_jax.losses._spec import LossSpec
from watson_jax.transforms._batch import merge_axes, split_axis
from watson_jax.transforms._blocks import multiply

WINDOW_SIZE = 11
_WINDOW = np.exp(-0.5 * (np.arange(-(WINDOW_SIZE // 2), WINDOW_SIZE // 2 + 1) / 1.5) ** 2)
_WINDOW /= _WINDOW.sum()
C1, C2 = 0.01**2, 0.03**2

# The exponents of the five scales, finest first (Wang, Simoncelli, Bovik 2003, section 3.2).
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# Where halving four times, odd sides rounded up, leaves a whole window; or where every halving halves.
MS_SSIM_MIN_SIZE = {"valid": (WINDOW_SIZE - 1) * 16 + 1, "zero": 16}

# How many windows of a row or column one product takes: the cost of a pixel grows with it.
_PART_LENGTH = 64

# Mean contrast and structure below which the slope of their power is held: it is infinite at 0.
_SLOPE_FLOOR = 1e-3


def ssim(
    image: Float[ArrayLike, "*batch height width channels"],
    reference: Float[ArrayLike, "*batch height width channels"],
    *,
    border: Literal["zero", "valid"] = "zero",
) -> Float[Array, "*batch"]:
    """One minus the structural similarity of two images; also called `ssim_loss`.

    Other libraries' `ssim`, such as that of dm_pix, is the similarity itself.

    Means, variances and the covariance in a Gaussian window of 11x11 pixels (sigma 1.5), for each
    channel alone; the mean of 1 - SSIM over all windows and channels. K1 = .01, K2 = .03.

    Args:
      image: the distorted image, floats in [0, 1], shape `[..., H, W, C]`.
      reference: the original, the same shape.
      border: "zero" puts a window at every pixel, with zeros outside the image (the authors' code);
        "valid" leaves out windows that reach outside, as most libraries do.

    Returns:
      Distances in [0, 2], shape `[...]`, 0 for identical images; lower is more similar. float32, or
      float64 for float64 images.

    Raises:
      TypeError: if an image is not floating point.
      ValueError: if a shape or `border` is wrong, or if no window of "valid" fits into the image.

    Example:
      >>> reference = jnp.linspace(0, 1, 256).reshape(16, 16, 1)
      >>> print(f"{ssim(reference**2, reference):.3f}")
      0.340

    References:
      Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli: Image Quality Assessment: From Error
      Visibility to Structural Similarity. IEEE Transactions on Image Processing 13(4), 2004.
    """
    _check_border(border)
    min_size = WINDOW_SIZE if border == "valid" else 1
    image, reference = check_pair(image, reference, min_size=min_size)
    return _distances(image, reference, _ssim_of_pair, border)


def ms_ssim(
    image: Float[ArrayLike, "*batch height width channels"],
    reference: Float[ArrayLike, "*batch height width channels"],
    *,
    border: Literal["zero", "valid"] = "zero",
) -> Float[Array, "*batch"]:
    """One minus the multi-scale structural similarity of two images.

    For each channel, the product over five scales, each half as fine as the one before, of the mean
    contrast and structure to the power of the scale's weight, the coarsest times its luminance; then
    the mean over channels. Scales are averages of 2x2 pixels; odd sides repeat their last row or column.

    Where a scale's mean contrast and structure is negative, SSIM has no such power, and it counts as 0.
    The gradient there, and up to 0.001, is that at 0.001, so that training finds its way out.

    Args:
      image: the distorted image, floats in [0, 1], shape `[..., H, W, C]`, at least 16x16.
      reference: the original, the same shape.
      border: as for `ssim`. "zero" suits the sizes of 32x32 and 64x64 of the paper's models; "valid" is
        as published and needs 161x161, so that a window fits into the coarsest scale.

    Returns:
      Distances in [0, 1], up to 2 where means have opposite signs, shape `[...]`, 0 for identical
      images; lower is more similar. float32, or float64 for float64 images.

    Raises:
      TypeError: if an image is not floating point.
      ValueError: if a shape or `border` is wrong, or if the image is too small.

    Example:
      >>> reference = jnp.linspace(0, 1, 256).reshape(16, 16, 1)
      >>> print(f"{ms_ssim(reference**2, reference):.3f}")
      0.094

    References:
      Z. Wang, E. P. Simoncelli, A. C. Bovik: Multiscale Structural Similarity for Image Quality
      Assessment. Asilomar Conference on Signals, Systems and Computers, 2003.
    """
    _check_border(border)
    image, reference = check_pair(image, reference, min_size=MS_SSIM_MIN_SIZE[border])
    return _distances(image, reference, _ms_ssim_of_pair, border)


def _check_border(border: Any) -> None:
    if border not in ("zero", "valid"):
        raise ValueError(f'`border` must be "zero" or "valid", got {border!r}.')


@functools.partial(jax.jit, static_argnames=("of_pair", "border"))
def _distances(image, reference, of_pair, border):
    def one_pair(_, image, reference, blur=_blur_by_shifts):
        x, y = (jnp.moveaxis(z, -1, 0) for z in (image, reference))
        return of_pair(x, y, border, blur)

    on_cpu = functools.partial(one_pair, blur=_blur_by_products)
    return map_pairs(one_pair, None, image, reference, on_cpu=on_cpu)


def _ssim_of_pair(x, y, border, blur):
    luminance, structure = _dissimilarities(x, y, x - y, border, blur)
    return jnp.mean(_both(luminance, structure))


def _ms_ssim_of_pair(x, y, border, blur):
    difference, total = x - y, jnp.zeros_like(x[:, 0, 0])
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            x, y, difference = (_halve(z) for z in (x, y, difference))
        luminance, structure = _dissimilarities(x, y, difference, border, blur)
        if scale == len(SCALE_WEIGHTS) - 1:
            structure = _both(luminance, structure)
        term = _power(jnp.mean(structure, (-2, -1)), weight)
        total = _both(total, term)
    return jnp.mean(total)


def _both(a, b):
    """The complement of the product of two numbers, given theirs."""
    return a + b - a * b


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _power(complement, weight):
    """1 - (1 - complement)^weight; 1 where the base is not positive."""
    is_gone = complement >= 1  # This way round, NaN passes on.
    log_base = jnp.log1p(-jnp.where(is_gone, 0, complement))
    return jnp.where(is_gone, 1, -jnp.expm1(weight * log_base))


@_power.defjvp
def _power_jvp(weight, primals, tangents):
    (complement,), (tangent,) = primals, tangents
    base = jnp.maximum(1 - complement, _SLOPE_FLOOR)
    return _power(complement, weight), weight * base ** (weight - 1) * tangent


def _dissimilarities(x, y, difference, border, blur):
    """One minus luminance, and one minus contrast and structure, at every window of `[C, H, W]`."""
    (mean_x, variance_x), (mean_y, variance_y), (mean_d, variance_d) = (
        _mean_and_variance(plane, border, blur) for plane in (x, y, difference)
    )
    luminance = mean_d**2 / (mean_x**2 + mean_y**2 + C1)
    structure = variance_d / (variance_x + variance_y + C2)
    return luminance, structure


# What follows is compiled as functions of their own, which are traced once for each scale.
@functools.partial(jax.jit, static_argnames=("border", "blur"))
def _mean_and_variance(plane, border, blur):
    """Mean and variance in every window.

    A variance is a difference of mean squares, which loses as many digits as the mean is large, so
    that a plane is taken relative to its overall mean.
    """
    centre = jax.lax.stop_gradient(jnp.mean(plane, (-2, -1), keepdims=True))
    if border == "zero":
        plane = jnp.pad(plane, [(0, 0)] + [(WINDOW_SIZE // 2, WINDOW_SIZE // 2)] * 2)
    centred = plane - centre
    first, second = blur(centred), blur(centred**2)
    # Rounding can leave a negative variance, which would let the denominator vanish.
    return first + centre, jnp.maximum(second - first**2, 0)


@jax.jit
def _blur_by_shifts(planes):
    """Weighted means over every window that fits: the sum of the shifted planes, along each axis."""
    for axis in (planes.ndim - 1, planes.ndim - 2):
        number = planes.shape[axis] - WINDOW_SIZE + 1
        planes = sum(
            w * jax.lax.slice_in_dim(planes, k, k + number, axis=axis)
            for k, w in enumerate(_WINDOW.astype(planes.dtype))
        )
    return planes


@jax.jit
def _blur_by_products(planes):
    """The same by products with a banded matrix, which CPUs are faster at."""
    for axis in (-1, -2):
        planes = jnp.moveaxis(_blur_last_axis(jnp.moveaxis(planes, axis, -1)), -1, axis)
    return planes


def _blur_last_axis(planes):
    """Weighted means over the windows along one axis, as products of its parts with a banded matrix.

    On a CPU a convolution takes 15 times as long. Sums of shifted planes take less, but not in the
    gradient: the compiler repeats what they are computed from for each of their shifts.
    """
    overlap = WINDOW_SIZE - 1
    number = planes.shape[-1] - overlap
    length = min(max(number, overlap), _PART_LENGTH)
    parts = -(-number // length)
    rest = (parts + 1) * length - planes.shape[-1]
    planes = jnp.pad(planes, [(0, 0)] * (planes.ndim - 1) + [(0, rest)])
    planes = split_axis(planes, -1, length)
    # The last windows of a part reach into the next.
    windows = jnp.concatenate([planes[..., :-1, :], planes[..., 1:, :overlap]], -1)
    band = sum(w * np.eye(length + overlap, length, -k) for k, w in enumerate(_WINDOW))
    return merge_axes(multiply(windows, band), -2)[..., :number]


def _halve(planes):
    """The mean of every 2x2 pixels."""
    height, width = planes.shape[-2:]
    padding = [(0, 0)] * (planes.ndim - 2) + [(0, height % 2), (0, width % 2)]
    planes = jnp.pad(planes, padding, mode="edge")
    return jnp.mean(split_axis(split_axis(planes, -1, 2), -3, 2), (-3, -1))


SSIM = LossSpec(
    name="ssim",
    aliases=("ssim-loss",),
    summary="one minus the structural similarity",
    function=ssim,
    # The authors average over a batch, of 128 or 64 images.
    log_weights={None: (9 - math.log(128), 13 - math.log(64))},
)
MS_SSIM = LossSpec(
    name="ms-ssim",
    summary="one minus the structural similarity over five scales",
    function=ms_ssim,
    log_weights={None: (7.5, 9.0)},
    min_size=MS_SSIM_MIN_SIZE["zero"],
)
