"""Human judgements by name, and the images that a loss sees of them."""

import dataclasses
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

import watson_jax as wj
from experiments._common.cli import UserError, check_choice, user_errors
from watson_jax.datasets import JndData, TwoAfcData

SPLITS = {
    "photos-2afc": ("train", "val-scenes", "val-types"),
    "bapps": ("train", "val"),
    "csv": ("train", "val"),
}
JND_SPLITS = {"bapps-jnd": ("val",)}
DATA_NAMES = tuple(SPLITS)
IMAGE_SIZE = (64, 64)  # of all of them but csv

# What a reader of scores has to know about the people.
NOTES = {
    "photos-2afc": "People's choices are expected ones, from KADID-10k's opinions of whole photographs."
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CsvTable:
    """A file of own judgements.

    Attributes:
      path: a CSV or Parquet file as `watson_jax.datasets.csv_files` describes them.
      size: side of the square that is made of each image; None: images as they are.
      fit: "crop" or "resize".
      lower_is_better: of opinion scores.
    """

    path: str
    size: int | None = None
    fit: str = "crop"
    lower_is_better: bool = False

    def has_scores(self) -> bool:
        """Whether the file has opinion scores rather than choices."""
        from watson_jax.datasets.csv_files import has_scores

        with user_errors(rename=self.flags):
            return has_scores(self.path)

    @property
    def flags(self) -> dict[str, str]:
        """Names of arguments, by those of the flags."""
        return {f"`{name}`": f"--csv_{name}" for name in ("size", "fit", "lower_is_better")}


def csv_table(
    data: str, path: str | None, size: int | None, fit: str, lower_is_better: bool
) -> CsvTable | None:
    """The file that the flags name; raises a `UserError` if they do not belong together."""
    check_choice("--data", data, (*SPLITS, *JND_SPLITS))
    check_choice("--csv_fit", fit, ("crop", "resize"))
    if (data == "csv") != (path is not None):
        raise UserError(f"--csv must name a file with --data=csv and only then, got --data={data}.")
    if path is None:
        if (size, fit, lower_is_better) != (None, "crop", False):
            raise UserError(
                "--csv_size, --csv_fit and --csv_lower_is_better must be set with --data=csv only, got "
                f"--data={data}."
            )
        return None
    if not Path(path).expanduser().is_file():
        raise UserError(f"--csv must be a CSV or Parquet file, got {path!r}, where there is none.")
    return CsvTable(path=path, size=size, fit=fit, lower_is_better=lower_is_better)


def check_bapps_dir(data: str, folder: str | None) -> None:
    """Raises a `UserError` if a folder of BAPPS is named for other data."""
    if folder is not None and not data.startswith("bapps"):
        raise UserError(f"--bapps_dir must be set with --data=bapps only, got --data={data}.")


def load_data(
    name: str,
    *,
    color: str,
    data_dir: str | os.PathLike[str] | None = None,
    splits: Collection[str] | None = None,
    table: CsvTable | None = None,
) -> dict[str, TwoAfcData]:
    """Reads judgements of which of two images is closer to a reference.

    Args:
      name: "photos-2afc" (needs no files), "bapps" or "csv".
      color: "rgb" or "gray". Images are bytes of three channels either way; photos-2afc leaves out what
        only colour shows.
      data_dir: for "bapps": the folder with its unpacked archives, or the one of TensorFlow Datasets.
      splits: which ones, of `SPLITS[name]`; None: all. "csv" has "all", too.
      table: for "csv": the file.

    Returns:
      The data of each split, by its name.

    Raises:
      ValueError: if a name is unknown, `data_dir` is missing, or files are damaged.
      OSError: if files cannot be found.
    """
    check_choice("--data", name, SPLITS)
    if name == "csv":
        if table is None:
            raise ValueError("--csv must name a file with --data=csv.")
        return {split: _load_csv(table, split) for split in splits or SPLITS[name]}
    return {
        split: _load_two_afc(name, split, color, data_dir)
        for split in _chosen(splits, SPLITS[name])
    }


def load_jnd_data(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    splits: Collection[str] | None = None,
) -> dict[str, JndData]:
    """Reads judgements of whether two images look the same; the arguments are those of `load_data`."""
    from watson_jax.datasets import load_bapps_jnd, load_bapps_jnd_tfds

    check_choice("--data", name, JND_SPLITS)
    _chosen(splits, JND_SPLITS[name])
    folder = _bapps_folder(data_dir)
    load = load_bapps_jnd_tfds if _is_prepared(folder, "jnd") else load_bapps_jnd
    return {"val": load(folder)}


def to_images(
    values: UInt8[Array | np.ndarray, "*batch height width 3"], color: str
) -> Float[Array, "*batch height width channels"]:
    """Turns bytes into floats in [0, 1]: as they are with "rgb", their luma (JPEG's) with "gray"."""
    images = jnp.asarray(values).astype(jnp.float32) / 255
    return images if color == "rgb" else wj.rgb_to_ycbcr(images)[..., :1]


def padded_batches(number: int, size: int) -> Iterator[tuple[Int[np.ndarray, " size"], int]]:
    """Indices in batches of one size, so that there is one program, and how many of each count.

    The last batch is filled up with the last record.
    """
    size = min(size, number)
    for start in range(0, number, size):
        yield np.minimum(np.arange(start, start + size), number - 1), min(size, number - start)


def _load_two_afc(
    name: str, split: str, color: str, data_dir: str | os.PathLike[str] | None
) -> TwoAfcData:
    if name == "photos-2afc":
        from watson_jax.datasets import load_photos_2afc

        return load_photos_2afc(split, color=color)
    from watson_jax.datasets import load_bapps, load_bapps_tfds

    folder = _bapps_folder(data_dir)
    load = load_bapps_tfds if _is_prepared(folder, f"2afc-{split}") else load_bapps
    return load(folder, "train" if split == "train" else "val")


def _load_csv(table: CsvTable, split: str) -> TwoAfcData:
    from watson_jax.datasets.csv_files import has_scores, load_scores_csv, load_triplets_csv

    options: Any = {"split": split, "size": table.size, "fit": table.fit}
    if not has_scores(table.path):
        if table.lower_is_better:
            raise ValueError(
                f"`lower_is_better` must be set for opinion scores only, and {table.path} has choices."
            )
        return load_triplets_csv(table.path, **options)
    scores = load_scores_csv(table.path, lower_is_better=table.lower_is_better, **options)
    return scores.triplets()


def _chosen(splits: Collection[str] | None, known: Collection[str]) -> Collection[str]:
    for split in splits or ():
        check_choice("--splits", split, known)
    return known if splits is None else splits


def _bapps_folder(data_dir: str | os.PathLike[str] | None) -> Path:
    if data_dir is None:
        raise ValueError("--bapps_dir must name the folder of BAPPS's unpacked archives.")
    return Path(data_dir).expanduser()


def _is_prepared(folder: Path, config: str) -> bool:
    """Whether this is a folder of TensorFlow Datasets with a version of BAPPS in it."""
    return any(folder.glob(f"bapps/{config}/*.*.*"))
