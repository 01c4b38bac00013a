"""Pictures in the notebooks: images at integer scale without smoothing, and plots, as PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from IPython.display import Image
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image as PilImage

from experiments._common.figures import (
    COLORS as COLORS,  # which colour-blind readers can tell apart
)
from experiments._common.figures import DPI

MARKERS = "osD^vPX"

_GAP, _CAPTION = 6, 18  # pixels between images, and for each line of text above one
_TICKS, _BAR = 45, 80  # pixels for the ticks and the name of an axis, and for a colour bar
_HEAT = "magma"


def images(
    rows: Sequence[Sequence[np.ndarray]],
    captions: Sequence[Sequence[str]] | None = None,
    *,
    names: Sequence[str] | None = None,
    scale: int = 1,
    axes: tuple[str, str, Sequence[float]] | None = None,
    bar: tuple[str, float] | None = None,
) -> Image:
    """A table of images of one size.

    Args:
      rows: bytes, or floats in [0, 1]; `[height, width]`, or with 1 or 3 channels behind.
      captions: above each image; may have several lines.
      names: of the rows, on their left.
      scale: pixels of the picture for one of an image.
      axes: of each image, which is a square of smaller ones: the names of the horizontal and the
        vertical one, and the values at the smaller images, growing to the right and upwards.
      bar: the name of a colour bar for `heat`, and the value of its last colour.
    """
    height, width = (scale * side for side in rows[0][0].shape[:2])
    texts = captions or [[""] * len(row) for row in rows]
    lines = max((len(text.splitlines()) for row in texts for text in row), default=0)
    above, beside = _GAP + lines * _CAPTION, _GAP + (_TICKS if axes else 0)
    left = _GAP + 7 * max(map(len, names)) if names else 0
    total = (
        left + max(map(len, rows)) * (width + beside) + (_BAR if bar else _GAP),
        len(rows) * (height + above) + beside,
    )
    figure = Figure(figsize=tuple(side / DPI for side in total), dpi=DPI)
    canvas = np.ones((total[1], total[0], 3), np.float32)
    for i, (row, texts_of_row) in enumerate(zip(rows, texts, strict=True)):
        top = i * (height + above) + above
        if names:
            figure.text(0.01, 1 - (top + height / 2) / total[1], names[i], va="center", size=9)
        for j, (image, text) in enumerate(zip(row, texts_of_row, strict=True)):
            x = left + j * (width + beside) + beside
            canvas[top : top + height, x : x + width] = (
                _colored(image).repeat(scale, 0).repeat(scale, 1)
            )
            center = (x + width / 2) / total[0]
            figure.text(center, 1 - (top - 3) / total[1], text, ha="center", va="bottom", size=8)
            if axes:
                _name_axes(figure.add_axes(_box(total, x, top, width, height)), *axes)
    figure.figimage(canvas, zorder=-1)  # below the axes
    if bar:
        ax = figure.add_axes(_box(total, total[0] - _BAR + _GAP, above, 12, total[1] - above - 6))
        colors = ScalarMappable(Normalize(0, bar[1]), colormaps[_HEAT])
        figure.colorbar(colors, cax=ax, extend="max").set_label(bar[0], size=8)
        ax.tick_params(labelsize=8)
    return _png(figure)


def plots(number: int, draw: Callable[..., None], *, size: tuple[float, float] = (9, 3.2)) -> Image:
    """`number` plots beside each other.

    Args:
      number: how many.
      draw: called with the axes of all of them.
      size: width and height in inches, of 100 pixels.
    """
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(1, number, squeeze=False)[0]
    draw(*axes)
    return _png(figure)


def heat(blocks: np.ndarray, *, most: float) -> np.ndarray:
    """The values of 8×8 blocks as colours of an image of that many pixels, floats in [0, 1].

    Args:
      blocks: `[rows, columns]` values from 0 to `most`.
      most: what gets the last colour.
    """
    colors = colormaps[_HEAT](np.clip(blocks / most, 0, 1))[..., :3]
    return colors.repeat(8, 0).repeat(8, 1)


def label(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Names the axes, with their units."""
    axes.set(xlabel=x, ylabel=y, title=title)


def _box(total: tuple[int, int], x: int, top: int, width: int, height: int) -> tuple[float, ...]:
    """What Matplotlib places axes by, from pixels that count from the upper left corner."""
    return x / total[0], 1 - (top + height) / total[1], width / total[0], height / total[1]


def _name_axes(axes: Axes, x: str, y: str, values: Sequence[float]) -> None:
    """Ticks at the first, the middle and the last of the smaller images."""
    axes.patch.set_visible(False)
    axes.set(xlim=(0, len(values)), ylim=(0, len(values)))
    some = [0, len(values) // 2, len(values) - 1]
    labels = [f"{values[i]:g}" for i in some]
    axes.set_xticks([i + 0.5 for i in some], labels, size=8)
    axes.set_yticks([i + 0.5 for i in some], labels, size=8)
    axes.set_xlabel(x, size=8, labelpad=1)
    axes.set_ylabel(y, size=8, labelpad=-6)


def _colored(image: np.ndarray) -> np.ndarray:
    values = np.asarray(image)
    if values.dtype == np.uint8:
        values = values / np.float32(255)
    if values.ndim == 2:
        values = values[..., None]
    return np.broadcast_to(np.clip(values, 0, 1), (*values.shape[:2], 3)).astype(np.float32)


def _png(figure: Figure) -> Image:
    """Every colour as it is: a palette of few would change photographs as much as distortions do."""
    file = io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    if (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]  # grey, at a third of the bytes
    PilImage.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return Image(data=file.getvalue())
