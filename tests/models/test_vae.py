"""MnistVAE and CelebAVAE are the paper's models, layer for layer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from watson_jax.models import CelebAVAE, MnistVAE, _vae, upsample_twice
from watson_jax.models._layers import BatchNorm

# Our layers in the module order of the authors' models, for the recorded formula weights.
DENSE = ("encoder_dense", "mean", "log_variance", "decoder_dense", "decoder_unflatten")
LAYERS = {
    MnistVAE: (
        "encoder_conv_fine", "encoder_conv_coarse", *DENSE, "decoder_conv_coarse",
        "decoder_conv_fine_1", "decoder_conv_fine_2", "decoder_conv_out",
    ),
    CelebAVAE: (
        "encoder_conv_fine", "encoder_conv_middle", "encoder_conv_coarse", *DENSE,
        "decoder_conv_coarse", "decoder_conv_middle", "decoder_conv_fine_1", "decoder_conv_fine_2",
        "decoder_conv_out",
    ),
}  # fmt: skip
NARROW = {
    MnistVAE: {"features": (2, 3), "hidden": 4, "latent_size": 5},
    CelebAVAE: {"features": (2, 3, 4), "hidden": 4, "latent_size": 5},
}
both = pytest.mark.parametrize("model_class", LAYERS, ids=lambda model_class: model_class.__name__)


def formula(size, seed):
    """The hash of the reference folder's README: `size` numbers in [0, 1)."""
    h = np.arange(size, dtype=np.uint32) + np.uint32((0x9E3779B9 * (seed + 1)) % 2**32)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x7FEB352D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x846CA68B)
    h ^= h >> np.uint32(16)
    return h / 2**32


def fill_with_formula(model):
    """Sets all parameters; the formula runs over PyTorch's layouts (OIHW, features from CHW)."""
    for index, name in enumerate(LAYERS[type(model)]):
        layer = getattr(model, name)
        shape = layer.kernel.shape
        size = int(np.prod(shape))
        values = formula(size, 2000 + index)
        values -= 0.5  # in place, since CelebAVAE's are large
        values *= 2 * np.sqrt(3 * shape[-1] / size)
        values = values.astype(np.float32)
        bias = ((2 * formula(shape[-1], 3000 + index) - 1) * 0.05).astype(np.float32)
        if len(shape) == 4:
            height, width, inputs, outputs = shape
            values = values.reshape(outputs, inputs, height, width).transpose(2, 3, 1, 0)
        elif name == "encoder_dense":  # reads the flattened map, which here is HWC
            values = values.reshape(shape[1], -1, 16, 16).transpose(2, 3, 1, 0).reshape(shape)
        elif name == "decoder_unflatten":  # writes it
            values = values.reshape(-1, 16, 16, shape[0]).transpose(3, 1, 2, 0).reshape(shape)
            bias = bias.reshape(-1, 16, 16).transpose(1, 2, 0).reshape(-1)
        else:
            values = values.reshape(shape[::-1]).T
        layer.kernel[...] = jnp.asarray(values)
        layer.bias[...] = jnp.asarray(bias)


@pytest.mark.parametrize(
    ("model_class", "number"), [(MnistVAE, 33_662_757), (CelebAVAE, 136_348_547)]
)
def test_default_has_the_papers_number_of_parameters(model_class, number):
    shapes = nnx.eval_shape(lambda: model_class(jax.random.key(0)))
    assert sum(p.size for p in jax.tree.leaves(nnx.state(shapes, nnx.Param))) == number


@pytest.mark.slow(except_for="MnistVAE")
@both
@jax.default_matmul_precision("highest")
def test_forward_pass_meets_recorded_values(model_class, goldens, monkeypatch):
    recorded = goldens("vae_forward")
    # A hundred million random numbers would be replaced at once.
    monkeypatch.setattr(_vae, "start_as_pytorch", lambda model, key: None)
    model = model_class(jax.random.key(0))
    fill_with_formula(model)
    for mode in ("eval", "train"):
        getattr(model, mode)()
        mean, log_variance = model.encode(jnp.asarray(recorded[f"{model_class.__name__}/input"]))
        image = model.decode(mean)
        actual = {"mu": mean, "logvar": log_variance, "reconstruction_from_mu": image}
        if model_class is CelebAVAE and mode == "train":
            for number, norm in ((3, model.encoder_norm_fine), (7, model.encoder_norm_middle)):
                actual[f"after/encoder.{number}.running_mean"] = norm.mean[...]
                actual[f"after/encoder.{number}.running_var"] = norm.var[...]
        for name, value in actual.items():
            # float32 sums of up to 32,768 terms
            expected = recorded[f"{model_class.__name__}/{mode}/{name}"]
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-5, err_msg=f"{mode} {name}")


