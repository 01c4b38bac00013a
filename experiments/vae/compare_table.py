"""The table of several runs: as text, JSON and CSV."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments._common.workdir import write_json


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers of runs.

    Attributes:
      title: what was measured on what.
      columns: by label, the numbers by measure: one for each seed.
      notes: what a reader has to know.
    """

    title: str
    columns: Mapping[str, Mapping[str, Sequence[float]]]
    notes: Sequence[str]

    @property
    def measures(self) -> list[str]:
        """Those of all columns, in the order of the last one."""
        columns = reversed(list(self.columns.values()))
        return list(dict.fromkeys(name for column in columns for name in column))

    def cells(self) -> list[list[str]]:
        """The head, and a line for each measure."""
        head = ["", *map(self._head, self.columns)]
        return [head, *([name, *self._line(name)] for name in self.measures)]

    def format(self) -> str:
        """The table as text."""
        head, *body = self.cells()
        # Long names go to several lines.
        names = [name.replace(" (", "\n(").replace(", ", ",\n").split("\n") for name in head]
        depth = max(map(len, names))
        filled = [[""] * (depth - len(name)) + name for name in names]
        rows = [*map(list, zip(*filled, strict=True)), *body]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        text = [
            f"{row[0]:<{widths[0]}}  "
            + "  ".join(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))
            for row in rows
        ]
        table = "\n".join(line.rstrip() for line in text)
        return "\n\n".join([self.title, table, *filter(None, ["\n".join(self.notes)])])

    def write_json(self, path: Path, **facts: Any) -> None:
        """Writes the numbers with means and standard deviations, and `facts`."""
        records = {
            label: {
                name: {"values": list(v), "mean": _mean(v), "std": _std(v)}
                for name, v in column.items()
            }
            for label, column in self.columns.items()
        }
        write_json(path, {"title": self.title, "notes": [*self.notes], "runs": records, **facts})

    def write_csv(self, path: Path) -> None:
        """Writes a line for each number."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["run", "measure", "seeds", "mean", "std"])
            for label, column in self.columns.items():
                for name, values in column.items():
                    writer.writerow([label, name, len(values), _mean(values), _std(values)])

    def _line(self, name: str) -> list[str]:
        found = [column.get(name) for column in self.columns.values()]
        largest = max(abs(_mean(values)) for values in found if values is not None)
        # Three digits of the largest, and so many places of all.
        places = int(np.clip(2 - np.floor(np.log10(max(largest, 1e-9))), 1, 4))

        def cell(values: Sequence[float] | None) -> str:
            if values is None:
                return "-"
            mean, std = _mean(values), _std(values)
            text = f"{mean:.{places}f}"
            return text if std is None else f"{text} ±{std:.{places}f}"

        return [cell(values) for values in found]

    def _head(self, label: str) -> str:
        seeds = max(map(len, self.columns[label].values()))
        return f"{label} ({seeds} seeds)" if seeds > 1 else label


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _std(values: Sequence[float]) -> float | None:
    """With n - 1; None for one seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
