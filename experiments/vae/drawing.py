"""Draws everything there is to see of a trained model."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.vae import figures
from experiments.vae.experiment import Experiment, random_keys
from watson_jax.training import TrainState

_MANIFOLD_SIZE = 15
_NUM_COLUMNS = 12


def draw(
    experiment: Experiment,
    state: TrainState,
    workdir: Path,
    history: list[dict[str, Any]],
) -> list[Path]:
    """Draws everything there is to see of a trained model; returns the files."""
    config, test = experiment.config, experiment.images.test
    model = experiment.model(jax.device_get(state))
    decode = jax.jit(model.decode)
    # One shape for every call compiles the decoder once.
    number = _MANIFOLD_SIZE**2
    samples = np.asarray(
        decode(jax.random.normal(random_keys(config).samples, (number, config.latent_size)))
    )
    columns = min(_NUM_COLUMNS, len(test))
    shown = test[: 4 * columns].astype(np.float32) / 255
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
        columns=columns,
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
