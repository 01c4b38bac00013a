"""The notebooks: short, in step with their text twins, and running without a warning."""

import itertools

import nbformat
import numpy as np
import pytest

from notebooks import build
from watson_jax.datasets import load_photos_2afc, photos_2afc
from watson_jax.datasets._opinions import read_opinions

# Starting a kernel takes as long as a notebook, so all share one, where each finds no names.
BETWEEN = nbformat.v4.new_code_cell('sys.path.remove("..")\n%reset -f')


@pytest.fixture(params=build.NAMES)
def name(request):
    return request.param


def test_committed_notebook_is_that_of_the_twin(name):
    path = build.FOLDER / f"{name}.ipynb"
    committed, twin = nbformat.read(path, as_version=4), build.read(name)
    assert [(c.cell_type, c.source) for c in committed.cells] == [
        (c.cell_type, c.source) for c in twin.cells
    ], f"python -m notebooks.build {name} builds it anew"
    assert path.stat().st_size < 1_000_000
    assert build.messages(committed) == []
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert len(code) < 12
    assert all(cell.outputs for cell in code)


def test_a_sentence_before_each_cell_says_what_to_look_for(name):
    kinds = [cell.cell_type for cell in build.read(name).cells]
    assert kinds[0] == "markdown"
    for before, cell in itertools.pairwise(kinds):
        assert cell != "code" or before == "markdown"


@pytest.fixture
def few_judgements(monkeypatch, tmp_path):
    """In the place of thousands, which take a minute to make."""
    versions = [(name, level) for name in ("darken", "mean shift", "JPEG") for level in (2, 4)]
    indices = [list(read_opinions()).index(version) for version in versions]
    monkeypatch.setattr(photos_2afc, "_NUM_RECORDS", {"train": 150, "val-scenes": 100})
    monkeypatch.setattr(
        photos_2afc, "_pairs", lambda *_: np.array([*itertools.permutations(indices, 2)])
    )
    monkeypatch.setenv("WATSON_JAX_CACHE", str(tmp_path))
    for split in ("train", "val-scenes"):
        load_photos_2afc(split, color="gray")


@pytest.mark.slow
def test_all_run_without_a_warning(few_judgements):
    together = nbformat.v4.new_notebook()
    for name in build.NAMES:
        together.cells += [*build.read(name).cells, BETWEEN]
    for number, cell in enumerate(together.cells):
        cell.id = f"cell-{number}"
    build.execute(together, quick=True)
    assert build.messages(together) == []
