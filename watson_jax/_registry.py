"""The table of losses: what `get_loss`, `load_params` and `save_params` know of each name."""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from watson_jax.checkpoints import CheckpointError, fetch, read_torch
from watson_jax.losses._adaptive import adaptive
from watson_jax.losses._adaptive_params import (
    AdaptiveParams,
    adaptive_params_from_torch,
    initial_adaptive_params,
)
from watson_jax.losses._lpips import (
    LpipsParams,
    load_backbone,
    load_lpips_params,
    lpips,
    lpips_params_from_torch,
)
from watson_jax.losses._pixel import l1, l2
from watson_jax.losses._ssim import ms_ssim, ssim
from watson_jax.losses._watson import watson_dct, watson_dft
from watson_jax.losses._watson_params import (
    WatsonDctParams,
    WatsonDftParams,
    initial_watson_dct_params,
    initial_watson_dft_params,
    is_floor,
)

CHANNELS = {"rgb": 3, "gray": 1}

PACKAGED = pathlib.Path(__file__).parent / "packaged"
"""Weights that ship with the library; MODEL_CARD.md in it says where they come from."""

State = Mapping[str, np.ndarray]
ImageSize = tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class LossEntry:
    """One row of the table; losses without parameters have a function alone.

    Attributes:
      function: the public function; parameters come first if there are any, options are keywords.
      params_type: the class of its parameters.
      weights: by the names that `weights` takes, ways to make parameters from (colour, image size), or
        the path of the file that holds them.
      default_weights: the one that is meant when none is named.
      from_torch: reads a state dict that the authors' code wrote, given the colour.
      check: raises `CheckpointError` if parameters from a file are not those of this loss and colour.
      variant: static fields of the parameters that tell this loss from others of the same class.
    """

    function: Callable[..., Any]
    params_type: type | None = None
    weights: Mapping[str, Callable[[str, ImageSize], Any]] = dataclasses.field(default_factory=dict)
    default_weights: str | None = None
    from_torch: Callable[[State, str], Any] | None = None
    check: Callable[[Any, str], None] | None = None
    variant: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def owns(self, params: Any) -> bool:
        """Whether `params` are parameters of this loss."""
        return type(params) is self.params_type and all(
            getattr(params, name) == value for name, value in self.variant.items()
        )


# Far beyond what fits find, and where float32 still computes with it.
_WATSON_RANGES = {
    "pooling_exponent": (0.1, 100.0),
    "log_thresholds": (-40.0, 40.0),
    "log_phase_weights": (-np.inf, 40.0),
    "luminance_exponent": (-10.0, 10.0),
}


def _watson(
    name: str,
    function: Callable[..., Any],
    params_type: type,
    initial: Callable[[int], Any],
    published: str,
    **fields: str,
) -> LossEntry:
    # The authors' names: "tild" marks what is stored unconstrained, beta is the paper's p.
    fields |= {
        "log_thresholds": "t_tild",
        "luminance_exponent": "alpha",
        "contrast_logit": "w_tild",
        "pooling_exponent": "beta",
    }

    def from_torch(state: State, color: str) -> Any:
        # Colour files hold one module for each channel.
        prefixes = ("ly.", "lcb.", "lcr.") if "ly.t_tild" in state else ("",)
        wanted = [p + key for p in prefixes for key in fields.values()]
        missing = [name for name in (*wanted, "w_tild") if name not in state]
        if missing:
            raise CheckpointError(f"the entries {', '.join(missing)} are missing")
        if wrong := [name for name in wanted if state[name].dtype.kind != "f"]:
            raise CheckpointError(f"the entries {', '.join(wrong)} hold no floating point numbers")
        arrays = {}
        for field, key in fields.items():
            channels = [np.float32(state[prefix + key]) for prefix in prefixes]
            if len({array.shape for array in channels}) > 1:
                raise CheckpointError(f"the channels' entries {key} differ in shape")
            arrays[field] = np.stack(channels)
        # In a grey file this name holds the contrast logit.
        logits = np.float32(state["w_tild"]) if len(prefixes) == 3 else np.zeros(1, np.float32)
        return params_type(channel_logits=logits, **arrays)

    def check(params: Any, color: str) -> None:
        _compare_shapes(params, initial(CHANNELS[color]))
        for floor in ("luminance_floor", "phase_floor"):
            value = getattr(params, floor, 0.0)
            if not is_floor(value):
                raise CheckpointError(f"{floor} must be 0 or at least 1e-15, it is {value!r}")
        for field, (least, most) in _WATSON_RANGES.items():
            values = np.asarray(getattr(params, field, 1.0))
            low, high = values.min(), values.max()
            if low < least or high > most:
                raise CheckpointError(
                    f"{field} must lie between {least:g} and {most:g}, it has {low:g} to {high:g}"
                )

    return LossEntry(
        function=function,
        params_type=params_type,
        weights={
            "packaged": lambda color, _: PACKAGED / f"{name}-{color}.npz",
            "published": lambda color, _: _published(published, from_torch, color),
            "initial": lambda color, _: initial(CHANNELS[color]),
        },
        default_weights="packaged",
        from_torch=from_torch,
        check=check,
    )


