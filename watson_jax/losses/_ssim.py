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
from watson_jax._platform import by_platform
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

# How many windows of a row or column one product takes on a CPU.
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
    def one_pair(_, image, reference):
        x, y = (jnp.moveaxis(z, -1, 0) for z in (image, reference))
        return of_pair(x, y, border)

    return map_pairs(one_pair, None, image, reference, on_cpu=one_pair)


def _ssim_of_pair(x, y, border):
    luminance, structure = _dissimilarities(x, y, x - y, border)
    return jnp.mean(_both(luminance, structure))


def _ms_ssim_of_pair(x, y, border):
    difference, total = x - y, jnp.zeros_like(x[:, 0, 0])
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            x, y, difference = (_halve(z) for z in (x, y, difference))
        luminance, structure = _dissimilarities(x, y, difference, border)
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


# Compiled as a function of its own, which is traced once for each scale.
@functools.partial(jax.jit, static_argnames="border")
def _dissimilarities(x, y, d, border):
    """One minus luminance, and one minus contrast and structure, at every window.

    A variance is a difference of mean squares, which loses as many digits as the mean is large, so
    planes are taken relative to their overall means. Four planes are blurred and not six: a mean is
    linear, so that of y follows, and of the variances of x and y only the sum counts.

    Args:
      x: planes `[C, H, W]` of the image.
      y: of the reference.
      d: their difference.
      border: as for `ssim`.
    """
    c_x, c_y, c_d = (jax.lax.stop_gradient(jnp.mean(z, (-2, -1), keepdims=True)) for z in (x, y, d))
    if border == "zero":
        padding = [(0, 0)] + [(WINDOW_SIZE // 2, WINDOW_SIZE // 2)] * 2
        x, y, d = (jnp.pad(z, padding) for z in (x, y, d))
    x, y, d = x - c_x, y - c_y, d - c_d
    m_x, m_d, m_dd, m_squares = (_blur(z) for z in (x, d, d**2, x**2 + y**2))
    mu_x, mu_d = m_x + c_x, m_d + c_d
    mu_y = mu_x - mu_d
    # Rounding can leave a negative variance, which would let the denominator vanish.
    var_d = jnp.maximum(m_dd - m_d**2, 0)
    var_x_and_y = jnp.maximum(m_squares - m_x**2 - (mu_y - c_y) ** 2, 0)
    return mu_d**2 / (mu_x**2 + mu_y**2 + C1), var_d / (var_x_and_y + C2)


@jax.jit
def _blur(planes):
    """Weighted means over every window that fits, along one axis after the other."""
    return by_platform(
        planes,
        cpu=_blur_by_products_of_parts,
        tpu=_blur_by_products,
        default=_blur_by_shifts,
    )


def _blur_by_shifts(planes):
    """The sum of the shifted planes, which moves least on GPUs.

    A TPU takes eight times as long as for products, and minutes to compile it for large images.
    """
    for axis in (planes.ndim - 1, planes.ndim - 2):
        number = planes.shape[axis] - WINDOW_SIZE + 1
        planes = sum(
            w * jax.lax.slice_in_dim(planes, k, k + number, axis=axis)
            for k, w in enumerate(_WINDOW.astype(planes.dtype))
        )
    return planes


def _blur_by_products(planes):
    """Products with a banded matrix, most of which is 0: TPUs are faster at it than at anything else."""
    rows, columns = (jnp.asarray(_band(n), planes.dtype) for n in planes.shape[-2:])
    return jnp.einsum("...hw,hk,wl->...kl", planes, rows, columns, precision="highest")


def _blur_by_products_of_parts(planes):
    """The same for parts of a row or column, so that the cost of a pixel does not depend on the size.

    On a CPU a convolution takes 15 times as long. Sums of shifted planes take less, but not in the
    gradient: the compiler repeats what they are computed from for each of their shifts.
    """
    for axis in (-1, -2):
        planes = jnp.moveaxis(_blur_last_axis(jnp.moveaxis(planes, axis, -1)), -1, axis)
    return planes


def _blur_last_axis(planes):
    """Weighted means over the windows along one axis."""
    overlap = WINDOW_SIZE - 1
    number = planes.shape[-1] - overlap
    length = min(max(number, overlap), _PART_LENGTH)
    parts = -(-number // length)
    rest = (parts + 1) * length - planes.shape[-1]
    planes = jnp.pad(planes, [(0, 0)] * (planes.ndim - 1) + [(0, rest)])
    planes = split_axis(planes, -1, length)
    # The last windows of a part reach into the next.
    windows = jnp.concatenate([planes[..., :-1, :], planes[..., 1:, :overlap]], -1)
    return merge_axes(multiply(windows, _band(length + overlap)), -2)[..., :number]


def _band(length):
    """The matrix that takes so many pixels to their weighted means over every window that fits."""
    number = length - WINDOW_SIZE + 1
    return sum(w * np.eye(length, number, -k) for k, w in enumerate(_WINDOW))


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
