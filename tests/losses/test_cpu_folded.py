"""The transforms of whole images, against those of blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import watson_jax as wj
from tests.images import noise
from watson_jax.losses._watson.cpu import folded


def channels_first(coefficients):
    """`[rows, columns, u, v, channels]` as `[channels, blocks, frequencies]`."""
    last, blocks = coefficients.shape[-1], np.prod(coefficients.shape[:2])
    return np.moveaxis(np.asarray(coefficients), -1, 0).reshape(last, blocks, -1)


@pytest.mark.slow(except_for="1")
@pytest.mark.parametrize("channels", [1, 3])
def test_coefficients_are_those_of_blocks(channels, x64):
    image = noise(1, 24, 16, channels).astype("float64")
    ycbcr = wj.rgb_to_ycbcr(image) if channels == 3 else image
    dct = channels_first(wj.block_dct(ycbcr))[..., folded.DCT_ORDER]
    np.testing.assert_allclose(folded.dct_of_image(image), dct, atol=1e-13)
    dft = channels_first(wj.block_dft(ycbcr)) * folded.ROTATION
    np.testing.assert_allclose(jax.lax.complex(*folded.dft_of_image(image)), dft, atol=1e-14)


def test_real_coefficients_stay_on_one_axis():
    # Elsewhere rounding errors would turn their phases, which are 0 or pi.
    real, imaginary = (
        np.asarray(part).reshape(3, -1, 8, 5) for part in folded.dft_of_image(noise(1, 24, 16, 3))
    )
    assert not np.any(imaginary[..., ::4, ::4][..., [0, 1], [0, 1]])
    assert not np.any(real[..., ::4, ::4][..., [0, 1], [1, 0]])


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_flat_blocks_have_a_dc_alone_and_grey_ones_no_chroma(transform):
    flat = jnp.repeat(jnp.repeat(noise(1, 3, 3, 3), 8, 0), 8, 1)
    grey = jnp.repeat(noise(2, 24, 24, 1), 3, axis=-1)
    for function in (folded.dct_of_image, folded.dft_of_image):
        for part in jax.tree.leaves(transform(function)(flat)):
            assert not np.any(part[..., 1:])
        for part in jax.tree.leaves(transform(function)(grey)):
            assert not np.any(part[1:, :, 1:])
