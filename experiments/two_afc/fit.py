"""The fitting loop: many trials on one stream of judgements."""

import dataclasses
import functools
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm

import watson_jax as wj
from experiments._common.checkpoints import Checkpoints, latest_step
from experiments._common.cli import UserError, user_errors
from experiments._common.workdir import MetricsLog, open_workdir, read_metrics, write_json
from experiments.two_afc.configs import FitConfig
from experiments.two_afc.curves import save_learning_curves
from experiments.two_afc.data import load_data, padded_batches, to_images
from watson_jax.datasets import TwoAfcData
from watson_jax.training import (
    Fittable,
    Learned,
    Trials,
    Triplets,
    check_finite,
    constant_then_linear,
    fittable,
    make_fit_step,
    make_scores,
    start_trials,
)

_EVALUATION_BATCH = 200
_FLAGS = {
    "`name`": "--loss", "`weights`": "--weights", "`folder`": "--bapps_dir", "`data_dir`": "--bapps_dir",
}  # fmt: skip
_BETAS = (0.5, 0.999)  # the authors'


@dataclasses.dataclass(frozen=True)
class Result:
    """What a fit leaves in memory, for tests and notebooks.

    Attributes:
      trials: after the last step.
      metrics: one entry per epoch, as in `metrics.jsonl`; lists have an entry for each trial.
      params: those of the trial with the lowest loss on the training triplets.
      files: what was written: `params.npz`, one file for each trial, and pictures.
    """

    trials: Trials
    metrics: list[dict[str, Any]]
    params: Any
    files: list[Path]


@dataclasses.dataclass(frozen=True)
class _Source:
    """Triplets in memory: their images, or their features where those cost much."""

    arrays: Any

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
    flags = _FLAGS | (config.table.flags if config.table else {})
    with user_errors(rename=flags):
        data = load_data(
            config.data, color=config.color, data_dir=config.bapps_dir, table=config.table
        )
        params = _starting_params(config, data["train"])
        settings = wj.loss_info(config.loss).fit_settings
        loss = fittable(params, **{name: getattr(config, name) for name in settings})
    data = {name: _first_triplets(part, config.triplets) for name, part in data.items()}
    steps = len(data["train"]) // config.batch_size
    if not steps:
        raise UserError(
            "--set=batch_size must be at most the number of training judgements, "
            f"{len(data['train'])}, got {config.batch_size}."
        )
    facts = {} if config.table is None else {"judgements": _checksum(data)}
    with (
        open_workdir(workdir, config, resume=resume, **facts) as there,
        Checkpoints(workdir) as saved,
    ):
        return _fit(config, workdir, data, params, loss, steps, saved, resume=there)


def _checksum(data: dict[str, TwoAfcData]) -> str:
    """Tells own judgements from others in a file of the same name."""
    checksum = 0
    for part in data.values():
        for array in (part.reference, part.first, part.second, part.preference):
            checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return f"{checksum:08x}"


