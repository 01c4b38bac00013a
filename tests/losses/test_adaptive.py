"""The adaptive robust loss, its distribution and its parameters."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.fft import dctn
from scipy.integrate import quad

import watson_jax as wj
from tests.derivatives import check_derivatives
from tests.images import degenerate_pairs, noise
from watson_jax.losses._adaptive.loss import YUV_MATRIX, _transform, adaptive
from watson_jax.losses._adaptive.params import (
    AdaptiveParams,
    adaptive_params_from_torch,
    initial_adaptive_params,
)
from watson_jax.losses._adaptive.robust import (
    general_robust_loss,
    robust_log_partition,
    robust_negative_log_likelihood,
)
from watson_jax.weights import fetch, read_torch

pytestmark = pytest.mark.filterwarnings("ignore::watson_jax.RangeWarning")


def rho(x, alpha, scale):
    """The general robust loss as the paper writes it, with its limits (eq. 8)."""
    square = (x / scale) ** 2
    if alpha == 2:
        return square / 2
    if alpha == 0:
        return np.log(square / 2 + 1)
    gap = abs(alpha - 2)
    return gap / alpha * ((square / gap + 1) ** (alpha / 2) - 1)


def log_partition(alpha):
    """By an adaptive quadrature of the integral as it stands, the tail in the inverse of x."""

    def density(x):
        return np.exp(-rho(x, alpha, 1))

    options = {"epsabs": 1e-13, "epsrel": 1e-12, "limit": 500}
    core = quad(density, 0, 1, points=[1e-3, 1e-2, 0.1], **options)[0]
    body = quad(density, 1, 10, **options)[0]
    tail = quad(lambda u: density(1 / u) / u**2, 0, 0.1, **options)[0]
    return np.log(2 * (core + body + tail))


def some_params(height, width, *, seed=0, authors_axes=False):
    """A different value everywhere."""
    alpha, scale = (3 * noise(seed + i, height, width, 3) - 1.5 for i in range(2))
    return AdaptiveParams(alpha, scale, authors_axes=authors_axes)


def reference_adaptive(params, image, reference):
    """The loss of one pair in float64 NumPy, from the papers and, for their axes, the authors' slip."""
    residual = np.asarray(image, np.float64) - np.asarray(reference, np.float64)
    residual = np.broadcast_to(residual, (*residual.shape[:2], 3))
    yuv = 1.580227820074 * np.array(
        [
            [0.299, 0.587, 0.114],
            [-0.14714119, -0.28886916, 0.43601035],
            [0.61497538, -0.51496512, -0.10001026],
        ]
    )
    if params.authors_axes:
        planes = np.moveaxis(residual, -1, 0)
        mixed = (planes.reshape(-1, 3) @ yuv.T).reshape(planes.shape)
        coefficients = np.moveaxis(dctn(mixed, axes=(0, 1), norm="ortho"), 0, -1)
    else:
        coefficients = dctn(residual @ yuv.T, axes=(0, 1), norm="ortho")
    alpha, scale = (np.asarray(x, np.float64) for x in (params.shape_parameters, params.scales))
    total = 0
    for index in np.ndindex(coefficients.shape):
        total += rho(coefficients[index], alpha[index], scale[index])
        total += np.log(scale[index]) + log_partition(alpha[index])
    return total


robust_loss = jax.jit(general_robust_loss)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_general_robust_loss(dtype, x64):
    x = np.concatenate([[0], np.logspace(-6, 4, 21), -np.logspace(-3, 3, 7)])
    alphas, scales = (-8, -1, 0, 1e-3, 0.5, 1, 1.5, 1.999, 2), (1e-5, 0.3, 1, 20)
    grid = np.meshgrid(x, alphas, scales, indexing="ij")
    found = np.float64(robust_loss(*(jnp.asarray(z, dtype) for z in grid)))
    # Negative shapes level off at a value that a power leaves only with cancellation.
    tolerance = 1e-5 if dtype == "float32" else 1e-6
    for i, alpha in enumerate(alphas):
        for j, scale in enumerate(scales):
            expected = rho(x, alpha, scale)
            np.testing.assert_allclose(found[:, i, j], expected, rtol=tolerance, atol=1e-10)


