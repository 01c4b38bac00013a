"""How time and memory are measured; what is measured stands in `protocol`."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from watson_jax import __version__

Program = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled JAX program with its arguments.

    Attributes:
      run: runs it and waits for the result.
      seconds: what tracing and compiling took.
      temp_bytes: memory it takes while it runs, beyond its inputs and outputs.
    """

    run: Program
    seconds: float
    temp_bytes: int


def compile_program(fn: Callable[..., Any], *args: Any) -> Compiled:
    """Compiles `fn` for these arguments."""
    start = time.perf_counter()
    compiled = jax.jit(fn).lower(*args).compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    if memory is None:
        raise RuntimeError(f"XLA reports no memory for programs on {jax.default_backend()!r}.")
    return Compiled(
        run=lambda: jax.block_until_ready(compiled(*args)),
        seconds=seconds,
        temp_bytes=memory.temp_size_in_bytes,
    )


def time_interleaved(
    programs: Mapping[Any, Program], *, rounds: int, min_seconds: float = 0.02
) -> dict[Any, np.ndarray]:
    """Times programs in turn, so that whatever else the machine does falls on all of them alike.

    Args:
      programs: each must return only once its result is there.
      rounds: how often each is timed; every second round goes through them in reverse.
      min_seconds: fast programs are repeated until one timing takes about this long.

    Returns:
      For each program the seconds of one call in each round, shape `[rounds]`.
    """
    repeats = {}
    for name, run in programs.items():
        run()  # the first call allocates and starts threads
        repeats[name] = max(1, round(min_seconds / _seconds(run, 1)))
    samples = {name: np.empty(rounds) for name in programs}
    for index in range(rounds):
        for name in list(programs)[:: 1 if index % 2 == 0 else -1]:
            samples[name][index] = _seconds(programs[name], repeats[name])
    return samples


def _seconds(run: Program, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def environment() -> dict[str, Any]:
    """The machine and the versions, for the record."""
    versions: dict[str, str | None] = {"watson-jax": __version__}
    for package in ("jax", "jaxlib", "torch", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
