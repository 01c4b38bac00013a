"""The distortions: as strong as the published ones, and each what its name says."""

import numpy as np
import pytest

from watson_jax.datasets._distortions import DISTORTIONS, distort, psnr
from watson_jax.datasets._opinions import LEVELS, read_opinions
from watson_jax.datasets.photos_2afc import psnr_table

TOLERANCE = 1.5  # dB


def run(name, level, image, seed=0):
    return distort(image, name, level, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def image():
    """Smooth colours, with edges and some texture; its sides are no multiples of anything."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:75, :101] / 20
    image = np.stack([0.5 + 0.3 * np.sin(x), 0.5 + 0.3 * np.cos(y), 0.4 + 0.2 * np.sin(x + y)], -1)
    image[20:50, 30:60] = 0.8, 0.3, 0.2
    return np.rint(255 * np.clip(image + 0.02 * rng.standard_normal(image.shape), 0, 1)).astype(
        np.uint8
    )


# One level shows whether a function or a library has changed; `psnr_table()` shows all of them.
@pytest.mark.parametrize("name", DISTORTIONS)
def test_is_as_strong_as_published(name):
    ((published, ours),) = psnr_table([name], [4]).values()
    assert ours == pytest.approx(published, abs=TOLERANCE)


def test_table_of_psnr_leaves_out_the_original():
    assert list(psnr_table(["mean shift"])) == [("mean shift", level) for level in (1, 2, 4, 5)]


def test_opinions_are_of_these_distortions():
    opinions = read_opinions()
    assert list(opinions) == [(name, level) for name in DISTORTIONS for level in LEVELS]
    for (name, level), opinion in opinions.items():
        _, parameters = DISTORTIONS[name]
        assert opinion.is_of_original == (parameters[level - 1] is None)
        assert 1 <= opinion.mean <= 5
        assert 0 < opinion.rater_std < 2
    unchanged = [version for version, opinion in opinions.items() if opinion.is_of_original]
    assert unchanged == [
        ("gaussian blur", 1),
        ("motion blur", 1),
        ("color saturation Lab", 1),
        ("mean shift", 3),
    ]


@pytest.mark.parametrize("name", DISTORTIONS)
def test_keeps_shape_and_input(name, image):
    before = image.copy()
    for level in LEVELS:
        distorted = run(name, level, image)
        assert distorted.shape == image.shape
        assert distorted.dtype == np.uint8
        is_original = read_opinions()[name, level].is_of_original
        assert np.array_equal(distorted, image) == is_original
        np.testing.assert_array_equal(distorted, run(name, level, image))
    np.testing.assert_array_equal(image, before)


def test_blurs_keep_the_mean_and_spread_a_point():
    point = np.zeros((65, 65, 3), np.uint8)
    point[30:35, 30:35] = 255
    for name in ("gaussian blur", "lens blur", "motion blur"):
        blurred = run(name, 3, point)
        assert blurred.mean() == pytest.approx(point.mean(), rel=0.02)
        assert blurred.std() < point.std()


def test_motion_blur_is_directed():
    point = np.zeros((65, 65, 3), np.uint8)
    point[32, 32] = 255
    places = np.argwhere(run("motion blur", 5, point)[..., 0])
    across, along = np.linalg.svd(places - places.mean(0), compute_uv=False)[::-1]
    assert along > 4 * across


def test_colors_alone_change(image):
    assert np.ptp(run("color saturation HSV", 4, image), axis=-1).max() == 0
    saturated = run("color saturation Lab", 2, image)
    assert np.ptp(saturated, axis=-1).mean() > np.ptp(image, axis=-1).mean()
    shifted = run("color shift", 3, image)
    np.testing.assert_array_equal(shifted[..., ::2], image[..., ::2])
    for level, number in zip(LEVELS, DISTORTIONS["color quantization"][1], strict=True):
        colors = run("color quantization", level, image).reshape(-1, 3)
        assert len(np.unique(colors, axis=0)) <= number


def test_noise_is_what_its_name_says():
    gray = np.full((200, 200, 3), 100, np.uint8)
    changed = run("impulse noise", 5, gray)
    assert set(np.unique(changed)) == {0, 100, 255}
    assert np.mean(changed != 100) == pytest.approx(0.03, rel=0.1)
    assert np.std(run("white noise", 1, gray) / 255) == pytest.approx(0.001**0.5, rel=0.05)
    ratio = run("multiplicative noise", 1, gray) / gray
    assert np.std(ratio) == pytest.approx(0.001**0.5, rel=0.05)
    assert not np.array_equal(run("white noise", 1, gray), run("white noise", 1, gray, seed=1))


def test_brightness_and_contrast_go_the_right_way(image):
    mean, std = image.mean(), image.std()
    assert mean < run("brighten", 2, image).mean() < run("brighten", 5, image).mean()
    assert mean > run("darken", 2, image).mean() > run("darken", 5, image).mean()
    shifts = [run("mean shift", level, image).mean() for level in (5, 4, 3, 2, 1)]
    assert shifts == sorted(shifts)
    contrasts = [run("contrast change", level, image).std() for level in (5, 4, 3, 2, 1)]
    assert contrasts == sorted(contrasts)
    assert contrasts[1] < std < contrasts[2]
    assert run("high sharpen", 1, image).std() > std


def test_quantization_and_pixelate_leave_few_values(image):
    assert len(np.unique(run("quantization", 5, image))) <= 9
    pixelated = run("pixelate", 5, image)
    rows = np.unique(pixelated, axis=0)
    assert len(rows) == round(75 * 0.29)
    assert len(np.unique(pixelated, axis=1)[0]) == round(101 * 0.29)


def test_psnr_by_hand():
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black + np.uint8(255), black) == pytest.approx(0)
    assert psnr(black + np.uint8(51), black) == pytest.approx(13.979, abs=1e-3)
