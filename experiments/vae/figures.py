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


def manifold_latents(size: int) -> Float[np.ndarray, "size size 2"]:
    """A square grid of latents in [−1.5, 1.5]², the second variable growing upwards."""
    axis = np.linspace(-MANIFOLD_LIMIT, MANIFOLD_LIMIT, size, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis[::-1]), axis=-1)


def save_manifold(path: Path, images: np.ndarray, *, title: str) -> None:
    """Draws decoded `manifold_latents`, `[size, size, height, width, 1]`, with latent axes."""
    figure, axes = image_figure(tile(images), title=title)
    size, cell = images.shape[0], images.shape[2]
    ticks = np.linspace(0, size - 1, 7)
    centres = (ticks + 0.5) * cell - 0.5
    labels = [f"{t:g}" for t in np.linspace(-MANIFOLD_LIMIT, MANIFOLD_LIMIT, 7)]
    axes.set_xticks(centres, labels)
    axes.set_yticks(centres, labels[::-1])
    axes.set_xlabel("latent variable 1")
    axes.set_ylabel("latent variable 2")
    save_png(figure, path)


def save_reconstructions(
    path: Path, data: np.ndarray, reconstructions: np.ndarray, *, columns: int, title: str
) -> None:
    """Draws held-out images, `[number, height, width, channels]`, each above its reconstruction."""
    height = data.shape[1]
    pairs = np.stack([x.reshape(-1, columns, *x.shape[1:]) for x in (data, reconstructions)], 1)
    figure, axes = image_figure(tile(pairs.reshape(-1, *pairs.shape[2:])), title=title)
    rows = 2 * len(pairs)
    axes.set_yticks((np.arange(rows) + 0.5) * height - 0.5, ["data", "VAE"] * len(pairs))
    axes.set_xticks([])
    axes.set_xlabel("held-out images, each above its reconstruction")
    save_png(figure, path)


def save_samples(path: Path, images: np.ndarray, *, columns: int, title: str) -> None:
    """Draws decoded draws from the prior, `[number, height, width, channels]`."""
    table = images.reshape(-1, columns, *images.shape[1:])
    figure, axes = image_figure(tile(table), title=title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("decoded latents, drawn from the standard normal")
    save_png(figure, path)


def save_table(path: Path, table: np.ndarray, *, title: str) -> None:
    """Draws a table of images, `[rows, columns, height, width, channels]`."""
    figure, axes = image_figure(tile(table), title=title)
    axes.set_xticks([])
    axes.set_yticks([])
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
