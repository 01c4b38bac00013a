"""Compares finished VAE runs: a table, pictures with a row for each loss, and an HTML report.

    python -m experiments.vae.compare --runs=runs/digits-l2,runs/digits-watson-dft
    python -m experiments.vae.compare --runs=runs/all --workdir=runs/compare

A run is the folder that training left; a folder of such folders stands for all of them. Runs that differ
in nothing but the seed are put together: the table has their mean and spread. Runs that differ in λ
alone are named by it.
"""

from pathlib import Path

from absl import flags

from experiments._common import cli

DEFAULT_LOSSES = ["l1", "l2", "ssim", "ms-ssim", "watson-dct", "watson-dft"]

_RUNS = flags.DEFINE_list("runs", [], "Folders of runs, or folders of these, separated by commas.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results go; by default a new folder runs/compare."
)
_NUMBER = flags.DEFINE_integer(
    "number", 1000, "Samples to draw, and held-out images to use at most.", lower_bound=64
)
_LOSSES = flags.DEFINE_list(
    "losses", DEFAULT_LOSSES, "What reconstructions are measured by: name or name:weights."
)


def main() -> None:
    """Reads the flags and compares."""
    if not _RUNS.value:
        raise cli.UserError("--runs must name folders of finished runs, got none.")
    # After the flags, because these imports take seconds.
    from experiments._common.workdir import default_workdir
    from experiments.vae.comparison import compare

    workdir = Path(_WORKDIR.value or default_workdir(Path("runs", "compare"))).expanduser()
    compare(_RUNS.value, workdir, number=_NUMBER.value, losses=_LOSSES.value)


if __name__ == "__main__":
    cli.run(main)
