"""Fitting losses to 2AFC judgements: objective and step, for many trials at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from watson_jax._platform import by_platform
from watson_jax.training._fittable import Fittable
from watson_jax.two_afc import agreement, cross_entropy, ranking_logit

Schedule = Callable[[Array], Array]

_RANKING_WIDTH = 32


class Learned(NamedTuple):
    """What a trial learns: the loss, and how its distances become a choice."""

    metric: Any
    ranking: Any


class Trials(NamedTuple):
    """The state of many trials; every array has the trials as its first axis, but for the step."""

    learned: Learned
    opt_state: optax.OptState
    seed: Int[Array, " trials"]
    learning_rate: Float[Array, " trials"]
    step: Int[Array, ""]


class Triplets(NamedTuple):
    """A batch of judgements: features of both images, and the share that found the second closer."""

    first: Any
    second: Any
    preference: Float[Array, " triplets"]


def start_trials(
    fittable: Fittable,
    optimizer: optax.GradientTransformation,
    *,
    seeds: Int[Array, " trials"],
    learning_rates: Float[Array, " trials"],
    ranking: str = "gamma",
    start_noise: float = 0.0,
) -> Trials:
    """Trials at their starting values, which follow from the seed alone.

    Args:
      fittable: the loss.
      optimizer: makes updates that are yet to be scaled by the negative learning rate.
      seeds: one for each trial.
      learning_rates: one for each trial, at the start of the schedule.
      ranking: "gamma" for eq. 11, "network" for the small network of LPIPS.
      start_noise: standard deviation of what is added to each of the loss's starting values.

    Raises:
      ValueError: if there is no such ranking.
    """
    if ranking not in ("gamma", "network"):
        raise ValueError(f'`ranking` must be "gamma" or "network", got {ranking!r}.')

    def start(seed: Array) -> tuple[Learned, optax.OptState]:
        _, noise_key, ranking_key = _keys(seed)
        leaves, tree = jax.tree.flatten(fittable.learned)
        metric = jax.tree.unflatten(
            tree,
            [
                jnp.asarray(leaf)
                + start_noise * jax.random.normal(k, jnp.shape(leaf), jnp.asarray(leaf).dtype)
                for leaf, k in zip(leaves, jax.random.split(noise_key, len(leaves)), strict=True)
            ],
        )
        start_ranking = _start_network(ranking_key) if ranking == "network" else jnp.ones(())
        learned = Learned(fittable.project(metric), start_ranking)
        return learned, optimizer.init(learned)

    learned, opt_state = jax.vmap(start)(seeds)
    return Trials(learned, opt_state, seeds, learning_rates, jnp.zeros((), jnp.int32))


def _keys(seed: Array) -> PRNGKeyArray:
    """Of a trial's dropout, starting values and ranking network."""
    return jax.random.split(jax.random.key(seed), 3)


def ranking_score(ranking: Any, d0: Array, d1: Array) -> Array:
    """The logit of choosing the second image: with gamma (eq. 11) or through a network.

    Args:
      ranking: the logarithm of gamma, or the network's layers.
      d0: distances to the first image.
      d1: distances to the second image.
    """
    if not isinstance(ranking, list):
        return ranking_logit(d0, d1, jnp.exp(ranking))
    x = jnp.stack([d0, d1, d0 - d1, d0 / (d1 + 0.1), d1 / (d0 + 0.1)], -1)
    for i, (kernel, bias) in enumerate(ranking):
        x = jnp.matmul(x, kernel, precision="highest") + bias
        x = jax.nn.leaky_relu(x, 0.2) if i < len(ranking) - 1 else x
    return x[..., 0]


