"""The images a VAE trains on, as bytes, by the name of the data set."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from experiments._common.cli import check_choice
from experiments.vae import celeb_a, image_files
from experiments.vae.idx import read_idx_in
from watson_jax.datasets import photographs
from watson_jax.datasets.photos_2afc import HELD_OUT_SCENES
from watson_jax.datasets.splits import held_out_by_name

IDX_FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}

# What images are brought to where nothing else is asked for; None: they are what they are.
_FORMATS = {
    "digits": None,
    "mnist": None,
    "photos": image_files.Format(),
    "celeb_a": image_files.Format(crop=celeb_a.CROP),
    "folder": image_files.Format(),
}
DATA_NAMES = tuple(_FORMATS)
NO_FILES = ("digits", "photos")  # their images come with the libraries

NUM_TRAIN_DIGITS = 1536  # twelve batches of 128; the other 261 are held out
_NUM_PATCHES = {"train": 4096, "test": 512}
_HELD_OUT_SHARE = 0.1  # the paper's, of CelebA


@dataclasses.dataclass(frozen=True)
class Images:
    """Training and held-out images as bytes, grey with 1 channel or RGB with 3."""

    train: UInt8[np.ndarray, "train height width channels"]
    test: UInt8[np.ndarray, "test height width channels"]


def load_images(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    crop: Sequence[int] | None = None,
    image_size: int | None = None,
    color: str | None = None,
    seed: int = 0,
) -> Images:
    """Reads a data set.

    | `name` | images | held out |
    |---|---|---|
    | `"digits"` | scikit-learn's, 32×32 grey | 261 of 1,797 |
    | `"mnist"` | 32×32 grey | its own 10,000 of 70,000 |
    | `"photos"` | 4,608 patches of seven photographs, 64×64 in colour | 512, of two of them |
    | `"celeb_a"` | faces, cropped as in the paper, 64×64 in colour | about a tenth of 202,599 |
    | `"folder"` | any, their square in the middle, 64×64 in colour | about a tenth |

    Args:
      name: one of these; "digits" and "photos" need no files.
      data_dir: for "mnist" and "celeb_a" a folder of TensorFlow Datasets, by default the one it uses
        itself, or for "mnist" one with the IDX image files; for "folder" the folder, .zip or .tar(.gz)
        with the images.
      crop: left, top, right and bottom of the part to keep, in pixels; for "celeb_a" and "folder".
      image_size: height and width to shrink or enlarge it to, or to cut patches in; for all but the
        first two.
      color: "rgb" or "gray"; for all but the first two.
      seed: of what is held out of "celeb_a" and "folder" and where patches are cut. Whether an image is
        held out depends on it and on the image's name alone.

    Raises:
      ValueError: if the name is unknown, an option is wrong or does not go with it, or a file is not
        what it should be.
      OSError: if files are missing.
    """
    check_choice("--data", name, DATA_NAMES)
    image_format = _format(
        name, crop=None if crop is None else tuple(crop), image_size=image_size, color=color
    )
    if name == "digits":
        return _load_digits()
    if name == "mnist":
        return _load_mnist(tfds_folder("MNIST", data_dir))
    if name == "photos":
        return _cut_photos(image_format, seed)
    if name == "celeb_a":
        folder = tfds_folder("CelebA", data_dir)
        return _split(celeb_a.read_celeb_a(folder, image_format), seed)
    if data_dir is None:
        raise ValueError("--data_dir must name a folder, .zip or .tar(.gz) of images, got none.")
    return _split(image_files.read_folder(Path(data_dir), image_format), seed)


def channels_of(name: str, color: str | None) -> int:
    """How many channels the images of a data set will have, known before they are read.

    Raises:
      ValueError: if there is no such color.
    """
    return 1 if _FORMATS[name] is None else _format(name, color=color).shape[2]


def _format(name: str, **options: Any) -> image_files.Format:
    """What is asked for, and otherwise the data set's own."""
    given = {option: value for option, value in options.items() if value is not None}
    default = _FORMATS[name]
    for option, value in given.items():
        if default is None or (name == "photos" and option == "crop"):
            raise ValueError(f"{option} must not be set with --data={name}, got {value}.")
    return dataclasses.replace(default or image_files.Format(), **given)


