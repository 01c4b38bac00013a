"""Draws the one image nearest to a group of similar ones, for each loss.

A decoder whose latents do not tell images apart can do no better than this image. With L2 it is their
mean, and blurred; how sharp it is with another loss is a matter of the loss alone, not of training.

    python -m experiments.vae.compromise                               # minutes
    python -m experiments.vae.compromise --data=mnist --data_dir=DIR --losses=l2,watson-dft:published
"""

from pathlib import Path

import jax
import numpy as np
import tqdm
from absl import flags

from experiments._common import cli
from experiments.vae.compare_figures import save_rows
from experiments.vae.data import DATA_NAMES, load_images
from experiments.vae.nearest import nearest_images, similar_images
from experiments.vae.quality import make_losses, sharpness, to_float

_DATA = flags.DEFINE_string("data", "digits", f"Data set: one of {', '.join(DATA_NAMES)}.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Its folder, as for experiments.vae.main.")
_CROP = flags.DEFINE_list("crop", None, "Left,top,right,bottom of what to keep of each image.")
_LOSSES = flags.DEFINE_list("losses", ["l2", "ssim", "watson-dft"], "name or name:weights.")
_SIZES = flags.DEFINE_list("sizes", ["4", "16", "64"], "Images in a group; the last is drawn.")
_GROUPS = flags.DEFINE_integer("groups", 12, "Groups of each size.", lower_bound=4)
_SEED = flags.DEFINE_integer("seed", 0, "Of the choice of groups.", lower_bound=0)
_WORKDIR = flags.DEFINE_string("workdir", "runs/compromise", "Where the picture goes.")

_MOST_IMAGES = 20_000  # to choose from
_REFERENCE = 2000  # images whose sharpness counts as 1


def main() -> None:
    """Reads the flags, prints a table and draws a picture."""
    cli.check_choice("--data", _DATA.value, DATA_NAMES)
    sizes = cli.whole_numbers("--sizes", _SIZES.value)
    crop = cli.whole_numbers("--crop", _CROP.value) if _CROP.value else None
    with cli.user_errors(rename={"`name`": "--losses", "crop": "--crop"}):
        loaded = load_images(_DATA.value, _DATA_DIR.value, crop=crop, seed=0)
        images = to_float(loaded.train[:_MOST_IMAGES])
        losses = make_losses(_LOSSES.value, images.shape[1:])
    if not sizes or max(sizes) > len(images) or min(sizes) < 1:
        raise cli.UserError(
            f"--sizes must be from 1 to {len(images)}, got {','.join(_SIZES.value)}."
        )
    if _GROUPS.value > len(images):
        raise cli.UserError(f"--groups must be at most {len(images)}, got {_GROUPS.value}.")
    workdir = Path(_WORKDIR.value).expanduser()
    workdir.mkdir(parents=True, exist_ok=True)

    table = [["images in a group", *losses]]
    with tqdm.tqdm(total=len(sizes) * len(losses), unit="fit") as bar:
        for size in sizes:
            groups = similar_images(images, size, _GROUPS.value, _SEED.value)
            nearest = {}
            for name, loss in losses.items():
                found = nearest_images(loss, groups, jax.random.key(_SEED.value))
                nearest[name] = np.asarray(found)
                bar.update()
            sharp = [sharpness(x, images[:_REFERENCE]) for x in nearest.values()]
            table.append([str(size), *(f"{value:.2f}" for value in sharp)])
    print("\nSharpness of the image nearest to a group, relative to the data:")
    for row in table:
        print("".join(f"{cell:>22}" for cell in row))
    path = workdir / "compromise.png"
    save_rows(
        path,
        {"one of them": groups[None, :, 0]} | {name: x[None] for name, x in nearest.items()},
        title=f"The image nearest to {size} similar ones of {_DATA.value}, by each loss",
        note="a column for each group",
    )
    print(f"Picture: {path}")


if __name__ == "__main__":
    cli.run(main)
