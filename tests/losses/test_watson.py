"""The Watson losses against an independent reference and against values of the authors' code."""

import dataclasses
import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import watson_jax as wj
from tests import references
from tests.derivatives import check_derivatives
from tests.images import changed, formula_image, noise
from watson_jax.losses._watson import api, cpu, stages

NAMES = ("watson-dft", "watson-dct")
COLORS = {"rgb": 3, "gray": 1}

# Values of the authors' code (github SteffenCzolbe/PerceptualSimilarity at 3729dd1fc7e7), float64, one
# pair at a time, on formula_image(1) against formula_image(0): (loss, color, weights) to values at
# 16x16, 24x40, 64x64.
SIZES = ((16, 16), (24, 40), (64, 64))
AUTHORS_VALUES = {
    ("watson-dft", "rgb", "initial"): (28.811051465025912, 96.50959729745036, 444.7789894422378),
    ("watson-dft", "gray", "initial"): (29.194224624852463, 107.50082808421398, 474.92726591031146),
    ("watson-dct", "rgb", "initial"): (1.3839125129398167, 1.8261810800481315, 2.84759079795312),
    ("watson-dct", "gray", "initial"): (2.4350958027169867, 2.899183799437069, 4.32364685566944),
    ("watson-dft", "rgb", "published"): (39.4798354577551, 332.9327964293447, 3899.488683319865),
    ("watson-dft", "gray", "published"): (47.51001546664648, 413.72299515002607, 4861.300944963718),
    ("watson-dct", "rgb", "published"): (2.032771063560931, 3.534880676331634, 7.142256867772119),
    ("watson-dct", "gray", "published"): (32.93853981067358, 126.70745131634227, 545.4979314876314),
}
# The same with 0.98 formula_image(0) + 0.02 formula_image(1) as the distorted image.
AUTHORS_VALUES_NEAR = {
    ("watson-dft", "rgb", "initial"): (0.38757282168282514, 1.2604700621292844, 5.0994006285165785),
    ("watson-dft", "gray", "initial"): (0.3485468108623951, 1.531742691639221, 5.317771731502816),
    ("watson-dct", "rgb", "initial"): (
        0.02804954648997529,
        0.03720501484912967,
        0.05758676996231352,
    ),
    ("watson-dct", "gray", "initial"): (
        0.04875722596783675,
        0.05810619639763997,
        0.08663086920172895,
    ),
    ("watson-dft", "rgb", "published"): (1.168913305677264, 9.135879573057037, 116.89583234824511),
    ("watson-dft", "gray", "published"): (
        1.3609346860029925,
        12.530478712766428,
        161.86152972235797,
    ),
    ("watson-dct", "rgb", "published"): (
        0.040656026053526716,
        0.07069876401668376,
        0.14284719958565537,
    ),
    ("watson-dct", "gray", "published"): (
        0.6587708540008368,
        2.534149253503274,
        10.909959650651086,
    ),
}


def pair(size, channels, near=False):
    distorted, reference = (formula_image(k, *size, channels) for k in (1, 0))
    return (0.98 * reference + 0.02 * distorted if near else distorted), reference


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture(params=COLORS)
def color(request):
    return request.param


@pytest.mark.slow(except_for="rgb-float32")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_authors_values_from_initial_weights(name, color, dtype, x64):
    loss = wj.get_loss(name, color=color, weights="initial")
    for size, expected in zip(SIZES, AUTHORS_VALUES[name, color, "initial"], strict=True):
        value = loss(*(jnp.asarray(x, dtype) for x in pair(size, COLORS[color])))
        np.testing.assert_allclose(value, expected, rtol=2e-4)


def test_authors_values_from_published_weights(name, color, x64, reference_folder):
    loss = wj.get_loss(name, color=color, weights="published")
    for near, table in ((False, AUTHORS_VALUES), (True, AUTHORS_VALUES_NEAR)):
        for size, expected in zip(SIZES, table[name, color, "published"], strict=True):
            value = loss(*map(jnp.asarray, pair(size, COLORS[color], near)))
            np.testing.assert_allclose(value, expected, rtol=2e-4)


