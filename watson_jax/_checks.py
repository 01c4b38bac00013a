"""Checks of the images that every loss takes: rank, shape, channels, dtype and, where visible, range."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from watson_jax._sharding import spread_alike

PACKAGE = __name__.partition(".")[0]
RANGE_TOLERANCE = 0.05


class RangeWarning(UserWarning):
    """Images that are clearly not in [0, 1]; silence it with `warnings.simplefilter`."""


def check_pair(
    image: Any, reference: Any, *, channels: Sequence[int] = (1, 3), min_size: int = 1
) -> tuple[jax.Array, jax.Array]:
    """Checks two images that are to be compared and brings them to the dtype of computation.

    Args:
      image: distorted image, shape `[..., H, W, C]`.
      reference: the same shape.
      channels: the numbers of channels there may be; none for any, unless the axes look like C, H, W.
      min_size: the smallest height and width.

    Returns:
      Both as float32, or as float64 where one of them is.

    Raises:
      TypeError: if one is not a floating point array.
      ValueError: if the rank, the shape, the number of channels or the size is wrong.
    """
    image = check_image("image", image, channels, min_size)
    reference = check_image("reference", reference, channels, min_size)
    if image.shape != reference.shape:
        raise ValueError(
            "`image` and `reference` must have the same shape, leading axes included, "
            f"got {image.shape} and {reference.shape}."
        )
    wide = jnp.float64 in (image.dtype, reference.dtype)
    dtype = jnp.float64 if wide else jnp.float32
    return spread_alike(image.astype(dtype), reference.astype(dtype))


def check_floating(name: str, x: Any, kind: Any = jnp.floating) -> jax.Array:
    """Raises a `TypeError` unless `x` is an array of floats, or of another `kind` of numbers.

    Returns:
      The array, at least as wide as float32.
    """
    if not hasattr(x, "dtype") or not hasattr(x, "shape"):
        raise TypeError(f"`{name}` must be an array, got {type(x).__name__}.")
    try:
        is_kind = jnp.issubdtype(x.dtype, kind)
    except TypeError:  # a type of another library's, such as torch.float32
        raise TypeError(
            f"`{name}` must be an array of JAX or NumPy, got {type(x).__module__.partition('.')[0]}'s "
            f"{type(x).__name__}; convert it first, such as with x.numpy()."
        ) from None
    if not is_kind:
        is_image = name in ("image", "reference")
        is_integer = jnp.issubdtype(x.dtype, jnp.integer)
        raise TypeError(
            f"`{name}` must be floating point{' in [0, 1]' * is_image}, got {x.dtype}"
            f"{'; divide 8-bit images by 255' * (is_image and is_integer)}."
        )
    return widen(x)


def widen(x: Any) -> jax.Array:
    """An array whose floats are at least as wide as float32, in which the losses are computed."""
    x = jnp.asarray(x)
    is_narrow = jnp.issubdtype(x.dtype, jnp.floating) and jnp.finfo(x.dtype).bits < 32
    return x.astype(jnp.float32) if is_narrow else x


def check_image(name: str, image: Any, channels: Sequence[int], min_size: int) -> jax.Array:
    """`check_pair` for one image, whose dtype stays as it is."""
    check_floating(name, image)
    shape = tuple(image.shape)
    if len(shape) < 3:
        hint = "; a grey image needs a last axis of length 1" if len(shape) == 2 else ""
        raise ValueError(
            f"`{name}` must have the shape [..., height, width, channels], got {shape}{hint}."
        )
    wrong = shape[-1] not in (channels or (1, 3))
    if wrong and (channels or shape[-3] in (1, 3)):
        wanted = "its channels"
        if channels:
            many = "s" * (tuple(channels) != (1,))
            wanted = f"{' or '.join(map(str, channels))} channel{many}"
        hint = ""
        if shape[-3] in (channels or (1, 3)):
            hint = "; these look like channels-first axes, move them with jnp.moveaxis(x, -3, -1)"
        elif shape[-1] in (1, 3):
            hint = f'; take color="{"rgb" if shape[-1] == 3 else "gray"}" or convert the images'
        raise ValueError(
            f"`{name}` must have {wanted} in its last axis, got the shape {shape}{hint}."
        )
    if min(shape[-3:-1]) < min_size:
        raise ValueError(
            f"`{name}` must be at least {min_size} pixel{'s' * (min_size > 1)} high and wide, "
            f"got {shape[-3]}x{shape[-2]}."
        )
    if not isinstance(image, np.ndarray):
        image = jnp.asarray(image)  # such as a parameter of Flax
    if not isinstance(image, jax.core.Tracer):
        _warn_of_range(name, image)
    return jnp.asarray(image)


_warned_at: set[tuple[str, int]] = set()


@jax.jit
def _extremes(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.min(image), jnp.max(image)


def _warn_of_range(name: str, image: Any) -> None:
    """Warns once per line of the caller's code; traced values cannot be seen and pass."""
    frame, depth = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame, depth = frame.f_back, depth + 1
    location = (frame.f_code.co_filename, frame.f_lineno)
    if location in _warned_at or 0 in image.shape:
        return
    if not getattr(image, "is_fully_addressable", True):
        return  # Spread over several hosts.
    if isinstance(image, jax.Array):
        # On the device that holds them, so that two numbers come to the host and not a batch of images.
        try:
            with jax.ensure_compile_time_eval():  # Other arguments of the caller's may be traced.
                low, high = map(float, _extremes(image))
        except jax.errors.ConcretizationTypeError:
            return  # Inside of `shard_map` outside of `jit`, nothing is computed at once.
    else:
        values = np.asarray(image)
        low, high = float(values.min()), float(values.max())
    if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
        _warned_at.add(location)
        hint = "divide by 255" if high > 2 else "map x to (x + 1) / 2 if they are in [-1, 1]"
        warnings.warn(
            f"`{name}` should be in [0, 1], got values from {low:.4g} to {high:.4g}; {hint}.",
            RangeWarning,
            stacklevel=depth,
        )
