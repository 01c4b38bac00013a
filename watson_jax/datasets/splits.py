"""Which images are held out: by their names alone, so that others that come or go move none."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool


def held_out_by_name(
    names: Sequence[str], share: float, seed: int = 0
) -> Bool[np.ndarray, " names"]:
    """Whether each name belongs to the part that is held out, which is about `share` of them.

    One name at least is held out and one is not, if there are two; these two may move with others.
    """
    places = np.array([_place(name, seed) for name in names])
    held_out = places < share
    order = np.argsort(places)
    held_out[order[0]], held_out[order[-1]] = True, False
    return held_out


def _place(name: str, seed: int) -> float:
    """A number in [0, 1) that looks random."""
    digest = hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:4]) / 2**32
