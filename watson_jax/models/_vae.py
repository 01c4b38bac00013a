"""The paper's variational autoencoder for MNIST (supplement, section C)."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

IMAGE_SIZE = 32
"""Height and width of the images this model takes: MNIST's 28, zero-padded by 2."""

_LEAKY_SLOPE = 0.01
_zeros = nnx.initializers.zeros_init()
_HALF = IMAGE_SIZE // 2  # the resolution between encoder and decoder


class VaeOutput(NamedTuple):
    """One pass through a VAE.

    Attributes:
      reconstruction: pixel values in (0, 1), of the input's shape.
      mean: mean of the approximate posterior, shape `[..., latent_size]`.
      log_variance: logarithm of its diagonal covariance, same shape.
    """

    reconstruction: Float[Array, "*batch height width channels"]
    mean: Float[Array, "*batch latent"]
    log_variance: Float[Array, "*batch latent"]


class MnistVAE(nnx.Module):
    """Convolutional VAE for 32×32 grey images, layer for layer the paper's by default.

    With the default sizes it has 33,662,757 parameters; nearly all of them sit in the two dense
    layers at half resolution, so smaller `features` and `hidden` make it fast on a CPU.

    Args:
      key: `jax.random` key of the initial parameters.
      latent_size: number of latent variables.
      features: channels of the convolutions at full and at half resolution.
      hidden: width of the dense layers before and after the latent.

    Example:
      >>> model = MnistVAE(jax.random.key(0), features=(4, 8), hidden=16)
      >>> output = model(jnp.zeros((5, 32, 32, 1)), key=jax.random.key(1))
      >>> output.reconstruction.shape, output.mean.shape
      ((5, 32, 32, 1), (5, 2))
    """

    def __init__(
        self,
        key: PRNGKeyArray,
        *,
        latent_size: int = 2,
        features: tuple[int, int] = (32, 64),
        hidden: int = 1024,
    ):
        fine, coarse = features
        self.latent_size = latent_size
        self.encoder_conv_fine = _conv(1, fine)
        self.encoder_conv_coarse = _conv(fine, coarse)
        self.encoder_dense = _dense(_HALF * _HALF * coarse, hidden)
        self.mean = _dense(hidden, latent_size)
        self.log_variance = _dense(hidden, latent_size)
        self.decoder_dense = _dense(latent_size, hidden)
        self.decoder_unflatten = _dense(hidden, _HALF * _HALF * coarse)
        self.decoder_conv_coarse = _conv(coarse, coarse)
        self.decoder_conv_fine_1 = _conv(coarse, fine)
        self.decoder_conv_fine_2 = _conv(fine, fine)
        self.decoder_conv_out = _conv(fine, 1)
        _start_as_pytorch(self, key)

    def encode(
        self, image: Float[Array, "*batch 32 32 1"]
    ) -> tuple[Float[Array, "*batch latent"], Float[Array, "*batch latent"]]:
        """Returns mean and log-variance of the approximate posterior of each image.

        Raises:
          ValueError: if the images are not 32×32×1.
        """
        if image.shape[-3:] != (IMAGE_SIZE, IMAGE_SIZE, 1):
            raise ValueError(
                f"`image` must have shape [..., 32, 32, 1] for MnistVAE, got {image.shape}."
            )
        x = _max_pool(_leaky(self.encoder_conv_fine(image)))
        x = _leaky(self.encoder_conv_coarse(x))
        x = jax.nn.relu(self.encoder_dense(x.reshape(*x.shape[:-3], -1)))
        return self.mean(x), self.log_variance(x)

    def decode(self, latent: Float[Array, "*batch latent"]) -> Float[Array, "*batch 32 32 1"]:
        """Returns the image that each latent stands for, pixel values in (0, 1)."""
        x = jax.nn.relu(self.decoder_dense(latent))
        x = jax.nn.relu(self.decoder_unflatten(x))
        x = x.reshape(*x.shape[:-1], _HALF, _HALF, -1)
        x = upsample_twice(_leaky(self.decoder_conv_coarse(x)))
        x = _leaky(self.decoder_conv_fine_1(x))
        x = _leaky(self.decoder_conv_fine_2(x))
        return jax.nn.sigmoid(self.decoder_conv_out(x))

    def __call__(self, image: Float[Array, "*batch 32 32 1"], *, key: PRNGKeyArray) -> VaeOutput:
        """Encodes, draws one latent per image with `key`, and decodes."""
        mean, log_variance = self.encode(image)
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        latent = mean + jnp.exp(0.5 * log_variance) * noise
        return VaeOutput(self.decode(latent), mean, log_variance)


def upsample_twice(
    image: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch 2*height 2*width channels"]:
    """Bilinear interpolation to twice the size, corner pixels on corner pixels.

    `jax.image.resize` aligns the outer *edges* of the corner pixels instead; the paper's model
    needs the centres. Two small matrix products, one for each axis, are fast on every backend.

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


def _leaky(x: Array) -> Array:
    return jax.nn.leaky_relu(x, _LEAKY_SLOPE)


def _max_pool(x: Array) -> Array:
    """Largest of each 2×2 pixels; a reshape, since the gradient of windowed pooling is slow."""
    *batch, height, width, channels = x.shape
    return x.reshape(*batch, height // 2, 2, width // 2, 2, channels).max(axis=(-4, -2))


def _conv(inputs: int, outputs: int) -> nnx.Conv:
    return nnx.Conv(inputs, outputs, (3, 3), kernel_init=_zeros, rngs=nnx.Rngs(0))


def _dense(inputs: int, outputs: int) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=_zeros, rngs=nnx.Rngs(0))


def _start_as_pytorch(model: nnx.Module, key: PRNGKeyArray) -> None:
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
