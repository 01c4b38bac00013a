"""The table of several runs: as text, JSON and CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments._common import repeats
from experiments._common.workdir import write_csv, write_json
from watson_jax.tables import format_table


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
        head = [name.replace(" (", "\n(").replace(", ", ",\n") for name in head]
        notes = "\n".join(self.notes)
        return "\n\n".join(filter(None, [self.title, format_table(head, body), notes]))

    def write_json(self, path: Path, **facts: Any) -> None:
        """Writes the numbers with means and standard deviations, and `facts`."""
        records = {
            label: {
                name: {"values": list(v), "mean": repeats.mean(v), "std": repeats.std(v)}
                for name, v in column.items()
            }
            for label, column in self.columns.items()
        }
        write_json(path, {"title": self.title, "notes": [*self.notes], "runs": records, **facts})

    def write_csv(self, path: Path) -> None:
        """Writes a line for each number."""
        lines = [
            (label, name, len(values), repeats.mean(values), repeats.std(values))
            for label, column in self.columns.items()
            for name, values in column.items()
        ]
        write_csv(path, ["run", "measure", "seeds", "mean", "std"], lines)

    def _line(self, name: str) -> list[str]:
        found = [column.get(name) for column in self.columns.values()]
        largest = max(abs(repeats.mean(values)) for values in found if values is not None)
        # Three digits of the largest, and so many places of all.
        places = int(np.clip(2 - np.floor(np.log10(max(largest, 1e-9))), 1, 4))
        return [repeats.cell(values, places) for values in found]

    def _head(self, label: str) -> str:
        seeds = max(map(len, self.columns[label].values()))
        return f"{label} ({seeds} seeds)" if seeds > 1 else label
