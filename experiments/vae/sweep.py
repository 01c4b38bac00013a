"""Several runs side by side: an epoch of each in turn, and after each round a picture of all."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from experiments._common import devices
from experiments._common.termination import TerminatedError, termination
from experiments.vae.compare_figures import save_rows
from experiments.vae.configs import VaeConfig
from experiments.vae.data import Images
from experiments.vae.drawing import draw
from experiments.vae.experiment import read_images, set_up
from experiments.vae.outcomes import labels_of
from experiments.vae.quality import to_float
from experiments.vae.runs import Run
from experiments.vae.train import Sources, left_out, put_images, train_epochs

_NUM_COLUMNS = 12


def train_side_by_side(
    runs: Mapping[Path, VaeConfig], picture: Path, *, resume: bool = True
) -> list[Path]:
    """Trains runs in turn, so that minutes show which of them are worth hours.

    Each becomes what it would be alone; all of their states are on the device. One that cannot go on is
    left out, with a sentence.

    Args:
      runs: configurations by folder, of the same data, seed and number of epochs.
      picture: redrawn whenever all have done the same number of epochs.
      resume: whether to go on with interrupted ones.

    Returns:
      The folders of those that came to their end.

    Raises:
      UserError: if the data are not as they should be.
      TerminatedError: if the process was asked to end.
    """
    configs = list(runs.values())
    labels = dict(zip(runs, labels_of(configs), strict=True))
    images = read_images(configs[0])
    sources = put_images(images)
    reached: dict[Path, Run] = {}

    def take_turn(workdir: Path) -> None:
        with left_out(labels[workdir], workdir, alone=len(runs) == 1):
            reached.pop(workdir, None)  # its state is used up
            reached[workdir] = next(turns[workdir])

    with termination() as asked_to_end, contextlib.ExitStack() as stack:
        turns = {
            workdir: _turns(workdir, config, images, sources, asked_to_end, resume, labels[workdir])
            for workdir, config in runs.items()
        }
        for turn in turns.values():
            stack.enter_context(contextlib.closing(turn))  # and with it its progress bar
        for workdir in runs:
            take_turn(workdir)  # to where it was
        for epochs in range(1, configs[0].epochs + 1):
            # One that was interrupted later than others waits for them.
            for workdir in [path for path, run in reached.items() if len(run.rows) < epochs]:
                take_turn(workdir)
            in_step = {len(run.rows) for run in reached.values()} == {epochs}
            if in_step and devices.is_first_process():
                _draw(picture, {labels[w]: reached[w] for w in runs if w in reached})
        if devices.agreed(bool(asked_to_end)):  # later than the last step
            raise TerminatedError("Stopped after the last epoch.")
    finished = [workdir for workdir in runs if workdir in reached]
    if devices.is_first_process():
        for workdir in finished:
            run = reached[workdir]
            draw(run.experiment, run.state, workdir, run.rows)
    return finished


def _turns(
    workdir: Path,
    config: VaeConfig,
    images: Images,
    sources: Sources,
    asked_to_end: Sequence[int],
    resume: bool,
    label: str,
) -> Generator[Run]:
    """The run where it was, and after each further epoch."""
    experiment = set_up(config, images)
    for state, rows in train_epochs(
        experiment, workdir, sources, asked_to_end, resume=resume, name=f"{label}: "
    ):
        yield Run(workdir, config, experiment, state, rows)


def _draw(path: Path, runs: Mapping[str, Run]) -> None:
    """A row of held-out images, and for each run its reconstructions of them above its samples."""
    first = next(iter(runs.values()))
    data = to_float(first.held_out(_NUM_COLUMNS))
    latents = jax.random.normal(jax.random.key(0), (len(data), first.config.latent_size))
    blocks = {"data": data[None]}
    for label, run in runs.items():
        # On this process's own device, and without Adam's part.
        state = jax.device_get(run.state._replace(opt_state=None))
        local = dataclasses.replace(run, state=state)
        lines = local.decode(np.stack([local.encode(data), latents]))
        blocks[f"{label}, {run.rows[-1]['held_out_kl']:.1f} nats"] = lines
    save_rows(
        path,
        blocks,
        title=f"After {len(first.rows)} of {first.config.epochs} epochs on {first.config.data}",
        note="held-out images; of each model, what it makes of them, and below samples; KL divergence",
    )
