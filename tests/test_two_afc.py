"""Scores and ranking loss of 2AFC judgements."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from watson_jax import two_afc

PIECES = ("plain", "with_both_zero")


@pytest.mark.parametrize("piece", PIECES)
def test_ranking_loss_and_gradients_are_the_recorded_ones(goldens, piece):
    recorded = {k.split("/")[1]: v for k, v in goldens("twoafc_pieces").items() if piece + "/" in k}

    def mean_loss(d0, d1, log_gamma):
        return two_afc.ranking_loss(d0, d1, recorded["judge01"], jnp.exp(log_gamma)).mean()

    arguments = recorded["d0"], recorded["d1"], jnp.float32(recorded["w_tild"][0])
    loss, gradients = jax.value_and_grad(mean_loss, (0, 1, 2))(*map(jnp.asarray, arguments))
    np.testing.assert_allclose(loss, recorded["loss_f32"], atol=1e-6)
    np.testing.assert_allclose(gradients[2], recorded["grad_w_tild"][0], atol=1e-6)
    for found, name in zip(gradients, ("grad_d0", "grad_d1"), strict=False):
        theirs = recorded[name]
        assert np.all(np.isfinite(found))
        known = np.isfinite(theirs)  # theirs is NaN where both distances are 0
        np.testing.assert_allclose(found[known], theirs[known], atol=1e-6)
        np.testing.assert_array_equal(found[~known], 0)
    probability = two_afc.ranking_probability(*arguments[:2], np.float32(np.e))
    np.testing.assert_allclose(probability, recorded["prob_f64"], atol=1e-6)


def test_scores_are_the_recorded_ones(goldens):
    recorded = goldens("twoafc_pieces")
    d0, d1, preference = (np.float32(recorded[f"score/{k}"]) for k in ("d0", "d1", "judge"))
    found = two_afc.agreement(d0, d1, preference)
    np.testing.assert_allclose(found, recorded["score/per_sample"], atol=1e-6)
    np.testing.assert_allclose(found.mean(), recorded["score/mean"], atol=1e-6)
    human = two_afc.human_agreement(preference)
    np.testing.assert_allclose(human, recorded["score/human_per_sample"], atol=1e-6)


def test_agreement_makes_no_nan_of_its_own():
    d0, d1 = np.float32([2, 1, 1, np.nan, 1]), np.float32([1, 2, 1, 1, np.nan])
    preference = jnp.full(5, 0.3)
    expected = [0.3, 0.7, 0.5, np.nan, np.nan]
    np.testing.assert_allclose(two_afc.agreement(d0, d1, preference), expected, rtol=1e-6)
    with jax.debug_nans(True):
        found = two_afc.agreement(d0[:3], d1[:3], preference[:3])
    np.testing.assert_allclose(found, expected[:3], rtol=1e-6)


def test_probability_follows_equation_11():
    # gamma (d0 - d1) / (d0 + d1) = 2 (3 - 1) / 4 = 1; the second is closer.
    found = two_afc.ranking_probability(jnp.float32(3), jnp.float32(1), 2.0)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-1)), rtol=1e-6)
    # A negative log-likelihood may serve as a distance: 2 (-1 - -3) / 4 = 1.
    found = two_afc.ranking_probability(jnp.float32(-1), jnp.float32(-3), 2.0)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-1)), rtol=1e-6)


def test_gradients_are_finite():
    pairs = np.array([(0, 0), (1, 0), (1, 1), (2, 3)])
    scales = np.array([0, 1e-37, 1e-20, 1, 1e30])
    d0, d1 = (scales * pairs[:, i, None] for i in range(2))

    def loss(d0, d1, gamma):
        return two_afc.ranking_loss(d0, d1, jnp.full(d0.shape, 0.3), gamma).sum()

    arguments = jnp.float32(d0), jnp.float32(d1), jnp.float32(3)
    value, gradients = jax.value_and_grad(loss, (0, 1, 2))(*arguments)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(g)) for g in gradients)


def test_certain_wrong_predictions_keep_a_finite_loss():
    loss = two_afc.ranking_loss(jnp.float32(1), jnp.float32(0), jnp.float32(0), 1e4)
    np.testing.assert_allclose(loss, 1e4, rtol=1e-5)


def _average_precision(distance, same):
    """The definition in loops: the best precision at each recall or a higher one."""
    levels = sorted(set(distance))
    found = [sum(s for d, s in zip(distance, same, strict=True) if d <= level) for level in levels]
    called = [sum(d <= level for d in distance) for level in levels]
    area, before = 0.0, 0.0
    for i, now in enumerate(found):
        area += (now - before) * max(f / c for f, c in zip(found[i:], called[i:], strict=True))
        before = now
    return area / found[-1]


def test_mean_average_precision_is_the_area_under_the_envelope():
    rng = np.random.default_rng(0)
    for _ in range(5):
        distance = np.round(rng.uniform(size=40), 1).astype(np.float32)  # with ties
        same = rng.integers(0, 4, 40).astype(np.float32) / 3
        found = jax.jit(two_afc.mean_average_precision)(distance, same)
        np.testing.assert_allclose(found, _average_precision(distance, same), rtol=1e-5)
        order = rng.permutation(40)
        again = two_afc.mean_average_precision(distance[order], same[order])
        np.testing.assert_allclose(found, again, rtol=1e-6)
