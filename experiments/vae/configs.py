"""Configurations of the VAE experiment.

`default` shows the idea of the paper's figure 3 on a laptop: 1,536 small digits, a narrow model.
    python -m experiments.vae.main                                     # 1 to 3 minutes on 2 CPU cores
`paper` reproduces figure 3 (MNIST, 250 epochs); it wants a GPU.
    python -m experiments.vae.main --preset=paper --data_dir=DIR --weights=published
`paper-celeba` reproduces figures 4 and 5 (CelebA, 100 epochs); it wants a GPU.
    python -m experiments.vae.main --preset=paper-celeba --data_dir=DIR --weights=published
`mnist` and `celeba` are what a CPU can do of them: models of the same layout, but narrow.
    python -m experiments.vae.main --data=mnist --data_dir=DIR             # half an hour to an hour
    python -m experiments.vae.main --data=folder --data_dir=FACES          # 2 to 3 hours, of 9,000 faces
`smoke` shows that everything runs.
    python -m experiments.vae.main --preset=smoke                      # seconds
"""

import dataclasses
from typing import Any

import watson_jax as wj
from experiments._common.cli import UserError, check_choice, check_numbers, user_errors
from experiments.vae.data import DATA_NAMES, NO_FILES
from watson_jax.losses import check_floor


def _check_above_0(name: str, value: float) -> None:
    if value <= 0:
        raise UserError(f"{name} must be above 0, got {value:g}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """One training run. The defaults are the paper's.

    Attributes:
      data: name of the data set.
      data_dir: folder of its files, where it has any.
      crop: left, top, right and bottom of the part of each image to keep, for "celeb_a" and "folder".
      image_size: height and width of the images, for "photos", "celeb_a" and "folder"; None: 64.
      color: "rgb" or "gray", for the same; None: "rgb".
      train_images: use only so many for training; None: all.
      loss: name of the reconstruction loss.
      weights: its parameters: "packaged", "published", "initial" or a path. None: the loss's default.
      log_weight: the paper's λ: the reconstruction loss counts e^λ. None: what suits the loss.
      phase_floor: amplitude below which Watson-DFT fades phases out. None: that of the weights.
      luminance_floor: lower bound of the Watson losses' brightness ratio. None: that of the weights.
      latent_size: number of latent variables; with 2, they are drawn as a manifold.
      features: channels of the convolutions: two values build the MNIST-VAE, three the CelebA-VAE.
      hidden: width of the dense layers.
      batch_size: images in a step.
      epochs: passes over the data.
      learning_rate: Adam's, at the start.
      halving_epochs: the learning rate falls to one half in so many epochs.
      chunk_steps: steps between two looks at the loss and at signals.
      seed: of everything random.
    """

    data: str = "mnist"
    data_dir: str | None = None
    crop: tuple[int, int, int, int] | None = None
    image_size: int | None = None
    color: str | None = None
    train_images: int | None = None
    loss: str = "watson-dft"
    weights: str | None = None
    log_weight: float | None = None
    phase_floor: float | None = None
    luminance_floor: float | None = None
    latent_size: int = 2
    features: tuple[int, ...] = (32, 64)
    hidden: int = 1024
    batch_size: int = 128
    epochs: int = 250
    learning_rate: float = 1e-4
    halving_epochs: float = 100.0
    chunk_steps: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)
        check_choice("--data", self.data, DATA_NAMES)
        if self.data_dir is not None and self.data in NO_FILES:
            raise UserError(
                f"data_dir must not be set with --data={self.data}, got {self.data_dir}; use "
                "--data=folder for images of any kind, or --data=mnist or celeb_a."
            )
        with user_errors(rename={"`name`": "--loss"}):
            object.__setattr__(self, "loss", wj.loss_info(self.loss).name)
            for name in ("luminance_floor", "phase_floor"):
                if getattr(self, name) is not None:
                    check_floor(name, getattr(self, name))
        for name in (
            "batch_size", "epochs", "learning_rate", "halving_epochs", "chunk_steps", "hidden",
            "latent_size",
        ):  # fmt: skip
            _check_above_0(name, getattr(self, name))
        for width in self.features:
            _check_above_0("features", width)
        if self.train_images is not None:
            _check_above_0("train_images", self.train_images)
        if len(self.features) not in (2, 3):
            raise UserError(
                "features must be 2 values for the MNIST-VAE or 3 for the CelebA-VAE, got "
                f"{','.join(map(str, self.features))}."
            )
        if self.image_size is not None:
            _check_above_0("image_size", self.image_size)
        if self.seed < 0:
            raise UserError(f"seed must be at least 0, got {self.seed}.")

    def reconstruction_log_weight(self, channels: int) -> float:
        """λ, the loss's own if none is set, for grey images or those with 3 channels."""
        if self.log_weight is not None:
            return self.log_weight
        return wj.loss_info(self.loss).log_weight(self.weights, channels)

    def loss_options(self) -> dict[str, Any]:
        """Keyword arguments for `watson_jax.get_loss`."""
        names = ("weights", "phase_floor", "luminance_floor")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def with_epochs(self, epochs: int) -> "VaeConfig":
        """The same run in fewer or more epochs: the learning rate's decay is stretched along."""
        halving = self.halving_epochs * max(epochs, 1) / self.epochs
        return dataclasses.replace(self, epochs=epochs, halving_epochs=halving)


_DEFAULT = VaeConfig(
    data="digits",
    features=(8, 16),
    hidden=256,
    batch_size=32,
    epochs=50,
    learning_rate=3e-3,
    halving_epochs=10.0,
)
_CELEBA = VaeConfig(
    data="celeb_a",
    latent_size=256,
    features=(64, 128, 128),
    hidden=2048,
    batch_size=64,
    epochs=100,
    halving_epochs=20.0,
)

PRESETS = {
    "default": _DEFAULT,
    "paper": VaeConfig(chunk_steps=100),
    "paper-celeba": dataclasses.replace(_CELEBA, chunk_steps=100),
    # As many epochs as it takes until the held-out loss hardly falls.
    "mnist": VaeConfig(
        features=(8, 16),
        hidden=256,
        epochs=50,
        batch_size=64,
        learning_rate=1e-3,
        halving_epochs=12.0,
    ),
    "celeba": dataclasses.replace(
        _CELEBA,
        features=(16, 32, 64),
        hidden=512,
        learning_rate=5e-4,
        halving_epochs=25.0,
    ),
    "smoke": dataclasses.replace(
        _DEFAULT, features=(2, 4), hidden=16, epochs=2, halving_epochs=1, batch_size=64
    ),
}

# What a data set is trained with where no preset is named.
DEFAULT_PRESETS = {"digits": "default", "mnist": "mnist"} | dict.fromkeys(
    ("photos", "celeb_a", "folder"), "celeba"
)
