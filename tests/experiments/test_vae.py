"""The VAE experiment from the command line to the pictures."""

import contextlib
import dataclasses
import gzip
import json
import math
import os
import queue
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from absl import flags
from PIL import Image

from experiments._common import cli, devices
from experiments._common.checkpoints import Checkpoints, latest_step
from experiments._common.cli import UserError
from experiments._common.termination import TerminatedError
from experiments._common.workdir import default_workdir, open_workdir, read_metrics
from experiments.vae import data, drawing, figures, runs, sweep, train
from experiments.vae.configs import PRESETS, VaeConfig
from experiments.vae.data import Images
from experiments.vae.experiment import restore, set_up
from experiments.vae.idx import read_idx
from tests.experiments.command import assert_one_sentence, run
from watson_jax.files import clause
from watson_jax.training import NonFiniteError

# Third parties: TFDS and Orbax still touch names that their own dependencies deprecate.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:orbax", "ignore::DeprecationWarning:tensorflow_datasets"
)
# With L2, whose training steps are compiled in a third of the time of Watson-DFT's, and few images.
CHANGES = {"batch_size": 8, "train_images": 96, "chunk_steps": 6}
SMOKE = dataclasses.replace(PRESETS["smoke"], loss="l2", **CHANGES)
STEPS = 12  # in an epoch


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run of the smoke preset."""
    workdir = tmp_path_factory.mktemp("vae") / "run"
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam mixes integers and floats
        return workdir, train.train_and_evaluate(SMOKE, workdir)


def test_run_leaves_configuration_versions_and_metrics(finished):
    workdir, result = finished
    config = json.loads((workdir / "config.json").read_text())
    assert config["data"] == "digits"
    assert config["log_weight"] == SMOKE.reconstruction_log_weight(1)
    assert "jax" in json.loads((workdir / "versions.json").read_text())
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert rows == result.metrics
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["step"] == 2 * STEPS
    for name in ("loss", "reconstruction", "kl"):
        assert np.isfinite([row[p + name] for row in rows for p in ("", "held_out_")]).all()
    assert rows[1]["loss"] < rows[0]["loss"]
    assert rows[1]["learning_rate"] < rows[0]["learning_rate"]


def test_run_leaves_pictures(finished):
    workdir, result = finished
    assert {p.name for p in result.pictures} == {
        "manifold.png", "reconstructions.png", "samples.png", "curves.png",
    }  # fmt: skip
    for path in result.pictures:
        assert path.parent == workdir
        with Image.open(path) as image:
            assert min(image.size) > 200


@pytest.mark.slow
def test_pictures_of_few_held_out_images(finished, tmp_path):
    images = set_up(SMOKE).images
    experiment = set_up(SMOKE, Images(images.train[:8], images.test[:3]))
    for path in drawing.draw(experiment, experiment.start, tmp_path, finished[1].metrics):
        with Image.open(path) as image:
            assert min(image.size) > 150


@pytest.mark.slow
def test_the_model_follows_the_images(monkeypatch, tmp_path):
    monkeypatch.setattr(train, "draw", lambda *_: [])  # takes longer than the training
    monkeypatch.setattr(data, "_NUM_PATCHES", {"train": 8, "test": 4})
    config = dataclasses.replace(
        SMOKE,
        data="photos",
        image_size=24,
        color="gray",
        features=(2, 2, 2),
        batch_size=4,
        epochs=1,
    )
    with jax.numpy_dtype_promotion("standard"):
        train.train_and_evaluate(config, tmp_path / "run", progress=False)
    latents = np.zeros((3, config.latent_size), np.float32)
    assert runs.load_run(tmp_path / "run").model.decode(latents).shape == (3, 24, 24, 1)


@pytest.mark.slow
def test_checkpoint_restores_the_last_state(finished):
    workdir, result = finished
    restored = restore(workdir, set_up(SMOKE))
    jax.tree.map(np.testing.assert_array_equal, restored, result.state)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        restore(workdir / "elsewhere", set_up(SMOKE))


def test_a_run_is_never_overwritten(finished):
    with pytest.raises(UserError, match="already holds a run"):
        train.train_and_evaluate(SMOKE, finished[0], resume=False)
    with pytest.raises(UserError, match=r"another run \(hidden = 16 there, 17 here\)"):
        train.train_and_evaluate(dataclasses.replace(SMOKE, hidden=17), finished[0])


def start_smoke(folder):
    """As its users start it, who name no folder for the run."""
    command = [sys.executable, "-m", "experiments.vae.main", "--preset=smoke", "--loss=l2"]
    changes = (f"--set={field}={value}" for field, value in CHANGES.items())
    return subprocess.Popen(
        [*command, *changes],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition, process):
    while not condition():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(finished, tmp_path, monkeypatch):
    whole, workdir = finished[1], tmp_path / "runs" / "digits-l2"
    # Asked to end in its first epoch, it saves where it is. Then killed after its first epoch.
    process = start_smoke(tmp_path)
    wait_until(lambda: (workdir / "metrics.jsonl").exists(), process)
    process.send_signal(signal.SIGTERM)
    _, messages = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "The same command goes on from there." in messages
    step = latest_step(workdir)
    assert 0 < step < STEPS

    process = start_smoke(tmp_path)
    wait_until(lambda: (workdir / "metrics.jsonl").read_text(), process)
    process.kill()
    process.communicate()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [workdir.name]

    monkeypatch.setattr(train, "draw", lambda *_: [])
    with jax.numpy_dtype_promotion("standard"):
        resumed = train.train_and_evaluate(SMOKE, workdir)
    jax.tree.map(np.testing.assert_array_equal, resumed.state, whole.state)
    for ours, theirs in zip(resumed.metrics, whole.metrics, strict=True):
        assert ours | {"seconds": 0} == theirs | {"seconds": 0}


@pytest.mark.slow
def test_a_run_whose_epochs_are_single_chunks_can_be_stopped(tmp_path, monkeypatch):
    @contextlib.contextmanager
    def asked_at_once():
        yield [signal.SIGTERM]

    monkeypatch.setattr(train, "termination", asked_at_once)
    config = dataclasses.replace(SMOKE, chunk_steps=STEPS)
    with (
        jax.numpy_dtype_promotion("standard"),
        pytest.raises(TerminatedError, match=f"Stopped at step {STEPS}"),
    ):
        train.train_and_evaluate(config, tmp_path)
    assert latest_step(tmp_path) == STEPS
    assert [row["epoch"] for row in read_metrics(tmp_path)] == [1]


@pytest.mark.slow
def test_side_by_side_each_run_is_what_it_would_be_alone(finished, tmp_path, monkeypatch, capsys):
    drawn, drawn_at_the_end, asked_to_end = [], [], []
    draw = sweep._draw

    def draw_and_interrupt(path, runs):
        draw(path, runs)
        drawn.append([len(run.rows) for run in runs.values()])
        asked_to_end[:] = [signal.SIGTERM] if len(drawn) == 1 else []

    monkeypatch.setattr(sweep, "_draw", draw_and_interrupt)
    monkeypatch.setattr(sweep, "draw", lambda *arguments: drawn_at_the_end.append(arguments[2]))
    monkeypatch.setattr(sweep, "termination", lambda: contextlib.nullcontext(asked_to_end))
    alone = SMOKE.reconstruction_log_weight(1)
    weights = {"same": alone, "higher": alone + 1, "diverges": 200.0}
    smoke = dataclasses.replace(SMOKE, chunk_steps=4)
    runs = {tmp_path / n: dataclasses.replace(smoke, log_weight=w) for n, w in weights.items()}
    same, higher, _ = runs
    picture = tmp_path / "side_by_side.png"
    with jax.numpy_dtype_promotion("standard"):
        with pytest.raises(TerminatedError):
            sweep.train_side_by_side(runs, picture)
        assert STEPS < latest_step(same) < 2 * STEPS
        assert latest_step(higher) == STEPS
        asked_to_end.clear()
        assert sweep.train_side_by_side(runs, picture) == [same, higher]
        state = restore(same, set_up(runs[same]))
    assert drawn == [[1, 1], [1, 1], [2, 2]]  # again when it goes on
    jax.tree.map(np.testing.assert_array_equal, state, finished[1].state)
    assert picture.stat().st_size > 5_000
    assert drawn_at_the_end == [same, higher]
    said = capsys.readouterr().err
    assert "λ = 200 is left out: The loss or its gradient is not finite at step 0." in said


@pytest.mark.slow
def test_images_that_do_not_fit_the_device_train_alike(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "memory", lambda: 0)
    monkeypatch.setattr(train, "draw", lambda *_: [])
    with jax.numpy_dtype_promotion("standard"):
        picked = train.train_and_evaluate(SMOKE, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, picked.state, finished[1].state)
    for ours, theirs in zip(picked.metrics, finished[1].metrics, strict=True):
        assert ours | {"seconds": 0} == theirs | {"seconds": 0}


def test_what_is_used_next_is_prepared_meanwhile():
    assert list(devices.prepared_ahead(lambda x: -x, [])) == []
    started = queue.SimpleQueue()

    def prepare(item):
        started.put(item)
        return -item

    results = devices.prepared_ahead(prepare, range(3))
    assert next(results) == 0
    assert [started.get(timeout=60) for _ in range(2)] == [0, 1]
    assert list(results) == [-1, -2]


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    state, needed = {"x": np.zeros(10_000_000)}, "it needs 80.0 MB, 10.0 MB are free"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    with Checkpoints(tmp_path) as saved:
        with pytest.raises(UserError, match=f"{needed}; there is none yet, so make room"):
            saved.save(1, state)
        saved.save(1, {"x": np.zeros(3)})
        with pytest.raises(UserError, match=f"{needed}; the last one is kept"):
            saved.save(2, state)
    assert latest_step(tmp_path) == 1


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: cut(folder / "default" / "_METADATA"), "its file default/_METADATA is damaged"),
        (lambda folder: (folder / "default" / "_METADATA").unlink(), "default/_METADATA is missing"),
        (
            lambda folder: cut(max(folder.rglob("*"), key=lambda path: path.stat().st_size)),
            "its file default/.* is damaged",
        ),
        (lambda folder: shutil.rmtree(folder / "default") or (folder / "checksums.json").unlink(), ""),
        (lambda folder: cut(folder / "checksums.json"), "delimiter|Unterminated|property name"),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_passed_over_and_named(damage, reason, tmp_path, capsys):
    states = [{"x": np.random.default_rng(step).random((50, 40))} for step in range(4)]
    with Checkpoints(tmp_path) as saved:
        for step in (1, 2):
            saved.save(step, states[step])
    damage(tmp_path / "checkpoints" / "2")
    with Checkpoints(tmp_path) as saved:
        found = saved.restore(states[0])
        # The run goes on and replaces it.
        saved.save(2, states[3])
        np.testing.assert_array_equal(saved.restore(states[0])["x"], states[3]["x"])
    np.testing.assert_array_equal(found["x"], states[1]["x"])
    said = capsys.readouterr().err
    assert re.search(f"the checkpoint of step 2 cannot be used .*{reason}.*; that of step 1", said)
    assert said.count("\n") == 1
    assert ".." not in said
    for step in (1, 2):
        damage(tmp_path / "checkpoints" / str(step))
    with (
        Checkpoints(tmp_path, read_only=True) as saved,
        pytest.raises(
            UserError, match=r"step 2 cannot be used .* step 1 cannot .*start anew"
        ) as info,
    ):
        saved.restore(states[0])
    assert "\n" not in str(info.value)


def test_a_checkpoint_counts_only_with_its_lines_of_metrics(finished, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(finished[0], workdir)
    metrics = workdir / "metrics.jsonl"
    first, second = metrics.read_text().splitlines()
    metrics.write_text(f"{first}\n{first}\n{second[:-9]}")  # two processes wrote, one was killed
    assert [row["epoch"] for row in read_metrics(workdir)] == [1]
    assert restore(workdir, set_up(SMOKE)).step == STEPS
    assert (
        f"step {2 * STEPS} cannot be used (metrics.jsonl lacks lines of its epochs)"
        in capsys.readouterr().err
    )
    for damaged in ('[1]\n"epoch"\n{"epoch": [1]}\n\xff', ""):
        metrics.write_text(damaged, encoding="latin-1")
        with pytest.raises(UserError, match=r"metrics\.jsonl lacks lines"):
            train.train_and_evaluate(SMOKE, workdir)
    metrics.write_text(f"{second}\n{first}\n")
    assert [row["epoch"] for row in read_metrics(workdir)] == [1, 2]


def test_one_process_at_a_time_has_a_folder(tmp_path):
    with open_workdir(tmp_path, SMOKE, resume=True) as there:
        assert not there
        with pytest.raises(UserError, match=r"^--workdir=.* is in use by another process; wait"):
            train.train_and_evaluate(SMOKE, tmp_path)
    with open_workdir(tmp_path, SMOKE, resume=True) as there:
        assert there


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b""])
def test_a_damaged_configuration_is_named(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    for use in (
        lambda: train.train_and_evaluate(SMOKE, tmp_path),
        lambda: default_workdir(tmp_path, SMOKE, resume=True),
    ):
        with pytest.raises(UserError, match=r"config.json is damaged \(.*\); put back a copy"):
            use()


def test_a_failed_write_is_one_sentence(tmp_path):
    # In a process of its own, as Orbax's threads write where pytest does not listen.
    program = """
