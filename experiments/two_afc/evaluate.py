"""Scores a list of losses on human judgements: from their names to tables and pictures."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import watson_jax as wj
from experiments._common.cli import UserError, check_choice, user_errors
from experiments._common.workdir import make_folder, read_json, versions
from experiments.two_afc.data import (
    IMAGE_SIZE,
    JND_SPLITS,
    SPLITS,
    CsvTable,
    check_bapps_dir,
    load_data,
    load_jnd_data,
)
from experiments.two_afc.disagreements import Choices, choices, save_disagreements
from experiments.two_afc.figures import save_scores
from experiments.two_afc.scoring import Judgements, check_images, distances, images_of, score
from experiments.two_afc.tables import (
    Row,
    ScoreTable,
    make_table,
    published_rows,
    write_csv_tables,
    write_tables,
)
from watson_jax.datasets import ScoreData, TwoAfcData
from watson_jax.files import clause

ALL_SPLITS = {**SPLITS, **JND_SPLITS, "csv": ("all", *SPLITS["csv"])}


class MissingWeightsError(OSError):
    """Weights that cannot be fetched; the text is one sentence."""


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A loss to score.

    Attributes:
      name: as it was asked for.
      loss: the canonical name of the loss.
      fn: `fn(params, image, reference)`.
      trials: sets of parameters: one, or those of every trial of a fit.
      has_published_scores: whether the published scores of the loss are about weights as these.
    """

    name: str
    loss: str
    fn: Callable[[Any, Any, Any], Any]
    trials: Sequence[Any]
    has_published_scores: bool


def load_candidate(name: str, *, color: str, image_size: tuple[int, int] = IMAGE_SIZE) -> Candidate:
    """Loads what an entry of `--losses` names.

    Args:
      name: a loss, `loss:weights`, or the folder of a fit, which holds files `trial-*.npz`.
      color: "rgb" or "gray".
      image_size: (height, width), for weights that depend on it.

    Raises:
      MissingWeightsError: if the weights exist, but cannot be had on this machine.
      UserError: if the entry is wrong in itself.
    """
    if Path(name).expanduser().is_dir():
        return _load_fit(name, color, image_size)
    given, colon, weights = name.partition(":")
    if "/" in given:
        raise UserError(
            f"--losses must name losses or folders of fits, got {name!r}, which is no folder."
        )
    with user_errors(rename={"`name`": "--losses"}):
        spec = wj.loss_info(given)
    loss = spec.name
    kind = weights or spec.default_weights
    try:
        found = wj.get_loss(
            loss, color=color, weights=weights if colon else None, image_size=image_size
        )
    except (ValueError, TypeError, OSError) as error:
        if kind in spec.weights and isinstance(error, OSError):
            raise MissingWeightsError(str(error)) from error
        raise UserError(f"--losses={name}: {error}") from error
    # A file may be the authors'; what has a name is what it says.
    is_papers = kind == spec.paper_weights or kind not in spec.weights
    return Candidate(name, loss, found.fn, [found.params], is_papers)