def _start_network(key: PRNGKeyArray) -> list[tuple[Array, Array]]:
    sizes = (5, _RANKING_WIDTH, _RANKING_WIDTH, 1)
    make = jax.nn.initializers.he_normal()
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        (make(k, (n, m), jnp.float32), jnp.zeros(m))
        for k, n, m in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def make_fit_step(
    fittable: Fittable,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    *,
    dropout: bool,
) -> Callable[[Trials, Triplets], tuple[Trials, dict[str, Array]]]:
    """One step of every trial on the same batch.

    The features in `Triplets` are computed once for all trials.

    Args:
      fittable: the loss.
      optimizer: as for `start_trials`.
      schedule: the factor on the learning rate, of the step.
      dropout: whether half of the terms are dropped, where the loss has that.

    Returns:
      A pure function `step(trials, triplets) -> (trials, metrics)`, metrics `[trials]`.
    """

    def one_trial(trial: tuple[Any, ...], step: Array, triplets: Triplets) -> tuple[Any, ...]:
        learned, opt_state, seed, rate = trial
        key = jax.random.fold_in(_keys(seed)[0], step)
        keys = jax.random.split(key, (triplets.preference.shape[0], 2))

        def triplet_loss(learned: Learned, triplet: Triplets, keys: Array) -> Array:
            d0, d1 = (
                fittable.distance(learned.metric, features, k if dropout else None)
                for features, k in zip(triplet[:2], keys, strict=True)
            )
            return cross_entropy(ranking_score(learned.ranking, d0, d1), triplet.preference)

        def objective(learned: Learned) -> Array:
            return jnp.mean(jax.vmap(functools.partial(triplet_loss, learned))(triplets, keys))

        loss, gradients = jax.value_and_grad(objective)(learned)
        updates, opt_state = optimizer.update(gradients, opt_state, learned)
        updates = jax.tree.map(lambda u: -rate * u, updates)
        learned = optax.apply_updates(learned, updates)
        learned = learned._replace(metric=fittable.project(learned.metric))
        return learned, opt_state, {"loss": loss, "grad_norm": optax.tree.norm(gradients)}

    def step(trials: Trials, triplets: Triplets) -> tuple[Trials, dict[str, Array]]:
        rates = trials.learning_rate * schedule(trials.step)
        learned, opt_state, metrics = _for_each_trial(
            lambda trial: one_trial(trial, trials.step, triplets),
            (trials.learned, trials.opt_state, trials.seed, rates),
        )
        return trials._replace(learned=learned, opt_state=opt_state, step=trials.step + 1), metrics

    return step


def _for_each_trial(fn: Callable[[Any], Any], trials: Any) -> Any:
    """`vmap` over trials; a CPU takes them one after the other, so that each stays in its cache."""
    return by_platform(trials, cpu=functools.partial(jax.lax.map, fn), default=jax.vmap(fn))


def make_scores(fittable: Fittable) -> Callable[[Learned, Triplets], dict[str, Array]]:
    """Agreement and loss of every trial on every triplet, without dropout.

    Returns:
      A pure function `scores(learned, triplets)` of `[trials, triplets]` arrays.
    """

    def one_trial(learned: Learned, triplets: Triplets) -> dict[str, Array]:
        distance = jax.vmap(lambda features: fittable.distance(learned.metric, features, None))
        d0, d1 = distance(triplets.first), distance(triplets.second)
        logit = ranking_score(learned.ranking, d0, d1)
        return {
            "agreement": agreement(d0, d1, triplets.preference),
            "loss": cross_entropy(logit, triplets.preference),
        }

    return lambda learned, triplets: _for_each_trial(lambda one: one_trial(one, triplets), learned)


def constant_then_linear(constant_steps: int, decay_epochs: int, steps_per_epoch: int) -> Schedule:
    """The authors' schedule: constant, then falling from epoch to epoch in equal parts.

    The first epoch of the decay is still at the full rate, the last at 1 / `decay_epochs` of it, what
    comes after it at 0.
    """

    def factor(step: Array) -> Array:
        epoch = jnp.maximum(step - constant_steps, 0) // steps_per_epoch
        return jnp.maximum(1 - epoch.astype(jnp.float32) / max(decay_epochs, 1), 0)

    return factor
