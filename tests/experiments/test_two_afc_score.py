"""Scoring losses on human judgements, from distances to tables and pictures."""

import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import watson_jax as wj
from experiments._common.cli import UserError
from experiments._common.figures import short
from experiments.two_afc import data, disagreements, evaluate, figures, published, scoring, tables
from tests.experiments.command import run
from watson_jax.datasets import JndData, TwoAfcData

NUMBER, SIDE = 23, 16


def some_data(seed=0):
    """Records of three categories, of which two overlap."""
    rng = np.random.default_rng(seed)
    reference = rng.integers(40, 216, (NUMBER, SIDE, SIDE, 3), np.uint8)
    noise = rng.integers(-40, 40, (2, *reference.shape)) * rng.uniform(0.1, 1, (2, NUMBER, 1, 1, 1))
    first, second = (reference + noise).astype(np.uint8)
    categories = {"blur": np.arange(12), "noise": np.arange(8, 20), "one": np.array([22])}
    preference = rng.integers(0, 6, NUMBER).astype(np.float32) / 5
    return TwoAfcData(reference, first, second, preference, categories)


@pytest.fixture(scope="module")
def judgements():
    return some_data()


def l2_by_hand(a, b):
    return np.mean((a / 255.0 - b / 255.0) ** 2, axis=(1, 2, 3))


def test_long_names_keep_the_loss_and_the_file():
    assert short("watson-dft") == "watson-dft"
    shown = short("lpips-squeeze:" + "folder/" * 20 + "trial.npz")
    assert shown.startswith("lpips-squeeze:")
    assert shown.endswith("…older/trial.npz")
    assert len(shown) == 32


def test_images_are_floats_and_grey_is_luma():
    pixels = np.array([[[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]]], np.uint8)
    np.testing.assert_allclose(data.to_images(pixels, "rgb"), pixels / 255.0, rtol=1e-6)
    grey = data.to_images(pixels, "gray")
    np.testing.assert_allclose(grey[..., 0], [[[0.299, 0.587], [0.114, 1]]], rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 10, 23, 100])
def test_distances_do_not_depend_on_the_batch(judgements, batch_size):
    l2 = wj.get_loss("l2")
    found = scoring.distances(l2.fn, [()], judgements, "rgb", batch_size=batch_size)
    for distance, images in zip(found, (judgements.first, judgements.second), strict=True):
        assert distance.shape == (1, NUMBER)
        np.testing.assert_allclose(distance[0], l2_by_hand(images, judgements.reference), rtol=1e-4)


def test_batches_are_one_program(judgements):
    traced = []

    def fn(params, image, reference):
        traced.append(image.shape)
        return jnp.mean(jnp.abs(image - reference), (1, 2, 3))

    scoring.distances(fn, [()], judgements, "gray", batch_size=10)
    assert traced == [(10, SIDE, SIDE, 1)] * 2  # for first and second


def test_trials_are_computed_together_and_what_they_share_once(judgements):
    sizes = []

    def fn(params, image, reference):
        difference = image * params["shared"] - reference
        jax.debug.callback(lambda x: sizes.append(x.size), difference)
        return params["own"] * jnp.mean(difference**2, (1, 2, 3))

    trials = [{"shared": jnp.float32(1), "own": jnp.float32(i)} for i in (1, 2, 5)]
    d0, _ = scoring.distances(fn, trials, judgements, "rgb")
    np.testing.assert_allclose(d0[1:], d0[:1] * np.array([[2], [5]]), rtol=1e-6)
    jax.effects_barrier()
    assert sizes == [judgements.reference.size] * 2  # for first and second, not for each trial

    watson = wj.get_loss("watson-dct", color="gray", weights="initial")
    both = [watson.params, jax.tree.map(lambda x: 1.1 * x, watson.params)]
    together = scoring.distances(watson.fn, both, judgements, "gray")
    alone = scoring.distances(watson.fn, both[1:], judgements, "gray")
    np.testing.assert_allclose(np.stack(together)[:, 1], np.stack(alone)[:, 0], rtol=1e-5)

    with pytest.raises(ValueError, match="not all of one kind"):
        scoring.distances(fn, [trials[0], {"own": jnp.ones(())}], judgements, "rgb")