def _fit(
    config: FitConfig,
    workdir: Path,
    data: dict[str, TwoAfcData],
    params: Any,
    loss: Fittable,
    steps: int,
    saved: Checkpoints,
    *,
    resume: bool,
) -> Result:
    sources = {name: _source(loss, part, config, name) for name, part in data.items()}
    train = sources["train"]
    held_out = {name: source for name, source in sources.items() if name != "train"}
    to_triplets = _to_triplets(loss, config)

    optimizer = optax.scale_by_adam(*_BETAS)
    schedule = _schedule(config, steps)
    seeds, rates = (jnp.asarray(column) for column in zip(*config.trials, strict=True))
    start = functools.partial(start_trials, optimizer=optimizer, ranking=config.ranking_kind)
    rates = rates.astype(jnp.float32)
    trials = start(loss, seeds=seeds, learning_rates=rates, start_noise=config.start_noise)
    # The starting weights as they are used, without the bounds of the fit.
    before_fit = start(fittable(params), seeds=seeds[:1], learning_rates=rates[:1]).learned
    step = make_fit_step(loss, optimizer, schedule, dropout=config.dropout)
    fit_batch = jax.jit(lambda t, batch: step(t, to_triplets(batch)), donate_argnums=0)
    # As the loss is used: with the floors it ends with, and masking that no other triplet changes.
    score_batch = _scorer(loss.as_params(loss.finish(loss.learned)), config)

    def evaluate(learned: Learned, source: _Source) -> dict[str, np.ndarray]:
        return _evaluate(score_batch, learned._replace(metric=loss.finish(learned.metric)), source)

    lines = read_metrics(workdir) if resume else []
    if resume and latest_step(workdir) is not None:
        trials = saved.restore(trials, most=len(lines) * steps)
    done = int(trials.step)
    log = MetricsLog(workdir, lines[: done // steps])
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
            epoch_losses = np.asarray(jnp.stack(losses))
            _check_any_finite(epoch_losses, epoch * steps)
            row: dict[str, Any] = {"epoch": epoch + 1, "step": (epoch + 1) * steps}
            row["rate_factor"] = float(schedule(jnp.asarray(row["step"] - 1)))
            row["train_loss"] = _json_numbers(epoch_losses.mean(0))
            for name, source in held_out.items():
                found = evaluate(trials.learned, source)
                row |= {f"{name}_{k}": _json_numbers(v) for k, v in found.items()}
            row["seconds"] = round(time.perf_counter() - started, 2)
            # Saved before it is shown, so that what was seen is kept.
            log.add(row)
            saved.save(row["step"], trials)
            bar.set_postfix(_summary(row))

    final: dict[str, np.ndarray] = {}
    before: dict[str, float] = {}
    score_start = _scorer(params, config)
    for name, source in sources.items():
        found = evaluate(trials.learned, source)
        final |= {f"{name}_{key}": values for key, values in found.items()}
        at_start = _evaluate(score_start, before_fit, source)
        before[f"{name}_agreement"] = float(at_start["agreement"][0])
    _check_any_finite(final["train_loss"][None], int(trials.step) - 1)
    metric = loss.finish(trials.learned.metric)
    params, files = _write(config, workdir, loss, metric, final, before, log.rows)
    print("Files:", *files, sep="\n  ")
    return Result(trials, log.rows, params, files)


def _first_triplets(data: TwoAfcData, number: int | None) -> TwoAfcData:
    if number is None:
        return data
    names = ("reference", "first", "second", "preference")
    parts = {name: getattr(data, name)[:number] for name in names}
    return TwoAfcData(**parts, categories={})


def _check_any_finite(losses: np.ndarray, first_step: int) -> None:
    """Raises a `NonFiniteError` if no trial is left; a single one may fail among others."""
    alive = np.isfinite(losses).all(0)
    if not alive.any():
        check_finite({"loss": losses.sum(1)}, first_step)


def _json_numbers(values: np.ndarray) -> list[float | None]:
    """One for each trial; None for a trial that has diverged, as JSON knows no NaN."""
    return [float(v) if np.isfinite(v) else None for v in values]


def _summary(row: dict[str, Any]) -> dict[str, str]:
    """Mean agreement of what is held out."""
    scores = {
        name.removesuffix("_agreement"): [v for v in values if v is not None]
        for name, values in row.items()
        if name.endswith("_agreement")
    }
    return {name: f"{np.mean(v):.1%}" if v else "diverged" for name, v in scores.items()}


def _starting_params(config: FitConfig, train: TwoAfcData) -> Any:
    params = wj.load_params(
        config.loss,
        color=config.color,
        weights=config.starting_weights,
        image_size=train.reference.shape[1:3],
    )
    floors = ("luminance_floor", "phase_floor")
    own = {name: getattr(config, name) for name in floors if hasattr(params, name)}
    own = {name: floor for name, floor in own.items() if floor is not None}
    return dataclasses.replace(params, **own) if own else params


def _schedule(config: FitConfig, steps: int) -> Callable[[jax.Array], jax.Array]:
    if config.schedule == "cosine":
        return optax.cosine_decay_schedule(1.0, config.epochs * steps)
    constant = (config.epochs - config.decay_epochs) * steps
    return constant_then_linear(constant, config.decay_epochs, steps)


def _source(loss: Fittable, data: TwoAfcData, config: FitConfig, description: str) -> _Source:
    source = _Source((data.reference, data.first, data.second, data.preference))
    if not loss.costly_features:
        return source
    chunks = []
    compute = jax.jit(functools.partial(_features, loss, config))
    batches = list(padded_batches(len(source), _EVALUATION_BATCH))
    for rows, number in tqdm.tqdm(batches, desc=f"features of {description}"):
        features = jax.device_get(compute(source.batch(rows)))
        chunks.append(jax.tree.map(lambda x, n=number: x[:n], features))
    return _Source(jax.tree.map(lambda *xs: np.concatenate(xs), *chunks))


def _features(loss: Fittable, config: FitConfig, batch: Any) -> Triplets:
    reference, first, second = (to_images(x, config.color) for x in batch[:3])
    return Triplets(loss.features(first, reference), loss.features(second, reference), batch[3])


def _to_triplets(loss: Fittable, config: FitConfig) -> Callable[[Any], Triplets]:
    """What makes features of a batch of a source, inside a compiled step."""
    if loss.costly_features:
        return lambda batch: batch
    return functools.partial(_features, loss, config)


def _scorer(params: Any, config: FitConfig) -> Any:
    """Scores trials of a loss with these static settings on a batch of a source."""
    loss = fittable(params)
    scores, to_triplets = make_scores(loss), _to_triplets(loss, config)
    return jax.jit(lambda learned, batch: scores(learned, to_triplets(batch)))


def _evaluate(score_batch: Any, learned: Any, source: _Source) -> dict[str, np.ndarray]:
    """Mean agreement and loss of each trial over all triplets."""
    parts = []
    for rows, number in padded_batches(len(source), _EVALUATION_BATCH):
        scores = score_batch(learned, source.batch(rows))
        parts.append({name: np.asarray(x)[:, :number] for name, x in scores.items()})
    scores = {name: np.concatenate([p[name] for p in parts], 1).mean(1) for name in parts[0]}
    # Distances that are not numbers agree with nobody.
    scores["agreement"] = np.where(np.isfinite(scores["loss"]), scores["agreement"], np.nan)
    return scores


def _write(
    config: FitConfig,
    workdir: Path,
    loss: Fittable,
    metric: Any,
    final: dict[str, np.ndarray],
    before: dict[str, float],
    rows: list[dict[str, Any]],
) -> tuple[Any, list[Path]]:
    """The parameters of every trial, a summary, and the picture of how they got there."""
    files, table = [], []
    finite = np.isfinite(final["train_loss"])
    best = int(np.argmin(np.where(finite, final["train_loss"], np.inf)))
    for i, (seed, rate) in enumerate(config.trials):
        entry: dict[str, Any] = {"seed": seed, "learning_rate": rate, "file": None}
        entry |= {name: _json_numbers(values)[i] for name, values in final.items()}
        table.append(entry)
        if not finite[i]:
            print(f"The trial of seed {seed} at rate {rate:g} has diverged and is left out.")
            continue
        params = loss.as_params(jax.tree.map(lambda x, i=i: x[i], metric))
        path = workdir / f"trial-seed{seed}-rate{rate:g}.npz"
        wj.save_params(path, params)
        files.append(path)
        table[i]["file"] = path.name
        if i == best:
            best_params = params
            wj.save_params(workdir / "params.npz", params)
    result = {"best_on_training_records": table[best], "before": before, "trials": table}
    write_json(workdir / "result.json", result)
    curves = workdir / "curves.png"
    save_learning_curves(
        curves, rows, title=f"Fit of {config.loss} ({config.color}) to {config.data}"
    )
    print(
        f"params.npz is of seed {table[best]['seed']}; it agrees with people on "
        f"{_agreements(table[best])}. Before the fit it was {_agreements(before)}."
    )
    return best_params, [workdir / "params.npz", *files, workdir / "result.json", curves]


def _agreements(scores: dict[str, Any]) -> str:
    """Such as "train 74.0%, val 71.2%"."""
    end = "_agreement"
    parts = {k.removesuffix(end): v for k, v in scores.items() if k.endswith(end)}
    return ", ".join(f"{name} {value:.1%}" for name, value in parts.items())
