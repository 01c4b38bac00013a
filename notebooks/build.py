"""Runs the notebooks' text twins and writes the notebooks with their outputs.

    python -m notebooks.build               # all of them, a few minutes
    python -m notebooks.build 1_start_here

overwrite the .ipynb files and the pictures of them in docs/notebooks.md, docs/notebook_N.png.

A twin is a Python file in Jupytext's percent format, and what is to be edited. Lines that end in
`# quick: VALUE` assign that value instead in tests, which only see that everything runs.
"""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("[0-9]_*.py")))
IN_DOCS = {"1": 11, "2": 7, "3": 7, "4": 9}  # the cell whose picture docs/notebooks.md has
USAGE = (
    f"usage: python -m notebooks.build [{' | '.join(NAMES)}] ...\n"
    "Runs these notebooks, or all, and overwrites their .ipynb and docs/notebook_N.png."
)

_QUICK = re.compile(r"^(\s*\w+ = ).*(  # quick: (.+))$", re.MULTILINE)


def read(name: str) -> nbformat.NotebookNode:
    """The notebook of a twin, without outputs."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # or every build would differ
    return notebook


def execute(notebook: nbformat.NotebookNode, *, quick: bool = False) -> None:
    """Runs all cells in a new kernel, which starts in this folder.

    Args:
      notebook: gets the outputs.
      quick: whether to take the values of `# quick:`.

    Raises:
      nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    sources = [cell.source for cell in notebook.cells]
    if quick:
        for cell in notebook.cells:
            cell.source = _QUICK.sub(r"\1\3\2", cell.source)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    for cell, source in zip(notebook.cells, sources, strict=True):
        cell.source = source
        cell.metadata.pop("execution", None)  # the times of day


def messages(notebook: nbformat.NotebookNode) -> list[str]:
    """What the cells wrote to the error stream, where warnings go."""
    return [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
    ]


def save_picture(notebook: nbformat.NotebookNode, number: str) -> None:
    """Writes the picture that docs/notebooks.md has of the notebook of that number."""
    (picture,) = (
        output.data["image/png"]
        for output in notebook.cells[IN_DOCS[number]].outputs
        if "image/png" in output.get("data", {})
    )
    (FOLDER.parent / "docs" / f"notebook_{number}.png").write_bytes(base64.b64decode(picture))


def main() -> None:
    """Builds the notebooks that are named, by default all."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(USAGE)
        return
    unknown = [name for name in sys.argv[1:] if name not in NAMES]
    if unknown:
        sys.exit(f"There is no notebook {', '.join(unknown)}.\n{USAGE}")
    for name in sys.argv[1:] or NAMES:
        notebook = read(name)
        execute(notebook)
        path = FOLDER / f"{name}.ipynb"
        nbformat.write(notebook, path)
        save_picture(notebook, name[0])
        print(f"{path} ({path.stat().st_size / 1e3:.0f} kB)", *messages(notebook), sep="\n")


if __name__ == "__main__":
    main()