def test_distances_that_are_not_finite_are_counted(judgements):
    def fn(params, image, reference):
        return jnp.where(jnp.arange(len(image)) < 3, jnp.nan, 1.0)

    with pytest.raises(FloatingPointError, match="6 of 46 distances are not finite"):
        scoring.distances(fn, [()], judgements, "rgb")


def test_scores_by_hand():
    images = np.zeros((4, 8, 8, 3), np.uint8)
    share = np.array([1.0, 0.2, 0.6, 0.5], np.float32)
    categories = {"a": np.array([0, 1]), "b": np.array([1, 2, 3]), "none": np.array([], int)}
    records = TwoAfcData(images, images, images, share, categories)
    d0 = np.array([[2.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]], np.float32)
    d1 = np.array([[1.0, 1.0, 1.0, 2.0], [2.0, 2.0, 2.0, 2.0]], np.float32)
    # Each record: 1, .2, .5 (a tie), .5; then 0, .8, .4, .5.
    scores = scoring.score((d0, d1), records)
    assert list(scores) == ["mean", "all", "a", "b"]
    expected = {"all": [55, 42.5], "a": [60, 40], "b": [40, 170 / 3], "mean": [50, 145 / 3]}
    for column, values in expected.items():
        np.testing.assert_allclose(scores[column], values, atol=1e-3)

    references = scoring.reference_scores(records)
    np.testing.assert_allclose(
        references["human reference"]["all"], [(100 + 68 + 52 + 50) / 4], atol=1e-3
    )
    np.testing.assert_allclose(references["best possible"]["a"], [90], atol=1e-3)


def test_jnd_scores_by_hand():
    images = np.zeros((3, 8, 8, 3), np.uint8)
    same = np.array([1, 0, 1], np.float32)
    records = JndData(images, images, same, {"all of it": np.arange(3), "two": np.arange(2)})
    scores = scoring.score((np.array([[0.1, 0.2, 0.3]]),), records)
    np.testing.assert_allclose(scores["all of it"], [100 * 5 / 6], atol=1e-3)
    np.testing.assert_allclose(scores["two"], [100], atol=1e-3)
    assert scoring.reference_scores(records)["best possible"]["all"] == [100]
    (distance,) = scoring.distances(wj.get_loss("l1").fn, [()], records, "rgb")
    assert distance.shape == (1, 3)


def some_table(judgements, **changes):
    rows = [
        tables.Row("l2", "loss", scoring.score(_random_distances(1), judgements)),
        *tables.published_rows("l2", "l2", "rgb"),
        tables.Row("runs/fit", "loss", scoring.score(_random_distances(3), judgements)),
    ]
    given = {"name": "bapps", "split": "val", "color": "rgb"} | changes
    return tables.make_table(judgements, rows, **given)


def _random_distances(trials):
    return np.random.default_rng(trials).uniform(0, 1, (2, trials, NUMBER)).astype(np.float32)


def test_means_and_deviations_over_trials():
    row = tables.Row("fit", "loss", {"mean": [60.0, 62.0, 64.0], "a": [1.0, 1.0, 1.0]})
    assert (row.trials, row.mean("mean"), row.std("mean"), row.std("a")) == (3, 62, 2, 0)
    assert row.mean("missing") is None
    assert tables.Row("l2", "loss", {"mean": [60.0]}).std("mean") is None


def test_published_scores_are_the_papers():
    (row,) = tables.published_rows("mine", "watson-dft", "rgb")
    assert (row.name, row.kind) == ("mine", "published")
    assert row.mean("mean") == pytest.approx(65.94, abs=0.01)
    assert row.mean("cnn") == 81.52
    assert tables.published_rows("mine", "ms-ssim", "rgb") == []
    for color in ("rgb", "gray"):
        for loss in published.SCORES[color]:
            scores = published.published_scores(loss, color)
            assert all(0.5 < s <= 0.8435 for s in scores.values())  # people's highest


