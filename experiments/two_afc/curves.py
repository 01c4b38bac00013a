"""The picture of a fit: how agreement grew, with the spread over trials."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments._figures import COLORS, DPI, save_png


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
        for color, name in zip(COLORS, names, strict=False):
            values = factor * np.array([row[name] for row in rows])
            label = name.rsplit("_", 1)[0]
            axes.fill_between(
                epochs, values.min(1), values.max(1), color=color, alpha=0.25, linewidth=0
            )
            axes.plot(epochs, values.mean(1), color=color, label=label, marker=".")
        axes.set_xlabel("epoch")
        axes.set_ylabel(unit)
        axes.legend()
    number = len(rows[0][losses[0]])
    figure.suptitle(f"{title}: {number} trial{'s' if number > 1 else ''}")
    save_png(figure, path)
