"""MnistVAE is the paper's model, layer for layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from watson_jax.models import MnistVAE, upsample_twice

# Our layers in the module order of the authors' model, for the recorded formula weights.
LAYERS = (
    "encoder_conv_fine", "encoder_conv_coarse", "encoder_dense", "mean", "log_variance",
    "decoder_dense", "decoder_unflatten", "decoder_conv_coarse", "decoder_conv_fine_1",
    "decoder_conv_fine_2", "decoder_conv_out",
)  # fmt: skip


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
    for index, name in enumerate(LAYERS):
        layer = getattr(model, name)
        kernel = layer.kernel[...]
        fan_in = kernel.size // kernel.shape[-1]
        values = (2 * formula(kernel.size, 2000 + index) - 1) * np.sqrt(3 / fan_in)
        bias = ((2 * formula(kernel.shape[-1], 3000 + index) - 1) * 0.05).astype(np.float32)
        if kernel.ndim == 4:
            height, width, inputs, outputs = kernel.shape
            values = values.reshape(outputs, inputs, height, width).transpose(2, 3, 1, 0)
        elif name == "encoder_dense":  # reads the flattened map, which here is HWC
            values = values.reshape(-1, 64, 16, 16).transpose(2, 3, 1, 0).reshape(kernel.shape)
        elif name == "decoder_unflatten":  # writes it
            values = values.reshape(64, 16, 16, -1).transpose(3, 1, 2, 0).reshape(kernel.shape)
            bias = bias.reshape(64, 16, 16).transpose(1, 2, 0).reshape(-1)
        else:
            values = values.reshape(kernel.shape[::-1]).T
        layer.kernel[...] = jnp.asarray(values, jnp.float32)
        layer.bias[...] = jnp.asarray(bias)


def test_default_has_the_papers_number_of_parameters():
    shapes = nnx.eval_shape(lambda: MnistVAE(jax.random.key(0)))
    assert sum(p.size for p in jax.tree.leaves(nnx.state(shapes, nnx.Param))) == 33_662_757


@jax.default_matmul_precision("highest")
def test_forward_pass_meets_recorded_values(goldens):
    recorded = goldens("vae_forward")
    model = MnistVAE(jax.random.key(0))
    fill_with_formula(model)
    mean, log_variance = model.encode(jnp.asarray(recorded["MnistVAE/input"]))
    image = model.decode(mean)
    for actual, name in ((mean, "mu"), (log_variance, "logvar"), (image, "reconstruction_from_mu")):
        # float32 sums of up to 16,384 terms
        np.testing.assert_allclose(actual, recorded[f"MnistVAE/eval/{name}"], rtol=0, atol=1e-5)


def test_any_leading_axes_and_one_draw_per_image():
    model = MnistVAE(jax.random.key(0), features=(2, 3), hidden=4, latent_size=5)
    image = jnp.zeros((2, 3, 32, 32, 1))
    output = model(image, key=jax.random.key(1))
    assert output.reconstruction.shape == image.shape
    assert output.mean.shape == output.log_variance.shape == (2, 3, 5)
    assert len(np.unique(np.asarray(output.reconstruction).reshape(6, -1), axis=0)) == 6
    again = model(image, key=jax.random.key(1))
    np.testing.assert_array_equal(output.reconstruction, again.reconstruction)


def test_parameters_start_as_in_pytorch():
    model = MnistVAE(jax.random.key(0), features=(4, 8), hidden=64)
    for layer, fan_in in ((model.encoder_dense, 16 * 16 * 8), (model.encoder_conv_coarse, 9 * 4)):
        for parameter in (layer.kernel, layer.bias):
            largest = np.abs(parameter[...]).max() * np.sqrt(fan_in)
            assert 0.5 < largest <= 1


def test_wrong_image_shape_is_named():
    model = MnistVAE(jax.random.key(0), features=(1, 1), hidden=1)
    with pytest.raises(ValueError, match=r"\[..., 32, 32, 1\].*got \(2, 28, 28, 1\)"):
        model.encode(jnp.zeros((2, 28, 28, 1)))


def test_upsampling_keeps_corners_and_straight_lines():
    rows, columns = np.meshgrid(np.arange(4.0), np.arange(5.0), indexing="ij")
    image = jnp.asarray((2 * rows - columns + rows * columns)[..., None], jnp.float32)
    fine_rows, fine_columns = np.meshgrid(
        np.linspace(0, 3, 8), np.linspace(0, 4, 10), indexing="ij"
    )
    expected = 2 * fine_rows - fine_columns + fine_rows * fine_columns
    np.testing.assert_allclose(upsample_twice(image)[..., 0], expected, atol=2e-6)
