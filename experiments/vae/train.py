"""The training loop of the VAE experiment."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from experiments._common import devices
from experiments._common.checkpoints import Checkpoints, latest_step
from experiments._common.cli import UserError
from experiments._common.termination import TerminatedError, termination
from experiments._common.workdir import MetricsLog, open_workdir, read_metrics
from experiments.vae.configs import VaeConfig
from experiments.vae.data import Images
from experiments.vae.drawing import draw
from experiments.vae.experiment import (
    Experiment,
    first_checkpoint,
    random_keys,
    restore_checkpoint,
    set_up,
)
from watson_jax.training import (
    NonFiniteError,
    TrainState,
    check_finite,
    epoch_order,
    make_eval_step,
    make_train_chunk,
    make_train_step,
)


class Sources(NamedTuple):
    """Of training and of held-out images."""

    train: devices.Source
    test: devices.Source


def put_images(images: Images) -> Sources:
    """Makes the images ready for training on all devices, for one run or several."""
    mesh = devices.data_mesh()
    # Flat: of images with their axes, a TPU copies the whole data set to another layout in each chunk.
    train, test = (x.reshape(len(x), -1) for x in (images.train, images.test))
    return Sources(devices.source(train, mesh), devices.source(test, mesh))


@contextlib.contextmanager
def left_out(name: str, workdir: Path, *, alone: bool) -> Iterator[None]:
    """Says in one sentence why a run cannot go on, and lets others do so.

    Args:
      name: of the run.
      workdir: its folder.
      alone: whether there are no others.

    Raises:
      UserError: if there are none, or if there are several processes and others may not know of it.
    """
    try:
        yield
    except (UserError, NonFiniteError) as error:
        problem = str(error)
        if isinstance(error, NonFiniteError):
            kept = latest_step(workdir) is not None
            found = f" {workdir} keeps the last good checkpoint." if kept else ""
            problem = f"{error}{found} A lower --set=learning_rate=… may help."
        if alone or (isinstance(error, UserError) and jax.process_count() > 1):
            raise UserError(problem) from error
        tqdm.tqdm.write(f"{name} is left out: {problem}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run leaves in memory, for tests and notebooks.

    Attributes:
      state: after the last step.
      metrics: one entry per epoch, as in `metrics.jsonl`.
      pictures: paths of the figures.
    """

    state: TrainState
    metrics: list[dict[str, Any]]
    pictures: list[Path]


def train_and_evaluate(
    config: VaeConfig, workdir: Path, *, resume: bool = True, progress: bool = True
) -> Result:
    """Trains a VAE and leaves everything worth keeping in `workdir`.

    Args:
      config: what to train.
      workdir: folder to create, or one with an interrupted run of the same configuration.
      resume: whether to go on with such a run, which then ends as if it had not been interrupted.
      progress: whether to show a progress bar, and in the end which pictures there are.

    Raises:
      UserError: if the data, the loss's weights or the folder are not as they should be.
      NonFiniteError: if training diverges.
      TerminatedError: if the process was asked to end.
    """
    experiment = set_up(config)
    with termination() as asked_to_end:
        sources = put_images(experiment.images)
        for state, rows in train_epochs(  # noqa: B007 (the last ones are wanted)
            experiment, workdir, sources, asked_to_end, resume=resume, progress=progress
        ):
            pass
    pictures = draw(experiment, state, workdir, rows) if devices.is_first_process() else []
    if pictures and progress:
        print("Pictures:", *pictures, sep="\n  ")
    return Result(state, rows, pictures)


