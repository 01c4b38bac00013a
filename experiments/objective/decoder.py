"""Fits a decoder and one latent for each image with a loss, as the decoder of a generative model is."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from flax import nnx
from jaxtyping import Float

import watson_jax as wj
from watson_jax.models import CelebAVAE, MnistVAE

ImageArray = Float[np.ndarray, "number height width channels"]

# Narrow versions of the paper's decoders.
_MODELS: dict[int, Callable[..., nnx.Module]] = {
    1: lambda key, latents: MnistVAE(key, latent_size=latents, features=(8, 16), hidden=256),
    3: lambda key, latents: CelebAVAE(key, latent_size=latents, features=(16, 32, 64), hidden=256),
}
_LATENT_RATE = (
    5.0  # of the decoder's: every latent moves once in an epoch, the decoder in every step
)


@dataclasses.dataclass(frozen=True)
class DecoderFit:
    """What a loss made of a decoder.

    Attributes:
      images: the decoded images.
      gradient_norms: of the decoder's parameters, in each step.
      curve: (step, mean squared error of that step's images), every 50 steps.
    """

    images: ImageArray
    gradient_norms: Float[np.ndarray, " steps"]
    curve: list[tuple[int, float]]


def fit_decoder(
    loss: wj.Loss,
    images: ImageArray,
    *,
    latents: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    description: str = "",
) -> DecoderFit:
    """Trains decoder and latents together with Adam, whose rate falls to 0 along a cosine.

    Latents start as the images' whitened principal components, the same for every loss. Each step moves
    the grid of blocks at random.

    Args:
      loss: the objective; its mean over a batch is made small.
      images: in [0, 1], 32×32 grey or 64×64 in colour; as many as are decoded in the end.
      latents: numbers for each image.
      steps: of Adam.
      batch_size: images in a step.
      learning_rate: of the decoder, at the start.
      seed: of the decoder's start, the order of the images and the shifts.
      description: of the progress bar.
    """
    init_key, shift_key = jax.random.split(jax.random.key(seed))
    model = _MODELS[images.shape[-1]](init_key, latents)
    graphdef, decoder, rest = nnx.split(  # type: ignore[misc]
        model, lambda path, _: str(path[0]).startswith("decoder"), ...
    )
    schedule = optax.cosine_decay_schedule(learning_rate, steps)
    optimizer = optax.partition(
        {
            "decoder": optax.adam(schedule),
            "latents": optax.adam(lambda step: _LATENT_RATE * schedule(step)),
        },
        {"decoder": "decoder", "latents": "latents"},
    )

    def decode(learned, rows):
        return nnx.merge(graphdef, learned["decoder"], rest).decode(learned["latents"][rows])

    def step(learned, state, rows, batch, key):
        def objective(learned):
            decoded = decode(learned, rows)
            value = jnp.mean(loss(*wj.random_grid_shift(key, decoded, batch)))
            return value, jnp.mean((decoded - batch) ** 2)

        (_, error), gradient = jax.value_and_grad(objective, has_aux=True)(learned)
        updates, state = optimizer.update(gradient, state, learned)
        norm = optax.tree.norm(gradient["decoder"])
        return optax.apply_updates(learned, updates), state, norm, error

    step = jax.jit(step, donate_argnums=(0, 1))
    learned = {"decoder": decoder, "latents": jnp.asarray(_principal_components(images, latents))}
    state = optimizer.init(learned)
    rng = np.random.default_rng(seed)
    norms, errors = [], []
    for i in tqdm.trange(steps, desc=description, unit="step", disable=None):
        per_epoch = len(images) // batch_size
        if i % per_epoch == 0:
            order = rng.permutation(len(images))
        rows = order[i % per_epoch * batch_size :][:batch_size]
        key = jax.random.fold_in(shift_key, i)
        learned, state, norm, error = step(learned, state, rows, images[rows], key)
        norms.append(norm)
        errors.append(error)
    decode = jax.jit(decode)
    rows = np.arange(len(images))
    parts = [decode(learned, rows[i : i + batch_size]) for i in rows[::batch_size]]
    curve = [(i + 1, float(errors[i])) for i in range(0, steps, 50)]
    return DecoderFit(np.concatenate(parts), np.asarray(jnp.stack(norms)), curve)


def _principal_components(images: ImageArray, number: int) -> Float[np.ndarray, "images number"]:
    """Scores of the largest components, each with variance 1."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    left, _, _ = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    return (left[:, :number] * np.sqrt(len(images))).astype(np.float32)
