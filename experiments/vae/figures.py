"""Pictures of a run: reconstructions, samples, the latent manifold and training curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from experiments._common.figures import DPI, image_figure, save_png

MANIFOLD_LIMIT = 1.5  # the paper's figure 3


def tile(images: Float[np.ndarray, "rows columns height width channels"]) -> np.ndarray:
    """Lays a table of images out as one, `[rows * height, columns * width, channels]`."""
    rows, columns, height, width, channels = images.shape
    return images.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def in_rows(
    images: Float[np.ndarray, "number height width channels"], columns: int
) -> Float[np.ndarray, "rows columns height width channels"]:
    """Lays images out as a table; what is missing in the last row is white."""
    missing = np.ones((-len(images) % columns, *images.shape[1:]), images.dtype)
    return np.concatenate([images, missing]).reshape(-1, columns, *images.shape[1:])


def manifold_latents(size: int) -> Float[np.ndarray, "size size 2"]:
    """A square grid of latents in [−1.5, 1.5]², the second variable growing upwards."""
    axis = np.linspace(-MANIFOLD_LIMIT, MANIFOLD_LIMIT, size, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis[::-1]), axis=-1)


def save_manifold(path: Path, images: np.ndarray, *, title: str) -> None:
    """Draws decoded `manifold_latents`, `[size, size, height, width, 1]`, with latent axes."""
    figure, axes = image_figure(tile(images), title=title)
    size, cell = images.shape[0], images.shape[2]
    number = min(7, size)
    centres = (np.linspace(0, size - 1, number) + 0.5) * cell - 0.5
    labels = [f"{t:g}" for t in np.linspace(-MANIFOLD_LIMIT, MANIFOLD_LIMIT, number)]
    axes.set_xticks(centres, labels)
    axes.set_yticks(centres, labels[::-1])
    axes.set_xlabel("latent variable 1")
    axes.set_ylabel("latent variable 2")
    save_png(figure, path)


def save_reconstructions(
    path: Path, data: np.ndarray, reconstructions: np.ndarray, *, columns: int, title: str
) -> None:
    """Draws images, `[number, height, width, channels]`, each above its reconstruction."""
    height = data.shape[1]
    pairs = np.stack([in_rows(x, columns) for x in (data, reconstructions)], 1)
    note = "images, each above its reconstruction"
    figure, axes = image_figure(tile(pairs.reshape(-1, *pairs.shape[2:])), title=title, note=note)
    rows = 2 * len(pairs)
    axes.set_yticks((np.arange(rows) + 0.5) * height - 0.5, ["data", "VAE"] * len(pairs))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)  # a frame would show the white of the last row as images
    save_png(figure, path)


def save_samples(path: Path, images: np.ndarray, *, columns: int, title: str) -> None:
    """Draws decoded draws from the prior, `[number, height, width, channels]`."""
    note = "decoded latents, drawn from the standard normal"
    _save_table(path, in_rows(images, columns), title=title, note=note)


def save_interpolations(path: Path, table: np.ndarray, *, title: str) -> None:
    """Draws rows of latents between two images, `[rows, columns, height, width, channels]`."""
    note = "decoded latents on the line between those of two images"
    _save_table(path, table, title=title, note=note)


def _save_table(path: Path, table: np.ndarray, *, title: str, note: str) -> None:
    figure, axes = image_figure(tile(table), title=title, note=note)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    save_png(figure, path)


def save_curves(path: Path, rows: Sequence[Mapping[str, Any]], *, title: str) -> None:
    """Draws loss, its two terms and the learning rate over the epochs.

    Args:
      path: the file.
      rows: of `metrics.jsonl`.
      title: of the figure.
    """
    figure = Figure(figsize=(9, 6.4), dpi=DPI, layout="constrained")
    figure.suptitle(title)
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(rows) < 3 else None
    panels = {
        "loss": "loss per image", "reconstruction": "reconstruction loss", "kl": "KL divergence",
        "learning_rate": "learning rate",
    }  # fmt: skip
    for axes, (name, label) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        axes.plot(epochs, [row[name] for row in rows], label="training", marker=marker)
        if f"held_out_{name}" in rows[0]:
            held_out = [row[f"held_out_{name}"] for row in rows]
            axes.plot(epochs, held_out, label="held out", marker=marker)
            axes.legend()
        if name == "learning_rate":
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    save_png(figure, path)
