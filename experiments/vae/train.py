"""The training loop of the VAE experiment."""

import dataclasses
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

import watson_jax as wj
from experiments import _checkpoints
from experiments._cli import UserError, user_errors
from experiments._workdir import MetricsLog, open_workdir
from experiments.vae import figures
from experiments.vae.configs import VaeConfig
from experiments.vae.data import load_images
from watson_jax.models import MnistVAE
from watson_jax.training import (
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


def train_and_evaluate(config: VaeConfig, workdir: Path) -> Result:
    """Trains a VAE and leaves everything worth keeping in `workdir`.

    Args:
      config: what to train.
      workdir: folder to create, without an earlier run in it.

    Raises:
      UserError: if the data, the loss's weights or the folder are not as they should be.
      NonFiniteError: if training diverges.
    """
    with user_errors(rename={"`name`": "--loss", "`weights`": "--weights"}):
        loss = wj.get_loss(config.loss, color="gray", **config.loss_options)
        images = load_images(config.data, config.data_dir)
    number = len(images.train)
    if number < config.batch_size:
        raise UserError(f"batch_size must be at most {number}, got {config.batch_size}.")
    open_workdir(workdir, config, resume=False, log_weight=config.reconstruction_log_weight)

    # One key for each use; steps and epochs fold in their number, so that a run can be resumed.
    init_key, order_key, step_key, eval_key, sample_key = jax.random.split(
        jax.random.key(config.seed), 5
    )
    steps_per_epoch = number // config.batch_size
    optimizer, schedule = adam(
        config.learning_rate, halving_steps=config.halving_epochs * steps_per_epoch
    )
    model = MnistVAE(
        init_key, latent_size=config.latent_size, features=config.features, hidden=config.hidden
    )
    graphdef, state = create_train_state(model, optimizer)
    log_weight = config.reconstruction_log_weight
    run_chunk = make_train_chunk(
        make_train_step(graphdef, optimizer, loss.fn, log_weight=log_weight)
    )
    evaluate_batch = make_eval_step(graphdef, loss.fn, log_weight=log_weight)
    train, test = jax.device_put((images.train, images.test))
    order = jax.jit(epoch_order, static_argnames=("num_images", "batch_size"))

    log = MetricsLog(workdir, epochs_done=0)
    started = time.perf_counter()
    total = config.epochs * steps_per_epoch * config.batch_size
    with tqdm.tqdm(total=total, unit="img", unit_scale=True, desc="compiling") as bar:
        for epoch in range(config.epochs):
            indices = order(order_key, epoch, num_images=number, batch_size=config.batch_size)
            bar.set_description(f"epoch {epoch + 1}/{config.epochs}", refresh=False)
            chunks = []
            for rows in _even_parts(indices, config.chunk_steps):
                first_step = int(state.step)
                state, metrics = run_chunk(state, loss.params, train, rows, step_key)
                chunks.append(jax.device_get(metrics))
                check_finite(chunks[-1], first_step)
                bar.set_postfix(loss=f"{chunks[-1]['loss'][-1]:.2f}", refresh=False)
                bar.update(rows.size)
            held_out = _evaluate(evaluate_batch, state, loss.params, test, config, eval_key)
            step = int(state.step)
            entry: dict[str, Any] = {"epoch": epoch + 1, "step": step}
            entry |= {name: _mean(chunk[name] for chunk in chunks) for name in chunks[0]}
            entry |= {f"held_out_{name}": value for name, value in held_out.items()}
            entry |= {"learning_rate": float(schedule(step - 1))}
            entry |= {"seconds": round(time.perf_counter() - started, 2)}
            log.add(entry)

    _checkpoints.save(workdir, int(state.step), state)
    model = merge_model(graphdef, state.params, state.batch_stats)
    pictures = draw(model, config, workdir, log.rows, images.test, sample_key)
    print("Pictures:", *pictures, sep="\n  ")
    return Result(state, log.rows, pictures)


def draw(
    model: MnistVAE,
    config: VaeConfig,
    workdir: Path,
    history: list[dict[str, Any]],
    test: np.ndarray,
    key: jax.Array,
) -> list[Path]:
    """Draws everything there is to see of a trained model; returns the files."""
    decode = jax.jit(model.decode)
    # One shape for every call compiles the decoder once.
    latents = figures.manifold_latents(_MANIFOLD_SIZE)
    number = latents.shape[0] * latents.shape[1]
    manifold = np.asarray(decode(latents.reshape(number, -1)))
    samples = np.asarray(decode(jax.random.normal(key, (number, config.latent_size))))
    shown = test[: 4 * _NUM_COLUMNS].astype(np.float32) / 255
    shown = shown[: len(shown) // _NUM_COLUMNS * _NUM_COLUMNS]
    mean, _ = model.encode(jnp.asarray(shown))
    padded = jnp.pad(mean, ((0, number - len(mean)), (0, 0)))
    reconstructions = np.asarray(decode(padded))[: len(shown)]

    about = f"VAE with {config.loss} on {config.data}"
    paths = [workdir / f"{n}.png" for n in ("manifold", "reconstructions", "samples", "curves")]
    side = (*latents.shape[:2], *manifold.shape[1:])
    figures.save_manifold(paths[0], manifold.reshape(side), title=f"Latent manifold: {about}")
    figures.save_reconstructions(
        paths[1], shown, reconstructions, columns=_NUM_COLUMNS, title=f"Reconstructions: {about}"
    )
    figures.save_samples(
        paths[2], samples[: 8 * _NUM_COLUMNS], columns=_NUM_COLUMNS, title=f"Samples: {about}"
    )
    figures.save_curves(paths[3], history, title=f"Training: {about}")
    return paths


def _evaluate(
    evaluate_batch: Any,
    state: TrainState,
    loss_params: Any,
    images: jax.Array,
    config: VaeConfig,
    key: jax.Array,
) -> dict[str, float]:
    """Means over all held-out images; the last batch is filled up, and what filled it left out."""
    batches = []
    for start in range(0, len(images), config.batch_size):
        indices = np.minimum(np.arange(start, start + config.batch_size), len(images) - 1)
        batch_key = jax.random.fold_in(key, start)
        batches.append(evaluate_batch(state, loss_params, images, indices, batch_key))
    return {
        name: float(np.concatenate([batch[name] for batch in batches])[: len(images)].mean())
        for name in batches[0]
    }


def _mean(parts: Iterable[np.ndarray]) -> float:
    return float(np.concatenate(list(parts)).mean())


def _even_parts(indices: jax.Array, most: int) -> list[jax.Array]:
    """Parts of at most `most` rows whose lengths differ by 1 at most: two compiles at the worst."""
    return jnp.array_split(indices, -(-len(indices) // most))
