"""What CPUs run against the formula that is written down, which all other platforms run."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import watson_jax as wj
from tests.images import noise
from watson_jax.losses._watson import formula

NAMES = ("watson-dft", "watson-dct")


def assert_close(found, expected, tolerance):
    """Relative to the norm of each array."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)


def from_formula(params, image, reference, options):
    """The loss as `formula.py` has it, differentiated by JAX alone."""

    def of_pair(image, reference):
        features = formula.features(type(params), image, reference, options)
        return formula.distance(params, formula.terms(params, features, options), options)

    return jax.vmap(of_pair)(image, reference)


# Rounding of float32 in thousands of terms, which second derivatives enlarge; that of float64 likewise.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "dtype", "tolerance"),
    [("packaged", "float32", 2e-5), ("initial", "float64", 1e-11)],
)
@pytest.mark.parametrize("name", NAMES)
def test_value_gradient_and_second_derivative(name, weights, dtype, tolerance, x64):
    loss = wj.get_loss(name, weights=weights)
    params = jax.tree.map(lambda x: x.astype(dtype), loss.params)
    # The last row of blocks is padded, one block is equal. (None is flat: the second derivative of a
    # coefficient that is 0 is 1e10 times its rounding error.)
    # Nor is one as near to 0 as with some seeds, where float32 leaves 1e-3 of either form.
    image, reference = (noise(seed, 3, 20, 24, 3).astype(dtype) for seed in (7, 8))
    image[0, :8, :8] = reference[0, :8, :8]
    options = formula.WatsonOptions(
        luminance_floor=params.luminance_floor, phase_floor=getattr(params, "phase_floor", 0.0)
    )
    written = functools.partial(from_formula, options=options)

    @functools.partial(jax.jit, static_argnums=0)
    def run(fn):
        def total(*args):
            values = fn(*args)
            return jnp.sum(values), values

        gradient = jax.grad(total, argnums=(0, 1, 2), has_aux=True)
        at = (params, image, reference)
        return jax.jvp(gradient, at, jax.tree.map(jnp.cos, at), has_aux=True)

    assert_close(run(loss.fn), run(written), tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{"luminance": "batch"}, {"over_blocks": "mean"}], ids=str)
def test_options(name, options):
    image, reference = (noise(seed, 3, 16, 24, 1) for seed in (1, 2))
    gradients = [
        jax.jit(jax.value_and_grad(lambda x, loss=loss: loss(x, reference).sum()))(image)
        for loss in (
            wj.get_loss(name, color="gray", implementation=kind, **options)
            for kind in ("auto", "plain")
        )
    ]
    assert_close(*gradients, 1e-5)


def test_unknown_implementations_are_refused():
    image = jnp.zeros((8, 8, 3))
    with pytest.raises(ValueError, match='must be "auto" or "plain", got \'fast\''):
        wj.get_loss("watson-dft", implementation="fast")(image, image)
