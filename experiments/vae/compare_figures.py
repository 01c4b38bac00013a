"""Pictures of several runs: a row of images for each, and their curves in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments._common.figures import COLORS, DPI, image_figure, save_png
from experiments.vae.figures import MANIFOLD_LIMIT, tile
from experiments.vae.outcomes import MANIFOLD_SIZES, Groups

_MOST_BYTES = 300_000  # of a picture
_GAP = 4  # between the rows of different runs, in pixels of the data
_PANELS = 3  # manifolds side by side
_STYLES = ("-", "--", ":")  # for more runs than colours

Table = Float[np.ndarray, "lines columns height width channels"]


def save_rows(path: Path, blocks: Mapping[str, Table], *, title: str, note: str) -> None:
    """Draws tables of images below each other, with their names on the left.

    Columns are left out, but not the outer ones, until the file is small enough.

    Args:
      path: the file.
      blocks: the tables by name, all of the same columns.
      title: above them.
      note: below them.
    """
    names = [name.replace(", ", ",\n") for name in blocks]
    longest = max(len(line) for name in names for line in name.split("\n"))
    margin = {"left": 24 + 8 * longest, "right": 16, "bottom": 36, "top": 40}

    def draw(number: int) -> Figure:
        rows = [tile(images[:, _even(images.shape[1], number)]) for images in blocks.values()]
        canvas, tops = stack(rows)
        figure, axes = image_figure(canvas, title=title, note=note, margin=margin)
        centres = [top + len(row) / 2 - 0.5 for top, row in zip(tops, rows, strict=True)]
        axes.set_yticks(centres, names)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return figure

    columns = min(images.shape[1] for images in blocks.values())
    _save_small(path, draw, [columns, *range(columns - 2, 3, -2)])


def save_manifolds(path: Path, grids: Mapping[str, np.ndarray], *, title: str) -> None:
    """Draws decoded grids of latents, `[size, size, height, width, channels]`, side by side."""
    panels = min(_PANELS, len(grids))
    gap, head = 12, 30  # pixels

    def draw(size: int) -> Figure:
        cells = []
        for images in grids.values():
            # The same square of latents, whatever the number of images.
            kept = _even(len(images), size)
            cells.append(_to_color(tile(images[np.ix_(kept, kept)])))
        height, width = cells[0].shape[:2]
        rows = -(-len(cells) // panels)
        canvas = np.ones((rows * (height + head), panels * (width + gap) - gap, 3), np.float32)
        margin = {"left": 20, "right": 20, "bottom": 40, "top": 46}
        for index, cell in enumerate(cells):
            row, column = divmod(index, panels)
            y, x = row * (height + head) + head, column * (width + gap)
            canvas[y : y + height, x : x + width] = cell
        figure, axes = image_figure(canvas, title=title, scale=1, margin=margin)
        axes.axis("off")
        for index, name in enumerate(grids):
            row, column = divmod(index, panels)
            place = column * (width + gap) + width / 2, row * (height + head) + head - 8
            axes.text(*place, name, ha="center", va="bottom")
        axes.text(
            canvas.shape[1] / 2,
            len(canvas) + 10,
            f"latent variables from {-MANIFOLD_LIMIT:g} to {MANIFOLD_LIMIT:g}",
            ha="center",
            va="top",
        )
        return figure

    _save_small(path, draw, MANIFOLD_SIZES)


def save_spectra(path: Path, groups: Groups, *, title: str) -> None:
    """Draws the radial power spectra relative to the data's, of reconstructions and samples."""
    figure = Figure(figsize=(10, 4.4), dpi=DPI, layout="constrained")
    figure.suptitle(title)
    all_axes = figure.subplots(1, 2, sharey=True)
    for axes, kind in zip(all_axes, ("reconstructions", "samples"), strict=True):
        for index, (label, outcomes) in enumerate(groups.items()):
            ratios = np.array([o.spectra[kind] / o.spectra["data"] for o in outcomes])
            _band(axes, np.arange(1, ratios.shape[1] + 1), np.log10(ratios), index, label)
        axes.axhline(0, color="black", lw=1)
        axes.set_xlabel("frequency (cycles per image)")
        axes.set_title(kind, fontsize=11)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    all_axes[0].set_ylabel("log10 of power relative to held-out images")
    _legend(figure, all_axes[0])
    save_png(figure, path)


def save_learning_curves(path: Path, groups: Groups, *, title: str) -> None:
    """Draws the held-out terms of the objective by epoch."""
    figure = Figure(figsize=(10, 4.4), dpi=DPI, layout="constrained")
    figure.suptitle(title)
    kinds = {(o.config.loss, o.config.weights) for group in groups.values() for o in group}
    all_axes = figure.subplots(1, 2)
    for axes, name in zip(all_axes, ("held_out_reconstruction", "held_out_kl"), strict=True):
        # Different losses have nothing in common but that they fall.
        relative = name == "held_out_reconstruction" and len(kinds) > 1
        most = 0
        for index, (label, outcomes) in enumerate(groups.items()):
            # Unfinished runs have fewer epochs.
            epochs = min(len(outcome.rows) for outcome in outcomes)
            most = max(most, epochs)
            values = np.array([[row[name] for row in o.rows[:epochs]] for o in outcomes])
            _band(
                axes,
                np.arange(1, epochs + 1),
                values / values[:, 0].mean() if relative else values,
                index,
                label,
            )
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(
            "KL divergence, held out (nats)"
            if name == "held_out_kl"
            else "reconstruction loss, held out" + ("\nrelative to epoch 1" if relative else "")
        )
        axes.grid(alpha=0.3)
    _legend(figure, all_axes[0])
    save_png(figure, path)


def stack(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, list[int]]:
    """Puts images of one width below each other on white, in colour, and says where each begins."""
    rows = [_to_color(row) for row in rows]
    gap = np.ones((_GAP, *rows[0].shape[1:]), rows[0].dtype)
    parts = [part for row in rows for part in (row, gap)][:-1]
    tops = np.cumsum([0, *(len(row) + _GAP for row in rows[:-1])])
    return np.concatenate(parts), tops.tolist()


def _even(number: int, most: int) -> np.ndarray:
    return np.rint(np.linspace(0, number - 1, most)).astype(int)


def _to_color(image: np.ndarray) -> np.ndarray:
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _save_small(path: Path, draw: Callable[[int], Figure], numbers: Iterable[int]) -> None:
    """Writes `draw(number)` with the first of the numbers that keeps the file small, or the last."""
    for number in numbers:
        save_png(draw(number), path)
        if path.stat().st_size < _MOST_BYTES:
            break


def _band(axes: Axes, x: np.ndarray, values: np.ndarray, index: int, label: str) -> None:
    """The mean over seeds, in a band from least to most."""
    again, color = divmod(index, len(COLORS))
    style: dict[str, Any] = {"color": COLORS[color], "linestyle": _STYLES[again % len(_STYLES)]}
    seeds = f" ({len(values)} seeds)" if len(values) > 1 else ""
    marker = "o" if len(x) < 3 else None
    axes.plot(x, values.mean(axis=0), label=label + seeds, marker=marker, **style)
    if len(values) > 1:
        least, most = values.min(axis=0), values.max(axis=0)
        axes.fill_between(x, least, most, color=COLORS[color], alpha=0.2, linewidth=0)


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
    )
