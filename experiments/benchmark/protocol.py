"""The protocol of the paper's Table 1: 128 images of 64x64, one step of gradient descent on them.

A step is the loss, its gradient with respect to the image, and `image -= rate * gradient`. Gradient
and forward pass are timed alone too. Losses are compared at their starting values, so that nothing
has to be downloaded.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import watson_jax as wj
from experiments.benchmark.measure import Program, compile_program, time_interleaved
from watson_jax._registry import CHANNELS, LOSSES, find_loss

# Small enough that the images of the in-place PyTorch step stay images.
LEARNING_RATE = 1e-6


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
      name: the loss.
      color: "rgb" or "gray".
      what: "step", "gradient" (with the forward pass) or "forward".
      milliseconds_jax: median over the rounds.
      milliseconds_torch: the same of eager PyTorch, None where there is none.
      ratio: median over the rounds of PyTorch's time by that of JAX in the same round.
      ratio_quantiles: the 10 % and 90 % quantiles of these ratios.
      temp_bytes: memory of the compiled program beyond its inputs and outputs.
      input_bytes: memory of image and reference.
      compile_seconds: tracing and compiling.
    """

    name: str
    color: str
    what: str
    milliseconds_jax: float
    milliseconds_torch: float | None
    ratio: float | None
    ratio_quantiles: tuple[float, float] | None
    temp_bytes: int
    input_bytes: int
    compile_seconds: float


def loss_names() -> list[str]:
    """Every registered loss."""
    return list(LOSSES)


def check_loss_names(names: Sequence[str]) -> None:
    """Raises a `ValueError` of one sentence for an unknown name."""
    for name in names:
        find_loss(name)


def image_pair(color: str, batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise in [0, 1], since no time depends on the values: float32 `[batch, size, size, C]`."""
    rng = np.random.default_rng(0)
    shape = (batch, size, size, CHANNELS[color])
    return rng.random(shape, np.float32), rng.random(shape, np.float32)


def jax_loss(name: str, color: str, size: int) -> tuple[Any, Callable[..., jax.Array]]:
    """The parameters and the pure function of a loss."""
    entry = LOSSES[name]
    if entry.params_type is wj.LpipsParams:
        return _untrained_lpips(entry.variant["network"]), wj.lpips
    weights = "initial" if entry.weights else None
    loss = wj.get_loss(name, color=color, weights=weights, image_size=(size, size))
    return loss.params, loss.fn


def _untrained_lpips(network: str) -> wj.LpipsParams:
    """Random weights, which take as long as trained ones."""
    from watson_jax.models._lpips import linear_shapes, random_backbone

    linear = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), linear_shapes(network))
    return wj.LpipsParams(random_backbone(network, 0), linear, network=network)


def jax_functions(fn: Callable[..., jax.Array]) -> dict[str, Callable[..., Any]]:
    """What is timed, each a function of `(params, image, reference)`."""

    def gradient(params: Any, image: jax.Array, reference: jax.Array) -> Any:
        return jax.value_and_grad(lambda x: fn(params, x, reference).sum())(image)

    def step(params: Any, image: jax.Array, reference: jax.Array) -> jax.Array:
        return image - LEARNING_RATE * gradient(params, image, reference)[1]

    return {"step": step, "gradient": gradient, "forward": fn}


def has_torch() -> bool:
    """Whether there is a PyTorch to compare with."""
    return importlib.util.find_spec("torch") is not None


def torch_programs(
    name: str, params: Any, image: np.ndarray, reference: np.ndarray
) -> dict[str, Program]:
    """The same on the same kind of device in eager PyTorch; empty where no twin is written."""
    # OpenMP's waiting threads would otherwise spin, which takes the cores from JAX in the next
    # timing and, on a busy machine, from PyTorch itself: L2 there took up to eight times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch

    from experiments.benchmark.torch_losses import make_twin

    torch.set_num_threads(os.cpu_count() or 1)
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    twin = make_twin(name, params, device)
    if twin is None:
        return {}
    # Channels first and contiguous, as images lie in PyTorch.
    x, y = (
        torch.tensor(np.ascontiguousarray(np.moveaxis(array, -1, -3)), device=device)
        for array in (image, reference)
    )
    x.requires_grad_()

    def gradient() -> tuple[torch.Tensor, torch.Tensor]:
        total = twin(x, y).sum()
        return total, torch.autograd.grad(total, x)[0]

    def step() -> None:
        _, grad = gradient()
        with torch.no_grad():
            x.sub_(grad, alpha=LEARNING_RATE)

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return twin(x, y)

    def finished(run: Program) -> Program:
        def run_and_wait() -> None:
            run()
            if device == "cuda":
                torch.cuda.synchronize()

        return run_and_wait

    runs = {"step": step, "gradient": gradient, "forward": forward}
    return {what: finished(run) for what, run in runs.items()}


def benchmark(names: Sequence[str], *, batch: int, size: int, rounds: int) -> Iterator[Row]:
    """Measures losses in colour and grey.

    Args:
      names: from `loss_names`.
      batch: number of images.
      size: their height and width.
      rounds: how often each program is timed.

    Yields:
      A row as soon as it is measured.
    """
    for name in (find_loss(name)[0] for name in names):
        for color in CHANNELS:
            params, fn = jax_loss(name, color, size)
            image, reference = image_pair(color, batch, size)
            twins = torch_programs(name, params, image, reference) if has_torch() else {}
            for what, function in jax_functions(fn).items():
                arguments = params, jnp.asarray(image), jnp.asarray(reference)
                compiled = compile_program(function, *arguments)
                programs = {"jax": compiled.run}
                if what in twins:
                    programs["torch"] = twins[what]
                samples = time_interleaved(programs, rounds=rounds)
                milliseconds = {key: 1e3 * float(np.median(s)) for key, s in samples.items()}
                ratios = samples["torch"] / samples["jax"] if "torch" in samples else None
                low_high = None if ratios is None else np.quantile(ratios, [0.1, 0.9]).tolist()
                yield Row(
                    name=name,
                    color=color,
                    what=what,
                    milliseconds_jax=milliseconds["jax"],
                    milliseconds_torch=milliseconds.get("torch"),
                    ratio=None if ratios is None else float(np.median(ratios)),
                    ratio_quantiles=low_high,
                    temp_bytes=compiled.temp_bytes,
                    input_bytes=image.nbytes + reference.nbytes,
                    compile_seconds=compiled.seconds,
                )
