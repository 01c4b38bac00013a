"""What the library knows of the Adaptive loss."""

from __future__ import annotations

import functools

import numpy as np

from watson_jax.losses._adaptive.loss import (
    adaptive,
    coefficients_of_difference,
    negative_log_likelihood,
)
from watson_jax.losses._adaptive.params import (
    AdaptiveParams,
    adaptive_params_from_torch,
    initial_adaptive_params,
)
from watson_jax.losses._spec import (
    Fittable,
    ImageSize,
    LossSpec,
    State,
    load_published,
)
from watson_jax.weights import CheckpointError

_PUBLISHED = "{color}_adaptive_trial0.pth"


def _initial(color: str, image_size: ImageSize) -> AdaptiveParams:
    if image_size is None:
        raise TypeError(
            "`image_size` must be given for the initial weights of adaptive, which has parameters "
            "for every coefficient: (height, width)."
        )
    return initial_adaptive_params(image_size)


def _from_torch(state: State, color: str) -> AdaptiveParams:
    return adaptive_params_from_torch(state)


def _check(params: AdaptiveParams, color: str) -> None:
    shape = np.shape(params.alpha_latent)
    if len(shape) != 3 or shape[-1] != 3 or np.shape(params.scale_latent) != shape:
        raise CheckpointError(
            "alpha_latent and scale_latent must have one shape [height, width, 3], they have "
            f"{shape} and {np.shape(params.scale_latent)}"
        )


def _fittable(params: AdaptiveParams) -> Fittable:
    return Fittable(
        params,
        features=functools.partial(coefficients_of_difference, params.authors_axes),
        distance=lambda learned, features, key: negative_log_likelihood(learned, features),
    )


ADAPTIVE = LossSpec(
    name="adaptive",
    summary="Barron's robust loss of DCT coefficients, learned with the model",
    function=adaptive,
    params_type=AdaptiveParams,
    weights={
        "initial": _initial,
        "published": lambda color, _: load_published(_PUBLISHED, _from_torch, color),
    },
    default_weights="initial",
    image_size_for=("initial",),
    downloads={"published": (_PUBLISHED,)},
    licence="none stated by the authors",
    paper_weights="published",
    from_torch=_from_torch,
    check=_check,
    log_weights={"initial": (0.0, 3.0)},
    trained_with_model=True,
    fittable=_fittable,
)
