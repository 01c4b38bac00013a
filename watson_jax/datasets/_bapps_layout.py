"""How the files of BAPPS lie on a disk, and what may be wrong with them."""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib

import numpy as np
from jaxtyping import Float

from watson_jax.datasets._bad_files import bad_files_error
from watson_jax.files import first_few

URL = "https://perceptual-similarity.s3.us-west-2.amazonaws.com/dataset"


@dataclasses.dataclass(frozen=True)
class Subset:
    """One archive of BAPPS.

    Attributes:
      name: what it is called here.
      archive: the file's name below `URL`.
      path: the folder in which it is unpacked, below the one for the whole set.
      categories: the folders in it.
      images: the folders of images in each category.
      judgement: the folder of judgements in each category, a number between 0 and 1 in each file.
    """

    name: str
    archive: str
    path: str
    categories: tuple[str, ...]
    images: tuple[str, ...] = ("ref", "p0", "p1")
    judgement: str = "judge"


TRAIN = Subset("2afc-train", "twoafc_train.tar.gz", "2afc/train", ("traditional", "cnn", "mix"))
VAL = Subset(
    "2afc-val",
    "twoafc_val.tar.gz",
    "2afc/val",
    ("traditional", "cnn", "superres", "deblur", "color", "frameinterp"),
)
JND = Subset("jnd", "jnd.tar.gz", "jnd/val", ("traditional", "cnn"), ("p0", "p1"), "same")


@dataclasses.dataclass(frozen=True)
class Listing:
    """The complete files of a subset; records are named as their files are, in alphabetical order."""

    folder: pathlib.Path
    subset: Subset
    names: dict[str, list[str]]

    def image_paths(self, category: str, name: str) -> list[pathlib.Path]:
        """Returns the images of a record, in the order of `subset.images`."""
        return [self.folder / category / kind / f"{name}.png" for kind in self.subset.images]

    def read_shares(self) -> dict[str, Float[np.ndarray, " members"]]:
        """Reads all judgements, by category.

        Raises:
          ValueError: if files hold no single number in [0, 1]; it names the first and how many more.
        """
        kind = self.subset.judgement
        shares, bad = {}, []
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for category, names in self.names.items():
                paths = [self.folder / category / kind / f"{name}.npy" for name in names]
                numbers = list(pool.map(_read_share, paths))
                bad += [number for number in numbers if isinstance(number, str)]
                if not bad:
                    shares[category] = np.array(numbers, np.float32)
        if bad:
            raise bad_files_error(self.folder, bad)
        return shares


def find_subset(folder: str | os.PathLike[str], subset: Subset) -> pathlib.Path | None:
    """Returns the folder of the categories, complete or not; see `list_records` for where it looks."""
    folder = pathlib.Path(folder).expanduser()
    inner = subset.path.partition("/")[2]
    for candidate in (folder / subset.path, folder / "dataset" / subset.path, folder / inner):
        # The judgements tell 2AFC's `val` from JND's.
        if any((candidate / name / subset.judgement).is_dir() for name in subset.categories):
            return candidate.resolve()
    return None


def list_records(folder: str | os.PathLike[str], subset: Subset) -> Listing:
    """Finds the records of a subset.

    Args:
      folder: the one in which `subset.path` lies, or lies in `dataset/`, or whose last part lies.
      subset: which.

    Raises:
      FileNotFoundError: if folders or files are missing; it names the first and how many more.
    """
    root = find_subset(folder, subset)
    if root is None:
        raise FileNotFoundError(
            f"`folder` must hold BAPPS's {subset.path}, got {os.fspath(folder)!r}, which does not; "
            f"fetch {URL}/{subset.archive} and unpack it as {os.path.join(folder, subset.path)}."
        )
    names, missing = {}, []
    for category in subset.categories:
        kinds = {f"{category}/{kind}": ".png" for kind in subset.images}
        kinds[f"{category}/{subset.judgement}"] = ".npy"
        found = {kind: _stems(root / kind, suffix) for kind, suffix in kinds.items()}
        complete = functools.reduce(set.union, found.values())
        names[category] = sorted(complete)
        for kind, stems in found.items():
            if stems:
                missing += [f"{kind}/{stem}{kinds[kind]}" for stem in sorted(complete - stems)]
            else:
                missing.append(f"all of {kind}")
    if missing:
        raise FileNotFoundError(
            f"`folder` must hold every file of BAPPS's {subset.path}, got {root}, which lacks "
            f"{first_few(missing)}; unpack {subset.archive} again."
        )
    return Listing(root, subset, names)


def _stems(folder: pathlib.Path, suffix: str) -> set[str]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return set()
    # Some systems leave hidden files beside the real ones.
    return {n.removesuffix(suffix) for n in names if n.endswith(suffix) and n[0] != "."}


def _read_share(path: pathlib.Path) -> float | str:
    """Returns the number in a file, or the file's name and what is wrong with it."""
    name = "/".join(path.parts[-3:])
    try:
        number = float(np.asarray(np.load(path, allow_pickle=False)).item())
    except Exception:  # which one depends on where a file is damaged
        return f"{name} (not one number)"
    return number if 0 <= number <= 1 else f"{name} ({number:g} is outside [0, 1])"
