"""The training loop of the VAE experiment."""

import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

import watson_jax as wj
from experiments._common import checkpoints, devices
from experiments._common.cli import UserError, user_errors
from experiments._common.workdir import MetricsLog, open_workdir, read_metrics
from experiments.vae import figures
from experiments.vae.configs import VaeConfig
from experiments.vae.data import Images, load_images
from watson_jax.models import CelebAVAE, MnistVAE
from watson_jax.training import (
    NonFiniteError,
    TrainState,
    adam,
    check_finite,
    create_train_state,
    epoch_order,
    make_eval_step,
    make_train_chunk,
    make_train_step,
    merge_model,
)

_MANIFOLD_SIZE = 15
_NUM_COLUMNS = 12
_STEP_METRICS = ("loss", "reconstruction", "kl", "grad_norm")


Source = Callable[[Any], tuple[jax.Array, Any]]
"""Where batches come from: turns indices `[..., batch]` into images on the device and their indices."""


class Sources(NamedTuple):
    """Of training and of held-out images."""

    train: Source
    test: Source


class TerminatedError(Exception):
    """The run was asked to end (SIGTERM); it has saved where it was."""


@contextmanager
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
            kept = checkpoints.latest_step(workdir) is not None
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


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything built from a configuration: data, loss, initial model, optimizer.

    Attributes:
      config: what it was made of.
      images: the data.
      loss: the reconstruction loss.
      log_weight: its λ.
      graphdef: the model's definition.
      start: the state before the first step.
      optimizer: Adam.
      schedule: its learning rate, of the step.
      steps_per_epoch: in an epoch.
    """

    config: VaeConfig
    images: Images
    loss: wj.Loss
    log_weight: float
    graphdef: Any
    start: TrainState
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    steps_per_epoch: int

    def model(self, state: TrainState) -> Any:
        """The model in its state, with running statistics."""
        model = merge_model(self.graphdef, state.params, state.batch_stats)
        model.eval()
        return model


def read_images(config: VaeConfig) -> Images:
    """Loads the data that a configuration names, as much of it as it asks for.

    Raises:
      UserError: if they are not as they should be.
    """
    with user_errors():
        images = load_images(
            config.data,
            config.data_dir,
            crop=config.crop,
            image_size=config.image_size,
            color=config.color,
            seed=config.seed,
        )
    return Images(images.train[: config.train_images], images.test)


def set_up(config: VaeConfig, images: Images | None = None) -> Experiment:
    """Makes the loss and the model, and loads the data.

    Args:
      config: what is to be trained.
      images: its data, where they have been loaded already.

    Raises:
      UserError: if the data, the loss's weights or the sizes are not as they should be.
    """
    images = read_images(config) if images is None else images
    height, width, channels = images.train.shape[1:]
    with user_errors(rename={"`name`": "--loss", "`weights`": "--weights"}):
        loss = wj.get_loss(
            config.loss,
            color="rgb" if channels == 3 else "gray",
            image_size=(height, width),
            **config.loss_options(),
        )
    steps = len(images.train) // config.batch_size
    if not steps:
        raise UserError(f"batch_size must be at most {len(images.train)}, got {config.batch_size}.")
    optimizer, schedule = adam(config.learning_rate, halving_steps=config.halving_epochs * steps)
    learned_loss = loss.params if wj.loss_info(config.loss).trained_with_model else None
    graphdef, start = create_train_state(
        _make_model(config, images), optimizer, loss_params=learned_loss
    )
    log_weight = config.reconstruction_log_weight(channels)
    return Experiment(config, images, loss, log_weight, graphdef, start, optimizer, schedule, steps)


def restore(workdir: Path, experiment: Experiment) -> TrainState:
    """The state of a run at its last checkpoint, for those who look at it afterwards."""
    return _restore(workdir, experiment, read_metrics(workdir))[0]


def _restore(
    workdir: Path, experiment: Experiment, rows: list[dict[str, Any]]
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """The last checkpoint whose epochs all have their line of metrics."""
    most = (len(rows) + 1) * experiment.steps_per_epoch - 1
    return checkpoints.restore(workdir, _with_metrics(experiment, experiment.start), most=most)


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
    opened = (
        open_workdir(workdir, experiment.config, resume=resume, log_weight=experiment.log_weight)
        if devices.is_first_process()
        else nullcontext(workdir.exists())
    )
    with opened as there:
        yield from _train_epochs(
            experiment, workdir, sources, asked_to_end, resume=there, progress=progress, name=name
        )


def _train_epochs(
    experiment: Experiment,
    workdir: Path,
    sources: Sources,
    asked_to_end: Sequence[int],
    *,
    resume: bool,
    progress: bool,
    name: str,
) -> Iterator[tuple[TrainState, list[dict[str, Any]]]]:
    config, writes = experiment.config, devices.is_first_process()
    mesh = devices.data_mesh()
    if config.batch_size % mesh.size:
        raise UserError(
            f"batch_size must be a multiple of the {mesh.size} devices, got {config.batch_size}."
        )
    # One key for each use; steps and epochs fold in their number, so that a run can be resumed.
    _, order_key, step_key, eval_key, _ = _keys(config)
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
    evaluate_batch = make_eval_step(
        experiment.graphdef, experiment.loss.fn, log_weight=experiment.log_weight
    )
    state, epoch_metrics = _with_metrics(experiment, experiment.start)
    lines = read_metrics(workdir) if resume else []
    if resume and checkpoints.latest_step(workdir) is not None:
        state, epoch_metrics = _restore(workdir, experiment, lines)
        epoch_metrics = {metric: np.array(x) for metric, x in epoch_metrics.items()}
    first_step, steps = int(state.step), experiment.steps_per_epoch
    state, loss_params = devices.put((state, experiment.loss.params), mesh)
    order = jax.jit(epoch_order, static_argnames=("num_images", "batch_size"))
    log = MetricsLog(workdir, lines[: first_step // steps], writes=writes)
    with tqdm.tqdm(
        total=config.epochs * steps * config.batch_size,
        initial=first_step * config.batch_size,
        unit="img",
        unit_scale=True,
        desc=f"{name}compiling",
        disable=not (writes and progress),
    ) as bar:
        yield state, log.rows
        started = time.perf_counter() - (log.rows[-1]["seconds"] if log.rows else 0)
        for epoch in range(first_step // steps, config.epochs):
            indices = order(
                order_key,
                epoch,
                num_images=len(experiment.images.train),
                batch_size=config.batch_size,
            )
            bar.set_description(f"{name}epoch {epoch + 1}/{config.epochs}", refresh=False)
            parts = _even_parts(indices[int(state.step) % steps :], config.chunk_steps)
            for images, rows in devices.prepared_ahead(sources.train, parts):
                step = int(state.step)
                state, metrics = run_chunk(state, loss_params, images, rows, step_key)
                metrics = {metric: np.asarray(values) for metric, values in metrics.items()}
                check_finite(metrics, step)
                for metric, values in metrics.items():
                    epoch_metrics[metric][step % steps :][: len(values)] = values
                bar.set_postfix(loss=f"{metrics['loss'][-1]:.2f}", refresh=False)
                bar.update(rows.size)
                # At the end of an epoch, the next one stops: its line is still to be written.
                if int(state.step) % steps and devices.agreed(bool(asked_to_end)):
                    checkpoints.save(workdir, int(state.step), (state, epoch_metrics))
                    raise TerminatedError(f"Stopped at step {int(state.step)}.")
            held_out = _evaluate(
                evaluate_batch,
                state,
                loss_params,
                sources.test,
                len(experiment.images.test),
                config,
                eval_key,
            )
            step = int(state.step)
            entry: dict[str, Any] = {"epoch": epoch + 1, "step": step}
            entry |= {metric: float(values.mean()) for metric, values in epoch_metrics.items()}
            entry |= {f"held_out_{metric}": value for metric, value in held_out.items()}
            entry |= {"learning_rate": float(experiment.schedule(step - 1))}
            entry |= {"seconds": round(time.perf_counter() - started, 2)}
            log.add(entry)
            checkpoints.save(workdir, step, (state, epoch_metrics))
            paused = time.perf_counter()
            yield state, log.rows
            started += time.perf_counter() - paused  # the turns of others


def put_images(images: Images) -> Sources:
    """Makes the images ready for training on all devices, for one run or several.

    The devices hold them if they take no more than a quarter of their memory, and otherwise are given
    those of each batch.
    """
    mesh = devices.data_mesh()
    return Sources(_source(images.train, mesh), _source(images.test, mesh))


def _source(images: np.ndarray, mesh: Any) -> Source:
    if images.nbytes <= devices.memory() / 4:
        everything = devices.put_data(images, mesh)
        return lambda indices: (everything, indices)

    def pick(indices: Any) -> tuple[jax.Array, Any]:
        picked = devices.put_data(images[np.ravel(indices)], mesh)
        return picked, np.arange(indices.size).reshape(indices.shape)

    return pick


def draw(
    experiment: Experiment,
    state: TrainState,
    workdir: Path,
    history: list[dict[str, Any]],
) -> list[Path]:
    """Draws everything there is to see of a trained model; returns the files."""
    config, test = experiment.config, experiment.images.test
    *_, key = _keys(config)
    model = experiment.model(jax.device_get(state))
    decode = jax.jit(model.decode)
    # One shape for every call compiles the decoder once.
    number = _MANIFOLD_SIZE**2
    samples = np.asarray(decode(jax.random.normal(key, (number, config.latent_size))))
    shown = test[: 4 * _NUM_COLUMNS].astype(np.float32) / 255
    shown = shown[: len(shown) // _NUM_COLUMNS * _NUM_COLUMNS]
    mean, _ = model.encode(jnp.asarray(shown))
    padded = jnp.pad(mean, ((0, number - len(mean)), (0, 0)))
    reconstructions = np.asarray(decode(padded))[: len(shown)]

    about = f"VAE with {config.loss} on {config.data}"
    names = ("reconstructions", "samples", "curves", "manifold")
    paths = {name: workdir / f"{name}.png" for name in names}
    figures.save_reconstructions(
        paths["reconstructions"],
        shown,
        reconstructions,
        columns=_NUM_COLUMNS,
        title=f"Reconstructions: {about}",
    )
    figures.save_samples(
        paths["samples"],
        samples[: 8 * _NUM_COLUMNS],
        columns=_NUM_COLUMNS,
        title=f"Samples: {about}",
    )
    figures.save_curves(paths["curves"], history, title=f"Training: {about}")
    if config.latent_size != 2:
        del paths["manifold"]
        return list(paths.values())
    latents = figures.manifold_latents(_MANIFOLD_SIZE)
    manifold = np.asarray(decode(latents.reshape(number, -1)))
    side = (*latents.shape[:2], *manifold.shape[1:])
    figures.save_manifold(
        paths["manifold"], manifold.reshape(side), title=f"Latent manifold: {about}"
    )
    return list(paths.values())


def _keys(config: VaeConfig) -> jax.Array:
    return jax.random.split(jax.random.key(config.seed), 5)


def _make_model(config: VaeConfig, images: Images) -> MnistVAE | CelebAVAE:
    model: Any = MnistVAE if len(config.features) == 2 else CelebAVAE
    with user_errors(rename={"`image_shape`": f"The shape of the images of --data={config.data}"}):
        return model(
            _keys(config)[0],
            image_shape=images.train.shape[1:],
            latent_size=config.latent_size,
            features=config.features,
            hidden=config.hidden,
        )


def _with_metrics(
    experiment: Experiment, state: TrainState
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """What a checkpoint holds: the state, and the metrics of the epoch that it is in."""
    steps = experiment.steps_per_epoch
    return state, {name: np.zeros(steps, np.float32) for name in _STEP_METRICS}


@contextmanager
def termination() -> Iterator[list[int]]:
    """A list that gets an entry when the process is asked to end, which it then does by itself."""
    received: list[int] = []
    try:
        before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    except ValueError:  # not in the main thread, as in some notebooks
        yield received
        return
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def _evaluate(
    evaluate_batch: Any,
    state: TrainState,
    loss_params: Any,
    source: Source,
    number: int,
    config: VaeConfig,
    key: jax.Array,
) -> dict[str, float]:
    """Means over all held-out images; the last batch is filled up, and what filled it left out."""
    batches = []
    for start in range(0, number, config.batch_size):
        indices = np.minimum(np.arange(start, start + config.batch_size), number - 1)
        batch_key = jax.random.fold_in(key, start)
        batches.append(evaluate_batch(state, loss_params, *source(indices), batch_key))
    return {
        name: float(np.concatenate([batch[name] for batch in batches])[:number].mean())
        for name in batches[0]
    }


def _even_parts(indices: jax.Array, most: int) -> Iterable[jax.Array]:
    """Parts of at most `most` rows whose lengths differ by 1 at most: two compiles at the worst."""
    return jnp.array_split(indices, -(-len(indices) // most))
