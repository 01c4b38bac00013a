"""Distorting a photograph of one's own."""

import numpy as np
import pytest

from watson_jax.datasets import DISTORTION_TYPES, distort
from watson_jax.datasets._distortions import DISTORTIONS

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def test_names_are_those_of_the_published_opinions():
    assert set(DISTORTION_TYPES) == set(DISTORTIONS)


def test_seed_decides_what_is_random():
    first, again, other = (distort(IMAGE, "white noise", 3, seed=seed) for seed in (0, 0, 1))
    assert first.dtype == np.uint8
    assert first.shape == IMAGE.shape
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((IMAGE, "noise", 1), "`name` must be one of gaussian blur, .* got 'noise'"),
        ((IMAGE, "JPEG", 6), "`level` must be 1 to 5, got 6"),
        ((IMAGE / 255, "JPEG", 1), r"`image` must be bytes .* got float64\(24, 32, 3\)"),
        ((IMAGE[..., 0], "JPEG", 1), r"`image` must be bytes of shape \[height, width, 3\]"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        distort(*arguments)
