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
# # One metric, many parameter sets
#
# A Watson loss is a pure function of its parameters, and these are a pytree of arrays. So
# `jax.vmap` evaluates hundreds of parameter sets in one call. This notebook uses 320 of them. Each
# set is the packaged Watson-DFT with one of five things multiplied by one of 64 factors. Look at
# the shapes: 320 sets, each of three channels.

# %%
import sys
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, "..")  # the folder of the clone, for the notebooks' own pictures

import watson_jax as wj
from notebooks import pictures
from watson_jax.datasets import distort, photographs

base = wj.load_params("watson-dft", color="rgb")
line = jnp.linspace(0, 1, 64)  # quick: jnp.linspace(0, 1, 3)
times = {  # the packaged values of all three channels; 1 is the packaged set
    "pooling exponents": 0.5 * 10**line,
    "luminance exponents": -2 + 5 * line,
    "contrast exponents": 0.05 + 1.55 * line,
    "thresholds": 10 ** (2 * line - 1),
    "phase weights": 10 ** (2 * line - 1),
}
logit = jax.scipy.special.logit
change = {
    "pooling exponents": lambda s: replace(base, pooling_exponent=base.pooling_exponent * s),
    "luminance exponents": lambda s: replace(base, luminance_exponent=base.luminance_exponent * s),
    "contrast exponents": lambda s: replace(base, contrast_logit=logit(base.contrast_exponent * s)),
    "thresholds": lambda s: replace(base, log_thresholds=base.log_thresholds + jnp.log(s)),
    "phase weights": lambda s: replace(base, log_phase_weights=base.log_phase_weights + jnp.log(s)),
}
several = [jax.vmap(change[name])(s) for name, s in times.items()]
sets = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *several)
print({field: leaf.shape for field, leaf in vars(sets).items() if hasattr(leaf, "shape")})

# %% [markdown]
# One call computes the distances of seven distortions of a photograph under all sets. Each plot
# shows the share of each distortion in the sum of the distances. Its title says in how many ways
# its 64 sets rank the seven distortions. The dotted line is the packaged set. Look at the luminance
# and contrast exponents, which matter little. Look at the change of contrast: its share is largest
# near the packaged pooling exponents. It falls as phase weights grow, and as thresholds grow
# beyond the packaged ones: phases count most then, and a change of contrast moves no phase.

# %%
KINDS = {
    "gaussian blur": 4, "JPEG": 4, "white noise": 4, "impulse noise": 4, "mean shift": 5,
    "contrast change": 5, "jitter": 3,
}  # fmt: skip
photo = photographs()["chelsea"]
part = np.s_[45:205, 95:255]
reference = jnp.asarray(photo[part], jnp.float32) / 255
images = jnp.stack(
    [jnp.asarray(distort(photo, *kind)[part], jnp.float32) / 255 for kind in KINDS.items()]
)
pairs = images, jnp.broadcast_to(reference, images.shape)

metrics = jax.jit(jax.vmap(wj.watson_dft, in_axes=(0, None, None)))
distances = np.asarray(metrics(sets, *pairs)).reshape(len(times), -1, len(KINDS))
shares = 100 * distances / distances.sum(axis=-1, keepdims=True)
ranks = distances.argsort(axis=-1)
LOGARITHMIC = "pooling exponents", "thresholds", "phase weights"


def draw(*axes):
    for ax, (name, x), y, orders in zip(axes, times.items(), shares, ranks, strict=True):
        for i, kind in enumerate(KINDS):
            ax.plot(
                x,
                y[:, i],
                color=pictures.COLORS[i],
                marker=pictures.MARKERS[i],
                markevery=21,
                label=kind,
            )
        ax.axvline(1, color="black", linestyle=":")
        if name in LOGARITHMIC:
            ax.set_xscale("log")
            ax.set_xticks([x[0], 1, x[-1]], [f"{t:g}" for t in (x[0], 1, x[-1])])
            ax.minorticks_off()
        ax.set_ylim(0, 1.05 * shares.max())
        ways = len(np.unique(orders, axis=0))
        title = f"{ways} ranking{'s' if ways > 1 else ''}"
        pictures.label(ax, f"{name} (times packaged)", "share of distance (%)", title)
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)


pictures.plots(5, draw, size=(15, 3.8))

