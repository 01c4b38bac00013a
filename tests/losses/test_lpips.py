"""LPIPS: recorded values, NumPy loops, the files it is loaded from, and what may not break it."""

import dataclasses
import functools
import hashlib
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import watson_jax as wj
from tests.images import noise
from tests.models.test_backbones import random_state, recorded_state, slow_features
from tests.weights.test_torch import (
    legacy,
    many,
    number,
    state_dict,
    storage,
    tensor,
    zipped,
)
from watson_jax.losses._lpips import spec
from watson_jax.losses._lpips.loss import (
    LpipsFeatures,
    LpipsParams,
    lpips,
    lpips_features,
    lpips_from_features,
)
from watson_jax.losses._lpips.networks import random_backbone
from watson_jax.losses._lpips.spec import BACKBONE_FILES, load_lpips_params, lpips_params_from_torch
from watson_jax.models._backbones import BACKBONES, MIN_SIZE
from watson_jax.weights import PUBLISHED, CheckpointError, PublishedFile, read_torch

pytestmark = pytest.mark.filterwarnings("ignore::watson_jax.RangeWarning")

SIZE = MIN_SIZE["alex"]  # AlexNet has the fewest layers, and compiles fastest


def linear_state(network, seed=0):
    generator = np.random.default_rng(seed)
    return {
        f"lin{i}.model.1.weight": generator.uniform(0, 1, (1, channels, 1, 1)).astype(np.float32)
        for i, channels in enumerate(BACKBONES[network].TAPS.values())
    }


def random_params(network="alex", rescale_inputs=True):
    """Parameters that need no file."""
    linear = {
        name: jnp.asarray(weights.reshape(-1))
        for name, weights in zip(
            BACKBONES[network].TAPS, linear_state(network).values(), strict=True
        )
    }
    return LpipsParams(random_backbone(network, 0), linear, network, rescale_inputs=rescale_inputs)


@pytest.fixture(scope="module")
def params():
    return random_params()


value_and_gradients = jax.jit(jax.value_and_grad(lpips, argnums=(0, 1, 2)))


def pair(channels, *batch, size=SIZE):
    return noise(1, *batch, size, size, channels), noise(2, *batch, size, size, channels)


# All that was recorded but grey images with VGG, and AlexNet with inputs as they are.
RECORDED = [
    ("authors", "rgb", "squeeze"),
    ("authors", "gray", "squeeze"),
    ("authors", "rgb", "vgg"),
    ("lpips_v0.1", "inputs_rescaled_to_pm1", "squeeze"),
    ("lpips_v0.1", "inputs_rescaled_to_pm1", "vgg"),
    ("lpips_v0.1", "inputs_rescaled_to_pm1", "alex"),
    ("lpips_v0.1", "inputs_as_is", "squeeze"),
    ("lpips_v0.1", "inputs_as_is", "vgg"),
]


@jax.jit
@functools.partial(jax.value_and_grad, argnums=1, has_aux=True)
def total_and_gradient(params, image, reference):
    values = lpips(params, image, reference)
    return values.sum(), values


@pytest.mark.slow(except_for="alex")
@pytest.mark.parametrize(("source", "variant", "network"), RECORDED)
def test_recorded_values(source, variant, network, x64, reference_folder, goldens):
    recorded = goldens("lpips")
    if source == "authors":
        prefix, file = f"authors_{variant}_{network}", f"{variant}_pnet_lin_{network}_trial0.pth"
    else:
        prefix, file = f"lpips_v0.1_{network}_{variant}", f"lpips_v0.1/{network}.pth"
    params = lpips_params_from_torch(
        recorded_state(network, reference_folder),
        read_torch(reference_folder / "weights" / file),
        network,
        rescale_inputs=variant == "inputs_rescaled_to_pm1",
    )
    pairs = goldens("pairs_gray64" if variant == "gray" else "pairs_rgb64")
    # Gradients were recorded for two pairs; VGG takes a second for one of them.
    indices = recorded["pair_indices"][: 1 if network == "vgg" else 2]
    image, reference = (jnp.asarray(pairs[key][indices], "float64") for key in ("input", "target"))
    (_, values), gradients = total_and_gradient(params, image, reference)
    expected = recorded[f"{prefix}/value_f64"][: len(indices)]
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    wanted = recorded[f"{prefix}/grad_first2_f64"][: len(indices)]
    errors = np.linalg.norm((gradients - wanted).reshape(len(indices), -1), axis=1)
    assert np.all(errors < 1e-5 * np.linalg.norm(wanted.reshape(len(indices), -1), axis=1))


