"""The networks under LPIPS are torchvision's: recorded features, and NumPy loops over its layers."""

import hashlib
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.test_vae import formula
from watson_jax.losses._lpips.networks import (
    backbone_features,
    backbone_from_torch,
    backbone_shapes,
    random_backbone,
)
from watson_jax.models._backbones import BACKBONES, MIN_SIZE, Frozen
from watson_jax.weights import CheckpointError, read_torch

# torchvision's `features`: convolutions as (outputs, kernel, stride, padding), fire modules as
# (squeezed, outputs), poolings, and where LPIPS reads.
VGG = [*[(64, 3, 1, 1)] * 2, "tap", "pool2", *[(128, 3, 1, 1)] * 2, "tap", "pool2"]
VGG += [*[(256, 3, 1, 1)] * 3, "tap", "pool2", *[(512, 3, 1, 1)] * 3, "tap", "pool2"]
VGG += [*[(512, 3, 1, 1)] * 3, "tap"]
ALEX = [(64, 11, 4, 2), "tap", "pool3", (192, 5, 1, 2), "tap", "pool3"]
ALEX += [(384, 3, 1, 1), "tap", (256, 3, 1, 1), "tap", (256, 3, 1, 1), "tap"]
SQUEEZE = [(64, 3, 2, 0), "tap", "ceil3", (16, 64), (16, 64), "tap"]
SQUEEZE += ["ceil3", (32, 128), (32, 128), "tap"]
SQUEEZE += ["ceil3", (48, 192), "tap", (48, 192), "tap", (64, 256), "tap", (64, 256), "tap"]
LAYERS = {"vgg": VGG, "alex": ALEX, "squeeze": SQUEEZE}
networks = pytest.mark.parametrize("network", LAYERS)


def torch_convolutions(network):
    """Name, shape (OIHW), stride and padding of every convolution, in torchvision's order."""
    inputs, number, found = 3, 0, []
    for layer in LAYERS[network]:
        match layer:
            case "tap":
                continue
            case str():
                number += 1
            case (outputs, size, stride, padding):
                found.append((str(number), (outputs, inputs, size, size), stride, padding))
                inputs, number = outputs, number + 2  # a ReLU follows
            case (squeezed, outputs):
                found += [
                    (f"{number}.squeeze", (squeezed, inputs, 1, 1), 1, 0),
                    (f"{number}.expand1x1", (outputs, squeezed, 1, 1), 1, 0),
                    (f"{number}.expand3x3", (outputs, squeezed, 3, 3), 1, 1),
                ]
                inputs, number = 2 * outputs, number + 1
    return found


def random_state(network, seed=0):
    """A state dict of torchvision's names and layouts."""
    generator, state = np.random.default_rng(seed), {}
    for name, shape, _, _ in torch_convolutions(network):
        bound = math.sqrt(2 / math.prod(shape[1:]))
        values = generator.standard_normal(shape, np.float32) * np.float32(bound)
        state[f"features.{name}.weight"] = values
        state[f"features.{name}.bias"] = np.float32(generator.uniform(-0.1, 0.1, shape[0]))
    return state


def formula_state(network):
    """The recorded weights, by the formula of the reference folder's README."""
    state = {}
    for index, (name, shape, _, _) in enumerate(torch_convolutions(network)):
        weight = (2 * formula(math.prod(shape), index) - 1) * np.sqrt(6 / math.prod(shape[1:]))
        state[f"features.{name}.weight"] = np.float32(weight).reshape(shape)
        bias = (2 * formula(shape[0], 1000 + index) - 1) * 0.05
        state[f"features.{name}.bias"] = np.float32(bias)
    return state


def recorded_state(network, reference_folder):
    if network == "squeeze":
        name = "squeezenet1_1_features_random_seed20200601.pth"
        return read_torch(reference_folder / "weights" / name)
    return formula_state(network)