def read_tables(path):
    """What `write_tables` wrote, made into tables again."""

    def only_fields(kind, record):
        return {field.name: record[field.name] for field in dataclasses.fields(kind)}

    found = []
    for record in json.loads(path.read_text())["tables"]:
        rows = [tables.Row(**only_fields(tables.Row, row)) for row in record["rows"]]
        fields = only_fields(tables.ScoreTable, record) | {"rows": rows}
        found.append(tables.ScoreTable(**fields))
    return found


def test_tables_survive_json_and_csv(judgements, tmp_path):
    table = some_table(judgements)
    tables.write_tables(tmp_path / "scores.json", [table], left_out={"lpips": "no network"})
    assert read_tables(tmp_path / "scores.json") == [table]
    record = json.loads((tmp_path / "scores.json").read_text())
    assert record["left_out"] == {"lpips": "no network"}
    fit = record["tables"][0]["rows"][2]
    assert fit["std"]["mean"] == pytest.approx(np.std(fit["scores"]["mean"], ddof=1), abs=1e-4)
    tables.write_csv_tables(tmp_path / "scores.csv", [table])
    with (tmp_path / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {line["kind"] for line in lines} == {"loss", "published", "reference"}
    (line,) = (x for x in lines if x["name"] == "runs/fit" and x["column"] == "noise")
    assert float(line["mean"]) == pytest.approx(table.rows[2].mean("noise"), abs=1e-4)
    assert (line["trials"], line["split"]) == ("3", "val")
    assert next(x["std"] for x in lines if x["name"] == "l2") == ""


def test_text_is_as_wide_as_the_terminal(judgements):
    table = some_table(judgements)
    wide, narrow = table.format(200).splitlines(), table.format(50).splitlines()
    assert wide[0] == "bapps val, rgb, 23 records: agreement with people in %"
    header, *rows = wide[2:]
    assert header.split() == ["mean", "all", "blur", "noise", "one"]
    assert [row[:17].strip() for row in rows] == [
        "l2", "as published", "runs/fit (3 trial", "human reference", "best possible"
    ]  # fmt: skip
    assert rows[1].split()[2:] == ["62.9", "-", "-", "-", "-"]
    assert "±" in rows[2]
    assert max(map(len, narrow[1:])) <= 50
    assert sum(line.startswith("runs/fit") for line in narrow) == 3
    assert "KADID" in some_table(judgements, name="photos-2afc").format()


@pytest.mark.parametrize("categories", [1, 6, 20])
@pytest.mark.parametrize("losses", [1, 12])
def test_bars_for_few_and_many(categories, losses, tmp_path):
    columns = ["mean", *(f"long category {i}" for i in range(categories))]
    rows = [
        tables.Row(f"loss {i}", "loss", {c: [52.0 + i, 49.0 + i][: 1 + i % 2] for c in columns})
        for i in range(losses)
    ]
    rows.append(tables.Row("loss 0", "published", {"mean": [60.0]}))
    rows.append(tables.Row("human reference", "reference", {c: [70.0] for c in columns}))
    records = {"all": 100} | {c: 5 for c in columns[1:]}
    table = tables.ScoreTable("bapps", "val", "rgb", tables.AGREEMENT, records, rows)
    figures.save_scores(tmp_path / "scores.png", table)
    with Image.open(tmp_path / "scores.png") as image:
        assert image.width == 1000
        assert 300 < image.height < 1500
    assert (tmp_path / "scores.png").stat().st_size < 300_000


def test_bars_of_precision_start_at_zero(tmp_path):
    rows = [tables.Row("l2", "loss", {"mean": [0.4], "a": [0.4]})]
    table = tables.ScoreTable("x", "val", "rgb", tables.PRECISION, {"all": 1, "a": 1}, rows)
    figures.save_scores(tmp_path / "scores.png", table)
    assert figures._limits(rows, ["mean", "a"], 0.0) == (0, 5)


def test_choices_and_their_strength():
    d0, d1 = np.array([3.0, 1.0, 0.0, -2.0]), np.array([1.0, 3.0, 0.0, -1.0])
    found = disagreements.choices("l2", d0, d1, np.array([0.9, 0.9, 0.9, 0.5]))
    np.testing.assert_allclose(found.margin, [0.5, -0.5, 0, -1 / 3])
    assert found.agrees.tolist() == [True, False, False, False]
    assert found.opposes.tolist() == [False, True, False, False]


def disagreeing(judgements, decided):
    """People choose the second image, `right` too, `wrong` the first, the more so the later."""
    people = np.full(NUMBER, decided, np.float32)
    ones = np.ones(NUMBER)
    records = TwoAfcData(
        judgements.reference, judgements.first, judgements.second, people, judgements.categories
    )
    right = disagreements.choices("right", 2 * ones, ones, people)
    wrong = disagreements.choices("wrong", ones, ones + np.arange(1, NUMBER + 1), people)
    return records, right, wrong


def test_worst_cases_are_strong_and_different(judgements):
    records, right, wrong = disagreeing(judgements, 0.8)
    # 22 is in "one"; 21 and 20 in none; 19 … 12 in "noise"; 11 … 8 in two; 7 … 0 in "blur".
    assert disagreements.worst_cases(right, wrong, records, 5).tolist() == [22, 21, 19, 11, 7]
    assert disagreements.worst_cases(right, wrong, records, 6).tolist() == [22, 21, 19, 11, 7, 20]
    assert disagreements.worst_cases(wrong, right, records, 3).size == 0
    first = records.first.copy()
    first[19], records.second[19] = records.second[22].copy(), records.first[22].copy()
    swapped = TwoAfcData(
        records.reference, first, records.second, records.preference, records.categories
    )
    assert 19 not in disagreements.worst_cases(right, wrong, swapped, NUMBER)


@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_disagreements_show_every_pixel_unsmoothed(judgements, color, tmp_path):
    records, right, wrong = disagreeing(some_data(1), 0.8)
    path = tmp_path / "disagreements.png"
    disagreements.save_disagreements(path, records, right, wrong, color=color, title="A title")
    picture = np.asarray(Image.open(path).convert("RGB"))
    scale = 128 // SIDE
    left, top = 26 + 7 * len("people"), 108
    shown = picture[top : top + 128, left : left + 128]
    expected = np.asarray(data.to_images(records.first[22], color))
    expected = np.broadcast_to(np.rint(255 * expected), (SIDE, SIDE, 3))
    expected = expected.repeat(scale, 0).repeat(scale, 1)
    # One level for Matplotlib's own rounding; the outermost pixels lie under the frame.
    assert np.abs(shown[2:-2, 2:-2] - expected[2:-2, 2:-2]).max() <= 1
    assert path.stat().st_size < 300_000


@pytest.fixture
def fake_data(monkeypatch, judgements):
    def load(name, *, color, data_dir=None, splits=None):
        return {split: judgements for split in splits}

    monkeypatch.setattr(evaluate, "load_data", load)


@pytest.fixture
def fit(tmp_path):
    """The folder of a fit with two trials."""
    folder = tmp_path / "fit"
    folder.mkdir()
    params = wj.load_params("watson-dct", color="rgb", weights="initial")
    for i in range(2):
        params = jax.tree.map(lambda x: 0.9 * x, params)
        wj.save_params(folder / f"trial-seed{i}.npz", params)
    trials = [{"learning_rate": 1e-3, "file": f"trial-seed{i}.npz"} for i in range(2)]
    trials += [{"learning_rate": 1.0, "file": None}]  # of another rate, and diverged
    result = {"best_on_training_records": trials[0], "trials": trials}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.json").write_text(json.dumps({"loss": "watson-dct", "data": "bapps"}))
    return str(folder)


@pytest.mark.slow
def test_from_names_to_files(fake_data, fit, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")

    def no_network(name):
        raise wj.DownloadError(f"Cannot download {name}: fetch it by hand.")

    monkeypatch.setattr("watson_jax.losses._spec.fetch", no_network)
    workdir = tmp_path / "runs" / "scores"
    names = ["l1", "watson-dft:published", "watson-dft:initial", fit]
    (table,) = evaluate.score_losses(
        names,
        data="bapps",
        color="rgb",
        workdir=workdir,
        splits=["val"],
        compare=["l1", fit],
        bapps_dir=str(tmp_path),
    )
    printed = capsys.readouterr().out
    assert "watson-dft:published is left out. Cannot download rgb_watson_fft" in printed
    assert table.format(120) in printed
    assert [(row.name, row.kind, row.trials) for row in table.rows] == [
        ("l1", "loss", 1),
        ("l1", "published", 1),
        ("watson-dft:initial", "loss", 1),
        (fit, "loss", 2),
        (fit, "published", 1),
        ("human reference", "reference", 1),
        ("best possible", "reference", 1),
    ]
    assert {path.name for path in workdir.iterdir()} == {
        "scores.json", "scores.csv", "scores-val.png", "disagreements-val.png"
    }  # fmt: skip
    assert read_tables(workdir / "scores.json") == [table]
    with pytest.raises(UserError, match="already holds scores"):
        evaluate.score_losses(
            ["l1"], data="bapps", color="rgb", workdir=workdir, bapps_dir=str(tmp_path)
        )


def test_published_scores_stand_beside_the_weights_that_they_are_about(reference_folder):
    wanted = {"watson-dct:initial": False, "watson-dct:published": True, "ssim": True}
    for name, expected in wanted.items():
        assert evaluate.load_candidate(name, color="gray").has_published_scores == expected


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"names": ["l3"]}, "--losses must be one of l1, .* got 'l3'"),
        ({"names": ["l1:initial"]}, "--losses=l1:initial: `weights` must be left out"),
        ({"names": ["watson-dct:inital"]}, "did you mean 'initial'"),
        ({"names": ["runs/none"]}, "--losses must name .* got 'runs/none', which is no folder"),
        ({"names": ["l1", "l1"]}, "--losses must name every loss once, got 'l1'"),
        ({"names": ["."]}, r"--losses=\. must be the folder of a finished fit"),
        ({"names": ["lpips"]}, "--losses must be one of"),
        ({"names": ["adaptive:initial"]}, "--losses=adaptive:initial cannot be used here"),
        ({"compare": ["l1"]}, "--compare must be two losses, got 'l1'"),
        ({"compare": ["l1", "l2"]}, "--compare must be one of l1, got 'l2'"),
        ({"color": "grey"}, "--color must be one of rgb, gray, got 'grey'; did you mean 'gray'"),
        ({"data": "photos"}, "--data must be one of .* did you mean 'photos-2afc'"),
        ({"data": "bapps-jnd"}, "--bapps_dir must name the folder"),
        (
            {"bapps_dir": "."},
            "--bapps_dir must be set with --data=bapps only, got --data=photos-2afc",
        ),
        (
            {"data": "bapps-jnd", "names": ["l1", "l2"], "compare": ["l1", "l2"]},
            "--compare must be left out with --data=bapps-jnd",
        ),
        ({"data": "bapps-jnd", "splits": ["train"]}, "--splits must be one of val, got 'train'"),
    ],
)
def test_wrong_arguments_are_one_sentence(fake_data, changes, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"names": ["l1"], "data": "photos-2afc", "color": "rgb", "workdir": tmp_path} | changes
    with pytest.raises(UserError, match=sentence):
        evaluate.score_losses(given.pop("names"), **given)


def test_folders_of_bapps(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="--splits must be one of train, val, got 'test'"):
        data.load_data("bapps", color="rgb", data_dir=tmp_path, splits=["test"])
    with pytest.raises(ValueError, match="--bapps_dir must name"):
        data.load_data("bapps", color="rgb")
    calls = []
    for name in ("load_bapps", "load_bapps_tfds"):
        monkeypatch.setattr(
            f"watson_jax.datasets.{name}",
            lambda folder, split, name=name: calls.append((name, folder, split)),
        )
    assert set(data.load_data("bapps", color="rgb", data_dir=tmp_path)) == {"train", "val"}
    (tmp_path / "bapps" / "2afc-val" / "1.0.0").mkdir(parents=True)
    data.load_data("bapps", color="rgb", data_dir=tmp_path, splits=("val",))
    assert calls == [
        ("load_bapps", tmp_path, "train"),
        ("load_bapps", tmp_path, "val"),
        ("load_bapps_tfds", tmp_path, "val"),
    ]


def test_command_line(tmp_path):
    done = run("experiments.two_afc.score", "--losses=l1", "--color=blue", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: --color must be one of rgb, gray, got 'blue'.\n"