# %% [markdown]
# A shift of a photograph by a pixel is hardly visible. This plot shows the distances of photographs
# that are shifted by up to eight pixels, in units of the distance of clearly visible white noise.
# Look at the first pixel: for Watson-DCT it counts more than the noise, for the other losses half
# as much. Look at larger shifts: SSIM and Watson-DFT level out, and L2 continues to grow.

# %%
noisy = jnp.asarray(distort(photo, "white noise", 4)[part], jnp.float32) / 255
moved = jnp.stack(
    [jnp.asarray(photo[45:205, 95 + i : 255 + i], jnp.float32) / 255 for i in range(9)]
)


def relative(name):
    loss = jax.jit(wj.get_loss(name, color="rgb"))
    return loss(moved, jnp.broadcast_to(reference, moved.shape)) / loss(noisy, reference)


def draw(ax):
    for i, name in enumerate(("l2", "ssim", "watson-dct", "watson-dft")):
        ax.plot(relative(name), color=pictures.COLORS[i], marker=pictures.MARKERS[i], label=name)
    ax.axhline(1, color="black", linestyle=":")
    pictures.label(ax, "shift to the left (pixels)", "distance (white noise = 1)")
    ax.legend()


pictures.plots(1, draw, size=(6, 3.6))

# %% [markdown]
# Watson losses compare 8×8 blocks one by one, so steps between blocks cost nothing. Here an image
# starts as a blurred photograph and follows the gradient of a loss, without and with
# `random_grid_shift`. Look at Watson-DFT around the pupil and along the rim of the eye: without
# shifts, single blocks have patterns. With shifts they are gone. The number above an image is the
# ratio of steps across borders of blocks to other steps. It hardly changes, as the patterns lie
# inside of blocks. The printed range is that of the photograph itself, with the grid at all 64
# positions.

# %%
STEPS = 200  # quick: 2
small = np.s_[15:79, 15:79]
target = reference[small]
start = jnp.asarray(distort(photo, "gaussian blur", 5)[part][small], jnp.float32) / 255
optimizer = optax.adam(optax.cosine_decay_schedule(0.02, STEPS))


@jax.jit
def descend(loss, shifted):
    def step(carry, key):
        image, state = carry

        def objective(image):
            moved = wj.random_grid_shift(key, image, target)
            return jnp.where(shifted, loss(*moved), loss(image, target))

        updates, state = optimizer.update(jax.grad(objective)(image), state)
        return (jnp.clip(image + updates, 0, 1), state), None

    keys = jax.random.split(jax.random.key(0), STEPS)
    return jax.lax.scan(step, (start, optimizer.init(start)), keys)[0][0]


def blockiness(image):
    luma = np.asarray(wj.rgb_to_ycbcr(image)[..., 0])
    ratios = []
    for x in (luma, luma.T):
        steps = np.abs(np.diff(x, axis=1)).mean(axis=0)
        ratios.append(steps[7::8].mean() / np.delete(steps, np.s_[7::8]).mean())
    return np.mean(ratios)


places = [(i, j) for i in range(8) for j in range(8)]
natural = [blockiness(reference[11 + i : 75 + i, 11 + j : 75 + j]) for i, j in places]
print(f"photograph, all places of the grid: {min(natural):.2f} to {max(natural):.2f}")

rows = {}
for name in ("watson-dct", "watson-dft"):
    loss = wj.get_loss(name, color="rgb")
    images_of = {
        "start": start,
        "unshifted": descend(loss, False),
        "random_grid_shift": descend(loss, True),
    }
    rows[name] = images_of | {"photograph": target}
pictures.images(
    [list(row.values()) for row in rows.values()],
    [[f"{name}: {blockiness(image):.2f}" for name, image in row.items()] for row in rows.values()],
    names=list(rows),
    scale=3,
)

# %% [markdown]
# How much time does one call save? The same 320 metrics of one pair of images are computed in one
# call, and one after the other. Look at the ratio. The times depend on the machine and on its load.

# %%
pair = images[0], reference
one = jax.jit(wj.watson_dft)
alone = [jax.tree.map(lambda leaf, i=i: leaf[i], sets) for i in range(len(sets.pooling_exponent))]
programs = {
    "one call with vmap": lambda: metrics(sets, *pair).block_until_ready(),
    "a loop of compiled calls": lambda: [one(p, *pair) for p in alone][-1].block_until_ready(),
}
for name, run in programs.items():
    run()
    start = time.perf_counter()
    for _ in range(3):
        run()
    print(f"{name:26} {(time.perf_counter() - start) / 3 * 1e3:7.0f} ms")
