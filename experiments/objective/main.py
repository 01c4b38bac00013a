"""How good is a loss as an objective? Trains with each loss, and lets others judge what came of it.

Decoders of one size are fitted to the same images in the same steps, and single images descend from a
blur, from noise and from the mean image back to what they should be:

    python -m experiments.objective.main                               # minutes for each loss
    python -m experiments.objective.main --losses=l2,ssim,watson-dft:published,watson-dft
    python -m experiments.objective.main --data=folder --data_dir=FACES --judges=lpips-alex,ms-ssim
    python -m experiments.objective.main --quick                       # that it runs

A loss is its name, or `name:weights` with the weights that `watson_jax.load_params` takes.
"""

from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments._common import cli
from experiments.vae.data import DATA_NAMES

_LOSSES = flags.DEFINE_list("losses", ["l2", "ssim", "watson-dct", "watson-dft"], "Objectives.")
_JUDGES = flags.DEFINE_list("judges", ["ms-ssim"], "Losses to judge with, such as lpips-alex.")
_DATA = flags.DEFINE_string("data", "photos", f"Data set: one of {', '.join(DATA_NAMES)}.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Its folder, as for experiments.vae.main.")
_CROP = flags.DEFINE_list("crop", None, "Left,top,right,bottom of what to keep of each image.")
_IMAGES = flags.DEFINE_integer("images", 512, "Images that are decoded.", lower_bound=64)
_SKIP = flags.DEFINE_integer("skip", 0, "Images to leave out before these.", lower_bound=0)
_LATENTS = flags.DEFINE_integer("latents", 48, "Numbers for each of them.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 1200, "Steps of a decoder.", lower_bound=1)
_DESCENT_STEPS = flags.DEFINE_integer("descent_steps", 400, "Steps of an image.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images in a step.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 2e-3, "Adam's, at the start.", lower_bound=0)
_SEED = flags.DEFINE_integer("seed", 0, "Of everything random.", lower_bound=0)
_QUICK = flags.DEFINE_bool("quick", False, "A few steps on a few images: that it runs.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/objective", "Where numbers and pictures go.")

_DESCENTS = 16  # images
_QUALITY = 45.0  # dB


def main() -> None:
    """Reads the flags, trains with each loss, prints a table and draws pictures."""
    cli.check_choice("--data", _DATA.value, DATA_NAMES)
    crop = cli.whole_numbers("--crop", _CROP.value) if _CROP.value else None
    # After the flags, because these imports take seconds.
    from experiments._common.workdir import make_folder, versions
    from experiments.objective.decoder import fit_decoder
    from experiments.objective.descent import descend, starts, steps_to_reach
    from experiments.objective.judges import judge
    from experiments.vae.compare_figures import save_rows
    from experiments.vae.compare_table import Table
    from experiments.vae.data import load_images
    from experiments.vae.quality import make_losses, to_float

    number, steps, descent_steps = (
        (64, 4, 4) if _QUICK.value else (_IMAGES.value, _STEPS.value, _DESCENT_STEPS.value)
    )
    with cli.user_errors(rename={"`name`": "--losses or --judges", "crop": "--crop"}):
        loaded = load_images(_DATA.value, _DATA_DIR.value, crop=crop, seed=0).train
        images = to_float(loaded[_SKIP.value :][:number])
        losses = make_losses(_LOSSES.value, images.shape[1:])
        judges = make_losses(_JUDGES.value, images.shape[1:])
    limits = {"--images": number, "--batch_size": _BATCH_SIZE.value, "--latents": _LATENTS.value}
    for flag, value in limits.items():
        if value > len(images):
            raise cli.UserError(
                f"{flag} must be at most {len(images)}, the images of --data={_DATA.value} after "
                f"--skip={_SKIP.value}, got {value}."
            )
    workdir = Path(_WORKDIR.value).expanduser()
    make_folder("--workdir", workdir)

    columns: dict[str, dict[str, list[float]]] = {}
    curves: dict[str, Any] = {}
    decoded = {"original": images[None]}
    wrong = starts(images[:_DESCENTS], _SEED.value)
    returned = {"original": images[None, :_DESCENTS]}
    for name, loss in losses.items():
        fit = fit_decoder(
            loss,
            images,
            latents=_LATENTS.value,
            steps=steps,
            batch_size=_BATCH_SIZE.value,
            learning_rate=_LEARNING_RATE.value,
            seed=_SEED.value,
            description=name,
        )
        numbers = judge(fit.images, images, judges)
        norms = fit.gradient_norms
        numbers["gradient, largest / median"] = float(norms.max() / np.median(norms))
        curves[name] = {"mean squared error": fit.curve}
        for start, x in wrong.items():
            end, psnr = descend(loss, x, images[:_DESCENTS], steps=descent_steps, seed=_SEED.value)
            median = np.median(psnr, axis=1)
            numbers[f"from {start}: dB"] = float(median[-1])
            if reached := steps_to_reach(psnr, _QUALITY):
                numbers[f"from {start}: steps to {_QUALITY:g} dB"] = reached
            curves[name][f"dB from {start}"] = median[:: max(1, descent_steps // 50)].tolist()
            returned[f"{name}, from {start}"] = end[None]
        columns[name] = {measure: [value] for measure, value in numbers.items()}
        decoded[name] = fit.images[None]
        # After each loss, so that they can be looked at while others train.
        save_rows(
            workdir / "decoded.png",
            {row: x[:, :32] for row, x in decoded.items()},
            title=f"{number} images of {_DATA.value}, {_LATENTS.value} latents, {steps} steps",
            note="fitted with each loss",
        )
        save_rows(
            workdir / "descents.png",
            returned,
            title=f"Images that followed the gradient for {descent_steps} steps",
            note="one column for each image",
        )
        table = Table(
            f"{_DATA.value}: {number} images from {_SKIP.value}, {steps} steps of "
            f"{_BATCH_SIZE.value}, seed {_SEED.value}",
            columns,
            ["dB and steps are those of the median image; - where it is not reached."],
        )
        settings = {flag.name: flag.value for flag in _SETTINGS}
        table.write_json(
            workdir / "objective.json", settings=settings, curves=curves, versions=versions()
        )
    print("\n" + table.format())
    print("Files:", *sorted(workdir.iterdir()), sep="\n  ")


_SETTINGS = (
    _DATA, _IMAGES, _SKIP, _LATENTS, _STEPS, _DESCENT_STEPS, _BATCH_SIZE, _LEARNING_RATE, _SEED, _QUICK
)  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
