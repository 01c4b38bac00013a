"""Losses, maps and shifts of batches on four devices; `test_sharding.py` starts a process for them.

Every loss has a gradient with weights of both signs over the devices, so that one that is added up over
devices too often, or not at all, shows.
"""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import watson_jax as wj
from tests.example_losses import NAMES, SIZE, example_loss
from tests.images import noise
from watson_jax.losses import _pairs
from watson_jax.models._conv import conv_3x3

DEVICES, PAIRS = 4, 8
WEIGHTS = np.float32([1, -1, 2, 1, -3, 0.5, -1, -0.5])
BATCH, SAME = P("devices"), P()

# L1 is as L2 here, and the networks of LPIPS differ by their layers alone.
LOSSES = [name for name in NAMES if name not in ("l1", "lpips-vgg", "lpips-squeeze")]

pytestmark = pytest.mark.skipif(jax.device_count() != DEVICES, reason="needs four devices")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """More than one piece for each device."""
    monkeypatch.setattr(_pairs, "PIECE_SIZE", SIZE * SIZE * 3)


def mesh(kind):
    return jax.make_mesh((DEVICES,), ("devices",), (kind,))


def pair():
    return tuple(np.asarray(noise(seed, PAIRS, SIZE, SIZE, 3)) for seed in (1, 2))


def weighted(fn, params, image, reference, weights=WEIGHTS):
    return jnp.sum(weights * fn(params, image, reference))


def assert_close(found, expected):
    """Relative to the norm of each array."""
    for a, b in zip(*map(jax.tree.leaves, jax.device_get((found, expected))), strict=True):
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b)


def values_and_gradients(fn, params, image, reference, weights=WEIGHTS):
    """The values, and the gradients of their weighted sum."""

    def total(*arguments):
        values = fn(*arguments)
        return jnp.sum(weights * values), values

    gradients, values = jax.grad(total, (0, 1, 2), has_aux=True)(params, image, reference)
    return values, gradients


@functools.cache
def on_one_device(name):
    """Compiled once for all tests of a loss."""
    return jax.jit(functools.partial(values_and_gradients, example_loss(name, "rgb").fn))


def expected_of(name, images=None, weights=WEIGHTS):
    """Values and gradients on one device."""
    images = pair() if images is None else images
    return jax.device_get(on_one_device(name)(example_loss(name, "rgb").params, *images, weights))


def run(fn, *arguments):
    """Compiles, makes sure that nothing as large as an image is gathered, and runs."""
    compiled = jax.jit(fn).lower(*arguments).compile()
    for shape in re.findall(r"= \w+\[([\d,]*)\]\S* all-gather", compiled.as_text()):
        assert math.prod(map(int, shape.split(","))) < PAIRS * SIZE * SIZE, shape
    return compiled(*arguments)


def over_batch(found):
    return all(
        leaf.sharding.spec[0] == "devices" and leaf.shape[0] == PAIRS
        for leaf in jax.tree.leaves(found)
    )


# Automatic axes leave the work to the compiler, for which one loss stands for all.
@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, AxisType.Explicit) for name in LOSSES] + [("watson-dft", AxisType.Auto)],
    ids=str,
)
def test_losses_keep_the_batch_where_it_is(name, kind):
    loss = example_loss(name, "rgb")
    with jax.set_mesh(used := mesh(kind)):
        params = jax.device_put(loss.params, NamedSharding(used, SAME))
        images = jax.device_put(pair(), NamedSharding(used, BATCH))
        found = run(functools.partial(values_and_gradients, loss.fn), params, *images)
        values, gradients = found
        assert over_batch([values, gradients[1:]])
    assert_close(found, expected_of(name))


@pytest.mark.parametrize("name", ["ssim", "watson-dct", "watson-dft"])
def test_gradients_under_shard_map_are_the_true_ones(name):
    loss = example_loss(name, "rgb")

    def total(*arguments):
        return jax.lax.psum(weighted(loss.fn, *arguments), "devices")

    spread = jax.shard_map(
        total, mesh=mesh(AxisType.Auto), in_specs=(SAME, BATCH, BATCH, BATCH), out_specs=SAME
    )
    gradient = jax.grad(spread, argnums=(0, 1, 2))
    found = run(gradient, loss.params, *pair(), WEIGHTS)
    assert_close(found, expected_of(name)[1])


def test_gradients_are_taken_inside_of_shard_map_too():
    loss = example_loss("watson-dft", "rgb")

    def gradient(*arguments):
        return jax.grad(
            lambda *a: jax.lax.psum(weighted(loss.fn, *a), "devices"), argnums=(0, 1, 2)
        )(*arguments)

    specs = (SAME, BATCH, BATCH)
    spread = jax.shard_map(
        gradient, mesh=mesh(AxisType.Auto), in_specs=(*specs, BATCH), out_specs=specs
    )
    found = run(spread, loss.params, *pair(), WEIGHTS)
    assert_close(found, expected_of("watson-dft")[1])


def one_with_many(name):
    """The weighted sum over comparisons of one image with many, and its gradient on one device."""
    loss = example_loss(name, "rgb")
    (image, *_), reference = pair()

    def total(params, image, reference, weights):
        repeated = jnp.broadcast_to(image, reference.shape)
        return weighted(loss.fn, params, repeated, reference, weights)

    repeated = np.broadcast_to(image, reference.shape)
    _, (of_params, of_images, of_reference) = expected_of(name, (repeated, reference))
    arguments = loss.params, image, reference, WEIGHTS
    return total, arguments, (of_params, of_images.sum(0), of_reference)


