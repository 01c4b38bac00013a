"""The VAE's objective, its training step, and steps in a row."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import watson_jax as wj
from watson_jax.models import MnistVAE, VaeOutput
from watson_jax.training import (
    NonFiniteError,
    adam,
    check_finite,
    create_train_state,
    epoch_order,
    kl_divergence,
    make_eval_step,
    make_train_chunk,
    make_train_step,
    vae_terms,
)

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax's Adam mixes its integer step count with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def squared_error(params, image, reference):
    del params
    return jnp.sum((image - reference) ** 2, axis=(-3, -2, -1))


def tiny_run(loss_fn=squared_error, *, learning_rate=2e-3, log_weight=0.0):
    model = MnistVAE(KEY, features=(2, 4), hidden=16)
    optimizer, _ = adam(learning_rate, halving_steps=1e6)
    graphdef, state = create_train_state(model, optimizer)
    return state, make_train_step(graphdef, optimizer, loss_fn, log_weight=log_weight), graphdef


def bytes_images(number):
    """Smooth random blobs, black at the border like digits."""
    position = np.linspace(-1, 1, 32)
    centre = np.random.default_rng(0).uniform(-0.5, 0.5, (number, 2))
    squares = [(position - centre[:, [axis]]) ** 2 for axis in (0, 1)]
    blob = np.exp(-10 * (squares[0][:, :, None] + squares[1][:, None, :]))
    return jnp.asarray((255 * blob[..., None]).astype(np.uint8))


def test_kl_divergence_agrees_with_sampling():
    mean, log_variance = jnp.array([0.7, -1.0]), jnp.array([-1.0, 0.5])
    noise = np.random.default_rng(0).standard_normal((200_000, 2))
    draw = np.asarray(mean) + np.exp(0.5 * np.asarray(log_variance)) * noise
    log_ratio = np.sum(0.5 * (draw**2 - noise**2 - np.asarray(log_variance)), axis=-1)
    # 200,000 draws: standard error about 0.004
    np.testing.assert_allclose(kl_divergence(mean, log_variance), log_ratio.mean(), atol=0.02)


def test_data_is_the_reference_and_moves_along_with_the_shift():
    images = jax.random.uniform(KEY, (2, 32, 32, 1))

    def copying_model(image, *, key):
        del key
        return VaeOutput(image / 2, jnp.zeros((2, 2)), jnp.zeros((2, 2)))

    seen = {}

    def loss_fn(params, image, reference):
        seen.update(image=image, reference=reference)
        return jnp.zeros(2)

    for shift in (False, True):
        vae_terms(copying_model, loss_fn, (), images, key=jax.random.key(3), shift=shift)
        np.testing.assert_array_equal(seen["image"], seen["reference"] / 2)
        assert np.array_equal(seen["reference"], images) is not shift


def test_objective_is_the_papers():
    state, step, graphdef = tiny_run(log_weight=1.5)
    images = bytes_images(4)
    _, metrics = jax.jit(step)(state, (), images, jnp.arange(4), KEY)
    expected = np.exp(1.5) * metrics["reconstruction"] + metrics["kl"]
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)
    held_out = make_eval_step(graphdef, squared_error, log_weight=1.5)
    values = held_out(state, (), images, jnp.arange(4), KEY)
    assert values["loss"].shape == (4,)
    np.testing.assert_allclose(
        values["loss"], np.exp(1.5) * values["reconstruction"] + values["kl"], rtol=1e-6
    )


def test_learning_rate_halves_smoothly():
    _, schedule = adam(1e-4, halving_steps=10.5)
    np.testing.assert_allclose(schedule(0), 1e-4)
    np.testing.assert_allclose(schedule(21), 0.25e-4, rtol=1e-6)
    np.testing.assert_allclose(schedule(1) / schedule(0), 0.5 ** (1 / 10.5), rtol=1e-6)


def test_epochs_differ_and_drop_the_partial_batch():
    first, second = (epoch_order(KEY, e, num_images=23, batch_size=5) for e in (0, 1))
    assert first.shape == (4, 5)
    assert len(np.unique(first)) == 20
    assert not np.array_equal(first, second)


def test_an_epoch_has_at_least_one_batch():
    with pytest.raises(ValueError, match="`batch_size` must be at most `num_images`, 20, got 32"):
        epoch_order(KEY, 0, num_images=20, batch_size=32)


def test_training_leaves_the_model_and_the_loss_as_they_are():
    model = MnistVAE(KEY, image_shape=(4, 4, 1), features=(1, 1), hidden=2)
    params = {"scale": jnp.ones(3)}
    _, state = create_train_state(model, optax.sgd(0.1), loss_params=params)
    jax.jit(lambda s: s, donate_argnums=0)(state)
    assert np.isfinite(model(jnp.zeros((1, 4, 4, 1)), key=KEY).reconstruction).all()
    np.testing.assert_array_equal(params["scale"], 1)


@pytest.mark.slow
def test_chunk_equals_single_steps():
    images = bytes_images(12)
    indices = jnp.arange(12).reshape(3, 4)
    state, step, _ = tiny_run()
    single = jax.jit(step)
    expected = []
    for row in indices:
        state, metrics = single(state, (), images, row, KEY)
        expected.append(metrics["loss"])
    fresh, step, _ = tiny_run()
    chunked, metrics = make_train_chunk(step)(fresh, (), images, indices, KEY)
    assert int(chunked.step) == 3
    np.testing.assert_array_equal(metrics["loss"], jnp.stack(expected))
    jax.tree.map(np.testing.assert_array_equal, chunked.params, state.params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("watson-dft", {"phase_floor": 0.2}), ("watson-dct", {})]
)
def test_tiny_model_over_fits_one_batch(name, options):
    # Floors as in the experiment's presets: on black, the paper's own formula starts very slowly.
    loss = wj.get_loss(name, color="gray", weights="initial", luminance_floor=0.3, **options)
    state, step, _ = tiny_run(loss.fn, learning_rate=1e-2, log_weight=3.0)
    images = bytes_images(4)
    indices = jnp.tile(jnp.arange(4), (150, 1))
    _, metrics = make_train_chunk(step)(state, loss.params, images, indices, KEY)
    reconstruction = np.asarray(metrics["reconstruction"])
    assert reconstruction[-20:].mean() < 0.5 * reconstruction[:5].mean()


def test_first_step_that_is_not_finite_is_reported():
    metrics = {"loss": np.array([1.0, 2.0, 3.0]), "grad_norm": np.array([1.0, np.nan, np.inf])}
    with pytest.raises(NonFiniteError, match="not finite at step 41") as error:
        check_finite(metrics, 40)
    assert error.value.step == 41
    check_finite({"loss": np.zeros(3)}, 0)
