"""Groups of similar images and their Fréchet means, the images with the least mean distance to all."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

import watson_jax as wj

_STEPS, _STEP_SIZE = 400, 0.1


def similar_images(
    images: Float[np.ndarray, "number height width channels"], size: int, groups: int, seed: int
) -> Float[np.ndarray, "groups size height width channels"]:
    """Images drawn at random, each with those nearest to it by their pixels."""
    flat = images.reshape(len(images), -1)
    drawn = flat[np.random.default_rng(seed).choice(len(images), groups, replace=False)]
    order = [np.argsort(((flat - one) ** 2).sum(-1))[:size] for one in drawn]
    return images[np.array(order)]


@jax.jit
def frechet_means(
    loss: wj.Loss, groups: Float[Array, "groups size height width channels"], key: PRNGKeyArray
) -> Float[Array, "groups height width channels"]:
    """Minimises the mean distance of one image to the members of a group, from their mean."""
    # Of normalised gradients, as those of some losses are rare and huge, which Adam remembers too long.
    optimizer = optax.chain(
        optax.normalize_by_update_norm(),
        optax.adam(optax.cosine_decay_schedule(_STEP_SIZE, _STEPS)),
    )

    def mean_of(members: Array) -> Array:
        def mean_distance(logits: Array, key: PRNGKeyArray) -> Array:
            image = jnp.broadcast_to(jax.nn.sigmoid(logits), members.shape)
            return loss(*wj.random_grid_shift(key, image, members)).mean()

        def step(
            carry: tuple[Array, optax.OptState], key: PRNGKeyArray
        ) -> tuple[tuple[Array, optax.OptState], None]:
            logits, state = carry
            updates, state = optimizer.update(jax.grad(mean_distance)(logits, key), state)
            return (logits + updates, state), None

        mean = jnp.clip(members.mean(0), 0.01, 0.99)
        start = jnp.log(mean / (1 - mean))
        keys = jax.random.split(key, _STEPS)
        (logits, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), keys)
        return jax.nn.sigmoid(logits)

    return jax.lax.map(mean_of, groups)
