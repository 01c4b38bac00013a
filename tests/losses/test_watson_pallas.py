"""The kernels for GPUs: interpreted on a CPU against the formula, and lowered for a GPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import watson_jax as wj
from tests.images import noise

NAMES = ("watson-dft", "watson-dct")


def pair(channels):
    """36 blocks, of two programs and a part, of which some are padded, one is equal and one flat."""
    image, reference = (noise(seed, 2, 44, 48, channels) for seed in (7, 8))
    image[0, :8, :8] = reference[0, :8, :8]
    image[1, 8:16, :8] = 0.5
    return image, reference


def results(loss, implementation, image, reference, **options):
    """Values, and gradients with respect to everything."""

    def total(*arguments):
        values = loss.fn(*arguments, implementation=implementation, **options)
        return jnp.sum(values * jnp.arange(1.0, 3)), values

    run = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))
    return jax.tree.leaves(run(loss.params, image, reference))


def assert_close(found, expected, tolerance):
    """Relative to the norm of each array."""
    for a, b in zip(found, expected, strict=True):
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)


@pytest.mark.parametrize(
    ("color", "weights", "options"),
    [
        ("rgb", "packaged", {}),
        ("gray", "initial", {"luminance": "batch", "over_blocks": "mean", "luminance_floor": 0.3}),
    ],
    ids=("rgb", "gray"),
)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_the_formula(name, color, weights, options):
    loss = wj.get_loss(name, color=color, weights=weights)
    images = pair(3 if color == "rgb" else 1)
    expected = results(loss, "plain", *images, **options)
    # Rounding of float32, in thousands of terms.
    assert_close(results(loss, "pallas", *images, **options), expected, 2e-5)


def test_identical_images_are_at_0_with_gradient_0():
    image = noise(0, 1, 16, 16, 3)
    loss = wj.get_loss("watson-dft", weights="initial", implementation="pallas")
    value, gradient = jax.value_and_grad(lambda x: loss(x, image)[0])(image)
    assert value == 0
    assert not gradient.any()


def test_parameter_sets_and_pairs_at_once():
    loss = wj.get_loss("watson-dft", color="gray", implementation="pallas")
    sets = jax.tree.map(lambda x: jnp.stack([x, x + 0.1]), loss.params)
    image, reference = pair(1)
    found = jax.vmap(loss.fn, (0, None, None))(sets, image, reference[:1].repeat(2, 0))
    for i in range(2):
        params = jax.tree.map(lambda x, i=i: x[i], sets)
        np.testing.assert_allclose(found[i, 0], loss.fn(params, image[0], reference[0]), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_kernels_are_lowered_for_gpus(name):
    run = jax.value_and_grad(wj.get_loss(name, implementation="pallas"))
    image = jax.ShapeDtypeStruct((64, 64, 3), jnp.float32)
    text = jax.jit(run).trace(image, image).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("xla.gpu.triton") == 2


def test_what_the_kernels_cannot_do_is_one_sentence(x64):
    loss = wj.get_loss("watson-dft", implementation="pallas")
    image = jnp.zeros((8, 8, 3))
    with pytest.raises(TypeError, match='"pallas"` computes in float32, got float64 images'):
        loss(image, image)
    mesh = jax.make_mesh((1,), ("devices",), (AxisType.Explicit,))
    image = jax.device_put(np.zeros((1, 8, 8, 3), "float32"), NamedSharding(mesh, PartitionSpec()))
    with pytest.raises(ValueError, match=r"explicit mesh; call the loss under jax\.shard_map"):
        loss(image, image)
