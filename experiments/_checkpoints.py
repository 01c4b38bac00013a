"""Checkpoints of a run: `workdir/checkpoints/<step>`, written by Orbax, whole or not at all."""

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from absl import logging

from experiments._cli import UserError

FOLDER = "checkpoints"
KEEP = 2

State = TypeVar("State")


def save(workdir: Path, step: int, state: Any) -> None:
    """Writes a pytree as the checkpoint of a step; only the last two are kept.

    Raises:
      UserError: if it cannot be written.
    """
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(workdir).free
    if free < needed:  # Orbax would fill the disk and say so in a hundred lines
        raise _cannot_save(workdir, f"it needs {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free")
    try:
        with _manager(workdir) as manager:
            manager.save(step, args=ocp.args.StandardSave(_named(state)))
    except (OSError, ValueError) as error:  # Orbax reports a full disk as a ValueError
        full = "RESOURCE_EXHAUSTED" in str(error)
        reason = "no space is left" if full else str(error).splitlines()[0]
        raise _cannot_save(workdir, reason) from None


def _cannot_save(workdir: Path, reason: str) -> UserError:
    return UserError(
        f"--workdir={workdir} cannot take a checkpoint: {reason}; the last one is kept, and the same "
        "command goes on from there."
    )


def latest_step(workdir: Path) -> int | None:
    """The step of the last checkpoint, None if there is none."""
    if not (workdir / FOLDER).is_dir():
        return None
    with _manager(workdir) as manager:
        return manager.latest_step()


def restore(workdir: Path, template: State) -> State:
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
        target: Any = jax.tree.map(ocp.utils.to_shape_dtype_struct, _named(template))
        arrays = manager.restore(step, args=ocp.args.StandardRestore(target))
        leaves = [arrays[name] for name in _named(template)]
        return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _named(state: Any) -> dict[str, Any]:
    """The arrays by their place, whatever the state is made of."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


@contextlib.contextmanager
def _manager(workdir: Path) -> Iterator[ocp.CheckpointManager]:
    # Written while the program waits: a run that has ended has its checkpoint.
    options = ocp.CheckpointManagerOptions(max_to_keep=KEEP, enable_async_checkpointing=False)
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)  # What Orbax logs as errors it raises too
    try:
        with (
            contextlib.redirect_stderr(io.StringIO()),  # where its threads leave tracebacks
            ocp.CheckpointManager((workdir / FOLDER).absolute(), options=options) as manager,
        ):
            yield manager
    finally:
        logging.set_verbosity(verbosity)
