"""Own judgements from CSV and Parquet files."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from watson_jax.datasets import ScoreData, load_scores_csv, load_triplets_csv
from watson_jax.datasets.csv_files import has_scores

SIDE = 16
SCENES = [f"s{i}" for i in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight originals with two distorted versions, and three images of other sizes."""
    root = tmp_path_factory.mktemp("judgements")
    rng = np.random.default_rng(0)
    for scene in SCENES:
        for version in ("ref", "x", "y"):
            Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(
                root / f"{scene}-{version}.png"
            )
    for version in ("ref", "x", "y"):
        Image.fromarray(rng.integers(0, 256, (SIDE, 40, 3), np.uint8)).save(
            root / f"wide-{version}.png"
        )
    return root


def pixels(folder, name):
    return np.asarray(Image.open(folder / name))


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


TRIPLETS = [["reference", "first", "second", "preference", "category"]] + [
    [f"{s}-ref.png", f"{s}-x.png", f"./{s}-y.png", i / 8, ("blur", "noise", "")[i % 3]]
    for i, s in enumerate(SCENES)
]
SCORES = [["reference", "distorted", "score"]] + [
    [f"{s}-ref.png", f"{s}-{v}.png", 10 * i + j]
    for i, s in enumerate(SCENES)
    for j, v in enumerate(("x", "y"))
]


@pytest.fixture
def triplets(folder):
    return write(folder / "triplets.csv", TRIPLETS)


def test_triplets(folder, triplets):
    data = load_triplets_csv(triplets)
    assert len(data) == 8
    for i, scene in enumerate(SCENES):
        for name, version in (("reference", "ref"), ("first", "x"), ("second", "y")):
            np.testing.assert_array_equal(
                getattr(data, name)[i], pixels(folder, f"{scene}-{version}.png")
            )
    np.testing.assert_allclose(data.preference, np.arange(8) / 8)
    assert {k: v.tolist() for k, v in data.categories.items()} == {
        "blur": [0, 3, 6],
        "noise": [1, 4, 7],
    }
    assert not has_scores(triplets)
    path = write(
        folder / "both.csv", [["reference", "distorted", "score", "preference"], list("abcd")]
    )
    assert has_scores(path)


def test_parquet_is_the_same(folder, triplets):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    records = [dict(zip(TRIPLETS[0], row, strict=True)) for row in TRIPLETS[1:]]
    path = folder / "triplets.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(records), path)
    ours, theirs = load_triplets_csv(path), load_triplets_csv(triplets)
    np.testing.assert_array_equal(ours.second, theirs.second)
    np.testing.assert_array_equal(ours.preference, theirs.preference)
    # Categories that are numbers: 0 is one, and a missing one is none.
    for index, record in enumerate(records):
        record["category"] = [0, 1, None][index % 3]
    parquet.write_table(pyarrow.Table.from_pylist(records), path)
    assert set(load_triplets_csv(path).categories) == {"0", "1"}
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"triplets\.parquet is no Parquet file: "):
        load_triplets_csv(path)


def test_no_original_is_on_both_sides(folder):
    twice = write(folder / "twice.csv", TRIPLETS + TRIPLETS[1:])
    parts = {split: load_triplets_csv(twice, split=split) for split in ("train", "val")}
    seen = {split: {image.tobytes() for image in part.reference} for split, part in parts.items()}
    assert not seen["train"] & seen["val"]
    assert len(seen["train"]) + len(seen["val"]) == 8
    assert {split: len(part) for split, part in parts.items()} == {
        split: 2 * len(images) for split, images in seen.items()
    }
    assert seen["train"]  # `test_about_a_tenth_is_held_out` says how many there are
    assert seen["val"]
    # What goes away moves no other original.
    fewer = write(folder / "fewer.csv", TRIPLETS[:1] + TRIPLETS[3:])
    again = {image.tobytes() for image in load_triplets_csv(fewer, split="train").reference}
    assert len(again - seen["train"]) <= 1
    for part in parts.values():
        members = [i for rows in part.categories.values() for i in rows]
        assert len(members) == len(set(members))