def test_near_images_differ_from_the_authors_by_their_epsilons_alone(name, color, x64):
    # Their epsilons inside the pooling and their factor inside arccos raise these small distances by
    # up to 2 %. The reference has them on request, and then gives their value.
    params = wj.load_params(name, color=color, weights="initial")
    distorted, reference = pair(SIZES[0], COLORS[color], near=True)
    with_epsilons = references.watson(params, distorted, reference, authors=True)
    expected = AUTHORS_VALUES_NEAR[name, color, "initial"][0]
    np.testing.assert_allclose(with_epsilons, expected, rtol=1e-6)
    without = references.watson(params, distorted, reference)
    value = wj.get_loss(name, color=color, weights="initial")(
        *map(jnp.asarray, (distorted, reference))
    )
    np.testing.assert_allclose(value, without, rtol=1e-6)
    np.testing.assert_allclose(value, expected, rtol=2e-2)


def random_params(name, color, seed):
    """Parameters with a different value everywhere, in the range of fitted ones."""
    params = wj.load_params(name, color=color, weights="initial")
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: x + 0.3 * rng.standard_normal(x.shape, np.float32).astype(x.dtype), params
    )


@pytest.mark.parametrize("size", [(16, 24), (13, 9), (1, 1)])
def test_independent_reference(name, color, size, x64):
    params = jax.tree.map(lambda x: x.astype("float64"), random_params(name, color, 0))
    image, reference = (noise(seed, *size, COLORS[color]).astype("float64") for seed in (3, 4))
    function = getattr(wj, name.replace("-", "_"))
    expected = references.watson(params, image, reference)
    np.testing.assert_allclose(function(params, image, reference), expected, rtol=1e-8)


@pytest.mark.slow(except_for="watson-dft")
def test_gradients_are_those_of_finite_differences(name, x64):
    params = jax.tree.map(lambda x: np.float64(x), random_params(name, "rgb", 1))
    image, reference = (noise(seed, 16, 16, 3).astype("float64") for seed in (5, 6))
    function = getattr(wj, name.replace("-", "_"))
    # Steps above the scale on which differences of amplitudes change sign would cross kinks.
    check_derivatives(function, (params, image, reference), step=1e-7, rtol=1e-4)


@pytest.mark.slow(except_for="watson-dct")
def test_gradient_agrees_with_finite_differences_of_the_reference(name, x64):
    params = jax.tree.map(lambda x: np.float64(x), random_params(name, "gray", 2))
    image, reference = (np.asarray(noise(seed, 8, 16, 1), np.float64) for seed in (7, 8))
    gradient = jax.jit(jax.grad(getattr(wj, name.replace("-", "_")), argnums=(1, 2)))(
        params, image, reference
    )
    rng = np.random.default_rng(0)
    for _ in range(5):
        direction = rng.normal(size=image.shape)
        for argument, found in enumerate(gradient):
            up, down = (
                references.watson(
                    params,
                    *(
                        x + (i == argument) * step * direction
                        for i, x in enumerate((image, reference))
                    ),
                )
                for step in (1e-7, -1e-7)
            )
            np.testing.assert_allclose(np.sum(found * direction), (up - down) / 2e-7, rtol=1e-4)


@functools.cache
def derivatives(name):
    """Value, gradient and the gradient's derivative along a direction, of colour images of 16x16."""

    @jax.jit
    def run(*at):
        loss = jax.value_and_grad(getattr(wj, name.replace("-", "_")), argnums=(0, 1, 2))
        (value, gradient), (_, second) = jax.jvp(loss, at, jax.tree.map(jnp.cos, at))
        return value, gradient, second

    return run


