"""Uses a trained VAE: new samples, interpolations, the latent manifold, and reconstructions.

    python -m experiments.vae.sample --run=runs/digits-watson-dft
    python -m experiments.vae.sample --run=RUN --kind=interpolations
    python -m experiments.vae.sample --run=RUN --kind=reconstructions --images=a.png,b.png
    python -m experiments.vae.sample --run=RUN --number=1000 --output=samples.npy

Without `--images`, interpolations and reconstructions are of held-out images of the run's data.

In Python:

    from pathlib import Path
    from experiments.vae.runs import load_run

    run = load_run(Path("runs/digits-watson-dft"))
    images = run.decode(latents)  # [..., latent size] to [..., height, width, channels]
    model = run.model  # a Flax module, for everything else
"""

from pathlib import Path

import numpy as np
from absl import flags
from jaxtyping import Float

from experiments._common import cli

KINDS = ("samples", "interpolations", "manifold", "reconstructions")

_RUN = flags.DEFINE_string("run", None, "The folder of a finished run.")
_KIND = flags.DEFINE_string("kind", "samples", f"What to draw: one of {', '.join(KINDS)}.")
_IMAGES = flags.DEFINE_list("images", None, "Image files of any size, for the model to encode.")
_NUMBER = flags.DEFINE_integer(
    "number", 64, "Samples or reconstructions; rows of interpolations or of the manifold: its root.",
    lower_bound=1,
)  # fmt: skip
_SEED = flags.DEFINE_integer("seed", 0, "Of the samples.", lower_bound=0)
_OUTPUT = flags.DEFINE_string(
    "output", None, "A .png or .npy file; by default KIND.png in the current folder."
)

_STEPS = 8  # images in a row of interpolations


def main() -> None:
    """Reads the flags, decodes and writes one file."""
    if not _RUN.value:
        raise cli.UserError("--run must be the folder of a finished run, got none.")
    cli.check_choice("--kind", _KIND.value, KINDS)
    output = Path(_OUTPUT.value or f"{_KIND.value}.png").expanduser()
    if output.suffix not in (".png", ".npy"):
        raise cli.UserError(f"--output must end in .png or .npy, got {output}.")
    # After the flags, because these imports take seconds.
    from experiments.vae import figures
    from experiments.vae.quality import to_float
    from experiments.vae.runs import load_run

    run = load_run(Path(_RUN.value).expanduser())
    shape = run.experiment.images.test.shape[1:]
    side = max(1, int(_NUMBER.value**0.5))
    rng = np.random.default_rng(_SEED.value)

    if _KIND.value in ("interpolations", "reconstructions"):
        if _IMAGES.value:
            with cli.user_errors(rename={"`path`": "--images"}):
                data = np.stack([_read(path, shape) for path in _IMAGES.value])
        else:
            wanted = 2 * side if _KIND.value == "interpolations" else _NUMBER.value
            data = to_float(run.held_out(wanted))
    title = f"{run.workdir.name}: {_KIND.value}"
    if _KIND.value == "samples":
        latents = rng.standard_normal((_NUMBER.value, run.config.latent_size), np.float32)
        table = _rows(run.decode(latents))
    elif _KIND.value == "manifold":
        if run.config.latent_size != 2:
            raise cli.UserError(
                f"--kind=manifold needs a model with 2 latent variables, this one has "
                f"{run.config.latent_size}; use interpolations."
            )
        table = run.decode(figures.manifold_latents(side))
    elif _KIND.value == "reconstructions":
        pairs = zip(_rows(data), _rows(run.decode(run.encode(data))), strict=True)
        table = np.concatenate([np.stack(pair) for pair in pairs])  # data above reconstructions
    else:
        if len(data) < 2:
            raise cli.UserError(f"--images must be at least 2 for interpolations, got {len(data)}.")
        ends = run.encode(data[: len(data) // 2 * 2]).reshape(-1, 2, 1, run.config.latent_size)
        share = np.linspace(0, 1, _STEPS, dtype=np.float32)[:, None]
        table = run.decode(ends[:, 0] * (1 - share) + ends[:, 1] * share)

    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".npy":
        np.save(output, table)
    else:
        figures.save_table(output, table, title=title)
    print(f"{table.shape[0]} rows of {table.shape[1]} images: {output}")


def _rows(
    images: Float[np.ndarray, "number height width channels"],
) -> Float[np.ndarray, "rows columns height width channels"]:
    """Lays images out as a table about as wide as high; what is missing in the last row is white."""
    columns = int(np.ceil(len(images) ** 0.5))
    missing = np.ones((-len(images) % columns, *images.shape[1:]), images.dtype)
    return np.concatenate([images, missing]).reshape(-1, columns, *images.shape[1:])


def _read(path: str, shape: tuple[int, ...]) -> Float[np.ndarray, "height width channels"]:
    """An image file as the model takes it: the middle square, resized, grey if the model is."""
    import jax

    from watson_jax.image_files import read_image
    from watson_jax.transforms import LUMA_WEIGHTS

    image = read_image(path)
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = image[top : top + side, left : left + side]
    if shape[2] == 1:
        square = square @ LUMA_WEIGHTS[:, None]
    resized = jax.image.resize(square, (*shape[:2], square.shape[2]), "linear")
    return np.clip(np.asarray(resized), 0, 1)


if __name__ == "__main__":
    cli.run(main)
