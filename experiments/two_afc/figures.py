"""The picture of scores: a bar for every loss in every category (the paper's figure 6)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments._common.figures import COLORS, DPI, save_png, short
from experiments.two_afc.scoring import MEAN, PEOPLE
from experiments.two_afc.tables import AGREEMENT, Row, ScoreTable

_WIDTH = 1000  # pixels
_BARS_WIDTH = 920  # without the axis on the left
_LEAST_BAR, _LEAST_GROUP, _GROUP_GAP = 8, 100, 24
_CHANCE = 50.0
_HATCHES = ("", "////", "xxxx")  # for more losses than colours
_PUBLISHED: dict[str, Any] = {
    "linestyle": "none", "marker": "D", "markersize": 4.5, "markerfacecolor": "white",
    "markeredgecolor": "black", "markeredgewidth": 1,
}  # fmt: skip


def save_scores(path: Path, table: ScoreTable) -> None:
    """Draws a bar for every loss in every category and their mean.

    Error bars are the standard deviation over trials, lines the human reference, diamonds
    published scores. Groups go to several rows if they are many.
    """
    losses, published, references = (
        table.of_kind(kind) for kind in ("loss", "published", "reference")
    )
    people = [row for row in references if row.name == PEOPLE]
    groups = [MEAN, *table.categories]
    base = _CHANCE if table.measure == AGREEMENT else 0.0

    least = max(_LEAST_GROUP, _LEAST_BAR * len(losses) + _GROUP_GAP)
    in_row = _even_part(len(groups), max(1, _BARS_WIDTH // least))
    rows = [groups[start : start + in_row] for start in range(0, len(groups), in_row)]
    height = 120 + 20 * -(-(len(losses) + 2) // 3) + 210 * len(rows)
    figure = Figure(figsize=(_WIDTH / DPI, height / DPI), dpi=DPI, layout="constrained")
    figure.suptitle("\n".join(filter(None, [table.title, table.note])), fontsize=11)
    all_axes = figure.subplots(len(rows), 1, sharey=True, squeeze=False)[:, 0]
    for axes, shown in zip(all_axes, rows, strict=True):
        centres = _draw_bars(axes, losses, shown, base)
        for row in published:
            axes.plot(centres[row.name], _means(row, shown), **_PUBLISHED)
        for row in people:
            place = np.arange(len(shown))
            axes.hlines(_means(row, shown), place - 0.46, place + 0.46, color="black", lw=1.5)
        _dress(axes, shown, in_row, base)
        start_of_bars = "\n(bars start at 50 %, chance)" if base else ""
        axes.set_ylabel(f"{table.measure}, %{start_of_bars}", fontsize=9)
    all_axes[0].set_ylim(_limits([*losses, *published, *people], groups, base))

    handles, labels = all_axes[0].get_legend_handles_labels()
    if people:
        handles.append(Line2D([], [], color="black", lw=1.5))
        labels.append(PEOPLE)
    if published:
        handles.append(Line2D([], [], **_PUBLISHED))
        labels.append("published by the paper's authors")
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    save_png(figure, path)


def _even_part(number: int, most: int) -> int:
    """The size of as few parts as possible of nearly one size."""
    return -(-number // -(-number // most))


def _means(row: Row, columns: Sequence[str]) -> list[float]:
    return [float("nan") if mean is None else mean for mean in map(row.mean, columns)]


def _draw_bars(
    axes: Axes, losses: Sequence[Row], groups: Sequence[str], base: float
) -> dict[str, np.ndarray]:
    """Returns where the bars of each loss are."""
    width = 0.84 / len(losses)
    centres = {}
    for i, row in enumerate(losses):
        again, color = divmod(i, len(COLORS))
        hatch = _HATCHES[again % len(_HATCHES)]
        spread = [row.std(group) for group in groups] if row.trials > 1 else None
        centres[row.name] = np.arange(len(groups)) + (i - (len(losses) - 1) / 2) * width
        axes.bar(
            centres[row.name], np.subtract(_means(row, groups), base), 0.9 * width, bottom=base,
            color=COLORS[color], hatch=hatch, edgecolor="white" if hatch else None, linewidth=0,
            yerr=spread, error_kw={"elinewidth": 1, "capsize": 2},
            label=short(row.name) + (f" ({row.trials} trials)" if spread else ""),
        )  # fmt: skip
    return centres


def _dress(axes: Axes, groups: Sequence[str], in_row: int, base: float) -> None:
    characters = int(_BARS_WIDTH / in_row / 8)
    labels = [textwrap.fill(group, characters, break_long_words=False) for group in groups]
    axes.set_xticks(range(len(groups)), labels, fontsize=9)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, in_row - 0.5)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if MEAN in groups:
        axes.axvspan(-0.5, 0.5, color="#EEEEEE", zorder=0)
    axes.axhline(base, color="black", lw=0.8)


def _limits(rows: Sequence[Row], columns: Sequence[str], base: float) -> tuple[float, float]:
    """From the bars' start, or lower if a loss is worse than chance, to the next multiple of five."""
    means = np.array([_means(row, columns) for row in rows])
    spread = np.array([[row.std(column) or 0.0 for column in columns] for row in rows])
    low, high = np.nanmin(means - spread), np.nanmax(means + spread)
    return 5 * np.floor(min(low, base) / 5), min(100.0, 5 * np.ceil(max(high, base + 1) / 5))
