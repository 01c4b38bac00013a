"""The Watson losses in less time on CPUs.

Only `..api` knows of this folder: without it, CPUs run the formula.
"""

from __future__ import annotations

from watson_jax.losses._pairs import Distance
from watson_jax.losses._watson.cpu.bands import distance_in_bands
from watson_jax.losses._watson.cpu.formula import distance
from watson_jax.losses._watson.formula import WatsonOptions


def implementations(options: WatsonOptions) -> dict[str, Distance]:
    """The distances of one pair that `map_pairs` takes for CPUs: of usual images and of large ones."""

    def on_cpu(params_and_mean, image, reference):
        params, mean = params_and_mean
        return distance(params, mean, image, reference, options)

    def in_bands(params_and_mean, image, reference):
        params, mean = params_and_mean
        return distance_in_bands(params, mean, image, reference, options)

    return {"on_cpu": on_cpu, "in_bands": in_bands}
