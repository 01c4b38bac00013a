"""What every loss of the registry promises; a loss added there is tested by that alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export

from tests.example_losses import NAMES, SIZE, example_loss
from tests.images import degenerate_pairs, noise
from watson_jax.losses._spec import CHANNELS

pytestmark = pytest.mark.filterwarnings("ignore::watson_jax.RangeWarning")


# The networks of LPIPS share all of its code but the layers, which take minutes to compile; in grey, it
# and MS-SSIM differ by the number of channels alone, which their own tests have.
CASES = [
    (name, color)
    for name in NAMES
    if name not in ("lpips-vgg", "lpips-squeeze")
    for color in CHANNELS
    if color == "rgb" or name not in ("lpips-alex", "ms-ssim")
]


@pytest.fixture(params=CASES, ids="-".join)
def case(request):
    return request.param


@pytest.fixture
def loss(case):
    return example_loss(*case)


@pytest.fixture
def channels(case):
    return CHANNELS[case[1]]


def pair(channels, *batch):
    return noise(1, *batch, SIZE, SIZE, channels), noise(2, *batch, SIZE, SIZE, channels)


def test_one_value_for_each_pair(loss, channels):
    image, reference = pair(channels, 2, 3)
    values = loss(image, reference)
    assert values.shape == (2, 3)
    singles = [[loss(image[i, j], reference[i, j]) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(values, singles, rtol=1e-5)


@pytest.mark.parametrize("name", ["watson-dft", "ssim"])
def test_batches_above_the_piece_size(name, monkeypatch):
    loss, (image, reference) = example_loss(name, "gray"), pair(1, 3)
    run = jax.value_and_grad(lambda p, x, y: loss.fn(p, x, y).sum(), argnums=(0, 1))
    expected = run(loss.params, image, reference)
    monkeypatch.setattr("watson_jax.losses._pairs.PIECE_SIZE", 2 * image[0].size)
    jax.clear_caches()  # The size is read when a shape is compiled.
    in_pieces = run(loss.params, image, reference)
    jax.clear_caches()
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, in_pieces, expected)


def test_jit_and_vmap_agree_with_the_plain_call(loss, channels):
    image, reference = pair(channels, 4)
    plain = loss(image, reference)
    np.testing.assert_allclose(jax.jit(loss)(image, reference), plain, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(loss)(image, reference), plain, rtol=1e-5)
    by_key = jax.vmap(loss, in_axes=(0, None))(image, reference[0])
    np.testing.assert_allclose(by_key[0], plain[0], rtol=1e-5)
    of_batch = jax.jit(jax.grad(lambda x: loss(x, reference).sum()))(image)
    of_each = jax.jit(jax.vmap(jax.grad(loss)))(image, reference)
    np.testing.assert_allclose(of_batch, of_each, rtol=1e-3, atol=1e-3)


def test_neighbours_in_the_batch_do_not_matter(loss, channels):
    image, reference = pair(channels, 2)
    other = reference.at[1].set(0)
    np.testing.assert_allclose(loss(image, other)[0], loss(image, reference)[0], rtol=1e-6)


def test_identical_images_are_at_0_with_gradient_0(loss, channels):
    both = jax.jit(jax.value_and_grad(lambda x, y: loss(x, y), argnums=(0, 1)))
    for image in (
        noise(1, SIZE, SIZE, channels),
        jnp.full((SIZE, SIZE, channels), jnp.float32(0.3)),
    ):
        value, gradients = both(image, image)
        if loss.name != "adaptive":  # A negative log-likelihood is lowest, but not at 0.
            assert value == loss(image, image) == 0
        assert not np.any(gradients[0])
        assert not np.any(gradients[1])


def test_everything_is_finite(loss, channels):
    run = jax.jit(jax.value_and_grad(loss.fn, argnums=(0, 1, 2)))
    huge = (
        (1, 1),
        (1e-4, 1e-4),
        (1e4, 1e4),
        (-1e4, -1e4),
        (1e4, 1),
        (1, 1e4),
        (-1e4, 1),
        (1, -1e4),
    )
    for name, (image, reference) in degenerate_pairs(channels, SIZE).items():
        for scales in huge:
            found = run(loss.params, image * scales[0], reference * scales[1])
            finite = all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))
            assert finite, f"{name} times {scales}"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_show(loss, channels, value):
    images = pair(channels)
    for broken in range(2):
        arguments = list(images)
        arguments[broken] = images[broken].at[5, 6, 0].set(value)
        assert not np.isfinite(loss(*arguments))
    everywhere = jnp.full_like(images[0], value)
    assert not np.isfinite(loss(everywhere, everywhere))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_narrow_images_are_compared_in_float32(loss, channels, dtype):
    image, reference = (x.astype(dtype) for x in pair(channels))
    value = loss(image, reference)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, loss(*(x.astype("float32") for x in (image, reference))))
    assert jax.jit(jax.grad(loss))(image, reference).dtype == dtype


def test_float64_images_are_compared_in_float64(loss, channels, x64):
    image, reference = (x.astype("float64") for x in pair(channels))
    value = loss(image, reference)
    assert value.dtype == jnp.float64
    narrow = loss(image.astype("float32"), reference.astype("float32"))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, value, rtol=1e-4)
    assert loss(image, reference.astype("float32")).dtype == jnp.float64


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**16), small=st.floats(0.01, 0.05), factor=st.floats(2, 5))
def test_more_noise_is_further_away(seed, small, factor):
    for name in dict(CASES):
        loss = example_loss(name, "gray")
        reference = 0.3 + 0.4 * noise(seed, SIZE, SIZE, 1)
        direction = noise(seed + 1, SIZE, SIZE, 1) - 0.5
        near = loss(reference + small * direction, reference)
        far = loss(reference + small * factor * direction, reference)
        assert loss(reference, reference) < near < far, name


def test_gradients_are_exported_for_batches_of_any_size(loss, channels):
    run = jax.jit(
        jax.value_and_grad(lambda *arguments: loss.fn(*arguments).sum(), argnums=(0, 1, 2))
    )
    shape = (*export.symbolic_shape("b"), SIZE, SIZE, channels)
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    params = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), loss.params)
    exported = export.export(run, platforms=("cpu", "cuda", "tpu"))(params, image, image)
    if loss.name.startswith("lpips"):
        return  # Running it takes as long to compile as all others.
    arguments = loss.params, *pair(channels, 2)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3)
    jax.tree.map(close, exported.call(*arguments), run(*arguments))


def test_an_empty_batch(loss, channels):
    assert loss(*pair(channels, 0)).shape == (0,)


def test_wrong_images_are_one_sentence(loss, channels):
    image, reference = pair(channels)
    other = 4 - channels
    for message, wrong in (
        ("`image` must have 1 or 3 channels|must have [13] channels", jnp.ones((SIZE, SIZE, 2))),
        ("channels-first axes", jnp.ones((channels, SIZE, SIZE))),
    ):
        with pytest.raises(ValueError, match=message):
            loss(wrong, wrong)
    for error, message, wrong in (
        (
            TypeError,
            r"`image` .* got uint8; divide 8-bit images by 255",
            (image * 255).astype("uint8"),
        ),
        (TypeError, r"`image` must be an array, got list", [[0.5]]),
        (
            ValueError,
            r"`image` must have the shape \[..., height, width, channels\]",
            image[..., 0],
        ),
        (ValueError, "must have", jnp.ones((SIZE, SIZE, other))),
        (ValueError, "must have the same shape", image[:-1]),
        (ValueError, "must have the same shape", image[None]),
    ):
        with pytest.raises(error, match=message) as caught:
            loss(wrong, reference)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="must have"):
        jax.jit(loss)(image, jnp.ones((SIZE, SIZE, other)))
