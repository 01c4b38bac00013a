"""The Watson losses taken apart for fitting, with the authors' dropout."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from watson_jax.losses._spec import Fittable
from watson_jax.losses._watson import formula
from watson_jax.losses._watson.formula import Features, Terms, WatsonOptions
from watson_jax.losses._watson.params import WatsonDftParams, WatsonParams


def fittable(
    params: WatsonParams,
    *,
    luminance: str = "image",
    mask_chroma: bool = True,
    pooling_range: tuple[float, float] | None = None,
    luma_gain: float = 0.0,
    detail_gain: float = 0.0,
    dc_gain: float = 0.0,
    phase_scale: float = 1.0,
) -> Fittable:
    """See `watson_jax.training.fittable`."""
    if luminance not in ("image", "batch"):
        raise ValueError(f'`luminance` must be "image" or "batch", got {luminance!r}.')
    if not phase_scale > 0:
        raise ValueError(f"`phase_scale` must be above 0, got {phase_scale}.")
    options = WatsonOptions(
        luminance=luminance,  # type: ignore[arg-type]
        luminance_floor=params.luminance_floor,
        phase_floor=getattr(params, "phase_floor", 0.0),
    )
    kind = type(params)

    def features(images: Array, references: Array) -> Features:
        mean = None
        if luminance == "batch":
            mean = formula.batch_mean_brightness(kind, references, options)

        def of_pair(image, reference):
            return formula.features(kind, image, reference, options, mean)

        return jax.vmap(of_pair)(images, references)

    def distance(learned: WatsonParams, features: Features, key: PRNGKeyArray | None) -> Array:
        terms = formula.terms(learned, features, options)
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

    def finish(learned: WatsonParams) -> WatsonParams:
        logits, thresholds = learned.channel_logits, learned.log_thresholds
        if logits.shape[-1] == 1:
            return learned
        gain = (detail_gain * _radial_frequency(kind, thresholds)).astype(thresholds.dtype)
        finished = dataclasses.replace(
            learned,
            channel_logits=logits.at[..., 0].add(luma_gain),
            log_thresholds=thresholds.at[..., 0, :, :].add(-gain).at[..., 0, 0].add(-dc_gain),
        )
        if not isinstance(finished, WatsonDftParams):
            return finished
        # Weights and floor together, as the slope of a phase at the floor is their ratio.
        return dataclasses.replace(
            finished,
            log_phase_weights=finished.log_phase_weights + math.log(phase_scale),
            phase_floor=finished.phase_floor * phase_scale,
        )

    return Fittable(project(params), features, distance, project, finish)


def drop_half(key: PRNGKeyArray, p: Float[Array, " channels"], terms: Terms) -> Terms:
    """Dropout with probability 1/2 on what is added up: the powers |u|^p, and the phase terms.

    The rest counts twice, so that the sums keep their expected value. (A factor of 2 on a power is one
    of 2^(1/p) on what is raised to it.)
    """
    difference_key, phase_key = jax.random.split(key)
    kept = jnp.where(_coin(difference_key, terms.difference.shape), terms.difference, 0)
    difference = kept * formula.per_channel(jnp.exp2(1 / p))
    if terms.phase is None:
        return Terms(difference, None)
    return Terms(difference, jnp.where(_coin(phase_key, terms.phase.shape), 2 * terms.phase, 0))


def _coin(key: PRNGKeyArray, shape: tuple[int, ...]) -> Bool[Array, "*shape"]:
    """Fair coins, 32 of every random number: drawing one for each would take most of a step."""
    words = jax.random.bits(key, (*shape[:-1], -(-shape[-1] // 32)), jnp.uint32)
    place = jax.lax.broadcasted_iota(jnp.uint32, (*words.shape, 32), words.ndim)
    coins = (words[..., None] >> place) & jnp.uint32(1)
    return coins.reshape(*shape[:-1], -1)[..., : shape[-1]].astype(bool)


def _radial_frequency(kind: type[WatsonParams], thresholds: Array) -> np.ndarray:
    """How far each coefficient of a block is from DC: 1 is the farthest."""
    rows, columns = np.indices(thresholds.shape[-2:])
    if kind is WatsonDftParams:  # whose rows above the middle are negative frequencies
        rows = np.minimum(rows, len(rows) - rows)
    radius = np.hypot(rows, columns)
    return radius / radius.max()
