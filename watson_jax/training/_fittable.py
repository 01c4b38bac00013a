"""Losses taken apart for fitting: what the images alone decide, and what the parameters make of it.

Only the second part depends on the parameters, so that many trials of a fit share the first.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from watson_jax.losses import _watson_formula as formula
from watson_jax.losses._adaptive import coefficients_of_difference, negative_log_likelihood
from watson_jax.losses._adaptive_params import AdaptiveParams
from watson_jax.losses._lpips import LpipsParams, lpips_layer_differences
from watson_jax.losses._watson_formula import Terms, WatsonOptions
from watson_jax.losses._watson_params import WatsonDftParams, WatsonParams


@dataclasses.dataclass(frozen=True)
class Fittable:
    """One loss, as fitting sees it.

    Attributes:
      learned: the starting values of what is fitted, a pytree.
      features: `features(images, references)` of a batch, a pytree with the batch's axis first.
      distance: `distance(learned, features, key)` of one pair; a key asks for dropout, None for the
        loss as it is used.
      project: brings what an optimizer made of `learned` back to where it is admissible.
      as_params: makes the loss's own parameters of `learned`.
      costly_features: whether features are to be computed once and kept.
    """

    learned: Any
    features: Callable[[Array, Array], Any]
    distance: Callable[[Any, Any, PRNGKeyArray | None], Array]
    project: Callable[[Any], Any] = lambda learned: learned
    as_params: Callable[[Any], Any] = lambda learned: learned
    costly_features: bool = False


def fittable(
    params: Any,
    *,
    luminance: str = "image",
    mask_chroma: bool = True,
    pooling_range: tuple[float, float] | None = None,
) -> Fittable:
    """Takes a loss apart.

    Args:
      params: its parameters, from `load_params`; Watson, Adaptive or LPIPS. The floors of a Watson loss
        stay as they are, so that the fit knows of them.
      luminance: as for `watson_dft`; "batch" repeats the authors' fit.
      mask_chroma: whether luminance masking works on Cb and Cr too, as in the paper. Where not, their
        exponents are held at 0. Their DC is no brightness: it is 0 in saturated yellow or cyan, where a
        fitted exponent lets the loss grow without bound.
      pooling_range: bounds on the Watson losses' p; None (the paper): any. Below 1 the slope of |u|^p
        has no bound at 0, and far above 2 the largest error alone has a slope: both train poorly.

    Returns:
      The loss in two parts.

    Raises:
      TypeError: if there is nothing to fit.
    """
    if isinstance(params, WatsonParams):
        options = WatsonOptions(
            luminance=luminance,  # type: ignore[arg-type]
            luminance_floor=params.luminance_floor,
            phase_floor=getattr(params, "phase_floor", 0.0),
        )
        return _watson(params, options, mask_chroma, pooling_range)
    if isinstance(params, AdaptiveParams):
        return Fittable(
            params,
            features=functools.partial(coefficients_of_difference, params.authors_axes),
            distance=lambda learned, features, key: negative_log_likelihood(learned, features),
        )
    if isinstance(params, LpipsParams):
        return _lpips(params)
    raise TypeError(
        f"`params` must be of a Watson loss, Adaptive or LPIPS, got {type(params).__name__}."
    )


def _watson(
    params: WatsonParams,
    options: WatsonOptions,
    mask_chroma: bool,
    pooling_range: tuple[float, float] | None,
) -> Fittable:
    coefficients = (
        formula.watson_dft_coefficients
        if isinstance(params, WatsonDftParams)
        else formula.watson_dct_coefficients
    )

    def features(images: Array, references: Array) -> formula.Coefficients:
        mean = None
        if options.luminance == "batch":
            mean = formula.mean_brightness(coefficients, references)
        return jax.vmap(lambda x, y: coefficients(x, y, mean, options))(images, references)

    def distance(
        learned: WatsonParams, features: formula.Coefficients, key: PRNGKeyArray | None
    ) -> Array:
        terms = formula.watson_terms(learned, features, options)
        if key is not None:
            terms = drop_half(key, learned.pooling_exponent, terms)
        return formula.distance(learned, terms, options)

    def project(learned: WatsonParams) -> WatsonParams:
        p, alpha = learned.pooling_exponent, learned.luminance_exponent
        if pooling_range is not None:
            p = jnp.clip(p, *pooling_range)
        return dataclasses.replace(
            learned,
            pooling_exponent=p,
            luminance_exponent=alpha if mask_chroma else alpha.at[1:].set(0),
        )

    return Fittable(project(params), features, distance, project)


def drop_half(key: PRNGKeyArray, p: Float[Array, " channels"], terms: Terms) -> Terms:
    """Dropout with probability 1/2 on what is added up: the powers |u|^p, and the phase terms.

    The rest counts twice, so that the sums keep their expected value. (A factor of 2 on a power is one
    of 2^(1/p) on what is raised to it.)
    """
    visible_key, phase_key = jax.random.split(key)
    kept = jnp.where(_coin(visible_key, terms.visible.shape), terms.visible, 0)
    visible = kept * formula.per_channel(jnp.exp2(1 / p))
    if terms.phase is None:
        return Terms(visible, None)
    return Terms(visible, jnp.where(_coin(phase_key, terms.phase.shape), 2 * terms.phase, 0))


def _coin(key: PRNGKeyArray, shape: tuple[int, ...]) -> Bool[Array, "*shape"]:
    """Fair coins, 32 of every random number: drawing one for each would take most of a step."""
    words = jax.random.bits(key, (*shape[:-1], -(-shape[-1] // 32)), jnp.uint32)
    place = jax.lax.broadcasted_iota(jnp.uint32, (*words.shape, 32), words.ndim)
    coins = (words[..., None] >> place) & jnp.uint32(1)
    return coins.reshape(*shape[:-1], -1)[..., : shape[-1]].astype(bool)


def _lpips(params: LpipsParams) -> Fittable:
    def distance(learned: dict, features: dict, key: PRNGKeyArray | None) -> Array:
        weighted = (
            jnp.matmul(features[layer], learned[layer], precision="highest") for layer in learned
        )
        return jnp.asarray(sum(weighted))

    return Fittable(
        params.linear,
        features=functools.partial(lpips_layer_differences, params),
        distance=distance,
        project=optax.projections.projection_non_negative,
        as_params=lambda linear: dataclasses.replace(params, linear=linear),
        costly_features=True,
    )
