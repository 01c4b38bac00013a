"""Compiles losses for a TPU or a GPU that this machine does not have, and reports what that would cost.

    pip install libtpu                                           # the one for the jax that is installed
    python -m experiments.benchmark.ahead_of_time --platform=tpu --topology=v5e:2x2

    pip install jax-cuda12-plugin jax-cuda12-pjrt nvidia-cuda-nvcc-cu12          # likewise
    python -m experiments.benchmark.ahead_of_time --platform=cuda --target_config=FILE

FILE describes a GPU as XLA's sources do, in their folder `gpu_specs`. Nothing is timed: bytes and cycles
are the compiler's estimates. One such process can run at a time.
"""

import os
import re
import time
from pathlib import Path
from typing import Any

from absl import flags

from experiments._common import cli
from watson_jax.tables import format_table

_PLATFORM = flags.DEFINE_enum("platform", "tpu", ["tpu", "cuda"], "What to compile for.")
_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "Of the TPU.")
_TARGET_CONFIG = flags.DEFINE_string("target_config", None, "File that describes the GPU.")
_LOSSES = flags.DEFINE_list(
    "losses", ["l2", "ssim", "ms-ssim", "watson-dct", "watson-dft"], "Names."
)
_SIZES = flags.DEFINE_list("sizes", ["64", "256"], "Heights and widths of images.")
_BATCH = flags.DEFINE_integer("batch", 128, "Number of images.", lower_bound=1)

_COLUMNS = ("loss", "size", "bytes / floor", "temporary MB", "compile s", "million cycles")


def main() -> None:
    """Reads the flags and prints a table, line by line since a program can take a minute."""
    sizes = cli.whole_numbers("--sizes", _SIZES.value)
    if _PLATFORM.value == "cuda" and not os.path.isfile(_TARGET_CONFIG.value or ""):
        raise cli.UserError(
            f"--target_config must be the file that describes the GPU, got {_TARGET_CONFIG.value}."
        )
    device = _device()
    rows = []
    for name in _LOSSES.value:
        for size in sizes:
            with cli.user_errors(rename={"`name`": "--losses"}):
                rows.append(_measure(name, size, device))
            print(*rows[-1], sep="\t", flush=True)
    print(f"\n{_BATCH.value} colour images, value and gradient, for {device.device_kind}:")
    print(format_table(_COLUMNS, rows))


def _device() -> Any:
    """A device that can be compiled for, and nothing else."""
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_WORKER_ID", "0")
    import jax
    from jax.experimental import topologies

    if _PLATFORM.value == "tpu":
        options = {"topology_name": _TOPOLOGY.value}
    else:
        options = {
            "topology_name": "1x1x1",
            "topology": "1x1x1",
            "target_config": Path(_TARGET_CONFIG.value or "").read_text(),
        }
    try:
        found = topologies.get_topology_desc(platform=_PLATFORM.value, **options).devices[0]
    except Exception as error:
        raise cli.UserError(
            f"--platform={_PLATFORM.value} cannot be compiled for; is its plugin installed? ({error})"
        ) from error
    jax.config.update("jax_platforms", "cpu")  # after the plugin was found: arrays live here
    return found


def _measure(name: str, size: int, device: Any) -> list[str]:
    import jax
    import jax.numpy as jnp

    import watson_jax as wj

    loss = wj.get_loss(name, color="rgb")
    sharding = jax.sharding.SingleDeviceSharding(device)
    shape = (_BATCH.value, size, size, 3)
    images = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)
    run = jax.jit(jax.value_and_grad(lambda x, y: jnp.sum(loss(x, y))))
    lowered = run.lower(images, images)
    started = time.perf_counter()
    compiled: Any = lowered.compile()
    seconds = time.perf_counter() - started
    # Both images read once, and the gradient written once.
    floor = 3 * 4 * _BATCH.value * size**2 * 3
    cycles = sum(map(int, re.findall(r'estimated_cycles":"(\d+)"', compiled.as_text())))
    return [
        name,
        str(size),
        f"{_bytes_accessed(compiled) / floor:.1f}",
        f"{compiled.memory_analysis().temp_size_in_bytes / 1e6:.0f}",
        f"{seconds:.0f}",
        f"{cycles / 1e6:.2f}" if cycles else "-",
    ]


def _bytes_accessed(compiled: Any) -> float:
    cost = compiled.cost_analysis()
    if cost is None:  # which programs for GPUs do not tell
        import jax
        from jax._src.lib import _jax

        (module,) = compiled.runtime_executable().hlo_modules()
        cost = _jax.hlo_module_cost_analysis(jax.devices("cpu")[0].client, module)
    return float(cost["bytes accessed"])


if __name__ == "__main__":
    cli.run(main)