@pytest.mark.slow(except_for="alex")
@pytest.mark.parametrize("network", ["vgg", "squeeze", "alex"])
def test_recorded_parts_of_the_sum(network, reference_folder, goldens):
    recorded = goldens("lpips")
    state = recorded_state(network, reference_folder)
    linear = read_torch(reference_folder / "weights" / "lpips_v0.1" / f"{network}.pth")
    params = lpips_params_from_torch(state, linear, network)
    pairs, prefix = goldens("pairs_rgb64"), f"lpips_v0.1_{network}_inputs_rescaled_to_pm1"
    indices = recorded["pair_indices"]
    image, reference = (jnp.asarray(pairs[key][indices]) for key in ("input", "target"))
    features = lpips_features(params, reference)

    def one_layer(name):
        weights = {key: w * float(key == name) for key, w in params.linear.items()}
        return lpips_from_features(dataclasses.replace(params, linear=weights), image, features)

    parts = np.stack([one_layer(name) for name in params.linear])
    # float32 sums of up to 4,608 products in each of up to 13 layers
    np.testing.assert_allclose(parts[:, 0], recorded[f"{prefix}/per_layer_pair0_f64"], rtol=1e-4)
    np.testing.assert_allclose(parts.sum(0), recorded[f"{prefix}/value_f32"], rtol=1e-5)


@pytest.mark.parametrize(("network", "rescale_inputs"), [("squeeze", True), ("alex", False)])
def test_equals_loops(network, rescale_inputs, x64):
    state, linear = random_state(network), linear_state(network)
    params = lpips_params_from_torch(state, linear, network, rescale_inputs=rescale_inputs)
    size = MIN_SIZE[network]
    image, reference = (np.asarray(noise(k, size, size + 3, 3), float) for k in (1, 2))

    def units(image):
        if rescale_inputs:
            image = 2 * image - 1
        image = (image - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        for x in slow_features(network, state, image):
            yield x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-10)

    expected = 0.0
    for x, y, weights in zip(units(image), units(reference), linear.values(), strict=True):
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                difference = (x[i, j] - y[i, j]) ** 2 @ weights.reshape(-1).astype(float)
                expected += difference / (x.shape[0] * x.shape[1])
    np.testing.assert_allclose(lpips(params, image, reference), expected, rtol=1e-10)


def old_tensor(key, array):
    """As PyTorch wrote it until 2017."""
    strides = np.array(array.strides) // array.itemsize
    stored = storage(key, array.size)[:-2] + b"NtQ"  # with a place for views of a storage
    args = many(stored, number(0), many(*map(number, array.shape)), many(*map(number, strides)))
    return b"ctorch._utils\n_rebuild_tensor\n" + args + b"R"


def new_tensor(key, array):
    strides = np.array(array.strides) // array.itemsize
    return tensor(storage(key, array.size), array.shape, map(int, strides))


def torch_file(arrays, container, tensor):
    body = state_dict({name: tensor(str(i), x) for i, (name, x) in enumerate(arrays.items())})
    stored = {str(i): (x.size, x.tobytes()) for i, x in enumerate(arrays.values())}
    return container(body, stored)


