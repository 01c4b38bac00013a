"""The table of losses: what `get_loss` and `load_params` know of each name."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from watson_jax.checkpoints import CheckpointError
from watson_jax.losses._watson import watson_dct, watson_dft
from watson_jax.losses._watson_params import (
    WatsonDctParams,
    WatsonDftParams,
    initial_watson_dct_params,
    initial_watson_dft_params,
)

CHANNELS = {"rgb": 3, "gray": 1}


@dataclasses.dataclass(frozen=True)
class LossEntry:
    """One row of the table.

    Attributes:
      fn: `fn(params, image, reference, **options)`.
      params_type: the class of its parameters, whose fields are the arrays of an `.npz` file.
      initial: starting values for a number of channels.
      from_torch: the authors' state dict to parameters.
      published: name of the authors' file, with a place for the colour.
    """

    fn: Callable[..., Any]
    params_type: type
    initial: Callable[[int], Any]
    from_torch: Callable[[Mapping[str, np.ndarray]], Any]
    published: str


def _watson_from_torch(
    params_type: type, fields: Mapping[str, str]
) -> Callable[[Mapping[str, np.ndarray]], Any]:
    """A converter of the authors' state dicts, which hold one module for each channel."""

    def convert(state: Mapping[str, np.ndarray]) -> Any:
        prefixes = ("ly.", "lcb.", "lcr.") if "ly.t_tild" in state else ("",)
        missing = [p + key for p in prefixes for key in fields.values() if p + key not in state]
        if missing:
            raise CheckpointError(f"the entries {', '.join(missing)} are missing")
        arrays = {
            field: np.stack([np.float32(state[prefix + key]) for prefix in prefixes])
            for field, key in fields.items()
        }
        # In a grey file this name holds the contrast logit.
        logits = np.float32(state["w_tild"]) if len(prefixes) == 3 else np.zeros(1, np.float32)
        return params_type(channel_logits=logits, **arrays)

    return convert


# The authors' names: "tild" marks what is stored unconstrained, beta is the paper's p.
_WATSON_FIELDS = {
    "log_thresholds": "t_tild",
    "luminance_exponent": "alpha",
    "contrast_logit": "w_tild",
    "pooling_exponent": "beta",
}

LOSSES: dict[str, LossEntry] = {
    "watson-dct": LossEntry(
        fn=watson_dct,
        params_type=WatsonDctParams,
        initial=initial_watson_dct_params,
        from_torch=_watson_from_torch(WatsonDctParams, _WATSON_FIELDS),
        published="{color}_watson_dct_trial0.pth",
    ),
    "watson-dft": LossEntry(
        fn=watson_dft,
        params_type=WatsonDftParams,
        initial=initial_watson_dft_params,
        from_torch=_watson_from_torch(
            WatsonDftParams, _WATSON_FIELDS | {"log_phase_weights": "w_phase_tild"}
        ),
        published="{color}_watson_fft_trial0.pth",
    ),
}

AUTHORS_NAMES = {"watson-fft": "watson-dft"}


def find_loss(name: str) -> tuple[str, LossEntry]:
    """Finds a loss by its name, in any case, with `_` or `-`, or by the authors' name for it.

    Args:
      name: what the user wrote.

    Returns:
      The canonical name and its row.

    Raises:
      ValueError: if there is no such loss.
    """
    canonical = str(name).lower().replace("_", "-")
    canonical = AUTHORS_NAMES.get(canonical, canonical)
    if canonical in LOSSES:
        return canonical, LOSSES[canonical]
    if canonical == "watson-vgg":
        raise ValueError(
            "`name` is 'watson-vgg', which is not here because its weights were never published; "
            "take 'watson-dft', the paper's recommendation."
        )
    near = difflib.get_close_matches(canonical, [*LOSSES, *AUTHORS_NAMES], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"`name` must be one of {', '.join(LOSSES)}, got {name!r}{hint}")


def check_color(color: str) -> int:
    """The number of channels of `color`.

    Args:
      color: "rgb" or "gray".

    Returns:
      3 or 1.

    Raises:
      ValueError: if it is neither.
    """
    if color not in CHANNELS:
        raise ValueError(f'`color` must be "rgb" or "gray", got {color!r}.')
    return CHANNELS[color]
