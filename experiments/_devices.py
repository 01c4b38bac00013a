"""Spreading a run over the devices of one or several hosts."""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def connect(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Makes several processes one run; to be called before anything else of JAX.

    Args:
      coordinator: address of process 0 as host:port; None for a single process.
      processes: how many there are.
      process: which one this is.
    """
    if coordinator is not None:
        jax.distributed.initialize(coordinator, processes, process)


def is_first_process() -> bool:
    """Whether this process is the one that prints and writes."""
    return jax.process_index() == 0


def data_mesh() -> Mesh:
    """All devices of all hosts, in one row over which batches are spread."""
    return jax.make_mesh((jax.device_count(),), ("data",), (jax.sharding.AxisType.Auto,))


def over_batch(mesh: Mesh) -> NamedSharding:
    """Each device has its part of the first axis."""
    return NamedSharding(mesh, PartitionSpec("data"))


def everywhere(mesh: Mesh) -> NamedSharding:
    """Each device has everything."""
    return NamedSharding(mesh, PartitionSpec())


def put(tree: Any, mesh: Mesh) -> Any:
    """Gives every device of the mesh the whole pytree, which all processes hold."""
    return jax.device_put(tree, everywhere(mesh))
