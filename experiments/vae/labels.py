"""The digits that the images of `digits` and `mnist` show, in the order in which `data` reads them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from experiments._common.cli import check_choice
from experiments.vae import data
from experiments.vae.idx import read_idx_in

LABELLED = ("digits", "mnist")
IDX_FILES = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}


@dataclasses.dataclass(frozen=True)
class Labels:
    """A digit from 0 to 9 for each of the images."""

    train: UInt8[np.ndarray, " train"]
    test: UInt8[np.ndarray, " test"]


def load_labels(name: str, data_dir: str | os.PathLike[str] | None = None) -> Labels:
    """Reads the labels of a data set.

    Args:
      name: "digits" or "mnist".
      data_dir: as for `load_images`.

    Raises:
      ValueError: if there are no labels for the data set, or a file is not what it should be.
      OSError: if files are missing.
    """
    check_choice("The data set with labels", name, LABELLED)
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits().target.astype(np.uint8)
        shuffled = digits[np.random.default_rng(0).permutation(len(digits))]
        return Labels(*np.split(shuffled, [data.NUM_TRAIN_DIGITS]))
    folder = data.tfds_folder("MNIST", data_dir)
    read = _read_tfds if (folder / "mnist").is_dir() else _read_idx_split
    return Labels(*(read(folder, split) for split in ("train", "test")))


def _read_tfds(folder: Path, split: str) -> UInt8[np.ndarray, " number"]:
    import tensorflow_datasets as tfds

    source = tfds.data_source(
        "mnist",
        split=split,
        data_dir=folder,
        download=False,
        decoders={"image": tfds.decode.SkipDecoding()},
    )
    return np.fromiter((example["label"] for example in source), np.uint8, len(source))


def _read_idx_split(folder: Path, split: str) -> UInt8[np.ndarray, " number"]:
    return read_idx_in(folder, IDX_FILES[split], what="labels", dimensions=1)
