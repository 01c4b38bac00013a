"""Fitting losses to 2AFC judgements."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import watson_jax as wj
from tests.example_losses import SIZE, example_loss
from watson_jax.losses._watson.fitting import drop_half
from watson_jax.losses._watson.formula import Terms
from watson_jax.training import (
    Fittable,
    Triplets,
    _two_afc,
    constant_then_linear,
    fittable,
    make_fit_step,
    make_scores,
    start_trials,
)
from watson_jax.training._two_afc import ranking_score
from watson_jax.transforms._dft import SELF_CONJUGATE

ADAM = optax.scale_by_adam(0.5, 0.999)
FITTABLE = ("watson-dft", "watson-dct", "adaptive", "lpips-alex")
AUTHORS_NAMES = {
    "t_tild": "log_thresholds",
    "alpha": "luminance_exponent",
    "w_tild": "contrast_logit",
    "beta": "pooling_exponent",
    "w_phase_tild": "log_phase_weights",
}


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax's Adam mixes its integer step count with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def judgements(number=6, channels=1):
    """(reference, first, second, preference); people prefer what has less noise."""
    rng = np.random.default_rng(0)
    shape = (number, SIZE, SIZE, channels)
    reference = rng.uniform(0.2, 0.8, shape)
    noise = rng.uniform(0, 0.2, (2, number, 1, 1, 1))
    first, second = np.clip(reference + noise * rng.normal(size=(2, *shape)), 0, 1)
    preference = (noise[1] < noise[0]).ravel()
    return tuple(jnp.asarray(x, jnp.float32) for x in (reference, first, second, preference))


def as_triplets(loss, reference, first, second, preference):
    return Triplets(loss.features(first, reference), loss.features(second, reference), preference)


def compiled_step(loss, *, dropout=True):
    return jax.jit(make_fit_step(loss, ADAM, optax.constant_schedule(1.0), dropout=dropout))


def run_trials(step, loss, triplets, *, seeds, steps=3, rates=None, ranking="gamma"):
    rates = jnp.full(len(seeds), 1e-2) if rates is None else jnp.asarray(rates)
    trials = start_trials(
        loss,
        ADAM,
        seeds=jnp.asarray(seeds),
        learning_rates=rates,
        ranking=ranking,
        start_noise=0.05,
    )
    losses = []
    for _ in range(steps):
        trials, metrics = step(trials, triplets)
        losses.append(metrics["loss"])
    return trials, np.stack(losses)


@pytest.mark.slow(except_for="paper-batch")
@pytest.mark.parametrize(("mode", "luminance"), [("paper_per_image", "image"), ("paper", "batch")])
def test_five_steps_are_the_recorded_ones(goldens, x64, mode, luminance):
    recorded = goldens("twoafc_training_dft_gray")
    images = (recorded[k] for k in ("ref", "p0", "p1", "judge01"))
    reference, first, second, preference = (jnp.asarray(x, jnp.float64) for x in images)
    prefix = f"{mode}/f64/"
    start = {
        field: jnp.asarray(recorded[f"{prefix}before/{name}"], jnp.float64)[None]
        for name, field in AUTHORS_NAMES.items()
    }
    params = wj.WatsonDftParams(
        **start, channel_logits=jnp.zeros(1, jnp.float64), free_self_conjugate=True
    )
    loss = fittable(params, luminance=luminance)
    trials = start_trials(
        loss, ADAM, seeds=jnp.zeros(1, int), learning_rates=jnp.full(1, 2e-4, jnp.float64)
    )
    step = jax.jit(make_fit_step(loss, ADAM, optax.constant_schedule(1.0), dropout=False))
    triplets = as_triplets(loss, reference, first, second, preference)
    losses = []
    for _ in range(5):
        trials, metrics = step(trials, triplets)
        losses.append(metrics["loss"][0])
    np.testing.assert_allclose(losses, recorded[f"{prefix}loss_per_step"], atol=2e-5)
    for name, field in AUTHORS_NAMES.items():
        found = getattr(trials.learned.metric, field)[0, 0]
        expected = recorded[f"{prefix}after5/{name}"]
        if field == "log_phase_weights":
            # Where the phase is 0 or pi, the authors' gradient is a rounding error.
            found, expected = found[~SELF_CONJUGATE], expected[~SELF_CONJUGATE]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    gamma = trials.learned.ranking
    np.testing.assert_allclose(gamma, recorded[f"{prefix}after5/loss.w_tild"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", FITTABLE)
def test_the_parts_make_the_loss(name):
    loss = example_loss(name, "rgb")
    taken = fittable(loss.params)
    reference, image, _, _ = judgements(2, channels=3)
    features = taken.features(image, reference)
    found = jax.vmap(lambda f: taken.distance(taken.learned, f, None))(features)
    np.testing.assert_allclose(found, loss(image, reference), rtol=1e-5)
    chex.assert_trees_all_equal(taken.as_params(taken.learned), loss.params)


def test_chroma_can_be_left_unmasked():
    params = wj.load_params("watson-dct", color="rgb", weights="initial")
    loss = fittable(params, mask_chroma=False)
    for learned in (loss.learned, loss.project(params)):
        np.testing.assert_array_equal(learned.luminance_exponent[1:], 0)
        assert learned.luminance_exponent[0] == params.luminance_exponent[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["watson-dft", "watson-dct"])
def test_a_fit_knows_the_floors_of_its_parameters(name):
    floors = {"luminance_floor": 0.4} | ({"phase_floor": 0.3} if name == "watson-dft" else {})
    params = wj.load_params(name, color="gray", weights="initial")
    taken = fittable(dataclasses.replace(params, **floors))
    reference, image, _, _ = judgements(2, channels=1)
    reference = reference.at[:, :8].multiply(0.05)
    found = taken.distance(
        taken.learned, jax.tree.map(lambda f: f[0], taken.features(image, reference)), None
    )
    function = getattr(wj, name.replace("-", "_"))
    np.testing.assert_allclose(found, function(params, image, reference, **floors)[0], rtol=1e-5)
    assert abs(function(params, image, reference)[0] / found - 1) > 1e-3


def test_pooling_exponents_stay_in_their_range():
    params = wj.load_params("watson-dct", color="rgb", weights="initial")  # p = 4
    taken = fittable(params, pooling_range=(1.5, 2.5))
    np.testing.assert_array_equal(taken.learned.pooling_exponent, 2.5)
    low = dataclasses.replace(params, pooling_exponent=jnp.array([0.5, 2.0, 9.0]))
    np.testing.assert_array_equal(taken.project(low).pooling_exponent, [1.5, 2.0, 2.5])


def test_a_loss_without_parameters_cannot_be_fitted():
    with pytest.raises(TypeError, match=r"`params` must be of a Watson loss.*got tuple"):
        fittable(())


def test_wrong_choices_for_a_fit_are_named():
    params = wj.load_params("watson-dft", color="gray", weights="initial")
    with pytest.raises(
        ValueError, match=r'^`luminance` must be "image" or "batch", got \'Batch\'\.$'
    ):
        fittable(params, luminance="Batch")
    with pytest.raises(ValueError, match=r"^`phase_scale` must be above 0, got 0\.$"):
        fittable(params, phase_scale=0)
    trials = {"seeds": jnp.arange(1), "learning_rates": jnp.ones(1)}
    with pytest.raises(
        ValueError, match=r'^`ranking` must be "gamma" or "network", got \'Network\'\.$'
    ):
        start_trials(fittable(params), ADAM, **trials, ranking="Network")


def test_dropout_keeps_the_sums_on_average():
    p = jnp.asarray([0.6])
    rng = np.random.default_rng(0)
    visible = jnp.asarray(rng.normal(size=(1, 500, 40)), jnp.float32)
    phase = jnp.asarray(rng.uniform(size=(1, 500, 40)), jnp.float32)
    dropped = drop_half(jax.random.key(0), p, Terms(visible, phase))
    kept = dropped.phase != 0
    assert abs(kept.mean() - 0.5) < 0.02  # 20,000 coins: five standard deviations
    np.testing.assert_array_equal(dropped.phase[kept], 2 * phase[kept])
    kept = dropped.difference != 0
    assert abs(kept.mean() - 0.5) < 0.02
    powers = jnp.abs(dropped.difference) ** 0.6
    np.testing.assert_allclose(powers[kept], 2 * jnp.abs(visible[kept]) ** 0.6, rtol=1e-5)
    assert abs(np.corrcoef(kept.ravel(), (dropped.phase != 0).ravel())[0, 1]) < 0.05


def toy_loss(traces=None):
    """Weights for the squared differences of the rows of an image, half of which may be dropped."""

    def features(images, references):
        if traces is not None:
            traces.append(images.shape)
        return jnp.mean((images - references) ** 2, (-2, -1))

    def distance(learned, features, key):
        kept = 1.0 if key is None else 2.0 * jax.random.bernoulli(key, 0.5, features.shape)
        return jnp.sum(jnp.exp(learned) * features * kept)

    return Fittable(jnp.zeros(SIZE), features, distance)


@pytest.mark.slow
@pytest.mark.parametrize("accelerator", [False, True])
def test_trials_at_once_are_the_trials_alone(accelerator, monkeypatch):
    loss = toy_loss()
    triplets = as_triplets(loss, *judgements())
    rates = [1e-2, 1e-3, 1e-2]
    one_by_one = compiled_step(loss)
    if accelerator:  # where trials are computed side by side, which CPUs do one after the other
        monkeypatch.setattr(_two_afc, "_for_each_trial", lambda fn, trials: jax.vmap(fn)(trials))
    at_once = compiled_step(loss)
    together, losses = run_trials(at_once, loss, triplets, seeds=[0, 1, 2], rates=rates)
    assert np.ptp(losses[0]) > 0  # each has its own dropout and starting values
    for i in range(3):
        alone, _ = run_trials(one_by_one, loss, triplets, seeds=[i], rates=rates[i : i + 1])
        chex.assert_trees_all_close(
            jax.tree.map(lambda x, i=i: x[i], together.learned),
            jax.tree.map(lambda x: x[0], alone.learned),
            atol=1e-5,
        )


def test_trials_share_the_transforms_and_compile_once():
    traces = []
    loss = toy_loss(traces)
    step = make_fit_step(loss, ADAM, optax.constant_schedule(1.0), dropout=True)
    whole_step = jax.jit(lambda trials, data: step(trials, as_triplets(loss, *data)))
    trials = start_trials(loss, ADAM, seeds=jnp.arange(4), learning_rates=jnp.full(4, 1e-2))
    data = judgements()
    for _ in range(3):
        trials, _ = whole_step(trials, data)
    assert traces == [data[0].shape] * 2  # once for each image of a triplet: no axis of trials


def test_a_fit_learns():
    loss = fittable(wj.load_params("watson-dct", color="gray", weights="initial"))
    triplets = as_triplets(loss, *judgements())
    step = compiled_step(loss, dropout=False)
    trials, losses = run_trials(step, loss, triplets, seeds=[0], steps=30)
    assert losses[-1] < 0.8 * losses[0]
    scores = make_scores(loss)(trials.learned, triplets)
    assert scores["agreement"].shape == scores["loss"].shape == (1, 6)
    assert scores["agreement"].mean() == 1
    np.testing.assert_allclose(scores["loss"].mean(), losses[-1], rtol=0.2)


def test_lpips_keeps_its_weights_above_zero():
    params = example_loss("lpips-alex", "rgb").params
    loss = fittable(params)
    weights = {name: jnp.array([-0.1, 0.0, 0.2]) for name in params.linear}
    kept = loss.project(weights)
    assert all(x.tolist() == pytest.approx([0, 0, 0.2]) for x in kept.values())
    assert loss.as_params(weights).linear is weights


@pytest.mark.slow
def test_a_ranking_network_learns_along():
    loss = toy_loss()
    triplets = as_triplets(loss, *judgements())
    trials, losses = run_trials(
        compiled_step(loss), loss, triplets, seeds=[0, 1], steps=2, ranking="network"
    )
    assert np.all(np.isfinite(losses))
    start = start_trials(
        loss, ADAM, seeds=jnp.arange(2), learning_rates=jnp.ones(2), ranking="network"
    )
    for after, before in zip(trials.learned.ranking, start.learned.ranking, strict=True):
        assert np.all(np.abs(after[0] - before[0]).max((1, 2)) > 0)


def test_ranking_network_is_that_of_lpips():
    ones = jnp.ones((5, 32)), jnp.zeros(32)
    middle = -jnp.eye(32), jnp.zeros(32)
    last = jnp.ones((32, 1)) / 32, jnp.full(1, 0.5)
    # d0 = 2, d1 = 1: the inputs 2, 1, 1, 2 / 1.1, 1 / 2.1 add up to s; leaky ReLU makes -s to -0.2 s.
    s = 2 + 1 + 1 + 2 / 1.1 + 1 / 2.1
    found = ranking_score([ones, middle, last], jnp.float32(2), jnp.float32(1))
    np.testing.assert_allclose(found, -0.2 * s + 0.5, rtol=1e-5)


def test_authors_schedule():
    # 2 constant epochs, then 5 that fall; the first of them at the full rate, the last at a fifth.
    factor = constant_then_linear(20, 5, 10)
    steps = (0, 19, 20, 29, 30, 59, 60, 69, 70, 200)
    found = [float(factor(jnp.asarray(step))) for step in steps]
    np.testing.assert_allclose(found, [1, 1, 1, 1, 0.8, 0.4, 0.2, 0.2, 0, 0], rtol=1e-6, atol=1e-7)
