"""Numbers that were measured several times: with other seeds, or in other trials."""

from collections.abc import Sequence

import numpy as np


def mean(values: Sequence[float]) -> float:
    """The mean."""
    return float(np.mean(values))


def std(values: Sequence[float]) -> float | None:
    """The standard deviation, with n - 1; None for a single number."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def cell(values: Sequence[float] | None, places: int) -> str:
    """Both as the text of a table; "-" for none."""
    if values is None:
        return "-"
    spread = std(values)
    text = f"{mean(values):.{places}f}"
    return text if spread is None else f"{text} ±{spread:.{places}f}"
