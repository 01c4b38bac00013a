"""Types that checkers see; mypy reads this file, and pytest runs it."""

from typing import Any, assert_type

import jax
import numpy as np

import watson_jax as wj


def test_names_tell_the_class_of_the_parameters():
    loss = wj.get_loss("watson-dft", color="gray", weights="initial")
    assert_type(loss, wj.Loss[wj.WatsonDftParams])
    assert_type(loss.params.phase_weights, jax.Array)
    assert_type(wj.load_params("watson-dct"), wj.WatsonDctParams)
    assert_type(wj.get_loss("l2"), wj.Loss[tuple[()]])
    name: str = "ssim"  # known when the program runs
    assert_type(wj.get_loss(name), wj.Loss[Any])


def test_functions_take_arrays_of_numpy_and_of_jax():
    image = np.full((16, 16, 1), 0.5, np.float32)
    loss = wj.get_loss("watson-dft", color="gray", weights="initial")
    assert_type(loss(image, jax.numpy.asarray(image)), jax.Array)
    assert_type(loss.fn(loss.params, image, image), jax.Array)
    for found in (
        wj.ssim(image, image),
        wj.watson_dft_map(loss.params, image, image),
        wj.block_dct(image),
        wj.contrast_masking(1.0, image, 0.5),
        wj.two_afc.agreement(image, image, 0.5),
    ):
        assert isinstance(assert_type(found, jax.Array), jax.Array)