def test_general_robust_loss_is_accurate_at_small_residuals():
    # There it is quadratic, whatever the shape.
    alpha = np.float32([0, 1e-3, 1, 1.9])
    value = robust_loss(np.full(4, 1e-6, np.float32), alpha, np.ones(4, np.float32))
    np.testing.assert_allclose(value, 5e-13, rtol=1e-5)


def test_derivatives_of_the_general_robust_loss(x64):
    points = np.meshgrid([-3, 1e-4, 0.2, 40], [-2, 0.001, 0.3, 1, 1.999], [0.7])
    at = tuple(np.ravel(z).astype("float64") for z in points)
    check_derivatives(general_robust_loss, at, rtol=1e-3, atol=1e-9)


def test_derivatives_are_continuous_at_alpha_0(x64):
    gradient = jax.jit(jax.vmap(jax.grad(general_robust_loss, argnums=(0, 1, 2))))
    found = gradient(np.full(2, 1.5), np.array([0, 1e-9]), np.ones(2))
    for at_0, near_0 in found:
        np.testing.assert_allclose(at_0, near_0, rtol=1e-7)


def test_derivatives_are_finite_everywhere():
    run = jax.jit(jax.vmap(jax.value_and_grad(robust_negative_log_likelihood, argnums=(0, 1, 2))))
    grid = np.meshgrid(
        [-1e7, -1, 0, 1e-30, 1e-6, 1, 1e6], [0, 1e-7, 1e-3, 1, 1.999, 2], [1e-5, 1, 1e3]
    )
    chex.assert_tree_all_finite(run(*(np.float32(z).ravel() for z in grid)))


SHAPES = (0, 1e-4, 1e-3, 0.01, 0.1, 0.3, 0.7, 0.999, 1, 1.3, 1.7, 1.9, 1.99, 1.999, 1.9999, 2)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_log_partition_is_the_integral(dtype, x64):
    expected = [log_partition(alpha) for alpha in SHAPES]
    found = np.float64(jax.jit(robust_log_partition)(jnp.asarray(SHAPES, dtype)))
    np.testing.assert_allclose(
        found, expected, rtol=0, atol={"float64": 1e-7, "float32": 1e-6}[dtype]
    )
    ends = np.log([np.pi * np.sqrt(2), np.sqrt(2 * np.pi)])  # in closed form
    np.testing.assert_allclose(expected[:: len(SHAPES) - 1], ends, rtol=0, atol=1e-9)
    if dtype == "float64":
        np.testing.assert_allclose(found[:: len(SHAPES) - 1], ends, rtol=0, atol=1e-7)


def test_log_partition_has_the_derivative_of_the_integral(x64):
    alphas, step = np.array([0.001, 0.02, 0.5, 0.999, 1, 1.001, 1.6, 1.99]), 1e-4
    found = jax.jit(jax.vmap(jax.grad(robust_log_partition)))(alphas)
    for alpha, derivative in zip(alphas, found, strict=True):
        expected = (log_partition(alpha + step) - log_partition(alpha - step)) / (2 * step)
        np.testing.assert_allclose(derivative, expected, rtol=0, atol=1e-5)


def test_likelihood_integrates_to_1(x64):
    t, scales = np.linspace(-40, 40, 20001), np.array([[0.2], [1.0], [3.0]])
    alpha = np.array([[0.4], [1.0], [1.9]])
    found = jax.jit(robust_negative_log_likelihood)(scales * np.sinh(t)[None], alpha, scales)
    density = np.exp(-np.asarray(found)) * scales * np.cosh(t)
    np.testing.assert_allclose(np.trapezoid(density, t), 1, atol=1e-6)


def test_initial_params():
    params = initial_adaptive_params((8, 12))
    chex.assert_shape([params.shape_parameters, params.scales], (8, 12, 3))
    np.testing.assert_allclose(params.shape_parameters, 1, rtol=1e-6)
    np.testing.assert_allclose(params.scales, 1, rtol=1e-6)


