"""The experiment that fits losses to human judgements."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import watson_jax as wj
from experiments._common import cli
from experiments.two_afc import fit
from experiments.two_afc.configs import PRESETS, FitConfig
from watson_jax.datasets import TwoAfcData
from watson_jax.training import NonFiniteError

CONFIG = FitConfig(
    color="gray", loss="watson-dct", seeds=2, learning_rates=(1e-2, 1e-3), epochs=3, batch_size=4
)


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax's Adam mixes its integer step count with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def judgements(number, seed):
    """People prefer what has less noise."""
    rng = np.random.default_rng(seed)
    reference = rng.integers(40, 216, (number, 16, 16, 3))
    noise = rng.uniform(1, 40, (2, number, 1, 1, 1))
    first, second = np.clip(reference + noise * rng.normal(size=(2, *reference.shape)), 0, 255)
    return TwoAfcData(
        *(np.uint8(x) for x in (reference, first, second)),
        preference=np.float32(noise[1] < noise[0]).ravel(),
        categories={"noise": np.arange(number)},
    )


def load_data(*_, **__):
    return {"train": judgements(10, 0), "val": judgements(6, 1)}


@pytest.fixture(autouse=True)
def synthetic_data(monkeypatch):
    monkeypatch.setattr(fit, "load_data", load_data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run."""
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.setattr(fit, "load_data", load_data)
        workdir = tmp_path_factory.mktemp("fit") / "run"
        return workdir, fit.fit_and_evaluate(CONFIG, workdir)


def test_a_fit_leaves_parameters_numbers_and_a_picture(finished):
    workdir, result = finished
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert rows == result.metrics
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["step"] == 6  # the last, partial batch of each epoch is dropped
    assert len(rows[-1]["val_agreement"]) == 4
    params = wj.load_params("watson-dct", color="gray", weights=workdir / "params.npz")
    jax.tree.map(np.testing.assert_array_equal, params, result.params)
    table = json.loads((workdir / "result.json").read_text())
    assert [(t["seed"], t["learning_rate"]) for t in table["trials"]] == CONFIG.trials
    best = table["best_on_training_records"]
    assert table["before"].keys() == {"train_agreement", "val_agreement"}
    assert best["train_loss"] == min(t["train_loss"] for t in table["trials"])
    assert (workdir / best["file"]).read_bytes() == (workdir / "params.npz").read_bytes()
    assert all(path.is_file() for path in result.files)
    assert (workdir / "curves.png").stat().st_size < 300_000


@pytest.mark.slow
def test_an_interrupted_fit_goes_on_to_the_same_end(finished, tmp_path, monkeypatch):
    _, whole = finished
    workdir = tmp_path / "run"

    # Interrupted within the second epoch, of which nothing is kept but what is done again.
    class Interrupting(fit.tqdm.tqdm):
        def update(self, n=1):
            super().update(n)
            if self.n == 3:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit.tqdm, "tqdm", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            fit.fit_and_evaluate(CONFIG, workdir)
    resumed = fit.fit_and_evaluate(CONFIG, workdir)
    jax.tree.map(np.testing.assert_array_equal, resumed.trials, whole.trials)
    for ours, theirs in zip(resumed.metrics, whole.metrics, strict=True):
        assert ours | {"seconds": 0} == theirs | {"seconds": 0}
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


def test_another_run_in_the_folder_is_left_alone(finished):
    workdir, _ = finished
    before = (workdir / "params.npz").read_bytes()
    other = dataclasses.replace(CONFIG, seed=7)
    with pytest.raises(cli.UserError, match=r"holds another run \(seed = 0 there, 7 here\)"):
        fit.fit_and_evaluate(other, workdir)
    with pytest.raises(cli.UserError, match="already holds a run; name another folder"):
        fit.fit_and_evaluate(CONFIG, workdir, resume=False)
    assert (workdir / "params.npz").read_bytes() == before


