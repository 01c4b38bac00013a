"""The fitting loop: many trials on one stream of judgements."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

import watson_jax as wj
from experiments import _checkpoints
from experiments._cli import UserError, user_errors
from experiments._workdir import MetricsLog, open_workdir, write_json
from experiments.two_afc.configs import FitConfig
from experiments.two_afc.curves import save_learning_curves
from experiments.two_afc.data import load_data, to_images
from watson_jax.datasets import TwoAfcData
from watson_jax.training import (
    Fittable,
    Records,
    Trials,
    check_finite,
    constant_then_linear,
    fittable,
    make_fit_step,
    make_scores,
    start_trials,
)

_EVALUATION_BATCH = 200
_BETAS = (0.5, 0.999)  # the authors'


@dataclasses.dataclass(frozen=True)
class Result:
    """What a fit leaves in memory, for tests and notebooks.

    Attributes:
      trials: after the last step.
      metrics: one entry per epoch, as in `metrics.jsonl`; lists have an entry for each trial.
      params: those of the trial with the lowest loss on the training records.
      files: what was written: `params.npz`, one file for each trial, and pictures.
    """

    trials: Trials
    metrics: list[dict[str, Any]]
    params: Any
    files: list[Path]


@dataclasses.dataclass(frozen=True)
class _Source:
    """Records in memory, and how a batch of them becomes features, inside a compiled step."""

    arrays: Any
    to_records: Callable[[Any], Records]

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.arrays)[-1])

    def batch(self, indices: np.ndarray) -> Any:
        return jax.tree.map(lambda x: np.asarray(x[indices]), self.arrays)


def fit_and_evaluate(config: FitConfig, workdir: Path, *, resume: bool = True) -> Result:
    """Fits a loss in several trials and leaves everything worth keeping in `workdir`.

    Args:
      config: what to fit.
      workdir: folder to create, or one with an interrupted run of the same configuration.
      resume: whether to go on with such a run.

    Raises:
      UserError: if the data, the loss's weights or the folder are not as they should be.
      NonFiniteError: if a trial diverges.
    """
    with user_errors(rename={"`name`": "--loss", "`weights`": "--weights"}):
        data = load_data(config.data, color=config.color, data_dir=config.bapps_dir)
        loss = fittable(_starting_params(config, data["train"]), luminance=config.luminance)
    seeds, rates = (jnp.asarray(column) for column in zip(*config.trials, strict=True))
    sources = {name: _source(loss, part, config, description=name) for name, part in data.items()}
    train = sources.pop("train")
    steps = len(train) // config.batch_size
    if not steps:
        raise UserError(f"batch_size must be at most {len(train)}, got {config.batch_size}.")

    optimizer = optax.scale_by_adam(*_BETAS)
    schedule = _schedule(config, steps)
    trials = start_trials(
        loss,
        optimizer,
        seeds=seeds,
        learning_rates=rates.astype(jnp.float32),
        ranking=str(config.ranking),
        start_noise=config.start_noise,
    )
    step = make_fit_step(loss, optimizer, schedule, dropout=config.dropout)
    fit_batch = jax.jit(lambda t, batch: step(t, train.to_records(batch)), donate_argnums=0)
    scores = make_scores(loss)

    @jax.jit
    def score_batch(learned: Any, batch: Any) -> Any:
        return scores(learned, train.to_records(batch))

    done = 0
    if open_workdir(workdir, config, resume=resume):
        done = _checkpoints.latest_step(workdir) or 0
        trials = _checkpoints.restore(workdir, trials) if done else trials
    log = MetricsLog(workdir, epochs_done=done // steps)
    started = time.perf_counter()
    with tqdm.tqdm(total=config.epochs * steps, initial=done, unit="step") as bar:
        for epoch in range(done // steps, config.epochs):
            bar.set_description(f"epoch {epoch + 1}/{config.epochs}", refresh=False)
            order = np.random.default_rng([config.seed, epoch]).permutation(len(train))
            losses = []
            for rows in order[: steps * config.batch_size].reshape(steps, -1):
                trials, metrics = fit_batch(trials, train.batch(rows))
                losses.append(metrics["loss"])
                bar.update()
            mean_loss = np.asarray(jnp.stack(losses))
            check_finite({"loss": mean_loss.sum(1)}, epoch * steps)
            row: dict[str, Any] = {"epoch": epoch + 1, "step": (epoch + 1) * steps}
            row["rate"] = float(schedule(jnp.asarray(row["step"] - 1)))
            row["train_loss"] = mean_loss.mean(0).tolist()
            for name, source in sources.items():
                held_out = _evaluate(score_batch, trials, source)
                row |= {f"{name}_{k}": v.tolist() for k, v in held_out.items()}
            row["seconds"] = round(time.perf_counter() - started, 2)
            last = {k: np.mean(v) for k, v in row.items() if k.endswith("agreement")}
            bar.set_postfix({k.removesuffix("_agreement"): f"{v:.1%}" for k, v in last.items()})
            log.add(row)
            _checkpoints.save(workdir, row["step"], trials)

    final = _evaluate(score_batch, trials, train)
    params, files = _write(config, workdir, loss, trials, final, log.rows)
    print("Files:", *files, sep="\n  ")
    return Result(trials, log.rows, params, files)


def _starting_params(config: FitConfig, train: TwoAfcData) -> Any:
    options: dict[str, Any] = {}
    if config.loss == "adaptive":
        options["image_size"] = train.reference.shape[1:3]
    return wj.load_params(config.loss, color=config.color, weights=config.weights, **options)


def _schedule(config: FitConfig, steps: int) -> Callable[[jax.Array], jax.Array]:
    if config.schedule == "cosine":
        return optax.cosine_decay_schedule(1.0, config.epochs * steps)
    constant = (config.epochs - config.decay_epochs) * steps
    return constant_then_linear(constant, config.decay_epochs, steps)


def _source(loss: Fittable, data: TwoAfcData, config: FitConfig, *, description: str) -> _Source:
    parts = (data.reference, data.first, data.second, data.preference)
    images = tuple(part[: config.records] for part in parts)

    def to_records(batch: Any) -> Records:
        reference, first, second = (to_images(x, config.color) for x in batch[:3])
        return Records(loss.features(first, reference), loss.features(second, reference), batch[3])

    source = _Source(images, to_records)
    if not loss.costly_features:
        return source
    chunks = []
    compute = jax.jit(to_records)
    for rows, number in tqdm.tqdm(_batches(len(source)), desc=f"features of {description}"):
        features = jax.device_get(compute(source.batch(rows)))
        chunks.append(jax.tree.map(lambda x, n=number: x[:n], features))
    arrays = jax.tree.map(lambda *xs: np.concatenate(xs), *chunks)
    return _Source(arrays, lambda batch: batch)


def _batches(number: int) -> list[tuple[np.ndarray, int]]:
    """Indices in batches of one size, the last filled up; and how many of each count."""
    starts = range(0, number, _EVALUATION_BATCH)
    return [
        (
            np.minimum(np.arange(start, start + _EVALUATION_BATCH), number - 1),
            min(_EVALUATION_BATCH, number - start),
        )
        for start in starts
    ]


def _evaluate(score_batch: Any, trials: Trials, source: _Source) -> dict[str, np.ndarray]:
    """Mean agreement and loss of each trial over all records."""
    parts = []
    for rows, number in _batches(len(source)):
        scores = score_batch(trials.learned, source.batch(rows))
        parts.append({name: np.asarray(x)[:, :number] for name, x in scores.items()})
    return {name: np.concatenate([p[name] for p in parts], 1).mean(1) for name in parts[0]}


def _write(
    config: FitConfig,
    workdir: Path,
    loss: Fittable,
    trials: Trials,
    final: dict[str, np.ndarray],
    rows: list[dict[str, Any]],
) -> tuple[Any, list[Path]]:
    """The parameters of every trial, a summary, and the picture of how they got there."""
    files, table = [], []
    best = int(np.argmin(final["loss"]))
    for i, (seed, rate) in enumerate(config.trials):
        params = loss.as_params(jax.tree.map(lambda x, i=i: x[i], trials.learned.metric))
        path = workdir / f"trial-seed{seed}-rate{rate:g}.npz"
        wj.save_params(path, params)
        files.append(path)
        table.append(
            {"seed": seed, "learning_rate": rate, "file": path.name}
            | {f"train_{name}": float(values[i]) for name, values in final.items()}
            | {k: v[i] for k, v in rows[-1].items() if k != "train_loss" and isinstance(v, list)}
        )
        if i == best:
            best_params = params
            wj.save_params(workdir / "params.npz", params)
    write_json(workdir / "result.json", {"best_on_training_records": table[best], "trials": table})
    curves = workdir / "curves.png"
    save_learning_curves(
        curves, rows, title=f"Fit of {config.loss} ({config.color}) to {config.data}"
    )
    return best_params, [workdir / "params.npz", *files, workdir / "result.json", curves]