def score_losses(
    names: Sequence[str],
    *,
    data: str,
    color: str,
    workdir: Path,
    bapps_dir: str | None = None,
    splits: Sequence[str] | None = None,
    compare: Sequence[str] | None = None,
    batch_size: int = 100,
    table: CsvTable | None = None,
) -> list[ScoreTable]:
    """Scores losses, prints a table for each split and leaves numbers and pictures in `workdir`.

    Losses whose weights cannot be fetched are left out with a sentence.

    Args:
      names: the losses, as for `load_candidate`.
      data: name of the data.
      color: "rgb" or "gray".
      workdir: folder to create, without earlier scores in it.
      bapps_dir: the folder of BAPPS.
      splits: of the data; by default all but "train".
      compare: the two of the losses whose disagreements are drawn; by default the first and the last.
      batch_size: records at once.
      table: the file of "csv".

    Raises:
      UserError: if one of these is not as it should be.
    """
    check_choice("--data", data, ALL_SPLITS)
    check_names(names, color)
    if compare is not None:
        if len(set(compare)) != 2:
            raise UserError(f"--compare must be two losses, got {','.join(compare)!r}.")
        for name in compare:
            check_choice("--compare", name, names)
        if data in JND_SPLITS:
            raise UserError(f"--compare must be left out with --data={data}, which has no choices.")
    check_bapps_dir(data, bapps_dir)
    check_workdir(workdir)
    for split in splits or ():
        check_choice("--splits", split, ALL_SPLITS[data])
    if data.startswith("bapps") and not (bapps_dir and Path(bapps_dir).is_dir()):
        raise UserError(
            "--bapps_dir must name the folder of BAPPS's unpacked archives, or of TensorFlow Datasets, "
            f"got {bapps_dir!r}."
        )
    if table is not None:
        parts = _load_parts(data, color, bapps_dir, splits, table)
        candidates, left_out = load_candidates(names, color, _size_of(parts))
    else:  # The losses first: it may take minutes until the data are there.
        candidates, left_out = load_candidates(names, color)
        parts = _load_parts(data, color, bapps_dir, splits)
    for candidate in candidates:
        check_fits(candidate, next(iter(parts.values())), color)
    pair = compare or [candidates[0].name, candidates[-1].name]
    if missing := [name for name in pair if name in left_out]:
        print(f"There is no picture of disagreements without {missing[0]}.")
        pair = []
    make_folder("--workdir", workdir)

    tables: list[ScoreTable] = []
    pictures: list[Path] = []
    found_in: dict[str, dict[str, tuple[np.ndarray, ...]]] = {}
    for split, part in parts.items():
        rows, found = _score_split(candidates, part, split, color, batch_size)
        if data == "bapps" and split == "val":
            rows = _with_published(rows, candidates, color)
        scores = make_table(part, rows, name=data, split=split, color=color)
        print(scores.format(shutil.get_terminal_size((120, 24)).columns), end="\n\n")
        tables.append(scores)
        found_in[split] = found
    # The numbers first, which took time.
    numbers = [workdir / "scores.json", workdir / "scores.csv"]
    write_csv_tables(numbers[1], tables)
    write_tables(numbers[0], tables, versions=versions(), losses=list(names), left_out=left_out)
    for (split, part), scores in zip(parts.items(), tables, strict=True):
        pictures.append(workdir / f"scores-{split}.png")
        save_scores(pictures[-1], scores)
        if isinstance(part, TwoAfcData) and len(set(pair)) == 2:
            pictures.append(workdir / f"disagreements-{split}.png")
            a, b = (_first_choices(name, found_in[split][name], part) for name in pair)
            title = f"Where two losses disagree most: {scores.title}"
            save_disagreements(pictures[-1], part, a, b, color=color, title=title, note=scores.note)
    print("Files:", *pictures, *numbers, sep="\n  ")
    return tables


def check_names(names: Sequence[str], color: str) -> None:
    """Raises a `UserError` if there is no such colour or a loss is named twice."""
    check_choice("--color", color, ("rgb", "gray"))
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--losses must name every loss once, got {repeated[0]!r} repeatedly.")


def check_workdir(workdir: Path) -> None:
    """Raises a `UserError` if there are scores in the folder."""
    if (workdir / "scores.json").exists():
        raise UserError(f"--workdir={workdir} already holds scores; name another folder.")


