"""The packaged losses are meant to train with: their gradients are bounded, whatever the images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import watson_jax as wj
from watson_jax.losses._spec import CHANNELS

SIZE = 16
BOUND = 1e3  # what `watson_dft` and `watson_dct` promise of packaged weights
assert np.finfo(np.float16).max > 65 * BOUND  # the factor that docs/training.md names


def adversarial_images(channels):
    """102 images in [0, 1]: flat, saturated, near black, with edges, single pixels, ramps and noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1)
    checks = (np.indices((SIZE, SIZE)).sum(0) % 2).astype(float)
    point = np.zeros((SIZE, SIZE))
    point[3, 4] = 1
    bar = (x < 0.5).astype(float)
    grey = [
        np.full((SIZE, SIZE), v) for v in (0, 1e-30, 1e-8, 1e-4, 1 / 255, 0.1, 0.3, 0.5, 0.9, 1)
    ]
    grey += [np.nextafter(np.float32(v), np.float32(2)) + 0 * x for v in (0, 0.3, 0.5)]
    grey += [a * checks for a in (1e-20, 1e-6, 1e-3, 1 / 255, 0.5, 1)] + [
        1 - checks,
        0.5 + 1e-4 * checks,
    ]
    grey += [a * point for a in (1e-30, 1e-10, 1e-4, 0.1, 1)] + [1 - point, 0.5 + 1e-7 * point]
    grey += [x, y, x * y, 1e-5 * x, 0.5 + 1e-6 * y, 1 - x, np.round(4 * x) / 4]
    grey += [bar, 1 - bar, 1e-4 * bar, 0.5 * bar, 0.5 + 0.01 * bar, bar * checks, bar * x]
    grey += [0.5 + 0.5 * np.cos(2 * np.pi * k * x * (SIZE - 1) / 8) for k in (1, 2, 3, 4)]
    grey += [a * rng.random((SIZE, SIZE)) for a in (1e-30, 1e-15, 1e-8, 1e-5, 1e-3, 0.03, 0.3, 1)]
    grey += [0.5 + a * rng.normal(size=(SIZE, SIZE)) for a in (1e-7, 1e-5, 1e-3, 0.1)]
    grey += [bar * (0.5 + a * rng.normal(size=(SIZE, SIZE))) for a in (1e-6, 1e-3, 0.1)]
    images = [np.repeat(image[..., None], channels, -1) for image in grey]
    flat = [
        (1, 1, 0),
        (0, 1, 1),
        (1, 0, 0),
        (0, 0, 1),
        (1, 0, 1),
        (0, 1, 0),
        (1e-4, 0, 0),
        (0, 1, 1e-6),
    ]
    for color in flat:
        image = np.ones((SIZE, SIZE, 1)) * np.resize(color, channels)
        images += [image, image + 0.02 * rng.normal(size=image.shape), image * bar[..., None]]
    while len(images) < 102:
        images.append(rng.random((SIZE, SIZE, channels)) ** rng.integers(1, 9))
    return np.clip(np.stack(images), 0, 1).astype(np.float32)


@pytest.mark.slow(except_for="watson-dft-rgb")
@pytest.mark.parametrize("color", CHANNELS)
@pytest.mark.parametrize("name", ["watson-dft", "watson-dct"])
def test_gradients_of_10404_adversarial_pairs(name, color):
    images = adversarial_images(CHANNELS[color])
    loss = wj.get_loss(name, color=color)
    run = jax.jit(jax.vmap(jax.value_and_grad(loss), in_axes=(None, 0)))
    for i, image in enumerate(images):
        values, gradients = run(image, images)
        assert np.all(np.isfinite(values))
        assert values[i] == 0
        assert not np.any(gradients[i])
        worst = jnp.abs(gradients).max((1, 2, 3))
        assert jnp.max(worst) < BOUND, (i, int(worst.argmax()), float(worst.max()))


@pytest.mark.slow(except_for="watson-dct-float16")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", ["watson-dft", "watson-dct"])
def test_flat_outputs_have_useful_gradients_in_every_dtype(name, dtype, x64):
    # What an untrained network returns: flat grey, black, white, or with a black bar.
    loss = wj.get_loss(name)
    reference = jnp.asarray(np.random.default_rng(0).random((32, 32, 3)), dtype)
    bar = reference.at[:, :8].set(0)
    for image in (0 * reference, 0 * reference + 0.5, 0 * reference + 1, bar):
        gradient = jax.grad(loss)(image, reference)
        assert gradient.dtype == dtype
        assert np.all(np.isfinite(gradient))
        assert 0 < jnp.abs(gradient.astype("float32")).max() < BOUND
