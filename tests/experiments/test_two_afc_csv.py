"""Fits and scores on own judgements in CSV files."""

import csv
import json

import jax
import numpy as np
import pytest
from PIL import Image

import watson_jax as wj
from experiments._common.cli import UserError
from experiments.two_afc import correlations, evaluate, fit
from experiments.two_afc.configs import FitConfig
from experiments.two_afc.data import CsvTable, csv_table, load_data, to_images
from tests.experiments.command import run

SIDE = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten originals with three levels of noise, as choices and as scores."""
    root = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    choices = [["reference", "first", "second", "preference"]]
    scores = [["reference", "distorted", "score"]]
    for i in range(10):
        reference = rng.integers(60, 190, (SIDE, SIDE, 3))
        for level in range(4):
            noise = 8 * level * rng.normal(size=reference.shape)
            pixels = np.clip(reference + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"{i}-{level}.png")
            scores.append([f"{i}-0.png", f"{i}-{level}.png", 5 - level])
        choices.append([f"{i}-0.png", f"{i}-1.png", f"{i}-3.png", i % 2 / 10])
    for name, rows in (("choices", choices), ("scores", scores)):
        with (root / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return root


def table(folder, name, **options):
    return CsvTable(path=str(folder / f"{name}.csv"), **options)


def test_choices_are_scored_all_together(folder, tmp_path, capsys):
    (scores,) = evaluate.score_losses(
        ["l2", "l1"], data="csv", color="rgb", workdir=tmp_path / "scores",
        table=table(folder, "choices", size=16),
    )  # fmt: skip
    assert scores.split == "all"
    assert scores.records == {"all": 10}
    assert scores.rows[0].mean("mean") == scores.rows[0].mean("all") == 95  # all see the noise
    assert "csv all, rgb, 10 records" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "scores").iterdir()}
    assert names == {"scores.json", "scores.csv", "scores-all.png", "disagreements-all.png"}


def test_scores_are_correlated(folder, tmp_path, capsys):
    workdir = tmp_path / "scores"
    found = correlations.correlate_losses(
        ["l2", "watson-dct:initial"], table=table(folder, "scores"), color="gray", workdir=workdir
    )
    assert found["l2"]["SRCC"][0] > 0.9
    assert json.loads((workdir / "scores.json").read_text())["correlations"] == found
    rows = list(csv.DictReader((workdir / "scores.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["l2", "watson-dct:initial"]
    np.testing.assert_allclose(float(rows[1]["KRCC"]), found["watson-dct:initial"]["KRCC"])
    printed = dict(
        line.split()[:2] for line in capsys.readouterr().out.splitlines() if "  0." in line
    )
    assert printed["l2"] == f"{found['l2']['SRCC'][0]:.3f}"
    with pytest.raises(UserError, match="already holds scores"):
        correlations.correlate_losses(
            ["l2"], table=table(folder, "scores"), color="gray", workdir=workdir
        )


def test_scores_become_triplets(folder):
    parts = load_data("csv", color="rgb", table=table(folder, "scores"))
    assert set(parts) == {"train", "val"}
    assert sum(map(len, parts.values())) == 10 * 6
    assert set(parts["train"].preference) == {0, 1}
    turned = load_data("csv", color="rgb", table=table(folder, "scores", lower_is_better=True))
    np.testing.assert_array_equal(turned["val"].preference, 1 - parts["val"].preference)


def test_what_a_fit_is_made_on(folder, tmp_path, monkeypatch):
    parts = {}
    monkeypatch.setattr(fit, "_fit", lambda config, workdir, data, *_, **__: parts.update(data))
    config = FitConfig(
        data="csv", csv=str(folder / "choices.csv"), csv_size=16, loss="watson-dct", color="gray",
        batch_size=4,
    )  # fmt: skip
    fit.fit_and_evaluate(config, tmp_path / "run")
    assert config.starting_weights == "packaged"
    assert parts["train"].reference.shape[1:] == (16, 16, 3)
    assert len(parts["train"]) + len(parts["val"]) == 10


def test_other_judgements_are_another_run(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "_fit", lambda *_, **__: None)
    path = tmp_path / "own.csv"
    with (folder / "choices.csv").open() as file:
        rows = [[*(f"{folder}/{name}" for name in row[:3]), row[3]] for row in csv.reader(file)][1:]

    def fit_to(rows):
        lines = ["reference,first,second,preference", *map(",".join, rows)]
        path.write_text("\n".join(lines))
        config = FitConfig(data="csv", csv=str(path), loss="watson-dct", color="gray", batch_size=2)
        fit.fit_and_evaluate(config, tmp_path / "run")

    fit_to(rows)
    fit_to(rows)  # goes on
    with pytest.raises(UserError, match=r"holds another run \(judgements = "):
        fit_to([*rows[:-1], [*rows[-1][:3], "0.5"]])


@pytest.mark.slow
def test_before_the_fit_the_weights_are_as_they_are_loaded(folder, tmp_path):
    config = FitConfig(
        data="csv", csv=str(folder / "choices.csv"), loss="watson-dct", color="gray", batch_size=4,
        weights="initial", epochs=1, seeds=1, pooling_range=(1.0, 1.5),
    )  # fmt: skip
    params = wj.load_params("watson-dct", color="gray", weights="initial")
    assert params.pooling_exponent > 1.5
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam mixes integers and floats
        fit.fit_and_evaluate(config, tmp_path)
    before = json.loads((tmp_path / "result.json").read_text())["before"]
    for split, part in load_data("csv", color="gray", table=table(folder, "choices")).items():
        images = [to_images(x, "gray") for x in (part.reference, part.first, part.second)]
        d0, d1 = (wj.watson_dct(params, x, images[0]) for x in images[1:])
        agreement = wj.two_afc.agreement(d0, d1, part.preference).mean()
        assert before[f"{split}_agreement"] == pytest.approx(float(agreement), abs=1e-6)


def test_scores_that_cannot_be_correlated(folder, tmp_path):
    path = folder / "few.csv"
    path.write_text("reference,distorted,score\n0-0.png,0-1.png,3\n")
    few = CsvTable(path=str(path))
    with pytest.raises(
        UserError, match=r"^--csv must have at least 2 scores in --splits=all, got 1\.$"
    ):
        correlations.correlate_losses(["l2"], table=few, color="rgb", workdir=tmp_path / "few")
    path.write_text(path.read_text() + "1-0.png,1-1.png,3\n")
    correlations.correlate_losses(["l2"], table=few, color="rgb", workdir=tmp_path / "equal")
    text = (tmp_path / "equal" / "scores.json").read_text()
    record = json.loads(text, parse_constant=pytest.fail)
    assert record["correlations"]["l2"] == {"SRCC": [None], "KRCC": [None], "PLCC": [None]}


def test_wrong_flags_are_one_sentence(folder, tmp_path):
    for wrong, message in (
        ({"data": "csv"}, "--csv must name a file with --data=csv and only then, got --data=csv"),
        ({"csv": "x.csv"}, "only then, got --data=photos-2afc"),
        ({"data": "csv", "csv": "x", "csv_fit": "pad"}, "--csv_fit must be one of crop, resize"),
        ({"data": "csv", "csv": "none.csv"}, "--csv must be a CSV or Parquet file, got 'none.csv'"),
        ({"data": "csv", "csv": __file__, "csv_size": 0}, "csv_size must be at least 1"),
        ({"csv_size": 64}, "must be set with --data=csv only, got --data=photos-2afc"),
    ):
        with pytest.raises(UserError, match=message):
            FitConfig(**wrong)
    with pytest.raises(UserError, match=r"--data must be one of .*; did you mean 'csv'"):
        csv_table("cvs", "x.csv", None, "crop", False)
    assert csv_table("bapps", None, None, "crop", False) is None
    bad = folder / "bad.csv"
    bad.write_text("ref,first\n1,2\n")
    with pytest.raises(UserError, match=r"columns .*preference, or .*score, got ref, first\."):
        CsvTable(path=str(bad)).has_scores()
    bad.write_text("reference,first,second,preference\n0-0.png,0-1.png,none.png,1\n")
    with pytest.raises(UserError, match=rf"^{bad} has rows .*: row 2 \(.*none\.png is no"):
        evaluate.score_losses(
            ["l2"], data="csv", color="rgb", workdir=tmp_path / "x", table=CsvTable(path=str(bad))
        )
    with pytest.raises(
        UserError, match=r"--csv_lower_is_better must be set for opinion scores only"
    ):
        evaluate.score_losses(
            ["l2"], data="csv", color="rgb", workdir=tmp_path / "x",
            table=table(folder, "choices", lower_is_better=True),
        )  # fmt: skip
    with pytest.raises(UserError, match=r"row 2 \(.* too small for 99x99\)"):
        fit.fit_and_evaluate(
            FitConfig(data="csv", csv=str(folder / "choices.csv"), csv_size=99), tmp_path / "x"
        )


def test_command_line(folder, tmp_path):
    arguments = ("--data=csv", f"--csv={folder / 'scores.csv'}", "--losses=l1", "--splits=val")
    done = run("experiments.two_afc.score", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "SRCC" in done.stdout
    assert (tmp_path / "runs" / "scores-csv-rgb" / "scores.json").is_file()