def _adaptive() -> LossEntry:
    def initial(color: str, image_size: ImageSize) -> AdaptiveParams:
        if image_size is None:
            raise TypeError(
                "`image_size` must be given for the initial weights of adaptive, which has parameters "
                "for every coefficient: (height, width)."
            )
        return initial_adaptive_params(CHANNELS[color], image_size=image_size)

    def from_torch(state: State, color: str) -> AdaptiveParams:
        return adaptive_params_from_torch(state)

    def check(params: AdaptiveParams, color: str) -> None:
        shape = np.shape(params.alpha_latent)
        if len(shape) != 3 or shape[-1] != 3 or np.shape(params.scale_latent) != shape:
            raise CheckpointError(
                "alpha_latent and scale_latent must have one shape [height, width, 3], they have "
                f"{shape} and {np.shape(params.scale_latent)}"
            )

    return LossEntry(
        function=adaptive,
        params_type=AdaptiveParams,
        weights={
            "initial": initial,
            "published": lambda color, _: _published(
                "{color}_adaptive_trial0.pth", from_torch, color
            ),
        },
        default_weights="initial",
        from_torch=from_torch,
        check=check,
    )


def _lpips(network: str, *tuned: str) -> LossEntry:
    def load(weights: str) -> Callable[[str, ImageSize], LpipsParams]:
        return lambda color, _: load_lpips_params(network, color=color, weights=weights)

    def from_torch(state: State, color: str) -> LpipsParams:
        # Both authors name their entries alike, and only LPIPS's own weights want images in [-1, 1].
        published = read_torch(fetch(f"lpips_v0.1/{network}.pth"))
        is_published = state.keys() == published.keys() and all(
            np.array_equal(state[key], published[key]) for key in published
        )
        return lpips_params_from_torch(load_backbone(network), state, network, is_published)

    def check(params: LpipsParams, color: str) -> None:
        from watson_jax.models._lpips import backbone_shapes, linear_shapes

        _compare_shapes(params.backbone, backbone_shapes(network))
        _compare_shapes(params.linear, linear_shapes(network))

    return LossEntry(
        function=lpips,
        params_type=LpipsParams,
        weights={name: load(name) for name in ("published", *tuned)},
        default_weights="published",
        from_torch=from_torch,
        check=check,
        variant={"network": network},
    )


LOSSES: dict[str, LossEntry] = {
    "l1": LossEntry(l1),
    "l2": LossEntry(l2),
    "ssim": LossEntry(ssim),
    "ms-ssim": LossEntry(ms_ssim),
    "adaptive": _adaptive(),
    "watson-dct": _watson(
        "watson-dct",
        watson_dct,
        WatsonDctParams,
        initial_watson_dct_params,
        "{color}_watson_dct_trial0.pth",
    ),
    "watson-dft": _watson(
        "watson-dft",
        watson_dft,
        WatsonDftParams,
        initial_watson_dft_params,
        "{color}_watson_fft_trial0.pth",
        log_phase_weights="w_phase_tild",
    ),
    "lpips-vgg": _lpips("vgg", "paper"),
    "lpips-squeeze": _lpips("squeeze", "paper"),
    "lpips-alex": _lpips("alex"),
}

AUTHORS_NAMES = {
    "watson-fft": "watson-dft",
    "deeploss-vgg": "lpips-vgg",
    "deeploss-squeeze": "lpips-squeeze",
}


def find_loss(name: str) -> tuple[str, LossEntry]:
    """Finds a loss by its name, in any case, with `_` or `-`, or by the authors' name for it.

    Args:
      name: what the user wrote.

    Returns:
      The canonical name and its row.

    Raises:
      ValueError: if there is no such loss.
    """
    key = _name_key(name)
    for known in (*LOSSES, *AUTHORS_NAMES):
        if key == _name_key(known):
            canonical = AUTHORS_NAMES.get(known, known)
            return canonical, LOSSES[canonical]
    if key == _name_key("watson-vgg"):
        raise ValueError(
            "`name` is 'watson-vgg', which is not here because its weights were never published; "
            "take 'watson-dft', the paper's recommendation."
        )
    near = difflib.get_close_matches(str(name).lower(), LOSSES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"`name` must be one of {', '.join(LOSSES)}, got {name!r}{hint}")


def _name_key(name: str) -> str:
    return str(name).lower().replace("_", "").replace("-", "")


def find_color(color: str) -> str:
    """The canonical name of a colour, which is taken in any case; raises a `ValueError` if unknown."""
    canonical = str(color).lower().replace("grey", "gray")
    if canonical not in CHANNELS:
        raise ValueError(f'`color` must be "rgb" or "gray", got {color!r}.')
    return canonical


def _published(pattern: str, from_torch: Callable[[State, str], Any], color: str) -> Any:
    return from_torch(read_torch(fetch(pattern.format(color=color))), color)


def _compare_shapes(found: Any, expected: Any) -> None:
    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
            for path, leaf in leaves
        }

    has, wants = shapes(found), shapes(expected)
    wrong = [f"{name} is missing" for name in wants if name not in has]
    wrong += [f"{name} is unexpected" for name in has if name not in wants]
    wrong += [
        f"{name} must have the shape {wants[name]}, it has {has[name]}"
        for name in wants
        if name in has and has[name] != wants[name]
    ]
    if wrong:
        raise CheckpointError(", ".join(wrong))
