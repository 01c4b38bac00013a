"""BAPPS for TensorFlow Datasets: importing this module makes `bapps` known there.

Berkeley-Adobe perceptual patch similarity: which of two distorted patches is closer to a reference
(2AFC), and whether a distortion is seen at all (JND). Zhang, Isola, Efros, Shechtman, Wang, "The
Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018.

There is one configuration for each of the authors' archives, with a split for each category:

| configuration | splits | download |
|---|---|---|
| `bapps/2afc-val` | `traditional`, `cnn`, `superres`, `deblur`, `color`, `frameinterp` | 1.1 GB |
| `bapps/2afc-train` | `traditional`, `cnn`, `mix` | 5.3 GB |
| `bapps/jnd` | `traditional`, `cnn` | 0.2 GB |

Prepare one and read it, both without TensorFlow:

```python
import tensorflow_datasets as tfds
from watson_jax.datasets.bapps import Bapps

Bapps(config="2afc-val").download_and_prepare(file_format="array_record")
tfds.data_source("bapps/2afc-val", split="traditional")[0]["judge"]
```

Formats other than `array_record` need TensorFlow, and so does the command `tfds build` (which finds this
module by `--imports=watson_jax.datasets.bapps`). The archive, its unpacked files and the prepared ones
each take about the space of the download. Nothing is downloaded if `manual_dir` of
`tfds.download.DownloadConfig` holds the archive or the folder unpacked from it.

The authors publish no checksums, and TensorFlow Datasets checks none where it knows none: a file that
was cut short is noticed as it is unpacked. `DownloadConfig(register_checksums=True)` records what was
downloaded in `checksums.tsv` beside this module; from then on every download has to be the same. The
images carry no licence: they are for your own use, and this package passes none of them on.
"""

import functools
import gzip
import os
import pathlib
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from watson_jax.datasets._bapps_layout import (
    JND,
    TRAIN,
    URL,
    VAL,
    Listing,
    Subset,
    find_subset,
    list_records,
)

try:
    import tensorflow_datasets as tfds
except ImportError as error:
    raise ImportError(
        "watson_jax.datasets.bapps needs tensorflow-datasets; "
        "install the extra with `pip install 'watson-jax[experiments]'`."
    ) from error

_Examples = Callable[[], Iterator[tuple[str, dict[str, Any]]]]

_SUBSETS = {subset.name: subset for subset in (TRAIN, VAL, JND)}
_RECORDS_PER_FILE = 8192  # about 250 MB


# Not GeneratorBasedBuilder: that one shuffles, and needs TensorFlow to do so beyond 1 GB.
class Bapps(tfds.core.ShardBasedBuilder):
    """The builder of `bapps`.

    Features are named after the authors' folders: `ref` (not in `jnd`), `p0` and `p1` are images as they
    were published; `judge` is the share of people in [0, 1] who found `p1` closer, `same` the share who
    saw no difference; `id` is the name of the files. Splits are in the order of these names.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The files of 2018."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=VAL.name, description="Two alternatives, five people each."),
        tfds.core.BuilderConfig(name=TRAIN.name, description="Two alternatives, two people each."),
        tfds.core.BuilderConfig(name=JND.name, description="Same or not, three people each."),
    ]
    # Where TensorFlow Datasets would find it itself, with a package that it does not install.
    code_path = tfds.core.Path(__file__)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Not needed, as files are downloaded from {URL}; but an archive that you have already, or the "
        "folders `2afc` or `jnd` unpacked from it, may lie here."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        subset = self._subset
        images = {kind: tfds.features.Image(encoding_format="png") for kind in subset.images}
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "Berkeley-Adobe perceptual patch similarity: people's judgements of distorted patches."
            ),
            features=tfds.features.FeaturesDict(
                {"id": tfds.features.Text(), **images, subset.judgement: np.float32}
            ),
            homepage="https://github.com/richzhang/PerceptualSimilarity",
            citation=_CITATION,
            license="No licence is given for the images.",
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Sequence[_Examples]]:
        listing = _obtain(self._subset, dl_manager)
        shares = listing.read_shares()
        return {
            category: [
                functools.partial(
                    _examples, listing, category, slice(i, i + _RECORDS_PER_FILE), shares[category]
                )
                for i in range(0, len(names), _RECORDS_PER_FILE)
            ]
            for category, names in listing.names.items()
        }

    @property
    def _subset(self) -> Subset:
        return _SUBSETS[self.builder_config.name]


def _examples(
    listing: Listing, category: str, part: slice, shares: np.ndarray
) -> Iterator[tuple[str, dict[str, Any]]]:
    subset = listing.subset
    for name, share in zip(listing.names[category][part], shares[part], strict=True):
        # Paths, not pixels, which TensorFlow Datasets could only encode by means of TensorFlow.
        paths = map(os.fspath, listing.image_paths(category, name))
        images = dict(zip(subset.images, paths, strict=True))
        yield f"{category}/{name}", {"id": name, **images, subset.judgement: share}


def _obtain(subset: Subset, dl_manager: tfds.download.DownloadManager) -> Listing:
    """Finds the files, unpacked or not, in the manual folder, or downloads them."""
    try:
        manual = pathlib.Path(dl_manager.manual_dir)
    except AssertionError:  # there is no such folder, or it is empty
        manual = None
    if manual and find_subset(manual, subset):
        return list_records(manual, subset)
    if manual and (manual / subset.archive).is_file():
        archive = manual / subset.archive
    else:
        archive = pathlib.Path(dl_manager.download(f"{URL}/{subset.archive}"))
    unpacked = pathlib.Path(dl_manager.download_dir, "extracted", f"bapps-{archive.name}")
    # TensorFlow Datasets' own unpacking needs TensorFlow.
    if not unpacked.exists():
        _unpack(archive, unpacked)
    return list_records(unpacked, subset)


def _unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    half = folder.with_name(folder.name + ".part")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    try:
        with tarfile.open(archive, "r|*") as members:
            for member in members:
                members.extract(member, half, filter="data")
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        shutil.rmtree(half)
        raise ValueError(
            f"{archive} is damaged or cut short ({error}); delete it and fetch it again."
        ) from error
    half.rename(folder)


_CITATION = r"""
@inproceedings{zhang2018unreasonable,
  title     = {The Unreasonable Effectiveness of Deep Features as a Perceptual Metric},
  author    = {Zhang, Richard and Isola, Phillip and Efros, Alexei A. and Shechtman, Eli and
               Wang, Oliver},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year      = {2018}
}
"""
