"""Twenty-three ways to distort a photograph, in five levels each, as KADID-10k does."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from watson_jax.datasets._opinions import LEVELS, read_opinions

DISTORTION_TYPES = tuple(dict.fromkeys(version[0] for version in read_opinions()))


def distort(
    image: UInt8[np.ndarray, "height width 3"], name: str, level: int, *, seed: int = 0
) -> UInt8[np.ndarray, "height width 3"]:
    """Distorts a photograph.

    Args:
      image: RGB bytes, `[height, width, 3]`, best about as large as KADID-10k's, 384×512: blurs and
        displacements are in pixels.
      name: one of `DISTORTION_TYPES`, such as "JPEG" or "lens blur".
      level: 1 to 5, as KADID-10k numbers them, from weak to strong for most types. The first of some
        leaves the photograph as it is.
      seed: of noise, directions and displacements.

    Returns:
      The distorted photograph, bytes of the same shape.

    Raises:
      ValueError: if there is no such type or level, or the image is not of that form.
      ImportError: if the extra `experiments` is missing.

    Source: Lin, Hosu, Saupe, "KADID-10k: A Large-scale Artificially Distorted IQA Database", QoMEX 2019.
    """
    if name not in DISTORTION_TYPES:
        raise ValueError(f"`name` must be one of {', '.join(DISTORTION_TYPES)}, got {name!r}.")
    if level not in LEVELS:
        raise ValueError(f"`level` must be 1 to {max(LEVELS)}, got {level}.")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"`image` must be bytes of shape [height, width, 3], got {image.dtype}{image.shape}."
        )
    try:
        from watson_jax.datasets import _distortions
    except ImportError as error:
        raise ImportError(
            f"Distortions need {error.name}; install the extra with "
            "`pip install 'watson-jax[experiments]'`."
        ) from error
    return _distortions.distort(image, name, level, np.random.default_rng(seed))
