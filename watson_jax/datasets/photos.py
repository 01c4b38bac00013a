"""The photographs that scikit-image and scikit-learn ship inside their packages."""

from __future__ import annotations

import importlib.util
import pathlib

import numpy as np
from jaxtyping import UInt8

# Colour photographs of everyday scenes, as KADID-10k has them: none of the microscope, telescope or
# eye. Of the stereo pair of a motorcycle only the left one, as both are one scene.
_FILES = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "coffee": ("skimage", "data/coffee.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
}

SCENES = tuple(_FILES)

_WIDTH = 512  # of KADID-10k's images; their height is 384


def photographs() -> dict[str, UInt8[np.ndarray, "height width 3"]]:
    """Reads seven colour photographs in the format of KADID-10k; nothing is downloaded.

    Their centre is cropped to 4:3 and shrunk to 512×384. The cat, "chelsea", is too small for that and
    stays at 400×300: enlarged, it would lack the finest details, which distortions act on most.

    Returns:
      RGB bytes, `[height, width, 3]`, by the name of the scene.

    Raises:
      ImportError: if scikit-image, scikit-learn or Pillow is missing.
      FileNotFoundError: if a version of theirs ships without one of the photographs.
    """
    if missing := [name for name in ("PIL", "skimage", "sklearn") if not _folder(name)]:
        raise ImportError(
            f"The photographs need {', '.join(missing)}; "
            "install the extra with `pip install 'watson-jax[experiments]'`."
        )
    return {scene: _read(*file) for scene, file in _FILES.items()}


def _folder(package: str) -> str | None:
    """Finds a package without importing it, which takes seconds for scikit-learn."""
    spec = importlib.util.find_spec(package)
    return spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else None


def _read(package: str, name: str) -> UInt8[np.ndarray, "height width 3"]:
    from PIL import Image, ImageOps

    path = pathlib.Path(str(_folder(package)), name)
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no photograph {path}; install another version of {package}."
        ) from None
    width = min(_WIDTH, image.width, image.height * 4 // 3)
    size = (width, width * 3 // 4)
    return np.array(ImageOps.fit(image, size, Image.Resampling.LANCZOS))
