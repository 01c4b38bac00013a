"""SSIM and its multi-scale version."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import correlate1d

from tests.derivatives import check_derivatives
from tests.images import formula_image, noise
from watson_jax.losses import _ssim
from watson_jax.losses._ssim import MS_SSIM_MIN_SIZE, SCALE_WEIGHTS, ms_ssim, ssim

pytestmark = pytest.mark.filterwarnings("ignore::watson_jax.RangeWarning")

BORDERS = ("zero", "valid")

# Values of the authors' code (github SteffenCzolbe/PerceptualSimilarity at 3729dd1fc7e7) in float64 on
# formula_image(1) against formula_image(0), and on 0.98 formula_image(0) + 0.02 formula_image(1).
AUTHORS_VALUES = {
    (3, 16, 16): (0.5365003941294948, 0.0002855212695647147),
    (3, 24, 40): (0.5489815721195082, 0.00028769201485234763),
    (3, 64, 64): (0.6626153625463642, 0.0003563384360868449),
    (1, 16, 16): (0.5324336102386532, 0.0002868284395175502),
    (1, 24, 40): (0.5596800271674712, 0.0002960389142704356),
    (1, 64, 64): (0.6585852352227581, 0.000348546759308066),
}


@pytest.fixture(params=[ssim, ms_ssim], ids=["ssim", "ms_ssim"])
def loss(request):
    return request.param


def reference_maps(x, y, border):
    """SSIM, and its contrast and structure alone, as the paper defines them, for `[H, W]`."""
    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window /= window.sum()

    def mean(z):
        for axis in (0, 1):
            z = correlate1d(z, window, axis=axis, mode="constant")
        return z if border == "zero" else z[5:-5, 5:-5]

    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
    structure = (2 * covariance + 9e-4) / (variance_x + variance_y + 9e-4)
    return luminance * structure, structure


def reference_ssim(image, reference, border):
    planes = [np.moveaxis(np.asarray(z, np.float64), -1, 0) for z in (image, reference)]
    return 1 - np.mean([reference_maps(x, y, border)[0] for x, y in zip(*planes, strict=True)])


def reference_ms_ssim(image, reference, border):
    def halve(z):
        z = np.pad(z, [(0, n % 2) for n in z.shape], mode="edge")
        return (z[::2, ::2] + z[1::2, ::2] + z[::2, 1::2] + z[1::2, 1::2]) / 4

    result = []
    for channel in range(image.shape[-1]):
        x, y = (np.asarray(z, np.float64)[..., channel] for z in (image, reference))
        product = 1
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            if scale:
                x, y = halve(x), halve(y)
            similarity, structure = reference_maps(x, y, border)
            product *= max(np.mean(similarity if scale == 4 else structure), 0) ** weight
        result.append(1 - product)
    return np.mean(result)


@pytest.mark.parametrize("key", AUTHORS_VALUES, ids=str)
def test_authors_values(key, x64):
    channels, *size = key
    other, reference = (formula_image(k, *size, channels) for k in (1, 0))
    far, near = AUTHORS_VALUES[key]
    for image, expected in ((other, far), (0.98 * reference + 0.02 * other, near)):
        value = ssim(image, reference)
        np.testing.assert_allclose(value, expected, rtol=1e-4)
        narrow = ssim(np.float32(image), np.float32(reference))
        np.testing.assert_allclose(narrow, expected, rtol=1e-4)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", [(11, 11), (12, 30), (33, 17)])
def test_ssim_is_the_independent_reference(size, border, x64):
    image, reference = (noise(seed, *size, 3).astype("float64") for seed in (1, 2))
    expected = reference_ssim(image, reference, border)
    np.testing.assert_allclose(ssim(image, reference, border=border), expected, rtol=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (3, 20)])
def test_ssim_of_images_smaller_than_the_window(size, x64):
    image, reference = (noise(seed, *size, 1).astype("float64") for seed in (1, 2))
    expected = reference_ssim(image, reference, "zero")
    np.testing.assert_allclose(ssim(image, reference), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("size", "border"), [((16, 16), "zero"), ((37, 50), "zero"), ((161, 170), "valid")]
)
def test_ms_ssim_is_the_independent_reference(size, border, x64):
    reference = formula_image(0, *size, 3)
    for other in (formula_image(1, *size, 3), np.asarray(noise(1, *size, 3), np.float64)):
        image = 0.7 * reference + 0.3 * other
        expected = reference_ms_ssim(image, reference, border)
        value = ms_ssim(jnp.asarray(image), jnp.asarray(reference), border=border)
        np.testing.assert_allclose(value, expected, rtol=1e-9)


def test_scale_weights_are_the_published_ones():
    assert sum(SCALE_WEIGHTS) == pytest.approx(1, abs=2e-4)


@pytest.mark.slow
def test_negative_structure_counts_as_0_and_has_a_way_out(x64):
    # About 0, so that the border is no edge, which both images would share.
    smooth = jnp.asarray(formula_image(0, 48, 48, 1)) - 0.5
    assert reference_ms_ssim(-smooth, smooth, "zero") == 1
    run = jax.jit(jax.value_and_grad(ms_ssim))
    value, gradient = run(-smooth, smooth)
    assert value == 1
    chex.assert_tree_all_finite(gradient)
    # A chequered pattern with its sign turned is negative at the finest scale and gone at the others.
    row, column = np.mgrid[:48, :48]
    smooth = jnp.asarray(0.3 * np.sin(row / 8) * np.cos(column / 8))[..., None]
    chequers = jnp.asarray(0.3 * (-1.0) ** (row + column))[..., None]
    image, reference = smooth + chequers, smooth - chequers
    assert reference_ms_ssim(image, reference, "zero") == 1
    value, gradient = run(image, reference)
    assert value == 1
    chex.assert_tree_all_finite(gradient)
    assert jnp.sum(gradient * chequers) > 0.1


@pytest.mark.slow(except_for="[ssim]")
def test_gradients_are_those_of_finite_differences(loss, x64):
    image, reference = (noise(seed, 16, 20, 3).astype("float64") for seed in (5, 6))
    image = 0.5 * (image + reference)
    check_derivatives(loss, (image, reference), rtol=1e-4)


@pytest.mark.slow(except_for="[ssim]")
def test_identical_images_are_at_0_with_gradient_0_and_second_derivatives_are_finite(loss):
    @jax.jit
    def run(image, reference):
        return jax.jvp(
            jax.value_and_grad(loss, argnums=(0, 1)), (image, reference), (reference, image)
        )

    for image in (noise(1, 20, 17, 3), np.float32(1e4) * noise(1, 20, 17, 3)):
        (value, gradients), _ = run(image, image)
        assert value == 0
        assert not np.any(gradients[0])
        assert not np.any(gradients[1])
    _, (_, second) = run(noise(1, 20, 17, 3), noise(2, 20, 17, 3))
    chex.assert_tree_all_finite(second)


def test_small_distances_are_accurate_in_float32(loss, x64):
    reference = jnp.asarray(formula_image(0, 32, 32, 3))
    image = reference + 1e-4 * noise(1, 32, 32, 3).astype("float64")
    image, reference = (z.astype("float32") for z in (image, reference))
    exact = loss(*(z.astype("float64") for z in (image, reference)))
    assert exact < 1e-5  # 1 - SSIM in float32 would be good to two digits.
    np.testing.assert_allclose(loss(image, reference), exact.astype("float32"), rtol=1e-4)


def test_wrong_arguments(loss):
    image = noise(1, 16, 16, 1)
    with pytest.raises(ValueError, match=r'`border` must be "zero" or "valid", got "?\'?same'):
        loss(image, image, border="same")
    with pytest.raises(ValueError, match="must have the same shape"):
        loss(image, image[:-1] if loss is ssim else noise(1, 17, 16, 1))


def test_smallest_sizes():
    with pytest.raises(ValueError, match="at least 11 pixels high and wide, got 10x20"):
        ssim(noise(1, 10, 20, 1), noise(2, 10, 20, 1), border="valid")
    for border, size in MS_SSIM_MIN_SIZE.items():
        small = noise(1, size, size - 1, 1)
        with pytest.raises(ValueError, match=f"at least {size} pixels .* got {size}x{size - 1}"):
            ms_ssim(small, small, border=border)


@pytest.mark.slow(except_for="gray32_mnist")
@pytest.mark.parametrize("pairs_of", ["rgb64", "gray64", "gray32_mnist"])
def test_recorded(pairs_of, goldens, x64):
    pairs, recorded = goldens(f"pairs_{pairs_of}"), goldens(f"{pairs_of}_ssim")
    image, reference = (pairs[key].astype("float64") for key in ("input", "target"))
    expected = recorded["value_f64"]

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def run(image, reference):
        values = ssim(image, reference)
        return values.sum(), values

    gradients, values = map(np.asarray, run(image, reference))
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-12)
    narrow = ssim(np.float32(image), np.float32(reference))
    np.testing.assert_allclose(np.float64(narrow), expected, rtol=1e-4, atol=1e-12)
    for index, gradient in enumerate(recorded["grad_f64"]):
        if np.linalg.norm(gradient) < 1e-12:  # Rounding errors of identical images.
            assert not np.any(gradients[index])
            continue
        error = np.linalg.norm(gradients[index] - gradient) / np.linalg.norm(gradient)
        assert error < 1e-3, index


def test_what_accelerators_run_is_what_cpus_run(x64):
    planes = jnp.asarray(noise(1, 3, 80, 30), "float64")

    @functools.partial(jax.jit, static_argnums=0)
    def run(blur, planes):
        return blur(planes), jax.grad(lambda x: jnp.sum(jnp.cos(blur(x))))(planes)

    for a, b in zip(
        run(_ssim._blur_by_shifts, planes), run(_ssim._blur_by_products, planes), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
