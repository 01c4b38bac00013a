"""The functional boundary of the networks of LPIPS: plain dictionaries of arrays in, features out."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from watson_jax.models._backbones import BACKBONES, Features
from watson_jax.weights import CheckpointError

Backbone = dict[str, Any]
"""The weights of a network by the names of its layers, such as `["conv1_1"]["kernel"]`."""

# Where torchvision has each layer: its number in the sequence `features`.
_TORCH_NUMBERS = {
    "vgg": {
        "conv1_1": 0,
        "conv1_2": 2,
        "conv2_1": 5,
        "conv2_2": 7,
        "conv3_1": 10,
        "conv3_2": 12,
        "conv3_3": 14,
        "conv4_1": 17,
        "conv4_2": 19,
        "conv4_3": 21,
        "conv5_1": 24,
        "conv5_2": 26,
        "conv5_3": 28,
    },
    "alex": {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10},
    "squeeze": {
        "conv1": 0,
        "fire2": 3,
        "fire3": 4,
        "fire4": 6,
        "fire5": 7,
        "fire6": 9,
        "fire7": 10,
        "fire8": 11,
        "fire9": 12,
    },
}
_PREFIX = "features."
_IGNORED = "classifier."
_NAMED = 10


def backbone_features(
    network: str, backbone: Backbone, image: Float[Array, "*batch height width 3"]
) -> Features:
    """Runs a network.

    Args:
      network: "vgg", "squeeze" or "alex".
      backbone: its weights, in the dtype of the images.
      image: images as the network was trained on, shifted and scaled.

    Returns:
      The layers that LPIPS compares by name, first layer first.

    Raises:
      ValueError: if the images are too small.
    """
    graphdef, _ = _boundary(network)
    return nnx.merge(graphdef, backbone)(image)


def backbone_shapes(network: str) -> Backbone:
    """The shapes of a network's weights, at no cost.

    Args:
      network: "vgg", "squeeze" or "alex".

    Returns:
      Its weights, with a `jax.ShapeDtypeStruct` for each array.
    """
    return _boundary(network)[1]


def linear_shapes(network: str) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of LPIPS's linear weights for a network.

    Args:
      network: "vgg", "squeeze" or "alex".

    Returns:
      A `jax.ShapeDtypeStruct` of the shape `[channels]` for each compared layer, first layer first.
    """
    return {
        tap: jax.ShapeDtypeStruct((channels,), jnp.float32)
        for tap, channels in BACKBONES[network].TAPS.items()
    }


def random_backbone(network: str, seed: int) -> Backbone:
    """Weights as they are before training, for tests: such features mean nothing to people.

    Args:
      network: "vgg", "squeeze" or "alex".
      seed: of NumPy's generator, since `jax.random` compiles for every shape anew.

    Returns:
      float32 weights: kernels that keep the size of what passes, biases 0.
    """
    generator = np.random.default_rng(seed)

    def weights(shape: jax.ShapeDtypeStruct) -> jax.Array:
        if len(shape.shape) == 1:
            return jnp.zeros(shape.shape, shape.dtype)
        values = generator.standard_normal(shape.shape, np.float32)
        return jnp.asarray(values * np.float32(np.sqrt(2 / np.prod(shape.shape[:-1]))))

    return jax.tree.map(weights, backbone_shapes(network))


def backbone_from_torch(state: Mapping[str, ArrayLike], network: str) -> Backbone:
    """Converts torchvision's state dict of a network, or of its `features` alone.

    Args:
      state: arrays, or tensors of PyTorch on the CPU, by torchvision's names; those of the classifier
        are ignored.
      network: "vgg", "squeeze" or "alex".

    Returns:
      float32 weights for `backbone_features`.

    Raises:
      CheckpointError: if a name is missing or unexpected, or an array has the wrong shape or entries
        that are not finite; the first ten are named.
    """
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in state) else ""
    problems: list[str] = []
    expected = set()

    def convert(path, shape) -> np.ndarray:
        layer, *inner, kind = (entry.key for entry in path)
        number = str(_TORCH_NUMBERS[network][layer])
        torch_kind = {"kernel": "weight", "bias": "bias"}[kind]
        name = prefix + ".".join([number, *inner, torch_kind])
        expected.add(name)
        wanted = shape.shape
        if kind == "kernel":
            wanted = (wanted[3], wanted[2], wanted[0], wanted[1])
        array = _take(state, name, wanted, problems)
        return np.transpose(array, (2, 3, 1, 0)) if kind == "kernel" else array

    weights = jax.tree_util.tree_map_with_path(convert, backbone_shapes(network))
    problems += [
        f"{name} is unexpected"
        for name in state
        if name not in expected and not name.startswith(_IGNORED)
    ]
    _raise(f"the features of {BACKBONES[network].__name__}", problems)
    return jax.tree.map(jnp.asarray, weights)


def linear_from_torch(
    state: Mapping[str, ArrayLike], network: str
) -> dict[str, Float[Array, " channels"]]:
    """Converts the linear weights of LPIPS as its package, or the paper's authors, saved them.

    Args:
      state: the arrays, named `lin0.model.1.weight` and so on.
      network: the network for which they were fitted.

    Returns:
      One float32 weight for each channel of each layer, by the layer's name.

    Raises:
      CheckpointError: as for `backbone_from_torch`.
    """
    problems: list[str] = []
    shapes = linear_shapes(network)
    names = {tap: f"lin{i}.model.1.weight" for i, tap in enumerate(shapes)}
    linear = {
        tap: _take(state, names[tap], (1, *shape.shape, 1, 1), problems).reshape(-1)
        for tap, shape in shapes.items()
    }
    problems += [f"{name} is unexpected" for name in state if name not in names.values()]
    _raise(f"the linear weights of LPIPS for {network!r}", problems)
    return {tap: jnp.asarray(weights) for tap, weights in linear.items()}


@functools.cache
def _boundary(network: str) -> tuple[Any, Backbone]:
    model = nnx.eval_shape(BACKBONES[network])
    graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def _take(
    state: Mapping[str, ArrayLike], name: str, shape: tuple[int, ...], problems: list[str]
) -> np.ndarray:
    """The array `name` as float32, or a stand-in and a further entry in `problems`."""
    if name not in state:
        problems.append(f"{name} is missing")
        return np.zeros(shape, np.float32)
    array = np.asarray(state[name])
    if array.shape != shape:
        problems.append(f"{name} has the shape {array.shape}, not {shape}")
    elif array.dtype.kind != "f":
        problems.append(f"{name} holds {array.dtype}, no floating point numbers")
    elif not np.all(np.isfinite(array)):
        problems.append(f"{name} has entries that are not finite")
    else:
        return np.asarray(array, np.float32)
    return np.zeros(shape, np.float32)


def _raise(what: str, problems: list[str]) -> None:
    if problems:
        more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise CheckpointError(f"these are not {what}: {', '.join(problems[:_NAMED])}{more}")
