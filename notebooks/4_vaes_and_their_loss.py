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
# What a variational autoencoder cannot encode, its decoder has to average. With L2 the result is a
# mean of images, and blurred. Here the paper's MNIST-VAE, made narrower, learns 1,536 small digits
# with three losses in sixteen epochs each; `python -m experiments.vae.main` does the same for
# longer.
#
# Each run leaves its folder with checkpoints, like the experiment. Look at KL, the information of
# both latents about an image in nats: it is highest with L2 and lowest with SSIM. The times depend
# on the machine.

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

EPOCHS = 16  # quick: 1
LOSSES = ("l2", "ssim", "watson-dft")  # quick: ("l2",)
folder = Path(tempfile.mkdtemp())
preset = configs.PRESETS["default"]  # quick: replace(configs.PRESETS["smoke"], train_images=64)
preset = preset.with_epochs(EPOCHS)
results = {}
for loss in LOSSES:
    train.train_and_evaluate(replace(preset, loss=loss), folder / loss, progress=False)
    results[loss] = runs.load_run(folder / loss)
    last = results[loss].rows[-1]
    print(
        f"{loss:12} {last['step']} steps, {last['seconds']:.0f} s, KL {last['held_out_kl']:.1f} nats"
    )

# %% [markdown]
# Held-out digits, and each model's reconstructions from their mean latents. Only two numbers pass
# through the model, so details must be lost. Look at how: L2's images are grey where the model is
# unsure (first, second and seventh column). SSIM draws another digit with clear strokes, such as a
# 9 for the 5. Watson-DFT leaves a trace of an 8 in each 0.

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
# Samples: decoded latents from the standard normal, the same for all three models. Look for samples
# that are two digits at once.

# %%
latents = np.asarray(jax.random.normal(jax.random.key(1), (261, 2)))
samples = {loss: run.decode(latents) for loss, run in results.items()}
pictures.images([list(images[:12]) for images in samples.values()], names=list(LOSSES), scale=2)

# %% [markdown]
# Images on a straight line in the latents, from a 6 to a 7. The first and the last column are data.
# Look at what lies between: SSIM passes a 0, and Watson-DFT something like a 4.

# %%
share = np.linspace(0, 1, 10, dtype=np.float32)[:, None]
lines = {
    loss: run.decode(means[loss][3] * (1 - share) + means[loss][6] * share)
    for loss, run in results.items()
}
pictures.images(
    [[data[3], *images, data[6]] for images in lines.values()], names=list(LOSSES), scale=2
)

# %% [markdown]
# The whole manifold, as in figure 3 of the paper: latents from -1.5 to 1.5, the first to the right
# and the second upwards. Look for borders between digits, and for the area that each digit takes:
# with Watson-DFT, 8 takes the most.

# %%
SIDE = 9
grid = figures.manifold_latents(SIDE)
manifolds = [figures.tile(run.decode(grid)) for run in results.values()]
axes = "latent variable 1", "latent variable 2", grid[0, :, 0]
pictures.images([manifolds], [list(LOSSES)], axes=axes)

# %% [markdown]
# Numbers: sharpness is the variance of the Laplacian, relative to the data's. The plot shows the
# power of each frequency, relative to the data's. The spectral distance is the mean over
# frequencies of the absolute log10 of that ratio (0.3 is a factor of two). Look at the row of L2:
# its images are the least sharp and lose power at most frequencies, most of all its samples. Do not
# look for a winner between the other two: these digits, enlarged from 8×8, are smooth, and sixteen
# epochs with one seed are few. On MNIST, Watson-DFT is more than twice as sharp as L2
# (`docs/results.md`).

# %%
spectrum = quality.radial_spectrum(data)
spectra = {
    what: {loss: quality.radial_spectrum(images[loss]) for loss in LOSSES}
    for what, images in (("reconstructions", reconstructions), ("samples", samples))
}
print(f"{'':12}{'sharpness (data: 1)':>28}{'spectral distance (data: 0)':>32}")
print(f"{'':12}" + 2 * f"{'reconstructions':>18}{'samples':>10}")
for loss in LOSSES:
    sharp = [quality.sharpness(x[loss], data) for x in (reconstructions, samples)]
    far = [quality.log_distance(x[loss], spectrum) for x in spectra.values()]
    print(f"{loss:12}{sharp[0]:18.2f}{sharp[1]:10.2f}{far[0]:18.2f}{far[1]:10.2f}")


def draw(left, right):
    for ax, (what, of) in zip((left, right), spectra.items(), strict=True):
        for i, loss in enumerate(LOSSES):
            ratio = of[loss] / spectrum
            frequencies = np.arange(1, len(ratio) + 1)
            ax.plot(
                frequencies, ratio, color=pictures.COLORS[i], marker=pictures.MARKERS[i], label=loss
            )
        ax.axhline(1, color="black", linestyle=":")
        ax.set_yscale("log")
        ax.set_xticks(range(2, len(spectrum) + 1, 2))
        pictures.label(ax, "frequency (cycles per image)", "power (data = 1)", what)
    right.sharey(left)
    left.autoscale(axis="y")
    left.legend()


pictures.plots(2, draw)