def published(monkeypatch, name, content):
    """Places a file where published ones are looked for, and its own hash in the table."""
    path = os.path.join(os.environ["WATSON_JAX_WEIGHTS_DIR"], name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    digits = hashlib.sha256(content).hexdigest()[: len(PUBLISHED[name].sha256)]
    monkeypatch.setitem(PUBLISHED, name, PublishedFile(PUBLISHED[name].url, digits))


@pytest.mark.parametrize(
    ("container", "tensor"),
    [(legacy, new_tensor), (legacy, old_tensor), (zipped, new_tensor)],
    ids=["legacy", "2017", "zip"],
)
def test_loads_torchvisions_files(container, tensor, monkeypatch, tmp_path):
    monkeypatch.setenv("WATSON_JAX_WEIGHTS_DIR", str(tmp_path))
    state, linear = random_state("squeeze"), linear_state("squeeze")
    generator = np.random.default_rng(3)
    classifier = {
        "classifier.1.weight": generator.standard_normal((1000, 512, 1, 1), np.float32),
        "classifier.1.bias": np.zeros(1000, np.float32),
    }
    published(
        monkeypatch, BACKBONE_FILES["squeeze"], torch_file(state | classifier, container, tensor)
    )
    for name in ("lpips_v0.1/squeeze.pth", "gray_pnet_lin_squeeze_trial0.pth"):
        published(monkeypatch, name, torch_file(linear, container, tensor))

    params = load_lpips_params("squeeze")
    assert params.rescale_inputs
    kernel = state["features.12.expand3x3.weight"]
    np.testing.assert_array_equal(
        params.backbone["fire9"]["expand3x3"]["kernel"][2, 0, 5, 7], kernel[7, 5, 2, 0]
    )
    np.testing.assert_array_equal(params.linear["fire9"], linear["lin6.model.1.weight"].ravel())
    jax.tree.map(
        np.testing.assert_array_equal, params, lpips_params_from_torch(state, linear, "squeeze")
    )
    paper = load_lpips_params("squeeze", color="gray", weights="paper")
    assert not paper.rescale_inputs
    jax.tree.map(np.testing.assert_array_equal, paper.backbone, params.backbone)


def test_what_cannot_be_loaded():
    with pytest.raises(ValueError, match=r"cannot be 'initial' for lpips-vgg.*take 'published'"):
        wj.load_params("lpips-vgg", weights="initial")
    with pytest.raises(FileNotFoundError, match=r"must be 'published' or the path .* got 'paper'"):
        wj.load_params("lpips-alex", weights="paper")
    linear = linear_state("vgg")
    with pytest.raises(CheckpointError, match=r"lin5\.model\.1\.weight is missing"):
        lpips_params_from_torch(random_state("squeeze"), linear, "squeeze")


def test_the_published_files_are_in_the_table():
    for name in BACKBONE_FILES.values():
        assert PUBLISHED[name].url == f"https://download.pytorch.org/models/{name}"
        assert name.endswith(f"-{PUBLISHED[name].sha256}.pth")


@pytest.mark.slow
def test_identical_images_are_at_0_with_gradient_0(params):
    for image in (noise(1, SIZE, SIZE, 3), jnp.full((SIZE, SIZE, 3), 0.3, "float32")):
        value, gradients = value_and_gradients(params, image, image)
        assert value == 0
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_the_second_derivative_at_identical_images_remains(params):
    image, direction = noise(1, SIZE, SIZE, 1), noise(2, SIZE, SIZE, 1) - np.float32(0.5)

    @jax.jit
    def run(step):
        at = image + step * direction
        gradient = jax.grad(lambda x: lpips(params, x, image))
        second = jax.jvp(gradient, (at,), (direction,))[1]
        return lpips(params, at, image), jnp.vdot(direction, second)

    _, curvature = run(0.0)
    value, _ = run(0.003)
    np.testing.assert_allclose(value, curvature * 0.003**2 / 2, rtol=0.05)


@pytest.mark.slow
def test_finite_gradients_where_features_are_0(params):
    # A bias so negative that the first layer is 0 on flat images, for one of two or for both.
    backbone = dict(params.backbone)
    backbone["conv1"] = {**backbone["conv1"], "bias": jnp.full(64, -1, "float32")}
    silent = dataclasses.replace(params, backbone=backbone)
    grey, other = jnp.full((SIZE, SIZE, 3), 0.45, "float32"), noise(1, SIZE, SIZE, 3)
    first = lpips_features(silent, grey).layers["relu1"]
    assert np.any(np.all(first == 0, axis=-1))
    for image, reference in ((grey, grey), (grey, other), (other, grey), (grey, grey + 0.01)):
        found = value_and_gradients(silent, image, reference)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


def test_only_the_linear_weights_are_trained(params):
    _, (gradient, _, _) = value_and_gradients(params, *pair(3))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient.backbone))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient.linear))


def test_many_images_and_one_reference(params):
    image, reference = noise(1, 2, 2, SIZE, SIZE, 3), noise(2, 2, SIZE, SIZE, 3)
    features = lpips_features(params, reference)
    expected = lpips(params, image, jnp.broadcast_to(reference, image.shape))
    np.testing.assert_allclose(lpips_from_features(params, image, features), expected, rtol=1e-5)
    same = jnp.broadcast_to(reference, image.shape)
    assert not np.any(lpips_from_features(params, same, features))
    with pytest.raises(ValueError, match="must have a shape that ends with the references'"):
        lpips_from_features(params, image[:, :1], features)
    with pytest.raises(TypeError, match="`features` must be LpipsFeatures, got ndarray"):
        lpips_from_features(params, image, reference)
    other = dataclasses.replace(params, rescale_inputs=False)
    with pytest.raises(ValueError, match="of the network and the input range of `params`"):
        lpips_from_features(other, image, features)
    assert isinstance(jax.tree.map(lambda x: x, features), LpipsFeatures)