@pytest.mark.slow
def test_adaptive_can_be_fitted(tmp_path):
    config = dataclasses.replace(CONFIG, loss="adaptive", epochs=1, seeds=1, learning_rates=(1e-2,))
    result = fit.fit_and_evaluate(config, tmp_path)
    assert result.params.alpha_latent.shape == (16, 16, 3)
    assert np.isfinite(result.metrics[0]["train_loss"]).all()


@pytest.mark.slow
def test_a_trial_that_diverges_leaves_the_others_alone(tmp_path, capsys):
    config = dataclasses.replace(CONFIG, seeds=1, learning_rates=(1e-2, 1e10), epochs=1)
    result = fit.fit_and_evaluate(config, tmp_path)
    assert "seed 0 at rate 1e+10 has diverged and is left out" in capsys.readouterr().out
    table = json.loads((tmp_path / "result.json").read_text())
    assert [t["file"] for t in table["trials"]] == ["trial-seed0-rate0.01.npz", None]
    assert table["trials"][1]["train_loss"] is None
    assert table["best_on_training_records"]["learning_rate"] == 1e-2
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(result.params))
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_the_fit_stops_when_no_trial_is_left(tmp_path):
    config = dataclasses.replace(CONFIG, seeds=1, learning_rates=(1e10,), epochs=3)
    with pytest.raises(NonFiniteError, match=r"not finite at step \d"):
        fit.fit_and_evaluate(config, tmp_path)
    last_step = dataclasses.replace(config, epochs=1, batch_size=10)
    for _ in range(2):  # the one that trains, and the one that finds its checkpoint
        with pytest.raises(NonFiniteError, match="not finite at step 0"):
            fit.fit_and_evaluate(last_step, tmp_path / "one")


@pytest.mark.slow
def test_half_a_line_of_metrics_does_no_harm(tmp_path):
    config = dataclasses.replace(CONFIG, seeds=1, learning_rates=(1e-2,), epochs=1)
    fit.fit_and_evaluate(config, tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "st')  # killed while writing
    again = fit.fit_and_evaluate(config, tmp_path)
    assert [row["epoch"] for row in again.metrics] == [1]


@pytest.mark.slow
def test_a_damaged_end_is_done_again(tmp_path, capsys):
    config = dataclasses.replace(CONFIG, seeds=1, learning_rates=(1e-2,), epochs=2)
    whole = fit.fit_and_evaluate(config, tmp_path)
    (tmp_path / "checkpoints" / "4" / "default" / "_METADATA").write_bytes(b"{")
    again = fit.fit_and_evaluate(config, tmp_path)
    assert "step 4 cannot be used" in capsys.readouterr().err
    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    (tmp_path / "metrics.jsonl").write_bytes(lines[0] + b"\n\xff\xfe\0\n")
    once_more = fit.fit_and_evaluate(config, tmp_path)
    for result in (again, once_more):
        jax.tree.map(np.testing.assert_array_equal, result.trials, whole.trials)
        assert [row["epoch"] for row in result.metrics] == [1, 2]


@pytest.mark.slow
def test_features_that_cost_much_are_computed_once(tmp_path, monkeypatch):
    calls = []
    make = fit.fittable

    def costly(params, **options):
        loss = make(params, **options)

        def features(images, references):
            calls.append(images.shape)
            return loss.features(images, references)

        return dataclasses.replace(loss, features=features, costly_features=True)

    monkeypatch.setattr(fit, "fittable", costly)
    config = dataclasses.replace(CONFIG, seeds=1, learning_rates=(1e-2,), epochs=1)
    result = fit.fit_and_evaluate(config, tmp_path)
    assert len(calls) == 4  # traced once for each image and split, not with the steps
    assert np.isfinite(result.metrics[-1]["val_loss"]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "l2"}, "--loss must be one with parameters, got 'l2'"),
        ({"loss": "watson-dtf"}, "did you mean 'watson-dft'"),
        ({"data": "bapp"}, "--data must be one of .*did you mean 'bapps'"),
        ({"color": "grey"}, "--color must be one of rgb, gray, got 'grey'; did you mean 'gray'"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"decay_epochs": 30}, "decay_epochs must be at most epochs, 12, got 30"),
        ({"learning_rates": (1e-3, 0.0)}, "learning_rates must be above 0"),
        ({"learning_rates": (1e-3, 1e-3)}, "learning_rates must differ"),
        ({"bapps_dir": "."}, "--bapps_dir must be set with --data=bapps only"),
        ({"triplets": 0}, "triplets must be at least 1, got 0"),
        ({"seed": 2**31 - 1}, "seed must be below"),
        ({"seed": 10**20}, "seed must be below"),
        ({"start_noise": float("inf")}, "start_noise must be finite, got inf"),
        ({"learning_rates": (1e-3, float("inf"))}, "learning_rates must be finite, got inf"),
    ],
)
def test_wrong_configurations_are_one_sentence(changes, message):
    with pytest.raises(cli.UserError, match=message):
        FitConfig(**changes)


