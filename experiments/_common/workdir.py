"""The folder of a run: what ran, with which libraries, and a line of metrics for each epoch."""

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import watson_jax as wj
from experiments._common import devices
from experiments._common.cli import UserError, user_errors
from watson_jax.files import atomic_write, clause, locked

_LIBRARIES = ("watson-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@contextlib.contextmanager
def open_workdir(workdir: Path, config: Any, *, resume: bool, **facts: Any) -> Iterator[bool]:
    """Creates the folder, or finds in it an earlier run of the same configuration; no other may use it.

    Of several processes, the first one alone does so.

    Args:
      workdir: the folder.
      config: a dataclass; it becomes `config.json`.
      resume: whether to go on with a run that is there.
      **facts: what else `config.json` is to say.

    Yields:
      Whether there is an earlier run.

    Raises:
      UserError: if the folder cannot be made, holds a run that is not to go on, or is in use.
    """
    if not devices.is_first_process():
        yield workdir.exists()
        return
    file = workdir / "config.json"
    record = json.loads(json.dumps(dataclasses.asdict(config) | facts))
    with contextlib.ExitStack() as stack:
        make_folder("--workdir", workdir)
        with user_errors(rename={str(workdir): f"--workdir={workdir}"}):
            try:
                stack.enter_context(locked(workdir / ".lock", wait=False))
            except BlockingIOError:
                raise UserError(
                    f"--workdir={workdir} is in use by another process; wait for its end, or name "
                    "another folder."
                ) from None
            there = file.exists()
            if there:
                _check_same_run(workdir, read_json(file), record, resume)
            else:
                write_json(workdir / "versions.json", versions())
                write_json(file, record)
        yield there


def make_folder(flag: str, folder: Path) -> None:
    """Makes the folder that a flag names, unless it is there.

    Raises:
      UserError: if that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{flag} must be a folder that exists or can be made, got {folder} ({error.strerror})."
        ) from None


def read_json(file: Path) -> dict[str, Any]:
    """The object in a file that a run has left.

    Raises:
      UserError: if it is damaged.
      FileNotFoundError: if there is no such file.
    """
    try:
        record = json.loads(file.read_bytes())
        if not isinstance(record, dict):
            raise ValueError("it holds no object")
    except ValueError as error:
        raise UserError(
            f"{file} is damaged ({clause(error)}); put back a copy, or name another folder."
        ) from None
    return record


def default_workdir(first: Path, config: Any = None, *, resume: bool = False) -> Path:
    """The first of runs/name, runs/name-2, … that is not there yet, or holds this very run to resume."""
    numbers = map(str, itertools.count(2))
    paths = itertools.chain([first], (first.with_name(f"{first.name}-{n}") for n in numbers))
    return next(path for path in paths if not path.exists() or (resume and holds_run(path, config)))


def holds_run(workdir: Path, config: Any) -> bool:
    """Whether there is a run of this very configuration in the folder."""
    file = workdir / "config.json"
    if not file.is_file():
        return False
    old, new = read_json(file), json.loads(json.dumps(dataclasses.asdict(config)))
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


def write_csv(path: Path, head: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """Writes a table, as a whole or not at all."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([head, *lines])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, one for each epoch, up to the first epoch that has none.

    A killed process leaves half a line, one that goes on may write an epoch's line again.
    """
    file = workdir / "metrics.jsonl"
    rows: dict[int, dict[str, Any]] = {}
    for line in file.read_bytes().splitlines() if file.exists() else ():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("epoch"), int):
                rows[row["epoch"]] = row
    whole = itertools.takewhile(rows.__contains__, itertools.count(1))
    return [rows[epoch] for epoch in whole]


class MetricsLog:
    """`metrics.jsonl`: one line of JSON for each epoch, which the first process writes."""

    def __init__(self, workdir: Path, rows: Sequence[dict[str, Any]]):
        """Opens the file and drops the lines of epochs that are going to be repeated.

        Args:
          workdir: of the run.
          rows: the lines that are to stay.
        """
        self._path, self.rows = workdir / "metrics.jsonl", list(rows)
        if devices.is_first_process():
            with atomic_write(self._path) as file:
                file.write("".join(json.dumps(row) + "\n" for row in self.rows).encode())

    def add(self, row: dict[str, Any]) -> None:
        """Appends a line; it is on the disk when this returns."""
        self.rows.append(row)
        if devices.is_first_process():
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())


def versions() -> dict[str, str]:
    """The libraries and the device of this process."""
    found = {"python": platform.python_version(), "device": jax.devices()[0].device_kind}
    return found | {name: _version(name) for name in _LIBRARIES}


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:  # this project run from a clone
        return wj.__version__ if library == "watson-jax" else "not installed"
