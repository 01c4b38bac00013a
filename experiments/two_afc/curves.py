"""The picture of a fit: how agreement grew, with the spread over trials."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments._common.figures import COLORS, DPI, save_png


def save_learning_curves(path: Path, rows: list[dict[str, Any]], *, title: str) -> None:
    """Draws loss and held-out agreement by epoch: the mean over trials, in a band from least to most.

    Args:
      path: of the PNG file.
      rows: the lines of `metrics.jsonl`.
      title: of the picture.
    """
    figure = Figure(figsize=(8, 3.6), dpi=DPI, layout="constrained")
    loss_axes, score_axes = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    losses = [name for name in rows[0] if name.endswith("_loss")]
    scores = [name for name in rows[0] if name.endswith("_agreement")]
    for axes, names, factor, unit in (
        (loss_axes, losses, 1, "ranking loss (nats)"),
        (score_axes, scores, 100, "agreement with people (%)"),
    ):
        for name in names:
            label = name.rsplit("_", 1)[0]
            color = COLORS[[n.rsplit("_", 1)[0] for n in losses].index(label)]
            values = factor * np.array([row[name] for row in rows], float)  # None becomes NaN
            least, most = np.nanmin(values, 1), np.nanmax(values, 1)
            axes.fill_between(epochs, least, most, color=color, alpha=0.25, linewidth=0)
            axes.plot(epochs, np.nanmean(values, 1), color=color, label=label, marker=".")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel(unit)
        axes.legend()
    number = len(rows[0][losses[0]])
    figure.suptitle(f"{title}: {number} trial{'s' if number > 1 else ''}")
    save_png(figure, path)
