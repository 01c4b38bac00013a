"""Training a VAE with a perceptual loss: objective, step, and many steps as one program."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from watson_jax.models import VaeOutput
from watson_jax.transforms import random_grid_shift

LossFn = Callable[[Any, Array, Array], Array]
Metrics = dict[str, Array]


class Vae(Protocol):
    """What training asks of a model."""

    def __call__(self, image: Array, /, *, key: PRNGKeyArray) -> VaeOutput:
        """Encodes, samples and decodes."""
        ...


class TrainState(NamedTuple):
    """Everything that changes in training; the rest follows from the seed and `step`.

    Attributes:
      params: of the model.
      batch_stats: running statistics of its batch norms, if it has any.
      loss_params: those of the loss if it learns along with the model, as Adaptive does; else None.
      opt_state: of the optimizer of both.
      step: how many steps were taken.
    """

    params: Any
    batch_stats: Any
    loss_params: Any
    opt_state: optax.OptState
    step: Int[Array, ""]


class NonFiniteError(ArithmeticError):
    """The loss or its gradient became infinite or NaN.

    Attributes:
      step: the first step, counted from 0, at which that happened.
    """

    def __init__(self, step: int):
        super().__init__(f"The loss or its gradient is not finite at step {step}.")
        self.step = step


def kl_divergence(
    mean: Float[ArrayLike, "*batch latent"], log_variance: Float[ArrayLike, "*batch latent"]
) -> Float[Array, "*batch"]:
    """KL divergence of a diagonal Gaussian from the standard normal, one value per image.

    Example:
      >>> kl_divergence(jnp.array([1.0, 0.0]), jnp.zeros(2)).item()
      0.5
    """
    return -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance), axis=-1)


def vae_terms(
    model: Vae,
    loss_fn: LossFn,
    loss_params: Any,
    image: Float[Array, "batch height width channels"],
    *,
    key: PRNGKeyArray,
    shift: bool = True,
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """The two terms of the objective for each image.

    Args:
      model: called as `model(image, key=key)`.
      loss_fn: `fn(params, reconstruction, data)`; the data is the reference masking derives from.
      loss_params: its parameters.
      image: the data, in [0, 1].
      key: for the latents and the grid shift.
      shift: whether the block grid is shifted at random (once for the batch, as the authors do);
        right for training, wrong for a number that is reported.

    Returns:
      Reconstruction loss and KL divergence, both `[batch]`.
    """
    latent_key, shift_key = jax.random.split(key)
    output = model(image, key=latent_key)
    reconstruction = output.reconstruction
    if shift:
        reconstruction, image = random_grid_shift(shift_key, reconstruction, image)
    recon = loss_fn(loss_params, reconstruction, image)
    return recon, kl_divergence(output.mean, output.log_variance)


def adam(
    learning_rate: float, *, halving_steps: float
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Adam whose learning rate falls smoothly to one half every `halving_steps` steps.

    Returns:
      The optimizer, and its learning rate as a function of the step.
    """
    schedule = optax.exponential_decay(learning_rate, halving_steps, 0.5)
    return optax.adam(schedule), schedule


def create_train_state(
    model: nnx.Module, optimizer: optax.GradientTransformation, *, loss_params: Any = None
) -> tuple[nnx.GraphDef, TrainState]:
    """Splits the model, once, into its definition and a state of plain nested dictionaries.

    The state has copies of all arrays, as training reuses their memory.

    Args:
      model: of this library, or one that is called alike.
      optimizer: from optax.
      loss_params: starting values of a loss that learns along with the model.
    """
    graphdef, *states = nnx.split(model, nnx.Param, nnx.BatchStat)
    params, batch_stats = (nnx.to_pure_dict(state) for state in states)
    params, batch_stats, loss_params = jax.tree.map(jnp.copy, (params, batch_stats, loss_params))
    opt_state = optimizer.init((params, loss_params))
    step = jnp.zeros((), jnp.int32)
    return graphdef, TrainState(params, batch_stats, loss_params, opt_state, step)


def merge_model(graphdef: nnx.GraphDef, params: Any, batch_stats: Any) -> Any:
    """The model again; a copy, so that it may update its statistics where gradients are taken."""
    states = (params, batch_stats) if batch_stats else (params,)
    return nnx.merge(graphdef, *states, copy=True)


def epoch_order(
    key: PRNGKeyArray, epoch: int, *, num_images: int, batch_size: int
) -> Int[Array, "steps batch"]:
    """Which images make up each batch of an epoch; the last, partial batch is dropped.

    Raises:
      ValueError: if there is no whole batch.
    """
    if batch_size > num_images:
        raise ValueError(
            f"`batch_size` must be at most `num_images`, {num_images}, got {batch_size}."
        )
    order = jax.random.permutation(jax.random.fold_in(key, epoch), num_images)
    steps = num_images // batch_size
    return order[: steps * batch_size].reshape(steps, batch_size)