def _load_fit(name: str, color: str, image_size: tuple[int, int]) -> Candidate:
    """The trials at the learning rate that was best on the training records: they differ in the seed."""
    folder = Path(name).expanduser()
    if not (folder / "result.json").is_file():
        raise UserError(
            f"--losses={name} must be the folder of a finished fit; it has no result.json."
        )
    result, config = (read_json(folder / file) for file in ("result.json", "config.json"))
    try:
        loss, data = config["loss"], config["data"]
        rate = result["best_on_training_records"]["learning_rate"]
        files = [t["file"] for t in result["trials"] if t["learning_rate"] == rate and t["file"]]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"--losses={name} must be the folder of a fit; its result.json or config.json lacks "
            f"{clause(error)}."
        ) from None
    if not files:
        raise UserError(
            f"--losses={name} must be the folder of a fit; its result.json names no file."
        )
    with user_errors():
        found = [
            wj.get_loss(loss, color=color, weights=folder / file, image_size=image_size)
            for file in files
        ]
    return Candidate(name, loss, found[0].fn, [one.params for one in found], data == "bapps")


def _load_parts(
    data: str,
    color: str,
    bapps_dir: str | None,
    splits: Sequence[str] | None,
    table: CsvTable | None = None,
) -> dict[str, Judgements]:
    if table is not None:
        with user_errors(rename=table.flags):
            return {**load_data(data, color=color, splits=splits or ["all"], table=table)}
    wanted = splits or [split for split in ALL_SPLITS[data] if split != "train"]
    with user_errors(rename={"`folder`": "--bapps_dir", "`data_dir`": "--bapps_dir"}):
        if data in JND_SPLITS:
            return {**load_jnd_data(data, data_dir=bapps_dir, splits=wanted)}
        return {**load_data(data, color=color, data_dir=bapps_dir, splits=wanted)}


def _size_of(parts: Mapping[str, Judgements]) -> tuple[int, int]:
    height, width = images_of(next(iter(parts.values())))[0].shape[1:3]
    return height, width


def load_candidates(
    names: Sequence[str], color: str, image_size: tuple[int, int] = IMAGE_SIZE
) -> tuple[list[Candidate], dict[str, str]]:
    """The losses that can be scored, and why others cannot."""
    candidates, left_out = [], {}
    for name in names:
        try:
            candidates.append(load_candidate(name, color=color, image_size=image_size))
        except MissingWeightsError as error:
            left_out[name] = str(error)
            print(f"{name} is left out. {error}")
    if not candidates:
        raise UserError(f"--losses={','.join(names)}: none of them can be scored without weights.")
    return candidates, left_out


def check_fits(candidate: Candidate, part: Judgements | ScoreData, color: str) -> None:
    """Raises a `UserError` if the loss does not take images as these."""
    try:
        check_images(candidate.fn, candidate.trials[0], part, color)
    except ValueError as error:
        raise UserError(f"--losses={candidate.name} cannot be used here: {error}") from error


def measure(
    candidate: Candidate, part: Judgements | ScoreData, color: str, batch_size: int, split: str
) -> tuple[np.ndarray, ...]:
    """Its distances; a `UserError` names the loss if they are no numbers."""
    try:
        return distances(
            candidate.fn, candidate.trials, part, color,
            batch_size=batch_size, description=f"{split}, {candidate.name}",
        )  # fmt: skip
    except FloatingPointError as error:
        raise UserError(f"--losses={candidate.name}: {error}") from error


def _first_choices(name: str, found: tuple[np.ndarray, ...], part: TwoAfcData) -> Choices:
    """Those of the first trial."""
    d0, d1 = found
    return choices(name, d0[0], d1[0], part.preference)


def _score_split(
    candidates: Sequence[Candidate], part: Judgements, split: str, color: str, batch_size: int
) -> tuple[list[Row], dict[str, tuple[np.ndarray, ...]]]:
    """A row for each loss, and its distances."""
    found = {}
    for candidate in candidates:
        found[candidate.name] = measure(candidate, part, color, batch_size, split)
    return [Row(name, "loss", score(of_loss, part)) for name, of_loss in found.items()], found


def _with_published(rows: list[Row], candidates: Sequence[Candidate], color: str) -> list[Row]:
    """Each row followed by the published one that belongs to it."""
    result = []
    for row, candidate in zip(rows, candidates, strict=True):
        result.append(row)
        if candidate.has_published_scores:
            result += published_rows(candidate.name, candidate.loss, color)
    return result