def test_params_stay_in_their_range():
    params = AdaptiveParams(*(jnp.array([-1e4, -50.0, 50.0, 1e4]).reshape(2, 2, 1),) * 2)
    assert np.all(params.shape_parameters >= np.float32(0.001))
    assert np.all(params.shape_parameters <= np.float32(1.999) * (1 + 1e-6))  # Rounding.
    assert np.all(params.scales >= np.float32(1e-5))


def test_wrong_image_sizes_for_params():
    for size in (16, (16,), (16, 0), (16, 1.5), None):
        with pytest.raises(ValueError, match=r"`image_size` must be \(height, width\)"):
            initial_adaptive_params(size)


@pytest.mark.parametrize("authors_axes", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_independent_reference(channels, authors_axes, x64):
    params = some_params(5, 4, authors_axes=authors_axes)
    params = jax.tree.map(lambda x: x.astype("float64"), params)
    image, reference = (noise(seed, 5, 4, channels).astype("float64") for seed in (3, 4))
    expected = reference_adaptive(params, image, reference)
    np.testing.assert_allclose(adaptive(params, image, reference), expected, rtol=1e-7)


def test_colour_transform_keeps_volumes():
    assert np.linalg.det(YUV_MATRIX) == pytest.approx(1, abs=1e-7)


def test_gradients_are_those_of_finite_differences(x64):
    params = jax.tree.map(lambda x: x.astype("float64"), some_params(6, 8))
    image, reference = (noise(seed, 2, 6, 8, 3).astype("float64") for seed in (5, 6))
    check_derivatives(adaptive, (params, image, reference), rtol=1e-4)

    @jax.jit
    def hessian_vector(params):
        gradient = jax.grad(lambda p: adaptive(p, image, reference).sum())
        return jax.jvp(gradient, (params,), (params,))[1]

    chex.assert_tree_all_finite(hessian_vector(params))


value_and_gradients = jax.jit(jax.value_and_grad(adaptive, argnums=(0, 1, 2)))


def test_identical_images_are_lowest_with_gradient_0():
    params = some_params(16, 16)
    image = noise(1, 16, 16, 3)
    lowest, gradients = value_and_gradients(params, image, image)
    assert not np.any(gradients[1])
    assert not np.any(gradients[2])
    other = image + np.float32(0.01) * noise(2, 16, 16, 3)
    assert value_and_gradients(params, image, other)[0] > lowest


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("latent", [-100.0, 0.0, 100.0])
def test_everything_is_finite(channels, latent):
    params = jax.tree.map(lambda x: x + latent, initial_adaptive_params((16, 16)))
    for name, (image, reference) in degenerate_pairs(channels).items():
        for scales in ((1, 1), (1e4, 1e4), (1e4, -1e4)):
            found = value_and_gradients(params, scales[0] * image, scales[1] * reference)
            finite = all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))
            assert finite, f"{name} times {scales}"