def make_train_step(
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    loss_fn: LossFn,
    *,
    log_weight: float,
    batch_sharding: jax.sharding.Sharding | None = None,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """One step on e^λ Σ reconstruction + Σ KL, summed over the batch.

    Args:
      graphdef: from `create_train_state`.
      optimizer: from optax.
      loss_fn: as for `vae_terms`.
      log_weight: the paper's λ; its β is e^−λ.
      batch_sharding: how a batch is spread over devices, if it is; the compiler does the rest.

    Returns:
      A pure function `step(state, loss_params, images, indices, key) -> (state, metrics)`. `images`
      is the whole data set as bytes, `indices` picks the batch; `key` is the same in all steps. Images
      may be flat, `[data, pixels]`, for a model that has an `image_shape`: a TPU would copy the whole
      data set otherwise. `loss_params` are those of a loss that does not learn. The metrics are means
      per image, and the gradient's norm.
    """

    def step(
        state: TrainState,
        loss_params: Any,
        images: UInt8[Array, "data height width channels"] | UInt8[Array, "data pixels"],
        indices: Int[Array, " batch"],
        key: PRNGKeyArray,
    ) -> tuple[TrainState, Metrics]:
        batch = _to_float(images[indices])
        if batch_sharding is not None:
            batch = jax.lax.with_sharding_constraint(batch, batch_sharding)
        step_key = jax.random.fold_in(key, state.step)

        def objective(learned: tuple[Any, Any]) -> tuple[Array, tuple[Metrics, Any]]:
            params, learned_loss = learned
            model = merge_model(graphdef, params, state.batch_stats)
            used = loss_params if learned_loss is None else learned_loss
            recon, kl = vae_terms(model, loss_fn, used, _unflatten(batch, model), key=step_key)
            total = jnp.exp(log_weight) * jnp.sum(recon) + jnp.sum(kl)
            parts = {
                "loss": total / batch.shape[0],
                "reconstruction": recon.mean(),
                "kl": kl.mean(),
            }
            return total, (parts, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))

        learned = state.params, state.loss_params
        (_, (metrics, batch_stats)), grads = jax.value_and_grad(objective, has_aux=True)(learned)
        updates, opt_state = optimizer.update(grads, state.opt_state, learned)
        params, learned_loss = optax.apply_updates(learned, updates)
        metrics["grad_norm"] = optax.tree.norm(grads)
        return TrainState(params, batch_stats, learned_loss, opt_state, state.step + 1), metrics

    return step


def make_train_chunk(
    step: Callable[..., tuple[TrainState, Metrics]],
    *,
    sharding: jax.sharding.Sharding | None = None,
) -> Callable[..., Any]:
    """Makes a function that takes many steps without returning to the host.

    On accelerators the steps are one compiled `lax.scan`. On the CPU they are dispatched one by one,
    because there XLA runs the gradient of a convolution, such as LPIPS's, inside a compiled loop on a
    slow path: it takes ten times as long.

    Args:
      step: from `make_train_step`.
      sharding: of what comes out, where there are several devices: everything everywhere.

    Returns:
      `chunk(state, loss_params, images, indices, key) -> (state, metrics)` with indices
      `[steps, batch]` and metrics `[steps]`. The memory of the state that goes in is reused.
    """

    def scan(
        state: TrainState, loss_params: Any, images: Array, indices: Array, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        return jax.lax.scan(
            lambda s, batch: step(s, loss_params, images, batch, key), state, indices
        )

    if jax.default_backend() != "cpu":
        return jax.jit(scan, donate_argnums=0, out_shardings=sharding)

    jitted = jax.jit(step, donate_argnums=0, out_shardings=sharding)

    def loop(
        state: TrainState, loss_params: Any, images: Array, indices: Array, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        rows = []
        for batch in indices:
            state, metrics = jitted(state, loss_params, images, batch, key)
            rows.append(metrics)
        return state, jax.tree.map(lambda *values: jnp.stack(values), *rows)

    return loop


def make_eval_step(
    graphdef: nnx.GraphDef, loss_fn: LossFn, *, log_weight: float
) -> Callable[..., Metrics]:
    """The objective on held-out images, block grid unshifted, as `[batch]` values per image.

    Returns:
      A compiled `evaluate(state, loss_params, images, indices, key)`; arguments as for a step.
    """

    @jax.jit
    def evaluate(
        state: TrainState, loss_params: Any, images: Array, indices: Array, key: PRNGKeyArray
    ) -> Metrics:
        model = merge_model(graphdef, state.params, state.batch_stats)
        model.eval()
        batch = _unflatten(_to_float(images[indices]), model)
        used = loss_params if state.loss_params is None else state.loss_params
        recon, kl = vae_terms(model, loss_fn, used, batch, key=key, shift=False)
        return {"loss": jnp.exp(log_weight) * recon + kl, "reconstruction": recon, "kl": kl}

    return evaluate


def check_finite(metrics: Mapping[str, Any], first_step: int) -> None:
    """Looks at the metrics of a chunk.

    Args:
      metrics: `[steps]` values by name.
      first_step: number of the chunk's first step.

    Raises:
      NonFiniteError: with the number of the first step that has a value that is not finite.
    """
    finite = np.all([np.isfinite(values) for values in metrics.values()], axis=0)
    if not finite.all():
        raise NonFiniteError(first_step + int(np.argmin(finite)))


def _to_float(images: UInt8[Array, "..."]) -> Float[Array, "..."]:
    """Bytes to [0, 1]; the data set stays on the device as bytes, a quarter of the memory."""
    return images.astype(jnp.float32) / 255


def _unflatten(images: Array, model: Any) -> Array:
    return images.reshape(-1, *model.image_shape) if images.ndim == 2 else images