@pytest.mark.slow(except_for="watson-dft")
def test_second_derivatives(name):
    params = wj.load_params(name, color="rgb", weights="initial")
    flat, other = noise(1, 16, 16, 3), noise(2, 16, 16, 3)
    flat[:8, :8] = 0.5
    for image, reference in ((noise(3, 16, 16, 3), other), (flat, other), (other, flat)):
        chex.assert_tree_all_finite(derivatives(name)(params, image, reference))


@pytest.mark.parametrize(("name", "value"), [("watson-dft", 3354.117), ("watson-dct", 2.918924)])
def test_the_public_example_triplet(name, value, reference_folder, goldens):
    pairs = goldens("pairs_rgb64")
    loss = wj.get_loss(name, color="rgb", weights="published")
    np.testing.assert_allclose(loss(pairs["input"][0], pairs["target"][0]), value, rtol=1e-6)
    if name == "watson-dft":
        # A one-dimensional transform gives 1565 here.
        np.testing.assert_allclose(loss(pairs["input"][1], pairs["target"][1]), 3664.316, rtol=1e-6)


@pytest.mark.slow(except_for="watson-dft-options0")
@pytest.mark.parametrize("options", [{"luminance": "batch"}, {"over_blocks": "mean"}])
def test_every_option_has_its_map(name, options):
    # The map of blocks adds up to the distance.
    loss = wj.get_loss(name, color="rgb", weights="initial", **options)
    image, reference = (noise(seed, 2, 20, 30, 3) for seed in (1, 2))
    blocks = getattr(wj, name.replace("-", "_") + "_map")(loss.params, image, reference, **options)
    chex.assert_shape(blocks, (2, 3, 4))
    np.testing.assert_allclose(blocks.sum((1, 2)), loss(image, reference), rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.4])
def test_phases_against_a_flat_image_are_no_rounding_errors(value, color, x64):
    # Where the authors' epsilon of 1e-10 alone gives a phase to what is 0.
    params = random_params("watson-dft", color, 0)
    reference = noise(1, 16, 16, COLORS[color])
    image = jnp.full_like(reference, value)
    exact = wj.watson_dft(params, image.astype("float64"), reference.astype("float64"))
    np.testing.assert_allclose(wj.watson_dft(params, image, reference), exact, rtol=1e-5)


def test_epsilons_turn_with_the_coefficients(x64):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(2, 40)) * 10.0 ** rng.integers(-11, 0, (2, 40)) for _ in range(2))
    x, y = (jnp.asarray(part[0] + 1j * part[1]).at[:10].set(0) for part in (x, y))
    turned = [(z * cpu.folded.ROTATION) for z in (x, y)]
    add = functools.partial(cpu.formula._add_epsilon, direction=1 + 1j)
    found = jnp.hypot(*add((turned[0].real, turned[0].imag)))
    np.testing.assert_allclose(found, stages.amplitude(x), rtol=1e-12)
    parts = [cpu.formula._add_epsilon((z.real, z.imag), 1) for z in turned]
    found = stages.angle_between(*parts[0], *parts[1])
    np.testing.assert_allclose(found, wj.phase_distance(x, y), atol=1e-12)


def test_map_is_zero_where_images_agree(name):
    loss = wj.get_loss(name, color="rgb", weights="initial")
    reference = noise(1, 24, 24, 3)
    image = changed(reference, (10, 20), 0)
    blocks = getattr(wj, name.replace("-", "_") + "_map")(loss.params, image, reference)
    assert np.argwhere(np.asarray(blocks) > 0).tolist() == [[1, 2]]


@pytest.mark.slow(except_for="watson-dft")
def test_batch_luminance_couples_images_and_image_luminance_does_not(name):
    bright, dark = noise(1, 16, 16, 1), np.float32(0.1) * noise(2, 16, 16, 1)
    image = np.stack([dark, dark])
    alike, mixed = np.stack([bright, bright]), np.stack([bright, dark])
    single = wj.get_loss(name, color="gray", weights="initial")
    coupled = wj.get_loss(name, color="gray", weights="initial", luminance="batch")
    expected = single(image, alike)[0]
    np.testing.assert_allclose(single(image, mixed)[0], expected, rtol=1e-6)
    assert abs(coupled(image, mixed)[0] / expected - 1) > 1e-3
    np.testing.assert_allclose(coupled(image, alike), [expected] * 2, rtol=1e-6)


