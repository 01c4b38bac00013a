"""The paper's variational autoencoders, for MNIST and for CelebA (supplement, section C)."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from watson_jax.models._layers import (
    BatchNorm,
    conv,
    dense,
    leaky,
    max_pool,
    start_as_pytorch,
    upsample_twice,
)

_COARSE = 16  # the resolution between encoder and decoder, of both models


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


class _Vae(nnx.Module):
    """What both models share: all but their convolutions.

    Attributes:
      image_shape: height, width and channels of the images the model takes.
      latent_size: number of latent variables.
    """

    image_shape: ClassVar[tuple[int, int, int]]
    latent_size: int
    encoder_dense: nnx.Linear
    mean: nnx.Linear
    log_variance: nnx.Linear
    decoder_dense: nnx.Linear
    decoder_unflatten: nnx.Linear

    def encode(
        self, image: Float[Array, "*batch height width channels"]
    ) -> tuple[Float[Array, "*batch latent"], Float[Array, "*batch latent"]]:
        """Returns mean and log-variance of the approximate posterior of each image.

        Raises:
          ValueError: if the images are not of the model's `image_shape`.
        """
        if image.shape[-3:] != self.image_shape:
            raise ValueError(
                f"`image` must have shape [..., {', '.join(map(str, self.image_shape))}] for "
                f"{type(self).__name__}, got {image.shape}."
            )
        x = self._down(image)
        x = jax.nn.relu(self.encoder_dense(x.reshape(*x.shape[:-3], -1)))
        return self.mean(x), self.log_variance(x)

    def decode(
        self, latent: Float[Array, "*batch latent"]
    ) -> Float[Array, "*batch height width channels"]:
        """Returns the image that each latent stands for, pixel values in (0, 1)."""
        x = jax.nn.relu(self.decoder_dense(latent))
        x = jax.nn.relu(self.decoder_unflatten(x))
        return jax.nn.sigmoid(self._up(x.reshape(*x.shape[:-1], _COARSE, _COARSE, -1)))

    def __call__(
        self, image: Float[Array, "*batch height width channels"], *, key: PRNGKeyArray
    ) -> VaeOutput:
        """Encodes, draws one latent per image with `key`, and decodes."""
        mean, log_variance = self.encode(image)
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        latent = mean + jnp.exp(0.5 * log_variance) * noise
        return VaeOutput(self.decode(latent), mean, log_variance)

    def _down(self, image: Array) -> Array:
        """From the image to features at the coarse resolution."""
        raise NotImplementedError

    def _up(self, x: Array) -> Array:
        """From features at the coarse resolution to the image, before the sigmoid."""
        raise NotImplementedError


class MnistVAE(_Vae):
    """Convolutional VAE for 32×32 grey images, MNIST's zero-padded by 2; the paper's by default.

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

    image_shape = (32, 32, 1)

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
        self.encoder_conv_fine = conv(1, fine)
        self.encoder_conv_coarse = conv(fine, coarse)
        self.encoder_dense = dense(_COARSE * _COARSE * coarse, hidden)
        self.mean = dense(hidden, latent_size)
        self.log_variance = dense(hidden, latent_size)
        self.decoder_dense = dense(latent_size, hidden)
        self.decoder_unflatten = dense(hidden, _COARSE * _COARSE * coarse)
        self.decoder_conv_coarse = conv(coarse, coarse)
        self.decoder_conv_fine_1 = conv(coarse, fine)
        self.decoder_conv_fine_2 = conv(fine, fine)
        self.decoder_conv_out = conv(fine, 1)
        start_as_pytorch(self, key)

    def _down(self, image: Array) -> Array:
        x = max_pool(leaky(self.encoder_conv_fine(image)))
        return leaky(self.encoder_conv_coarse(x))

    def _up(self, x: Array) -> Array:
        x = upsample_twice(leaky(self.decoder_conv_coarse(x)))
        x = leaky(self.decoder_conv_fine_1(x))
        x = leaky(self.decoder_conv_fine_2(x))
        return self.decoder_conv_out(x)


class CelebAVAE(_Vae):
    """Convolutional VAE for 64×64 colour images, layer for layer the paper's by default.

    With the default sizes it has 136,348,547 parameters, nearly all in the two dense layers at quarter
    resolution. Its encoder normalises: a new model by the statistics of each batch, which also move the
    running ones, and after `model.eval()` by those; `model.train()` leads back. Running statistics are
    variables of their own kind: `nnx.split(model, nnx.Param, nnx.BatchStat)` takes the model apart.

    Args:
      key: `jax.random` key of the initial parameters.
      latent_size: number of latent variables.
      features: channels of the convolutions at full, at half and at quarter resolution.
      hidden: width of the dense layers before and after the latent.

    Example:
      >>> model = CelebAVAE(jax.random.key(0), features=(4, 8, 8), hidden=16, latent_size=3)
      >>> output = model(jnp.zeros((5, 64, 64, 3)), key=jax.random.key(1))
      >>> output.reconstruction.shape, output.mean.shape
      ((5, 64, 64, 3), (5, 3))
    """

    image_shape = (64, 64, 3)

    def __init__(
        self,
        key: PRNGKeyArray,
        *,
        latent_size: int = 256,
        features: tuple[int, int, int] = (64, 128, 128),
        hidden: int = 2048,
    ):
        fine, middle, coarse = features
        self.latent_size = latent_size
        self.encoder_conv_fine = conv(3, fine)
        self.encoder_norm_fine = BatchNorm(fine)
        self.encoder_conv_middle = conv(fine, middle)
        self.encoder_norm_middle = BatchNorm(middle)
        self.encoder_conv_coarse = conv(middle, coarse)
        self.encoder_dense = dense(_COARSE * _COARSE * coarse, hidden)
        self.mean = dense(hidden, latent_size)
        self.log_variance = dense(hidden, latent_size)
        self.decoder_dense = dense(latent_size, hidden)
        self.decoder_unflatten = dense(hidden, _COARSE * _COARSE * coarse)
        # Nothing is normalised here: the authors' code makes such layers, but does not use them.
        self.decoder_conv_coarse = conv(coarse, coarse)
        self.decoder_conv_middle = conv(coarse, fine)
        self.decoder_conv_fine_1 = conv(fine, fine)
        self.decoder_conv_fine_2 = conv(fine, fine)
        self.decoder_conv_out = conv(fine, 3)
        start_as_pytorch(self, key)

    def _down(self, image: Array) -> Array:
        x = self.encoder_norm_fine(max_pool(leaky(self.encoder_conv_fine(image))))
        x = self.encoder_norm_middle(max_pool(leaky(self.encoder_conv_middle(x))))
        return leaky(self.encoder_conv_coarse(x))

    def _up(self, x: Array) -> Array:
        x = upsample_twice(leaky(self.decoder_conv_coarse(x)))
        x = upsample_twice(leaky(self.decoder_conv_middle(x)))
        x = leaky(self.decoder_conv_fine_1(x))
        x = leaky(self.decoder_conv_fine_2(x))
        return self.decoder_conv_out(x)
