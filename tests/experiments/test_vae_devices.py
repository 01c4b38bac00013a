"""Data parallelism: the same training on one device, on eight, and in two processes."""

import dataclasses
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments.vae import data, experiment, train
from experiments.vae.configs import PRESETS
from experiments.vae.experiment import restore, set_up

pytestmark = pytest.mark.slow  # each program is compiled for its number of devices

SMOKE = dataclasses.replace(PRESETS["smoke"].with_epochs(1), batch_size=16)
# Twenty steps with L2, in two parts. With Watson-DFT one, as later ones amplify rounding.
CONFIGS = (
    dataclasses.replace(SMOKE, loss="l2", train_images=20 * 16),
    dataclasses.replace(SMOKE, loss="watson-dft", train_images=16),
)

PROGRAM = """
import sys
from pathlib import Path
from experiments._common import devices
from experiments.vae import experiment, train
from tests.experiments.test_vae_devices import CONFIGS, few_images

folder, loss, coordinator, process = sys.argv[1:]
if coordinator:
    devices.connect(coordinator, 2, int(process))
train.draw, experiment.load_images = lambda *_: [], few_images
(config,) = (config for config in CONFIGS if config.loss == loss)
train.train_and_evaluate(config, Path(folder, loss))
"""


def few_images(*arguments, **options):
    """Two batches and a half of held-out images, which every device goes through."""
    images = data.load_images(*arguments, **options)
    return dataclasses.replace(images, test=images.test[:40])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The states of both runs on one device."""
    folder = tmp_path_factory.mktemp("alone")
    with jax.numpy_dtype_promotion("standard"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "draw", lambda *_: [])
        patch.setattr(experiment, "load_images", few_images)
        return {
            config.loss: train.train_and_evaluate(config, folder / config.loss).state
            for config in CONFIGS
        }


def start(*arguments, devices):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        env=os.environ | {"XLA_FLAGS": flags},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes):
    for process in processes:
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors


def assert_same_end(folder, alone, loss):
    (config,) = (config for config in CONFIGS if config.loss == loss)
    with jax.numpy_dtype_promotion("standard"):
        found = restore(folder / loss, set_up(config))
    expected = alone[loss]
    assert found.step == expected.step
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found.params, expected.params
    )
    # After one step, Adam's first moment is a tenth of the gradient.
    for a, b in zip(*map(jax.tree.leaves, (found.opt_state, expected.opt_state)), strict=True):
        scale = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, atol=1e-5 * scale)


def test_eight_devices_train_as_one(alone, tmp_path):
    finish(start(tmp_path, "watson-dft", "", "", devices=8))
    assert_same_end(tmp_path, alone, "watson-dft")


def test_two_processes_train_as_one(alone, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    finish(*(start(tmp_path, "l2", address, process, devices=1) for process in range(2)))
    assert_same_end(tmp_path, alone, "l2")
    assert len((tmp_path / "l2" / "metrics.jsonl").read_text().splitlines()) == 1
