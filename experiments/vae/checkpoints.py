"""Checkpoints of a run: `workdir/checkpoints/<step>`, written by Orbax, whole or not at all."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

from watson_jax.training import TrainState

FOLDER = "checkpoints"
KEEP = 2


def save(workdir: Path, state: TrainState) -> None:
    """Writes the state as the checkpoint of its step; only the last two are kept."""
    with _manager(workdir) as manager:
        manager.save(int(state.step), args=ocp.args.StandardSave(state._asdict()))


def restore(workdir: Path, template: TrainState) -> TrainState:
    """Reads the latest checkpoint.

    Args:
      workdir: of the run.
      template: a state of the same shapes, or one of `jax.ShapeDtypeStruct`.

    Raises:
      FileNotFoundError: if there is none.
    """
    with _manager(workdir) as manager:
        step = manager.latest_step()
        if step is None:
            raise FileNotFoundError(f"{workdir / FOLDER} holds no checkpoint.")
        target: Any = jax.tree.map(ocp.utils.to_shape_dtype_struct, template._asdict())
        return TrainState(**manager.restore(step, args=ocp.args.StandardRestore(target)))


@contextlib.contextmanager
def _manager(workdir: Path) -> Iterator[ocp.CheckpointManager]:
    # Written while the program waits: a run that has ended has its checkpoint.
    options = ocp.CheckpointManagerOptions(max_to_keep=KEEP, enable_async_checkpointing=False)
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # Orbax tells its life story at INFO and WARNING
    try:
        with ocp.CheckpointManager((workdir / FOLDER).absolute(), options=options) as manager:
            yield manager
    finally:
        logging.set_verbosity(verbosity)
