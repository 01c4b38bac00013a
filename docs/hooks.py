"""What the site needs beyond its plugins: pages that lie outside of `docs/`, and formulas as MathML."""

import html
import logging
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

_LOG = logging.getLogger(f"mkdocs.hooks.{__name__}")
ROOT = Path(__file__).parents[1]
PAGES = (
    *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("notebooks/*.ipynb"))),
    "watson_jax/packaged/MODEL_CARD.md",
    "CHANGELOG.md",
)


@event_priority(100)  # before the plugin that makes pages of notebooks
def on_files(files, config):
    """Adds them under the paths that they have in the repository."""
    for path in PAGES:
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links from `docs/` to these pages, `../CHANGELOG.md` in the repository, lose the `../`."""
    if "/" not in page.file.src_uri:
        for path in PAGES:
            markdown = markdown.replace(f"](../{path}", f"]({path}")
    return markdown


def on_page_content(content, page, config, files):
    """Formulas become MathML here, so that pages need no script and nothing from another host."""

    def formula(match):
        display = "block" if match[1] == "div" else "inline"
        mathml = convert(html.unescape(match[2]), display=display)
        if "\\" in mathml or "<mi>&</mi>" in mathml:  # unknown to latex2mathml
            _LOG.warning("Formula '%s' in '%s' cannot be shown.", match[2], page.file.src_uri)
        return mathml

    return _FORMULA.sub(formula, content)


_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