@pytest.mark.parametrize("authors_axes", [False, True])
def test_batch_equals_loop(authors_axes):
    params = some_params(8, 10, authors_axes=authors_axes)
    image, reference = noise(1, 2, 3, 8, 10, 3), noise(2, 2, 3, 8, 10, 3)
    values = adaptive(params, image, reference)
    singles = [[adaptive(params, image[i, j], reference[i, j]) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(values, singles, rtol=1e-5)
    by_vmap = jax.vmap(adaptive, in_axes=(None, 0, 0))(params, image, reference)
    np.testing.assert_allclose(by_vmap, values, rtol=1e-5)


@pytest.mark.slow
def test_vmap_over_params():
    sets = [some_params(8, 8, seed=seed) for seed in (0, 5)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *sets)
    image, reference = noise(1, 8, 8, 3), noise(2, 8, 8, 3)
    found = jax.vmap(adaptive, in_axes=(0, None, None))(stacked, image, reference)
    expected = [adaptive(params, image, reference) for params in sets]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_dtypes(x64):
    params = initial_adaptive_params((8, 8))
    image, reference = (noise(seed, 8, 8, 3).astype("float64") for seed in (1, 2))
    wide = adaptive(params, image, reference)
    assert wide.dtype == jnp.float64
    for dtype in ("float32", "bfloat16"):
        pair = image.astype(dtype), reference.astype(dtype)
        value = adaptive(params, *pair)
        assert value.dtype == jnp.float32
        assert jax.eval_shape(jax.grad(adaptive, argnums=1), params, *pair).dtype == dtype
        np.testing.assert_allclose(
            np.float64(value), wide, rtol=1e-2 if dtype == "bfloat16" else 1e-5
        )


@pytest.mark.slow
def test_params_learn_the_size_of_residuals():
    # optax mixes integer step counts with floats.
    with jax.numpy_dtype_promotion("standard"):
        params = initial_adaptive_params((8, 8))
        rng = np.random.default_rng(0)
        image = 0.5 + np.float32(0.01) * rng.standard_normal((64, 8, 8, 1), np.float32)
        reference = np.full_like(image, 0.5)
        optimizer = optax.adam(0.1)

        @jax.jit
        def step(carry, _):
            params, state = carry
            value, gradient = jax.value_and_grad(lambda p: adaptive(p, image, reference).mean())(
                params
            )
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), value

        (params, _), values = jax.lax.scan(step, (params, optimizer.init(params)), length=100)
    assert values[-1] < values[0]
    # Grey leaves U and V at 0, so that only Y has a size; it is 1.58 times that of the pixels.
    assert 0.005 < np.median(params.scales[..., 0]) < 0.03


def test_wrong_arguments():
    params = initial_adaptive_params((16, 16))
    image = noise(1, 16, 16, 3)
    for error, message, arguments in (
        (TypeError, "`params` must be AdaptiveParams, got ndarray", (image, image, image)),
        (
            ValueError,
            "`image` must be 16x16, the size of the parameters, got 8x16",
            (params, *[image[:8]] * 2),
        ),
        (
            ValueError,
            r"`image` must have 1 or 3 channels .*\(16, 16, 2\)",
            (params, *[image[..., :2]] * 2),
        ),
        (ValueError, "channels-first", (params, *[jnp.ones((3, 16, 16))] * 2)),
        (ValueError, "must have the same shape", (params, image, image[None])),
        (TypeError, "`image` must be an array, got list", (params, [[0.5]], image)),
        (
            ValueError,
            "use jax.vmap for several sets",
            (jax.tree.map(lambda x: x[None], params), image, image),
        ),
    ):
        with pytest.raises(error, match=message) as caught:
            adaptive(*arguments)
        assert "\n" not in str(caught.value)


def authors_state(side=4, prefix="."):
    key = prefix + "robust_loss.adaptive_lossfun.latent_"
    size = 3 * side**2
    return {
        key + "alpha": np.arange(size, dtype=np.float32)[None],
        key + "scale": -np.arange(size, dtype=np.float32)[None],
    }


@pytest.mark.parametrize("prefix", [".", ""])
def test_params_of_the_authors(prefix):
    params = adaptive_params_from_torch(authors_state(prefix=prefix))
    assert params.authors_axes
    chex.assert_shape([params.alpha_latent, params.scale_latent], (4, 4, 3))
    # Channel, row, column there; row, column, channel here.
    assert params.alpha_latent[1, 2, 0] == 6
    assert params.scale_latent[0, 3, 2] == -35


def test_damaged_params_of_the_authors():
    state = authors_state()
    with pytest.raises(wj.CheckpointError, match="latent_scale is missing"):
        adaptive_params_from_torch({k: v for k, v in state.items() if "alpha" in k})
    with pytest.raises(wj.CheckpointError, match="47 elements"):
        adaptive_params_from_torch({k: v[:, :-1] for k, v in state.items()})
    mixed = {k: v for k, v in state.items() if "alpha" in k}
    mixed |= {k: v for k, v in authors_state(side=5).items() if "scale" in k}
    with pytest.raises(wj.CheckpointError, match="differ in shape"):
        adaptive_params_from_torch(mixed)


@pytest.fixture
def published(reference_folder):
    return lambda color: adaptive_params_from_torch(
        read_torch(fetch(f"{color}_adaptive_trial0.pth"))
    )


@jax.jit
@functools.partial(jax.grad, argnums=1, has_aux=True)
def gradient_and_values(params, image, reference):
    values = adaptive(params, image, reference)
    return values.sum(), values


@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_recorded(color, published, goldens, x64):
    pairs, recorded = goldens(f"pairs_{color}64"), goldens(f"{color}64_adaptive")
    params = published(color)
    image, reference = (jnp.asarray(pairs[key], "float64") for key in ("input", "target"))
    gradients, values = map(np.asarray, gradient_and_values(params, image, reference))
    np.testing.assert_allclose(values, recorded["value_f64"], rtol=1e-6)
    narrow = adaptive(params, image.astype("float32"), reference.astype("float32"))
    np.testing.assert_allclose(np.float64(narrow), recorded["value_f64"], rtol=1e-4)
    for index, gradient in enumerate(recorded["grad_f64"]):
        error = np.linalg.norm(gradients[index] - gradient)
        assert error <= 1e-6 * np.linalg.norm(gradient), index


@pytest.mark.parametrize("name", ["rgb", "gray", "gray_mnist32"])
def test_recorded_untrained(name, goldens, x64):
    recorded = goldens("untrained_init")
    pairs = goldens("pairs_gray32_mnist" if "mnist" in name else f"pairs_{name}64")
    expected = recorded[f"adaptive_{name}/value_f64"]
    # All pairs, for which there is a program already.
    image, reference = (jnp.asarray(pairs[key], "float64") for key in ("input", "target"))
    params = initial_adaptive_params(image.shape[-3:-1])
    params = dataclasses.replace(params, authors_axes=True)
    gradients, values = map(np.asarray, gradient_and_values(params, image, reference))
    np.testing.assert_allclose(values[: len(expected)], expected, rtol=1e-6)
    wanted = recorded[f"adaptive_{name}/grad_f64"]
    error = np.linalg.norm(gradients[: len(wanted)] - wanted)
    assert error < 1e-5 * np.linalg.norm(wanted)


def test_recorded_distribution(goldens, x64):
    recorded = goldens("adaptive_intermediates")
    grid = np.meshgrid(*(recorded[f"grid/{k}"] for k in ("x", "alpha", "scale")), indexing="ij")
    np.testing.assert_allclose(
        robust_loss(*grid), recorded["grid/general_loss_f64"], rtol=1e-6, atol=1e-8
    )
    likelihood = jax.jit(robust_negative_log_likelihood)(*grid)
    np.testing.assert_allclose(likelihood, recorded["grid/nll_f64"], rtol=1e-6, atol=1e-6)
    found = jax.jit(robust_log_partition)(recorded["log_partition/alpha"])
    np.testing.assert_allclose(found, recorded["log_partition/value_f64"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_recorded_stages(color, published, goldens, x64):
    recorded = goldens("adaptive_intermediates")
    transform = jax.jit(functools.partial(_transform, authors_axes=True))
    likelihood = jax.jit(robust_negative_log_likelihood)
    params = jax.tree.map(lambda x: x.astype("float64"), published(color))
    alpha, scale = (jnp.moveaxis(x, -1, 0) for x in (params.shape_parameters, params.scales))
    if color == "rgb":
        np.testing.assert_allclose(alpha, recorded["rgb/alpha_chw_f64"], rtol=1e-6)
        np.testing.assert_allclose(scale, recorded["rgb/scale_chw_f64"], rtol=1e-6)
    for pair in (0, 5):
        stage = {
            k: recorded[f"{color}/pair{pair}/{k}_chw_f64"]
            for k in ("residual", "transformed", "element_loss")
        }
        coefficients = transform(jnp.asarray(stage["residual"]))
        np.testing.assert_allclose(coefficients, stage["transformed"], rtol=0, atol=1e-6)
        found = likelihood(coefficients, alpha, scale)
        np.testing.assert_allclose(found, stage["element_loss"], rtol=0, atol=1e-5)
