"""The convolutional networks whose features LPIPS compares, up to the last layer that it reads.

Layer for layer the `features` of torchvision's models, with the channels last. Each network returns the
outputs that LPIPS reads by name; alphabetical order, which dictionaries have after `jit`, is theirs. A
new network's weights are zeros, since only trained ones are of use.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from watson_jax.models._conv import convolve

Image = Float[Array, "*batch height width 3"]
Features = dict[str, Float[Array, "*batch _ _ _"]]

_VGG_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_FIRES = {  # number: (inputs, squeezed, outputs of each of the two expansions)
    2: (64, 16, 64),
    3: (128, 16, 64),
    4: (128, 32, 128),
    5: (256, 32, 128),
    6: (256, 48, 192),
    7: (384, 48, 192),
    8: (384, 64, 256),
    9: (512, 64, 256),
}


class Frozen(nnx.Variable):
    """A weight that is loaded, never trained: `nnx.split(model, nnx.Param, ...)` leaves it out."""


class Conv(nnx.Module):
    """A convolution at full precision, whose weights are frozen.

    `nnx.Conv` would do, were its weights not always of the type of trained ones.

    Args:
      inputs: channels in.
      outputs: channels out.
      size: height and width of the kernel.
      stride: pixels from one output to the next.
      padding: zeros on each side.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        padding: int = 0,
    ):
        self.stride, self.padding = stride, padding
        self.kernel = Frozen(jnp.zeros((size, size, inputs, outputs), jnp.float32))
        self.bias = Frozen(jnp.zeros(outputs, jnp.float32))

    def __call__(self, x: Float[Array, "*batch _ _ inputs"]) -> Float[Array, "*batch _ _ outputs"]:
        """Convolves images of any number of leading axes."""
        flat, kernel = x.reshape(-1, *x.shape[-3:]), self.kernel[...]
        precision = jax.lax.Precision.HIGHEST  # GPUs and TPUs would round to fewer bits
        if self.stride == 1 and 2 * self.padding == kernel.shape[0] - 1:  # the size stays
            flat = convolve(flat, kernel, precision)
        else:
            flat = jax.lax.conv_general_dilated(
                flat,
                kernel,
                (self.stride, self.stride),
                [(self.padding, self.padding)] * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                precision=precision,
            )
        flat = flat + self.bias[...].reshape(1, 1, 1, -1)
        return flat.reshape(*x.shape[:-3], *flat.shape[1:])


class Vgg16(nnx.Module):
    """VGG16 up to relu5_3.

    Example:
      >>> model = nnx.eval_shape(Vgg16)
      >>> features = nnx.eval_shape(lambda m, x: m(x), model, jnp.zeros((32, 32, 3)))
      >>> {name: x.shape for name, x in features.items() if name > "relu4"}
      {'relu4_3': (4, 4, 512), 'relu5_3': (2, 2, 512)}

    References:
      K. Simonyan, A. Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition.
      ICLR 2015.
    """

    TAPS: ClassVar = {
        "relu1_2": 64,
        "relu2_2": 128,
        "relu3_3": 256,
        "relu4_3": 512,
        "relu5_3": 512,
    }
    MIN_SIZE: ClassVar = 16  # halved four times

    def __init__(self):
        inputs = 3
        for stage, widths in enumerate(_VGG_STAGES, 1):
            for layer, outputs in enumerate(widths, 1):
                setattr(self, f"conv{stage}_{layer}", Conv(inputs, outputs, 3, padding=1))
                inputs = outputs

    def __call__(self, x: Image) -> Features:
        """Returns the last layer of each stage, before it is halved.

        Raises:
          ValueError: if the images are smaller than `MIN_SIZE`.
        """
        _check_size(self, x)
        taps = {}
        for stage, widths in enumerate(_VGG_STAGES, 1):
            if stage > 1:
                x = _max_pool_2(x)
            for layer in range(1, len(widths) + 1):
                x = jax.nn.relu(getattr(self, f"conv{stage}_{layer}")(x))
            taps[f"relu{stage}_{len(widths)}"] = x
        return taps


class AlexNet(nnx.Module):
    """AlexNet, in its variant for one device, up to the last convolution.

    Example:
      >>> model = nnx.eval_shape(AlexNet)
      >>> features = nnx.eval_shape(lambda m, x: m(x), model, jnp.zeros((64, 64, 3)))
      >>> [x.shape[0] for x in features.values()]
      [15, 7, 3, 3, 3]

    References:
      A. Krizhevsky: One weird trick for parallelizing convolutional neural networks. arXiv:1404.5997.
    """

    TAPS: ClassVar = {"relu1": 64, "relu2": 192, "relu3": 384, "relu4": 256, "relu5": 256}
    MIN_SIZE: ClassVar = 31  # 7 after the first convolution, 3 and 1 after the poolings

    def __init__(self):
        self.conv1 = Conv(3, 64, 11, stride=4, padding=2)
        self.conv2 = Conv(64, 192, 5, padding=2)
        self.conv3 = Conv(192, 384, 3, padding=1)
        self.conv4 = Conv(384, 256, 3, padding=1)
        self.conv5 = Conv(256, 256, 3, padding=1)

    def __call__(self, x: Image) -> Features:
        """Returns every layer.

        Raises:
          ValueError: if the images are smaller than `MIN_SIZE`.
        """
        _check_size(self, x)
        relu1 = jax.nn.relu(self.conv1(x))
        relu2 = jax.nn.relu(self.conv2(_max_pool_3(relu1)))
        relu3 = jax.nn.relu(self.conv3(_max_pool_3(relu2)))
        relu4 = jax.nn.relu(self.conv4(relu3))
        relu5 = jax.nn.relu(self.conv5(relu4))
        return {"relu1": relu1, "relu2": relu2, "relu3": relu3, "relu4": relu4, "relu5": relu5}


