"""Images for the tests."""

import numpy as np


def formula_image(k, height, width, channels):
    """The images with a closed form on which values of the authors' code are known."""
    h, w, c = np.mgrid[:height, :width, :channels].astype(float)
    waves = np.sin(0.37 * (k + 1) * h + 0.9 * c) * np.cos(0.23 * w - 0.4 * c + 0.5 * k)
    return 0.5 + 0.3 * waves + 0.15 * np.sin(1.7 * h * (c + 1) + 2.3 * w + k)


def noise(seed, *shape):
    """Uniform in [0, 1): of NumPy, as JAX would compile a generator for every shape."""
    return np.random.default_rng(seed).random(shape, np.float32)


def changed(image, rows, value):
    """A copy of an image with other rows."""
    copy = image.copy()
    copy[rows] = value
    return copy


def degenerate_pairs(channels, size=16):
    """Pairs that break careless code, by name."""
    shape = (size, size, channels)
    zeros, ones = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    a, b = noise(1, *shape), noise(2, *shape)
    top, bottom = slice(size // 2), slice(size // 2, None)
    half_black = changed(ones, top, 0)
    # Pure cyan has Cr = 0, where the ratio of luminance masking is 0.
    cyan = changed(ones, (..., 0), 0)
    return {
        "identical": (a, a),
        "black": (zeros, zeros),
        "white": (ones, ones),
        "flat": (0.5 * ones, 0.25 * ones),
        "noise on black": (a, zeros),
        "black for noise": (zeros, a),
        "noise": (a, b),
        "negative": (2 * a - 1, 2 * b - 1),
        "half black": (a, half_black),
        "beside black": (half_black, a),
        "cyan": (cyan + np.float32(0.01) * a, cyan),
        "half cyan": (a, changed(cyan, bottom, b[bottom])),
    }
