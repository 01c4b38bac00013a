"""Tables of scores: as text, JSON and CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments._common import repeats
from experiments._common.workdir import write_csv, write_json
from experiments.two_afc.data import NOTES
from experiments.two_afc.published import published_scores
from experiments.two_afc.scoring import ALL, MEAN, Judgements, members_of, reference_scores
from watson_jax.datasets import TwoAfcData
from watson_jax.tables import format_table

AGREEMENT, PRECISION = "agreement with people", "mean average precision"

Kind = Literal["loss", "published", "reference"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
      name: what `--losses` calls it, or one of the references.
      kind: a loss scored here, its published score, or a reference.
      scores: percentages, one for each trial, by column; a column may be missing.
    """

    name: str
    kind: Kind
    scores: Mapping[str, Sequence[float]]

    @property
    def trials(self) -> int:
        """Number of trials."""
        return len(self.scores[MEAN])

    def mean(self, column: str) -> float | None:
        """Over trials."""
        return repeats.mean(self.scores[column]) if column in self.scores else None

    def std(self, column: str) -> float | None:
        """Over trials, with n - 1; None for one trial."""
        return repeats.std(self.scores[column]) if column in self.scores else None


@dataclasses.dataclass(frozen=True)
class ScoreTable:
    """The scores of losses on one part of the data.

    Attributes:
      data: name of the data set.
      split: and of its part.
      color: "rgb" or "gray".
      measure: what the percentages are.
      records: their numbers: "all" and those of each category.
      rows: losses, each followed by its published scores if it has some, then the references.
    """

    data: str
    split: str
    color: str
    measure: str
    records: Mapping[str, int]
    rows: Sequence[Row]

    @property
    def title(self) -> str:
        """What was scored."""
        return f"{self.data} {self.split}, {self.color}, {self.records[ALL]:,} records"

    @property
    def note(self) -> str:
        """What a reader has to know about the people; may be empty."""
        return NOTES.get(self.data, "")

    @property
    def categories(self) -> list[str]:
        """The columns that are categories."""
        return [column for column in self.records if column != ALL]

    def of_kind(self, kind: Kind) -> list[Row]:
        """The rows of this kind, in order."""
        return [row for row in self.rows if row.kind == kind]

    def format(self, width: int = 100) -> str:
        """The table as text, in blocks of columns that are `width` characters wide if they can be."""
        columns, names = [MEAN, *self.records], [_row_name(row) for row in self.rows]
        cells = {c: [repeats.cell(row.scores.get(c), 1) for row in self.rows] for c in columns}
        # A column is as wide as the widest; its name goes to several lines.
        widest = max(len(text) for c in columns for text in (*c.split(), *cells[c]))
        number = max(1, (width - max(map(len, names))) // (widest + 2))
        blocks = [
            format_table(
                ["", *(c.replace(" ", "\n") for c in some)],
                zip(names, *(cells[c] for c in some), strict=True),
            )
            for some in (columns[i : i + number] for i in range(0, len(columns), number))
        ]
        title = f"{self.title}: {self.measure} in %"
        return "\n\n".join([title, *filter(None, [self.note]), *blocks])


def make_table(
    data: Judgements, rows: Iterable[Row], *, name: str, split: str, color: str
) -> ScoreTable:
    """Puts rows of losses and the references of the data together."""
    records = {ALL: len(data)} | {k: len(rows) for k, rows in members_of(data).items()}
    measure = AGREEMENT if isinstance(data, TwoAfcData) else PRECISION
    references = [Row(k, "reference", scores) for k, scores in reference_scores(data).items()]
    return ScoreTable(name, split, color, measure, records, [*rows, *references])


def published_rows(name: str, loss: str, color: str) -> list[Row]:
    """The published scores of `loss` on BAPPS if there are any, to stand below the row `name`."""
    scores = published_scores(loss, color)
    if scores is None:
        return []
    scores = {MEAN: float(np.mean(list(scores.values()))), **scores}
    return [Row(name, "published", {column: [_round(100 * x)] for column, x in scores.items()})]


def write_tables(path: Path, tables: Sequence[ScoreTable], **facts: Any) -> None:
    """Writes tables as JSON, with means and standard deviations for whoever reads it; and `facts`."""

    def row_record(row: Row) -> dict[str, Any]:
        record = dataclasses.asdict(row)
        record["mean"] = {column: _round(row.mean(column)) for column in row.scores}
        if row.trials > 1:
            record["std"] = {column: _round(row.std(column)) for column in row.scores}
        return record

    records = [
        {**dataclasses.asdict(table), "rows": [row_record(row) for row in table.rows]}
        for table in tables
    ]
    write_json(path, {**facts, "unit": "percent", "tables": records})


def write_csv_tables(path: Path, tables: Sequence[ScoreTable]) -> None:
    """Writes a line for each row and column of each table."""
    lines = [
        {"data": table.data, "split": table.split, "color": table.color, "measure": table.measure}
        | {"kind": row.kind, "name": row.name, "trials": row.trials, "column": column}
        | {"mean": _round(row.mean(column)), "std": _round(row.std(column))}
        for table in tables
        for row in table.rows
        for column in row.scores
    ]
    write_csv(path, list(lines[0]), [list(line.values()) for line in lines])


def _row_name(row: Row) -> str:
    if row.kind == "published":
        return "  as published"
    return f"{row.name} ({row.trials} trials)" if row.trials > 1 else row.name


def _round(x: Any) -> Any:
    return None if x is None else round(float(x), 4)