class Fire(nnx.Module):
    """SqueezeNet's module: few channels, from which two convolutions make many again.

    Args:
      inputs: channels in.
      squeezed: channels between.
      outputs: channels of each expansion; twice as many come out.
    """

    def __init__(self, inputs: int, squeezed: int, outputs: int):
        self.squeeze = Conv(inputs, squeezed, 1)
        self.expand1x1 = Conv(squeezed, outputs, 1)
        self.expand3x3 = Conv(squeezed, outputs, 3, padding=1)

    def __call__(self, x: Float[Array, "*batch _ _ inputs"]) -> Float[Array, "*batch _ _ outputs"]:
        """Applies the module; height and width stay."""
        x = jax.nn.relu(self.squeeze(x))
        return jax.nn.relu(jnp.concatenate([self.expand1x1(x), self.expand3x3(x)], -1))


class SqueezeNet(nnx.Module):
    """SqueezeNet 1.1 up to its last fire module, numbered from 2 as in the paper.

    Example:
      >>> model = nnx.eval_shape(SqueezeNet)
      >>> features = nnx.eval_shape(lambda m, x: m(x), model, jnp.zeros((64, 64, 3)))
      >>> [x.shape[0] for x in features.values()]
      [31, 15, 7, 3, 3, 3, 3]

    References:
      F. N. Iandola et al.: SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB
      model size. arXiv:1602.07360; version 1.1 of the authors' repository.
    """

    TAPS: ClassVar = {
        "conv1": 64,
        "fire3": 128,
        "fire5": 256,
        "fire6": 384,
        "fire7": 384,
        "fire8": 512,
        "fire9": 512,
    }
    MIN_SIZE: ClassVar = 17  # 8 after the first convolution, 4, 2 and 1 after the poolings

    def __init__(self):
        self.conv1 = Conv(3, 64, 3, stride=2)
        for number, sizes in _FIRES.items():
            setattr(self, f"fire{number}", Fire(*sizes))

    def __call__(self, x: Image) -> Features:
        """Returns the first layer, and the fire modules before a pooling and after the last one.

        Raises:
          ValueError: if the images are smaller than `MIN_SIZE`.
        """
        _check_size(self, x)
        x = jax.nn.relu(self.conv1(x))
        taps = {"conv1": x}
        for number in _FIRES:
            if number in (2, 4, 6):
                x = _max_pool_3(x, keep_rest=True)
            x = getattr(self, f"fire{number}")(x)
            if f"fire{number}" in self.TAPS:
                taps[f"fire{number}"] = x
        return taps


BACKBONES: dict[str, type[Vgg16] | type[AlexNet] | type[SqueezeNet]] = {
    "vgg": Vgg16,
    "squeeze": SqueezeNet,
    "alex": AlexNet,
}
"""The networks by the name that LPIPS has for them."""

MIN_SIZE: dict[str, int] = {name: network.MIN_SIZE for name, network in BACKBONES.items()}
"""The smallest height and width of the images that each network takes."""


def _check_size(model: Vgg16 | AlexNet | SqueezeNet, x: Array) -> None:
    if min(x.shape[-3:-1]) < model.MIN_SIZE or x.shape[-1] != 3:
        raise ValueError(
            f"`x` must have the shape [..., H, W, 3] with H and W at least {model.MIN_SIZE} for "
            f"{type(model).__name__}, got {x.shape}."
        )


# Both by slices: the gradient of windowed pooling is slow on every backend, and gives all of it to
# one of several equal pixels.


def _max_pool_2(x: Array) -> Array:
    """The largest of each 2x2 pixels; an odd last row or column is left out."""
    *batch, height, width, channels = x.shape
    rows, columns = height // 2, width // 2
    x = x[..., : 2 * rows, : 2 * columns, :]
    return x.reshape(*batch, rows, 2, columns, 2, channels).max(axis=(-4, -2))


def _max_pool_3(x: Array, *, keep_rest: bool = False) -> Array:
    """The largest of 3x3 pixels at every second pixel.

    Args:
      x: shape `[..., H, W, C]`.
      keep_rest: whether a last window that reaches one pixel over the edge counts (torchvision's "ceil
        mode"), or is left out.

    Returns:
      The pooled images.
    """
    for axis in (x.ndim - 3, x.ndim - 2):
        if keep_rest and x.shape[axis] % 2 == 0:
            edges = [(0, int(i == axis)) for i in range(x.ndim)]
            x = jnp.pad(x, edges, constant_values=-jnp.inf)
        last = (x.shape[axis] - 3) // 2 * 2 + 1  # the end of where windows begin
        starts = [jax.lax.slice_in_dim(x, i, i + last, 2, axis) for i in range(3)]
        x = jnp.maximum(jnp.maximum(starts[0], starts[1]), starts[2])
    return x
