"""The public Watson losses: checks of what comes in, and the compiled computation behind them."""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from watson_jax._checks import check_pair
from watson_jax.losses._pairs import map_pairs
from watson_jax.losses._watson import cpu, formula
from watson_jax.losses._watson.formula import WatsonOptions
from watson_jax.losses._watson.params import (
    WatsonDctParams,
    WatsonDftParams,
    WatsonParams,
    check_floor,
)
from watson_jax.transforms._batch import for_each, split_axis
from watson_jax.transforms._blocks import BLOCK_SIZE


def watson_dft(
    params: WatsonDftParams,
    image: Float[ArrayLike, "*batch height width channels"],
    reference: Float[ArrayLike, "*batch height width channels"],
    *,
    luminance: Literal["image", "batch"] = "image",
    over_blocks: Literal["sum", "mean"] = "sum",
    luminance_floor: float | None = None,
    phase_floor: float | None = None,
    implementation: Literal["auto", "plain"] = "auto",
) -> Float[Array, "*batch"]:
    """The Watson-DFT distance of two images (eq. 10), the loss that the paper recommends.

    In every 8x8 block of Y, Cb and Cr, amplitude differences of the DFT count relative to what is
    visible beside the reference's own brightness and contrast, and phases by their angle. The
    reference alone sets what is visible, so that the order of the images matters.

    With packaged weights, every entry of the gradient with respect to an image in [0, 1] is below 1e3.

    Args:
      params: from `load_params("watson-dft", ...)`, for as many channels as the images have.
      image: the distorted image, floats in [0, 1], shape `[..., H, W, C]` with C = 3 (RGB) or 1 (grey).
      reference: the original, the same shape.
      luminance: the mean that luminance masking relates a block to: of its own image (the paper), or of
        all leading axes together (the authors' code, whose values depend on the batch).
      over_blocks: "sum" is the paper; "mean" divides by the number of blocks inside the root and in the
        phase term, so that a weight tuned at one image size holds at another.
      luminance_floor: lower bound on the brightness ratio in luminance masking; None is that of
        `params`, 0 the paper.
      phase_floor: amplitude below which phases fade out; None is that of `params`, 0 the paper. It
        bounds the gradient on flat, dark regions, where it grows like 1 / amplitude.
      implementation: "plain" is the formula as it is written, on every platform; "auto" computes the
        same with less work on CPUs.

    Returns:
      Distances >= 0, shape `[...]`, 0 for identical images; lower is more similar. float32, or float64
      for float64 images.

    Raises:
      TypeError: if `params` are of another loss, or an image is not floating point.
      ValueError: if a shape or an option is wrong.

    Example:
      >>> import watson_jax as wj
      >>> params = wj.load_params("watson-dft", color="gray", weights="initial")
      >>> reference = (jnp.arange(256.0) ** 2 % 97 / 97).reshape(16, 16, 1)
      >>> print(f"{watson_dft(params, reference**2, reference):.2f}")
      6.69

    References:
      S. Czolbe, O. Krause, I. Cox, C. Igel: A Loss Function for Generative Neural Networks Based on
      Watson's Perceptual Model. NeurIPS 2020.
    """
    params, image, reference = _check_arguments(WatsonDftParams, params, image, reference)
    options = _check_options(params, luminance, over_blocks, luminance_floor, phase_floor)
    return _distances(params, image, reference, options, _check_implementation(implementation))


