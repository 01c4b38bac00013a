"""Records as a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from watson_jax.tables import format_table, terminal_width

_WORST = 5

Record = Mapping[str, Any]


def write_records(records: Sequence[Record], form: str) -> None:
    """Writes records of the same keys to stdout."""
    if form == "json":
        print(json.dumps([_plain(record) for record in records], indent=2))
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    else:
        print(format_records(records))


def format_records(records: Sequence[Record]) -> str:
    """Text in columns, numbers flush right."""
    texts = [i for i, value in enumerate(records[0].values()) if not isinstance(value, float)]
    rows = (
        [f"{v:.6g}" if isinstance(v, float) else str(v) for v in record.values()]
        for record in records
    )
    return format_table(list(records[0]), rows, left=texts, width=terminal_width())


def summarize(names: Sequence[str], distances: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Mean, median and the pairs with the largest distances, for each loss."""
    return [
        {
            "loss": loss,
            "mean": float(np.mean(values)),
            "median": float(np.median(values)),
            "worst": [
                {"pair": names[i], "distance": float(values[i])}
                for i in np.argsort(-values, kind="stable")[:_WORST]
            ],
        }
        for loss, values in distances.items()
    ]


def format_summary(summary: Sequence[Record]) -> str:
    """The summary as text."""
    rows = [
        {
            **{key: record[key] for key in ("loss", "mean", "median")},
            "largest": ", ".join(f"{w['pair']} ({w['distance']:.4g})" for w in record["worst"]),
        }
        for record in summary
    ]
    return format_records(rows)


def write_json(records: Sequence[Record], summary: Sequence[Record]) -> None:
    """The distances and their summary as one object."""
    print(json.dumps(_plain({"pairs": records, "summary": summary}), indent=2))


def _plain(value: Any) -> Any:
    """JSON knows neither NaN nor infinity."""
    if isinstance(value, Mapping):
        return {key: _plain(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
