"""Opinion scores of distorted images, in memory."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike

from watson_jax.datasets._two_afc_data import TwoAfcData


@dataclasses.dataclass(frozen=True)
class ScoreData:
    """People's opinions of how good distorted images look.

    Attributes:
      reference: the originals, bytes, `[records, height, width, 3]`.
      distorted: a distorted version of each, the same shape.
      score: the mean opinion of each, float32 `[records]`, on any scale.
      names: the name of each original; records of one name are about one image.
      lower_is_better: whether a lower score means a better image, as with DMOS.
    """

    reference: UInt8[np.ndarray, "records height width 3"]
    distorted: UInt8[np.ndarray, "records height width 3"]
    score: Float[np.ndarray, " records"]
    names: tuple[str, ...]
    lower_is_better: bool = False

    def __len__(self) -> int:
        return len(self.score)

    def __repr__(self) -> str:
        number = len(set(self.names))
        return f"ScoreData({len(self)} images of {number} originals, {self.reference.shape[1:]})"

    @property
    def quality(self) -> Float[np.ndarray, " records"]:
        """The scores with the sign that makes higher better."""
        return -self.score if self.lower_is_better else self.score

    def correlations(self, distances: ArrayLike) -> dict[str, float]:
        """How well distances order and predict the scores.

        Args:
          distances: one for each record, `loss(distorted, reference)`.

        Returns:
          "SRCC" (Spearman), "KRCC" (Kendall's tau-b) and "PLCC" (Pearson, of the distances as they are,
          without a regression before), in [-1, 1]; 1 is best. NaN where all values are equal.

        Raises:
          ValueError: if there is not one distance for each record, or fewer than two records.
        """
        from scipy import stats

        found = np.asarray(distances, np.float64)
        if found.shape != self.score.shape or len(self) < 2:
            raise ValueError(
                f"`distances` must be one for each of at least 2 records, got {found.shape} for "
                f"{len(self)} records."
            )
        measures = {"SRCC": stats.spearmanr, "KRCC": stats.kendalltau, "PLCC": stats.pearsonr}
        if np.ptp(found) == 0 or np.ptp(self.score) == 0:
            return dict.fromkeys(measures, float("nan"))
        return {name: float(f(-found, self.quality).statistic) for name, f in measures.items()}

    def triplets(
        self, *, spread: float | None = None, per_reference: int = 200, seed: int = 0
    ) -> TwoAfcData:
        """Pairs of distorted images of one original, as judgements of which is closer to it.

        Args:
          spread: the standard deviation of one person's opinion of one image; the preference is then
            Thurstone's Φ((m₂ - m₁) / (√2 spread)) of the scores m. None: 1 or 0, by the higher score.
          per_reference: pairs of each original at most, drawn at random.
          seed: of what is drawn, and of which image comes first.

        Returns:
          The triplets, without categories. Pairs of equal scores are left out if `spread` is None.

        Raises:
          ValueError: if there are no pairs, or `spread` is not above 0.
        """
        if spread is not None and not spread > 0:
            raise ValueError(f"`spread` must be above 0, or None, got {spread}.")
        from scipy.special import ndtr

        rng = np.random.default_rng(seed)
        rows_of: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            rows_of.setdefault(name, []).append(row)
        chosen = []
        for rows in rows_of.values():
            pairs = np.array(list(itertools.combinations(rows, 2)), int).reshape(-1, 2)
            if spread is None:
                pairs = pairs[self.score[pairs[:, 0]] != self.score[pairs[:, 1]]]
            chosen.append(rng.permuted(rng.permutation(pairs)[:per_reference], axis=1))
        first, second = np.concatenate(chosen).T
        if not len(first):
            raise ValueError("There must be an original with two scores that differ, got none.")
        better = (self.quality[second] - self.quality[first]).astype(np.float64)
        preference = better > 0 if spread is None else ndtr(better / (np.sqrt(2) * spread))
        return TwoAfcData(
            self.reference[first],
            self.distorted[first],
            self.distorted[second],
            preference.astype(np.float32),
            {},
        )
