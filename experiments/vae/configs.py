"""Configurations of the VAE experiment.

`default` shows the idea of the paper's figure 3 on a laptop: 1,536 small digits, a narrow model.
    python -m experiments.vae.main                                     # 2 minutes on 2 CPU cores
`paper` reproduces figure 3 (MNIST, published Watson-DFT weights, 250 epochs); it wants a GPU.
    python -m experiments.vae.main --preset=paper --data_dir=DIR
`smoke` shows that everything runs.
    python -m experiments.vae.main --preset=smoke                      # seconds
"""

import dataclasses
from typing import Any

from experiments._cli import UserError, check_choice, user_errors
from experiments.vae.data import DATA_NAMES
from watson_jax._registry import LOSSES, find_loss

# For the published Watson-DFT weights λ = 0 is the authors'. The others are matched to it, rounded
# down to halves: with them, the distance from an MNIST digit to the mean digit counts as much.
LOG_WEIGHTS = {
    ("watson-dft", "published"): 0.0,
    ("watson-dft", "packaged"): 1.5,
    ("watson-dft", "initial"): 4.0,
    ("watson-dct", "published"): 2.0,
    ("watson-dct", "packaged"): 4.5,
    ("watson-dct", "initial"): 4.5,
}


def _check(name: str, value: float, *, above: float, or_equal: bool = False) -> None:
    if not (value > above or (or_equal and value == above)):
        raise UserError(
            f"{name} must be {'at least' if or_equal else 'above'} {above:g}, got {value:g}."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """One training run. The defaults are the paper's, but for the floors, which the authors do without.

    Attributes:
      data: name of the data set.
      data_dir: folder of its files, where it has any.
      loss: name of the reconstruction loss.
      weights: its parameters: "packaged", "published", "initial" or a path. None: the loss's default.
      log_weight: the paper's λ: the reconstruction loss counts e^λ. None: what suits the loss.
      phase_floor: amplitude below which Watson-DFT fades phases out; on black they are noise.
      luminance_floor: lower bound of the Watson losses' brightness ratio. With both floors at 0.01,
        30 epochs on digits (λ = 3) left a KL of 0.3, no use of the latent; at 0.05 and 0.1, 5.2.
      latent_size: number of latent variables; 2, to be drawn as a manifold.
      features: channels at full and half resolution.
      hidden: width of the dense layers.
      batch_size: images in a step.
      epochs: passes over the data.
      learning_rate: Adam's, at the start.
      halving_epochs: the learning rate falls to one half in so many epochs.
      chunk_steps: steps between two looks at the loss.
      seed: of everything random.
    """

    data: str = "mnist"
    data_dir: str | None = None
    loss: str = "watson-dft"
    weights: str | None = None
    log_weight: float | None = None
    phase_floor: float = 0.1
    luminance_floor: float = 0.1
    latent_size: int = 2
    features: tuple[int, int] = (32, 64)
    hidden: int = 1024
    batch_size: int = 128
    epochs: int = 250
    learning_rate: float = 1e-4
    halving_epochs: float = 100.0
    chunk_steps: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("--data", self.data, DATA_NAMES)
        with user_errors(rename={"`name`": "--loss"}):
            object.__setattr__(self, "loss", find_loss(self.loss)[0])
        if self.log_weight is None and self.loss not in {loss for loss, _ in LOG_WEIGHTS}:
            raise UserError(
                f"--set log_weight must be given for {self.loss}: nobody has looked for a weight that "
                "suits this model."
            )
        if self.loss == "adaptive":
            raise UserError(
                "--loss=adaptive cannot be trained yet: it learns along with the model."
            )
        for name in (
            "batch_size", "epochs", "learning_rate", "halving_epochs", "chunk_steps", "hidden",
        ):  # fmt: skip
            _check(name, getattr(self, name), above=0)
        for width in self.features:
            _check("features", width, above=0)
        for name in ("phase_floor", "luminance_floor", "seed"):
            _check(name, getattr(self, name), above=0, or_equal=True)
        if self.latent_size != 2:
            raise UserError(f"latent_size must be 2, to draw the manifold, got {self.latent_size}.")

    @property
    def reconstruction_log_weight(self) -> float:
        """λ, from the table if none is set."""
        if self.log_weight is not None:
            return self.log_weight
        kind = self.weights or LOSSES[self.loss].default_weights
        # A file is most likely a fit as the packaged ones are.
        return LOG_WEIGHTS.get((self.loss, str(kind)), LOG_WEIGHTS[self.loss, "packaged"])

    @property
    def loss_options(self) -> dict[str, Any]:
        """Keyword arguments for `watson_jax.get_loss`."""
        options: dict[str, Any] = {"weights": self.weights} if self.weights else {}
        if not self.loss.startswith("watson"):
            return options
        options["luminance_floor"] = self.luminance_floor
        if self.loss != "watson-dct":  # has no phases
            options["phase_floor"] = self.phase_floor
        return options

    def with_epochs(self, epochs: int) -> "VaeConfig":
        """The same run in fewer or more epochs: the learning rate's decay is stretched along."""
        halving = self.halving_epochs * max(epochs, 1) / self.epochs
        return dataclasses.replace(self, epochs=epochs, halving_epochs=halving)


_DEFAULT = VaeConfig(
    data="digits",
    phase_floor=0.2,
    luminance_floor=0.3,
    features=(8, 16),
    hidden=256,
    batch_size=32,
    epochs=50,
    learning_rate=3e-3,
    halving_epochs=10.0,
)

PRESETS = {
    "default": _DEFAULT,
    "paper": VaeConfig(weights="published"),
    "smoke": dataclasses.replace(
        _DEFAULT, features=(2, 4), hidden=16, epochs=2, halving_epochs=1, batch_size=64
    ),
}
