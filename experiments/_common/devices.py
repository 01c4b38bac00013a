"""Spreading a run over the devices of one or several hosts."""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments._common.cli import UserError
from watson_jax.files import clause

Item = TypeVar("Item")
Ready = TypeVar("Ready")

Source = Callable[[Any], tuple[jax.Array, Any]]
"""Where batches come from: turns indices `[..., batch]` into rows on the devices and their indices."""


def connect(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Makes several processes one run; to be called before anything else of JAX.

    Args:
      coordinator: address of process 0 as host:port; None for a single process.
      processes: how many there are.
      process: which one this is. Like `processes`, clusters that JAX knows tell it.

    Raises:
      UserError: if these do not go together, or the coordinator cannot be reached.
    """
    if coordinator is None:
        if processes is None and process is None:
            return
        raise UserError("--coordinator must be given with --processes and --process, got none.")
    if (processes is None) != (process is None):
        raise UserError("--processes and --process must be given together, got one of them.")
    if processes is not None and process is not None and not 0 <= process < processes:
        raise UserError(
            f"--process must be from 0 to one less than --processes={processes}, got {process}."
        )
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"--coordinator={coordinator} cannot be used: {clause(error)}.") from error


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


def put_data(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """As `put`, without comparing what the processes hold; so it may be called in any thread."""
    return jax.make_array_from_callback(array.shape, everywhere(mesh), array.__getitem__)


def memory() -> float:
    """Bytes that a device has; infinite for a CPU, which uses the host's."""
    stats = jax.local_devices()[0].memory_stats()
    return stats["bytes_limit"] if stats else math.inf


def source(array: np.ndarray, mesh: Mesh) -> Source:
    """Makes an array ready for batches of its rows.

    The devices hold it if it takes no more than a quarter of their memory, and otherwise are given the
    rows of each batch.
    """
    if array.nbytes <= memory() / 4:
        everything = put_data(array, mesh)
        return lambda indices: (everything, indices)

    def pick(indices: Any) -> tuple[jax.Array, Any]:
        picked = put_data(array[np.ravel(indices)], mesh)
        return picked, np.arange(indices.size).reshape(indices.shape)

    return pick


def agreed(wish: bool) -> bool:
    """Whether any process has the wish; all get the same answer, and so do the same."""
    if jax.process_count() == 1:
        return wish
    return bool(multihost_utils.process_allgather(np.array(wish)).any())


def prepared_ahead(prepare: Callable[[Item], Ready], items: Iterable[Item]) -> Iterator[Ready]:
    """`map(prepare, items)`, each prepared in the background while the one before it is used."""
    with ThreadPoolExecutor(1) as background:
        waiting = None
        for item in items:
            following = background.submit(prepare, item)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
