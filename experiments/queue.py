"""Trains a list of runs one after the other, at the lowest priority.

    python -m experiments.queue --runs=runs.txt

Each line of `runs.txt` has the arguments of `experiments.vae.main` for one run. Empty lines and lines
that start with # are comments:

    --data=mnist --data_dir=DIR --loss=l2 --workdir=runs/l2
    --data=mnist --data_dir=DIR --loss=watson-dft --workdir=runs/watson-dft

The queue can be stopped with Ctrl-C, SIGTERM or by closing its terminal at any time: the run in
progress saves its state. When it is started again, the queue skips the runs that `runs.txt.done` lists
and resumes the others. A run that fails is reported and left for the next start. The file is read again
before each run, so lines can be added meanwhile.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from absl import flags

from experiments._common import cli
from watson_jax.files import locked

_RUNS = flags.DEFINE_string("runs", "runs.txt", "The file with a line for each run.")
_PROGRAM = flags.DEFINE_string(
    "program", "experiments.vae.main", "The module that trains a run, started with `python -m`."
)


def run_all(path: Path, program: str) -> int:
    """Runs what `path` lists and is not done; returns how many runs failed."""
    failed: set[str] = set()
    if _next_line(path, failed) is None:
        print(f"Nothing is left to do: all runs of {path} are in {_done(path)}.", file=sys.stderr)
    while line := _next_line(path, failed):
        print(f"{program} {line}", flush=True)
        status, request = _run([sys.executable, "-m", program, *_arguments(line)])
        if status == 0:
            with _done(path).open("a") as file:
                file.write(line + "\n")
        if request:
            print("Stopped. The same command continues from here.", file=sys.stderr)
            sys.exit(128 + request)
        if status != 0:
            print(f"This run ended with status {status}: {line}", file=sys.stderr)
            failed.add(line)
    return len(failed)


def _arguments(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise cli.UserError(f"--runs has a line that no shell reads ({error}): {line}") from None


def _next_line(path: Path, failed: set[str]) -> str | None:
    lines = [line.strip() for line in path.read_text().splitlines()]
    done = _done(path).read_text().splitlines() if _done(path).exists() else []
    todo = [x for x in lines if x and x[0] != "#" and x not in done and x not in failed]
    return todo[0] if todo else None


def _done(path: Path) -> Path:
    return path.with_name(path.name + ".done")


def _run(command: list[str]) -> tuple[int, int]:
    """The status of a command, and the signal that asked to stop it, or 0."""
    requests: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def stop(number: int, _: object) -> None:
        requests.append(number)
        if process is not None:
            process.send_signal(signal.SIGTERM)  # whereupon a run saves its state

    heard = {signal.SIGINT, signal.SIGTERM}
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # a terminal that closes, without nohup
        heard.add(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        # A session of its own, so that Ctrl-C reaches this process alone.
        process = subprocess.Popen(command, start_new_session=True, preexec_fn=_lowest_priority)
        if requests:  # since then
            process.send_signal(signal.SIGTERM)
        return process.wait(), requests[0] if requests else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lowest_priority() -> None:
    os.nice(19)
    # Linux gives each session the same share of time, whatever its processes' priorities.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")


def main() -> None:
    """Reads the flags and runs the queue."""
    path = Path(_RUNS.value).expanduser()
    if not path.is_file():
        raise cli.UserError(f"--runs must be a file with a line for each run, got {path}.")
    try:
        with locked(path.with_name(f".{path.name}.lock"), wait=False):
            failed = run_all(path, _PROGRAM.value)
    except BlockingIOError:
        raise cli.UserError(f"--runs={path} is in use by another queue; stop that first.") from None
    if failed:
        raise cli.UserError(
            f"{failed} of the runs failed, for the reasons above; start the queue again once these are "
            "gone."
        )


if __name__ == "__main__":
    cli.run(main)
