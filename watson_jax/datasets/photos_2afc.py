"""`photos-2afc`: pairs of distorted patches of photographs, with the opinions of KADID-10k's raters.

It is made on this machine from photographs that other packages ship, so that there is nothing to
download. The opinions are about whole photographs, averaged over 81 others: they tell how people see a
type of distortion at a level, not what they would say of these very patches.
"""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int, UInt8

from watson_jax.datasets._opinions import LEVELS, Version, preference, read_opinions
from watson_jax.datasets._two_afc_data import TwoAfcData
from watson_jax.datasets.photos import SCENES, photographs
from watson_jax.files import atomic_write, cache_folder

SPLITS = ("train", "val-scenes", "val-types")
COLORS = ("rgb", "gray")

# Both were fixed before anything was fitted. The scenes are a view full of details and a close-up with
# few, each with a relative to fit on ("motorcycle", "flower").
HELD_OUT_SCENES = ("china", "coffee")
# The types are a blur, a noise and a compression, each of another form (directed, sparse, without
# blocks) than its relatives to fit on.
HELD_OUT_TYPES = ("motion blur", "impulse noise", "JPEG2000")
# Left out in grey, where what people judged of these is gone. "color noise" and the dither of "color
# quantization" stay: in luma they are as plain to see as "white noise" is.
COLOR_TYPES = ("color diffusion", "color shift", "color saturation HSV", "color saturation Lab")

_VERSION = 1  # of the cached files: to be raised with any change of what is in them
_NUM_RECORDS = {"train": 6000, "val-scenes": 2000, "val-types": 2000}
_POSITIONS = 300  # in each scene
_PATCH = 64

_NAMES = ("reference", "first", "second", "preference", "types")
_Arrays = dict[str, np.ndarray]  # the fields of `TwoAfcData`, but `types` instead of `categories`
_Bytes = UInt8[np.ndarray, "height width 3"]


def load_photos_2afc(
    split: str,
    *,
    color: str = "rgb",
    seed: int = 0,
    cache_dir: str | os.PathLike[str] | None = None,
) -> TwoAfcData:
    """Reads the data set from its file, which is made the first time, within two minutes.

    A triplet is a 64×64 patch, the same patch with two distortions of its photograph, and the share of
    people who would find the second one closer, by Thurstone's model: Φ((m₂ - m₁) / √(s₁² + s₂²)), with
    mean opinions m and standard deviations among raters s. Its categories are its types of distortion.

    | `split` | triplets | scenes | types |
    |---|---|---|---|
    | `"train"` | 6000 | the five others | the twenty others |
    | `"val-scenes"` | 2000 | `HELD_OUT_SCENES` | the twenty others |
    | `"val-types"` | 2000 | `HELD_OUT_SCENES` | one or two of `HELD_OUT_TYPES` |

    Args:
      split: one of these.
      color: `"rgb"`, or `"gray"` for triplets without `COLOR_TYPES`; images have three channels in both.
      seed: of everything random, from positions to noise.
      cache_dir: the folder of the file, which has 37 kB for each triplet; by default the one that the
        environment variable `WATSON_JAX_CACHE` names, or the user's cache folder.

    Returns:
      The triplets; for the same arguments the same ones on every machine, but for what other versions of
      the libraries that distort do differently.

    Raises:
      ValueError: if there is no such split or color, or if the seed is negative.
      ImportError: if the file has to be made and the extra `experiments` is missing.

    Source of the opinions: Lin, Hosu, Saupe, "KADID-10k: A Large-scale Artificially Distorted IQA
    Database", QoMEX 2019.
    """
    for name, value, known in (("split", split, SPLITS), ("color", color, COLORS)):
        if value not in known:
            raise ValueError(f"`{name}` must be one of {', '.join(known)}, got {value!r}.")
    if seed < 0:
        raise ValueError(f"`seed` must not be negative, got {seed}.")
    folder = cache_folder() if cache_dir is None else pathlib.Path(cache_dir).expanduser()
    path = folder / f"photos-2afc-v{_VERSION}-{split}-{color}-{seed}.npz"
    arrays = _read(path)
    if arrays is None:
        arrays = _make(split, color, seed)
        _write(path, arrays)
    types = arrays.pop("types")
    categories = {str(name): np.flatnonzero((types == name).any(1)) for name in np.unique(types)}
    return TwoAfcData(**arrays, categories=categories)


