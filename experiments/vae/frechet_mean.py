"""Draws the Fréchet mean of groups of similar images, for each loss.

The Fréchet mean is the image with the least mean distance to all images of a group. A decoder whose
latents do not tell these images apart can do no better. With L2 it is their mean, which is blurred. How
sharp it is with another loss depends on the loss alone, not on training.

    python -m experiments.vae.frechet_mean                               # minutes
    python -m experiments.vae.frechet_mean --data=mnist --data_dir=DIR --losses=l2,watson-dft:published
"""

from pathlib import Path

import jax
import numpy as np
import tqdm
from absl import flags

from experiments._common import cli
from experiments._common.workdir import make_folder
from experiments.vae.compare_figures import save_rows
from experiments.vae.data import DATA_NAMES, load_images
from experiments.vae.groups import frechet_means, similar_images
from experiments.vae.quality import make_losses, sharpness, to_float
from watson_jax.tables import format_table

_DATA = flags.DEFINE_string("data", "digits", f"Data set: one of {', '.join(DATA_NAMES)}.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Its folder, as for experiments.vae.main.")
_CROP = flags.DEFINE_list("crop", None, "Left,top,right,bottom of what to keep of each image.")
_LOSSES = flags.DEFINE_list("losses", ["l2", "ssim", "watson-dft"], "name or name:weights.")
_SIZES = flags.DEFINE_list("sizes", ["4", "16", "64"], "Images in a group; the last is drawn.")
_GROUPS = flags.DEFINE_integer("groups", 12, "Groups of each size.", lower_bound=4)
_SEED = flags.DEFINE_integer("seed", 0, "Of the choice of groups.", lower_bound=0)
_WORKDIR = flags.DEFINE_string("workdir", "runs/frechet_mean", "Where the picture goes.")

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
    make_folder("--workdir", workdir)

    rows = []
    with tqdm.tqdm(total=len(sizes) * len(losses), unit="fit") as bar:
        for size in sizes:
            groups = similar_images(images, size, _GROUPS.value, _SEED.value)
            means = {}
            for name, loss in losses.items():
                found = frechet_means(loss, groups, jax.random.key(_SEED.value))
                means[name] = np.asarray(found)
                bar.update()
            sharp = [sharpness(x, images[:_REFERENCE]) for x in means.values()]
            rows.append([str(size), *(f"{value:.2f}" for value in sharp)])
    print("\nSharpness of Fréchet means, relative to the data:")
    print(format_table(["images in a group", *losses], rows))
    path = workdir / "frechet_means.png"
    save_rows(
        path,
        {"one of them": groups[None, :, 0]} | {name: x[None] for name, x in means.items()},
        title=f"Fréchet means of {size} similar images of {_DATA.value}",
        note="a column for each group",
    )
    print(f"Picture: {path}")


if __name__ == "__main__":
    cli.run(main)
