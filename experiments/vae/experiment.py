"""What a configuration stands for: data, loss, initial model, optimizer; and the state of its run."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import watson_jax as wj
from experiments._common.checkpoints import Checkpoints
from experiments._common.cli import UserError, user_errors
from experiments._common.workdir import read_metrics
from experiments.vae.configs import VaeConfig
from experiments.vae.data import Images, load_images
from watson_jax.models import CelebAVAE, MnistVAE
from watson_jax.training import TrainState, adam, create_train_state, merge_model

_STEP_METRICS = ("loss", "reconstruction", "kl", "grad_norm")


class Keys(NamedTuple):
    """Random keys, one for each use; steps and epochs fold in their number, so that runs can resume."""

    model: jax.Array
    order: jax.Array
    step: jax.Array
    evaluation: jax.Array
    samples: jax.Array


def random_keys(config: VaeConfig) -> Keys:
    """The keys that follow from the seed."""
    return Keys(*jax.random.split(jax.random.key(config.seed), len(Keys._fields)))


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
    formats = ("crop", "image_size", "color")
    with user_errors(rename={f"{name} must": f"--set={name} must" for name in formats}):
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
        raise UserError(
            f"--set=batch_size must be at most the number of training images, {len(images.train)}, got "
            f"{config.batch_size}."
        )
    optimizer, schedule = adam(config.learning_rate, halving_steps=config.halving_epochs * steps)
    learned_loss = loss.params if wj.loss_info(config.loss).trained_with_model else None
    graphdef, start = create_train_state(
        _make_model(config, images), optimizer, loss_params=learned_loss
    )
    log_weight = config.reconstruction_log_weight(channels)
    return Experiment(config, images, loss, log_weight, graphdef, start, optimizer, schedule, steps)


def restore(workdir: Path, experiment: Experiment) -> TrainState:
    """The state of a run at its last checkpoint, for those who look at it afterwards."""
    with Checkpoints(workdir, read_only=True) as saved:
        return restore_checkpoint(saved, experiment, read_metrics(workdir))[0]


def restore_checkpoint(
    saved: Checkpoints, experiment: Experiment, rows: list[dict[str, Any]]
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """The last checkpoint whose epochs all have their line of metrics."""
    most = (len(rows) + 1) * experiment.steps_per_epoch - 1
    return saved.restore(first_checkpoint(experiment), most=most)


def first_checkpoint(experiment: Experiment) -> tuple[TrainState, dict[str, np.ndarray]]:
    """What a checkpoint holds, before the first step: the state, and the metrics of its epoch so far."""
    steps = experiment.steps_per_epoch
    return experiment.start, {name: np.zeros(steps, np.float32) for name in _STEP_METRICS}


def _make_model(config: VaeConfig, images: Images) -> MnistVAE | CelebAVAE:
    model: Any = MnistVAE if len(config.features) == 2 else CelebAVAE
    with user_errors(rename={"`image_shape`": f"The shape of the images of --data={config.data}"}):
        return model(
            random_keys(config).model,
            image_shape=images.train.shape[1:],
            latent_size=config.latent_size,
            features=config.features,
            hidden=config.hidden,
        )