def test_one_image_compared_with_many():
    total, (params, image, reference, weights), expected = one_with_many("ssim")
    with jax.set_mesh(used := mesh(AxisType.Explicit)):
        reference = jax.device_put(reference, NamedSharding(used, BATCH))
        gradient = jax.grad(total, argnums=(1, 2))
        found = jax.jit(gradient)(params, image, reference, weights)
    assert_close(found, expected[1:])


def test_maps_shifts_and_transforms():
    losses = [example_loss(name, "rgb") for name in ("watson-dft", "watson-dct")]

    def everything(image, reference):
        cut_image, cut_reference = image[:, :-2, :-2], reference[:, :-2, :-2]
        return (
            wj.watson_dft_map(losses[0].params, cut_image, cut_reference),
            wj.watson_dct_map(losses[1].params, image, reference),
            wj.watson_dft(losses[0].params, image, reference, luminance="batch"),
            wj.random_grid_shift(jax.random.key(0), image, reference),
            wj.inverse_block_dft(wj.block_dft(image)),
            wj.inverse_block_dct(wj.block_dct(image)),
            wj.ycbcr_to_rgb(wj.rgb_to_ycbcr(image)),
        )

    expected = jax.jit(everything)(*pair())
    _, (_, alone, _) = expected_of("watson-dft", weights=np.ones_like(WEIGHTS))

    def and_gradients(*images):
        return everything(*images), jax.vmap(jax.grad(losses[0]))(*images)

    with jax.set_mesh(used := mesh(AxisType.Explicit)):
        found = run(and_gradients, *jax.device_put(pair(), NamedSharding(used, BATCH)))
        assert over_batch(found)
    assert_close(found, (expected, alone))


@pytest.mark.parametrize(
    ("name", "spec"),
    [("ssim", P(None, None, "devices")), ("watson-dft", P(None, "devices"))],
    ids=str,
)
def test_images_that_are_split_over_devices(name, spec):
    loss, key = example_loss(name, "rgb"), jax.random.key(0)

    def gradient(image, reference):
        shifted = wj.random_grid_shift(key, image, reference)
        return jax.grad(functools.partial(weighted, loss.fn, loss.params))(*shifted)

    shifted = jax.device_get(wj.random_grid_shift(key, *pair()))
    _, (_, of_image, _) = expected_of(name, shifted)
    with jax.set_mesh(used := mesh(AxisType.Explicit)):
        found = jax.jit(gradient)(*jax.device_put(pair(), NamedSharding(used, spec)))
    assert_close(found, of_image)


def test_a_shift_for_each_image():
    keys = jax.random.split(jax.random.key(0), PAIRS)
    image, (reference, *_) = pair()
    shift = jax.vmap(wj.random_grid_shift, in_axes=(0, 0, None))
    expected = shift(keys, image, reference)
    with jax.set_mesh(used := mesh(AxisType.Explicit)):
        spread = jax.device_put((keys, image), NamedSharding(used, BATCH))
        found = run(shift, *spread, jax.device_put(reference, NamedSharding(used, SAME)))
        assert over_batch(found)
    assert_close(found, expected)


@pytest.mark.parametrize(
    ("channels", "kind"),
    [(4, AxisType.Explicit), (32, AxisType.Auto), (32, AxisType.Explicit), (32, AxisType.Manual)],
    ids=str,
)
def test_convolution(kind, channels):
    image, kernel = noise(1, PAIRS, 8, 8, channels), noise(2, 3, 3, channels, channels)
    image, kernel = np.asarray(image) - 0.5, np.asarray(kernel) - 0.5

    def total(conv, image, kernel):
        return jnp.sum(conv(image, kernel) ** 2)

    native = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    expected = jax.jit(jax.grad(functools.partial(total, native), (0, 1)))(image, kernel)
    if kind == AxisType.Manual:
        spread = jax.shard_map(
            lambda *x: jax.lax.psum(total(conv_3x3, *x), "devices"),
            mesh=mesh(AxisType.Auto),
            in_specs=(BATCH, SAME),
            out_specs=SAME,
        )
        found = jax.jit(jax.grad(spread, (0, 1)))(image, kernel)
    else:
        with jax.set_mesh(used := mesh(kind)):
            image = jax.device_put(image, NamedSharding(used, BATCH))
            kernel = jax.device_put(kernel, NamedSharding(used, SAME))
            found = jax.jit(jax.grad(functools.partial(total, conv_3x3), (0, 1)))(image, kernel)
            assert over_batch(found[0])
    assert_close(found, expected)


def test_shard_map_without_jit():
    loss = wj.get_loss("watson-dct", color="gray")
    images, reference = noise(1, 4, 8, 8, 1), jnp.asarray(noise(2, 8, 8, 1))
    spread = jax.shard_map(
        jax.vmap(lambda image: loss(image, reference)),
        mesh=mesh(AxisType.Auto),
        in_specs=BATCH,
        out_specs=BATCH,
    )
    assert_close(spread(images), jax.vmap(loss, (0, None))(images, reference))


@pytest.mark.parametrize("bands", [False, True], ids=["whole", "bands"])
def test_one_image_compared_with_many_under_shard_map(bands, monkeypatch):
    total, arguments, expected = one_with_many("watson-dct")
    if bands:
        monkeypatch.setattr(_pairs, "LARGE_IMAGE", SIZE * SIZE)
        jax.clear_caches()  # The size is read when a shape is compiled.
    spread = jax.shard_map(
        lambda *arguments: jax.lax.psum(total(*arguments), "devices"),
        mesh=mesh(AxisType.Auto),
        in_specs=(SAME, SAME, BATCH, BATCH),
        out_specs=SAME,
    )
    found = run(jax.grad(spread, argnums=(0, 1, 2)), *arguments)
    assert_close(found, expected)
    if bands:
        jax.clear_caches()
