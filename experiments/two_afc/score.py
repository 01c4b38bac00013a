"""Scores losses on human judgements of which of two images is closer to a reference.

    python -m experiments.two_afc.score
    python -m experiments.two_afc.score --losses=l2,watson-dft:published,runs/my-fit --color=gray
    python -m experiments.two_afc.score --data=bapps --bapps_dir=DIR

    python -m experiments.two_afc.score --data=csv --csv=FILE

The default data needs no download. A loss is its name, `name:weights` with the weights that
`watson_jax.load_params` takes, or the folder of a finished fit, all of whose trials are scored. A CSV
file of opinion scores is scored by correlations.
"""

from pathlib import Path

from absl import flags

from experiments._common import cli
from experiments.two_afc.data import JND_SPLITS, SPLITS, csv_table

DEFAULT_LOSSES = [
    "l1", "l2", "ssim", "ms-ssim", "adaptive:published", "lpips-squeeze:published",
    "watson-dct:initial", "watson-dct:published", "watson-dct:packaged",
    "watson-dft:initial", "watson-dft:published", "watson-dft:packaged",
]  # fmt: skip

_LOSSES = flags.DEFINE_list(
    "losses", DEFAULT_LOSSES, "Losses, name:weights or folders of fits, separated by commas."
)
_DATA = flags.DEFINE_string(
    "data", "photos-2afc", f"Judgements: one of {', '.join((*SPLITS, *JND_SPLITS))}."
)
_BAPPS_DIR = flags.DEFINE_string(
    "bapps_dir", None, "For bapps: the unpacked archives, or TensorFlow Datasets' folder."
)
_CSV = flags.DEFINE_string(
    "csv", None, "For csv: a CSV or Parquet file, reference,first,second,preference[,category] or "
    "reference,distorted,score."
)  # fmt: skip
_CSV_SIZE = flags.DEFINE_integer("csv_size", None, "For csv: side of images.", lower_bound=1)
_CSV_FIT = flags.DEFINE_string("csv_fit", "crop", "For csv: how to that size, crop or resize.")
_CSV_LOWER_IS_BETTER = flags.DEFINE_bool(
    "csv_lower_is_better", False, "For csv: whether lower scores are better, as DMOS."
)
_COLOR = flags.DEFINE_string("color", "rgb", "rgb or gray.")
_SPLITS = flags.DEFINE_list(
    "splits", None, "Parts of the data; by default all but train; all of csv."
)
_COMPARE = flags.DEFINE_list(
    "compare", None, "The two losses whose disagreements are drawn; by default first and last."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "Records at once.", lower_bound=1)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results go; by default a new folder runs/scores-<data>-<color>."
)


def main() -> None:
    """Reads the flags and scores."""
    # After the flags, because these imports take seconds.
    from experiments._common.workdir import default_workdir
    from experiments.two_afc.evaluate import score_losses

    table = csv_table(
        _DATA.value, _CSV.value, _CSV_SIZE.value, _CSV_FIT.value, _CSV_LOWER_IS_BETTER.value
    )
    default = Path("runs", f"scores-{_DATA.value}-{_COLOR.value}")
    workdir = Path(_WORKDIR.value or default_workdir(default)).expanduser()
    if table is not None and table.has_scores():
        from experiments.two_afc.correlations import correlate_losses

        if len(_SPLITS.value or ["all"]) > 1:
            raise cli.UserError("--splits must be one part for a file of scores.")
        if _COMPARE.value:
            raise cli.UserError("--compare must be left out for a file of scores, not choices.")
        (split,) = _SPLITS.value or ["all"]
        cli.check_choice("--splits", split, ("all", *SPLITS["csv"]))
        correlate_losses(
            _LOSSES.value, table=table, color=_COLOR.value, workdir=workdir,
            split=split, batch_size=_BATCH_SIZE.value,
        )  # fmt: skip
        return
    score_losses(
        _LOSSES.value,
        data=_DATA.value,
        color=_COLOR.value,
        workdir=workdir,
        table=table,
        bapps_dir=_BAPPS_DIR.value,
        splits=_SPLITS.value,
        compare=_COMPARE.value,
        batch_size=_BATCH_SIZE.value,
    )


if __name__ == "__main__":
    cli.run(main)