def slow_convolution(state, name, x, stride, padding):
    weight, bias = state[f"features.{name}.weight"], state[f"features.{name}.bias"]
    size = weight.shape[-1]
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    height, width = ((n - size) // stride + 1 for n in x.shape[:2])
    result = np.empty((height, width, len(bias)))
    for i in range(height):
        for j in range(width):
            patch = x[i * stride : i * stride + size, j * stride : j * stride + size]
            flat = patch.transpose(2, 0, 1).reshape(-1)
            result[i, j] = weight.reshape(len(bias), -1).astype(float) @ flat + bias
    return np.maximum(result, 0)


def slow_pooling(x, kind):
    size = int(kind[-1])
    rounded = math.ceil if kind.startswith("ceil") else math.floor
    height, width = (rounded((n - size) / 2) + 1 for n in x.shape[:2])
    result = np.empty((height, width, x.shape[2]))
    for i in range(height):
        for j in range(width):
            result[i, j] = x[2 * i : 2 * i + size, 2 * j : 2 * j + size].max((0, 1))
    return result


def slow_features(network, state, x):
    """One image [H, W, 3] through the layers above, in float64 NumPy."""
    convolutions, taps = iter(torch_convolutions(network)), []
    for layer in LAYERS[network]:
        match layer:
            case "tap":
                taps.append(x)
            case str():
                x = slow_pooling(x, layer)
            case (_, _, _, _):
                name, _, stride, padding = next(convolutions)
                x = slow_convolution(state, name, x, stride, padding)
            case (_, _):
                squeeze, one, three = (next(convolutions)[0] for _ in range(3))
                x = slow_convolution(state, squeeze, x, 1, 0)
                x = np.concatenate(
                    [
                        slow_convolution(state, one, x, 1, 0),
                        slow_convolution(state, three, x, 1, 1),
                    ],
                    -1,
                )
    return taps


def widened(weights):
    return jax.tree.map(lambda x: x.astype("float64"), weights)


@pytest.mark.slow(except_for="alex")
@networks
def test_features_equal_loops(network, x64):
    state = random_state(network)
    image = np.random.default_rng(1).standard_normal(
        (MIN_SIZE[network] + 2, MIN_SIZE[network] + 1, 3)
    )
    backbone = widened(backbone_from_torch(state, network))
    features = jax.jit(lambda b, x: backbone_features(network, b, x))(backbone, jnp.asarray(image))
    # The order of the layers survives `jit`, which sorts names.
    found = [(name, x.shape[-1]) for name, x in features.items()]
    assert found == list(BACKBONES[network].TAPS.items())
    for found, expected in zip(
        features.values(), slow_features(network, state, image), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@networks
def test_recorded_features(network, x64, reference_folder, goldens):
    recorded = goldens("lpips")
    prefix = f"lpips_v0.1_{network}_inputs_rescaled_to_pm1"
    state = recorded_state(network, reference_folder)
    backbone = widened(backbone_from_torch(state, network))
    image = goldens("pairs_rgb64")["input"][recorded["pair_indices"][0]].astype("float64")
    # The recorded constants are those of a float32 module.
    shift = np.float32([-0.030, -0.088, -0.188]).astype(float)
    scale = np.float32([0.458, 0.448, 0.450]).astype(float)
    run = jax.jit(lambda b, x: backbone_features(network, b, x))
    features = run(backbone, jnp.asarray((2 * image - 1 - shift) / scale))
    shapes = [(1, x.shape[2], *x.shape[:2]) for x in features.values()]
    np.testing.assert_array_equal(shapes, recorded[f"{prefix}/feature_shapes_nchw"])
    means = [x.mean() for x in features.values()]
    np.testing.assert_allclose(means, recorded[f"{prefix}/feature_mean_f64"], rtol=1e-10)
    stds = [x.std(ddof=1) for x in features.values()]  # PyTorch's default
    np.testing.assert_allclose(stds, recorded[f"{prefix}/feature_std_f64"], rtol=1e-10)


@pytest.mark.parametrize(
    ("network", "key"), [("vgg", "vgg16_features"), ("alex", "alexnet_features")]
)
def test_the_formula_gives_the_recorded_weights(network, key, reference_folder):
    folder = reference_folder / "goldens"
    checks = json.loads((folder / "lpips_formula_weights_checks.json").read_text())[key]
    arrays = list(formula_state(network).values())
    for check, weight, bias in zip(checks, arrays[::2], arrays[1::2], strict=True):
        both = hashlib.sha256(weight.tobytes() + bias.tobytes())
        assert both.hexdigest() == check["sha256_float32_le"]


@networks
def test_the_smallest_size(network):
    backbone, size = backbone_shapes(network), MIN_SIZE[network]

    def shapes(size):
        image = jax.ShapeDtypeStruct((size, size + 5, 3), jnp.float32)
        return jax.eval_shape(lambda b, x: backbone_features(network, b, x), backbone, image)

    smallest = min(x.shape[0] for x in shapes(size).values())
    assert smallest == 1
    with pytest.raises(ValueError, match=f"at least {size} for .*Net|at least {size} for Vgg16"):
        shapes(size - 1)


def test_weights_are_frozen_and_split_from_what_trains():
    model = nnx.eval_shape(BACKBONES["squeeze"])
    _, trained, frozen = nnx.split(model, nnx.Param, Frozen)
    assert not jax.tree.leaves(trained)
    assert sum(x.size for x in jax.tree.leaves(frozen)) == 722_496  # 1,235,496 less the classifier
    assert sum(x.size for x in jax.tree.leaves(backbone_shapes("vgg"))) == 14_714_688
    assert sum(x.size for x in jax.tree.leaves(backbone_shapes("alex"))) == 2_469_696


@pytest.mark.slow
def test_any_leading_axes():
    backbone = random_backbone("alex", 0)
    images = jax.random.normal(jax.random.key(1), (2, 3, 31, 33, 3))
    run = jax.jit(lambda x: backbone_features("alex", backbone, x))
    of_all, of_one = run(images), run(images[1, 2])
    for name, x in of_all.items():
        np.testing.assert_allclose(x[1, 2], of_one[name], rtol=1e-4, atol=1e-5)


def test_every_wrong_name_is_listed_at_once():
    state = random_state("squeeze")
    assert backbone_from_torch({**state, "classifier.1.bias": np.zeros(9)}, "squeeze")
    bare = {name.removeprefix("features."): x for name, x in state.items()}
    jax.tree.map(
        np.testing.assert_array_equal,
        backbone_from_torch(bare, "squeeze"),
        backbone_from_torch(state, "squeeze"),
    )
    del state["features.3.squeeze.bias"]
    state["features.0.weight"] = state["features.0.weight"][:, :1]
    state["features.12.expand3x3.bias"] = np.full(256, np.nan)
    state["features.13.weight"] = np.zeros(3)
    with pytest.raises(CheckpointError, match="these are not the features of SqueezeNet") as caught:
        backbone_from_torch(state, "squeeze")
    for part in (
        "features.3.squeeze.bias is missing",
        "features.0.weight has the shape (64, 1, 3, 3), not (64, 3, 3, 3)",
        "features.12.expand3x3.bias has entries that are not finite",
        "features.13.weight is unexpected",
    ):
        assert part in str(caught.value)
    with pytest.raises(CheckpointError, match=r"features\.2\.weight is missing.* more$"):
        backbone_from_torch(state, "vgg")
