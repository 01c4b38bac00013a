"""Pictures in the notebooks: images at integer scale without smoothing, and plots, as PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image as PilImage

from experiments._figures import COLORS as COLORS  # which colour-blind readers can tell apart
from experiments._figures import DPI

MARKERS = "osD^vPX"

_GAP, _CAPTION = 6, 18  # pixels between images, and for each line of text above one


def images(
    rows: Sequence[Sequence[np.ndarray]],
    captions: Sequence[Sequence[str]] | None = None,
    *,
    names: Sequence[str] | None = None,
    scale: int = 1,
) -> Image:
    """A table of images of one size.

    Args:
      rows: bytes, or floats in [0, 1]; `[height, width]`, or with 1 or 3 channels behind.
      captions: above each image; may have several lines.
      names: of the rows, on their left.
      scale: pixels of the picture for one of an image.
    """
    height, width = (scale * side for side in rows[0][0].shape[:2])
    texts = captions or [[""] * len(row) for row in rows]
    lines = max((len(text.splitlines()) for row in texts for text in row), default=0)
    above = _GAP + lines * _CAPTION
    left = _GAP + 7 * max(map(len, names)) + _GAP if names else _GAP
    total = left + max(map(len, rows)) * (width + _GAP), len(rows) * (height + above) + _GAP
    figure = Figure(figsize=tuple(side / DPI for side in total), dpi=DPI)
    canvas = np.ones((total[1], total[0], 3), np.float32)
    for i, (row, texts_of_row) in enumerate(zip(rows, texts, strict=True)):
        top = i * (height + above) + above
        if names:
            figure.text(0.01, 1 - (top + height / 2) / total[1], names[i], va="center", size=9)
        for j, (image, text) in enumerate(zip(row, texts_of_row, strict=True)):
            x = left + j * (width + _GAP)
            canvas[top : top + height, x : x + width] = (
                _colored(image).repeat(scale, 0).repeat(scale, 1)
            )
            center = (x + width / 2) / total[0]
            figure.text(center, 1 - (top - 3) / total[1], text, ha="center", va="bottom", size=8)
    figure.figimage(canvas)
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


def overlay(
    image: np.ndarray, blocks: np.ndarray, *, most: float, colormap: str = "cividis"
) -> np.ndarray:
    """An image with the values of its 8×8 blocks laid over it, as floats in [0, 1].

    Args:
      image: `[height, width, 3]`, bytes or floats in [0, 1].
      blocks: `[rows, columns]` values from 0 to `most`.
      most: what gets the last colour.
      colormap: Matplotlib's name of the colours.
    """
    from matplotlib import colormaps

    colors = colormaps[colormap](np.clip(blocks / most, 0, 1))[..., :3]
    large = colors.repeat(8, 0).repeat(8, 1)[: image.shape[0], : image.shape[1]]
    grey = _colored(image).mean(axis=-1, keepdims=True)
    return 0.35 * grey + 0.65 * large


def label(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Names the axes, with their units."""
    axes.set(xlabel=x, ylabel=y, title=title)


def _colored(image: np.ndarray) -> np.ndarray:
    values = np.asarray(image)
    if values.dtype == np.uint8:
        values = values / np.float32(255)
    if values.ndim == 2:
        values = values[..., None]
    return np.broadcast_to(np.clip(values, 0, 1), (*values.shape[:2], 3)).astype(np.float32)


def _png(figure: Figure) -> Image:
    file = io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = PilImage.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    # 256 colours of its own are plenty for a picture, at a third of the bytes.
    picture.quantize(256, PilImage.Quantize.MEDIANCUT, dither=PilImage.Dither.NONE).save(
        file, "PNG", optimize=True
    )
    return Image(data=file.getvalue())