def test_many_sets_of_linear_weights(params):
    image, reference = pair(3)
    features = lpips_features(params, reference)
    factors = jnp.array([1.0, 2.0])
    linear = jax.tree.map(lambda w: factors[:, None] * w[None], params.linear)
    values = jax.vmap(
        lambda w: lpips_from_features(dataclasses.replace(params, linear=w), image, features)
    )(linear)
    np.testing.assert_allclose(values, factors * lpips(params, image, reference), rtol=1e-5)
    with pytest.raises(ValueError, match=r"must be one set, .* use jax\.vmap"):
        lpips(dataclasses.replace(params, linear=linear), image, reference)


def test_grey_is_the_same_in_every_channel(params):
    image, reference = pair(1)
    colored, _ = value_and_gradients(params, *(np.repeat(x, 3, -1) for x in (image, reference)))
    np.testing.assert_allclose(lpips(params, image, reference), colored, rtol=1e-6)


def test_compiles_once(params):
    run = jax.jit(lpips)
    for seed in range(2):
        run(params, noise(seed, SIZE, SIZE, 3), noise(9, SIZE, SIZE, 3))
    assert run._cache_size() == 1


def test_wrong_arguments_are_one_sentence(params):
    image, reference = pair(3)
    for error, message, wrong in (
        (TypeError, r"`image` .* got uint8; divide 8-bit", (image * 255).astype("uint8")),
        (
            ValueError,
            r"`image` must have 1 or 3 channels .*channels-first",
            jnp.ones((3, SIZE, SIZE)),
        ),
        (ValueError, r"`image` must have 1 or 3 channels", jnp.ones((SIZE, SIZE, 4))),
        (ValueError, r"must have the same shape", jnp.ones((SIZE, SIZE, 1))),
        (ValueError, "must have the same shape", image[None]),
        (ValueError, r"at least 31 pixels high and wide, got 31x30", image[:, :30]),
    ):
        with pytest.raises(error, match=message) as caught:
            lpips(params, wrong, reference)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="`reference` must be at least 31 pixels"):
        lpips_features(params, reference[:30])
    with pytest.raises(TypeError, match="`params` must be LpipsParams, got ndarray; the param"):
        lpips(image, reference, params)
    other = dataclasses.replace(params, network="resnet")
    with pytest.raises(ValueError, match=r"`network` must be one of vgg, squeeze, alex"):
        lpips(other, image, reference)


@pytest.fixture
def no_downloads(monkeypatch, tmp_path):
    """LPIPS's linear weights on disk, and nothing else that could be fetched."""

    def download(*_):
        raise AssertionError("a download")

    monkeypatch.setattr("watson_jax.weights._fetch._download", download)
    monkeypatch.setenv("WATSON_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WATSON_JAX_WEIGHTS_DIR", str(tmp_path))
    published(monkeypatch, "lpips_v0.1/squeeze.pth", saved(linear_state("squeeze")))
    return tmp_path


def saved(arrays):
    return torch_file(arrays, zipped, new_tensor)


def test_a_backbone_of_ones_own(no_downloads):
    state, linear = random_state("squeeze"), linear_state("squeeze")
    (no_downloads / "mine.pth").write_bytes(saved(state))
    expected = lpips_params_from_torch(state, linear, "squeeze")
    for backbone in (no_downloads / "mine.pth", str(no_downloads / "mine.pth"), state):
        params = wj.load_params("lpips-squeeze", backbone=backbone)
        assert params.rescale_inputs
        jax.tree.map(np.testing.assert_array_equal, params, expected)
    loss = wj.get_loss("lpips-squeeze", backbone=state)
    jax.tree.map(np.testing.assert_array_equal, loss.params, expected)


