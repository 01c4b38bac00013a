"""Checkpoints of a run: `workdir/checkpoints/<step>`, written by Orbax, whole or not at all."""

import contextlib
import io
import json
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import jax
import orbax.checkpoint as ocp
from absl import logging

from experiments._common import devices
from experiments._common.cli import UserError
from experiments._common.workdir import write_json
from watson_jax.files import clause

FOLDER = "checkpoints"
KEEP = 2
_CHECKSUMS = "checksums.json"  # of all other files of a checkpoint, as Orbax has none

State = TypeVar("State")


def latest_step(workdir: Path) -> int | None:
    """The step of the last checkpoint, None if there is none."""
    return max(ocp.utils.checkpoint_steps(workdir / FOLDER), default=None)


class Checkpoints:
    """The checkpoints of a run, to be opened with `with` once for as long as it takes."""

    def __init__(self, workdir: Path, *, read_only: bool = False):
        """Opens them.

        Args:
          workdir: of the run.
          read_only: whether they are only looked at; then nothing is made if there is no run.
        """
        self._workdir = workdir
        with _quiet():
            options = ocp.CheckpointManagerOptions(
                max_to_keep=KEEP,
                read_only=read_only,
                # Written while the program waits: a run that has ended has its checkpoint.
                enable_async_checkpointing=False,
            )
            self._manager = ocp.CheckpointManager(
                (workdir / FOLDER).absolute(),
                options=options,
                # Else Orbax takes it from the first checkpoint that it reads, damaged or not.
                item_handlers=ocp.StandardCheckpointHandler(),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with _quiet():
            self._manager.close()

    def save(self, step: int, state: Any) -> None:
        """Writes a pytree as the checkpoint of a step; only the last two are kept.

        Checkpoints of this step or later ones are replaced: they could not be used, else the run would
        have gone on from there.

        Raises:
          UserError: if it cannot be written.
        """
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._workdir).free
        if free < needed:  # Orbax would fill the disk and say so in a hundred lines
            raise self._cannot_save(f"it needs {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free")
        try:
            with _quiet():
                replaced = [there for there in self._manager.all_steps() if there >= step]
                if devices.agreed(bool(replaced)):  # all processes have looked before one deletes
                    for there in replaced:
                        self._manager.delete(there)
                self._manager.save(step, args=ocp.args.StandardSave(_named(state)))
            if devices.is_first_process():
                folder = self._workdir / FOLDER / str(step)
                write_json(folder / _CHECKSUMS, _checksums(folder))
        except (OSError, ValueError) as error:  # Orbax reports a full disk as a ValueError
            full = "RESOURCE_EXHAUSTED" in str(error)
            raise self._cannot_save("no space is left" if full else clause(error)) from None

    def _cannot_save(self, reason: str) -> UserError:
        advice = (
            "there is none yet, so make room or name another folder"
            if latest_step(self._workdir) is None
            else "the last one is kept, and the same command goes on from there"
        )
        return UserError(f"--workdir={self._workdir} cannot take a checkpoint: {reason}; {advice}.")

    def restore(self, template: State, *, most: int | None = None) -> State:
        """Reads the latest checkpoint that is sound; those that are passed over are named on stderr.

        Args:
          template: a state of the same shapes, or one of `jax.ShapeDtypeStruct`.
          most: the last step up to which the run's other files are sound.

        Raises:
          FileNotFoundError: if there is none.
          UserError: if there are some, but none that can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            raise FileNotFoundError(f"{self._workdir / FOLDER} holds no checkpoint.")
        problems = []
        for step in steps:
            try:
                state = self._read(step, template, most)
            except Exception as error:  # Orbax raises many types, from KeyError to json's own
                problems.append(f"the checkpoint of step {step} cannot be used ({clause(error)})")
                continue
            if problems and devices.is_first_process():
                passed_over = ", ".join(problems)
                text = f"{self._workdir}: {passed_over}; that of step {step} is taken."
                print(text, file=sys.stderr)
            return state
        raise UserError(
            f"{self._workdir}: {', '.join(problems)}, and there is no earlier one; put back a copy, or "
            "start anew in another folder."
        )

    def _read(self, step: int, template: State, most: int | None) -> State:
        if most is not None and step > most:
            raise ValueError("metrics.jsonl lacks lines of its epochs")
        folder = self._workdir / FOLDER / str(step)
        # Before Orbax reads, which leaves hundreds of lines from its threads where it fails.
        if (folder / _CHECKSUMS).exists():
            expected, found = json.loads((folder / _CHECKSUMS).read_text()), _checksums(folder)
            for name, checksum in expected.items():
                if found.get(name) != checksum:
                    state = "damaged" if name in found else "missing"
                    raise ValueError(f"its file {name} is {state}")
        target: Any = jax.tree.map(ocp.utils.to_shape_dtype_struct, _named(template))
        with _quiet():
            arrays = self._manager.restore(step, args=ocp.args.StandardRestore(target))
        for name, expected in target.items():  # Orbax makes any shape of any other
            if arrays[name].shape != expected.shape:
                raise ValueError(
                    f"its array {name} has the shape {arrays[name].shape}, expected {expected.shape}: "
                    "the data have another size now"
                )
        leaves = [arrays[name] for name in _named(template)]
        return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _checksums(folder: Path) -> dict[str, int]:
    """The CRC-32 of each file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): zlib.crc32(path.read_bytes())
        for path in files
        if path.name != _CHECKSUMS
    }


def _named(state: Any) -> dict[str, Any]:
    """The arrays by their place, whatever the state is made of."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps from the terminal what Orbax logs as errors, as it raises them too."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # where its threads leave tracebacks
            yield
    finally:
        logging.set_verbosity(verbosity)
