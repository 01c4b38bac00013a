"""What every set of two-alternative judgements (2AFC) looks like in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, UInt8


@dataclasses.dataclass(frozen=True)
class TwoAfcData:
    """People's answers to the question which of two distorted images is closer to a reference.

    Attributes:
      reference: the originals, bytes, `[triplets, height, width, 3]`; this and the others may be
        memory-mapped files.
      first: one distorted version of each, the same shape.
      second: another, the same shape.
      preference: the share of people in [0, 1] who found `second` closer, float32 `[triplets]`.
      categories: the indices of the triplets that belong to each category, by its name. A triplet may
        belong to several; scores are given for each category.
    """

    reference: UInt8[np.ndarray, "triplets height width 3"]
    first: UInt8[np.ndarray, "triplets height width 3"]
    second: UInt8[np.ndarray, "triplets height width 3"]
    preference: Float[np.ndarray, " triplets"]
    categories: Mapping[str, Int[np.ndarray, " members"]]

    def __len__(self) -> int:
        return len(self.preference)

    def __repr__(self) -> str:
        names = ", ".join(self.categories)
        return f"TwoAfcData({len(self)} triplets of {self.reference.shape[1:]} images: {names})"
