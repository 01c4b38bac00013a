"""The layers that the paper's VAEs are made of, with PyTorch's conventions."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from watson_jax.models._conv import conv_general_dilated

_LEAKY_SLOPE = 0.01
_zeros = nnx.initializers.zeros_init()


def upsample_twice(
    image: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch 2*height 2*width channels"]:
    """Bilinear interpolation to twice the size, corner pixels on corner pixels.

    `jax.image.resize` aligns the outer *edges* of the corner pixels instead; the paper's models
    need the centres. Two small matrix products, one for each axis, are fast on every backend.

    Example:
      >>> upsample_twice(jnp.array([0.0, 3.0]).reshape(1, 2, 1))[0, :, 0].tolist()
      [0.0, 1.0, 2.0, 3.0]
    """
    rows = _interpolation_matrix(image.shape[-3]).astype(image.dtype)
    columns = _interpolation_matrix(image.shape[-2]).astype(image.dtype)
    return jnp.einsum("Hh,...hwc,Ww->...HWc", rows, image, columns)


def _interpolation_matrix(size: int) -> np.ndarray:
    """Linear interpolation from `size` to `2 * size` points as a matrix `[2 * size, size]`."""
    position = np.linspace(0, size - 1, 2 * size)  # both ends included: aligned corners
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(size)))


def leaky(x: Array) -> Array:
    """Leaky ReLU."""
    return jax.nn.leaky_relu(x, _LEAKY_SLOPE)


def max_pool(x: Array) -> Array:
    """Largest of each 2×2 pixels; a reshape, since the gradient of windowed pooling is slow."""
    *batch, height, width, channels = x.shape
    return x.reshape(*batch, height // 2, 2, width // 2, 2, channels).max(axis=(-4, -2))


class BatchNorm(nnx.BatchNorm):
    """Normalises each channel over all other axes, as PyTorch does it.

    `train()` and `eval()` of the model around it choose between the statistics of the batch, which also
    move the running ones, and the running ones.
    """

    def __init__(self, features: int):
        # A tenth of the running statistics is new: a momentum of 0.1 in PyTorch, of 0.9 in Flax.
        super().__init__(features, momentum=0.9, use_fast_variance=False, rngs=nnx.Rngs(0))

    def __call__(self, x: Array) -> Array:  # type: ignore[override]
        old = self.momentum * self.var[...]
        normalized = super().__call__(x)
        if not self.use_running_average:
            # The batch is divided by its own variance, but what is kept is the unbiased estimate.
            number = x.size // x.shape[-1]
            self.var[...] = old + (self.var[...] - old) * (number / (number - 1))
        return normalized


def conv(inputs: int, outputs: int) -> nnx.Conv:
    """3×3 convolution, zero-padded to keep the size."""
    return nnx.Conv(
        inputs,
        outputs,
        (3, 3),
        conv_general_dilated=conv_general_dilated,
        kernel_init=_zeros,
        rngs=nnx.Rngs(0),
    )


def dense(inputs: int, outputs: int) -> nnx.Linear:
    """Fully connected layer."""
    return nnx.Linear(inputs, outputs, kernel_init=_zeros, rngs=nnx.Rngs(0))


def start_as_pytorch(model: nnx.Module, key: PRNGKeyArray) -> None:
    """Draws all kernels and biases from ±1/√fan_in: PyTorch's default, so the authors' start.

    One draw for all layers, because on a CPU each separate draw takes half a second to compile.
    """
    layers = [x for x in vars(model).values() if isinstance(x, (nnx.Conv, nnx.Linear))]
    # (parameter, fan-in of its layer); typed loosely, since Flax declares a bias optional.
    parameters: list[tuple[Any, int]] = [
        (parameter, math.prod(layer.kernel.shape[:-1]))
        for layer in layers
        for parameter in (layer.kernel, layer.bias)
    ]
    draws = _uniform_arrays(key, tuple(parameter.shape for parameter, _ in parameters))
    for (parameter, fan_in), draw in zip(parameters, draws, strict=True):
        parameter[...] = draw / math.sqrt(fan_in)


@functools.partial(jax.jit, static_argnames="shapes")
def _uniform_arrays(key: PRNGKeyArray, shapes: tuple[tuple[int, ...], ...]) -> list[Array]:
    """One array of each shape, uniform in [-1, 1)."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    flat = jax.random.uniform(key, (int(ends[-1]),), jnp.float32, -1, 1)
    parts = jnp.split(flat, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