def _split(decoded: image_files.Decoded, seed: int) -> Images:
    """Holds out about a tenth, each image by its name."""
    images, names = decoded
    held_out = held_out_by_name(names, _HELD_OUT_SHARE, seed)
    # In the order of the file, which is far faster to read from a disk.
    return Images(images[~held_out], images[held_out])


def _cut_photos(image_format: image_files.Format, seed: int) -> Images:
    """Patches in full resolution, each from a random place of a random photograph."""
    from PIL import Image

    mode = "L" if image_format.color == "gray" else "RGB"
    photos = {
        scene: np.asarray(Image.fromarray(photo).convert(mode)).reshape(*photo.shape[:2], -1)
        for scene, photo in photographs().items()
    }
    size, largest = image_format.image_size, min(min(photo.shape[:2]) for photo in photos.values())
    if size > largest:
        raise ValueError(f"image_size must be at most {largest} with --data=photos, got {size}.")

    def cut(split: str, number: int) -> UInt8[np.ndarray, "number height width channels"]:
        held_out = split == "test"
        rng = np.random.default_rng([seed, held_out])
        scenes = [scene for scene in photos if (scene in HELD_OUT_SCENES) == held_out]
        patches = np.empty((number, *image_format.shape), np.uint8)
        for patch, scene in zip(patches, rng.choice(scenes, number), strict=True):
            height, width, _ = photos[scene].shape
            top, left = rng.integers((height - size + 1, width - size + 1))
            patch[:] = photos[scene][top : top + size, left : left + size]
        return patches

    return Images(*(cut(split, number) for split, number in _NUM_PATCHES.items()))


def _load_digits() -> Images:
    """Scikit-learn's 1,797 handwritten digits, 8×8 in 17 grey levels.

    They are enlarged smoothly to 28×28 and get the frame of zeros that MNIST has.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    small = load_digits().images.astype(np.float32) * (255 / 16)
    large = [
        np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.LANCZOS))
        for image in small
    ]
    # Lanczos overshoots a little at edges, hence the clip.
    images = _frame(np.clip(np.rint(np.stack(large)), 0, 255).astype(np.uint8))
    order = np.random.default_rng(0).permutation(len(images))  # the same split on every machine
    return Images(images[order[:NUM_TRAIN_DIGITS]], images[order[NUM_TRAIN_DIGITS:]])


def tfds_folder(content: str, data_dir: str | os.PathLike[str] | None) -> Path:
    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    folder = folder.expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"--data_dir must be a folder with {content}, got {str(folder)!r}, which does not exist."
        )
    return folder


def _load_mnist(folder: Path) -> Images:
    """MNIST from whichever of the two formats the folder holds, zero-padded from 28 to 32."""
    read = _read_tfds if (folder / "mnist").is_dir() else _read_idx_split
    return Images(*(_frame(read(folder, split)) for split in ("train", "test")))


def _frame(images: UInt8[np.ndarray, "number 28 28"]) -> UInt8[np.ndarray, "number 32 32 1"]:
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None]


def _read_tfds(folder: Path, split: str) -> UInt8[np.ndarray, "number 28 28"]:
    import tensorflow_datasets as tfds

    try:
        source = tfds.data_source("mnist", split=split, data_dir=folder, download=False)
    except (NotImplementedError, ValueError, AssertionError) as error:
        # Other file formats of TensorFlow Datasets need TensorFlow itself to be read.
        raise ValueError(
            f"--data_dir={folder} holds no MNIST that can be read at random; prepare it with "
            "`tfds build mnist --file_format=array_record`."
        ) from error
    images = np.empty((len(source), 28, 28), np.uint8)
    for index, example in enumerate(source):
        images[index] = example["image"][..., 0]
    return images


def _read_idx_split(folder: Path, split: str) -> UInt8[np.ndarray, "number 28 28"]:
    images = read_idx_in(folder, IDX_FILES[split], what="images", dimensions=3)
    if images.shape[1:] != (28, 28):
        raise ValueError(
            f"{folder / IDX_FILES[split]} must hold 28x28 images, got {images.shape[1:]}."
        )
    return images