def test_local_files_download_nothing(no_downloads, monkeypatch):
    state, linear = random_state("squeeze"), linear_state("squeeze", seed=5)
    expected = lpips_params_from_torch(state, linear, "squeeze")
    package = {f"net.slice1.{n.removeprefix('features.')}": x for n, x in state.items()} | linear
    package |= {n.replace("lin", "lins."): x for n, x in linear.items()}
    package["scaling_layer.shift"] = np.zeros((1, 3, 1, 1), np.float32)
    path = no_downloads / "file.pth"
    path.write_bytes(saved(package))
    params = wj.load_params("lpips-squeeze", weights=path)
    assert params.rescale_inputs
    jax.tree.map(np.testing.assert_array_equal, params, expected)

    # Linear weights alone: those of the paper's authors take images as they are, LPIPS's own do not.
    path.write_bytes(saved(linear))
    with pytest.raises(CheckpointError, match=r"not known whether .* `lpips_params_from_torch"):
        wj.load_params("lpips-squeeze", weights=path, backbone=state)
    monkeypatch.setattr(spec, "_PAPER_LINEAR", (spec._digest(linear),))
    params = wj.load_params("lpips-squeeze", weights=path, backbone=state)
    assert not params.rescale_inputs
    jax.tree.map(np.testing.assert_array_equal, params.linear, expected.linear)
    monkeypatch.setitem(spec._PUBLISHED_LINEAR, "squeeze", spec._digest(linear))
    assert wj.load_params("lpips-squeeze", weights=path, backbone=state).rescale_inputs

    wj.save_params(path, expected)
    jax.tree.map(
        np.testing.assert_array_equal, wj.load_params("lpips-squeeze", weights=path), expected
    )
    with pytest.raises(CheckpointError, match=r"has a network of its own, so leave out `backbone`"):
        wj.load_params("lpips-squeeze", weights=path, backbone=state)


@pytest.mark.parametrize("network", ["vgg", "squeeze", "alex"])
def test_the_published_linear_weights_are_recognized(network, reference_folder):
    state = read_torch(reference_folder / "weights" / "lpips_v0.1" / f"{network}.pth")
    assert spec._digest(state) == spec._PUBLISHED_LINEAR[network]


def test_the_papers_linear_weights_are_recognized(reference_folder):
    files = [
        f"{color}_pnet_lin_{network}_trial0.pth"
        for network in ("vgg", "squeeze")
        for color in ("rgb", "gray")
    ]
    digests = [spec._digest(read_torch(reference_folder / "weights" / file)) for file in files]
    assert digests == list(spec._PAPER_LINEAR)


def test_backbones_that_do_not_fit(no_downloads, monkeypatch):
    state = random_state("squeeze")
    mine = no_downloads / "mine.pth"
    mine.write_bytes(saved(random_state("alex")))
    linear = no_downloads / "linear.pth"
    linear.write_bytes(saved(linear_state("squeeze", seed=5)))
    monkeypatch.setattr(spec, "_PAPER_LINEAR", (spec._digest(linear_state("squeeze", seed=5)),))
    integers = state | {"features.0.bias": np.zeros(64, int)}
    for name, wrong, error, message in (
        ("lpips-squeeze", {"backbone": mine}, CheckpointError,
         r"^`backbone` must hold SqueezeNet 1\.1 of torchvision, got .*mine\.pth: .* is missing"),
        ("lpips-squeeze", {"backbone": mine, "weights": linear}, CheckpointError, "^`backbone` must"),
        ("lpips-squeeze", {"backbone": integers}, CheckpointError, "bias holds int64, no floating"),
        ("lpips-squeeze", {"weights": mine}, CheckpointError, "name it with `backbone`"),
        ("lpips-squeeze", {"backbone": "none.pth"}, FileNotFoundError, "'none.pth', where there is"),
        ("lpips-squeeze", {"backbone": 3}, TypeError, "`backbone` must be the path .* got int"),
        ("watson-dft", {"backbone": state}, TypeError, "must be left out for watson-dft, which has"),
        ("l1", {"backbone": state}, TypeError, "must be left out for l1"),
    ):  # fmt: skip
        with pytest.raises(error, match=message) as caught:
            wj.load_params(name, **wrong)
        assert "\n" not in str(caught.value)


def test_a_file_saved_again_is_taken_if_trusted(no_downloads, monkeypatch):
    state = random_state("squeeze")
    (no_downloads / BACKBONE_FILES["squeeze"]).write_bytes(saved(state))
    with pytest.raises(CheckpointError, match=r"TRUST_WEIGHTS_DIR=1 .* your own with `backbone`"):
        wj.load_params("lpips-squeeze")
    monkeypatch.setenv("WATSON_JAX_TRUST_WEIGHTS_DIR", "1")
    params = wj.load_params("lpips-squeeze")
    expected = lpips_params_from_torch(state, linear_state("squeeze"), "squeeze")
    jax.tree.map(np.testing.assert_array_equal, params, expected)
