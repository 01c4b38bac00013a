"""The benchmark runs, its opponent computes the same losses, and memory stays within bounds.

Nothing here checks a time: those depend on the machine.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark import main, measure, protocol, vae_step
from tests.experiments.command import assert_one_sentence

REFERENCE = os.environ.get("WATSON_JAX_REFERENCE")
NON_DEGENERATE = 14  # the recorded pairs after these are constant or equal images


def torch_loss(form, name, params):
    """One of PyTorch's forms, but taking and returning NumPy arrays of NHWC images."""
    torch = pytest.importorskip("torch")
    from experiments.benchmark import torch_losses, torch_plain

    make = {"tuned": torch_losses.make_twin, "plain": torch_plain.make_plain}[form]
    loss = make(name, torch_losses.channel_params(params))
    assert loss is not None

    def compute(image, reference):
        channels_first = (torch.tensor(np.moveaxis(a, -1, -3)) for a in (image, reference))
        return loss(*channels_first).numpy()

    return compute


FORMS = [
    ("tuned", "l2"), ("tuned", "watson-dct"), ("tuned", "watson-dft"),
    ("plain", "ssim"), ("plain", "watson-dct"), ("plain", "watson-dft"),
]  # fmt: skip


@pytest.mark.slow(except_for="24-")
@pytest.mark.parametrize("color", ["rgb", "gray"])
@pytest.mark.parametrize(("form", "name"), FORMS)
@pytest.mark.parametrize("size", [24, 21])
def test_torch_agrees_with_jax(form, name, color, size):
    params, fn = protocol.jax_loss(name, color, size)
    image, reference = protocol.image_pair(color, 3, size)
    expected = fn(params, jnp.asarray(image), jnp.asarray(reference))
    actual = torch_loss(form, name, params)(image, reference)
    # Both in float32; the angle's arccos loses half of the digits where it is near 0 or pi.
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_losses_without_channels_have_no_twin():
    pytest.importorskip("torch")
    from experiments.benchmark import torch_losses

    params, _ = protocol.jax_loss("adaptive", "rgb", 16)
    assert torch_losses.channel_params(params) == []
    assert torch_losses.make_twin("adaptive", []) is None