def test_any_size_is_cropped_or_resized(folder):
    row = ["wide-ref.png", "wide-x.png", "wide-y.png", 1, ""]
    table = write(folder / "wide.csv", [*TRIPLETS, row])
    middle = pixels(folder, "wide-ref.png")[4:12, 16:24]
    np.testing.assert_array_equal(load_triplets_csv(table, size=8).reference[-1], middle)
    square = Image.fromarray(pixels(folder, "wide-ref.png")[:, 12:28])
    small = square.resize((8, 8), Image.Resampling.BILINEAR)
    resized = load_triplets_csv(table, size=8, fit="resize")
    np.testing.assert_array_equal(resized.reference[-1], small)
    with pytest.raises(ValueError, match=r"row 10 \(40x16, not 16x16 as before: set `size`\)"):
        load_triplets_csv(table)
    with pytest.raises(ValueError, match=r"row 2 \(.*s0-ref\.png is 16x16, too small for 17x17"):
        load_triplets_csv(table, size=17)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["none.png", "s1-x.png", "s1-y.png", 1, ""], r"row 3 \(.*none\.png is no file\)\.$"),
        (["", "s1-x.png", "s1-y.png", 1, ""], r"row 3 \(a path is empty\)"),
        (["s1-ref.png", "wide-x.png", "s1-y.png", 1, ""],
         r"row 3 \(its images differ in size: 16x16, 40x16, 16x16\)"),
        (["s1-ref.png", "s1-x.png", "s1-y.png", 2, ""],
         r"row 3 \(preference must be in \[0, 1\], got '2'\)"),
        (["s1-ref.png", "s1-x.png", "s1-y.png", "many", ""], r"row 3 \(preference .* got 'many'\)"),
        (["s1-ref.png", "s1-x.png", "s1-y.png", "nan", ""], r"row 3 \(preference .* got 'nan'\)"),
        (["triplets.csv", "s1-x.png", "s1-y.png", 1, ""], r"row 3 \(.*triplets\.csv is no readable"),
        (["s1-ref.png", "s1-x.png", "s1-y.png", 1, "all"], r"row 3 \(category must not be 'all'\)"),
        (["s1-ref.png", "s1-x.png"], r"bad\.csv, row 3: it has more or fewer cells than the header"),
    ],
)  # fmt: skip
def test_bad_rows_are_named_by_their_number(folder, triplets, cells, message):
    path = write(folder / "bad.csv", [*TRIPLETS[:2], cells, *TRIPLETS[3:]])
    with pytest.raises(ValueError, match=message) as caught:
        load_triplets_csv(path)
    assert "\n" not in str(caught.value)


def test_bad_files(folder, triplets):
    with pytest.raises(FileNotFoundError, match=r"none\.csv is no file; name a CSV or Parquet"):
        load_triplets_csv(folder / "none.csv")
    with pytest.raises(ValueError, match=r"must have the columns reference,distorted,score, got"):
        load_scores_csv(triplets)
    for text, message in (
        (b"", "must hold rows after its header"),
        (b"reference,first\n\xff\xfe,a\n", "must be text in UTF-8"),
    ):
        (folder / "bad.csv").write_bytes(text)
        with pytest.raises(ValueError, match=message):
            load_triplets_csv(folder / "bad.csv")
    one = write(folder / "bad.csv", TRIPLETS[:2])
    with pytest.raises(ValueError, match="needs at least 2 originals, got 1"):
        load_triplets_csv(one, split="val")
    for wrong, message in (
        ({"split": "test"}, "`split` must be one of all, train, val"),
        ({"held_out": 1.0}, "`held_out` must lie between 0 and 1"),
        ({"fit": "pad"}, '`fit` must be "crop" or "resize"'),
        ({"size": 0}, "`size` must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            load_triplets_csv(triplets, **wrong)


def test_scores_become_correlations_and_triplets(folder):
    path = write(folder / "scores.csv", SCORES)
    assert has_scores(path)
    data = load_scores_csv(path)
    assert data.names[:3] == ("s0-ref.png", "s0-ref.png", "s1-ref.png")
    np.testing.assert_array_equal(data.distorted[1], pixels(folder, "s0-y.png"))
    distances = np.random.default_rng(0).uniform(size=16)
    found = data.correlations(distances)
    expected = [f(-distances, data.score)[0] for f in (
        stats.spearmanr, stats.kendalltau, stats.pearsonr)]  # fmt: skip
    np.testing.assert_allclose([found[k] for k in ("SRCC", "KRCC", "PLCC")], expected)
    worse = load_scores_csv(path, lower_is_better=True)
    np.testing.assert_allclose(worse.correlations(data.score)["SRCC"], 1)
    assert np.isnan(data.correlations(np.ones(16))["SRCC"])
    with pytest.raises(ValueError, match=r"one for each of at least 2 records, got \(3,\) for 16"):
        data.correlations(np.ones(3))

    triplets = data.triplets()
    assert len(triplets) == 8  # one pair of each original
    assert set(triplets.preference) == {0, 1}
    for i, preference in enumerate(triplets.preference):
        better = triplets.second[i] if preference else triplets.first[i]
        np.testing.assert_array_equal(better, pixels(folder, f"s{i}-y.png"))
    np.testing.assert_array_equal(worse.triplets().preference, 1 - triplets.preference)
    soft = data.triplets(spread=1.0)
    np.testing.assert_allclose(
        soft.preference,
        np.where(triplets.preference, stats.norm.cdf(2**-0.5), stats.norm.cdf(-(2**-0.5))),
        rtol=1e-6,
    )
    assert load_scores_csv(path, split="val").triplets().preference.size > 0
    for spread in (0, -1.0):
        with pytest.raises(ValueError, match=r"^`spread` must be above 0, or None, got"):
            data.triplets(spread=spread)


def test_pairs_of_one_original_are_limited():
    images = np.zeros((12, 8, 8, 3), np.uint8)
    data = ScoreData(images, images, np.arange(12, dtype=np.float32), ("a",) * 11 + ("b",))
    assert len(data.triplets()) == 55
    assert len(data.triplets(per_reference=7)) == 7
    with pytest.raises(ValueError, match="an original with two scores that differ"):
        ScoreData(images[:2], images[:2], np.ones(2, np.float32), ("a", "a")).triplets()
