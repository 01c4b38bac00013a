"""How well losses predict opinion scores: three correlations for each, as text, JSON and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments._common.cli import UserError, user_errors
from experiments._common.workdir import make_folder, versions, write_csv, write_json
from experiments.two_afc.data import CsvTable
from experiments.two_afc.evaluate import (
    check_fits,
    check_names,
    check_workdir,
    load_candidates,
    measure,
)
from watson_jax.datasets import load_scores_csv
from watson_jax.tables import format_table

MEASURES = ("SRCC", "KRCC", "PLCC")


def correlate_losses(
    names: Sequence[str],
    *,
    table: CsvTable,
    color: str,
    workdir: Path,
    split: str = "all",
    batch_size: int = 100,
) -> dict[str, dict[str, list[float]]]:
    """Correlates losses with opinion scores, prints a table and leaves the numbers in `workdir`.

    Args:
      names: the losses, as for `load_candidate`.
      table: the file of scores.
      color: "rgb" or "gray".
      workdir: folder to create, without earlier scores in it.
      split: "all", "train" or "val".
      batch_size: records at once.

    Returns:
      By loss and measure, a value for each trial.

    Raises:
      UserError: if one of these is not as it should be.
    """
    check_names(names, color)
    check_workdir(workdir)
    with user_errors(rename=table.flags):
        data = load_scores_csv(
            table.path, split=split, size=table.size, fit=table.fit,
            lower_is_better=table.lower_is_better,
        )  # fmt: skip
    if len(data) < 2:
        raise UserError(f"--csv must have at least 2 scores in --splits={split}, got {len(data)}.")
    candidates, left_out = load_candidates(names, color, data.reference.shape[1:3])
    for one in candidates:
        check_fits(one, data, color)
    make_folder("--workdir", workdir)
    found: dict[str, dict[str, list[float]]] = {}
    for one in candidates:
        (values,) = measure(one, data, color, batch_size, split)
        trials = [data.correlations(d) for d in values]
        found[one.name] = {measure: [trial[measure] for trial in trials] for measure in MEASURES}
    print(
        f"{table.path}, {split}, {color}: {data!r}; correlations of closeness and quality, 1 is best"
    )
    rows = ([name, *(f"{np.mean(m[k]):.3f}" for k in MEASURES)] for name, m in found.items())
    print(format_table(["", *MEASURES], rows))
    # JSON knows no NaN, which equal scores or distances have.
    numbers = {
        name: {k: [v if np.isfinite(v) else None for v in values] for k, values in measures.items()}
        for name, measures in found.items()
    }
    lines = [
        [name, trial, *row]
        for name, measures in numbers.items()
        for trial, row in enumerate(zip(*measures.values(), strict=True))
    ]
    write_csv(workdir / "scores.csv", ["name", "trial", *MEASURES], lines)
    write_json(
        workdir / "scores.json",
        {"versions": versions(), "data": str(table.path), "split": split, "color": color}
        | {"records": len(data), "correlations": numbers, "left_out": left_out},
    )
    print("Files:", workdir / "scores.json", workdir / "scores.csv", sep="\n  ")
    return found
