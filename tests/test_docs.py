"""README and the pages of `docs/`: their code runs, their links lead somewhere, their commands exist."""

import functools
import importlib.util
import itertools
import os
import pathlib
import re
import shlex

import jax
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob(".github/**/*.md"),
        ROOT / "watson_jax" / "packaged" / "MODEL_CARD.md",
    )
}
NOT_RUN, NEEDS_WEIGHTS = "not run: ", "needs: published weights"
NEEDS_RUN = "needs: a finished run"  # `test_vae_compare.py` has one

_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)


@pytest.fixture(params=PAGES)
def page(request):
    return PAGES[request.param]


def blocks(page, language):
    """The line, the note on the line before, and the code of every block in a language."""
    text = page.read_text("utf-8")
    for match in _BLOCK.finditer(text):
        if match["language"] == language:
            yield text.count("\n", 0, match.start("code")), match["note"] or "", match["code"]


@functools.cache
def run(page):
    """Runs all Python of a page in order, in one namespace, which it returns."""
    namespace = {"__name__": page.stem}
    for line, note, code in blocks(page, "python"):
        if note.startswith(NOT_RUN) or note == NEEDS_RUN:
            continue
        if note == NEEDS_WEIGHTS and "WATSON_JAX_WEIGHTS_DIR" not in os.environ:
            continue
        # Errors show the line of the page.
        exec(compile("\n" * line + code, page, "exec"), namespace)
    return namespace


@pytest.fixture
def as_users_do(monkeypatch, tmp_path):
    """JAX's own rules of promotion, and an empty folder for what blocks write."""
    monkeypatch.chdir(tmp_path)
    if folder := os.environ.get("WATSON_JAX_REFERENCE"):
        monkeypatch.setenv("WATSON_JAX_WEIGHTS_DIR", str(pathlib.Path(folder, "weights")))
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.slow(except_for="README.md")
@pytest.mark.parametrize(
    "name", [name for name, path in PAGES.items() if any(blocks(path, "python"))]
)
def test_python_runs(name, as_users_do):
    run(PAGES[name])


def test_migration_gives_the_authors_values(as_users_do, reference_folder, goldens):
    page = run(PAGES["docs/migration.md"])
    pairs, recorded = goldens("pairs_rgb64"), goldens("batch_of_4")
    image, reference = pairs["input"], pairs["target"]
    of_batch = (
        np.moveaxis(2 * x[recorded["pair_indices"]] - 1, -1, -3) for x in (image, reference)
    )
    expected = recorded["watson_dft_rgb/value_f64"].sum()
    np.testing.assert_allclose(page["authors_value"](*of_batch), expected, rtol=1e-3)
    values = page["check_copy"](image[0], reference[0])
    np.testing.assert_allclose(values, [3354.117, 2.918924], rtol=1e-5)


def test_most_blocks_run():
    notes = [note for page in PAGES.values() for _, note, _ in blocks(page, "python")]
    assert sum(note.startswith(NOT_RUN) for note in notes) <= 6


def anchors(page):
    """The headings of a page, as GitHub and MkDocs make anchors of them."""
    titles = re.findall(r"^#+ (.+)$", _FENCED.sub("", page.read_text("utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere(page):
    for link in _LINK.findall(_FENCED.sub("", page.read_text("utf-8"))):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_picture_is_shown():
    linked = {link for page in PAGES.values() for link in _LINK.findall(page.read_text("utf-8"))}
    for picture in ROOT.glob("docs/*.png"):
        assert picture.name in linked, picture


def test_commands_exist(page):
    for _, _, code in blocks(page, "sh"):
        for line in code.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "watson-jax":
                check_flags("watson_jax/cli/__init__.py", words)
            for flag, module in itertools.pairwise(words):
                if flag == "-m" and module.partition(".")[0] in ("experiments", "notebooks"):
                    assert importlib.util.find_spec(module) is not None, module
                    check_flags(f"{module.replace('.', '/')}.py", words[words.index(module) + 1 :])


def check_flags(source, arguments):
    text = (ROOT / source).read_text("utf-8")
    for name in re.findall(r"--(?:no)?([\w-]+)", " ".join(arguments)):
        assert re.search(rf'"(--)?{name}"', text), f"{source} has no flag --{name}"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120
