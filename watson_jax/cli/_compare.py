"""Comparing many files: in batches of equal size, each one compiled program."""

from __future__ import annotations

import argparse
import collections
import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

import watson_jax as wj
from watson_jax.cli import UsageError, find_loss
from watson_jax.cli._output import (
    format_records,
    format_summary,
    summarize,
    write_json,
    write_records,
)
from watson_jax.cli._pairs import Pair, find_pairs
from watson_jax.files import plain
from watson_jax.image_files import image_size, read_image
from watson_jax.transforms import LUMA_WEIGHTS

_BATCH_PIXELS = 2**20
_KEPT_PIXELS = 2**25  # of decoded images, 12 bytes each

Size = tuple[int, int]
Images = tuple[np.ndarray, np.ndarray]


def compare_files(args: argparse.Namespace) -> None:
    """Does what `watson-jax compare` was asked for."""
    labels = list(dict.fromkeys(",".join(args.loss or ["watson-dft"]).split(",")))
    specs = {label: find_loss(label.partition(":")[0]) for label in labels}
    if args.backbone and not any(spec.takes_backbone for spec in specs.values()):
        raise UsageError(f"--backbone is for LPIPS alone, got --loss={','.join(labels)}.")
    if args.weights and not any(spec.weights for spec in specs.values()):
        raise UsageError(f"--weights is for losses with weights, got --loss={','.join(labels)}.")
    pairs = find_pairs(args.image, args.reference, all_pairs=args.all_pairs)
    args.map = args.map and args.map.expanduser()
    mapped = _mapped_loss(args.map, specs, pairs)
    if missing := [name for name in ("PIL", "tqdm") if importlib.util.find_spec(name) is None]:
        raise ImportError(
            f"Comparing files needs {', '.join(missing)}: `pip install 'watson-jax[cli]'`."
        )
    from tqdm import tqdm

    _check_color(args.background)
    groups = _by_size(pairs)
    for label, spec in specs.items():
        for size, indices in groups.items():
            if min(size) < spec.min_size:
                raise ValueError(
                    f"{label} needs images at least {spec.min_size} pixels high and wide, "
                    f"{plain(pairs[indices[0]].image)} is {size[0]}x{size[1]}."
                )

    distances = {label: np.full(len(pairs), np.nan) for label in labels}
    load = functools.cache(functools.partial(_load, args))
    is_quiet = True if len(pairs) == 1 else None  # None: unless stderr is a terminal
    bar = tqdm(total=len(pairs), unit=" pairs", desc="Comparing", disable=is_quiet, leave=False)
    with bar, ThreadPoolExecutor() as pool:
        for size, indices in groups.items():
            losses = {k: load(k, size if _needs_size(args, k, specs[k]) else None) for k in labels}
            compiled = {label: _compiled(loss.fn) for label, loss in losses.items()}
            # Kept, because all pairs of two folders meet each image again.
            keep = functools.lru_cache(max(2, _KEPT_PIXELS // (size[0] * size[1])))
            read = keep(functools.partial(_read, args.color, args.background))
            for batch, images in _batches(pairs, indices, size, read, pool):
                for label, loss in losses.items():
                    found = np.asarray(compiled[label](loss.params, *images))
                    distances[label][batch] = found[: len(batch)]
                if mapped is not None:
                    _draw(args.map, mapped, losses[mapped], specs[mapped], pairs, batch, images)
                bar.update(len(batch))
    _write(args.format, pairs, distances)


def _load(args: argparse.Namespace, label: str, size: Size | None) -> Any:
    name, colon, own = label.partition(":")
    weights = own if colon else args.weights if find_loss(name).weights else None
    backbone = args.backbone if find_loss(name).takes_backbone else None
    try:
        return wj.get_loss(
            name, color=args.color, weights=weights, image_size=size, backbone=backbone
        )
    except (TypeError, ValueError, FileNotFoundError) as error:
        if isinstance(error, wj.CheckpointError):
            raise
        flag = f"the weights in --loss={plain(label)}" if colon else "--weights"
        text = str(error).replace("`weights`", flag).replace("`backbone`", "--backbone")
        raise UsageError(text) from None


def _needs_size(args: argparse.Namespace, label: str, spec: wj.LossSpec) -> bool:
    kind = label.partition(":")[2] or args.weights or spec.default_weights
    return kind in spec.image_size_for


def _mapped_loss(out: Path | None, specs: dict[str, wj.LossSpec], pairs: list[Pair]) -> str | None:
    """The first loss that knows where images differ."""
    if out is None:
        return None
    if len(pairs) == 1 and out.suffix.lower() != ".png":
        raise UsageError(f"--map must name a .png file for one pair, got {plain(out)}.")
    if len(pairs) > 1 and out.is_file():
        raise UsageError(
            f"--map must name a folder for {len(pairs)} pairs, got a file, {plain(out)}."
        )
    for label, spec in specs.items():
        if spec.block_map is not None:
            return label
    with_map = [name for name in wj.list_losses() if wj.loss_info(name).block_map is not None]
    raise UsageError(f"--map needs one of {', '.join(with_map)} in --loss, got {', '.join(specs)}.")


def _check_color(background: str) -> None:
    from PIL import ImageColor

    try:
        ImageColor.getrgb(background)
    except ValueError:
        raise UsageError(
            f"--background must be a colour such as white or #ff8000, got {plain(background)!r}."
        ) from None


def _by_size(pairs: Sequence[Pair]) -> dict[Size, list[int]]:
    """The indices of the pairs of each size; before anything is compared, as sizes may not match."""
    size_of = functools.cache(image_size)
    groups = collections.defaultdict(list)
    for index, pair in enumerate(pairs):
        size, other = size_of(pair.image), size_of(pair.reference)
        if size != other:
            raise ValueError(
                "Images that are compared must have the same size, got "
                f"{plain(pair.image)} with {size[1]}x{size[0]} pixels and "
                f"{plain(pair.reference)} with {other[1]}x{other[0]}."
            )
        groups[size].append(index)
    return groups


def _read(color: str, background: str, path: Path) -> Float[np.ndarray, "height width channels"]:
    image = read_image(path, background=background)
    return image @ LUMA_WEIGHTS[:, None] if color == "gray" else image


def _batches(
    pairs: Sequence[Pair],
    indices: Sequence[int],
    size: Size,
    read: Callable[[Path], np.ndarray],
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[list[int], Images]]:
    """Batches of one shape; the last one is filled up with its last pair."""
    number = min(len(indices), max(1, _BATCH_PIXELS // (size[0] * size[1])))
    for start in range(0, len(indices), number):
        batch = list(indices[start : start + number])
        images = []
        for side in ("image", "reference"):
            found = list(pool.map(read, (getattr(pairs[i], side) for i in batch)))
            images.append(np.stack(found + found[-1:] * (number - len(batch))))
        yield batch, (images[0], images[1])


@functools.cache
def _compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    return jax.jit(fn)


def _draw(
    out: Path,
    label: str,
    loss: Any,
    spec: wj.LossSpec,
    pairs: Sequence[Pair],
    batch: Sequence[int],
    images: Images,
) -> None:
    from watson_jax.cli._map import save_map

    assert spec.block_map is not None
    maps = np.asarray(_compiled(spec.block_map)(loss.params, *images))
    for row, index in enumerate(batch):
        path = out if len(pairs) == 1 else out / f"{pairs[index].name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_map(path, images[0][row], maps[row], label)


def _write(form: str, pairs: Sequence[Pair], distances: dict[str, np.ndarray]) -> None:
    def records(**columns: Sequence[str]) -> list[dict[str, Any]]:
        every = {**columns, **{label: d.tolist() for label, d in distances.items()}}
        return [dict(zip(every, row, strict=True)) for row in zip(*every.values(), strict=True)]

    names = [pair.name for pair in pairs]
    summary = summarize(names, distances)
    if form == "table":
        print(format_records(records(pair=[plain(name) for name in names])))
        if len(pairs) > 1:
            print(f"\n{len(pairs)} pairs\n{format_summary(summary)}")
        return
    whole = records(
        image=[str(pair.image) for pair in pairs],
        reference=[str(pair.reference) for pair in pairs],
    )
    if form == "json":
        write_json(whole, summary)
    else:
        write_records(whole, form)
        if len(pairs) > 1:  # a CSV file has no room for it
            print(format_summary(summary), file=sys.stderr)
