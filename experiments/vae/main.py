"""Trains a VAE with a perceptual loss and leaves pictures, numbers and a checkpoint behind.

    python -m experiments.vae.main
    python -m experiments.vae.main --data=mnist --data_dir=DIR --loss=watson-dct
    python -m experiments.vae.main --preset=paper --data_dir=DIR --epochs=25

The presets are described in `experiments/vae/configs.py`.
"""

from pathlib import Path

from absl import flags

from experiments import _cli
from experiments.vae.configs import PRESETS, VaeConfig
from experiments.vae.data import DATA_NAMES

_PRESET = flags.DEFINE_string("preset", "default", f"One of {', '.join(PRESETS)}.")
_DATA = flags.DEFINE_string("data", None, f"Data set: one of {', '.join(DATA_NAMES)}.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "For mnist: a TensorFlow Datasets folder, or one with the IDX files."
)
_LOSS = flags.DEFINE_string("loss", None, "Reconstruction loss, such as watson-dft or watson-dct.")
_WEIGHTS = flags.DEFINE_string(
    "weights", None, "The loss's: packaged, published, initial, or a file."
)
_SEED = flags.DEFINE_string("seed", None, "Seed of everything random.")
_EPOCHS = flags.DEFINE_string(
    "epochs", None, "Length of training; the learning rate's decay is stretched with it."
)
_SET = flags.DEFINE_multi_string("set", [], "Any other field, such as --set=learning_rate=1e-3.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results go; by default a new folder runs/<data>-<loss>."
)


def config_from_flags() -> VaeConfig:
    """The preset with what the flags change."""
    _cli.check_choice("--preset", _PRESET.value, PRESETS)
    given = {"data": _DATA, "data_dir": _DATA_DIR, "loss": _LOSS, "weights": _WEIGHTS}
    given |= {"seed": _SEED, "epochs": _EPOCHS}
    named = [(f"--{n}", n, flag.value) for n, flag in given.items() if flag.value is not None]
    preset = PRESETS[_PRESET.value]
    config = _cli.override(preset, named)
    if _EPOCHS.value is not None:
        config = _cli.override(preset.with_epochs(config.epochs), named)
    return _cli.override(config, _cli.split_assignments("--set", _SET.value))


def new_workdir(config: VaeConfig) -> Path:
    """The first of runs/digits-watson-dft, runs/digits-watson-dft-2, … that is not there yet."""
    first = Path("runs") / f"{config.data}-{config.loss}"
    path, number = first, 1
    while path.exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


def main() -> None:
    """Reads the flags and trains."""
    config = config_from_flags()
    workdir = Path(_WORKDIR.value) if _WORKDIR.value else new_workdir(config)
    # After the flags, because these imports take seconds.
    from experiments.vae.train import train_and_evaluate
    from watson_jax.training import NonFiniteError

    try:
        train_and_evaluate(config, workdir)
    except NonFiniteError as error:
        raise _cli.UserError(f"{error} A lower --set=learning_rate=… may help.") from error


if __name__ == "__main__":
    _cli.run(main)