@pytest.mark.slow(except_for="watson-dft")
def test_mean_over_blocks_does_not_depend_on_the_size(name):
    loss = wj.get_loss(name, color="rgb", weights="initial", over_blocks="mean")
    image, reference = noise(1, 16, 16, 3), noise(2, 16, 16, 3)
    tiled = loss(jnp.tile(image, (3, 2, 1)), jnp.tile(reference, (3, 2, 1)))
    np.testing.assert_allclose(tiled, loss(image, reference), rtol=1e-5)


def test_phase_floor_bounds_the_gradient_on_black():
    # The phase of a nearly black block is noise, and its gradient grows like 1 / amplitude.
    reference = np.float32(1e-5) * noise(2, 32, 32, 1)
    image = np.float32(1e-4) * noise(1, 32, 32, 1)

    def largest(phase_floor):
        loss = wj.get_loss("watson-dft", color="gray", weights="initial", phase_floor=phase_floor)
        return float(np.abs(jax.jit(jax.grad(loss))(image, reference)).max())

    assert largest(0.0) > 1e3
    assert largest(0.01) < 20


def test_luminance_floor_bounds_the_distance_of_a_cyan_block(reference_folder):
    cyan = jnp.tile(jnp.array([0.0, 1.0, 1.0]), (16, 16, 1))
    image = cyan + 0.01 * noise(1, 16, 16, 3)
    free = wj.get_loss("watson-dft", color="rgb", weights="published")
    bounded = wj.get_loss("watson-dft", color="rgb", weights="published", luminance_floor=0.05)
    reference = cyan.at[:8].set(noise(2, 8, 16, 3))
    assert free(image, reference) > 1e9
    assert bounded(image, reference) < 1e5


def test_floors_do_not_touch_what_lies_above_them():
    params = wj.load_params("watson-dft", color="gray", weights="initial")
    image, reference = (0.4 + 0.2 * noise(seed, 16, 16, 1) for seed in (1, 2))
    plain = wj.watson_dft(params, image, reference)
    floored = wj.watson_dft(params, image, reference, phase_floor=1e-7, luminance_floor=1e-3)
    np.testing.assert_allclose(floored, plain, rtol=1e-6)


def test_one_compile_for_a_shape(name):
    # Whatever object is called, and whether the options are spelled out.
    function = getattr(wj, name.replace("-", "_"))
    params = wj.load_params(name, color="gray", weights="initial")
    before = api._distances._cache_size()
    for seed in range(3):
        wj.get_loss(name, color="gray", weights="initial")(noise(seed, 5, 7, 1), noise(9, 5, 7, 1))
        function(params, noise(seed, 5, 7, 1), noise(9, 5, 7, 1), luminance="image")
    assert api._distances._cache_size() == before + 1


