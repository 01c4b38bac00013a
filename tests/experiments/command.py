"""Running an experiment's program as a user does, away from the repository."""

import os
import subprocess
import sys
from pathlib import Path


def run(module, *arguments, cwd):
    """Runs `python -m module`, and returns the finished process with its output."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
