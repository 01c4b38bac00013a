"""Image files as floats in [0, 1], whatever their format. Needs Pillow, which the losses do not."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from watson_jax.files import clause, plain

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What folders are searched for."""

_ORIENTATION = 0x0112  # in EXIF


def read_image(
    path: str | os.PathLike[str], *, background: str = "white"
) -> Float[np.ndarray, "height width 3"]:
    """Reads an image file as a camera or browser would show it.

    Palettes, grey and CMYK become RGB, without colour profiles; the orientation in EXIF is applied; of
    an animation, the first frame is taken. Transparent parts show the background. Images of 16 bits
    keep all of them, but for grey ones with transparency, of which 8 remain.

    Args:
      path: the file, in any format that Pillow knows.
      background: a colour that Pillow knows, such as "white", "gray" or "#ff8000".

    Returns:
      float32 in [0, 1]; grey images have three equal channels.

    Raises:
      ImportError: if Pillow is missing.
      FileNotFoundError: if there is no such file.
      ValueError: if the file is no readable image or has 32 bits, or the background is no colour.
    """
    try:
        from PIL import Image, ImageColor
    except ImportError:
        raise ImportError(
            "Reading images needs Pillow; install the extra with `pip install 'watson-jax[cli]'`."
        ) from None
    try:
        behind = np.array(ImageColor.getrgb(background)[:3], np.float32) / 255
    except ValueError:
        raise ValueError(
            f"`background` must be a colour such as white or #ff8000, got {plain(background)!r}."
        ) from None
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{plain(os.fspath(path))} is no file.")
    try:
        with Image.open(path) as file:
            if file.mode.startswith("F") or file.mode == "I":
                raise ValueError("it has 32 bits, and 8 or 16 are known")
            values = _floats(file, pathlib.Path(path))
    except Exception as error:  # which one depends on where a file is damaged
        raise _unreadable(path, error) from None
    if values.shape[2] == 4:
        alpha = values[..., 3:]
        values = values[..., :3] * alpha + behind * (1 - alpha)
    return np.ascontiguousarray(values)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """The (height, width) of what `read_image` returns, if possible without decoding it.

    Raises:
      ValueError: if the file is no image.
      FileNotFoundError: if there is no such file.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            width, height = file.size
            is_turned = file.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except FileNotFoundError:
        raise FileNotFoundError(f"{plain(os.fspath(path))} is no file.") from None
    except Exception as error:  # as in `read_image`
        raise _unreadable(path, error) from None
    return (width, height) if is_turned else (height, width)


def _unreadable(path: str | os.PathLike[str], error: Exception) -> ValueError:
    from PIL import Image, UnidentifiedImageError

    are_told = (ValueError, MemoryError, Image.DecompressionBombError)
    reason = clause(error) if isinstance(error, are_told) else "it is damaged"
    if isinstance(error, UnidentifiedImageError):
        reason = "its format is unknown"
    return ValueError(f"{plain(os.fspath(path))} is no readable image: {reason}.")


def _floats(file: ImageFile, path: pathlib.Path) -> np.ndarray:
    """RGB or RGBA."""
    from PIL import ImageOps

    low = _low_bytes(file, path)
    image: Image = ImageOps.exif_transpose(file)
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.float32) / 65535
        return np.repeat(grey[..., None], 3, axis=2)
    if low is not None:
        both = 256 * np.asarray(image).astype(np.float32) + np.asarray(ImageOps.exif_transpose(low))
        return both / np.float32(65535)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return np.asarray(image.convert(mode)).astype(np.float32) / 255


def _low_bytes(file: ImageFile, path: pathlib.Path) -> Image | None:
    """The lower halves of 16 bits in colour: Pillow reads the upper ones, in the file's byte order."""
    from PIL import Image

    swapped = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B"}
    swapped |= {f"RGBA{key[3:]}": f"RGBA{value[3:]}" for key, value in swapped.items()}
    tiles = []
    for tile in getattr(file, "tile", []):
        first, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if first not in swapped:
            return None
        args = (swapped[first], *rest) if isinstance(tile.args, tuple) else swapped[first]
        tiles.append(tile._replace(args=args))
    if not tiles:
        return None
    again = Image.open(path)
    again.tile = tiles
    again.load()
    return again
