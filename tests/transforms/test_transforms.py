"""Colour, blocks, their DFT and DCT, and the shift of the grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import watson_jax as wj
from tests import references
from tests.images import noise


def test_colour_is_that_of_jpeg(x64):
    image = np.asarray(noise(1, 5, 6, 3), np.float64)
    np.testing.assert_allclose(wj.rgb_to_ycbcr(image), references.ycbcr(image), atol=1e-12)
    np.testing.assert_allclose(wj.ycbcr_to_rgb(wj.rgb_to_ycbcr(image)), image, atol=1e-12)


def test_grey_pixels_have_no_chroma_at_all():
    grey = jnp.repeat(noise(1, 40, 40, 1), 3, axis=-1)
    assert np.all(wj.rgb_to_ycbcr(grey)[..., 1:] == 0.5)


@pytest.mark.parametrize("shape", [(8, 8, 1), (2, 3, 16, 24, 3)])
def test_inverses(shape):
    image = noise(1, *shape)
    np.testing.assert_allclose(wj.inverse_block_dft(wj.block_dft(image)), image, atol=1e-6)
    np.testing.assert_allclose(wj.inverse_block_dct(wj.block_dct(image)), image, atol=1e-6)
    np.testing.assert_array_equal(wj.merge_blocks(wj.split_blocks(image)), image)


@pytest.mark.parametrize("name", ["dft", "dct"])
def test_transforms_of_loops(name, x64):
    image = np.asarray(noise(1, 16, 24, 2), np.float64)
    found = getattr(wj, f"block_{name}")(image)
    for channel in range(2):
        blocks = references.blocks_of(image[..., channel])
        expected = np.stack([getattr(references, name)(b) for b in blocks])
        np.testing.assert_allclose(
            np.asarray(found)[..., channel].reshape(expected.shape), expected, atol=1e-13
        )


@pytest.mark.parametrize("name", ["dft", "dct"])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_flat_blocks_have_a_dc_alone(name, transform):
    values = noise(1, 4, 4, 1)
    image = jnp.repeat(jnp.repeat(values, 8, 0), 8, 1)
    coefficients = np.asarray(transform(getattr(wj, f"block_{name}"))(image)).reshape(16, -1)
    assert not np.any(coefficients[:, 1:])
    np.testing.assert_allclose(
        coefficients[:, 0].real, np.ravel(values) * (8 if name == "dct" else 1), rtol=1e-6
    )


def test_transforms_are_linear_maps_with_their_own_transpose(x64):
    image, direction = (noise(seed, 8, 16, 1).astype("float64") for seed in (1, 2))
    for transform in (lambda x: wj.block_dft(x).imag, wj.block_dct):
        _, tangent = jax.jvp(transform, (image,), (direction,))
        np.testing.assert_allclose(tangent, transform(direction), atol=1e-12)
        (pulled,) = jax.vjp(transform, image)[1](tangent)
        np.testing.assert_allclose(np.sum(pulled * direction), np.sum(tangent**2), rtol=1e-10)


def test_padding_repeats_the_edge():
    image = noise(1, 2, 5, 9, 1)
    padded = wj.pad_to_blocks(image)
    assert padded.shape == (2, 8, 16, 1)
    np.testing.assert_array_equal(padded[:, 5:, :9], jnp.tile(image[:, 4:5], (1, 3, 1, 1)))
    np.testing.assert_array_equal(padded[:, :, 9:], jnp.tile(padded[:, :, 8:9], (1, 1, 7, 1)))


@pytest.mark.parametrize("function", [wj.pad_to_blocks, wj.split_blocks])
def test_images_without_channels_are_refused_by_name(function):
    with pytest.raises(
        ValueError, match=r"^`image` must be \[\.\.\., height, width, channels\], got"
    ):
        function(np.ones((16, 8), np.float32))


@pytest.mark.parametrize(
    "transform", [wj.rgb_to_ycbcr, wj.ycbcr_to_rgb, wj.block_dct, wj.block_dft]
)
def test_images_of_whole_numbers_are_refused(transform):
    message = r"`image` must be floating point in \[0, 1\], got uint8; divide 8-bit images by 255."
    with pytest.raises(TypeError, match=message):
        transform(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("transform", [wj.rgb_to_ycbcr, wj.ycbcr_to_rgb])
@pytest.mark.parametrize("shape", [(16, 16, 1), (3, 16, 16), ()])
def test_colours_are_three_channels(transform, shape):
    with pytest.raises(ValueError, match=r"`image` must have 3 channels in its last axis, got the"):
        transform(jnp.ones(shape))


@pytest.mark.parametrize("transform", [wj.inverse_block_dct, wj.inverse_block_dft])
def test_coefficients_that_are_whole_numbers_are_refused(transform):
    with pytest.raises(TypeError, match="`coefficients` must be floating point, got int32"):
        transform(np.zeros((1, 1, 8, 5, 1), np.int32))


def test_sides_that_are_no_multiples_of_8():
    with pytest.raises(ValueError, match=r"multiples of 8, got 9x16; pass it through"):
        wj.block_dft(jnp.ones((9, 16, 1)))


@pytest.mark.parametrize("offset", [(0, 0), (4, -4), (-3, 1)])
def test_shift_by_an_offset(offset):
    image, reference = noise(1, 2, 12, 10, 3), noise(2, 2, 12, 10, 3)
    rows = np.clip(np.arange(12) + offset[0], 0, 11)
    columns = np.clip(np.arange(10) + offset[1], 0, 9)
    for shift in (wj.grid_shift, jax.jit(wj.grid_shift, static_argnums=2)):
        for found, x in zip(shift(image, reference, offset), (image, reference), strict=True):
            np.testing.assert_array_equal(found, x[:, rows][:, :, columns])


@pytest.mark.parametrize("offset", [(1, 2), (5, -4), (-5, 0), (-9, 100)])
def test_a_traced_offset_is_clipped(offset):
    image = noise(1, 8, 8, 1)
    found = jax.jit(wj.grid_shift)(image, image, jnp.array(offset))
    clipped = tuple(min(max(x, -4), 4) for x in offset)
    np.testing.assert_array_equal(found[0], wj.grid_shift(image, image, clipped)[0])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint32", "int64", "uint64"])
def test_a_traced_offset_of_any_type_is_clipped(dtype, x64):
    image = noise(1, 8, 8, 1)
    ends = jnp.iinfo(dtype).max, jnp.iinfo(dtype).min
    found = jax.jit(wj.grid_shift)(image, image, jnp.array(ends, dtype))
    np.testing.assert_array_equal(
        found[0], wj.grid_shift(image, image, (4, -4 if ends[1] else 0))[0]
    )


@pytest.mark.slow(except_for="bfloat16")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_images_have_coefficients_in_complex64(dtype):
    image = noise(1, 8, 16, 1).astype(dtype)
    found, expected = wj.block_dft(image), wj.block_dft(image.astype("float32"))
    assert found.dtype == jnp.complex64
    np.testing.assert_array_equal(found, expected)
    gradient = jax.grad(lambda x: jnp.abs(wj.block_dft(x)).sum())(image)
    assert gradient.dtype == dtype


@pytest.mark.parametrize(
    "transform", [wj.block_dct, wj.inverse_block_dct, wj.rgb_to_ycbcr, wj.ycbcr_to_rgb]
)
def test_narrow_numbers_are_transformed_in_float32(transform):
    x = noise(1, 8, 8, 3) if transform is not wj.inverse_block_dct else noise(1, 2, 2, 8, 8, 3)
    narrow = x.astype("bfloat16")
    found = transform(narrow)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, transform(narrow.astype("float32")))


@pytest.mark.parametrize("kind", [jnp.array, np.array, tuple])
def test_offsets_from_around_a_compiled_function(kind):
    image = noise(1, 8, 8, 1)
    expected, _ = wj.grid_shift(image, image, (1, 2))
    found, _ = jax.jit(lambda x: wj.grid_shift(x, x, kind((1, 2))))(image)
    np.testing.assert_array_equal(found, expected)
    offset = kind((1, 2))
    found, _ = jax.jit(lambda x: wj.grid_shift(x, x, offset))(image)
    np.testing.assert_array_equal(found, expected)
    wrong = kind((7, 5))
    with pytest.raises(ValueError, match=r"`offset` must be .* from -4 to 4, got \[7, 5\]"):
        jax.jit(lambda x: wj.grid_shift(x, x, wrong))(image)


@pytest.mark.parametrize("offset", [jnp.zeros(2), jnp.zeros(3, int)])
def test_traced_offsets_that_are_none(offset):
    image = noise(1, 8, 8, 1)
    with pytest.raises(ValueError, match=r"`offset` must be two whole numbers .*, got .*\["):
        jax.jit(wj.grid_shift)(image, image, offset)


@pytest.mark.parametrize("offset", [(5, 0), (0, -5), (1.0, 0.0), (1,)])
def test_offsets_that_are_none(offset):
    image = noise(1, 8, 8, 1)
    with pytest.raises(ValueError, match="`offset` must be two whole numbers"):
        wj.grid_shift(image, image, offset)


def test_shifts_of_channels_first_images_are_refused():
    image = noise(1, 2, 3, 16, 16)
    with pytest.raises(ValueError, match=r"`image` must have its channels in .* move"):
        wj.random_grid_shift(jax.random.key(0), image, image)
    many = noise(1, 16, 16, 7)
    assert wj.random_grid_shift(jax.random.key(0), many, many)[0].shape == many.shape


def test_numbers_are_no_keys():
    image = noise(1, 16, 16, 3)
    with pytest.raises(TypeError, match=r"`key` must be a key of jax\.random, got 0;"):
        wj.random_grid_shift(0, image, image)


def test_random_shifts_are_uniform_from_minus_4_to_4():
    # A ramp in both directions shows its offset at a pixel far from the edges.
    ramp = jnp.stack(jnp.meshgrid(jnp.arange(32.0), jnp.arange(32.0), indexing="ij"), -1) / 32
    keys = jax.random.split(jax.random.key(0), 2000)
    shifted, _ = jax.vmap(lambda key: wj.random_grid_shift(key, ramp, ramp))(keys)
    offsets = np.rint(np.asarray(shifted[:, 16, 16] * 32)).astype(int) - 16
    for axis in range(2):
        values, counts = np.unique(offsets[:, axis], return_counts=True)
        assert values.tolist() == list(range(-4, 5))
        assert np.all(np.abs(counts - 2000 / 9) < 70)  # 5 standard deviations
    assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.12


def test_one_random_shift_for_all_pairs_of_a_call():
    image = jnp.broadcast_to(noise(1, 16, 16, 3), (4, 16, 16, 3))
    shifted, reference = wj.random_grid_shift(jax.random.key(3), image, image)
    for x in (*shifted, *reference):
        np.testing.assert_array_equal(x, shifted[0])
