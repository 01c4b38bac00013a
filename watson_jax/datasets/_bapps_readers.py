"""BAPPS in memory, from its unpacked folders or from TensorFlow Datasets."""

from __future__ import annotations

import bisect
import io
import itertools
import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from watson_jax.datasets._bapps_layout import JND, TRAIN, VAL, Listing, Subset, list_records
from watson_jax.datasets._decoded import Reader, load_decoded
from watson_jax.datasets._jnd_data import JndData
from watson_jax.datasets._two_afc_data import TwoAfcData

if TYPE_CHECKING:
    from watson_jax.datasets.bapps import Bapps

_Folder = str | os.PathLike[str]
_Decoded = tuple[
    UInt8[np.ndarray, "records images 64 64 3"],
    Float[np.ndarray, " records"],
    Mapping[str, Int[np.ndarray, " members"]],
]


def load_bapps(
    folder: _Folder, subset: Literal["train", "val"], *, cache_dir: _Folder | None = None
) -> TwoAfcData:
    """Reads BAPPS's judgements of which of two distorted patches is closer to a reference.

    Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a
    Perceptual Metric", CVPR 2018. Two people judged each triplet of "train" (151k), five each of "val"
    (36k). Fetch `twoafc_train.tar.gz` (5.3 GB) or `twoafc_val.tar.gz` (1.1 GB) from
    https://perceptual-similarity.s3.us-west-2.amazonaws.com/dataset/ and unpack it in a folder `2afc`.
    The images carry no licence, so this library passes none of them on.

    As in the authors' evaluation, images are shrunk to 64×64 with Pillow's bilinear filter. This takes
    minutes, once: the result is kept in the cache (`WATSON_JAX_CACHE`, by default the user's cache
    folder) and mapped into memory from there, 5.6 GB for "train" and 1.3 GB for "val". Another folder
    and added or removed files are noticed; after changing a file under its old name, delete the cache's
    folder `decoded`.

    Args:
      folder: the folder that holds `2afc`, or that one, or one in which both lie in `dataset`.
      subset: "train" or "val".
      cache_dir: a folder to keep the decoded images in instead.

    Returns:
      Bytes `[records, 64, 64, 3]` and preferences in [0, 1], ordered by category and file name. `first`
      are BAPPS's `p0`, `second` its `p1`, `preference` its `judge`; its categories are kept.

    Raises:
      ValueError: if there is no such subset, or images or judgements are damaged.
      FileNotFoundError: if files are missing, found out before anything is decoded.
      ImportError: if Pillow or tqdm is missing.
      OSError: if the cache's disk is too small.
    """
    return _two_afc(*_from_folder(folder, _two_afc_subset(subset), cache_dir))


def load_bapps_jnd(folder: _Folder, *, cache_dir: _Folder | None = None) -> JndData:
    """Reads BAPPS's judgements of whether a patch and its distorted version look the same.

    Three people judged each of the 9.6k pairs. Like `load_bapps`, but for `jnd.tar.gz` (0.2 GB).

    Args:
      folder: the folder that holds `jnd`, or that one, or one in which both lie in `dataset`.
      cache_dir: a folder to keep the decoded images in instead of the library's cache.

    Returns:
      Bytes `[records, 64, 64, 3]` and the shares of people in [0, 1] who saw no difference.

    Raises:
      ValueError: if images or judgements are damaged.
      FileNotFoundError: if files are missing.
      ImportError: if Pillow or tqdm is missing.
      OSError: if the cache's disk is too small.
    """
    return _jnd(*_from_folder(folder, JND, cache_dir))


def load_bapps_tfds(
    data_dir: _Folder, subset: Literal["train", "val"], *, cache_dir: _Folder | None = None
) -> TwoAfcData:
    """Reads what `load_bapps` reads, in the same order, as prepared by TensorFlow Datasets.

    See `watson_jax.datasets.bapps` for how to prepare it; TensorFlow itself is not needed.

    Args:
      data_dir: TensorFlow Datasets' folder, the one that holds `bapps`.
      subset: "train" or "val".
      cache_dir: a folder to keep the decoded images in instead of the library's cache.

    Returns:
      As `load_bapps`.

    Raises:
      ValueError: if there is no such subset, it cannot be read at random, or images are damaged.
      FileNotFoundError: if it has not been prepared.
      ImportError: if TensorFlow Datasets, Pillow or tqdm is missing.
      OSError: if the cache's disk is too small.
    """
    return _two_afc(*_from_tfds(data_dir, _two_afc_subset(subset), cache_dir))


