"""Tables of text."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Container, Iterable, Sequence


def format_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: Container[int] = (0,),
    width: int | None = None,
) -> str:
    """Lays text out in columns.

    Args:
      head: names of the columns; a line break makes a second line.
      rows: the cells.
      left: the columns that are flush left; the others, of numbers, are flush right.
      width: in characters; cells of columns that are flush left go to several lines where that is
        needed. None: as wide as it needs to be, for files and pipes.

    Returns:
      Lines without markup and without spaces at their ends.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    most = max(name.count("\n") for name in head)
    for index, name in enumerate(head):
        wraps = width is not None and index in left
        table.add_column(
            Text("\n" * (most - name.count("\n")) + name),
            justify="left" if index in left else "right",
            no_wrap=not wraps,
            overflow="fold",  # and nothing is cut off
        )
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(width=width or sys.maxsize, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def terminal_width() -> int | None:
    """Characters in a line of the terminal, None if stdout is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
