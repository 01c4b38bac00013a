"""Batches that are spread over devices, in a process that has four."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_on_four_devices():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, "-o", "addopts=", "tests/sharding_checks.py"],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
