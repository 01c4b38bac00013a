"""Every loss of the registry with parameters that need no file."""

import functools

import watson_jax as wj

NAMES = wj.list_losses()
SIZE = 32  # The smallest multiple of 8 that every loss takes.


@functools.cache
def example_loss(name, color):
    """The loss with its starting values; LPIPS, which has none, with a random backbone."""
    spec = wj.loss_info(name)
    if spec.untrained is not None:
        return wj.Loss(name, spec.untrained())
    weights = "initial" if spec.weights else None
    return wj.get_loss(name, color=color, weights=weights, image_size=(SIZE, SIZE))
