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
# # Start here: what do perceptual losses see?
#
# Ten distortions of two photographs, judged by every loss of this library that needs no download;
# then a look at *where* a loss sees a difference, and at what an image becomes that only has to
# please it.
#
# A part of 160×160 pixels of each photograph. Look at what is smooth in them and what has texture:
# the same noise is far easier to see on the first.

# %%
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, "..")  # the folder of the clone, for the notebooks' own pictures

import watson_jax as wj
from notebooks import pictures
from watson_jax.datasets import distort, photographs

photos = {name: photographs()[name] for name in ("coffee", "chelsea")}
part = {"coffee": np.s_[80:240, 120:280], "chelsea": np.s_[45:205, 95:255]}
references = {name: photo[part[name]] for name, photo in photos.items()}
pictures.images([list(references.values())], [list(references)])

# %% [markdown]
# Each is distorted in ten ways as a whole, as KADID-10k does it, and cropped then. Look for pairs
# that you would call equally bad although they are of quite different kinds.

# %%
DISTORTIONS = {
    "gaussian blur": 4, "motion blur": 4, "JPEG": 4, "JPEG2000": 4, "white noise": 4,
    "impulse noise": 4, "mean shift": 5, "contrast change": 5, "jitter": 3, "color shift": 4,
}  # fmt: skip
distorted = {
    name: np.stack([distort(photo, kind, level)[part[name]] for kind, level in DISTORTIONS.items()])
    for name, photo in photos.items()
}
half = len(DISTORTIONS) // 2
kinds = list(DISTORTIONS)
pictures.images(
    [distorted["coffee"][:half], distorted["coffee"][half:]], [kinds[:half], kinds[half:]]
)

# %% [markdown]
# Every loss is one call by name. Each column of the table ranks the distortions of one photograph,
# from 1 for what the loss takes for the closest to 10. Look at rows whose numbers differ much from
# loss to loss: a change of brightness or contrast that L2 finds worst, and a blur that it hardly
# minds.

# %%
NAMES = ["l1", "l2", "ssim", "ms-ssim", "adaptive", "watson-dct", "watson-dft"]
losses = {
    name: wj.get_loss(
        name, color="rgb", **({"image_size": (160, 160)} if name == "adaptive" else {})
    )
    for name in NAMES
}


def distances(loss, name):
    """Of all distortions of a photograph, in one call."""
    images, reference = (
        jnp.asarray(x, jnp.float32) / 255 for x in (distorted[name], references[name])
    )
    return np.asarray(jax.jit(loss)(images, jnp.broadcast_to(reference, images.shape)))


found = {(name, photo): distances(losses[name], photo) for name in NAMES for photo in photos}
ranks = {key: values.argsort().argsort() + 1 for key, values in found.items()}
print(f"{'':16}" + "".join(f"{name:>12}" for name in NAMES))
print(f"{'':16}" + "".join(f"{'  '.join(photo[:3] for photo in photos):>12}" for _ in NAMES))
for i, kind in enumerate(kinds):
    cells = ["  ".join(f"{ranks[name, photo][i]:3}" for photo in photos) for name in NAMES]
    print(f"{kind:16}" + "".join(f"{cell:>12}" for cell in cells))

# %% [markdown]
# The same as pictures, for the cat: each row goes from what a loss takes for the closest to what it
# takes for the worst. Look at the ends of the rows: would you choose these?

# %%
orders = {name: found[name, "chelsea"].argsort() for name in ("l2", "ssim", "watson-dft")}
small = {name: distorted["chelsea"][order][:, 20:100, 20:100] for name, order in orders.items()}
pictures.images(
    [list(row) for row in small.values()],
    [[kinds[i].replace(" ", "\n", 1) for i in order] for order in orders.values()],
    names=list(orders),
)

# %% [markdown]
# `watson_dft_map` says how much each 8×8 block adds to the distance, from blue for nothing to
# yellow. Look at the noise: it counts on the smooth coffee, and less where the photograph is bright
# or has edges.

# %%
params = wj.load_params("watson-dft", color="rgb")
shown = [kinds.index(kind) for kind in ("gaussian blur", "white noise", "JPEG", "jitter")]
image, reference = (
    jnp.asarray(x, jnp.float32) / 255 for x in (distorted["coffee"][shown], references["coffee"])
)
maps = np.asarray(wj.watson_dft_map(params, image, jnp.broadcast_to(reference, image.shape)))
most = np.quantile(maps, 0.98)
pictures.images(
    [[pictures.overlay(references["coffee"], blocks, most=most) for blocks in maps]],
    [[f"{kinds[i]}\nyellow: {most:.0f} or more" for i in shown]],
)

# %% [markdown]
# A loss is also a direction: from noise, 400 steps of Adam down the gradient lead back to the
# photograph. Look at what is there first. L2 mends all pixels alike; Watson-DFT draws the edges
# before the colours, and puts up longest with single patterns in places where it takes them for
# texture.

# %%
STEPS = 400  # quick: 20
target = jnp.asarray(references["chelsea"][15:143, 15:143], jnp.float32) / 255
optimizer = optax.adam(optax.cosine_decay_schedule(0.1, STEPS))


@jax.jit
def step(loss, image, state, key):
    def objective(image):
        return loss(*wj.random_grid_shift(key, image, target))

    value, gradient = jax.value_and_grad(objective)(image)
    updates, state = optimizer.update(gradient, state)
    return jnp.clip(image + updates, 0, 1), state, value


keep = [0, STEPS // 20, STEPS // 5, STEPS // 2, STEPS]
ways = {}
for name in ("l2", "ssim", "watson-dft"):
    image = jax.random.uniform(jax.random.key(0), target.shape)
    state, way = optimizer.init(image), [image]
    for i in range(STEPS):
        image, state, value = step(losses[name], image, state, jax.random.key(i))
        if i + 1 in keep:
            way.append(image)
    ways[name] = [*way, target]
pictures.images(
    list(ways.values()),
    [[*(f"step {i}" for i in keep), "photograph"]] * len(ways),
    names=list(ways),
)

# %% [markdown]
# **Next:** `2_many_parameter_sets` asks how the parameters of a Watson loss shape all this.
