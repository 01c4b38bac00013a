"""What every set of just-noticeable-difference judgements (JND) looks like in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, UInt8


@dataclasses.dataclass(frozen=True)
class JndData:
    """People's answers to the question whether two briefly shown images are the same.

    Attributes:
      first: one image of each pair, bytes, `[records, height, width, 3]`; this and the others may be
        memory-mapped files.
      second: the other, the same shape.
      same: the share of people in [0, 1] who saw no difference, float32 `[records]`.
      categories: the indices of the records that belong to each category, by its name.
    """

    first: UInt8[np.ndarray, "records height width 3"]
    second: UInt8[np.ndarray, "records height width 3"]
    same: Float[np.ndarray, " records"]
    categories: Mapping[str, Int[np.ndarray, " members"]]

    def __len__(self) -> int:
        return len(self.same)

    def __repr__(self) -> str:
        names = ", ".join(self.categories)
        return f"JndData({len(self)} pairs of {self.first.shape[1:]} images: {names})"
