"""Several finished runs beside each other: measures them, draws them, writes it all down."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments._common.cli import UserError, user_errors
from experiments._common.workdir import make_folder, versions
from experiments.vae import compare_figures as pictures
from experiments.vae import quality
from experiments.vae.compare_table import Table
from experiments.vae.labels import LABELLED, load_labels
from experiments.vae.outcomes import (
    MEASURES,
    Groups,
    Outcome,
    data_numbers,
    examine,
    group_by_label,
    one_of_each,
)
from experiments.vae.report import write_report
from experiments.vae.runs import Run, find_runs, load_run, read_config


def compare(
    runs: Sequence[str], workdir: Path, *, number: int, losses: Sequence[str]
) -> list[Path]:
    """Compares runs, prints the table and leaves numbers, pictures and the report in `workdir`.

    Args:
      runs: folders of runs, or folders of these.
      workdir: folder to create; an earlier comparison in it is replaced.
      number: samples to draw, and held-out images to use at most.
      losses: what reconstructions are measured by: name or name:weights.

    Returns:
      The files, the report last.

    Raises:
      UserError: if a run is missing or damaged, or the runs have different data.
    """
    folders = find_runs(runs)
    _check_same_data(folders)
    make_folder("--workdir", workdir)

    outcomes, reference, notes = _examine_all(folders, number, losses)
    groups = group_by_label(outcomes)
    about = _about(outcomes)
    drawn = _draw(workdir, outcomes[0], groups, about)
    columns = {
        label: {name: [o.numbers[name] for o in members] for name in members[0].numbers}
        for label, members in groups.items()
    }
    data = outcomes[0].config.data
    table = Table(
        f"{data}: {outcomes[0].held_out:,} held-out images, {number:,} samples",
        {"training images": {name: [x] for name, x in reference.items()}, **columns},
        notes + _notes(groups),
    )
    print(f"\n{table.format()}\n")
    files = [workdir / "comparison.json", workdir / "comparison.csv"]
    of_labels = {label: [str(o.workdir) for o in members] for label, members in groups.items()}
    table.write_json(files[0], folders=of_labels, versions=versions())
    table.write_csv(files[1])
    distances = [name for name in table.measures if name not in MEASURES]
    report = workdir / "report.html"
    write_report(
        report,
        title=about,
        table=table,
        meanings={name: MEASURES[name] for name in table.measures if name in MEASURES}
        | {", ".join(distances): "mean distance of held-out images from theirs"},
        pictures=drawn,
        settings={str(o.workdir): dataclasses.asdict(o.config) for o in outcomes},
        versions=versions(),
    )
    files += [*drawn, report]
    print("Written:", *files, sep="\n  ")
    return files


def _check_same_data(folders: Sequence[Path]) -> None:
    configs = [read_config(folder) for folder in folders]
    for folder, config in zip(folders, configs, strict=True):
        if config.data != configs[0].data:
            raise UserError(
                f"--runs must have the same data, got {configs[0].data} in {folders[0]} and "
                f"{config.data} in {folder}; name those of one data set."
            )


def _examine_all(
    folders: Sequence[Path], number: int, losses: Sequence[str]
) -> tuple[list[Outcome], dict[str, float], list[str]]:
    """The runs one at a time, since large ones fill the memory; the data; what to know of it."""
    outcomes: list[Outcome] = []
    notes: list[str] = []
    for index, folder in enumerate(folders, start=1):
        run = load_run(folder)
        shape = run.experiment.images.test.shape[1:]
        if not outcomes:  # what is the same for all
            first_shape = shape
            with user_errors(rename={"`name`": "--losses", "`weights`": "--losses"}):
                measured_by = quality.make_losses(losses, shape)
            reader = _make_reader(run)
            images = run.experiment.images.train
            reference = data_numbers(images, run.held_out(number), most=number, reader=reader)
        if shape != first_shape:
            raise UserError(
                f"--runs must have images of one shape, got {_times(first_shape)} in {folders[0]} and "
                f"{_times(shape)} in {folder}."
            )
        print(f"{folder} ({index} of {len(folders)})", flush=True)
        outcomes.append(examine(run, most=number, losses=measured_by, reader=reader))
    if reader is not None:
        notes.append(
            f"The network that recognises samples reads {100 * reader.accuracy:.1f} % of the held-out "
            "digits right."
        )
    return outcomes, reference, notes


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _make_reader(run: Run) -> quality.DigitReader | None:
    if run.config.data not in LABELLED:
        return None
    with user_errors():
        labels = load_labels(run.config.data, run.config.data_dir)
    images, test = map(quality.to_float, (run.experiment.images.train, run.experiment.images.test))
    return quality.DigitReader(images, labels.train[: len(images)], test, labels.test)


def _notes(groups: Groups) -> list[str]:
    """What a reader has to know about the runs."""
    notes = [
        f"{outcome.workdir} has done {len(outcome.rows)} of {outcome.config.epochs} epochs."
        for members in groups.values()
        for outcome in members
        if len(outcome.rows) < outcome.config.epochs
    ]
    if any(len(members) > 1 for members in groups.values()):
        notes.append("Behind ± stands the standard deviation over seeds.")
    return notes


def _about(outcomes: Sequence[Outcome]) -> str:
    """The title of everything; the rows of a λ sweep do not name the loss."""
    losses = {outcome.config.loss for outcome in outcomes}
    of_loss = f" with {losses.pop()}" if len(losses) == 1 else ""
    return f"VAEs{of_loss} on {outcomes[0].config.data}"


def _draw(workdir: Path, first: Outcome, groups: Groups, about: str) -> dict[Path, str]:
    """Writes the pictures; returns what each shows."""
    shown = one_of_each(groups)
    manifolds = {label: o.manifold for label, o in shown.items() if o.manifold is not None}
    texts = {
        "reconstructions": "held-out images, and below what each model makes of their mean latents",
        "samples": "decoded draws from the standard normal, the same for all models",
        "interpolations": "first and last column: held-out images; between: decoded latents on the line",
        "manifolds": "decoded latents of a square grid, first variable to the right, second upwards",
        "spectra": "power of each frequency relative to held-out images; below the line is blurred",
        "curves": "the two terms of the objective on held-out images",
    }
    if not manifolds:
        del texts["manifolds"]
    paths = {name: workdir / f"{name}.png" for name in texts}

    def rows(name: str, blocks: Mapping[str, pictures.Table]) -> None:
        title = f"{name.capitalize()}: {about}"
        pictures.save_rows(paths[name], blocks, title=title, note=texts[name])

    reconstructions = {label: o.reconstructions for label, o in shown.items()}
    rows("reconstructions", {"data": first.data} | reconstructions)
    rows("samples", {label: o.samples for label, o in shown.items()})
    rows("interpolations", {label: o.interpolations for label, o in shown.items()})
    if manifolds:
        title = f"Latent manifolds: {about}"
        pictures.save_manifolds(paths["manifolds"], manifolds, title=title)
    pictures.save_spectra(paths["spectra"], groups, title=f"Power spectra: {about}")
    pictures.save_learning_curves(paths["curves"], groups, title=f"Training: {about}")
    return {paths[name]: f"{text[0].upper()}{text[1:]}." for name, text in texts.items()}
