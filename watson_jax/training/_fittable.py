"""Losses taken apart for fitting."""

from __future__ import annotations

from typing import Any

from watson_jax._registry import spec_of
from watson_jax.losses._spec import Fittable as Fittable


def fittable(params: Any, **settings: Any) -> Fittable:
    """Takes a loss apart: what the images alone decide, and what the parameters make of it.

    Args:
      params: its parameters, from `load_params`; Watson, Adaptive or LPIPS. The floors of a Watson loss
        stay as they are, so that the fit knows of them.
      **settings: of the Watson losses alone:
        `luminance`: as for `watson_dft`; "batch" repeats the authors' fit.
        `mask_chroma`: whether luminance masking works on Cb and Cr too, as in the paper (True). Where
        not, their exponents are held at 0. Their DC is no brightness: it is 0 in saturated yellow or
        cyan, where a fitted exponent lets the loss grow without bound.
        `pooling_range`: bounds on p, such as (2, 2.5); None: any. Below 1 the slope of |u|^p has no
        bound at 0, and far above 2 the largest error alone has a slope: both train poorly.
        `luma_gain`: added to the logit of Y in colour after a fit (0).
        `detail_gain`: taken from the log-thresholds of Y in colour after a fit (0): all of it at the
        highest frequency, and less in proportion to the distance from DC.
        `dc_gain`: taken from the log-thresholds of DC (the blocks' means) of all channels in colour
        after a fit (0).
        `phase_scale`: what multiplies Watson-DFT's phase weights and phase floor in colour after a fit
        (1).

    Returns:
      The loss in two parts.

    Raises:
      TypeError: if there is nothing to fit, or the loss has no such setting.
    """
    spec = spec_of(params)
    if spec is None or spec.fittable is None:
        raise TypeError(
            f"`params` must be of a Watson loss, Adaptive or LPIPS, got {type(params).__name__}."
        )
    return spec.fittable(params, **settings)
