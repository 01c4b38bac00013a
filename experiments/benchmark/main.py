"""Measures what the losses cost; see `protocol` for what is measured.

The paper's Table 1 (128 images of 64x64, colour and grey), a step of the MNIST-VAE, and how cost grows
with images and parameter sets; minutes on two CPU cores:

    python -m experiments.benchmark.main --output=runs/benchmark.json

The same on a small scale, each program timed once, to see that everything runs:

    python -m experiments.benchmark.main --quick
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from absl import flags

import watson_jax as wj
from experiments._common import cli
from experiments._common.workdir import make_folder, write_json
from experiments.benchmark.growth import draw_growth, measure_growth
from experiments.benchmark.measure import environment
from experiments.benchmark.protocol import (
    Row,
    benchmark,
    has_torch,
    loss_names,
)
from experiments.benchmark.vae_step import describe, vae_steps

ROUNDS, QUICK_ROUNDS, VAE_ROUNDS = 21, 1, 5

_QUICK = flags.DEFINE_bool("quick", False, "Time each program once: that it runs, not how fast.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "File for the results as JSON, with a picture beside it."
)
_LOSSES = flags.DEFINE_list("losses", loss_names(), "Names of losses, separated by commas.")
_BATCH = flags.DEFINE_integer("batch", 128, "Number of images.", lower_bound=1)
_SIZE = flags.DEFINE_integer("size", 64, "Their height and width.", lower_bound=1)

COLUMNS = "{:<12} {:<6} {:<11} {:>9} {:>22} {:>22} {:>8} {:>9} {:>10}"
HEADER = COLUMNS.format(
    "loss", "color", "what", "JAX ms", "plain PyTorch", "tuned PyTorch", "temp MB", "x inputs",
    "compile s",
)  # fmt: skip


def format_row(row: Row) -> str:
    """The row as one aligned line."""

    def opponent(form: str) -> str:
        if form not in row.ratios:
            return "-"
        r = row.ratios[form]
        return f"{r.median:.1f}x ({r.low:.1f} .. {r.high:.1f})"

    return COLUMNS.format(
        row.name,
        row.color,
        row.what,
        f"{row.milliseconds['jax']:.2f}",
        opponent("plain"),
        opponent("tuned"),
        f"{row.temp_bytes / 1e6:.2f}",
        f"{row.temp_bytes / row.input_bytes:.2f}",
        f"{row.compile_seconds:.2f}",
    )


def run(losses: Sequence[str], *, batch: int, size: int, rounds: int, output: Path | None) -> None:
    """Measures, prints tables, and writes numbers and a picture."""
    if not has_torch():
        print("PyTorch is missing, so JAX is measured alone: pip install -e '.[bench]' adds it.")
    print(HEADER)
    rows = []
    for row in benchmark(losses, batch=batch, size=size, rounds=rounds):
        rows.append(dataclasses.asdict(row))
        print(format_row(row), flush=True)
    print("x: an opponent's time by that of JAX in the same round, median (10 % .. 90 %).")
    quick = rounds == QUICK_ROUNDS
    steps = (
        vae_steps(batch=2, rounds=1, features=(2, 4), hidden=8)
        if quick
        else vae_steps(batch=128, rounds=VAE_ROUNDS)
    )
    print("A training step of the MNIST-VAE, ms:", describe(steps))
    curves = measure_growth(largest=2 if quick else None, rounds=rounds)
    if output is not None:
        protocol = {"batch": batch, "size": size, "dtype": "float32", "rounds": rounds}
        record = {
            "environment": environment(),
            "protocol": protocol,
            "rows": rows,
            "vae_step": steps,
            "growth": curves,
        }
        write_json(output, record)
        draw_growth(curves, output.with_suffix(".png"))


def main() -> None:
    """Runs what the flags say, once it is sure that they can be run."""
    with cli.user_errors(rename={"`name`": "--losses"}):
        specs = [wj.loss_info(name) for name in _LOSSES.value]
    for spec in specs:
        if _SIZE.value < spec.min_size:
            raise cli.UserError(
                f"--size must be at least {spec.min_size} for {spec.name}, got {_SIZE.value}."
            )
    output = None if _OUTPUT.value is None else Path(_OUTPUT.value).expanduser()
    if output is not None:
        if output.is_dir() or output.suffix == ".png":
            raise cli.UserError(f"--output must be a file such as benchmark.json, got {output}.")
        make_folder("The parent of --output", output.parent)
    rounds = QUICK_ROUNDS if _QUICK.value else ROUNDS
    run(_LOSSES.value, batch=_BATCH.value, size=_SIZE.value, rounds=rounds, output=output)


if __name__ == "__main__":
    cli.run(main)