def train_epochs(
    experiment: Experiment,
    workdir: Path,
    sources: Sources,
    asked_to_end: Sequence[int],
    *,
    resume: bool = True,
    progress: bool = True,
    name: str = "",
) -> Iterator[tuple[TrainState, list[dict[str, Any]]]]:
    """Trains an epoch at a time, so that runs can take turns; errors are those of `train_and_evaluate`.

    Args:
      experiment: what to train.
      workdir: as for `train_and_evaluate`.
      sources: of its images.
      asked_to_end: from `termination`.
      resume: as for `train_and_evaluate`.
      progress: whether to show a progress bar.
      name: before the epoch in it.

    Yields:
      The state and the lines of `metrics.jsonl`, at the start and after each epoch. The state is of no
      more use when the next epoch has begun.
    """
    config, steps = experiment.config, experiment.steps_per_epoch
    mesh = devices.data_mesh()
    if config.batch_size % mesh.size:
        raise UserError(
            f"--set=batch_size must be a multiple of the {mesh.size} devices, got {config.batch_size}."
        )
    keys = random_keys(config)
    run_chunk = make_train_chunk(
        make_train_step(
            experiment.graphdef,
            experiment.optimizer,
            experiment.loss.fn,
            log_weight=experiment.log_weight,
            batch_sharding=devices.over_batch(mesh),
        ),
        sharding=devices.everywhere(mesh),
    )
    evaluate = _make_evaluate(experiment, sources.test, keys.evaluation)
    order = jax.jit(epoch_order, static_argnames=("num_images", "batch_size"))
    sizes = {"num_images": len(experiment.images.train), "batch_size": config.batch_size}
    facts = {"log_weight": experiment.log_weight}
    with contextlib.ExitStack() as stack:
        there = stack.enter_context(open_workdir(workdir, config, resume=resume, **facts))
        saved = stack.enter_context(Checkpoints(workdir))
        state, epoch_metrics = first_checkpoint(experiment)
        lines = read_metrics(workdir) if there else []
        if there and latest_step(workdir) is not None:
            state, epoch_metrics = restore_checkpoint(saved, experiment, lines)
            epoch_metrics = {metric: np.array(x) for metric, x in epoch_metrics.items()}
        first_step = int(state.step)
        if first_step == config.epochs * steps and progress and devices.is_first_process():
            tqdm.tqdm.write(f"{workdir} holds this run already, trained to its end.")
        state, loss_params = devices.put((state, experiment.loss.params), mesh)
        log = MetricsLog(workdir, lines[: first_step // steps])
        bar = tqdm.tqdm(
            total=config.epochs * steps * config.batch_size,
            initial=first_step * config.batch_size,
            unit="img",
            unit_scale=True,
            desc=f"{name}compiling",
            disable=not (progress and devices.is_first_process()),
        )
        stack.enter_context(bar)
        yield state, log.rows
        started = time.perf_counter() - (log.rows[-1]["seconds"] if log.rows else 0)
        for epoch in range(first_step // steps, config.epochs):
            bar.set_description(f"{name}epoch {epoch + 1}/{config.epochs}", refresh=False)
            indices = order(keys.order, epoch, **sizes)[int(state.step) % steps :]
            parts = _even_parts(indices, config.chunk_steps)
            for images, rows in devices.prepared_ahead(sources.train, parts):
                step = int(state.step)
                state, metrics = run_chunk(state, loss_params, images, rows, keys.step)
                metrics = {metric: np.asarray(values) for metric, values in metrics.items()}
                check_finite(metrics, step)
                for metric, values in metrics.items():
                    epoch_metrics[metric][step % steps :][: len(values)] = values
                bar.set_postfix(loss=f"{metrics['loss'][-1]:.2f}", refresh=False)
                bar.update(rows.size)
                # At the end of an epoch, its line is written first.
                if int(state.step) % steps and devices.agreed(bool(asked_to_end)):
                    saved.save(int(state.step), (state, epoch_metrics))
                    raise TerminatedError(f"Stopped at step {int(state.step)}.")
            step = int(state.step)
            entry: dict[str, Any] = {"epoch": epoch + 1, "step": step}
            entry |= {metric: float(values.mean()) for metric, values in epoch_metrics.items()}
            entry |= evaluate(state, loss_params)
            entry |= {"learning_rate": float(experiment.schedule(step - 1))}
            entry |= {"seconds": round(time.perf_counter() - started, 2)}
            log.add(entry)
            saved.save(step, (state, epoch_metrics))
            if epoch + 1 < config.epochs and devices.agreed(bool(asked_to_end)):
                raise TerminatedError(f"Stopped at step {step}.")
            paused = time.perf_counter()
            yield state, log.rows
            started += time.perf_counter() - paused  # the turns of others


def _make_evaluate(
    experiment: Experiment, source: devices.Source, key: jax.Array
) -> Callable[[TrainState, Any], dict[str, float]]:
    """Means over all held-out images; the last batch is filled up, and what filled it left out."""
    number, size = len(experiment.images.test), experiment.config.batch_size
    evaluate_batch = make_eval_step(
        experiment.graphdef, experiment.loss.fn, log_weight=experiment.log_weight
    )

    def evaluate(state: TrainState, loss_params: Any) -> dict[str, float]:
        batches = []
        for start in range(0, number, size):
            indices = np.minimum(np.arange(start, start + size), number - 1)
            batch_key = jax.random.fold_in(key, start)
            batches.append(evaluate_batch(state, loss_params, *source(indices), batch_key))
        return {
            f"held_out_{name}": float(np.concatenate([b[name] for b in batches])[:number].mean())
            for name in batches[0]
        }

    return evaluate


def _even_parts(indices: jax.Array, most: int) -> Iterable[jax.Array]:
    """Parts of at most `most` rows whose lengths differ by 1 at most: two compiles at the worst."""
    return jnp.array_split(indices, -(-len(indices) // most))
