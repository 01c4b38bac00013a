"""What KADID-10k's raters thought of distortions, and what follows for a choice between two."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Mapping

import numpy as np

LEVELS = (1, 2, 3, 4, 5)

Version = tuple[str, int]  # a type of distortion and its level

_UNCHANGED_PSNR = 60.0  # in dB; published as about 80, while no distortion has 40


@dataclasses.dataclass(frozen=True)
class Opinion:
    """What is published about a type of distortion at a level, each a mean over 81 photographs.

    Attributes:
      mean: of the raters, from 1 (very annoying) to 5 (imperceptible).
      rater_std: standard deviation among the raters of an image.
      psnr: of the distorted image in dB.
    """

    mean: float
    rater_std: float
    psnr: float

    @property
    def is_of_original(self) -> bool:
        """Whether that level of the distortion leaves the photograph as it is."""
        return self.psnr > _UNCHANGED_PSNR


@functools.cache
def read_opinions() -> Mapping[Version, Opinion]:
    """Returns what `human_opinion.json` says of every type and level."""
    file = importlib.resources.files("watson_jax.datasets") / "human_opinion.json"
    return {
        (name, level): Opinion(*values)
        for name, table in json.loads(file.read_text(encoding="utf-8"))["types"].items()
        for level, *values in zip(
            LEVELS, table["opinion"], table["rater_std"], table["psnr"], strict=True
        )
    }


def preference(first: Opinion, second: Opinion) -> float:
    """The share of people in [0, 1] expected to find `second` closer to the original.

    Thurstone's model: both impressions vary normally among people, independently of each other.
    """
    from scipy.special import ndtr

    return float(ndtr((second.mean - first.mean) / np.hypot(first.rater_std, second.rater_std)))
