"""What of the losses is measured, after the paper's Table 1: 128 images of 64x64, float32.

For each loss the forward pass, the value with its gradient with respect to the image, and a step of
gradient descent on the images; for the Watson losses also the gradient with respect to the parameters,
in batches of 50 as the fits to judgements take it. Losses are compared at their starting values, so
that nothing has to be downloaded.

Opponents are eager PyTorch on the same device, in two forms: "plain", as one writes the formulas down
and as they circulate, and "tuned", the fastest that leaves the formulas visible.
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

_CHANNELS = {"rgb": 3, "gray": 1}

# Small enough that the images of the in-place PyTorch step stay images.
LEARNING_RATE = 1e-6

# The paper fits losses to judgements in batches of 50.
JUDGED_BATCH = 50


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How many times as long an opponent takes, over the rounds: median, 10 % and 90 % quantile."""

    median: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
      name: the loss.
      color: "rgb" or "gray".
      what: "step", "gradient" (with the forward pass), "forward" or "parameters".
      milliseconds: medians over the rounds, of "jax" and of each opponent.
      ratios: of each opponent's time to that of JAX in the same round.
      temp_bytes: memory of the compiled program beyond its inputs and outputs.
      input_bytes: memory of image and reference.
      compile_seconds: tracing and compiling.
    """

    name: str
    color: str
    what: str
    milliseconds: dict[str, float]
    ratios: dict[str, Ratio]
    temp_bytes: int
    input_bytes: int
    compile_seconds: float


def loss_names() -> list[str]:
    """Every registered loss."""
    return list(wj.list_losses())


def image_pair(color: str, batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise in [0, 1], since no time depends on the values: float32 `[batch, size, size, C]`."""
    rng = np.random.default_rng(0)
    shape = (batch, size, size, _CHANNELS[color])
    return rng.random(shape, np.float32), rng.random(shape, np.float32)


def jax_loss(name: str, color: str, size: int) -> tuple[Any, Callable[..., jax.Array]]:
    """The parameters and the pure function of a loss."""
    spec = wj.loss_info(name)
    if spec.untrained is not None:  # Random weights take as long as trained ones.
        return spec.untrained(), spec.function
    weights = "initial" if spec.weights else None
    loss = wj.get_loss(name, color=color, weights=weights, image_size=(size, size))
    return loss.params, loss.fn


def jax_functions(fn: Callable[..., jax.Array]) -> dict[str, Callable[..., Any]]:
    """What is timed, each a function of `(params, image, reference)`."""

    def gradient(params: Any, image: jax.Array, reference: jax.Array) -> Any:
        return jax.value_and_grad(lambda x: fn(params, x, reference).sum())(image)

    def step(params: Any, image: jax.Array, reference: jax.Array) -> jax.Array:
        return image - LEARNING_RATE * gradient(params, image, reference)[1]

    def parameters(params: Any, image: jax.Array, reference: jax.Array) -> Any:
        return jax.value_and_grad(lambda p: fn(p, image, reference).sum())(params)

    return {"step": step, "gradient": gradient, "forward": fn, "parameters": parameters}


def has_torch() -> bool:
    """Whether there is a PyTorch to compare with."""
    return importlib.util.find_spec("torch") is not None


def torch_programs(
    name: str, params: Any, image: np.ndarray, reference: np.ndarray, what: str
) -> dict[str, Program]:
    """The same on the same kind of device in eager PyTorch, by form; without those not written."""
    # OpenMP's waiting threads would otherwise spin, which takes the cores from JAX in the next
    # timing and, on a busy machine, from PyTorch itself: L2 there took up to eight times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch

    from experiments.benchmark import torch_losses, torch_plain

    torch.set_num_threads(os.cpu_count() or 1)
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    # Channels first and contiguous, as images lie in PyTorch.
    x, y = (
        torch.tensor(np.ascontiguousarray(np.moveaxis(array, -1, -3)), device=device)
        for array in (image, reference)
    )
    programs = {}
    for form, make in (("plain", torch_plain.make_plain), ("tuned", torch_losses.make_twin)):
        channels = torch_losses.channel_params(params, device)
        loss = make(name, channels)
        if loss is not None:
            learned = torch_losses.tensors(channels) if what == "parameters" else [x]
            programs[form] = _torch_program(loss, x, y, what, learned)
    return programs


def _torch_program(loss: Any, image: Any, reference: Any, what: str, learned: list) -> Program:
    import torch

    for tensor in learned:
        tensor.requires_grad_()

    def gradient() -> Any:
        total = loss(image, reference).sum()
        return torch.autograd.grad(total, learned)

    def step() -> None:
        (grad,) = gradient()
        with torch.no_grad():
            image.sub_(grad, alpha=LEARNING_RATE)

    def forward() -> Any:
        with torch.inference_mode():
            return loss(image, reference)

    runs = {"step": step, "gradient": gradient, "forward": forward, "parameters": gradient}
    run = runs[what]

    def run_and_wait() -> None:
        run()
        if image.device.type == "cuda":
            torch.cuda.synchronize()

    return run_and_wait


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
    for name in (wj.loss_info(name).name for name in names):
        for color in _CHANNELS:
            params, fn = jax_loss(name, color, size)
            functions = jax_functions(fn)
            if "packaged" not in wj.loss_info(name).weights:  # nobody sweeps them
                del functions["parameters"]
            for what, function in functions.items():
                number = min(batch, JUDGED_BATCH) if what == "parameters" else batch
                pair = image_pair(color, number, size)
                compiled = compile_program(function, params, *map(jnp.asarray, pair))
                programs = {"jax": compiled.run}
                if has_torch():
                    programs |= torch_programs(name, params, *pair, what)
                samples = time_interleaved(programs, rounds=rounds)
                seconds = samples["jax"]
                yield Row(
                    name=name,
                    color=color,
                    what=what,
                    milliseconds={k: 1e3 * float(np.median(s)) for k, s in samples.items()},
                    ratios={k: ratio(s, seconds) for k, s in samples.items() if k != "jax"},
                    temp_bytes=compiled.temp_bytes,
                    input_bytes=sum(array.nbytes for array in pair),
                    compile_seconds=compiled.seconds,
                )


def ratio(seconds: np.ndarray, of: np.ndarray) -> Ratio:
    """The ratio of two programs' times, round by round."""
    return Ratio(*np.quantile(seconds / of, [0.5, 0.1, 0.9]).tolist())
