"""What the library knows of the Watson losses: their weights, and the authors' names in files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from watson_jax.files import clause
from watson_jax.losses._spec import (
    CHANNELS,
    PACKAGED,
    LossSpec,
    State,
    compare_shapes,
    load_published,
)
from watson_jax.losses._watson.api import watson_dct, watson_dct_map, watson_dft, watson_dft_map
from watson_jax.losses._watson.fitting import fittable
from watson_jax.losses._watson.params import (
    WatsonDctParams,
    WatsonDftParams,
    check_floor,
    initial_watson_dct_params,
    initial_watson_dft_params,
)
from watson_jax.weights import CheckpointError

# The authors' names: "tild" marks what is stored unconstrained, beta is the paper's p.
_TORCH_KEYS = {
    "log_thresholds": "t_tild",
    "luminance_exponent": "alpha",
    "contrast_logit": "w_tild",
    "pooling_exponent": "beta",
}

# Far beyond what fits find. Float32 holds what comes of each alone, but not of all at their ends: with
# a pooling exponent of 0.1 and thresholds apart by e^20, the gradient of a reference can be NaN.
_RANGES = {
    "pooling_exponent": (0.1, 100.0),
    "log_thresholds": (-40.0, 40.0),
    "log_phase_weights": (-np.inf, 40.0),
    "luminance_exponent": (-10.0, 10.0),
}


def _spec(
    name: str,
    *,
    params_type: type,
    initial: Callable[[int], Any],
    published: str,
    torch_keys: dict[str, str],
    **traits: Any,
) -> LossSpec:
    def from_torch(state: State, color: str) -> Any:
        # Colour files hold one module for each channel.
        prefixes = ("ly.", "lcb.", "lcr.") if "ly.t_tild" in state else ("",)
        wanted = [p + key for p in prefixes for key in torch_keys.values()]
        missing = [key for key in (*wanted, "w_tild") if key not in state]
        if missing:
            raise CheckpointError(f"the entries {', '.join(missing)} are missing")
        if wrong := [key for key in wanted if state[key].dtype.kind != "f"]:
            raise CheckpointError(f"the entries {', '.join(wrong)} hold no floating point numbers")
        arrays = {}
        for field, key in torch_keys.items():
            channels = [np.float32(state[prefix + key]) for prefix in prefixes]
            if len({array.shape for array in channels}) > 1:
                raise CheckpointError(f"the channels' entries {key} differ in shape")
            arrays[field] = np.stack(channels)
        # In a grey file this name holds the contrast logit.
        logits = np.float32(state["w_tild"]) if len(prefixes) == 3 else np.zeros(1, np.float32)
        return params_type(channel_logits=logits, **arrays)

    def check(params: Any, color: str) -> None:
        for other, number in CHANNELS.items():
            if other != color and np.shape(params.log_thresholds)[:1] == (number,):
                raise CheckpointError(f'they are for color="{other}"')
        compare_shapes(params, initial(CHANNELS[color]))
        for floor in ("luminance_floor", "phase_floor"):
            try:
                check_floor(floor, getattr(params, floor, 0.0))
            except ValueError as error:
                raise CheckpointError(clause(error)) from None
        for field, (least, most) in _RANGES.items():
            values = np.asarray(getattr(params, field, 1.0))
            low, high = values.min(), values.max()
            if low < least or high > most:
                raise CheckpointError(
                    f"{field} must lie between {least:g} and {most:g}, it has {low:g} to {high:g}"
                )

    return LossSpec(
        name=name,
        params_type=params_type,
        weights={
            "packaged": lambda color, _: PACKAGED / f"{name}-{color}.npz",
            "published": lambda color, _: load_published(published, from_torch, color),
            "initial": lambda color, _: initial(CHANNELS[color]),
        },
        default_weights="packaged",
        downloads={"published": (published,)},
        licence="none stated by the authors",
        paper_weights="published",
        from_torch=from_torch,
        check=check,
        fittable=fittable,
        fit_settings=(
            "luminance",
            "mask_chroma",
            "pooling_range",
            "luma_gain",
            "detail_gain",
            "dc_gain",
            "phase_scale",
        ),
        **traits,
    )


WATSON_DCT = _spec(
    "watson-dct",
    summary="Watson's own model with a DCT, made differentiable",
    function=watson_dct,
    block_map=watson_dct_map,
    params_type=WatsonDctParams,
    initial=initial_watson_dct_params,
    published="{color}_watson_dct_trial0.pth",
    torch_keys=_TORCH_KEYS,
    log_weights={"published": (2.0, 8.5), "packaged": (4.0, 8.0), "initial": (5.0, 9.0)},
)

WATSON_DFT = _spec(
    "watson-dft",
    summary="Watson's model with a DFT and phases, the paper's recommendation",
    function=watson_dft,
    block_map=watson_dft_map,
    params_type=WatsonDftParams,
    initial=initial_watson_dft_params,
    published="{color}_watson_fft_trial0.pth",
    torch_keys=_TORCH_KEYS | {"log_phase_weights": "w_phase_tild"},
    log_weights={"published": (0.0, 0.0), "packaged": (2.5, 7.5), "initial": (4.0, 9.0)},
    aliases=("watson-fft",),
)