@pytest.mark.slow(except_for="MnistVAE")
@pytest.mark.parametrize(
    ("model_class", "image_shape"), [(MnistVAE, (6, 10, 3)), (CelebAVAE, (8, 12, 1))]
)
def test_any_leading_axes_any_size_and_one_draw_per_image(model_class, image_shape):
    model = model_class(jax.random.key(0), image_shape=image_shape, **NARROW[model_class])
    model.eval()
    run = jax.jit(lambda image, key: model(image, key=key))
    image = jnp.zeros((2, 3, *image_shape))
    output = run(image, jax.random.key(1))
    assert output.reconstruction.shape == image.shape
    assert output.mean.shape == output.log_variance.shape == (2, 3, 5)
    assert len(np.unique(np.asarray(output.reconstruction).reshape(6, -1), axis=0)) == 6
    again = run(image, jax.random.key(1))
    np.testing.assert_array_equal(output.reconstruction, again.reconstruction)


def test_latents_are_drawn_from_the_posterior(monkeypatch):
    model = MnistVAE(jax.random.key(0), image_shape=(2, 2, 1), **NARROW[MnistVAE])
    posterior = jnp.full((10_000, 5), 3.0), jnp.full((10_000, 5), jnp.log(0.25))
    monkeypatch.setattr(MnistVAE, "encode", lambda *_: posterior)
    monkeypatch.setattr(MnistVAE, "decode", lambda _, latent: latent)
    latents = model(jnp.zeros((10_000, 2, 2, 1)), key=jax.random.key(1)).reconstruction
    np.testing.assert_allclose(latents.mean(0), 3, atol=0.02)
    np.testing.assert_allclose(latents.std(0), 0.5, atol=0.02)


def test_parameters_start_as_in_pytorch():
    model = MnistVAE(jax.random.key(0), features=(4, 8), hidden=64)
    for layer, fan_in in ((model.encoder_dense, 16 * 16 * 8), (model.encoder_conv_coarse, 9 * 4)):
        for parameter in (layer.kernel, layer.bias):
            largest = np.abs(parameter[...]).max() * np.sqrt(fan_in)
            assert 0.5 < largest <= 1


def test_batches_are_normalised_as_in_pytorch():
    norm = BatchNorm(4)
    x = np.random.default_rng(0).normal(5, [1, 2, 3, 4], (3, 2, 2, 4)).astype(np.float32)
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    # 12 values in float32, of size 5
    expected = (x - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(norm(jnp.asarray(x)), expected, atol=1e-5)
    running_mean, running_variance = 0.1 * mean, 0.9 + 0.1 * x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(norm.mean[...], running_mean, rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], running_variance, rtol=1e-5)
    norm.eval()
    expected = (x - running_mean) / np.sqrt(running_variance + 1e-5)
    np.testing.assert_allclose(norm(jnp.asarray(x)), expected, atol=1e-5)
    np.testing.assert_allclose(norm.mean[...], running_mean, rtol=1e-5)  # stays


@pytest.mark.slow
def test_running_statistics_pass_through_compiled_functions():
    model = CelebAVAE(jax.random.key(0), **NARROW[CelebAVAE])
    image = jax.random.uniform(jax.random.key(1), (4, 64, 64, 3))
    graphdef, *variables = nnx.split(model, nnx.Param, nnx.BatchStat)
    params, statistics = map(nnx.to_pure_dict, variables)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def step(params, statistics):
        model = nnx.merge(graphdef, params, statistics)
        mean, _ = model.encode(image)
        return jnp.sum(mean**2), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    gradient, moved = step(params, statistics)
    assert np.abs(gradient["encoder_norm_fine"]["scale"]).min() > 0
    for old, new in zip(jax.tree.leaves(statistics), jax.tree.leaves(moved), strict=True):
        assert (old != new).all()

    @jax.jit
    def evaluate(image):
        model = nnx.merge(graphdef, params, moved)
        model.eval()
        return model.encode(image)[0]

    # An image's latent does not depend on its company.
    one, other = evaluate(image), evaluate(image.at[1:].set(0))
    np.testing.assert_array_equal(one[0], other[0])
    assert (one[1:] != other[1:]).all()


@pytest.mark.parametrize(
    ("model_class", "sides", "sentence"),
    [
        (MnistVAE, (28, 28, 1), r"\[..., 32, 32, 1\] for MnistVAE, got \(2, 28, 28, 1\)"),
        (CelebAVAE, (64, 64, 1), r"\[..., 64, 64, 3\] for CelebAVAE, got \(2, 64, 64, 1\)"),
    ],
)
def test_wrong_image_shape_is_named(model_class, sides, sentence):
    model = model_class(jax.random.key(0), **NARROW[model_class])
    with pytest.raises(ValueError, match=sentence):
        model.encode(jnp.zeros((2, *sides)))


def test_sizes_that_cannot_be_halved_are_named():
    with pytest.raises(ValueError, match=r"multiples of 4 for CelebAVAE, got \(64, 66, 3\)"):
        CelebAVAE(jax.random.key(0), image_shape=(64, 66, 3))


def test_upsampling_keeps_corners_and_straight_lines():
    rows, columns = np.meshgrid(np.arange(4.0), np.arange(5.0), indexing="ij")
    image = jnp.asarray((2 * rows - columns + rows * columns)[..., None], jnp.float32)
    fine_rows, fine_columns = np.meshgrid(
        np.linspace(0, 3, 8), np.linspace(0, 4, 10), indexing="ij"
    )
    expected = 2 * fine_rows - fine_columns + fine_rows * fine_columns
    np.testing.assert_allclose(upsample_twice(image)[..., 0], expected, atol=2e-6)
