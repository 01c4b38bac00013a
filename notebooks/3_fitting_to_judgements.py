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
# # Fitting a loss to judgements
#
# People see a photograph and two distorted versions, and say which one is closer. A loss agrees if
# its two distances are in the same order. In this notebook Watson-DCT learns from such choices,
# with sixteen seeds at once.
#
# A triplet has three patches, and the fraction of people who would choose the second version. These
# fractions are derived from KADID-10k's published opinions, which are means for each type and level
# of distortion over other photographs. Nobody was asked about these very patches. The triplets are
# made once on this machine, within a minute, and take 300 MB in the cache. Look at the fractions:
# where people disagree, no loss can agree with all of them.

# %%
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, "..")  # the folder of the clone, for the notebooks' own pictures

import watson_jax as wj
from notebooks import pictures
from watson_jax import training
from watson_jax.datasets import load_photos_2afc

train = load_photos_2afc("train", color="gray")
held_out = load_photos_2afc("val-scenes", color="gray")


def gray(images):
    """Bytes in colour to the luma Y, in [0, 1]."""
    return wj.rgb_to_ycbcr(jnp.asarray(images, jnp.float32) / 255)[..., :1]


clear = np.maximum(train.preference, 1 - train.preference) > 0.9
print(f"{len(train)} triplets to fit on; in {clear.mean():.0%} more than 90 % would choose alike")
some = [3, 17, 58, 64, 90, 134]
pictures.images(
    [[gray(part[i]) for i in some] for part in (train.reference, train.first, train.second)],
    [
        [""] * 6,
        [f"{1 - train.preference[i]:.0%}" for i in some],
        [f"{train.preference[i]:.0%}" for i in some],
    ],
    names=["reference", "first version", "second version"],
    scale=2,
)

# %% [markdown]
# `fittable` splits a loss into features, which stay the same during a fit (the transform of all
# images), and a distance, which depends on the parameters. All seeds share the features. The seeds
# differ in small noise on the starting values and in the coefficients that they drop. Look at how
# little code is needed: one compiled step fits all sixteen.

# %%
TRIALS = 16  # quick: 2
STEPS = 240  # quick: 4
start = wj.load_params("watson-dct", color="gray", weights="initial")
loss = training.fittable(start)
optimizer = optax.scale_by_adam()
trials = training.start_trials(
    loss,
    optimizer,
    seeds=jnp.arange(TRIALS),
    learning_rates=jnp.full(TRIALS, 1e-2),
    start_noise=0.1,
)
step = training.make_fit_step(
    loss, optimizer, optax.cosine_decay_schedule(1.0, STEPS), dropout=True
)
scores = training.make_scores(loss)


def triplets(data, rows):
    first, second, reference = (gray(x[rows]) for x in (data.first, data.second, data.reference))
    return training.Triplets(
        loss.features(first, reference), loss.features(second, reference), data.preference[rows]
    )


def agreement(learned, data, rows):
    """How many of the people each trial agrees with, `[trials, triplets]`."""
    return np.asarray(jax.jit(scores)(learned, triplets(data, rows))["agreement"])


jitted = jax.jit(step)
test_rows = np.arange(0, len(held_out), 4)
rng = np.random.default_rng(0)
train_loss, seen, found = [], [], []
for i in range(STEPS):
    if i % 40 == 0:
        seen.append(i)
        found.append(agreement(trials.learned, held_out, test_rows).mean(axis=1))
    trials, metrics = jitted(trials, triplets(train, rng.choice(len(train), 50, replace=False)))
    train_loss.append(metrics["loss"])
seen.append(STEPS)
found.append(agreement(trials.learned, held_out, test_rows).mean(axis=1))
print(
    f"agreement on {len(test_rows)} triplets held out: {found[0].mean():.1%} to {found[-1].mean():.1%}"
)

# %% [markdown]
# The band reaches from the lowest to the highest seed, and the line is their median. Look at the
# right plot: it shows two photographs that no seed was fitted to. The dashed line is the agreement
# of L2. The dotted line is the human reference, the expected agreement of a random observer. It is
# not an upper bound: a person sometimes chooses with the minority, and a loss can always choose
# with the majority.

# %%
human = wj.two_afc.human_agreement(held_out.preference[test_rows]).mean()
images = [gray(x[test_rows]) for x in (held_out.first, held_out.second, held_out.reference)]


