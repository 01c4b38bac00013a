"""Every loss of the registry with parameters that need no file."""

import functools

import jax
import jax.numpy as jnp

import watson_jax as wj
from watson_jax._registry import CHANNELS, LOSSES

NAMES = tuple(LOSSES)
SIZE = 32  # The smallest multiple of 8 that every loss takes.

assert CHANNELS == {"rgb": 3, "gray": 1}


@functools.cache
def example_loss(name, color):
    """The loss with its starting values; LPIPS, which has none, with a random backbone."""
    entry = LOSSES[name]
    if entry.params_type is not wj.LpipsParams:
        weights = "initial" if entry.weights else None
        return wj.get_loss(name, color=color, weights=weights, image_size=(SIZE, SIZE))
    from watson_jax.models._lpips import linear_shapes, random_backbone

    network = entry.variant["network"]
    linear = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), linear_shapes(network))
    backbone = random_backbone(network, 0)
    return wj.Loss(name, wj.LpipsParams(backbone, linear, network=network))
