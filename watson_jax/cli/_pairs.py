"""Which files are compared with which."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys
from pathlib import Path

from watson_jax.cli import UsageError
from watson_jax.files import first_few, plain
from watson_jax.image_files import SUFFIXES


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image and its reference.

    Attributes:
      image: the distorted image's path.
      reference: the original's path.
      name: the pair in tables and of its map, a path without suffix.
    """

    image: Path
    reference: Path
    name: str


def find_pairs(image: Path, reference: Path, *, all_pairs: bool) -> list[Pair]:
    """The pairs of two files or folders.

    Raises:
      UsageError: if one does not exist, one is a folder and the other none, or no names match.
    """
    for name, path in (("image", image), ("reference", reference)):
        if not path.exists():
            raise UsageError(
                f"The {name} must be a file or folder, got {plain(path)}, which is none."
            )
    if all_pairs:
        return [
            Pair(a, b, f"{key_a} {key_b}")
            for key_a, a in _images(image).items()
            for key_b, b in _images(reference).items()
        ]
    if image.is_dir() != reference.is_dir():
        folder = image if image.is_dir() else reference
        raise UsageError(
            f"Both must be files or both folders, and only {plain(folder)} is a folder; --all-pairs "
            "compares a file with each image in it."
        )
    if not image.is_dir():
        return [Pair(image, reference, image.name)]
    ours, theirs = _images(image), _images(reference)
    names = [name for name in ours if name in theirs]
    if not names:
        raise UsageError(
            f"The folders {plain(image)!r} and {plain(reference)!r} must hold images of the same names, "
            f"got {first_few(list(ours))} and {first_few(list(theirs))}."
        )
    for folder, only in (
        (image, ours.keys() - theirs.keys()),
        (reference, theirs.keys() - ours.keys()),
    ):
        if only:
            print(
                f"Left out of {plain(folder)}, without a partner: {first_few(sorted(only))}.",
                file=sys.stderr,
            )
    return [Pair(ours[name], theirs[name], name) for name in names]


def _images(path: Path) -> dict[str, Path]:
    """A file, or the images in a folder and its subfolders, by name without suffix."""
    if not path.is_dir():
        return {path.stem: path}
    found: dict[str, Path] = {}
    for parent, folders, files in os.walk(path):
        folders.sort()
        for file in sorted(files):
            whole = Path(parent, file)
            name = whole.relative_to(path)
            if any(part.startswith(".") for part in name.parts):
                continue
            if not file.lower().endswith(SUFFIXES) or not whole.is_file():
                continue
            key = pathlib.PurePath(name).with_suffix("").as_posix()
            if key in found:
                raise UsageError(
                    f"{plain(path)} must hold one image of a name, got {plain(found[key].name)} and "
                    f"{plain(file)}."
                )
            found[key] = whole
    if not found:
        raise UsageError(f"{plain(path)} holds no images; looked for {', '.join(SUFFIXES)}.")
    return found