def agreement_of(loss):
    """The same of a loss that is not fitted, `[triplets]`."""
    first, second, reference = images
    distances = loss(first, reference), loss(second, reference)
    return np.asarray(wj.two_afc.agreement(*distances, held_out.preference[test_rows]))


others = {
    "L2": agreement_of(wj.get_loss("l2", color="gray")),
    "SSIM": agreement_of(wj.get_loss("ssim", color="gray")),
    "Watson-DCT, initial": agreement_of(wj.get_loss("watson-dct", color="gray", weights="initial")),
}


def draw(left, right):
    losses = np.asarray(train_loss)
    width = min(20, STEPS)
    smooth = np.stack([np.convolve(x, np.ones(width) / width, "valid") for x in losses.T])
    for ax, x, y in (
        (left, np.arange(width - 1, STEPS), smooth),
        (right, seen, 100 * np.stack(found).T),
    ):
        ax.fill_between(x, y.min(axis=0), y.max(axis=0), color=pictures.COLORS[4], alpha=0.5)
        ax.plot(x, np.median(y, axis=0), color=pictures.COLORS[0])
    right.axhline(100 * others["L2"].mean(), color=pictures.COLORS[1], linestyle="--", label="L2")
    right.axhline(100 * human, color="black", linestyle=":", label="human reference")
    right.legend()
    pictures.label(left, "step", f"training loss (nats, mean of {width} steps)")
    pictures.label(right, "step", "agreement, held out (%)")


pictures.plots(2, draw)

# %% [markdown]
# What has changed? A threshold is the smallest visible change of a coefficient. Frequencies rise to
# the right and downwards, in half cycles per block of 8 pixels. Look at the right map: people are
# more sensitive than in Watson's table where it is violet, and less sensitive where it is orange.
# The orange corner is the mean of a block, its brightness.

# %%
fitted = jax.vmap(loss.as_params)(trials.learned.metric)
before, after = (
    np.asarray(start.thresholds[0]),
    np.median(np.asarray(fitted.thresholds[:, 0]), axis=0),
)


def draw(*axes):
    change = np.log2(after / before)
    top = np.abs(change).max()
    maps = (
        (np.log2(before), "before"),
        (np.log2(after), "after, median of the trials"),
        (change, "change"),
    )
    low, high = min(x.min() for x, _ in maps[:2]), max(x.max() for x, _ in maps[:2])
    for ax, (x, title) in zip(axes, maps, strict=True):
        limits = (-top, top) if title == "change" else (low, high)
        shown = ax.imshow(
            x, cmap="PuOr_r" if title == "change" else "cividis", vmin=limits[0], vmax=limits[1]
        )
        pictures.label(
            ax, "horizontal frequency (½ cycles/block)", "vertical (½ cycles/block)", title
        )
        ax.figure.colorbar(
            shown, ax=ax, label="log2 of threshold" if title != "change" else "log2 of ratio"
        )


pictures.plots(3, draw, size=(11, 3.2))

# %% [markdown]
# Agreement by type of distortion, on the held-out photographs, with the number of triplets in
# brackets. The bars are one standard error to each side, computed as if the triplets were
# independent; but they come from two photographs. Look at darken, mean shift and white noise, where
# the fit gains more over the initial parameters than the bars. Look at brighten and multiplicative
# noise, where it stays below the human reference.

# %%
fit = agreement(trials.learned, held_out, test_rows).mean(axis=0)
people = np.asarray(wj.two_afc.human_agreement(held_out.preference[test_rows]))
types = {name: np.isin(test_rows, rows) for name, rows in held_out.categories.items()}
order = sorted(types, key=lambda name: fit[types[name]].mean() - others["L2"][types[name]].mean())


def draw(ax):
    for i, (name, values) in enumerate(
        {**others, "Watson-DCT, fitted": fit, "human reference": people}.items()
    ):
        color = "black" if name == "human reference" else pictures.COLORS[i]
        some = [100 * values[types[kind]] for kind in order]
        ax.errorbar(
            [x.mean() for x in some],
            np.arange(len(order)) + 0.14 * (2 - i),
            xerr=[x.std(ddof=1) / np.sqrt(len(x)) for x in some],
            fmt=pictures.MARKERS[i],
            markersize=5,
            elinewidth=1,
            color=color,
            label=name,
        )
    ax.set_yticks(range(len(order)), [f"{kind} ({types[kind].sum()})" for kind in order])
    ax.grid(axis="y", alpha=0.3)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    pictures.label(ax, "agreement (%)", "type of distortion (triplets)")


pictures.plots(1, draw, size=(9, 7))
