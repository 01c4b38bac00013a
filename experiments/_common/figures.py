"""What the experiments' pictures share: exact pixels, and PNG files without a window system."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from watson_jax.files import atomic_write

DPI = 100
MARGIN = {"left": 70, "right": 20, "bottom": 55, "top": 45}  # pixels

# Okabe and Ito's, which colour-blind readers can tell apart too; yellow last, as it is faint on white.
COLORS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#555555", "#F0E442",
)  # fmt: skip

_TITLE_LETTER, _NOTE_LETTER = 10, 9  # pixels, on average, of a title and of a note
_PNG = {"optimize": True}


def image_figure(
    image: np.ndarray,
    *,
    title: str,
    note: str = "",
    scale: int = 2,
    margin: Mapping[str, int] = MARGIN,
) -> tuple[Figure, Axes]:
    """A figure that shows every pixel of `image` as exactly `scale` by `scale` of its own.

    Args:
      image: values in [0, 1], `[height, width]`, or with 1 or 3 channels.
      title: above it.
      note: below it.
      scale: enlargement, without smoothing.
      margin: pixels around the image, at least; more to the sides where the texts need it.
    """
    if image.shape[2:] == (1,):
        image = image[..., 0]
    height, width = (scale * side for side in image.shape[:2])
    half_text = max(_TITLE_LETTER * len(title), _NOTE_LETTER * len(note)) // 2
    left, right = (max(margin[side], half_text - width // 2) for side in ("left", "right"))
    total_width = width + left + right
    total_height = height + margin["bottom"] + margin["top"]
    figure = Figure(figsize=(total_width / DPI, total_height / DPI), dpi=DPI)
    box = (left, margin["bottom"], width, height)
    totals = (total_width, total_height, total_width, total_height)
    axes = figure.add_axes(tuple(part / whole for part, whole in zip(box, totals, strict=True)))
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="none")
    axes.set_title(title)
    axes.set_xlabel(note)
    return figure, axes


def save_png(figure: Figure, path: Path) -> None:
    """Writes the figure, whole or not at all: some are looked at while they are redrawn."""
    with atomic_write(path) as file:
        # The canvas of the figure itself: no global state and no window system, as pyplot has.
        FigureCanvasAgg(figure).print_png(file, pil_kwargs=_PNG)


def short(name: str, most: int = 32) -> str:
    """A long name without its middle: a loss is named in front, a file at the end."""
    front = most // 2
    return name if len(name) <= most else f"{name[:front]}…{name[front + 1 - most :]}"
