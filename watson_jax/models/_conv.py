"""Convolutions that are fast on CPUs too: of small images, and with respect to the kernel."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from watson_jax._platform import by_platform
from watson_jax._sharding import is_on_one_device, vary_alike

# Images whose nine shifted copies stay in the second-level cache of a CPU.
_IMAGES_AT_ONCE = 2


def convolve(
    image: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "size size inputs outputs"],
    precision: jax.lax.PrecisionLike = None,
) -> Float[Array, "batch height width outputs"]:
    """Convolves with zeros around the image, for kernels of odd size.

    If an image has fewer pixels than the kernel, XLA's convolution is slow on CPUs: 2x2 pixels take a
    hundred times as long as a matrix product. So all windows are multiplied by the kernel then, on
    every platform.
    """
    size, _, _, outputs = kernel.shape
    if image.shape[1] * image.shape[2] < size * size:
        flat = kernel.reshape(-1, outputs)
        return jnp.matmul(_windows(image, size), flat, precision=precision)
    return jax.lax.conv_general_dilated(
        image,
        kernel,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )


def conv_3x3(
    image: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "3 3 inputs outputs"],
) -> Float[Array, "batch height width outputs"]:
    """Convolves with zeros around the image, as `jax.lax.conv_general_dilated` does.

    For the gradient with respect to the kernel, XLA convolves with windows as large as the image. On a
    CPU that takes up to ten times as long as the convolution itself, so it is matrix products there. On
    explicit meshes this rule is left out, since it does not follow their types.
    """
    if jax.typeof(image).sharding.mesh.explicit_axes:
        return convolve(image, kernel)
    return _conv_3x3(*vary_alike(image, kernel))


@jax.custom_vjp
def _conv_3x3(image: Array, kernel: Array) -> Array:
    return convolve(image, kernel)


def _forward(image: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return convolve(image, kernel), (image, kernel)


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    image, kernel = saved
    turned = kernel[::-1, ::-1].swapaxes(2, 3)  # carries each gradient back to where it came from
    of_kernel = by_platform(
        image, gradient, cpu=_kernel_gradient_by_products, default=_kernel_gradient_of_convolve
    )
    return _conv_3x3(gradient, turned), of_kernel


_conv_3x3.defvjp(_forward, _backward)


def conv_general_dilated(image: Array, kernel: Array, *_: Any, **__: Any) -> Array:
    """`conv_3x3` in the place of `jax.lax.conv_general_dilated`, for `flax.nnx.Conv`."""
    return conv_3x3(image, kernel)


def _kernel_gradient_of_convolve(image: Array, gradient: Array) -> Array:
    shape = (3, 3, image.shape[-1], gradient.shape[-1])
    kernel, image = vary_alike(jnp.zeros(shape, image.dtype), image)  # it is linear: any will do
    return jax.vjp(lambda kernel: convolve(image, kernel), kernel)[1](gradient)[0]


def _kernel_gradient_by_products(image: Array, gradient: Array) -> Array:
    # A loop over parts of what devices share would gather it.
    size = _IMAGES_AT_ONCE if is_on_one_device(image) else max(1, image.shape[0])
    number = image.shape[0] // size * size

    def pieces(x: Array) -> Array:
        return x[:number].reshape(-1, size, *x.shape[1:])

    def add(total: Array, piece: tuple[Array, Array]) -> tuple[Array, None]:
        return total + _products(*piece), None

    zero = jnp.zeros((3, 3, image.shape[-1], gradient.shape[-1]), image.dtype)
    total, _ = vary_alike(zero, image)
    total, _ = jax.lax.scan(add, total, (pieces(image), pieces(gradient)))
    rest = image[number:], gradient[number:]
    return add(total, rest)[0] if len(rest[0]) else total


def _products(image: Array, gradient: Array) -> Array:
    """Entry [i, j] is the product of the gradient with the image moved by (i - 1, j - 1).

    What has fewer channels is moved, as nine copies of it have to be made.
    """
    inputs, outputs = image.shape[-1], gradient.shape[-1]
    product = functools.partial(jnp.einsum, "bhwi,bhwo->io", precision="highest")
    if inputs <= outputs:
        return product(_windows(image, 3), gradient).reshape(3, 3, inputs, outputs)
    # Moving the one there is moving the other back.
    moved = product(image, _windows(gradient, 3)).reshape(inputs, 3, 3, outputs)
    return moved[:, ::-1, ::-1].transpose(1, 2, 0, 3)


def _windows(
    x: Float[Array, "batch height width channels"], size: int
) -> Float[Array, "batch height width windows"]:
    """The size x size pixels around each pixel, zeros beyond the edge, as channels."""
    height, width = x.shape[1:3]
    around = (size // 2, size // 2)
    padded = jnp.pad(x, ((0, 0), around, around, (0, 0)))
    places = [padded[:, i : i + height, j : j + width] for i in range(size) for j in range(size)]
    return jnp.concatenate(places, axis=-1)
