"""Numbers that say how near decoded images come to the originals, none of them the loss's own."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

import watson_jax as wj
from experiments.vae.quality import (
    chroma_error,
    log_distance,
    mean_distance,
    radial_spectrum,
    sharpness,
)

ImageArray = Float[np.ndarray, "number height width channels"]


def judge(
    images: ImageArray, originals: ImageArray, judges: Mapping[str, wj.Loss]
) -> dict[str, float]:
    """Every number by its name.

    Args:
      images: what was decoded.
      originals: what it should be.
      judges: losses to measure with, by name.
    """
    numbers = {name: mean_distance(loss, images, originals) for name, loss in judges.items()}
    numbers["sharpness (data: 1)"] = sharpness(images, originals)
    numbers["spectrum, log10 error"] = log_distance(
        radial_spectrum(images), radial_spectrum(originals)
    )
    if images.shape[-1] == 3:
        numbers["chroma error, 1e-3"] = 1e3 * chroma_error(images, originals)
    return numbers
