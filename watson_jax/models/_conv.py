"""3×3 convolution with a gradient that is fast on CPUs too."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_IMAGES_AT_ONCE = 2  # what their shifted copies take is to stay in the second-level cache

_native = functools.partial(
    jax.lax.conv_general_dilated,
    window_strides=(1, 1),
    padding="SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
)


@jax.custom_vjp
def conv_3x3(
    image: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "3 3 inputs outputs"],
) -> Float[Array, "batch height width outputs"]:
    """Convolves with zeros around the image, as `jax.lax.conv_general_dilated` does.

    For the gradient with respect to the kernel, XLA convolves with windows as large as the image, which
    on a CPU takes up to ten times as long as the convolution itself. There it is a matrix product here.
    """
    return _native(image, kernel)


def _forward(image: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _native(image, kernel), (image, kernel)


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    image, kernel = saved
    (of_image,) = jax.vjp(lambda image: _native(image, kernel), image)[1](gradient)
    of_kernel = jax.lax.platform_dependent(
        image, gradient, cpu=_kernel_gradient_in_pieces, default=_native_kernel_gradient
    )
    return of_image, of_kernel


conv_3x3.defvjp(_forward, _backward)


def conv_general_dilated(image: Array, kernel: Array, *_: Any, **__: Any) -> Array:
    """`conv_3x3` in the place of `jax.lax.conv_general_dilated`, for `flax.nnx.Conv`."""
    return conv_3x3(image, kernel)


def _native_kernel_gradient(image: Array, gradient: Array) -> Array:
    shape = (3, 3, image.shape[-1], gradient.shape[-1])
    kernel = jnp.zeros(shape, image.dtype)  # it is linear: any kernel will do
    return jax.vjp(lambda kernel: _native(image, kernel), kernel)[1](gradient)[0]


def _kernel_gradient_in_pieces(image: Array, gradient: Array) -> Array:
    number = image.shape[0] // _IMAGES_AT_ONCE * _IMAGES_AT_ONCE

    def pieces(x: Array) -> Array:
        return x[:number].reshape(-1, _IMAGES_AT_ONCE, *x.shape[1:])

    def add(total: Array, piece: tuple[Array, Array]) -> tuple[Array, None]:
        return total + _kernel_gradient(*piece), None

    # The rest, which may be nothing, first.
    start = _kernel_gradient(image[number:], gradient[number:])
    return jax.lax.scan(add, start, (pieces(image), pieces(gradient)))[0]


def _kernel_gradient(image: Array, gradient: Array) -> Array:
    """Entry [i, j] is the product of the gradient with the image moved by (i - 1, j - 1).

    What has fewer channels is moved, as nine copies of it have to be made.
    """
    inputs, outputs = image.shape[-1], gradient.shape[-1]
    product = functools.partial(jnp.einsum, "bhwi,bhwo->io", precision="highest")
    if inputs <= outputs:
        return product(_nine_places(image), gradient).reshape(3, 3, inputs, outputs)
    # Moving the one there is moving the other back.
    moved = product(image, _nine_places(gradient)).reshape(inputs, 3, 3, outputs)
    return moved[:, ::-1, ::-1].transpose(1, 2, 0, 3)


def _nine_places(x: Float[Array, "batch height width channels"]) -> Array:
    """`x` seen from each pixel's nine neighbours, `[batch, height, width, 9 * channels]`."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    places = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(places, axis=-1)
