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

    image_shape: tuple[int, int, int]
    latent_size: int
    _scale: ClassVar[int]  # image pixels along a pixel between encoder and decoder
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
        height, width, _ = self.image_shape
        coarse = height // self._scale, width // self._scale
        return jax.nn.sigmoid(self._up(x.reshape(*x.shape[:-1], *coarse, -1)))

    def __call__(
        self, image: Float[Array, "*batch height width channels"], *, key: PRNGKeyArray
    ) -> VaeOutput:
        """Encodes, draws one latent per image with `key`, and decodes."""
        mean, log_variance = self.encode(image)
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        latent = mean + jnp.exp(0.5 * log_variance) * noise
        return VaeOutput(self.decode(latent), mean, log_variance)

    def _coarse_pixels(self) -> int:
        """How many pixels there are between encoder and decoder.

        Raises:
          ValueError: if `image_shape` does not allow that.
        """
        height, width, channels = self.image_shape
        if height % self._scale or width % self._scale or min(height, width, channels) < 1:
            raise ValueError(
                f"`image_shape` must be (height, width, channels), with a height and a width that are "
                f"multiples of {self._scale} for {type(self).__name__}, got {self.image_shape}."
            )
        return height * width // self._scale**2

    def _down(self, image: Array) -> Array:
        """From the image to features at the coarse resolution."""
        raise NotImplementedError

    def _up(self, x: Array) -> Array:
        """From features at the coarse resolution to the image, before the sigmoid."""
        raise NotImplementedError


class MnistVAE(_Vae):
    """Convolutional VAE for small images; by default the paper's, for MNIST zero-padded to 32×32.

    With the default sizes it has 33,662,757 parameters; nearly all of them sit in the two dense
    layers at half resolution, so smaller `features` and `hidden` make it fast on a CPU.

    Args:
      key: `jax.random` key of the initial parameters.
      image_shape: height, width and channels of the images; height and width are multiples of 2.
      latent_size: number of latent variables.
      features: channels of the convolutions at full and at half resolution.
      hidden: width of the dense layers before and after the latent.

    Raises:
      ValueError: if `image_shape` is not as described.

    Example:
      >>> model = MnistVAE(jax.random.key(0), features=(4, 8), hidden=16)
      >>> output = model(jnp.zeros((5, 32, 32, 1)), key=jax.random.key(1))
      >>> output.reconstruction.shape, output.mean.shape
      ((5, 32, 32, 1), (5, 2))
    """

    _scale = 2

    def __init__(
        self,
        key: PRNGKeyArray,
        *,
        image_shape: tuple[int, int, int] = (32, 32, 1),
        latent_size: int = 2,
        features: tuple[int, int] = (32, 64),
        hidden: int = 1024,
    ):
        fine, coarse = features
        self.image_shape, self.latent_size = image_shape, latent_size
        pixels, channels = self._coarse_pixels(), image_shape[2]
        self.encoder_conv_fine = conv(channels, fine)
        self.encoder_conv_coarse = conv(fine, coarse)
        self.encoder_dense = dense(pixels * coarse, hidden)
        self.mean = dense(hidden, latent_size)
        self.log_variance = dense(hidden, latent_size)
        self.decoder_dense = dense(latent_size, hidden)
        self.decoder_unflatten = dense(hidden, pixels * coarse)
        self.decoder_conv_coarse = conv(coarse, coarse)
        self.decoder_conv_fine_1 = conv(coarse, fine)
        self.decoder_conv_fine_2 = conv(fine, fine)
        self.decoder_conv_out = conv(fine, channels)
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
    """Convolutional VAE for photographs; by default the paper's, for 64×64 colour images.

    With the default sizes it has 136,348,547 parameters, nearly all in the two dense layers at quarter
    resolution. Its encoder normalises: a new model by the statistics of each batch, which also move the
    running ones, and after `model.eval()` by those; `model.train()` leads back. Running statistics are
    variables of their own kind: `nnx.split(model, nnx.Param, nnx.BatchStat)` takes the model apart.

    Args:
      key: `jax.random` key of the initial parameters.
      image_shape: height, width and channels of the images; height and width are multiples of 4.
      latent_size: number of latent variables.
      features: channels of the convolutions at full, at half and at quarter resolution.
      hidden: width of the dense layers before and after the latent.

    Raises:
      ValueError: if `image_shape` is not as described.

    Example:
      >>> model = CelebAVAE(jax.random.key(0), features=(4, 8, 8), hidden=16, latent_size=3)
      >>> output = model(jnp.zeros((5, 64, 64, 3)), key=jax.random.key(1))
      >>> output.reconstruction.shape, output.mean.shape
      ((5, 64, 64, 3), (5, 3))
    """

    _scale = 4

    def __init__(
        self,
        key: PRNGKeyArray,
        *,
        image_shape: tuple[int, int, int] = (64, 64, 3),
        latent_size: int = 256,
        features: tuple[int, int, int] = (64, 128, 128),
        hidden: int = 2048,
    ):
        fine, middle, coarse = features
        self.image_shape, self.latent_size = image_shape, latent_size
        pixels, channels = self._coarse_pixels(), image_shape[2]
        self.encoder_conv_fine = conv(channels, fine)
        self.encoder_norm_fine = BatchNorm(fine)
        self.encoder_conv_middle = conv(fine, middle)
        self.encoder_norm_middle = BatchNorm(middle)
        self.encoder_conv_coarse = conv(middle, coarse)
        self.encoder_dense = dense(pixels * coarse, hidden)
        self.mean = dense(hidden, latent_size)
        self.log_variance = dense(hidden, latent_size)
        self.decoder_dense = dense(latent_size, hidden)
        self.decoder_unflatten = dense(hidden, pixels * coarse)
        # Nothing is normalised here: the authors' code makes such layers, but does not use them.
        self.decoder_conv_coarse = conv(coarse, coarse)
        self.decoder_conv_middle = conv(coarse, fine)
        self.decoder_conv_fine_1 = conv(fine, fine)
        self.decoder_conv_fine_2 = conv(fine, fine)
        self.decoder_conv_out = conv(fine, channels)
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
