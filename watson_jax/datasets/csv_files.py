"""Own judgements from tables: choices between two images, or opinion scores of single ones.

A table is a CSV file with a header, or a Parquet file, and its paths are relative to its folder. The
columns, in any order and beside any others:

| judgement | columns |
|---|---|
| choices | `reference`, `first`, `second`, `preference`: the share of people in [0, 1] who found the second closer to the reference; `category` if you like |
| scores | `reference`, `distorted`, `score` |
"""  # noqa: E501

from __future__ import annotations

import csv
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from watson_jax.datasets._score_data import ScoreData
from watson_jax.datasets._two_afc_data import TwoAfcData
from watson_jax.datasets.decoding import in_parallel
from watson_jax.datasets.splits import held_out_by_name
from watson_jax.files import clause, first_few, plain
from watson_jax.image_files import read_image

SPLITS = ("all", "train", "val")
_CHOICES = ("reference", "first", "second")
_SCORED = ("reference", "distorted")
_RESERVED = ("all", "mean")  # columns of tables of scores

Row = tuple[int, dict[str, Any]]
"""Its number, where the header of a CSV file is row 1, and its cells by column."""

Problem = tuple[int, str]
"""The number of a row and what is wrong with it."""


def load_triplets_csv(
    path: str | os.PathLike[str],
    *,
    split: str = "all",
    size: int | None = None,
    fit: str = "crop",
    held_out: float = 0.2,
) -> TwoAfcData:
    """Reads choices between two distorted images.

    Args:
      path: the CSV or Parquet file; see the module for its columns.
      split: "train" or "val", between which originals are divided by a hash of their name, so that none
        is in both; or "all".
      size: side of the square that is made of each image; None: images as they are, all of one size.
      fit: how: "crop" keeps the middle as it is, "resize" shrinks the largest square in the middle.
      held_out: the share of the originals in "val".

    Returns:
      The triplets in the order of the file, in memory.

    Raises:
      ValueError: if an argument is wrong, or rows are; the first of them are named by their number.
      OSError: if the file cannot be read.
      ImportError: if Pillow, tqdm or, for Parquet, pyarrow is missing.
    """
    rows = _read_table(Path(path), (*_CHOICES, "preference"))
    images, problems = _load_images(Path(path), rows, _CHOICES, size, fit)
    preference = _numbers(rows, "preference", problems, 0, 1)
    names: dict[str, list[int]] = {}
    kept = _split([row["reference"] for _, row in rows], split, held_out)
    for place, index in enumerate(kept):
        number, row = rows[index]
        category = row.get("category")
        name = "" if category is None or category != category else str(category)
        if name in _RESERVED:
            problems.append((number, f"category must not be {category!r}"))
        if name:
            names.setdefault(name, []).append(place)
    _raise(Path(path), problems)
    reference, first, second = (images(column, kept) for column in _CHOICES)
    categories = {name: np.array(members) for name, members in sorted(names.items())}
    return TwoAfcData(reference, first, second, preference[kept], categories)


def load_scores_csv(
    path: str | os.PathLike[str],
    *,
    split: str = "all",
    size: int | None = None,
    fit: str = "crop",
    held_out: float = 0.2,
    lower_is_better: bool = False,
) -> ScoreData:
    """Reads mean opinion scores of distorted images.

    Args:
      path: as for `load_triplets_csv`.
      split: as for `load_triplets_csv`.
      size: as for `load_triplets_csv`.
      fit: as for `load_triplets_csv`.
      held_out: as for `load_triplets_csv`.
      lower_is_better: whether lower scores are better, as with DMOS.

    Returns:
      The scores in the order of the file, in memory; see its `correlations` and `triplets`.

    Raises:
      ValueError: as for `load_triplets_csv`.
      OSError: as for `load_triplets_csv`.
      ImportError: as for `load_triplets_csv`.
    """
    rows = _read_table(Path(path), (*_SCORED, "score"))
    images, problems = _load_images(Path(path), rows, _SCORED, size, fit)
    score = _numbers(rows, "score", problems, -math.inf, math.inf)
    _raise(Path(path), problems)
    names = [_name(row["reference"]) for _, row in rows]
    kept = _split(names, split, held_out)
    reference, distorted = (images(column, kept) for column in _SCORED)
    return ScoreData(
        reference, distorted, score[kept], tuple(names[i] for i in kept), lower_is_better
    )


def has_scores(path: str | os.PathLike[str]) -> bool:
    """Whether a table has opinion scores, and no choices.

    Raises:
      ValueError: if the file is no table.
      OSError: if it cannot be read.
    """
    columns = _read_table(Path(path))[0][1]
    return not {*_CHOICES, "preference"} <= set(columns)


def _read_table(path: Path, needed: Sequence[str] = ()) -> list[Row]:
    """The rows of a file with the needed columns; where none are named, those of either kind of file."""
    path = path.expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{plain(path)} is no file; name a CSV or Parquet file.")
    is_parquet = path.suffix.lower() == ".parquet"
    rows = _read_parquet(path) if is_parquet else _read_csv(path)
    if not rows:
        raise ValueError(f"{plain(path)} must hold rows after its header, got none.")
    has = rows[0][1]
    kinds = [needed] if needed else [(*_CHOICES, "preference"), (*_SCORED, "score")]
    if not any(set(kind) <= set(has) for kind in kinds):
        wanted = ", or ".join(",".join(kind) for kind in kinds)
        found = first_few([str(name) for name in has])
        raise ValueError(
            f"The header of {plain(path)} must have the columns {wanted}, got {found}."
        )
    return rows


