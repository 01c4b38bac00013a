"""The notebooks: short, in step with their text twins, and running from a new kernel."""

import itertools

import nbformat
import pytest

from notebooks import build


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


def test_runs_without_a_warning(name):
    notebook = build.read(name)
    build.execute(notebook, quick=True)
    assert build.messages(notebook) == []
