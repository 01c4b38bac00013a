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
from watson_jax.losses import _ssim
from watson_jax.losses._spec import CHANNELS
from watson_jax.losses._watson import api
from watson_jax.losses._watson.formula import WatsonOptions

pytestmark = pytest.mark.filterwarnings("ignore::watson_jax.RangeWarning")


# The networks of LPIPS share all of its code but the layers, which take minutes to compile. Grey
# differs in the number of channels only, so two losses stand for all; recorded values are in grey too.
CASES = [
    (name, color)
    for name in NAMES
    if name not in ("lpips-vgg", "lpips-squeeze")
    for color in CHANNELS
    if color == "rgb" or name in ("l2", "watson-dft")
]


# Those that compile longest are left to the whole suite; the fast one has their own tests.
SLOW = {("lpips-alex", "rgb"), ("ms-ssim", "rgb"), ("watson-dct", "rgb"), ("watson-dft", "gray")}


def marked(case):
    return pytest.param(case, marks=[pytest.mark.slow] if case in SLOW else [])


@pytest.fixture(params=map(marked, CASES), ids="-".join)
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


SCALES = [
    (1, 1), (1e-4, 1e-4), (1e4, 1e4), (-1e4, -1e4), (1e4, 1), (1, 1e4), (-1e4, 1), (1, -1e4),
]  # fmt: skip
BATCH = 48  # Every program here is for so many pairs: what a CPU works on at once.


def all_pairs(channels):
    """Every degenerate pair at every scale, as one batch, and what each of them is called."""
    found = {
        f"{name} times {scales}": (image * np.float32(scales[0]), reference * np.float32(scales[1]))
        for name, (image, reference) in degenerate_pairs(channels, SIZE).items()
        for scales in SCALES
    }
    return [*found], *map(np.stack, zip(*found.values(), strict=True))


def with_gradients(loss):
    """The function that gives values of a batch, and gradients of their sum."""

    def total(*arguments):
        values = loss.fn(*arguments)
        return jnp.sum(values), values

    return jax.grad(total, argnums=(0, 1, 2), has_aux=True)


@functools.cache
def compiled(case):
    """Values and gradients of several times `BATCH` pairs, by one program for all tests here."""
    loss = example_loss(*case)
    gradient = jax.jit(with_gradients(loss))

    def run(image, reference):
        batches = (np.split(x, len(x) // BATCH) for x in (image, reference))
        found = [gradient(loss.params, *batch) for batch in zip(*batches, strict=True)]
        values = np.concatenate([values for _, values in found])
        of_image, of_reference = (np.concatenate([g[i] for g, _ in found]) for i in (1, 2))
        of_params = jax.tree.map(lambda *g: np.sum(g, 0), *(g[0] for g, _ in found))
        return values, (of_params, of_image, of_reference)

    return run


@functools.cache
def results(case):
    """What `compiled` gives for all pairs; not to be changed."""
    names, *images = all_pairs(CHANNELS[case[1]])
    return names, *images, *compiled(case)(*images)


def test_values_and_gradients_are_finite(case):
    names, _, _, values, gradients = results(case)
    assert values.shape == (len(names),)
    for i, name in enumerate(names):
        assert np.isfinite(values[i]), name
        assert all(np.isfinite(gradient[i]).all() for gradient in gradients[1:]), name
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients[0]))


def test_identical_images_are_at_0_with_gradient_0(case, loss, channels):
    names, image, _ = all_pairs(channels)
    image[len(SCALES)] = 0.3
    values, gradients = compiled(case)(image, image)
    if loss.name != "adaptive":  # A negative log-likelihood is lowest, but not at 0.
        assert not values.any()
    for i in np.flatnonzero(np.abs(image).max((1, 2, 3)) <= 1):
        assert not gradients[1][i].any(), names[i]
        assert not gradients[2][i].any(), names[i]


def test_pixels_that_are_no_numbers_show_and_neighbours_do_not_matter(case):
    _, image, reference, expected, _ = results(case)
    image, reference = image.copy(), reference.copy()
    for first, value in ((0, np.nan), (3, np.inf)):
        image[first, 5, 6, 0] = reference[first + 1, 5, 6, 0] = value
        image[first + 2], reference[first + 2] = value, value
    values, _ = compiled(case)(image, reference)
    assert not np.isfinite(values[:6]).any()
    np.testing.assert_allclose(values[6:], expected[6:], rtol=1e-6)


def test_any_leading_axes(case, loss, channels):
    names, image, reference, values, _ = results(case)
    i = names.index("noise times (1, 1)")
    np.testing.assert_allclose(loss(image[i], reference[i]), values[i], rtol=1e-5)
    for batch in ((2, 3), (0,), ()):
        assert jax.eval_shape(loss, *pair(channels, *batch)).shape == batch
    assert loss(*pair(channels, 0)).shape == (0,)


