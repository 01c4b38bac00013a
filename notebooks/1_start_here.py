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
# This notebook distorts two photographs in ten ways, and ranks the results by each loss of this
# library except LPIPS, which needs a download. Then it shows *where* a loss sees a difference.
# Last, it starts from noise and follows the gradient of a loss.
#
# First, a part of 160×160 pixels of each photograph. Look at which regions are smooth and which
# have texture: the same noise is far easier to see in smooth regions.

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
# Each photograph is distorted in ten ways, as in KADID-10k, and cropped afterwards. These are
# distortions of the coffee photograph, 80×80 pixels each, enlarged twice. Look for pairs that you
# would call equally bad although they are of very different kinds.

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
inner = distorted["coffee"][:, 30:110, 16:96]
pictures.images([inner[:half], inner[half:]], [kinds[:half], kinds[half:]], scale=2)

# %% [markdown]
# Every loss is one call by name. Each column of the table ranks the distortions of one photograph,
# from 1 (closest to the original, according to the loss) to 10. `adaptive` has its initial
# parameters, since nothing has trained it. Look at mean shift, which L1 and L2 rank 9 or 10 and
# both Watson losses 1. Look at Gaussian blur, which Watson-DFT ranks 8 and 10 but L2 5 and 6, and at
# impulse noise, which L1 ranks 1.

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
# The same in pictures, for the cat. On the left are the two images that each loss ranks as closest,
# on the right the two that it ranks as worst. Look at the ends of the rows: would you choose the
# same images?

# %%
places = [0, 1, -2, -1]
ends = {name: found[name, "chelsea"].argsort()[places] for name in NAMES}
pictures.images(
    [list(distorted["chelsea"][order][:, 36:84, 36:84]) for order in ends.values()],
    [[f"{ranks[name, 'chelsea'][i]}: {kinds[i]}" for i in order] for name, order in ends.items()],
    names=NAMES,
    scale=2,
)

# %% [markdown]
# `watson_dft_map` says how much each 8×8 block adds to the distance. Look at white noise, which
# counts nearly the same everywhere. Look at blur and jitter, which count along the edges.

# %%
params = wj.load_params("watson-dft", color="rgb")
shown = [kinds.index(kind) for kind in ("gaussian blur", "white noise", "JPEG", "jitter")]
image, reference = (
    jnp.asarray(x, jnp.float32) / 255 for x in (distorted["coffee"][shown], references["coffee"])
)
maps = np.asarray(wj.watson_dft_map(params, image, jnp.broadcast_to(reference, image.shape)))
shares = 100 * maps / maps.sum(axis=(1, 2), keepdims=True)
most = np.quantile(shares, 0.98)
pictures.images(
    [[references["coffee"], *(pictures.heat(blocks, most=most) for blocks in shares)]],
    [["photograph", *(kinds[i] for i in shown)]],
    bar=("share of the distance (%)", most),
)

# %% [markdown]
# A loss also has a gradient. Here 400 steps of Adam lead from noise back to the photograph. A
# `Loss` is a pytree of its parameters, so the compiled step takes it as an argument. Look at step
# 20: with L2 and SSIM, only some noise is left; with Watson-DFT, there is more, and colours are
# pale. Watson-DCT would still have some noise at step 400, and Watson-DFT with `weights="initial"`
# would be mostly noise. The printed numbers are each loss's own distance, in its own unit.

# %%
STEPS = 400  # quick: 20
target = jnp.asarray(references["chelsea"][24:88, 24:88], jnp.float32) / 255
optimizer = optax.adam(optax.cosine_decay_schedule(0.1, STEPS))


@jax.jit
def step(loss, image, state, key):
    def objective(image):
        return loss(*wj.random_grid_shift(key, image, target))

    value, gradient = jax.value_and_grad(objective)(image)
    updates, state = optimizer.update(gradient, state)
    return jnp.clip(image + updates, 0, 1), state, value


keep = [0, STEPS // 20, STEPS // 5, STEPS]
ways = {}
for name in ("l2", "ssim", "watson-dft"):
    image = jax.random.uniform(jax.random.key(0), target.shape)
    state, way, passed = optimizer.init(image), [image], []
    for i in range(STEPS):
        image, state, value = step(losses[name], image, state, jax.random.key(i))
        if i + 1 in keep:
            way.append(image)
            passed.append(f"{value:.3g}")
    ways[name] = [*way, target]
    print(f"{name:12} distance at steps {keep[1:]}: {', '.join(passed)}")
pictures.images(
    list(ways.values()),
    [[*(f"step {i}" for i in keep), "photograph"]] * len(ways),
    names=list(ways),
    scale=2,
)

# %% [markdown]
# **Next:** `2_many_parameter_sets` asks how the parameters of a Watson loss shape all this.
