"""Descends from a wrong image back to the right one, along a loss's gradient on the pixels alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy import ndimage

import watson_jax as wj

ImageArray = Float[np.ndarray, "number height width channels"]

_LEARNING_RATE = 0.03  # of Adam, at the start; it falls to 0 along a cosine
_BLUR = 3.0  # pixels


def starts(images: ImageArray, seed: int) -> dict[str, ImageArray]:
    """Wrong images to start from: blurred, noise alone, and the mean of all images."""
    rng = np.random.default_rng(seed)
    return {
        "blur": ndimage.gaussian_filter(images, _BLUR, mode="nearest", axes=(1, 2)),
        "noise": rng.random(images.shape, np.float32),
        "mean image": np.broadcast_to(images.mean(0), images.shape),
    }


def descend(
    loss: wj.Loss, start: ImageArray, images: ImageArray, *, steps: int, seed: int
) -> tuple[ImageArray, Float[np.ndarray, "steps number"]]:
    """Moves every image for itself with Adam, and the grid of blocks at random in each step.

    Returns:
      The images after the last step, and their PSNR in dB after each step.
    """
    keys = jax.random.split(jax.random.key(seed), steps)
    x, psnr = _follow_gradient(loss, jnp.asarray(start), jnp.asarray(images), keys)
    return np.asarray(x), np.asarray(psnr)


@jax.jit
def _follow_gradient(
    loss: wj.Loss, start: Array, images: Array, keys: Array
) -> tuple[Array, Array]:
    """The images after the last step and the PSNR after each; compiled once for each kind of loss."""
    optimizer = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, len(keys)))

    def step(carry, key):
        x, state = carry
        gradient = jax.grad(lambda x: loss(*wj.random_grid_shift(key, x, images)).sum())(x)
        updates, state = optimizer.update(gradient, state)
        x = jnp.clip(x + updates, 0, 1)
        return (x, state), -10 * jnp.log10(jnp.mean((x - images) ** 2, (1, 2, 3)))

    (x, _), psnr = jax.lax.scan(step, (start, optimizer.init(start)), keys)
    return x, psnr


def steps_to_reach(psnr: Float[np.ndarray, "steps number"], decibels: float) -> int | None:
    """The first step after which the median image has so many dB; None if there is none."""
    reached = np.flatnonzero(np.median(psnr, axis=1) >= decibels)
    return int(reached[0]) + 1 if len(reached) else None