@pytest.mark.slow(except_for="watson-dft")
def test_transforms_are_shared_by_parameter_sets(name):
    # Each image is transformed once, however many parameter sets there are.
    sets = [random_params(name, "rgb", seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *sets)
    function = getattr(wj, name.replace("-", "_"))
    image, reference = noise(1, 16, 16, 3), noise(2, 16, 16, 3)
    sweep = jax.vmap(function, in_axes=(0, None, None))
    one_by_one = [function(params, image, reference) for params in sets]
    np.testing.assert_allclose(sweep(stacked, image, reference), one_by_one, rtol=1e-5)

    def transforms(f, params):
        # Shapes of the products that give coefficients; others add up what is pooled.
        program = str(jax.make_jaxpr(f)(params, image, reference))
        return re.findall(r"f32\[([\d,]+,(?:40|32))\] = dot_general", program)

    assert transforms(sweep, stacked) == transforms(function, sets[0])
    assert len(transforms(function, sets[0])) == 4  # sums, differences


@pytest.mark.slow
def test_forward_mode_in_colour(name, x64):
    params = jax.tree.map(lambda x: x.astype("float64"), random_params(name, "rgb", 0))
    x, y, v = (noise(i, 8, 8, 3).astype("float64") for i in range(3))
    loss = functools.partial(getattr(wj, name.replace("-", "_")), params)
    by_batch = functools.partial(loss, luminance="batch")

    def of_all(a):
        values = [by_batch(x[None], a[None]).sum(), jnp.vdot(jax.grad(loss)(x, a), v)]
        if name == "watson-dft":
            values.append(wj.watson_dft_map(params, a, x).sum())
        return jnp.stack(values)

    run = jax.jit(lambda a: jax.jvp(of_all, (a,), (v,)))
    step = 1e-6 * v
    differences = (run(y + step)[0] - run(y - step)[0]) / 2e-6
    np.testing.assert_allclose(run(y)[1], differences, rtol=1e-4)


@pytest.mark.slow
def test_thresholds_that_vanish_leave_gradients_finite(name):
    params = wj.load_params(name, color="rgb", weights="initial")
    params = dataclasses.replace(params, log_thresholds=params.log_thresholds - 120)
    image, reference = noise(1, 16, 16, 3), noise(2, 16, 16, 3)
    _, gradients, _ = derivatives(name)(params, image, reference)
    chex.assert_tree_all_finite(gradients)


@pytest.mark.parametrize("implementation", ["auto", "plain"])
@pytest.mark.parametrize("name", ["watson-dct", "watson-dft"])
def test_images_that_are_nearly_black_are_at_a_finite_distance(name, implementation):
    loss = wj.get_loss(name, color="gray", weights="initial", implementation=implementation)
    black = jnp.zeros((5, 16, 16, 1))
    faint = black + jnp.float32([1e-30, 1e-17, 1e-8, 1e-3, 0.5])[:, None, None, None]
    block_map = getattr(wj, f"{name.replace('-', '_')}_map")
    for exponent in (0.5, 4.0, 50.0):
        params = dataclasses.replace(loss.params, pooling_exponent=jnp.full(1, exponent))

        def values(x, y, params=params):
            return loss.fn(params, x, y)

        found, pull = jax.vjp(jax.jit(values), faint, black)
        assert np.isfinite(found).all()
        assert (np.diff(found) >= 0).all()
        assert all(np.isfinite(gradient).all() for gradient in pull(jnp.ones(5)))
        assert np.isfinite(block_map(params, faint, black)).all()


@pytest.mark.parametrize("implementation", ["auto", "plain"])
@pytest.mark.parametrize("name", ["watson-dct", "watson-dft"])
def test_any_luminance_exponent_is_finite_on_black(name, implementation):
    loss = wj.get_loss(name, color="gray", weights="initial", implementation=implementation)
    image = jnp.full((16, 16, 1), 0.5).at[:8, :8].set(0)
    with_gradients = jax.jit(jax.value_and_grad(loss.fn, argnums=(0, 1, 2)))
    for alpha in (-10.0, -5.0, 5.0, 10.0):
        params = dataclasses.replace(loss.params, luminance_exponent=jnp.full(1, alpha))
        for other in (image, 0.9 * image + 0.01):
            value, gradients = with_gradients(params, other, image)
            assert np.isfinite(value)
            assert (value == 0) == (other is image)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_identical_black_images_are_at_zero_whatever_the_exponent():
    # (1e-10)^4 takes the threshold, and with it S, to 0 in float32.
    params = wj.load_params("watson-dft", color="rgb", weights="initial")
    params = dataclasses.replace(params, luminance_exponent=np.full(3, 4.5, np.float32))
    image = np.zeros((16, 16, 3), np.float32)
    image[:8, :8] = 0.5
    distance, gradients, _ = derivatives("watson-dft")(params, image, image)
    assert distance == 0
    chex.assert_tree_all_finite(gradients)
