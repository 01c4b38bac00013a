# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # VAEs and their loss
#
# A variational autoencoder draws what it is unsure of. With L2 that is a mean of all that might be:
# a blur. Here the paper's MNIST-VAE, made narrower, learns 1,536 small digits with three losses,
# ten passes each; `python -m experiments.vae.main` does the same at length.
#
# Each run leaves its folder with checkpoints, as the experiment's do. The bars show the speed and
# the loss, whose scale is each loss's own.

# %%
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, "..")  # the folder of the clone, for the experiments and the notebooks' pictures

from experiments.vae import configs, figures, quality, runs, train
from notebooks import pictures

EPOCHS = 10  # quick: 1
LOSSES = ("l2", "ssim", "watson-dft")
folder = Path(tempfile.mkdtemp())
preset = configs.PRESETS["default"].with_epochs(EPOCHS)
results = {}
for loss in LOSSES:
    train.train_and_evaluate(replace(preset, loss=loss), folder / loss, progress=False)
    results[loss] = runs.load_run(folder / loss)
    last = results[loss].rows[-1]
    print(
        f"{loss:12} {last['step']} steps, {last['seconds']:.0f} s, KL {last['held_out_kl']:.1f} nats"
    )

# %% [markdown]
# Digits that no model has seen, and what each makes of their mean latents. Two numbers is all that
# passes through, so details must go. Look at how they go: greyer and wider strokes with L2, strokes
# in the wrong place but black and white with Watson-DFT.

# %%
data = quality.to_float(results["l2"].held_out(261))
means = {loss: run.encode(data) for loss, run in results.items()}
reconstructions = {loss: run.decode(means[loss]) for loss, run in results.items()}
pictures.images(
    [list(data[:12]), *(list(images[:12]) for images in reconstructions.values())],
    names=["data", *LOSSES],
    scale=2,
)

# %% [markdown]
# The same for digits that never were: latents drawn from the standard normal, the same for all
# three. Look for samples that are two digits at once.

# %%
latents = np.asarray(jax.random.normal(jax.random.key(1), (261, 2)))
samples = {loss: run.decode(latents) for loss, run in results.items()}
pictures.images([list(images[:12]) for images in samples.values()], names=list(LOSSES), scale=2)

# %% [markdown]
# On the way from one digit to another, latents on a straight line. The first and the last column
# are data. Look at how suddenly the digit changes.

# %%
share = np.linspace(0, 1, 10, dtype=np.float32)[:, None]
lines = {
    loss: run.decode(means[loss][0] * (1 - share) + means[loss][1] * share)
    for loss, run in results.items()
}
pictures.images(
    [[data[0], *images, data[1]] for images in lines.values()], names=list(LOSSES), scale=2
)

# %% [markdown]
# All that a model can draw, as figure 3 of the paper has it: latents from -1.5 to 1.5, the first to
# the right and the second upwards. Look for borders between digits, and for how much of the square
# each takes.

# %%
SIDE = 9
grid = figures.manifold_latents(SIDE)
manifolds = [figures.tile(run.decode(grid)) for run in results.values()]
pictures.images([manifolds], [list(LOSSES)])

# %% [markdown]
# In numbers: sharpness is the variance of the Laplacian relative to the data's; the plot has the
# power of each frequency, relative to the data's. Look at how L2 loses power at most frequencies.
# Do not look for a winner here: these digits, enlarged from 8×8, are smooth themselves, and ten
# passes are few, above all for Watson-DFT. On MNIST, `docs/results.md` has it five times as sharp
# as L2.

# %%
print(f"{'sharpness of':12} {'reconstructions':>16} {'samples':>9}   (1: as sharp as the data)")
for loss in LOSSES:
    sharp = [quality.sharpness(x[loss], data) for x in (reconstructions, samples)]
    print(f"{loss:12} {sharp[0]:16.2f} {sharp[1]:9.2f}")


def draw(left, right):
    reference = quality.radial_spectrum(data)
    for ax, images in ((left, reconstructions), (right, samples)):
        for i, loss in enumerate(LOSSES):
            ratio = quality.radial_spectrum(images[loss]) / reference
            frequencies = np.arange(1, len(ratio) + 1)
            ax.plot(
                frequencies, ratio, color=pictures.COLORS[i], marker=pictures.MARKERS[i], label=loss
            )
        ax.axhline(1, color="black", linestyle=":")
        ax.set_yscale("log")
    pictures.label(left, "frequency (cycles per image)", "power (data = 1)", "reconstructions")
    pictures.label(right, "frequency (cycles per image)", "", "samples")
    left.legend()


pictures.plots(2, draw)
