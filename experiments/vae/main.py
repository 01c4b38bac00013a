"""Trains a VAE with a perceptual loss and leaves pictures, numbers and a checkpoint behind.

    python -m experiments.vae.main
    python -m experiments.vae.main --data=mnist --data_dir=DIR --loss=watson-dct
    python -m experiments.vae.main --preset=paper --data_dir=DIR --epochs=25
    python -m experiments.vae.main --loss=l2 --sweep=8,9,10

The presets are described in `experiments/vae/configs.py`.
"""

import dataclasses
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from absl import flags

import watson_jax as wj
from experiments._common import cli
from experiments._common.workdir import default_workdir
from experiments.vae.configs import DEFAULT_PRESETS, PRESETS, VaeConfig
from experiments.vae.data import DATA_NAMES, channels_of

_PRESET = flags.DEFINE_string(
    "preset", None, f"One of {', '.join(PRESETS)}; by default what suits --data."
)
_DATA = flags.DEFINE_string("data", None, f"Data set: one of {', '.join(DATA_NAMES)}.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "A TensorFlow Datasets folder, MNIST's IDX files, or any images (folder, zip, tar).",
)
_LOSS = flags.DEFINE_list(
    "loss", None, "Reconstruction losses such as l2,watson-dft, one run each."
)
_WEIGHTS = flags.DEFINE_string(
    "weights", None, "The loss's: packaged, published, initial, or a file."
)
_SEED = flags.DEFINE_string("seed", None, "Seed of everything random.")
_EPOCHS = flags.DEFINE_string(
    "epochs", None, "Length of training; the learning rate's decay is stretched with it."
)
_SWEEP = flags.DEFINE_list(
    "sweep", None, "Values of λ such as 8,9,10, trained side by side and compared."
)
_SET = flags.DEFINE_multi_string("set", [], "Any other field, such as --set=learning_rate=1e-3.")
_RESUME = flags.DEFINE_bool("resume", True, "Whether to go on with an interrupted run.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results go, one folder for each of several losses; by default runs/."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "For several processes: host:port of the first one."
)
_PROCESSES = flags.DEFINE_integer("processes", None, "For several processes: how many there are.")
_PROCESS = flags.DEFINE_integer(
    "process", None, "For several processes: which this one is, from 0."
)


def configs_from_flags() -> list[VaeConfig]:
    """The preset with what the flags change, for each loss."""
    given = {"data": _DATA, "data_dir": _DATA_DIR, "seed": _SEED, "epochs": _EPOCHS}
    named = [(f"--{n}", n, flag.value) for n, flag in given.items() if flag.value is not None]
    rest = cli.split_assignments("--set", _SET.value)
    if _PRESET.value is not None:
        cli.check_choice("--preset", _PRESET.value, PRESETS)
    if _DATA.value is not None:
        cli.check_choice("--data", _DATA.value, DATA_NAMES)
    preset = PRESETS[_PRESET.value or DEFAULT_PRESETS[_DATA.value or "digits"]]
    losses, configs = _LOSS.value or [preset.loss], []
    for loss in losses:
        changes = [*named, ("--loss", "loss", loss)]
        if _WEIGHTS.value is not None and (len(losses) == 1 or takes_weights(loss)):
            changes.append(("--weights", "weights", _WEIGHTS.value))
        config = cli.override(preset, changes)
        if _EPOCHS.value is not None:
            config = cli.override(preset.with_epochs(config.epochs), changes)
        config = cli.override(config, rest)
        sweep = [[("--sweep", "log_weight", text)] for text in _SWEEP.value or ()]
        configs += [cli.override(config, change) for change in sweep or [[]]]
    if _SWEEP.value and any(config.log_weight is None for config in configs):
        raise cli.UserError(f"--sweep must be numbers, got {','.join(_SWEEP.value)}.")
    return configs


def takes_weights(loss: str) -> bool:
    """Whether `--weights` is about this one of several losses: L2, for one, has none."""
    with cli.user_errors(rename={"`name`": "--loss"}):
        return bool(wj.loss_info(loss).weights)


def workdir_of(config: VaeConfig, *, several: bool) -> Path:
    """What was asked for, or a folder of this run's own below runs/."""
    if _SWEEP.value:
        return _sweep_folder(config) / f"{config.loss}-lambda{config.log_weight:g}"
    if _WORKDIR.value:
        asked_for = Path(_WORKDIR.value).expanduser()
        return asked_for / config.loss if several else asked_for
    first = Path("runs") / f"{config.data}-{config.loss}"
    with cli.user_errors(rename={"color must": "--set=color must"}):
        channels = channels_of(config.data, config.color)
    # As `config.json` has it, or no earlier run would be found to be the same.
    config = dataclasses.replace(config, log_weight=config.reconstruction_log_weight(channels))
    return default_workdir(first, config, resume=_RESUME.value)


def _sweep_folder(config: VaeConfig) -> Path:
    return Path(_WORKDIR.value or f"runs/{config.data}-sweep").expanduser()


def main() -> None:
    """Reads the flags and trains."""
    configs = configs_from_flags()
    # After the flags, because these imports take seconds.
    from experiments._common import devices
    from experiments._common.termination import TerminatedError

    devices.connect(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    runs = {workdir_of(config, several=len(configs) > 1): config for config in configs}
    train_all = _train_side_by_side if _SWEEP.value else _train_one_by_one
    try:
        train_all(runs)
    except TerminatedError as error:
        print(f"{error} The same command goes on from there.", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)


def _train_one_by_one(runs: Mapping[Path, VaeConfig]) -> None:
    from experiments.vae.train import left_out, train_and_evaluate

    finished = 0
    for workdir, config in runs.items():
        with left_out(config.loss, workdir, alone=len(runs) == 1):
            train_and_evaluate(config, workdir, resume=_RESUME.value)
            finished += 1
    if finished < len(runs):
        raise cli.UserError(
            f"{len(runs) - finished} of {len(runs)} runs did not come to their end, for the reasons "
            "above."
        )


def _train_side_by_side(runs: Mapping[Path, VaeConfig]) -> None:
    from experiments.vae.comparison import compare
    from experiments.vae.sweep import train_side_by_side

    folder = _sweep_folder(next(iter(runs.values())))
    finished = train_side_by_side(runs, folder / "side_by_side.png", resume=_RESUME.value)
    if not finished:
        raise cli.UserError("No run came to its end.")
    paths, losses = [str(workdir) for workdir in finished], ["l2", "ssim", "watson-dft"]
    compare(paths, folder / "comparison", number=1000, losses=losses)


if __name__ == "__main__":
    cli.run(main)
