"""The losses by name."""

from __future__ import annotations

import difflib
from typing import Any

from watson_jax.losses._adaptive.spec import ADAPTIVE
from watson_jax.losses._lpips.spec import LPIPS_ALEX, LPIPS_SQUEEZE, LPIPS_VGG
from watson_jax.losses._pixel import L1, L2
from watson_jax.losses._spec import CHANNELS, LossSpec
from watson_jax.losses._ssim import MS_SSIM, SSIM
from watson_jax.losses._watson.spec import WATSON_DCT, WATSON_DFT

LOSSES: dict[str, LossSpec] = {
    spec.name: spec
    for spec in (
        L1,
        L2,
        SSIM,
        MS_SSIM,
        ADAPTIVE,
        WATSON_DCT,
        WATSON_DFT,
        LPIPS_VGG,
        LPIPS_SQUEEZE,
        LPIPS_ALEX,
    )
}


def list_losses() -> tuple[str, ...]:
    """The names of all losses, as `get_loss` takes them.

    Returns:
      The names, those without parameters first.

    Example:
      >>> list_losses()[:3]
      ('l1', 'l2', 'ssim')
    """
    return tuple(LOSSES)


def loss_info(name: str) -> LossSpec:
    """What the library knows of a loss: its weights, downloads, licence, sizes and other traits.

    Args:
      name: such as "watson-dft"; case, `_` and `-` do not matter, and other names of a loss are known.

    Returns:
      The specification; its attributes are described in `LossSpec`.

    Raises:
      ValueError: if there is no such loss.

    Example:
      >>> loss_info("watson-fft").name
      'watson-dft'
      >>> loss_info("lpips-alex").min_size
      31
    """
    key = _name_key(name)
    for spec in LOSSES.values():
        if key in map(_name_key, (spec.name, *spec.aliases)):
            return spec
    if key == _name_key("watson-vgg"):
        raise ValueError(
            "`name` is 'watson-vgg', which is not here because its weights were never published; "
            "take 'watson-dft', the paper's recommendation."
        )
    near = difflib.get_close_matches(str(name).lower(), LOSSES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"`name` must be one of {', '.join(LOSSES)}, got {name!r}{hint}")


def spec_of(params: Any) -> LossSpec | None:
    """The loss that parameters belong to, if they belong to one."""
    return next((spec for spec in LOSSES.values() if spec.owns(params)), None)


def _name_key(name: str) -> str:
    return str(name).lower().replace("_", "").replace("-", "")


def find_color(color: str) -> str:
    """The canonical name of a colour, which is taken in any case; raises a `ValueError` if unknown."""
    canonical = str(color).lower().replace("grey", "gray")
    if canonical not in CHANNELS:
        raise ValueError(f'`color` must be "rgb" or "gray", got {color!r}.')
    return canonical