def load_bapps_jnd_tfds(data_dir: _Folder, *, cache_dir: _Folder | None = None) -> JndData:
    """Reads what `load_bapps_jnd` reads, as prepared by TensorFlow Datasets; see `load_bapps_tfds`."""
    return _jnd(*_from_tfds(data_dir, JND, cache_dir))


def _two_afc_subset(subset: str) -> Subset:
    if subset not in ("train", "val"):
        raise ValueError(f'`subset` must be "train" or "val", got {subset!r}.')
    return TRAIN if subset == "train" else VAL


def _two_afc(images, shares, categories) -> TwoAfcData:
    return TwoAfcData(images[:, 0], images[:, 1], images[:, 2], shares, categories)


def _jnd(images, shares, categories) -> JndData:
    return JndData(images[:, 0], images[:, 1], shares, categories)


def _from_folder(folder: _Folder, subset: Subset, cache_dir: _Folder | None) -> _Decoded:
    listing = list_records(folder, subset)
    records = [(category, name) for category, names in listing.names.items() for name in names]
    images, shares = load_decoded(
        f"bapps-{subset.name}",
        listing.folder,
        itertools.chain.from_iterable(records),
        (len(records), len(subset.images)),
        lambda: _folder_reader(listing, records),
        cache_dir,
    )
    sizes = {category: len(names) for category, names in listing.names.items()}
    return images, shares, _ranges(sizes)


def _folder_reader(listing: Listing, records: list[tuple[str, str]]) -> Reader:
    # All judgements first: they take seconds, so that damaged ones are known before the images' turn.
    shares = np.concatenate(list(listing.read_shares().values()))

    def read(index: int) -> tuple[Mapping[str, pathlib.Path], float]:
        paths = listing.image_paths(*records[index])
        return {str(path.relative_to(listing.folder)): path for path in paths}, shares[index]

    return read


def _from_tfds(data_dir: _Folder, subset: Subset, cache_dir: _Folder | None) -> _Decoded:
    from watson_jax.datasets.bapps import Bapps

    folder = pathlib.Path(data_dir).expanduser()
    builder = Bapps(config=subset.name, data_dir=folder)
    if not builder.is_prepared():
        raise FileNotFoundError(
            f"`data_dir` must hold bapps/{subset.name}, got {str(folder)!r}, which does not; prepare "
            f'it with `Bapps(config="{subset.name}", data_dir="{folder}").download_and_prepare('
            'file_format="array_record")` from watson_jax.datasets.bapps.'
        )
    prepared = pathlib.Path(builder.data_dir).resolve()
    sizes = {name: builder.info.splits[name].num_examples for name in subset.categories}
    images, shares = load_decoded(
        f"bapps-{subset.name}",
        prepared,
        (f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in sorted(prepared.iterdir())),
        (sum(sizes.values()), len(subset.images)),
        lambda: _tfds_reader(builder, subset, sizes),
        cache_dir,
    )
    return images, shares, _ranges(sizes)


def _tfds_reader(builder: Bapps, subset: Subset, sizes: dict[str, int]) -> Reader:
    import tensorflow_datasets as tfds

    # Pillow decodes and shrinks both readers' images, so that they agree to the bit.
    decoders = {kind: tfds.decode.SkipDecoding() for kind in subset.images}
    try:
        sources = [builder.as_data_source(split=name, decoders=decoders) for name in sizes]
    except NotImplementedError as error:
        raise ValueError(
            f"`data_dir` must hold bapps/{subset.name} in a format to be read at random, got "
            f"{builder.info.file_format.value}; prepare it anew as `array_record`."
        ) from error
    starts = [0, *itertools.accumulate(sizes.values())]

    def read(index: int) -> tuple[Mapping[str, io.BytesIO], float]:
        which = bisect.bisect_right(starts, index) - 1
        record = sources[which][index - starts[which]]
        place = f"{subset.categories[which]}/{record['id'].decode()}"
        return {f"{place}/{kind}": io.BytesIO(record[kind]) for kind in subset.images}, record[
            subset.judgement
        ]

    return read


def _ranges(sizes: Mapping[str, int]) -> dict[str, Int[np.ndarray, " members"]]:
    ends = itertools.accumulate(sizes.values())
    return {name: np.arange(e - n, e) for (name, n), e in zip(sizes.items(), ends, strict=True)}
