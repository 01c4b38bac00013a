"""Finished runs, read back from their folders."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from experiments._common.checkpoints import latest_step
from experiments._common.cli import UserError
from experiments._common.workdir import read_json, read_metrics
from experiments.vae.configs import VaeConfig
from experiments.vae.experiment import Experiment, restore, set_up
from watson_jax.files import clause
from watson_jax.training import TrainState, merge_model

_BATCH = 250


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
        self, images: Float[np.ndarray, "number height width channels"]
    ) -> Float[np.ndarray, "number latent"]:
        """The mean latents of images in [0, 1].

        Raises:
          TypeError: if the images are not floating point.
        """
        if not np.issubdtype(images.dtype, np.floating):
            raise TypeError(
                f"`images` must be floats in [0, 1], got {images.dtype}; divide 8-bit images by 255."
            )
        return self._in_batches(_encode, images)

    def decode(
        self, latents: Float[np.ndarray, "*batch latent"]
    ) -> Float[np.ndarray, "*batch height width channels"]:
        """Images of latents, laid out as these are."""
        images = self._in_batches(_decode, latents.reshape(-1, latents.shape[-1]))
        return images.reshape(*latents.shape[:-1], *images.shape[1:])

    def held_out(self, most: int) -> UInt8[np.ndarray, "number height width channels"]:
        """Images that the run was not trained on, evenly spread if there are too many of them."""
        images = self.experiment.images.test
        number = min(most, len(images))
        # Not the first ones: the first half of MNIST's is easier than the second.
        return images[np.arange(number) * len(images) // number]

    def _in_batches(self, compiled: Any, values: np.ndarray) -> np.ndarray:
        # Always the same shape, which is compiled once, even for several runs of the same model.
        short = -len(values) % _BATCH
        padded = np.concatenate([values, np.zeros((short, *values.shape[1:]), values.dtype)])
        model = self.experiment.graphdef, self.state.params, self.state.batch_stats
        parts = [compiled(*model, part) for part in np.split(padded, len(padded) // _BATCH)]
        return np.concatenate(parts)[: len(values)]


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
            raise UserError(f"{path} holds no run: there is no config.json in it or one below.")
        found += [folder for folder in folders if folder not in found]
    return found


def read_config(workdir: Path) -> VaeConfig:
    """What was trained in a folder; its λ is set in any case.

    Raises:
      UserError: if there is no run, or one of another experiment or version.
    """
    file = workdir / "config.json"
    if not file.is_file():
        raise UserError(f"{workdir} holds no run: there is no config.json in it.")
    record: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in read_json(file).items()
    }
    try:
        return VaeConfig(**record)
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is not that of a VAE's run ({clause(error)}).") from None


def load_run(workdir: Path) -> Run:
    """Reads a run.

    Raises:
      UserError: if there is none, it is damaged, or its data is not where it was.
    """
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
