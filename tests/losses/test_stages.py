"""Masking, pooling and phases on their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import watson_jax as wj
from tests import references
from tests.derivatives import check_derivatives


def test_smooth_maximum_is_a_weighted_mean_that_does_not_overflow(x64):
    a, b = jnp.array([0.1, 3.0, 1e5, 1e-12]), jnp.array([0.3, -2.0, 2e5, 2e-12])
    expected = [references.smooth_maximum(float(x), float(y)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(wj.smooth_maximum(a, b), expected, rtol=1e-12)
    at = (a[:2], b[:2])
    check_derivatives(wj.smooth_maximum, at, rtol=1e-5)
    gradients = jax.vmap(jax.grad(lambda x, y: wj.smooth_maximum(x, y), argnums=(0, 1)))
    check_derivatives(lambda *z: jnp.stack(gradients(*z)), at, rtol=1e-5)
    assert np.all(np.isfinite(jax.grad(lambda x: wj.smooth_maximum(x, b).sum())(a)))


def test_luminance_masking_has_a_floor():
    dc = jnp.array([0.0, 0.5])
    plain = wj.luminance_masking(1.0, dc, 0.25, 1.5)
    np.testing.assert_allclose(plain, [(1e-10 / 0.25) ** 1.5, 2**1.5], rtol=1e-5)
    floored = wj.luminance_masking(1.0, dc, 0.25, 1.5, floor=0.1)
    np.testing.assert_allclose(floored, [0.1**1.5, 2**1.5], rtol=1e-5)


@pytest.mark.parametrize("alpha", [-10.0, -5.0, 5.0, 10.0])
def test_luminance_masking_stays_in_float32_on_black(alpha):
    def masked(dc, alpha):
        return wj.luminance_masking(np.exp(np.float32([-40, 40])), dc, dc.mean(), alpha).sum()

    value, slopes = jax.value_and_grad(masked, argnums=(0, 1))(jnp.array([0.0, 4.0]), alpha)
    assert 0 < value < np.inf
    assert all(np.isfinite(slope).all() for slope in slopes)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_stages_compute_narrow_numbers_in_float32(dtype):
    x = jnp.asarray([0.0, 0.3, 2.0], dtype)
    wide = x.astype("float32")
    for stage in (
        lambda x: wj.luminance_masking(x + 1, x, x.mean(), x),
        lambda x: wj.contrast_masking(x + 1, x, x / 4),
        lambda x: wj.smooth_maximum(x, 1 - x),
        lambda x: wj.p_norm(x, 1.5, axis=0),
    ):
        found = stage(x)
        assert found.dtype == jnp.float32
        assert np.isfinite(found).all()
    np.testing.assert_array_equal(
        wj.smooth_maximum(x, x[::-1]), wj.smooth_maximum(wide, wide[::-1])
    )


def test_contrast_masking_of_a_loop(x64):
    t, c = jnp.array([0.5, 2.0, 1e-3]), jnp.array([0.0, 30.0, 1e-3])
    expected = [
        references.smooth_maximum(x, (y + 1e-10) ** 0.3 * x**0.7) for x, y in zip(t, c, strict=True)
    ]
    np.testing.assert_allclose(wj.contrast_masking(t, c, 0.3), expected, rtol=1e-10)


@pytest.mark.parametrize("p", [0.6, 1.0, 4.0])
def test_p_norm(p, x64):
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    x[0, 1, 2] = 0
    expected = np.sum(np.abs(x) ** p, axis=(1, 2)) ** (1 / p)
    norm = jax.jit(lambda x, p: wj.p_norm(x, p, axis=(1, 2)))
    np.testing.assert_allclose(norm(x, jnp.full(3, p)), expected, rtol=1e-12)
    gradient = jax.jit(jax.grad(lambda x, p: norm(x, p).sum(), argnums=(0, 1)))
    assert gradient(x, np.full(3, p))[0][0, 1, 2] == 0
    at = (x[1:], np.full(2, p))
    check_derivatives(norm, at, rtol=1e-4)
    check_derivatives(lambda *z: jnp.concatenate([g.ravel() for g in gradient(*z)]), at, rtol=1e-4)


def test_second_derivatives_of_the_p_norm_are_symmetric_at_zero_entries(x64):
    hessian = jax.jit(jax.hessian(lambda x: wj.p_norm(x, jnp.array(0.5), axis=0)))
    matrix = hessian(jnp.array([0.7, -1.3, 0.0, 2.2]))
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-9)


norm_and_slopes = jax.jit(jax.value_and_grad(lambda x, p: wj.p_norm(x, p, axis=0), argnums=(0, 1)))


@pytest.mark.parametrize("p", [0.1, 0.5, 2.5, 4.0, 50.0])
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-3, 1.0])
def test_p_norm_is_finite_with_any_exponent_and_zeros(p, scale):
    x = np.float32(scale) * np.random.default_rng(0).standard_normal(2560, np.float32)
    x[:5] = 0
    norm, slopes = norm_and_slopes(x, np.float32(p))
    assert np.isfinite(norm)
    assert all(np.all(np.isfinite(slope)) for slope in slopes)
    assert not np.any(slopes[0][:5])


@pytest.mark.parametrize("p", [1.0, 1.5, 4.0])
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12])
def test_no_slope_of_a_norm_is_steeper_than_1(p, scale):
    x = np.float32(scale) * np.random.default_rng(0).standard_normal(2560, np.float32)
    _, (slopes, _) = norm_and_slopes(x, np.float32(p))
    assert np.abs(slopes).max() <= 1 + 1e-5
    assert np.abs(slopes).max() > 0.01


def test_the_exponent_of_the_p_norm_may_be_a_whole_number():
    norm, slopes = jax.value_and_grad(lambda x: wj.p_norm(x, 2, axis=0))(jnp.array([3.0, 4.0]))
    np.testing.assert_allclose((norm, *slopes), (5, 0.6, 0.8), rtol=1e-6)


def test_p_norm_of_zeros_has_no_slope_and_of_huge_numbers_no_overflow():
    value, slopes = norm_and_slopes(np.zeros(5, np.float32), np.float32(0.6))
    assert (value, float(np.abs(slopes[0]).max()), slopes[1]) == (0, 0, 0)
    huge = wj.p_norm(np.float32([3e20, 4e20]), np.float32(2), axis=0)
    assert huge == pytest.approx(5e20, rel=1e-5)


def test_phase_distance(x64):
    a, b = np.random.default_rng(0).normal(size=(2, 100, 2)).view(complex)[..., 0]
    expected = np.arccos(np.cos(np.angle(a) - np.angle(b)))
    np.testing.assert_allclose(wj.phase_distance(a, b), expected, atol=1e-7)
    narrow = wj.phase_distance(a.astype("complex64"), b.astype("complex64"))
    # The polynomial is exact to 1.6e-7 in float32, and pi has an ulp of 2.4e-7.
    np.testing.assert_allclose(narrow, expected, atol=6e-7)


@pytest.mark.slow
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_equal_and_opposite_phases_have_no_slope(transform, x64):
    a = 3.3 * jnp.exp(1j * jnp.arange(10, dtype=complex))
    angles = lambda x, y: wj.phase_distance(x, y).sum()  # noqa: E731
    assert transform(angles)(a, a) == 0
    for slope in transform(jax.grad(angles, argnums=(0, 1)))(a, a):
        assert not np.any(slope)
    opposite = transform(jax.grad(angles))(jnp.array([-1 + 0j]), jnp.array([2 + 0j]))
    assert not np.any(opposite)
    assert not np.any(transform(jax.grad(angles))(jnp.zeros(1, complex), jnp.zeros(1, complex)))


def test_phase_floor_fades_smoothly(x64):
    size = jnp.array([1e-6, 0.05, 0.1, 0.2])
    angles = wj.phase_distance(
        jax.lax.complex(0 * size, size), jnp.ones(4, complex), phase_floor=0.1
    )
    np.testing.assert_allclose(angles, np.pi / 2 * np.array([0, 0.25 * 1.75, 1, 1]), atol=1e-8)
