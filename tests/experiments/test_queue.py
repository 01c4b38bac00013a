"""A queue of runs: one after the other, what is done once, the rest again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Stands for a training: writes down what it is asked for; waits to be stopped, or fails, if so asked.
RUN = """
import os, signal, sys, time
with open("log", "a") as log:
    log.write(" ".join(sys.argv[1:]) + f" {os.nice(0)}\\n")
if "--wait" in sys.argv and not os.path.exists("stopped"):
    signal.signal(signal.SIGTERM, lambda *_: (open("stopped", "w"), sys.exit(143)))
    open("waiting", "w").close()
    time.sleep(60)
sys.exit("--fail" in sys.argv)
"""


@pytest.fixture
def queue(tmp_path):
    (tmp_path / "a_run.py").write_text(RUN)
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])

    def run(lines, interrupt=lambda process: None):
        (tmp_path / "runs.txt").write_text(lines)
        with subprocess.Popen(
            [sys.executable, "-m", "experiments.queue", "--program=a_run"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            interrupt(process)
            said = process.communicate()[1]
        return process.returncode, said

    return run


def test_runs_are_done_once_and_failures_again(queue, tmp_path):
    lines = "# comment\n--name=a\n\n--name='b c' --fail\n--name=d\n"
    status, said = queue(lines)
    assert status == 2
    assert "ended with status 1: --name='b c' --fail" in said
    assert said.endswith(
        "1 of the runs failed, for the reasons above; start the queue again once these are gone.\n"
    )
    log = tmp_path / "log"
    assert log.read_text().splitlines() == ["--name=a 19", "--name=b c --fail 19", "--name=d 19"]
    log.unlink()
    assert queue(lines.replace(" --fail", "")) == (0, "")
    assert log.read_text().splitlines() == ["--name=b c 19"]
    said = "Nothing is left to do: all runs of runs.txt are in runs.txt.done.\n"
    assert queue(lines.replace(" --fail", "")) == (0, said)


def test_a_line_without_an_end_is_one_sentence(queue):
    line = "--name='a"
    said = f"error: --runs has a line that no shell reads (No closing quotation): {line}\n"
    assert queue(line) == (2, said)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_stopped_run_goes_on(queue, tmp_path, number):
    def interrupt(process):
        while not (tmp_path / "waiting").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)

    lines = "--wait\n--name=later\n"
    stopped = 128 + number, "Stopped. The same command continues from here.\n"
    assert queue(lines, interrupt) == stopped
    assert not (tmp_path / "runs.txt.done").exists()
    assert queue(lines) == (0, "")
    assert (tmp_path / "runs.txt.done").read_text() == lines