def _read_csv(path: Path) -> list[Row]:
    rows: list[Row] = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise csv.Error("it has more or fewer cells than the header")
                rows.append((reader.line_num, {k.strip(): v.strip() for k, v in row.items()}))
        except csv.Error as error:
            raise ValueError(f"{plain(path)}, row {reader.line_num}: {clause(error)}.") from None
        except UnicodeDecodeError:
            raise ValueError(f"{plain(path)} must be text in UTF-8, and is not.") from None
    return rows


def _read_parquet(path: Path) -> list[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ImportError(
            f"{plain(path)} needs pyarrow to be read: `pip install pyarrow`, or save it as CSV."
        ) from None
    try:
        return list(enumerate(parquet.read_table(path).to_pylist(), 1))
    except (ArrowException, OSError) as error:
        raise ValueError(f"{plain(path)} is no Parquet file: {clause(error)}.") from None


@dataclasses.dataclass(frozen=True)
class _Image:
    """An image as it is wanted, its size in the file, or what is wrong."""

    pixels: UInt8[np.ndarray, "height width 3"] | None = None
    size: str = ""
    problem: str = ""


def _load_images(
    table: Path, rows: Sequence[Row], columns: Sequence[str], size: int | None, fit: str
) -> tuple[Callable[[str, Sequence[int]], np.ndarray], list[Problem]]:
    """What makes the arrays of a column and of some rows, and what is wrong with rows."""
    if fit not in ("crop", "resize"):
        raise ValueError(f'`fit` must be "crop" or "resize", got {fit!r}.')
    if size is not None and size < 1:
        raise ValueError(f"`size` must be at least 1, got {size}.")
    names = list(dict.fromkeys(_name(row[column]) for _, row in rows for column in columns))
    decode = functools.partial(_decode, table.expanduser().parent, size, fit)
    decoded = in_parallel(decode, names, number=len(names), name=table.name, unit="images")
    found = dict(zip(names, decoded, strict=True))
    problems: list[Problem] = []
    common = ""
    for number, row in rows:
        cells = [found[_name(row[column])] for column in columns]
        sizes = [cell.size for cell in cells]
        if wrong := [cell.problem for cell in cells if cell.problem]:
            problems.append((number, wrong[0]))
        elif len(set(sizes)) > 1:
            problems.append((number, f"its images differ in size: {', '.join(sizes)}"))
        elif size is None and sizes[0] != (common := common or sizes[0]):
            problems.append((number, f"{sizes[0]}, not {common} as before: set `size`"))

    def arrays(column: str, kept: Sequence[int]) -> np.ndarray:
        images = (found[_name(rows[i][1][column])].pixels for i in kept)
        return np.stack([image for image in images if image is not None])

    return arrays, problems


def _decode(folder: Path, size: int | None, fit: str, name: str) -> _Image:
    if not name:
        return _Image(problem="a path is empty")
    try:
        values = read_image(folder / os.path.expanduser(name))
    except (OSError, ValueError) as error:
        return _Image(problem=clause(error))
    image = np.rint(255 * values).astype(np.uint8)
    height, width, _ = image.shape
    if size is None:
        return _Image(image, f"{width}x{height}")
    side = size if fit == "crop" else min(height, width)
    if side > min(height, width):
        return _Image(problem=f"{plain(name)} is {width}x{height}, too small for {size}x{size}")
    top, left = (height - side) // 2, (width - side) // 2
    part = image[top : top + side, left : left + side]
    if side != size:
        from PIL import Image

        small = Image.fromarray(part).resize((size, size), Image.Resampling.BILINEAR)
        part = np.asarray(small)
    return _Image(part, f"{width}x{height}")


def _numbers(
    rows: Sequence[Row], column: str, problems: list[Problem], low: float, high: float
) -> np.ndarray:
    values = np.zeros(len(rows), np.float32)
    wanted = f"in [{low:g}, {high:g}]" if math.isfinite(low) else "a number"
    for index, (number, row) in enumerate(rows):
        try:
            value = float(row[column])
        except (TypeError, ValueError):
            value = math.nan
        if math.isfinite(value) and low <= value <= high:
            values[index] = value
        else:
            problems.append((number, f"{column} must be {wanted}, got {row[column]!r}"))
    return values


def _raise(path: Path, problems: list[Problem]) -> None:
    if problems:
        shown = first_few([f"row {number} ({text})" for number, text in sorted(problems)])
        raise ValueError(f"{plain(path)} has rows that cannot be used: {shown}.")


def _name(cell: object) -> str:
    """A path as one of several ways to write it."""
    text = str(cell or "").strip()
    return os.path.normpath(text) if text else ""


def _split(references: Iterable[object], split: str, held_out: float) -> list[int]:
    """The indices of rows whose original belongs to the split."""
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}.")
    if not 0 < held_out < 1:
        raise ValueError(f"`held_out` must lie between 0 and 1, got {held_out}.")
    names = [_name(reference) for reference in references]
    if split == "all":
        return list(range(len(names)))
    originals = sorted(set(names))
    if len(originals) < 2:
        raise ValueError(f"A split needs at least 2 originals, got {len(originals)}.")
    in_val = dict(zip(originals, held_out_by_name(originals, held_out), strict=True))
    return [i for i, name in enumerate(names) if in_val[name] == (split == "val")]
