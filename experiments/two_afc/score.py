"""Scores losses on human judgements of which of two images is closer to a reference.

    python -m experiments.two_afc.score
    python -m experiments.two_afc.score --losses=l2,watson-dft:published,runs/my-fit --color=gray
    python -m experiments.two_afc.score --data=bapps --bapps_dir=DIR

The default data needs no download. A loss is its name, `name:weights` with the weights that
`watson_jax.load_params` takes, or the folder of a finished fit, all of whose trials are scored.
"""

from pathlib import Path

from absl import flags

from experiments._common import cli
from experiments.two_afc.data import JND_SPLITS, SPLITS

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
_COLOR = flags.DEFINE_string("color", "rgb", "rgb or gray.")
_SPLITS = flags.DEFINE_list("splits", None, "Parts of the data; by default all but train.")
_COMPARE = flags.DEFINE_list(
    "compare", None, "The two losses whose disagreements are drawn; by default first and last."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "Records at once.", lower_bound=1)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results go; by default a new folder runs/scores-<data>-<color>."
)


def new_workdir() -> Path:
    """The first of runs/scores-bapps-rgb, runs/scores-bapps-rgb-2, … that is not there yet."""
    first = Path("runs") / f"scores-{_DATA.value}-{_COLOR.value}"
    path, number = first, 1
    while path.exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


def main() -> None:
    """Reads the flags and scores."""
    # After the flags, because these imports take seconds.
    from experiments.two_afc.evaluate import score_losses

    score_losses(
        _LOSSES.value,
        data=_DATA.value,
        color=_COLOR.value,
        workdir=Path(_WORKDIR.value).expanduser() if _WORKDIR.value else new_workdir(),
        bapps_dir=_BAPPS_DIR.value,
        splits=_SPLITS.value,
        compare=_COMPARE.value,
        batch_size=_BATCH_SIZE.value,
    )


if __name__ == "__main__":
    cli.run(main)
