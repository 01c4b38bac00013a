"""Ending a run when the process is asked to."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class TerminatedError(Exception):
    """The run was asked to end (SIGTERM); it has saved where it was."""


@contextmanager
def termination() -> Iterator[list[int]]:
    """A list that gets an entry when the process is asked to end, which it then does by itself."""
    received: list[int] = []
    try:
        before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    except ValueError:  # not in the main thread, as in some notebooks
        yield received
        return
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)
