"""Losses by name, each with its parameters, behind one call."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

from watson_jax._params_io import load_params
from watson_jax._registry import find_loss


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)  # With eq, arrays would have to be hashed.
class Loss:
    """A loss with its parameters: `loss(image, reference)`.

    It is a pytree whose leaves are the parameters, so it may be an argument of compiled functions.

    Attributes:
      name: the canonical name.
      params: a pytree of arrays; `()` for losses without parameters.
      fn: the pure function `fn(params, image, reference)`, for `grad` and `vmap` over parameters.
    """

    name: str = dataclasses.field(metadata={"static": True})
    params: Any
    fn: Callable[[Any, Array, Array], Array] = dataclasses.field(metadata={"static": True})

    def __call__(
        self,
        image: Float[Array, "*batch height width channels"],
        reference: Float[Array, "*batch height width channels"],
    ) -> Float[Array, "*batch"]:
        """Compares images; see the function of the loss for shapes and ranges."""
        return self.fn(self.params, image, reference)


def get_loss(
    name: str,
    *,
    color: str = "rgb",
    weights: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    **options: Any,
) -> Loss:
    """Looks up a loss by name and loads its parameters.

    Args:
      name: such as "watson-dft"; case, `_` and `-` do not matter, and the authors' names are known.
      color: "rgb" or "gray".
      weights: as for `load_params`.
      image_size: as for `load_params`.
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
    name, entry = find_loss(name)
    known = [
        parameter.name
        for parameter in inspect.signature(entry.function).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    for option in options:
        if option not in known:
            raise TypeError(
                f"{name} has no option `{option}`; it has {', '.join(known) or 'none'}."
            )
    params = load_params(name, color=color, weights=weights, image_size=image_size)
    function = functools.partial(entry.function, **options)
    if entry.params_type is None:
        return Loss(name, params, lambda _, image, reference: function(image, reference))
    return Loss(name, params, function)
