"""The folder of a run: what ran, with which libraries, and a line of metrics for each epoch."""

import dataclasses
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import watson_jax as wj
from experiments._cli import UserError, user_errors
from watson_jax.checkpoints._files import atomic_write

_LIBRARIES = ("watson-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def open_workdir(workdir: Path, config: Any, *, resume: bool, **facts: Any) -> bool:
    """Creates the folder, or finds in it an earlier run of the same configuration.

    Args:
      workdir: the folder.
      config: a dataclass; it becomes `config.json`.
      resume: whether to go on with a run that is there.
      **facts: what else `config.json` is to say.

    Returns:
      Whether there is an earlier run.

    Raises:
      UserError: if the folder cannot be made, or holds a run that is not to go on.
    """
    file = workdir / "config.json"
    record = json.loads(json.dumps(dataclasses.asdict(config) | facts))
    with user_errors(rename={str(workdir): f"--workdir={workdir}"}):
        if file.exists():
            _check_same_run(workdir, json.loads(file.read_text()), record, resume)
            return True
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(workdir / "versions.json", versions())
        write_json(file, record)
    return False


def default_workdir(first: Path, config: Any, *, resume: bool) -> Path:
    """The first of runs/name, runs/name-2, … that is not there yet, or holds this very run to resume."""
    path, number = first, 1
    while path.exists() and not (resume and holds_run(path, config)):
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


def holds_run(workdir: Path, config: Any) -> bool:
    """Whether there is a run of this very configuration in the folder."""
    file = workdir / "config.json"
    if not file.is_file():
        return False
    old, new = json.loads(file.read_text()), json.loads(json.dumps(dataclasses.asdict(config)))
    return all(old.get(name) == value for name, value in new.items())


def _check_same_run(workdir: Path, old: Any, new: Mapping[str, Any], resume: bool) -> None:
    if not resume:
        raise UserError(f"--workdir={workdir} already holds a run; name another folder.")
    differing = [
        f"{k} = {old.get(k)!r} there, {v!r} here" for k, v in new.items() if old.get(k) != v
    ]
    if differing:
        raise UserError(
            f"--workdir={workdir} holds another run ({'; '.join(differing)}); name another folder, or "
            "give the same flags to go on with that one."
        )


def write_json(path: Path, value: Any) -> None:
    """Writes readable JSON, as a whole or not at all."""
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


class MetricsLog:
    """`metrics.jsonl`: one line of JSON for each epoch."""

    def __init__(self, workdir: Path, *, epochs_done: int, writes: bool = True):
        """Opens the file and drops the lines of epochs that are going to be repeated.

        Args:
          workdir: of the run.
          epochs_done: how many of the lines are to stay.
          writes: whether this process is the one that writes.
        """
        self._path, self._writes = workdir / "metrics.jsonl", writes
        self.rows: list[dict[str, Any]] = []
        if epochs_done:
            # No more: a killed process may have left half a line at the end.
            lines = self._path.read_text().splitlines()[:epochs_done]
            self.rows = [json.loads(line) for line in lines]
        if not writes:
            return
        with atomic_write(self._path) as file:
            file.write("".join(json.dumps(row) + "\n" for row in self.rows).encode())

    def add(self, row: dict[str, Any]) -> None:
        """Appends a line; it is on the disk when this returns."""
        self.rows.append(row)
        if not self._writes:
            return
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def versions() -> dict[str, str]:
    """The libraries and the device of this process."""
    found = {"python": platform.python_version(), "device": jax.devices()[0].device_kind}
    return found | {name: _version(name) for name in _LIBRARIES}


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:  # this project run from a clone
        return wj.__version__ if library == "watson-jax" else "not installed"