def watson_dct(
    params: WatsonDctParams,
    image: Float[ArrayLike, "*batch height width channels"],
    reference: Float[ArrayLike, "*batch height width channels"],
    *,
    luminance: Literal["image", "batch"] = "image",
    over_blocks: Literal["sum", "mean"] = "sum",
    luminance_floor: float | None = None,
    implementation: Literal["auto", "plain"] = "auto",
) -> Float[Array, "*batch"]:
    """The Watson-DCT distance of two images (eq. 4), Watson's own model made differentiable.

    In every 8x8 block of Y, Cb and Cr, differences of DCT coefficients count relative to what is
    visible beside the reference's own brightness and contrast. The reference alone sets what is
    visible, so that the order of the images matters.

    With packaged weights, every entry of the gradient with respect to an image in [0, 1] is below 1e3.

    Args:
      params: from `load_params("watson-dct", ...)`, for as many channels as the images have.
      image: the distorted image, floats in [0, 1], shape `[..., H, W, C]` with C = 3 (RGB) or 1 (grey).
      reference: the original, the same shape.
      luminance: as for `watson_dft`.
      over_blocks: as for `watson_dft`.
      luminance_floor: as for `watson_dft`.
      implementation: as for `watson_dft`.

    Returns:
      Distances >= 0, shape `[...]`, 0 for identical images; lower is more similar. float32, or float64
      for float64 images.

    Raises:
      TypeError: if `params` are of another loss, or an image is not floating point.
      ValueError: if a shape or an option is wrong.

    Example:
      >>> import watson_jax as wj
      >>> params = wj.load_params("watson-dct", color="gray", weights="initial")
      >>> reference = jnp.linspace(0, 1, 256).reshape(16, 16, 1)
      >>> print(f"{watson_dct(params, reference**2, reference):.3f}")
      1.265

    References:
      A. B. Watson: DCT quantization matrices visually optimized for individual images. SPIE Human
      Vision, Visual Processing, and Digital Display IV, 1993.
      S. Czolbe, O. Krause, I. Cox, C. Igel: A Loss Function for Generative Neural Networks Based on
      Watson's Perceptual Model. NeurIPS 2020.
    """
    params, image, reference = _check_arguments(WatsonDctParams, params, image, reference)
    options = _check_options(params, luminance, over_blocks, luminance_floor)
    return _distances(params, image, reference, options, _check_implementation(implementation))


def watson_dft_map(
    params: WatsonDftParams,
    image: Float[ArrayLike, "*batch height width channels"],
    reference: Float[ArrayLike, "*batch height width channels"],
    *,
    luminance: Literal["image", "batch"] = "image",
    over_blocks: Literal["sum", "mean"] = "sum",
    luminance_floor: float | None = None,
    phase_floor: float | None = None,
) -> Float[Array, "*batch rows columns"]:
    """Every block's share of the Watson-DFT distance, to see where two images differ.

    A block's share of the pooled norm is in proportion to its part of the sum under the root; its
    phase term is its own. The map adds up to `watson_dft`.

    Args:
      params: as for `watson_dft`.
      image: as for `watson_dft`.
      reference: as for `watson_dft`.
      luminance: as for `watson_dft`.
      over_blocks: as for `watson_dft`.
      luminance_floor: as for `watson_dft`.
      phase_floor: as for `watson_dft`.

    Returns:
      Shape `[..., ceil(H / 8), ceil(W / 8)]`, >= 0.

    Raises:
      TypeError: as for `watson_dft`.
      ValueError: as for `watson_dft`.

    Example:
      >>> import watson_jax as wj
      >>> params = wj.load_params("watson-dft", color="gray", weights="initial")
      >>> reference = jnp.linspace(0, 1, 256).reshape(16, 16, 1)
      >>> image = reference.at[0, 0].add(0.3)
      >>> (watson_dft_map(params, image, reference) > 0).tolist()
      [[True, False], [False, False]]
    """
    params, image, reference = _check_arguments(WatsonDftParams, params, image, reference)
    options = _check_options(params, luminance, over_blocks, luminance_floor, phase_floor)
    return _maps(params, image, reference, options)


