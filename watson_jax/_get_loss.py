"""Losses by name, each with its parameters, behind one call."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints, overload

import jax
import numpy.typing as npt
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from watson_jax._params_io import load_params
from watson_jax._registry import loss_info
from watson_jax.losses import AdaptiveParams, LpipsParams, WatsonDctParams, WatsonDftParams

Params = TypeVar("Params")

AUTHORS_OPTIONS = {
    "colorspace": "it is called `color` here",
    "pretrained": "it is called `weights` here",
    "reduction": "it returns one value for each pair: take .sum() or .mean() of them",
    "deterministic": "the grid of blocks never moves by itself: see random_grid_shift",
}
"""What to say of the options that the authors' code has."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)  # With eq, arrays would have to be hashed.
class Loss(Generic[Params]):
    """A loss with its parameters: `loss(image, reference)`.

    It is a pytree whose leaves are the parameters, so it may be an argument of compiled functions. Its
    type parameter is the class of the parameters: `Loss[WatsonDftParams]`.

    Attributes:
      name: the canonical name.
      params: a pytree of arrays; `()` for losses without parameters.
      options: the names and values of the options that were given, sorted.
    """

    name: str = dataclasses.field(metadata={"static": True})
    params: Params
    options: tuple[tuple[str, Any], ...] = dataclasses.field(default=(), metadata={"static": True})

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options)
        return f"Loss({self.name!r}{options})"

    @property
    def fn(self) -> Callable[[Params, ArrayLike, ArrayLike], Array]:
        """The pure function `fn(params, image, reference)`, for `grad` and `vmap` over parameters.

        One and the same for all losses of this name with these options.
        """
        return _pure_function(self.name, self.options)

    def __call__(
        self,
        image: Float[ArrayLike, "*batch height width channels"],
        reference: Float[ArrayLike, "*batch height width channels"],
    ) -> Float[Array, "*batch"]:
        """Compares images; see the function of the loss for shapes and ranges."""
        return self.fn(self.params, image, reference)


@functools.cache
def _pure_function(
    name: str, options: tuple[tuple[str, Any], ...]
) -> Callable[[Any, ArrayLike, ArrayLike], Array]:
    spec = loss_info(name)
    function = functools.partial(spec.function, **dict(options))
    return function if spec.params_type else functools.partial(_without_params, function)


def _without_params(
    function: Callable[[ArrayLike, ArrayLike], Array],
    _: Any,
    image: ArrayLike,
    reference: ArrayLike,
) -> Array:
    return function(image, reference)


# For type checkers, which learn the class of the parameters from a name that is spelled out.
@overload
def get_loss(name: Literal["watson-dft"], **arguments: Any) -> Loss[WatsonDftParams]: ...
@overload
def get_loss(name: Literal["watson-dct"], **arguments: Any) -> Loss[WatsonDctParams]: ...
@overload
def get_loss(name: Literal["adaptive"], **arguments: Any) -> Loss[AdaptiveParams]: ...
@overload
def get_loss(
    name: Literal["lpips-vgg", "lpips-alex", "lpips-squeeze"], **arguments: Any
) -> Loss[LpipsParams]: ...
@overload
def get_loss(name: Literal["l1", "l2", "ssim", "ms-ssim"], **arguments: Any) -> Loss[tuple[()]]: ...
@overload
def get_loss(name: str, **arguments: Any) -> Loss[Any]: ...


def get_loss(
    name: str,
    *,
    color: str = "rgb",
    weights: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    backbone: str | os.PathLike[str] | Mapping[str, npt.ArrayLike] | None = None,
    **options: Any,
) -> Loss[Any]:
    """Looks up a loss by name and loads its parameters.

    Args:
      name: such as "watson-dft"; case, `_` and `-` do not matter, and the authors' names are known.
      color: "rgb" or "gray", in any case.
      weights: as for `load_params`.
      image_size: as for `load_params`.
      backbone: as for `load_params`.
      **options: keyword options of the loss, such as `luminance="batch"` of `watson_dft`.

    Returns:
      An object to call with (image, reference), which also holds `params` and the pure function `fn`.

    Raises:
      ValueError: if a name or an option's value is unknown.
      TypeError: if the loss has no such option or no `weights`.
      OSError: if a file cannot be found or fetched.

    Example:
      >>> import jax.numpy as jnp
      >>> loss = get_loss("watson-dft", color="gray", weights="initial")
      >>> reference = (jnp.arange(256.0) ** 2 % 97 / 97).reshape(16, 16, 1)
      >>> print(f"{loss(reference**2, reference):.2f}")
      6.69
    """
    spec = loss_info(name)
    name = spec.name
    known = [
        parameter.name
        for parameter in inspect.signature(spec.function).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    for option, value in options.items():
        if option not in known:
            hint = AUTHORS_OPTIONS.get(option, f"it has {', '.join(known) or 'no options'}")
            raise TypeError(f"{name} has no option `{option}`; {hint}.")
        if not isinstance(value, (str, int, float, type(None))):
            raise TypeError(f"`{option}` must be a plain value, got {type(value).__name__}.")
        kind = get_type_hints(spec.function)[option]
        if get_origin(kind) is Literal and value not in (choices := get_args(kind)):
            *first, last = (f'"{choice}"' for choice in choices)
            wanted = f"{', '.join(first)} or {last}"
            raise ValueError(f"`{option}` must be {wanted}, got {value!r}.")
    params = load_params(
        name, color=color, weights=weights, image_size=image_size, backbone=backbone
    )
    return Loss(name, params, tuple(sorted(options.items())))