def psnr_table(
    types: Iterable[str] | None = None, levels: Iterable[int] = LEVELS
) -> dict[Version, tuple[float, float]]:
    """Compares the strength of distortions in KADID-10k and here; takes about a second for each type.

    Args:
      types: types of distortion; by default all.
      levels: from 1 to 5.

    Returns:
      By type and level the PSNR in dB that is published and ours, each a mean over photographs. Levels
      that leave the photograph unchanged are not among them.
    """
    photos = photographs()
    from watson_jax.datasets._distortions import DISTORTIONS, psnr

    opinions, levels = read_opinions(), tuple(levels)
    table = {}
    for version in [(name, level) for name in types or DISTORTIONS for level in levels]:
        if not opinions[version].is_of_original:
            values = [
                psnr(_distort(photo, scene, version, 0), photo) for scene, photo in photos.items()
            ]
            table[version] = opinions[version].psnr, float(np.mean(values))
    return table


def _make(split: str, color: str, seed: int) -> _Arrays:
    photos = photographs()
    versions, opinions = tuple(read_opinions()), tuple(read_opinions().values())
    number = _NUM_RECORDS[split]
    rng = np.random.default_rng([seed, SPLITS.index(split), COLORS.index(color)])
    scenes = rng.choice(_scenes(split), number)
    positions = rng.integers(_POSITIONS, size=number)
    pairs = rng.choice(_pairs(split, color), number)

    # The photograph itself is version -1.
    wanted = np.concatenate([np.full((number, 1), -1), pairs], axis=1)
    patches = np.empty((3, number, _PATCH, _PATCH, 3), np.uint8)
    for scene, version in _with_progress(
        [(s, v) for s in np.unique(scenes) for v in np.unique(wanted[scenes == s])]
    ):
        image = photos[scene]
        if version >= 0:
            image = _distort(image, scene, versions[version], seed)
        windows = np.lib.stride_tricks.sliding_window_view(image, (_PATCH, _PATCH), axis=(0, 1))
        tops, lefts = _positions(scene, windows.shape[:2], seed)
        triplets, roles = np.nonzero((scenes == scene)[:, None] & (wanted == version))
        at = positions[triplets]
        patches[roles, triplets] = np.moveaxis(windows[tops[at], lefts[at]], 1, -1)

    shares = [preference(opinions[first], opinions[second]) for first, second in pairs]
    return {
        "reference": patches[0],
        "first": patches[1],
        "second": patches[2],
        "preference": np.array(shares, np.float32),
        "types": np.array([name for name, _ in versions])[pairs],
    }


def _scenes(split: str) -> list[str]:
    return [scene for scene in SCENES if (scene in HELD_OUT_SCENES) == (split != "train")]


def _pairs(split: str, color: str) -> Int[np.ndarray, "pairs 2"]:
    """All ordered pairs of versions, as indices, that a triplet may show."""
    opinions = read_opinions()
    original = np.array([opinion.is_of_original for opinion in opinions.values()])
    held_out = np.array([name in HELD_OUT_TYPES for name, _ in opinions])
    left_out = np.array([color == "gray" and name in COLOR_TYPES for name, _ in opinions])
    first, second = np.indices((len(opinions), len(opinions)))
    are_held_out = held_out[first] | held_out[second]
    allowed = (first != second) & ~(original[first] & original[second])
    allowed &= ~(left_out[first] | left_out[second])
    allowed &= are_held_out if split == "val-types" else ~are_held_out
    return np.argwhere(allowed)


# These draw from streams of their own: all splits and colours share positions and distorted images.


def _positions(
    scene: str, limits: tuple[int, ...], seed: int
) -> tuple[Int[np.ndarray, " positions"], ...]:
    rng = np.random.default_rng([seed, 100, SCENES.index(scene)])
    return tuple(rng.integers(limit, size=_POSITIONS) for limit in limits)


def _distort(image: _Bytes, scene: str, version: Version, seed: int) -> _Bytes:
    from watson_jax.datasets._distortions import distort

    index = list(read_opinions()).index(version)
    return distort(image, *version, np.random.default_rng([seed, 101, SCENES.index(scene), index]))


def _with_progress(steps: list) -> Iterable:
    from tqdm import tqdm

    return tqdm(steps, "photos-2afc", delay=2, disable=None)


def _read(path: pathlib.Path) -> _Arrays | None:
    """Returns what is in the file, checked by its sums; nothing if it is missing or damaged."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in _NAMES}
    except Exception:  # damage shows in many ways, all of which making the file again repairs
        return None


def _write(path: pathlib.Path, arrays: _Arrays) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        warnings.warn(
            f"Cannot write {path} ({error.strerror}), so that it is made again the next time; "
            "set `cache_dir` to a folder that is writable and has space.",
            stacklevel=3,
        )
