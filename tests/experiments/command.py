"""Running an experiment's program as a user does, away from the repository."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace


def run(module, *arguments, cwd):
    """Runs `python -m module`, and returns the finished process with its output."""
    return _run("-m", module, *map(str, arguments), cwd=cwd)


def _run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


_RUN_EACH = """
import contextlib, importlib, io, json, sys
from absl import flags
from absl.testing import flagsaver
from experiments._common import cli

results = []
module = importlib.import_module(sys.argv[1])
for arguments in json.loads(sys.argv[2]):
    sys.argv = ["main", *arguments]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with flagsaver.flagsaver(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.run(module.main)
        except SystemExit as stop:
            code = stop.code or 0
    results.append({"returncode": code, "stdout": out.getvalue(), "stderr": err.getvalue()})
print(json.dumps(results))
"""


def run_each(module, commands, *, cwd):
    """The same for several lists of arguments, in one process, as starting one takes long."""
    done = _run("-c", _RUN_EACH, module, json.dumps([[*c] for c in commands]), cwd=cwd)
    assert done.returncode == 0, done.stderr
    return [SimpleNamespace(**result) for result in json.loads(done.stdout.splitlines()[-1])]


def assert_one_sentence(module, cases, *, cwd):
    """Wrong flags, `(arguments, part of the sentence)`: status 2, and the sentence alone on stderr."""
    for (arguments, sentence), done in zip(
        cases, run_each(module, [arguments for arguments, _ in cases], cwd=cwd), strict=True
    ):
        assert done.returncode == 2, arguments
        assert done.stderr.startswith("error: "), (arguments, done.stderr)
        assert sentence in done.stderr, (arguments, done.stderr)
        assert done.stderr.count("\n") == 1, (arguments, done.stderr)
        assert done.stdout == "", arguments
