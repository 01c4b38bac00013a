"""Two-alternative judgements (2AFC): which of two distorted images is closer to the reference?

Throughout, `d0` and `d1` are the distances that a metric finds from the reference to the first and to
the second image. `preference` is the fraction of people in [0, 1] who judged the *second* closer. All
functions are elementwise, except `mean_average_precision`, and work under `jit`, `vmap` and `grad`;
the caller takes the mean over triplets.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def ranking_logit(
    d0: Float[ArrayLike, "*triplets"],
    d1: Float[ArrayLike, "*triplets"],
    gamma: Float[ArrayLike, "*#triplets"],
) -> Float[Array, "*triplets"]:
    """The argument of the logistic function in eq. 11, gamma (d0 - d1) / (|d0| + |d1|).

    Args:
      d0: distances to the first image.
      d1: distances to the second image.
      gamma: steepness, > 0; how much people's choice follows the distances.

    Returns:
      In [-gamma, gamma], positive where the second image is closer. 0 with gradient 0 where both
      distances are 0, where the authors' code has a gradient of NaN.

    Example:
      >>> print(f"{ranking_logit(jnp.array(3.0), jnp.array(1.0), 2.0):.3f}")
      1.000
    """
    d0, d1, gamma = map(jnp.asarray, (d0, d1, gamma))
    # In units of the larger distance, so that tiny ones do not underflow when squared.
    unit = jax.lax.stop_gradient(jnp.maximum(jnp.abs(d0), jnp.abs(d1)))
    both_zero = unit == 0
    unit = jnp.where(both_zero, 1, unit)
    a, b = jnp.where(both_zero, 1, d0 / unit), jnp.where(both_zero, 1, d1 / unit)
    return gamma * (a - b) / (_magnitude(a) + _magnitude(b))


def ranking_probability(
    d0: Float[ArrayLike, "*triplets"],
    d1: Float[ArrayLike, "*triplets"],
    gamma: Float[ArrayLike, "*#triplets"],
) -> Float[Array, "*triplets"]:
    """The predicted fraction of people who judge the second image closer (eq. 11).

    The paper prints the opposite sign, which contradicts its own meaning of the preference; its authors'
    code has it as here.

    Args:
      d0: distances to the first image.
      d1: distances to the second image.
      gamma: steepness, > 0.

    Returns:
      In (0, 1); 1/2 where the distances are equal, also where both are 0.

    Example:
      >>> print(f"{ranking_probability(jnp.array(3.0), jnp.array(1.0), 2.0):.3f}")
      0.731
    """
    return jax.nn.sigmoid(ranking_logit(d0, d1, gamma))


def ranking_loss(
    d0: Float[ArrayLike, "*triplets"],
    d1: Float[ArrayLike, "*triplets"],
    preference: Float[ArrayLike, "*triplets"],
    gamma: Float[ArrayLike, "*#triplets"],
) -> Float[Array, "*triplets"]:
    """The binary cross entropy between people's choice and the predicted one (eq. 12).

    Args:
      d0: distances to the first image.
      d1: distances to the second image.
      preference: fraction of people who judged the second image closer.
      gamma: steepness, > 0.

    Returns:
      One value >= 0 for each triplet, in nats; lower is better. The gradient is finite, 0 where both
      distances are 0.

    Example:
      >>> loss = ranking_loss(jnp.zeros(1), jnp.zeros(1), jnp.ones(1), 2.0)
      >>> print(f"{loss[0]:.3f}")
      0.693
    """
    return cross_entropy(ranking_logit(d0, d1, gamma), preference)


def cross_entropy(
    logit: Float[ArrayLike, "*triplets"], preference: Float[ArrayLike, "*triplets"]
) -> Float[Array, "*triplets"]:
    """-[p log p_hat + (1 - p) log(1 - p_hat)] for p_hat = sigmoid(logit), without overflow (eq. 12).

    Args:
      logit: of the predicted share that finds the second image closer, any real numbers.
      preference: the share that did, in [0, 1].

    Returns:
      One value >= 0 for each triplet, in nats.

    Example:
      >>> print(f"{cross_entropy(jnp.zeros(()), jnp.ones(())):.3f}")
      0.693
    """
    logit, preference = jnp.asarray(logit), jnp.asarray(preference)
    return -(preference * jax.nn.log_sigmoid(logit) + (1 - preference) * jax.nn.log_sigmoid(-logit))


def agreement(
    d0: Float[ArrayLike, "*triplets"],
    d1: Float[ArrayLike, "*triplets"],
    preference: Float[ArrayLike, "*triplets"],
) -> Float[Array, "*triplets"]:
    """The fraction of people who choose as the metric does: the 2AFC score of each triplet.

    Args:
      d0: distances to the first image.
      d1: distances to the second image.
      preference: fraction of people who judged the second image closer.

    Returns:
      In [0, 1], higher is better; 1/2 where the distances are equal, NaN where one is NaN. Its gradient
      with respect to the distances is 0: fit with `ranking_loss`.

    Example:
      >>> agreement(jnp.array([1.0, 2.0]), jnp.array([2.0, 2.0]), jnp.array([0.2, 0.2])).tolist()
      [0.800000011920929, 0.5]
    """
    d0, d1, preference = map(jnp.asarray, (d0, d1, preference))
    decided = jnp.where(d0 == d1, 0.5, jnp.where(d1 < d0, preference, 1 - preference))
    # The distances' own, as a NaN of ours would be reported by `jax.debug_nans`.
    return jnp.where(jnp.isnan(d0), d0, jnp.where(jnp.isnan(d1), d1, decided))


def human_agreement(preference: Float[ArrayLike, "*triplets"]) -> Float[Array, "*triplets"]:
    """The human reference: the expected agreement of a random observer, p^2 + (1 - p)^2.

    A metric can exceed it by always choosing with the majority, which scores max(p, 1 - p).

    Args:
      preference: fraction of people who judged the second image closer.

    Returns:
      In [1/2, 1].

    Example:
      >>> human_agreement(jnp.array([0.5, 1.0])).tolist()
      [0.5, 1.0]
    """
    preference = jnp.asarray(preference)
    return preference**2 + (1 - preference) ** 2


def mean_average_precision(
    distance: Float[ArrayLike, " pairs"], same: Float[ArrayLike, " pairs"]
) -> Float[Array, ""]:
    """How well distances find the pairs that people cannot tell apart (just noticeable differences).

    Pairs are called the same in the order of their distance. The result is the area under the curve of
    precision over recall, where precision is at each recall the best that is reached at this recall or
    a higher one. Pairs at one distance are called the same all at once, so that their order cannot
    matter.

    Args:
      distance: between the two images of each pair.
      same: share of people in [0, 1] who saw no difference; not 0 everywhere.

    Returns:
      In [0, 1], higher is better; NaN if `same` is 0 everywhere. Piecewise constant in the distances.

    Example:
      >>> distance, same = jnp.array([0.1, 0.2, 0.3]), jnp.array([1.0, 0.0, 1.0])
      >>> print(f"{mean_average_precision(distance, same):.4f}")
      0.8333

    References:
      R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang: The Unreasonable Effectiveness of Deep
      Features as a Perceptual Metric. CVPR 2018.
    """
    distance, same = jnp.asarray(distance), jnp.asarray(same)
    order = jnp.argsort(distance)
    distance, found = distance[order], jnp.cumsum(same[order])
    # All pairs at one distance count as found where the last of them is.
    last = jnp.searchsorted(distance, distance, side="right")
    found = found[last - 1]
    precision = found / last.astype(found.dtype)
    envelope = jax.lax.cummax(precision, reverse=True)
    gained = jnp.diff(found, prepend=jnp.zeros(1, found.dtype))
    return jnp.sum(gained * envelope) / found[-1]


def _magnitude(x: Array) -> Array:
    """|x|, with derivative 1 at 0 as the authors' sum of distances has it."""
    return jnp.where(x < 0, -x, x)
