"""The picture of where two images differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from watson_jax.files import atomic_write

_BLOCK = 8
_LEAST_SIDE = 384  # small images are enlarged to about this
_CAPTION = 14
_HOT = np.array([[0.0, 0.0, 0.4], [0.8, 0.0, 0.3], [1.0, 0.6, 0.0], [1.0, 1.0, 0.7]])


def save_map(
    path: Path,
    image: Float[np.ndarray, "height width channels"],
    blocks: Float[np.ndarray, "rows columns"],
    label: str,
) -> None:
    """Draws each block's share of a distance over the image, from blue (none) to yellow (the most).

    Args:
      path: the PNG file.
      image: the distorted image, in [0, 1].
      blocks: distances that add up to that of the images, one for each 8x8 block.
      label: the loss, for the line below the picture.
    """
    from PIL import Image, ImageDraw

    height, width, _ = image.shape
    most = float(np.nanmax(blocks))
    share = np.nan_to_num(blocks / most) if most > 0 else np.zeros_like(blocks)
    share = share.repeat(_BLOCK, 0).repeat(_BLOCK, 1)[:height, :width, None]
    ramp = np.linspace(0, 1, len(_HOT))
    heat = np.concatenate([np.interp(share, ramp, _HOT[:, c]) for c in range(3)], axis=2)
    grey = image.mean(axis=2, keepdims=True)
    opacity = 0.35 + 0.5 * np.sqrt(share)
    picture = np.clip((1 - opacity) * grey + opacity * heat, 0, 1)
    scale = max(1, _LEAST_SIDE // max(height, width))
    picture = picture.repeat(scale, 0).repeat(scale, 1)
    canvas = np.full((picture.shape[0] + _CAPTION, picture.shape[1], 3), 255, np.uint8)
    canvas[: picture.shape[0]] = np.rint(255 * picture)
    drawn = Image.fromarray(canvas)
    text = f"{label}: {float(blocks.sum()):.4g}; brightest block {most:.4g}"
    ImageDraw.Draw(drawn).text((2, picture.shape[0] + 1), text, fill="black")
    with atomic_write(path) as file:
        drawn.save(file, "PNG")