def watson_dct_map(
    params: WatsonDctParams,
    image: Float[ArrayLike, "*batch height width channels"],
    reference: Float[ArrayLike, "*batch height width channels"],
    *,
    luminance: Literal["image", "batch"] = "image",
    over_blocks: Literal["sum", "mean"] = "sum",
    luminance_floor: float | None = None,
) -> Float[Array, "*batch rows columns"]:
    """Every block's share of the Watson-DCT distance; see `watson_dft_map`.

    Args:
      params: as for `watson_dct`.
      image: as for `watson_dct`.
      reference: as for `watson_dct`.
      luminance: as for `watson_dct`.
      over_blocks: as for `watson_dct`.
      luminance_floor: as for `watson_dct`.

    Returns:
      Shape `[..., ceil(H / 8), ceil(W / 8)]`, >= 0.

    Raises:
      TypeError: as for `watson_dct`.
      ValueError: as for `watson_dct`.

    Example:
      >>> import watson_jax as wj
      >>> params = wj.load_params("watson-dct", color="gray", weights="initial")
      >>> reference = jnp.linspace(0, 1, 256).reshape(16, 16, 1)
      >>> image = reference.at[0, 0].add(0.3)
      >>> (watson_dct_map(params, image, reference) > 0).tolist()
      [[True, False], [False, False]]
    """
    params, image, reference = _check_arguments(WatsonDctParams, params, image, reference)
    options = _check_options(params, luminance, over_blocks, luminance_floor)
    return _maps(params, image, reference, options)


@functools.partial(jax.jit, static_argnames=("options", "implementation"))
def _distances(params, image, reference, options, implementation):
    def one_pair(params_and_mean, image, reference):
        params, mean = params_and_mean
        seen = formula.features(type(params), image, reference, options, mean)
        terms = formula.terms(params, seen, options)
        return formula.distance(params, terms, options)

    mean = _batch_mean(params, reference, options)
    faster = {} if implementation == "plain" else cpu.implementations(options)
    return map_pairs(one_pair, (params, mean), image, reference, **faster)


@functools.partial(jax.jit, static_argnames="options")
def _maps(params, image, reference, options):
    def one_pair(image, reference):
        seen = formula.features(type(params), image, reference, options, mean)
        terms = formula.terms(params, seen, options)
        shares = formula.block_distances(params, terms, options)
        return split_axis(shares, 0, -(-image.shape[1] // BLOCK_SIZE))

    mean = _batch_mean(params, reference, options)
    return for_each(one_pair, image, reference)


def _batch_mean(params, reference, options):
    """The mean brightness of all references, where that is what luminance masking relates to."""
    if options.luminance == "image":
        return None
    return formula.batch_mean_brightness(type(params), reference, options)


def _check_options(
    params: WatsonParams,
    luminance: Any,
    over_blocks: Any,
    luminance_floor: Any,
    phase_floor: Any = None,
) -> WatsonOptions:
    for name, value, choices in (
        ("luminance", luminance, ("image", "batch")),
        ("over_blocks", over_blocks, ("sum", "mean")),
    ):
        if value not in choices:
            raise ValueError(f'`{name}` must be "{choices[0]}" or "{choices[1]}", got {value!r}.')
    floors = {}
    for name, value in (("luminance_floor", luminance_floor), ("phase_floor", phase_floor)):
        floors[name] = check_floor(name, getattr(params, name, 0.0) if value is None else value)
    return WatsonOptions(luminance, over_blocks, **floors)


def _check_implementation(implementation: Any) -> str:
    if implementation not in ("auto", "plain"):
        raise ValueError(f'`implementation` must be "auto" or "plain", got {implementation!r}.')
    return str(implementation)


def _check_arguments(
    kind: type[WatsonParams], params: Any, image: Any, reference: Any
) -> tuple[Any, Any, Any]:
    if type(params) is not kind:
        raise TypeError(
            f"`params` must be {kind.__name__}, got {type(params).__name__}; "
            "the parameters come first: loss(params, image, reference)."
        )
    shape = jnp.shape(params.log_thresholds)
    if len(shape) != 3:
        raise ValueError(
            "`params` must be one set, with `log_thresholds` of the shape [channels, vertical, "
            f"horizontal], got {shape}; use jax.vmap for several sets."
        )
    image, reference = check_pair(image, reference, channels=shape[:1])
    return jax.tree.map(lambda x: jnp.asarray(x, image.dtype), params), image, reference