def test_vmap_agrees_with_the_batch(case, loss, channels):
    image, reference = pair(channels, BATCH)
    values, (_, of_image, _) = compiled(case)(image, np.broadcast_to(reference[0], image.shape))
    each = jax.jit(jax.vmap(jax.value_and_grad(loss), in_axes=(0, None)))
    one_by_one, gradient = each(image[:4], reference[0])
    np.testing.assert_allclose(one_by_one, values[:4], rtol=1e-5)
    np.testing.assert_allclose(gradient, of_image[:4], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "length"), [("watson-dft", 16), ("ssim", 32)])
def test_batches_above_the_piece_size(name, length, monkeypatch):
    image, reference = pair(3, BATCH)
    expected = compiled((name, "rgb"))(image, reference)
    loss = example_loss(name, "rgb")
    monkeypatch.setattr("watson_jax.losses._pairs.PIECE_SIZE", length * image[0].size)

    @jax.jit  # anew, as the size is read when a shape is compiled
    def run(params, image, reference):
        def total(params, image, reference):
            if name == "ssim":
                values = _ssim._distances.__wrapped__(image, reference, _ssim._ssim_of_pair, "zero")
            else:
                values = api._distances.__wrapped__(
                    params, image, reference, WatsonOptions(), "auto"
                )
            return jnp.sum(values), values

        return jax.grad(total, argnums=(0, 1, 2), has_aux=True)(params, image, reference)

    gradients, values = run(loss.params, image, reference)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-3)
    jax.tree.map(close, (values, gradients), expected)


def test_narrow_images_are_compared_in_float32(loss, channels):
    for dtype in ("float16", "bfloat16", "float32"):
        images = [jnp.asarray(x, dtype) for x in pair(channels)]
        value, gradient = jax.eval_shape(jax.value_and_grad(loss), *images)
        assert (value.dtype, gradient.dtype) == (jnp.float32, dtype)
    narrow = [jnp.asarray(x, "bfloat16") for x in pair(channels)]
    expected = loss(*(x.astype("float32") for x in narrow))
    np.testing.assert_allclose(loss(*narrow), expected)


def test_float64_images_are_compared_in_float64(loss, channels, x64):
    narrow = pair(channels)
    image, reference = (x.astype("float64") for x in narrow)
    value = loss(image, reference)
    assert value.dtype == jnp.float64
    np.testing.assert_allclose(loss(*narrow), value, rtol=1e-4)
    for mixed, dtype in ((narrow, "float32"), ((image, narrow[1]), "float64")):
        assert jax.eval_shape(loss, *mixed).dtype == dtype


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**16), small=st.floats(0.01, 0.05), factor=st.floats(2, 5))
def test_more_noise_is_further_away(seed, small, factor):
    for name, color in dict(CASES).items():
        loss, shape = example_loss(name, color), (SIZE, SIZE, CHANNELS[color])
        reference = np.float32(0.3) + np.float32(0.4) * noise(seed, *shape)
        direction = noise(seed + 1, *shape) - np.float32(0.5)
        near, far = (reference + np.float32(x) * direction for x in (small, small * factor))
        assert loss(reference, reference) < loss(near, reference) < loss(far, reference), name


@pytest.mark.slow
def test_gradients_are_exported_for_batches_of_any_size(case, loss, channels):
    shape = (*export.symbolic_shape("b"), SIZE, SIZE, channels)
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    params = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), loss.params)
    run = jax.jit(with_gradients(loss))
    exported = export.export(run, platforms=("cpu", "cuda", "tpu"))(params, image, image)
    if loss.name not in ("l2", "ssim", "watson-dft"):
        return  # Running it takes as long to compile as all of the above.
    image, reference = pair(channels, BATCH)
    values, gradients = compiled(case)(image, reference)
    found = exported.call(loss.params, image, reference)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3)
    jax.tree.map(close, found, (gradients, values))


def test_wrong_images_are_one_sentence(loss, channels):
    image, reference = pair(channels)
    other = 4 - channels
    for message, wrong in (
        ("`image` must have (1 or 3 channels|1 channel|3 channels)", jnp.ones((SIZE, SIZE, 2))),
        ("channels-first axes", jnp.ones((channels, SIZE, SIZE))),
    ):
        with pytest.raises(ValueError, match=message):
            loss(wrong, wrong)
    for error, message, wrong in (
        (TypeError, "`image` .* got uint8; divide 8-bit", (image * 255).astype("uint8")),
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
