"""Fits a loss to human judgements which of two distorted images is closer to the original.

    python -m experiments.two_afc.main
    python -m experiments.two_afc.main --loss=watson-dct --color=gray --seeds=5
    python -m experiments.two_afc.main --preset=paper --bapps_dir=DIR
    python -m experiments.two_afc.main --data=csv --csv=FILE --csv_size=64

All trials (seeds times learning rates) run side by side. Interrupted, the same command goes on where it
was. The presets are described in `experiments/two_afc/configs.py`.
"""

import sys
from pathlib import Path

from absl import flags

from experiments._common import cli
from experiments._common.workdir import default_workdir
from experiments.two_afc.configs import PRESETS, FitConfig
from experiments.two_afc.data import DATA_NAMES

_PRESET = flags.DEFINE_string(
    "preset", None, f"One of {', '.join(PRESETS)}; default, or csv with --data=csv."
)
_NAMED = {
    "data": flags.DEFINE_string("data", None, f"Judgements: one of {', '.join(DATA_NAMES)}."),
    "bapps_dir": flags.DEFINE_string("bapps_dir", None, "For bapps: the unpacked archives."),
    "csv": flags.DEFINE_string(
        "csv",
        None,
        "For csv: a CSV or Parquet file, reference,first,second,preference[,category] or "
        "reference,distorted,score.",
    ),
    "csv_size": flags.DEFINE_string(
        "csv_size", None, "For csv: side of images, if not as they are."
    ),
    "csv_fit": flags.DEFINE_string("csv_fit", None, "For csv: how to that size, crop or resize."),
    "csv_lower_is_better": flags.DEFINE_bool(
        "csv_lower_is_better", None, "For csv: whether lower scores are better, as DMOS."
    ),
    "loss": flags.DEFINE_string("loss", None, "What to fit, such as watson-dft or lpips-vgg."),
    "color": flags.DEFINE_string("color", None, "rgb or gray."),
    "weights": flags.DEFINE_string("weights", None, "Where to start: initial, or a file, …"),
    "seeds": flags.DEFINE_string("seeds", None, "Number of seeds."),
    "learning_rates": flags.DEFINE_string("learning_rates", None, "One or more, by commas."),
    "epochs": flags.DEFINE_string("epochs", None, "Passes over the judgements."),
}
_SET = flags.DEFINE_multi_string("set", [], "Any other field, such as --set=dropout=false.")
_RESUME = flags.DEFINE_bool("resume", True, "Whether to go on with a run that is there.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results go; by default a folder runs/fit-<loss>-<color>-<data>."
)


def config_from_flags() -> FitConfig:
    """The preset with what the flags change."""
    own_judgements = _NAMED["data"].value == "csv"
    preset = _PRESET.value or ("csv" if own_judgements else "default")
    cli.check_choice("--preset", preset, PRESETS)
    given = {name: flag.value for name, flag in _NAMED.items() if flag.value is not None}
    named = [(f"--{name}", name, str(value)) for name, value in given.items()]
    return cli.override(PRESETS[preset], named + cli.split_assignments("--set", _SET.value))


def main() -> None:
    """Reads the flags and fits."""
    config = config_from_flags()
    # After the flags, because these imports take seconds.
    from experiments.two_afc.fit import fit_and_evaluate
    from watson_jax.training import NonFiniteError

    first = Path("runs", f"fit-{config.loss}-{config.color}-{config.data}")
    workdir = Path(
        _WORKDIR.value or default_workdir(first, config, resume=_RESUME.value)
    ).expanduser()
    try:
        fit_and_evaluate(config, workdir, resume=_RESUME.value)
    except NonFiniteError as error:
        raise cli.UserError(f"{error} A lower --learning_rates=… may help.") from error
    except KeyboardInterrupt:
        there = (workdir / "config.json").exists()
        goes_on = f" The same command goes on from the last epoch in {workdir}." if there else ""
        print(f"Interrupted.{goes_on}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    cli.run(main)
