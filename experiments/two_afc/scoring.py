"""How well a loss predicts people's judgements: distances, and the scores that they earn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jaxtyping import Float

from experiments.two_afc.data import padded_batches, to_images
from watson_jax.datasets import JndData, ScoreData, TwoAfcData
from watson_jax.two_afc import agreement, human_agreement, mean_average_precision

MEAN, ALL = "mean", "all"
PEOPLE, BEST = "human reference", "best possible"

Judgements = TwoAfcData | JndData
Scores = dict[str, list[float]]


def distances(
    fn: Callable[[Any, Any, Any], Any],
    trials: Sequence[Any],
    data: Judgements | ScoreData,
    color: str,
    *,
    batch_size: int = 100,
    progress: bool = True,
    description: str = "",
) -> tuple[Float[np.ndarray, "trials records"], ...]:
    """Compares the images of every record.

    All trials are computed together, and what their parameters have in common only once: the features of
    a network, for trials that differ in the weights after it.

    Args:
      fn: the loss, `fn(params, image, reference)`.
      trials: one or more sets of parameters; `[()]` for a loss without.
      data: the records.
      color: "rgb" or "gray".
      batch_size: records at once.
      progress: whether to show a bar, if there is a terminal.
      description: of the bar.

    Returns:
      The distances (d0, d1) to the first and the second image; for JND, (d,) between the two images, the
      first of which is the reference; for scores, (d,) to the distorted image.

    Raises:
      ValueError: if the trials are of several losses.
      FloatingPointError: if distances are not finite.
    """
    over_trials, params = _share(fn, trials)

    @jax.jit
    def compare(params, reference, *images):
        reference = to_images(reference, color)
        return [over_trials(params, to_images(image, color), reference) for image in images]

    arrays = images_of(data)
    parts = []
    with tqdm.tqdm(
        total=len(data),
        desc=description,
        unit="records",
        leave=False,
        disable=None if progress else True,
    ) as bar:
        for rows, number in padded_batches(len(data), batch_size):
            batch = compare(params, *(np.asarray(x[rows]) for x in arrays))
            parts.append([np.asarray(d)[:, :number] for d in batch])
            bar.update(number)
    result = tuple(np.concatenate(d, axis=1) for d in zip(*parts, strict=True))
    if bad := sum(int(np.sum(~np.isfinite(d))) for d in result):
        raise FloatingPointError(
            f"{bad} of {sum(d.size for d in result)} distances are not finite."
        )
    return result


def images_of(data: Judgements | ScoreData) -> tuple[np.ndarray, ...]:
    """The reference, then what is compared with it."""
    if isinstance(data, TwoAfcData):
        return data.reference, data.first, data.second
    if isinstance(data, ScoreData):
        return data.reference, data.distorted
    return data.first, data.second


def members_of(data: Judgements) -> dict[str, np.ndarray]:
    """Which records a category has, for those that have any."""
    return {name: rows for name, rows in data.categories.items() if len(rows)}


def check_images(
    fn: Callable[[Any, Any, Any], Any], params: Any, data: Judgements | ScoreData, color: str
) -> None:
    """Raises what `fn` raises for images of this size and colour, without computing anything."""
    height, width = images_of(data)[0].shape[1:3]
    image = jax.ShapeDtypeStruct((1, height, width, 1 if color == "gray" else 3), jnp.float32)
    jax.eval_shape(fn, params, image, image)


def score(found: Sequence[Float[np.ndarray, "trials records"]], data: Judgements) -> Scores:
    """Scores distances by category.

    Args:
      found: what `distances` returned.
      data: the same records.

    Returns:
      Percentages, one for each trial, by column: "mean" over the categories, each of which counts the
      same, as in the paper's summary; "all" records; and each category.
    """
    if isinstance(data, TwoAfcData):
        d0, d1 = (jnp.asarray(d) for d in found)
        share = jnp.broadcast_to(jnp.asarray(data.preference), d0.shape)
        return _by_category(np.asarray(agreement(d0, d1, share)), data)
    distance, same = jnp.asarray(found[0]), jnp.asarray(data.same)
    members = {ALL: np.arange(len(data)), **members_of(data)}
    return _columns(
        {
            name: np.array([mean_average_precision(d[rows], same[rows]) for d in distance])
            for name, rows in members.items()
        }
    )


def reference_scores(data: Judgements) -> dict[str, Scores]:
    """What scores are compared with: the human reference, and the best that any metric can reach."""
    if isinstance(data, JndData):
        return {BEST: score([-data.same[None]], data)}
    p = np.asarray(data.preference)
    values = {PEOPLE: np.asarray(human_agreement(jnp.asarray(p))), BEST: np.maximum(p, 1 - p)}
    return {name: _by_category(v[None], data) for name, v in values.items()}


def _share(fn: Callable[..., Any], trials: Sequence[Any]) -> tuple[Callable[..., Any], list[Any]]:
    """`fn` over all trials at once, and its parameters: those that differ stacked, the others once."""
    tree: Any = jax.tree.structure(trials[0])
    if any(jax.tree.structure(params) != tree for params in trials):
        raise ValueError("The trials' parameters are not all of one kind.")
    params: list[Any] = []
    axes: list[int | None] = []
    for leaves in zip(*map(jax.tree.leaves, trials), strict=True):
        is_shared = all(np.array_equal(leaf, leaves[0]) for leaf in leaves[1:])
        params.append(leaves[0] if is_shared else np.stack(leaves))
        axes.append(None if is_shared else 0)

    def of_leaves(leaves, image, reference):
        return fn(jax.tree.unflatten(tree, leaves), image, reference)

    return jax.vmap(of_leaves, (axes, None, None), axis_size=len(trials)), params


def _by_category(values: Float[np.ndarray, "trials records"], data: Judgements) -> Scores:
    """Means of values in [0, 1] over the records of each category."""
    values = values.astype(np.float64)
    members = {ALL: np.arange(len(data)), **members_of(data)}
    return _columns({name: values[:, rows].mean(axis=1) for name, rows in members.items()})


def _columns(values: Mapping[str, Float[np.ndarray, " trials"]]) -> Scores:
    """Percentages by column, with the mean over the categories as the first one."""
    mean = np.mean([v for name, v in values.items() if name != ALL] or [values[ALL]], axis=0)
    percent = {name: 100 * np.asarray(v, np.float64) for name, v in {MEAN: mean, **values}.items()}
    return {name: v.round(4).tolist() for name, v in percent.items()}
