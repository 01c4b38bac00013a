"""How the cost of Watson-DFT grows with images and with parameter sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments._common.figures import COLORS, save_png
from experiments.benchmark.measure import Program, compile_program, time_interleaved
from experiments.benchmark.protocol import image_pair, jax_functions, jax_loss

LOSS, SIZE = "watson-dft", 64
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# By curve, the milliseconds at each place: a list, to be JSON.
Growth = dict[str, list[dict[str, float]]]


def measure_growth(*, largest: int | None, rounds: int) -> Growth:
    """Times the three series.

    Args:
      largest: leave out what is above; None: nothing.
      rounds: how often each is timed.

    Returns:
      For "size" and "batch" milliseconds of value and gradient and "megapixels"; for "sets" those of one
      call of `vmap` over the parameter sets of one pair ("vmap") and of as many calls ("calls").
    """
    params, fn = jax_loss(LOSS, "rgb", SIZE)
    gradient = jax_functions(fn)["gradient"]

    def upto(values: Iterable[int]) -> list[int]:
        return [v for v in values if largest is None or v <= largest]

    def compiled(batch: int, size: int) -> Program:
        pair = map(jnp.asarray, image_pair("rgb", batch, size))
        return compile_program(gradient, params, *pair).run

    # All in turn, as one image is compared with a batch.
    images = {("size", v): (1, v) for v in upto(SIZES) or [8]}
    images |= {("batch", v): (v, SIZE) for v in upto(BATCHES)}
    medians = _medians({key: compiled(*shape) for key, shape in images.items()}, rounds)

    def points(series: str) -> list[dict[str, float]]:
        return [
            {key[0]: key[1], "megapixels": batch * size**2 / 1e6, "milliseconds": medians[key]}
            for key, (batch, size) in images.items()
            if key[0] == series
        ]

    return {
        "size": points("size"),
        "batch": points("batch"),
        "sets": [{"sets": v, **_medians(_sweeps(params, fn, v), rounds)} for v in upto(SETS)],
    }


def _sweeps(params: Any, fn: Callable[..., jax.Array], number: int) -> dict[str, Program]:
    """One pair under many parameter sets: in one call, and in as many."""
    image, reference = (jnp.asarray(x[0]) for x in image_pair("rgb", 1, SIZE))
    sets = jax.tree.map(lambda p: jnp.stack([p * (1 + i / 1000) for i in range(number)]), params)
    one_by_one = [jax.tree.map(lambda p, i=i: p[i], sets) for i in range(number)]
    compiled = jax.jit(fn)
    sweep = jax.vmap(fn, in_axes=(0, None, None))
    return {
        "vmap": compile_program(sweep, sets, image, reference).run,
        "calls": lambda: jax.block_until_ready([compiled(p, image, reference) for p in one_by_one]),
    }


def _medians(programs: dict[Any, Program], rounds: int) -> dict[Any, float]:
    samples = time_interleaved(programs, rounds=rounds)
    return {name: 1e3 * float(np.median(seconds)) for name, seconds in samples.items()}


def draw_growth(curves: Growth, path: Path) -> None:
    """Draws the three series, each beside a line of equal cost for each unit."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    axes = figure.subplots(1, 3)
    panels = [
        ("size", "size", ["milliseconds"], "one image, its height and width (pixels)", 2),
        ("batch", "batch", ["milliseconds"], f"number of {SIZE}x{SIZE} images", 1),
        ("sets", "sets", ["vmap", "calls"], "number of parameter sets, one pair", 1),
    ]
    for ax, (series, key, lines, label, power) in zip(axes, panels, strict=True):
        x = np.array([point[key] for point in curves[series]], float)
        for color, line in zip(COLORS, lines, strict=False):
            y = [point[line] for point in curves[series]]
            ax.loglog(x, y, "o-", color=color, label={"milliseconds": "measured"}.get(line, line))
        last = curves[series][-1][lines[-1]]
        ax.loglog(x, last * (x / x[-1]) ** power, ":", color="#555555", label="in proportion")
        ax.set_xlabel(label)
        ax.set_ylabel("time (ms)")
        ax.grid(alpha=0.3)
        ax.legend()
    axes[0].set_title("Value and gradient")
    axes[1].set_title("Value and gradient")
    axes[2].set_title("Value")
    figure.suptitle(f"What {LOSS} costs in colour")
    save_png(figure, path)