@pytest.mark.skipif(REFERENCE is None, reason="WATSON_JAX_REFERENCE names no folder")
@pytest.mark.parametrize("color", ["rgb", "gray"])
@pytest.mark.parametrize(("form", "name"), FORMS[1:3] + FORMS[4:])
def test_torch_meets_recorded_values(form, name, color, monkeypatch):
    import watson_jax as wj

    folder = Path(REFERENCE)
    monkeypatch.setenv("WATSON_JAX_WEIGHTS_DIR", str(folder / "weights"))
    params = wj.load_params(name, color=color, weights="published")
    with np.load(folder / "goldens" / f"pairs_{color}64.npz") as file:
        pairs = dict(file)
    with np.load(folder / "goldens" / f"{color}64_{name.replace('-', '_')}.npz") as file:
        recorded = dict(file)
    actual = torch_loss(form, name, params)(
        pairs["input"][:NON_DEGENERATE], pairs["target"][:NON_DEGENERATE]
    )
    # The authors' own float32 values: same epsilons, another order of summation.
    np.testing.assert_allclose(actual, recorded["value_f32"][:NON_DEGENERATE], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("color", ["rgb", "gray"])
@pytest.mark.parametrize("name", ["watson-dct", "watson-dft"])
def test_memory_stays_within_8_mb(name, color):
    params, fn = protocol.jax_loss(name, color, 64)
    image, reference = map(jnp.asarray, protocol.image_pair(color, 128, 64))
    gradient = protocol.jax_functions(fn)["gradient"]
    assert measure.compile_program(gradient, params, image, reference).temp_bytes <= 8e6


# Of each channel, the gradients of the norm and of the phases are kept until both are known.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "images"), [("watson-dct", 2), ("watson-dft", 3)])
def test_memory_of_a_large_image_is_a_few_times_its_own(name, images):
    params, fn = protocol.jax_loss(name, "rgb", 1024)
    image, reference = map(jnp.asarray, protocol.image_pair("rgb", 1, 1024))
    functions = protocol.jax_functions(fn)
    measured = measure.compile_program(functions["gradient"], params, image, reference)
    assert measured.temp_bytes <= images * image.nbytes


def test_step_descends():
    params, fn = protocol.jax_loss("l2", "gray", 8)
    image, reference = map(jnp.asarray, protocol.image_pair("gray", 2, 8))
    functions = protocol.jax_functions(fn)
    _, gradient = functions["gradient"](params, image, reference)
    stepped = functions["step"](params, image, reference)
    np.testing.assert_allclose(stepped, image - protocol.LEARNING_RATE * gradient, rtol=1e-6)


def test_every_program_is_timed_in_every_round():
    calls = []
    programs = {name: lambda name=name: calls.append(name) for name in "ab"}
    samples = measure.time_interleaved(programs, rounds=3, min_seconds=0)
    assert calls[4:] == ["a", "b", "b", "a", "a", "b"]
    assert all(times.shape == (3,) and (times > 0).all() for times in samples.values())


@pytest.mark.slow
@pytest.mark.parametrize("with_torch", [True, False])
def test_quick_run_writes_json(with_torch, tmp_path, monkeypatch, capsys):
    if with_torch:
        pytest.importorskip("torch")
    else:
        for module in (main, protocol, vae_step):
            monkeypatch.setattr(module, "has_torch", lambda: False)
    # The command below has these.
    monkeypatch.setattr(main, "vae_steps", lambda **_: {"l2": 1.0})
    monkeypatch.setattr(main, "measure_growth", lambda **_: {})
    monkeypatch.setattr(main, "draw_growth", lambda *_: None)
    output = tmp_path / "benchmark.json"
    main.run(["l2", "watson-dct"], batch=2, size=16, rounds=main.QUICK_ROUNDS, output=output)
    assert ("pip install" in capsys.readouterr().out) == (not with_torch)

    record = json.loads(output.read_text())
    assert record["environment"]["versions"]["jax"] == jax.__version__
    cells = [(row["name"], row["color"], row["what"]) for row in record["rows"]]
    assert len(set(cells)) == len(cells) == 2 * 3 + 2 * 4
    for row in record["rows"]:
        assert row["milliseconds"]["jax"] > 0
        forms = {"l2": {"tuned"}, "watson-dct": {"plain", "tuned"}}[row["name"]]
        assert row["ratios"].keys() == (forms if with_torch else set())
        assert row["input_bytes"] == 2 * 2 * 16 * 16 * (3 if row["color"] == "rgb" else 1) * 4


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.benchmark.main", *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_quick_command(tmp_path):
    output = tmp_path / "new" / "benchmark.json"
    done = command("--quick", "--losses=l2", "--batch=2", "--size=8", f"--output={output}")
    assert done.returncode == 0, done.stderr
    record = json.loads(output.read_text())
    assert len(record["rows"]) == 6
    assert record["vae_step"].keys() >= {"l2", "watson-dft"}
    assert [point["sets"] for point in record["growth"]["sets"]] == [1, 2]
    assert output.with_suffix(".png").stat().st_size > 10_000


def test_wrong_flags_are_one_sentence(tmp_path):
    cases = [
        (["--losses=watson-dtf"], "--losses must be one of"),
        (["--losses="], "--losses must have a value, got none"),
        (["--bath=3"], "Did you mean: batch"),
        (["--batch=0"], "--batch must be a positive integer, got '0'."),
        (["watson-dft"], "Unexpected argument 'watson-dft'"),
        (["--losses=l2,ms-ssim", "--size=8"], "--size must be at least 16 for ms-ssim, got 8."),
        (["--output=."], "--output must be a file such as benchmark.json, got ."),
        (["--output=x.png"], "--output must be a file such as benchmark.json, got x.png."),
        (
            ["--output=/dev/null/x.json"],
            "The parent of --output must be a folder that exists or can be made",
        ),
    ]
    assert_one_sentence("experiments.benchmark.main", cases, cwd=tmp_path)
