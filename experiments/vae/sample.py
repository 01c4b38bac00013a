"""Uses a trained VAE: new samples, interpolations, the latent manifold, and reconstructions.

    python -m experiments.vae.sample --run=runs/digits-watson-dft
    python -m experiments.vae.sample --run=RUN --kind=interpolations
    python -m experiments.vae.sample --run=RUN --kind=reconstructions --images=a.png,b.png
    python -m experiments.vae.sample --run=RUN --number=1000 --output=samples.npy

Without `--images`, interpolations and reconstructions are of held-out images of the run's data. A .npy
file has the images without the data beside them: `[number, height, width, channels]` of samples and
reconstructions, `[rows, columns, height, width, channels]` of the others.

In Python:

    from experiments.vae.runs import load_run

    run = load_run("runs/digits-watson-dft")
    images = run.decode(latents)  # [..., latent size] to [..., height, width, channels]
    model = run.model  # a Flax module, for everything else
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags
from jaxtyping import Float

from experiments._common import cli

if TYPE_CHECKING:
    from experiments.vae.runs import Run

KINDS = ("samples", "interpolations", "manifold", "reconstructions")

_RUN = flags.DEFINE_string("run", None, "The folder of a finished run.")
_KIND = flags.DEFINE_string("kind", "samples", f"What to draw: one of {', '.join(KINDS)}.")
_IMAGES = flags.DEFINE_list(
    "images", None, "Image files of any size to reconstruct, or to draw interpolations between."
)
_NUMBER = flags.DEFINE_integer(
    "number", None, "Samples or reconstructions, by default 64; rows of the others, by default 8.",
    lower_bound=1,
)  # fmt: skip
_SEED = flags.DEFINE_integer("seed", 0, "Of the samples.", lower_bound=0)
_OUTPUT = flags.DEFINE_string(
    "output", None, "A .png or .npy file; by default KIND.png in the current folder."
)

_NUMBERS = {"samples": 64, "reconstructions": 64, "interpolations": 8, "manifold": 8}
_STEPS = 8  # images in a row of interpolations


def main() -> None:
    """Reads the flags, decodes and writes one file."""
    if not _RUN.value:
        raise cli.UserError("--run must be the folder of a finished run, got none.")
    cli.check_choice("--kind", _KIND.value, KINDS)
    output = Path(_OUTPUT.value or f"{_KIND.value}.png").expanduser()
    if output.suffix not in (".png", ".npy"):
        raise cli.UserError(f"--output must end in .png or .npy, got {output}.")
    _check_images()
    # After the flags, because these imports take seconds.
    from experiments._common.workdir import make_folder
    from experiments.vae import figures
    from experiments.vae.runs import load_run

    run = load_run(_RUN.value)
    number = _NUMBER.value or _NUMBERS[_KIND.value]
    title = f"{run.workdir.name}: {_KIND.value}"
    latent_size = run.config.latent_size
    if _KIND.value == "samples":
        rng = np.random.default_rng(_SEED.value)
        images = run.decode(rng.standard_normal((number, latent_size), np.float32))
        draw = functools.partial(figures.save_samples, images=images, columns=_columns(images))
    elif _KIND.value == "manifold":
        if latent_size != 2:
            raise cli.UserError(
                f"--kind=manifold needs a model with 2 latent variables, this one has {latent_size}; "
                "use interpolations."
            )
        images = run.decode(figures.manifold_latents(number))
        draw = functools.partial(figures.save_manifold, images=images)
    elif _KIND.value == "reconstructions":
        data = _data(run, number)
        images = run.decode(run.encode(data))
        draw = functools.partial(
            figures.save_reconstructions,
            data=data,
            reconstructions=images,
            columns=_columns(images),
        )
    else:
        data = _data(run, 2 * number)
        if len(data) < 2:
            raise cli.UserError(
                "--images must name pairs for --kind=interpolations, since only one image was held out."
            )
        ends = run.encode(data[: len(data) // 2 * 2]).reshape(-1, 2, 1, latent_size)
        share = np.linspace(0, 1, _STEPS, dtype=np.float32)[:, None]
        images = run.decode(ends[:, 0] * (1 - share) + ends[:, 1] * share)
        draw = functools.partial(figures.save_interpolations, table=images)

    make_folder("The parent of --output", output.parent)
    if output.suffix == ".npy":
        np.save(output, images)
    else:
        draw(output, title=title)
    *layout, _, _, _ = images.shape
    print(f"{' x '.join(map(str, layout))} images: {output}")


def _check_images() -> None:
    """Raises a `UserError` where `--images` does not go with the other flags."""
    kind = _KIND.value
    if not _IMAGES.value:
        return
    if kind not in ("interpolations", "reconstructions"):
        raise cli.UserError(
            f"--images must go with --kind=reconstructions or interpolations, got --kind={kind}."
        )
    if _NUMBER.value is not None:
        raise cli.UserError(
            f"--number must not be set with --images, got {_NUMBER.value}; all images are drawn."
        )
    if kind == "interpolations" and len(_IMAGES.value) % 2:
        raise cli.UserError(
            f"--images must be pairs for --kind=interpolations, got {len(_IMAGES.value)}."
        )


def _data(run: Run, number: int) -> Float[np.ndarray, "number height width channels"]:
    """The images that `--images` names, or held-out ones."""
    from experiments.vae.quality import to_float

    if _IMAGES.value:
        shape = run.experiment.images.test.shape[1:]
        return np.stack([_read(path, shape) for path in _IMAGES.value])
    return to_float(run.held_out(number))


def _columns(images: Float[np.ndarray, "number height width channels"]) -> int:
    """As many as make the table about as wide as high."""
    return int(np.ceil(len(images) ** 0.5))


def _read(path: str, shape: tuple[int, ...]) -> Float[np.ndarray, "height width channels"]:
    """An image file as the model takes it: the middle square, resized, grey if the model is.

    Transparent parts become white.
    """
    import jax

    from watson_jax.image_files import read_image
    from watson_jax.transforms import LUMA_WEIGHTS

    file = Path(path).expanduser()
    if not file.is_file():
        raise cli.UserError(f"--images must be image files, got {path}, which is no file.")
    with cli.user_errors(rename={str(file): f"--images={path}"}):
        image = read_image(file)
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = image[top : top + side, left : left + side]
    if shape[2] == 1:
        square = square @ LUMA_WEIGHTS[:, None]
    resized = jax.image.resize(square, (*shape[:2], square.shape[2]), "linear")
    return np.clip(np.asarray(resized), 0, 1)


if __name__ == "__main__":
    cli.run(main)
