"""Finished runs, read back from their folders."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, UInt8

from experiments._common.checkpoints import latest_step
from experiments._common.cli import UserError
from experiments._common.workdir import read_json, read_metrics
from experiments.vae.configs import VaeConfig
from experiments.vae.experiment import Experiment, restore, set_up
from watson_jax.files import clause
from watson_jax.training import TrainState, merge_model

_BATCH = 250
_ROUNDING = 1e-3  # by which images may leave [0, 1]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as training left it.

    Attributes:
      workdir: its folder.
      config: what was trained.
      experiment: its data, loss and model.
      state: at the last checkpoint.
      rows: of `metrics.jsonl`, one for each epoch.
    """

    workdir: Path
    config: VaeConfig
    experiment: Experiment
    state: TrainState
    rows: list[dict[str, Any]]

    @property
    def model(self) -> Any:
        """The trained `MnistVAE` or `CelebAVAE`, ready for evaluation."""
        return self.experiment.model(self.state)

    def encode(
        self, images: Float[ArrayLike, "*batch height width channels"]
    ) -> Float[np.ndarray, "*batch latent"]:
        """The mean latents of images in [0, 1].

        Raises:
          TypeError: if the images are not floating point.
          ValueError: if they have another shape than the model's, or leave [0, 1].
        """
        images = np.asarray(images)
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise TypeError(
                f"`images` must be floats in [0, 1], got {images.dtype}; divide 8-bit images by 255."
            )
        if images.size and not (images.min() >= -_ROUNDING and images.max() <= 1 + _ROUNDING):
            raise ValueError(
                f"`images` must be floats in [0, 1], got {images.min():g} to {images.max():g}; divide "
                "8-bit images by 255."
            )
        shape = self.experiment.images.test.shape[1:]
        return self._in_batches(_encode, "images", images, shape)

    def decode(
        self, latents: Float[ArrayLike, "*batch latent"]
    ) -> Float[np.ndarray, "*batch height width channels"]:
        """Images of latents, laid out as these are.

        Raises:
          ValueError: if there are not as many latent variables as the model has.
        """
        latents = np.asarray(latents, np.float32)
        return self._in_batches(_decode, "latents", latents, (self.config.latent_size,))

    def held_out(self, most: int) -> UInt8[np.ndarray, "number height width channels"]:
        """Images that the run was not trained on, evenly spread if there are too many of them."""
        images = self.experiment.images.test
        number = min(most, len(images))
        # Not the first ones: the first half of MNIST's is easier than the second.
        return images[np.arange(number) * len(images) // number]

    def _in_batches(
        self, compiled: Any, name: str, values: np.ndarray, shape: tuple[int, ...]
    ) -> np.ndarray:
        axes = values.ndim - len(shape)
        if axes < 0 or values.shape[axes:] != shape:
            raise ValueError(
                f"`{name}` must have the shape [..., {', '.join(map(str, shape))}] for this model, got "
                f"{values.shape}."
            )
        flat = values.reshape(-1, *shape)
        # Always the same number, which is compiled once, even for several runs of the same model.
        batches = max(1, -(-len(flat) // _BATCH))
        missing = np.zeros((batches * _BATCH - len(flat), *shape), flat.dtype)
        parts = np.concatenate([flat, missing]).reshape(batches, _BATCH, *shape)
        model = self.experiment.graphdef, self.state.params, self.state.batch_stats
        found = np.concatenate([compiled(*model, part) for part in parts])[: len(flat)]
        return found.reshape(*values.shape[:axes], *found.shape[1:])


def find_runs(paths: Iterable[str]) -> list[Path]:
    """Folders of runs: the paths themselves, or what is directly in them.

    Raises:
      UserError: if there is no run in one of them.
    """
    found: list[Path] = []
    for path in (Path(path).expanduser() for path in paths):
        inside = sorted(file.parent for file in path.glob("*/config.json"))
        folders = [path] if (path / "config.json").is_file() else inside
        if not folders:
            raise _no_run("--runs", path)
        found += [folder for folder in folders if folder not in found]
    return found


def _no_run(flag: str, path: Path) -> UserError:
    why = "has no config.json" if path.exists() else "does not exist"
    return UserError(f"{flag} must be a folder that training has left, got {path}, which {why}.")


def read_config(workdir: Path) -> VaeConfig:
    """What was trained in a folder; its λ is set in any case.

    Raises:
      UserError: if there is no run, or one of another experiment or version.
    """
    file = workdir / "config.json"
    if not file.is_file():
        raise _no_run("--run", workdir)
    record: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in read_json(file).items()
    }
    try:
        return VaeConfig(**record)
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is not that of a VAE's run ({clause(error)}).") from None


def load_run(workdir: str | os.PathLike[str]) -> Run:
    """Reads a run.

    Args:
      workdir: its folder.

    Raises:
      UserError: if there is none, it is damaged, or its data is not where it was.
    """
    workdir = Path(workdir).expanduser()
    config = read_config(workdir)
    rows = read_metrics(workdir)
    if not rows:
        raise UserError(
            f"{workdir} holds a run that has not finished its first epoch, or whose metrics.jsonl is "
            "damaged."
        )
    experiment = set_up(config)
    if latest_step(workdir) is None:
        raise UserError(f"{workdir} holds a run without a checkpoint.")
    state = restore(workdir, experiment)
    rows = rows[: int(state.step) // experiment.steps_per_epoch]
    # Adam's part is twice as large as the rest, and of no more use.
    return Run(workdir, config, experiment, state._replace(opt_state=None), rows)


@functools.partial(jax.jit, static_argnums=0)
def _encode(graphdef: Any, params: Any, batch_stats: Any, images: jax.Array) -> jax.Array:
    return _model(graphdef, params, batch_stats).encode(images)[0]


@functools.partial(jax.jit, static_argnums=0)
def _decode(graphdef: Any, params: Any, batch_stats: Any, latents: jax.Array) -> jax.Array:
    return _model(graphdef, params, batch_stats).decode(latents)


def _model(graphdef: Any, params: Any, batch_stats: Any) -> Any:
    model = merge_model(graphdef, params, batch_stats)
    model.eval()
    return model
