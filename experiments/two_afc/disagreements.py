"""Where two losses disagree: the picture of the cases that speak for either (the paper's figure 1)."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.patches import Rectangle

from experiments._common.figures import DPI, image_figure, save_png, short
from experiments.two_afc.data import to_images
from watson_jax.datasets import TwoAfcData

_PATCH = 128  # aimed-at side of a shown patch; this and what follows in pixels
_GAP, _BETWEEN, _BELOW = 10, 44, 66  # beside a patch, between the halves, below a patch
_LINE = 17
_FLAT = 12  # of 255, standard deviation over an image
_AGREES, _OPPOSES = "#007A5A", "#C04A00"  # Okabe and Ito's green and vermilion, darker for text
_ORDER = ("first", "reference", "second")


@dataclasses.dataclass(frozen=True)
class Choices:
    """What a loss chooses.

    Attributes:
      name: of the loss.
      margin: (d0 - d1) / (|d0| + |d1|) in [-1, 1], positive where the second image is closer.
      agrees: whether most people choose the same.
      opposes: whether most people choose the other; neither where people or the loss are undecided.
    """

    name: str
    margin: Float[np.ndarray, " triplets"]
    agrees: Bool[np.ndarray, " triplets"]
    opposes: Bool[np.ndarray, " triplets"]


def choices(
    name: str,
    d0: Float[np.ndarray, " triplets"],
    d1: Float[np.ndarray, " triplets"],
    preference: Float[np.ndarray, " triplets"],
) -> Choices:
    """Compares a loss's choices with those of most people.

    Args:
      name: of the loss.
      d0: distances to the first image.
      d1: distances to the second image.
      preference: share of people who found the second closer.
    """
    total = np.abs(d0) + np.abs(d1)
    margin = np.divide(d0 - d1, total, out=np.zeros_like(total), where=total > 0)
    same_side = np.sign(margin) * np.sign(preference - 0.5)
    return Choices(short(name), margin, same_side > 0, same_side < 0)


def worst_cases(
    right: Choices, wrong: Choices, data: TwoAfcData, number: int
) -> Int[np.ndarray, " cases"]:
    """The triplets where one loss agrees with people and the other opposes them most strongly.

    Strong is where people are decided and the other loss is so for the wrong image. References with
    something to see come first: of flat ones, opinions of whole photographs say little. No pair of
    images comes twice, and no combination of categories if there are enough of them.
    """
    candidates = np.flatnonzero(right.agrees & wrong.opposes)
    is_flat = np.array([data.reference[triplet].std() < _FLAT for triplet in candidates], bool)
    strength = np.abs(2 * data.preference - 1) * np.abs(wrong.margin)
    seen: set[Any] = set()
    cases: list[int] = []
    repeated: list[int] = []
    for triplet in candidates[np.lexsort((-strength[candidates], is_flat))]:
        if len(cases) == number:
            break
        pair = frozenset(np.asarray(x[triplet]).tobytes() for x in (data.first, data.second))
        if pair in seen:
            continue
        categories = tuple(_categories(data, triplet))
        (repeated if categories in seen else cases).append(int(triplet))
        seen |= {pair, categories}
    return np.array([*cases, *repeated][:number], int)


def save_disagreements(
    path: Path,
    data: TwoAfcData,
    a: Choices,
    b: Choices,
    *,
    color: str,
    title: str,
    note: str = "",
    rows: int = 4,
) -> None:
    """Draws cases in which one loss chooses as people do and the other does not, in two columns.

    Args:
      path: the file.
      data: the triplets.
      a: a loss, right in the left column.
      b: another, right in the right column.
      color: "rgb" or "gray", as the losses saw the images.
      title: of the figure.
      note: a sentence at its end.
      rows: cases in each column at most.
    """
    halves = [
        (right, wrong, worst_cases(right, wrong, data, rows)) for right, wrong in ((a, b), (b, a))
    ]
    layout = _Layout(data.reference.shape[1:3], max(1, *(len(cases) for *_, cases in halves)))
    canvas = np.ones((*layout.shape, 3), np.float32)
    for half, (*_, cases) in enumerate(halves):
        for row, triplet in enumerate(cases):
            for column, name in enumerate(_ORDER):
                patch = to_images(getattr(data, name)[triplet], color)
                canvas[layout.place(half, row, column)] = np.asarray(patch)

    left = 26 + 7 * max(len(name) for name in ("people", a.name, b.name))
    margin = {"left": left, "right": 20, "bottom": 44, "top": 108}
    figure, axes = image_figure(canvas, title="", scale=layout.scale, margin=margin)
    axes.axis("off")
    figure.suptitle(title, y=1 - 10 / (DPI * figure.get_figheight()), va="top")
    write = functools.partial(axes.text, ha="center", va="center", fontsize=9)
    for half, (right, wrong, cases) in enumerate(halves):
        share = 100 * np.mean(right.agrees & wrong.opposes)
        write(
            *layout.above(half, 1, 46),
            f"{right.name} agrees with most people,\n"
            f"{wrong.name} does not: {share:.1f} % of all triplets",
            fontsize=10,
        )
        for column, name in enumerate(_ORDER if len(cases) else ()):
            write(*layout.above(half, column, 12), name)
        for row, triplet in enumerate(cases):
            for column in range(len(_ORDER)):  # a frame, so that white patches have an edge
                axes.add_patch(layout.frame(half, row, column))
            second = float(data.preference[triplet])
            for column, people in ((0, 1 - second), (2, second)):
                weight = "bold" if people > 0.5 else "normal"
                write(*layout.below(half, row, column, 0), f"{100 * people:.0f} %", weight=weight)
            for line, loss in enumerate((a, b), start=1):
                column = 2 if loss.margin[triplet] > 0 else 0
                mark, ink = ("✓", _AGREES) if loss.agrees[triplet] else ("✗", _OPPOSES)
                place = layout.below(half, row, column, line)
                write(*place, mark, color=ink, weight="bold", fontsize=12)
            categories = " and\n".join(_categories(data, triplet)[:2])
            place = layout.below(half, row, 1, 0.9)
            write(*place, categories, color="#555555", fontsize=8, linespacing=1.4)
    for row in range(layout.rows):
        for line, name in enumerate(("people", a.name, b.name)):
            write(*layout.beside(row, line), name, ha="right")
    legend = (
        "Marks are below the image that a loss finds closer: ✓ as most people do, ✗ unlike them."
    )
    write(*layout.foot(left), f"{legend}\n{note}".strip())
    save_png(figure, path)


class _Layout:
    """Where things are, in pixels of the patches, each of which is shown as `scale` by `scale`."""

    def __init__(self, side: tuple[int, ...], rows: int):
        self.height, self.width = side
        self.scale = max(1, round(_PATCH / max(side)))
        self.rows = rows
        gap, between, below = (-(-length // self.scale) for length in (_GAP, _BETWEEN, _BELOW))
        self._column = self.width + gap
        self._half = 3 * self._column - gap + between
        self._row = self.height + below
        self.shape = (rows * self._row, 2 * self._half - between)

    def place(self, half: int, row: int, column: int) -> tuple[slice, slice]:
        """A patch."""
        x, y = self._corner(half, row, column)
        return slice(y, y + self.height), slice(x, x + self.width)

    def frame(self, half: int, row: int, column: int) -> Rectangle:
        """Around a patch."""
        x, y = self._corner(half, row, column)
        box = (x - 0.5, y - 0.5), self.width, self.height
        return Rectangle(*box, fill=False, edgecolor="#999999", linewidth=0.8, clip_on=False)

    def above(self, half: int, column: int, distance: float) -> tuple[float, float]:
        """A text above the first patch of a column."""
        x, y = self._corner(half, 0, column)
        return x + self.width / 2 - 0.5, y - distance / self.scale

    def below(self, half: int, row: int, column: int, line: float) -> tuple[float, float]:
        """A line of text below a patch."""
        x, y = self._corner(half, row, column)
        down = _LINE * (line + 0.7) / self.scale
        return x + self.width / 2 - 0.5, y + self.height + down

    def beside(self, row: int, line: float) -> tuple[float, float]:
        """The end of the name of a line of text."""
        _, y = self.below(0, row, 0, line)
        return -12 / self.scale, y

    def foot(self, left_margin: int) -> tuple[float, float]:
        """The text at the end."""
        return (self.shape[1] - left_margin / self.scale) / 2, self.shape[0] + 18 / self.scale

    def _corner(self, half: int, row: int, column: int) -> tuple[int, int]:
        return half * self._half + column * self._column, row * self._row


def _categories(data: TwoAfcData, triplet: int) -> list[str]:
    return [name for name, members in data.categories.items() if np.any(members == triplet)]
