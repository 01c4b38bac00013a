"""A comparison as one HTML file that needs no network and no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.vae.compare_table import Table

_STYLE = """
body { margin: 2rem auto; max-width: 1160px; padding: 0 1rem; color: #222; background: #fff;
       font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
nav a { margin-right: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right;
         font-variant-numeric: tabular-nums; white-space: nowrap; }
th:first-child { text-align: left; font-weight: normal; }
thead th { border-bottom: 2px solid #222; vertical-align: bottom; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
figcaption, .note, dd { color: #555; } dt { margin-top: .5rem; }
""".strip()


def write_report(
    path: Path,
    *,
    title: str,
    table: Table,
    meanings: Mapping[str, str],
    pictures: Mapping[Path, str],
    settings: Mapping[str, Mapping[str, Any]],
    versions: Mapping[str, str],
) -> None:
    """Writes the report.

    Args:
      path: the file.
      title: at its head.
      table: of numbers.
      meanings: a sentence for each measure.
      pictures: PNG files, in order, and the sentence below each.
      settings: of each run, by its folder.
      versions: of the libraries and the device.
    """
    sections = {
        "Numbers": _table(table.cells()) + _paragraphs(table.notes) + _definitions(meanings),
        "Pictures": "\n".join(_picture(file, text) for file, text in pictures.items()),
        "Runs": _settings(settings),
        "Versions": _table([["", "in this comparison"], *([k, v] for k, v in versions.items())]),
    }
    links = " ".join(f'<a href="#{name.lower()}">{name}</a>' for name in sections)
    body = "\n".join(
        f'<h2 id="{name.lower()}">{name}</h2>\n{content}' for name, content in sections.items()
    )
    path.write_text(
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f'<h1>{_text(title)}</h1>\n<p class="note">{_text(table.title)}</p>\n'
        f"<nav>{links}</nav>\n{body}\n</body>\n</html>\n",
        encoding="utf-8",
    )


def _text(value: Any) -> str:
    return html.escape(str(value))


def _table(rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any], tag: str, scope: str) -> str:
        first = f'<th scope="{scope}">{_text(cells[0])}</th>'
        rest = "".join(f"<{tag}>{_text(cell)}</{tag.split()[0]}>" for cell in cells[1:])
        return f"<tr>{first}{rest}</tr>"

    head = line(rows[0], 'th scope="col"', "col")
    body = "\n".join(line(row, "td", "row") for row in rows[1:])
    return (
        f'<div class="wide"><table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def _paragraphs(texts: Sequence[str]) -> str:
    return "\n".join(f'<p class="note">{_text(text)}</p>' for text in texts)


def _definitions(meanings: Mapping[str, str]) -> str:
    items = "\n".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in meanings.items())
    return f"<details><summary>What the numbers mean</summary>\n<dl>\n{items}\n</dl></details>"


def _picture(file: Path, text: str) -> str:
    content = base64.b64encode(file.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{_text(text)}" src="data:image/png;base64,{content}">'
        f"<figcaption>{_text(text)}</figcaption></figure>"
    )


def _settings(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """A column for each run; what differs comes first."""

    def shown(value: Any) -> Any:
        return f"{value:.4g}" if isinstance(value, float) else value

    fields = list(dict.fromkeys(field for record in settings.values() for field in record))
    rows = [
        [field, *(shown(record.get(field)) for record in settings.values())] for field in fields
    ]
    rows.sort(key=lambda row: len(set(map(str, row[1:]))) == 1)
    return _table([["", *settings], *rows])