import resource, sys
from pathlib import Path
import numpy as np
from experiments._common.checkpoints import Checkpoints
from experiments._common.cli import UserError

try:
    with Checkpoints(Path(sys.argv[1])) as saved:
        saved.save(1, {"x": np.zeros(3)})
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        saved.save(2, {"x": np.random.default_rng(0).random(100_000)})
except UserError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert re.search("cannot take a checkpoint: .*File too large", done.stdout)
    assert "Traceback" not in done.stderr
    assert latest_step(tmp_path) == 1


@pytest.mark.slow
def test_divergence_stops_the_run_and_names_the_step(tmp_path):
    config = dataclasses.replace(SMOKE, learning_rate=1e30)
    with (
        jax.numpy_dtype_promotion("standard"),
        pytest.raises(NonFiniteError, match=r"not finite at step \d"),
    ):
        train.train_and_evaluate(config, tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_show_every_pixel_unsmoothed(tmp_path, channels):
    shape = (3, 3, 8, 8, channels)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32) / 255
    path, flat = tmp_path / "picture.png", images.reshape(-1, 8, 8, channels)

    def check(table):
        height, width = 8 * table.shape[0], 8 * table.shape[1]
        # Pixel by pixel, so that this is no second copy of what it tests.
        expected = np.zeros((height, width, channels))
        for y, x in np.ndindex(height, width):
            expected[y, x] = table[y // 8, x // 8, y % 8, x % 8]
        expected = np.rint(expected * 255).repeat(2, 0).repeat(2, 1)
        picture = np.asarray(Image.open(path).convert("RGB"), float)
        left = max(70, (picture.shape[1] - 2 * width) // 2)  # more than 70 where the text is wide
        inner = picture[45 : 45 + 2 * height, left : left + 2 * width]
        # One level for Matplotlib's own rounding; the outermost pixels lie under the frame.
        assert np.abs(inner[2:-2, 2:-2] - expected[2:-2, 2:-2]).max() <= 1

    figures.save_manifold(path, images, title="")
    check(images)
    figures.save_samples(path, flat, columns=3, title="")
    check(images)
    figures.save_reconstructions(path, flat, 1 - flat, columns=3, title="")
    check(np.stack([images, 1 - images], 1).reshape(6, 3, 8, 8, channels))


def test_manifold_grid_is_the_papers():
    latents = figures.manifold_latents(5)
    np.testing.assert_allclose(latents[0, 0], [-1.5, 1.5])
    np.testing.assert_allclose(latents[-1, 2], [0, -1.5])


WRONG_FLAGS = [
    (["--preset=defualt"], "--preset must be one of default, paper, paper-celeba, mnist, celeba"),
    (["--data=digit"], "got 'digit'; did you mean 'digits'?"),
    (["--loss=watson-dtf"], "--loss must be one of"),
    (["--weights=inital"], "--weights must be"),
    (["--epochs=many"], "--epochs must be a whole number, got 'many'."),
    (["--epochs=0"], "--epochs must be above 0, got 0."),
    (["--processes=x"], "--processes must be an integer, got 'x'."),
    (["--set=hidden=0"], "--set=hidden must be above 0, got 0."),
    (["--set=bath_size=3"], "got 'bath_size'; did you mean 'batch_size'?"),
    (["--set=features=8"], "or 3 for the CelebA-VAE, got 8."),
    (["--set=image_size=40"], "--set=image_size must not be set with --data=digits, got 40."),
    (["--data=photos", "--set=image_size=50"], "multiples of 4 for CelebAVAE, got (50, 50, 3)."),
    (["--set=batch_size"], "--set needs field=value"),
    (["--set=batch_size=9999"], "must be at most the number of training images, 1536, got 9999."),
    (["--set=learning_rate=inf"], "--set=learning_rate must be finite, got inf."),
    (["--seed=99999999999999999999"], "--seed must be below 2**31, got 99999999999999999999."),
    (["--loss="], "--loss must have a value, got none; leave it out for its default."),
    (["--processes=2"], "--coordinator must be given with --processes and --process, got none."),
    (["--sed=3"], "Unknown command line flag 'sed'"),
    (["now"], "Unexpected argument 'now'"),
    (["--data_dir=faces"], "--data_dir must not be set with --data=digits, got faces;"),
    (["--data=mnist", "--data_dir=nowhere"], "a folder with MNIST, got 'nowhere'"),
    (["--data=mnist", "--data_dir=."], "--data_dir must hold"),
    (["--workdir=a_file/run"], "got a_file/run (Not a directory)."),
    (["--resume=maybe"], "flag --resume=maybe: "),
    (["--sweep=inf"], "--sweep must be finite, got inf."),
    (["--sweep=none"], "--sweep must be numbers, got none."),
    (["--data=photos", "--set=color=red"], "--set=color must be one of rgb, gray, got 'red'."),
    (["--set=phase_floor=-1"], "--set=phase_floor must"),
    (["--workdir=a_file"], "--workdir must be a folder that exists or can be made, got a_file (File"),
]  # fmt: skip


@pytest.mark.slow
def test_wrong_flags_are_one_sentence(tmp_path):
    (tmp_path / "a_file").write_text("")
    assert_one_sentence("experiments.vae.main", WRONG_FLAGS, cwd=tmp_path)
    done = run("experiments.vae.main", "--epochs=0", cwd=tmp_path)  # and as users start it
    assert (done.returncode, done.stderr) == (2, "error: --epochs must be above 0, got 0.\n")


@pytest.mark.slow
def test_a_run_that_is_left_out_is_a_failure(tmp_path):
    # So that a queue starts it again.
    smoke = ("--preset=smoke", "--epochs=1", "--set=train_images=64", "--loss=l2,lpips-squeeze")
    nowhere = f"--weights={tmp_path / 'none.npz'}"
    done = run("experiments.vae.main", *smoke, nowhere, "--workdir=runs", cwd=tmp_path)
    assert done.returncode == 2
    assert "lpips-squeeze is left out: --weights" in done.stderr
    assert done.stderr.endswith("1 of 2 runs did not come to their end, for the reasons above.\n")
    assert (tmp_path / "runs" / "l2" / "samples.png").exists()


@pytest.mark.parametrize("changes", [
    {"learning_rate": math.inf}, {"halving_epochs": math.inf}, {"log_weight": math.nan},
    {"seed": 2**31}, {"hidden": 2**40}, {"features": (8, 2**40)}, {"train_images": 10**20},
])  # fmt: skip
def test_numbers_that_cannot_be_computed_with(changes):
    (name,) = changes
    with pytest.raises(UserError, match=f"^{name} must be (finite|below 2)"):
        dataclasses.replace(SMOKE, **changes)


@pytest.mark.parametrize("define", [flags.DEFINE_list, flags.DEFINE_string])
def test_a_flag_without_a_value_is_a_mistake(define):
    values = flags.FlagValues()
    define("sweep", None, "", flag_values=values)
    for arguments in ([], ["--sweep=8"]):
        values(["program", *arguments])
        cli.check_given(values)
    values(["program", "--sweep="])
    with pytest.raises(UserError, match=r"^--sweep must have a value, got none; leave it out"):
        cli.check_given(values)
    with pytest.raises(UserError, match=r"^--set=weights must have a value"):
        cli.override(SMOKE, cli.split_assignments("--set", ["weights="]))


@pytest.mark.parametrize(
    ("processes", "message"),
    [
        ((None, 2, None), "^--coordinator must be given with --processes"),
        ((None, None, 1), "^--coordinator must be given with"),
        (("localhost:1", 2, None), "^--processes and --process must be given together"),
        (("localhost:1", 2, 3), "^--process must be from 0 to one less than --processes=2, got 3"),
        (("localhost:1", 2, -1), "^--process must be from 0"),
    ],
)
def test_processes_that_make_no_run(processes, message):
    with pytest.raises(UserError, match=message):
        devices.connect(*processes)


def test_sentences_in_sentences_have_one_full_stop():
    with pytest.raises(UserError, match=r"^There is no file x\.$"), cli.user_errors():
        raise FileNotFoundError("There is no file x.")
    with pytest.raises(UserError, match=r"^x: No space left\.$"), cli.user_errors():
        raise OSError(28, "No space left", "x")
    assert clause(ValueError("It is cut. Fetch it.\nMore.")) == "It is cut. Fetch it"
    assert clause(ValueError("\x1b[2J")) == r"\x1b[2J"
    long = clause(ValueError(f"{'path/' * 200}: File too large"))
    assert len(long) < 310
    assert long.startswith("path/")
    assert long.endswith("File too large")


def test_shorter_schedules_keep_their_shape():
    paper = PRESETS["paper"]
    short = paper.with_epochs(25)
    assert (short.epochs, short.halving_epochs) == (25, 10)


def test_weight_of_the_loss_can_be_set():
    authors = VaeConfig(loss="Watson_DFT", weights="published")
    assert authors.reconstruction_log_weight(1) == 0
    assert dataclasses.replace(SMOKE, log_weight=1.5).reconstruction_log_weight(3) == 1.5


def test_digits_are_split_for_good():
    images = data.load_images("digits")
    assert images.train.shape == (1536, 32, 32, 1)
    assert images.test.shape == (261, 32, 32, 1)
    assert images.train.dtype == np.uint8
    assert 200 < images.train.max() <= 255
    again = data.load_images("digits")
    np.testing.assert_array_equal(images.test, again.test)


def idx(images, magic=0x803):
    return struct.pack(">IIII", magic, *images.shape) + images.tobytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_from_idx_files(suffix, tmp_path):
    pack = gzip.compress if suffix else bytes
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    for name, part in zip(data.IDX_FILES.values(), (images, images[:1]), strict=True):
        (tmp_path / (name + suffix)).write_bytes(pack(idx(part)))
    loaded = data.load_images("mnist", tmp_path)
    np.testing.assert_array_equal(loaded.train[:, 2:-2, 2:-2, 0], images)
    assert loaded.train.sum() == images.sum()
    assert loaded.test.shape == (1, 32, 32, 1)


def test_damaged_idx_files_are_one_sentence(tmp_path):
    content = idx(np.zeros((3, 28, 28), np.uint8))
    cases = {
        "cut": (content[:-1], "must have 2368 bytes for its 3 images, got 2367"),
        "long": (content + b"x", "must have 2368 bytes"),
        "labels": (idx(np.zeros((3, 28, 28), np.uint8), magic=0x801), "no IDX file of images"),
        "empty": (b"", "no IDX file of images"),
        "cut.gz": (gzip.compress(content)[:-9], "damaged or cut short"),
        "plain.gz": (content, "damaged or cut short"),
    }
    for name, (damaged, sentence) in cases.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=sentence):
            read_idx(tmp_path / name, what="images", dimensions=3)


def test_both_copies_of_real_mnist_agree():
    folder = os.environ.get("WATSON_JAX_DATA")
    if not folder:
        pytest.skip("WATSON_JAX_DATA names no folder with MNIST")
    # The test images alone, as decoding all takes a minute. TFDS shuffles: compare what has no order.
    from_idx = data.load_images("mnist", Path(folder, "mnist"))
    assert (len(from_idx.train), len(from_idx.test)) == (60_000, 10_000)
    from_tfds = data._frame(data._read_tfds(Path(folder, "tensorflow_datasets"), "test"))
    assert "tensorflow" not in sys.modules
    assert from_tfds.shape == from_idx.test.shape
    sums = [np.sort(images.sum(axis=(1, 2, 3))) for images in (from_idx.test, from_tfds)]
    np.testing.assert_array_equal(*sums)