def test_too_few_records_for_a_batch(tmp_path):
    config = dataclasses.replace(CONFIG, batch_size=50)
    with pytest.raises(
        cli.UserError, match=r"batch_size must be at most .* judgements, 10, got 50"
    ):
        fit.fit_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_paper_presets_are_the_authors_schedule():
    paper, lpips = PRESETS["paper"], PRESETS["paper-lpips"]
    assert (paper.epochs, paper.decay_epochs, paper.batch_size) == (20, 10, 50)
    assert (paper.learning_rates, paper.ranking_kind) == ((2e-4,), "gamma")
    assert (paper.starting_weights, paper.mask_chroma) == ("initial", True)
    assert (lpips.epochs, lpips.decay_epochs, lpips.ranking_kind) == (10, 5, "network")


@pytest.mark.slow
def test_colour_fits_are_finished_for_training(tmp_path):
    changes = {"loss": "watson-dft", "color": "rgb", "epochs": 1, "seeds": 1}
    config = dataclasses.replace(CONFIG, **changes, learning_rates=(1e-2,))
    result = fit.fit_and_evaluate(config, tmp_path)
    (trial,) = json.loads((tmp_path / "result.json").read_text())["trials"]
    assert result.metrics[-1]["val_loss"] == [
        trial["val_loss"]
    ]  # What is logged is of what is saved.
    data = load_data()["val"]
    loss = wj.Loss("watson-dft", result.params)
    first, second = (
        loss(np.float32(x) / 255, np.float32(data.reference) / 255)
        for x in (data.first, data.second)
    )
    gamma = np.exp(result.trials.learned.ranking[0])
    expected = wj.two_afc.ranking_loss(first, second, data.preference, gamma).mean()
    assert trial["val_loss"] == pytest.approx(float(expected), rel=1e-5)
    params, fitted = result.params, jax.tree.map(lambda x: x[0], result.trials.learned.metric)
    gained = params.channel_logits - fitted.channel_logits
    np.testing.assert_allclose(gained, [config.luma_gain, 0, 0], atol=1e-6)
    lowered = np.array(fitted.log_thresholds - params.log_thresholds)
    np.testing.assert_allclose(lowered[:, 0, 0], config.dc_gain, atol=1e-5)
    lowered[:, 0, 0] = 0
    assert not lowered[1:].any()
    assert lowered[0, 4, 4] == lowered.max() == pytest.approx(config.detail_gain, abs=1e-5)
    np.testing.assert_allclose(lowered[0, 1], lowered[0, 7], atol=1e-5)  # frequencies 1 and -1
    ratio = np.exp(params.log_phase_weights - fitted.log_phase_weights)
    np.testing.assert_allclose(ratio, config.phase_scale, rtol=1e-5)
    assert params.phase_floor == config.phase_floor * config.phase_scale
    assert params.luminance_floor == config.luminance_floor


def test_flags_of_lists_and_switches():
    flags = [("--learning_rates", "learning_rates", "1e-3,2e-3"), ("dropout", "dropout", "false")]
    config = cli.override(FitConfig(), flags)
    assert config.learning_rates == (1e-3, 2e-3)
    assert config.dropout is False
    with pytest.raises(cli.UserError, match="dropout must be true or false, got 'no'"):
        cli.override(FitConfig(), [("dropout", "dropout", "no")])
