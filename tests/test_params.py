"""Loading, saving and finding parameters and losses."""

import contextlib
import dataclasses
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import watson_jax as wj
from tests.example_losses import example_loss
from tests.images import noise
from watson_jax._registry import LOSSES
from watson_jax.weights import write_npz

COLORS = {"rgb": 3, "gray": 1}


def same(a, b):
    assert type(a) is type(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow(except_for="alex")
@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].params_type])
@pytest.mark.parametrize("color", COLORS)
def test_saved_parameters_come_back(name, color, tmp_path):
    if (name, color) == ("lpips-vgg", "gray"):
        return  # 60 MB, and the same as for colour.
    params = example_loss(name, color).params
    params = jax.tree.map(lambda x: x + 0.25, params)
    wj.save_params(tmp_path / "mine.npz", params)
    same(wj.load_params(name, color=color, weights=tmp_path / "mine.npz"), params)
    same(wj.load_params(name, color=color, weights=str(tmp_path / "mine.npz")), params)


def test_static_fields_are_saved(tmp_path):
    params = wj.load_params("watson-dft", color="gray", weights="initial")
    assert not np.any(params.phase_weights[0, ::4, ::4])
    freed = dataclasses.replace(params, free_self_conjugate=True)
    assert np.all(freed.phase_weights > 0)
    wj.save_params(tmp_path / "freed.npz", freed)
    loaded = wj.load_params("watson-dft", color="gray", weights=tmp_path / "freed.npz")
    assert loaded.free_self_conjugate is True


def test_floors_may_be_whole_numbers(tmp_path):
    params = wj.load_params("watson-dft", color="gray", weights="packaged")
    wj.save_params(
        tmp_path / "a.npz", dataclasses.replace(params, luminance_floor=0, phase_floor=1)
    )
    loaded = wj.load_params("watson-dft", color="gray", weights=tmp_path / "a.npz")
    assert (loaded.luminance_floor, loaded.phase_floor) == (0, 1)
    same(loaded, dataclasses.replace(params, luminance_floor=0.0, phase_floor=1.0))


@pytest.mark.slow
def test_floors_belong_to_the_parameter_set(tmp_path):
    for name, floors in (
        ("watson-dft", {"luminance_floor": 0.2, "phase_floor": 0.05}),
        ("watson-dct", {"luminance_floor": 0.2}),
    ):
        path = tmp_path / f"{name}.npz"
        params = wj.load_params(name, color="gray", weights="initial")
        assert not any(getattr(params, floor) for floor in floors)  # the paper has none
        own = dataclasses.replace(params, **floors)
        wj.save_params(path, own)
        loaded = wj.load_params(name, color="gray", weights=path)
        same(loaded, own)
        assert "luminance_floor=0.2" in repr(loaded)

        loss = wj.get_loss(name, color="gray", weights=path)
        dim = jnp.linspace(0, 0.02, 256).reshape(16, 16, 1)
        reference = jnp.concatenate([dim, 1 - dim])
        image = reference.at[3].add(0.01)
        function = getattr(wj, name.replace("-", "_"))
        assert loss(image, reference) == function(params, image, reference, **floors)
        free = dict.fromkeys(floors, 0.0)
        plain = function(params, image, reference)
        assert function(own, image, reference, **free) == plain != loss(image, reference)
        blocks = getattr(wj, f"{function.__name__}_map")(own, image, reference)
        np.testing.assert_allclose(blocks.sum(), loss(image, reference), rtol=1e-5)


def test_files_without_floors_have_none(tmp_path):
    path = tmp_path / "old.npz"
    params = wj.load_params("watson-dft", color="gray", weights="initial")
    wj.save_params(path, params)
    entries = {key: value for key, value in np.load(path).items() if "floor" not in key}
    write_npz(path, entries)
    same(wj.load_params("watson-dft", color="gray", weights=path), params)


def test_starting_values():
    dct = wj.load_params("watson-dct", color="rgb", weights="initial")
    assert dct.thresholds.shape == (3, 8, 8)
    np.testing.assert_allclose(dct.thresholds[1, 0, :4], [1.40, 1.01, 1.16, 1.66], rtol=1e-6)
    np.testing.assert_allclose(dct.contrast_exponent, 0.7, rtol=1e-6)
    np.testing.assert_allclose(dct.channel_weights, 1 / 3, rtol=1e-6)
    dft = wj.load_params("watson-dft", color="gray", weights="initial")
    assert (dft.luminance_exponent[0], dft.pooling_exponent[0]) == (jnp.float32(0.1), 1)
    np.testing.assert_allclose(dft.phase_weights[0, 1, 1], np.exp(-2), rtol=1e-6)
    assert dft.channel_weights.tolist() == [1]


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("name", ["watson-dft", "watson-dct"])
def test_published_weights(name, color, reference_folder):
    params = wj.load_params(name, color=color, weights="published")
    assert params.thresholds.shape[0] == COLORS[color]
    file = f"{color}_{name.replace('-', '_').replace('dft', 'fft')}_trial0.pth"
    direct = reference_folder / "weights" / file
    same(wj.load_params(name, color=color, weights=direct), params)
    other = "rgb" if color == "gray" else "gray"
    with pytest.raises(wj.CheckpointError, match="parameters of"):
        wj.load_params(name, color=other, weights=direct)


def test_published_exponents_are_those_of_the_paper_s_authors(reference_folder):
    params = wj.load_params("watson-dft", color="rgb", weights="published")
    np.testing.assert_allclose(params.pooling_exponent, [0.611981, 0.592239, 0.586338], rtol=1e-5)
    np.testing.assert_allclose(
        params.luminance_exponent, [0.171031, -0.867289, 1.513461], rtol=1e-5
    )
    np.testing.assert_allclose(params.channel_weights, [0.350944, 0.301090, 0.347966], rtol=1e-5)


@pytest.mark.parametrize("name", ["watson-dft", "Watson_DFT", "watsondft", "WATSON-FFT"])
def test_names_are_read_generously(name):
    assert wj.get_loss(name, color="gray", weights="initial").name == "watson-dft"


@pytest.mark.parametrize("color", ["RGB", "Gray", "grey"])
def test_colours_are_read_generously(color):
    assert wj.load_params("watson-dft", color=color).thresholds.shape[0] == (
        3 if color == "RGB" else 1
    )


@pytest.mark.slow(except_for="alex")
@pytest.mark.parametrize("name", LOSSES)
def test_equal_losses_are_equal_pytrees_and_can_be_pickled(name):
    loss = example_loss(name, "gray")
    again = dataclasses.replace(loss, params=jax.tree.map(lambda leaf: leaf + 1, loss.params))
    copy = pickle.loads(pickle.dumps(again))
    assert jax.tree.structure(loss) == jax.tree.structure(copy)
    assert loss.fn is copy.fn
    for leaf in jax.tree.leaves(jax.tree.map(jnp.subtract, copy, loss)):
        np.testing.assert_allclose(leaf, 1, atol=1e-5)
    pickle.dumps(loss.fn)


def test_losses_that_are_looked_up_twice_compile_once():
    image = jnp.linspace(0, 1, 64).reshape(8, 8, 1)
    compare = jax.jit(lambda loss, image: loss(image, 1 - image))
    apply = jax.jit(lambda fn, params, image: fn(params, image, 1 - image), static_argnums=0)
    for options in (
        {"over_blocks": "mean", "phase_floor": 0.1},
        {"phase_floor": 0.1, "over_blocks": "mean"},
    ):
        loss = wj.get_loss("watson-dft", color="gray", weights="initial", **options)
        found = compare(loss, image), apply(loss.fn, loss.params, image)
        expected = wj.watson_dft(loss.params, image, 1 - image, **options)
        np.testing.assert_allclose(found, [expected] * 2, rtol=1e-6)
    assert compare._cache_size() == apply._cache_size() == 1
    other = wj.get_loss("watson-dft", color="gray", weights="initial")
    assert other.fn is not loss.fn
    assert jax.tree.structure(other) != jax.tree.structure(loss)


class ForeignArray:
    """An array of another library, with types of its own."""

    dtype, shape = object(), (8, 8, 3)


def test_a_fit_for_colour_is_not_one_for_grey(tmp_path):
    wj.save_params(tmp_path / "mine.npz", wj.load_params("watson-dft", weights="initial"))
    with pytest.raises(wj.CheckpointError, match=r'they are for color="rgb"\.$'):
        wj.load_params("watson-dft", color="gray", weights=tmp_path / "mine.npz")


def test_a_loss_is_shown_without_its_arrays():
    loss = wj.get_loss("watson-dft", weights="initial", phase_floor=0.1)
    assert repr(loss) == "Loss('watson-dft', phase_floor=0.1)"


def test_loss_is_an_argument_of_compiled_functions():
    loss = wj.get_loss("watson-dft", color="gray", weights="initial")
    image = jnp.linspace(0, 1, 64).reshape(8, 8, 1)
    found = jax.jit(lambda loss, image: loss(image, 1 - image))(loss, image)
    np.testing.assert_allclose(found, wj.watson_dft(loss.params, image, 1 - image), rtol=1e-6)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, loss)
    np.testing.assert_array_equal(doubled.params.pooling_exponent, 2 * loss.params.pooling_exponent)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: wj.get_loss("watson-dtf", weights="initial"),
            ValueError,
            "did you mean 'watson-dft'",
        ),
        (lambda: wj.get_loss("watson-vgg", weights="initial"), ValueError, "never published"),
        (lambda: wj.get_loss("zebra", weights="initial"), ValueError, "`name` must be one of"),
        (
            lambda: wj.get_loss("l1", weights="initial"),
            TypeError,
            "`weights` must be left out for l1",
        ),
        (lambda: wj.get_loss("adaptive"), TypeError, "`image_size` must be given"),
        (
            lambda: wj.get_loss("lpips-vgg", weights="initial"),
            ValueError,
            "cannot be 'initial' for lpips-vgg",
        ),
        (
            lambda: wj.get_loss("watson-dft", weights="publishd"),
            FileNotFoundError,
            "did you mean 'published'",
        ),
        (
            lambda: wj.get_loss("watson-dft", color="LA", weights="initial"),
            ValueError,
            '`color` must be "rgb" or "gray", got \'LA\'',
        ),
        (
            lambda: wj.load_params("watson-dft", weights=True),
            TypeError,
            "`weights` must be 'packaged', .* or the path of a file for watson-dft, got True.",
        ),
        (
            lambda: wj.get_loss("watson-dft", colorspace="RGB"),
            TypeError,
            "has no option `colorspace`; it is called `color` here",
        ),
        (
            lambda: wj.get_loss("watson-dft", pretrained=True),
            TypeError,
            "has no option `pretrained`; it is called `weights` here",
        ),
        (
            lambda: wj.get_loss("l1", reduction="sum"),
            TypeError,
            "l1 has no option `reduction`; it returns one value for each pair: take .sum",
        ),
        (
            lambda: wj.get_loss("watson-dft", phase_floor=jnp.ones(())),
            TypeError,
            "`phase_floor` must be a plain value, got ArrayImpl",
        ),
        (
            lambda: wj.get_loss("watson-dct", weights="initial", phase_floor=1.0),
            TypeError,
            "watson-dct has no option `phase_floor`; it has luminance",
        ),
        (
            lambda: wj.get_loss("watson-dft", deterministic=True),
            TypeError,
            "has no option `deterministic`; the grid of blocks never moves by itself",
        ),
        (
            lambda: wj.get_loss("ssim", border="vlid"),
            ValueError,
            '`border` must be "zero" or "valid", got \'vlid\'',
        ),
        (
            lambda: wj.get_loss("lpips-alex", net="alex"),
            TypeError,
            "lpips-alex has no option `net`; it has no options",
        ),
        (
            lambda: wj.loss_info("watson-dft").log_weight("packaged", 2),
            ValueError,
            "`channels` must be 1 or 3, got 2",
        ),
        (
            lambda: wj.l1(ForeignArray(), ForeignArray()),
            TypeError,
            "got tests's ForeignArray; convert",
        ),
        (lambda: wj.save_params("x.npz", {"a": 1}), TypeError, "`params` must be the parameters"),
        (lambda: wj.save_params(True, {}), TypeError, "`path` must be the path of a file .* True"),
        (lambda: wj.save_params("", {}), ValueError, "`path` must name a file to write, got ''"),
        (lambda: wj.save_params("a\0b", {}), ValueError, "`path` must name a file to write"),
    ],
)
def test_mistakes_are_one_sentence(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_wrong_options():
    image = jnp.ones((8, 8, 1))
    params = wj.load_params("watson-dft", color="gray", weights="initial")
    for options, message in (
        ({"luminance": "none"}, '`luminance` must be "image" or "batch"'),
        ({"over_blocks": "max"}, "`over_blocks`"),
        ({"phase_floor": -1}, "`phase_floor` must be a plain number, 0 or at least 1e-15, got -1"),
        ({"luminance_floor": "a"}, "`luminance_floor` must be a plain"),
    ):
        with pytest.raises(ValueError, match=message):
            wj.watson_dft(params, image, image, **options)


def test_wrong_parameters():
    image = jnp.ones((8, 8, 1))
    dct = wj.load_params("watson-dct", color="gray", weights="initial")
    with pytest.raises(TypeError, match="`params` must be WatsonDftParams, got WatsonDctParams"):
        wj.watson_dft(dct, image, image)
    with pytest.raises(TypeError, match=r"loss\(params, image, reference\)"):
        wj.watson_dct(image, image, dct)
    stacked = jax.tree.map(lambda x: x[None], dct)
    with pytest.raises(ValueError, match=r"use jax\.vmap for several sets"):
        wj.watson_dct(stacked, image, image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a | {"loss": "watson-dct"}, "its entry 'loss' must be 'watson-dft'"),
        (lambda a: a | {"format": "other"}, "'format'"),
        (
            lambda a: {k: v for k, v in a.items() if k != "channel_logits"},
            "channel_logits is missing",
        ),
        (lambda a: a | {"more": np.ones(1)}, "more is unexpected"),
        (lambda a: a | {"pooling_exponent": np.ones(3)}, "pooling_exponent must have the shape"),
        (lambda a: a | {"pooling_exponent": np.array([np.nan])}, "not finite"),
        (lambda a: a | {"pooling_exponent": np.array([1e39])}, "not finite in float32"),
        (
            lambda a: a | {"pooling_exponent": np.zeros(1)},
            r"pooling_exponent must lie between 0\.1 and 100, it has 0 to 0",
        ),
        (lambda a: a | {"log_thresholds": np.full((1, 8, 5), 1e38)}, "log_thresholds must lie"),
        (lambda a: a | {"log_phase_weights": np.full((1, 8, 5), 99.0)}, "log_phase_weights must"),
        (lambda a: a | {"luminance_exponent": np.full(1, -11.0)}, "luminance_exponent must lie"),
        (lambda a: a | {"loss": np.array("x" * 100_000)}, "its entry 'loss' must be"),
        (lambda a: a | {"\x1b[2J" + "x" * 200: np.ones(1)}, r"\\x1b\[2Jxxx"),
        (lambda a: a | {"a/" * 2000 + "a": np.ones(1)}, "lies more than 8 levels deep"),
        (lambda a: a | {"a/" * 20 + "a": np.ones(1)}, "lies more than 8 levels deep"),
        (
            lambda a: (
                {k: v for k, v in a.items() if k != "free_self_conjugate"}
                | {"free_self_conjugate/x": np.array(False)}
            ),
            "free_self_conjugate must be one value",
        ),
        (
            lambda a: a | {"pooling_exponent": np.array(["a"])},
            "pooling_exponent must hold floating",
        ),
        (
            lambda a: a | {"free_self_conjugate": np.zeros(2)},
            "free_self_conjugate must be one value",
        ),
        (lambda a: a | {"free_self_conjugate": np.array("no")}, "its static entries are"),
        (lambda a: a | {"phase_floor": np.array(-0.1)}, "`phase_floor` must be a plain number, 0"),
        (lambda a: a | {"luminance_floor": np.array(np.nan)}, "`luminance_floor` must be a plain"),
    ],
)
def test_files_with_other_content(change, message, tmp_path):
    path = tmp_path / "params.npz"
    wj.save_params(path, wj.load_params("watson-dft", color="gray", weights="initial"))
    write_npz(path, change(dict(np.load(path))))
    with pytest.raises(wj.CheckpointError, match=message) as caught:
        wj.load_params("watson-dft", color="gray", weights=path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600 + len(str(path))


@pytest.mark.parametrize(
    ("offset", "change"),
    [
        (6, b"\x63\0"),
        (8, b"\0\x08"),
        (8, b"\x20\0"),
        (10, b"\x63\0"),
        (10, b"\x08\0"),
        (46, b"\xff"),
    ],
)
def test_changes_in_the_directory_of_the_zip(offset, change, tmp_path):
    path = tmp_path / "params.npz"
    wj.save_params(path, wj.load_params("watson-dft", color="gray", weights="initial"))
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\1\2") + offset
    content[start : start + len(change)] = change
    if offset == 46:
        content[start - 46 + 8 : start - 46 + 10] = b"\0\x08"  # a name in UTF-8, which this is not
    path.write_bytes(content)
    with contextlib.suppress(wj.CheckpointError):
        wj.load_params("watson-dft", color="gray", weights=path)


def test_integers_are_no_parameters():
    params = wj.load_params("watson-dct", color="gray", weights="initial")
    state = {
        "t_tild": np.array(params.log_thresholds[0]), "alpha": np.float32(0.6), "w_tild": np.zeros(1),
        "beta": np.array(True),
    }  # fmt: skip
    with pytest.raises(wj.CheckpointError, match="the entries beta hold no floating point numbers"):
        LOSSES["watson-dct"].from_torch(state, "gray")


def test_paths_of_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    params = wj.load_params("watson-dct", color="gray", weights="initial")
    wj.save_params("~/mine.npz", params)
    assert (tmp_path / "mine.npz").is_file()
    same(wj.load_params("watson-dct", color="gray", weights="~/mine.npz"), params)
    for path in ("", "x" * 5000, "~nobody/x\0"):
        with pytest.raises(
            FileNotFoundError, match=r"`weights` must be .*, where there is no"
        ) as info:
            wj.load_params("watson-dct", color="gray", weights=path)
        assert len(str(info.value)) < 600


def test_a_path_that_is_too_long_is_cut_in_the_message():
    params = wj.load_params("watson-dct", color="gray", weights="initial")
    with pytest.raises(OSError, match=r"Cannot write x+…x+: File name too long; choose") as info:
        wj.save_params("x" * 5000, params)
    assert len(str(info.value)) < 600


def test_names_of_files_reach_no_terminal_raw(tmp_path):
    path = tmp_path / "a\x1b[31m\n.npz"
    path.write_bytes(b"PK nothing")
    with pytest.raises(wj.CheckpointError) as info:
        wj.load_params("watson-dft", weights=path)
    assert str(info.value).isprintable()
    wj.save_params(path, wj.load_params("watson-dct", weights="initial"))
    with pytest.raises(wj.CheckpointError, match=r"holds no rgb parameters of watson-dft") as info:
        wj.load_params("watson-dft", weights=path)
    assert str(info.value).isprintable()


def test_a_truncated_file(tmp_path):
    path = tmp_path / "params.npz"
    wj.save_params(path, wj.load_params("watson-dft", color="gray", weights="initial"))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(wj.CheckpointError, match=r"params\.npz"):
        wj.load_params("watson-dft", color="gray", weights=path)


def test_sets_of_parameters_are_compared_as_a_whole():
    params, other = (wj.load_params("watson-dft", weights="initial") for _ in range(2))
    assert params == params
    assert params != other
    assert len({params, other}) == 2


def test_params_are_pytrees():
    params = wj.load_params("watson-dft", color="rgb", weights="initial")
    assert len(jax.tree.leaves(params)) == 6
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.log_thresholds = 0


def test_an_image_may_be_a_parameter_of_flax():
    class Picture(nnx.Module):
        def __init__(self):
            self.pixels = nnx.Param(noise(1, 8, 8, 1))

    loss = wj.get_loss("watson-dct", color="gray")
    reference = noise(2, 8, 8, 1)
    found = nnx.grad(lambda picture: loss(picture.pixels, reference))(Picture())
    np.testing.assert_array_equal(found.pixels[...], jax.grad(loss)(noise(1, 8, 8, 1), reference))


def test_warning_of_the_range_comes_once_for_a_line():
    image = jnp.full((8, 8, 1), 200.0)
    loss = wj.get_loss("watson-dct", color="gray", weights="initial")
    with pytest.warns(wj.RangeWarning) as caught:
        [loss(image, image / 255) for _ in range(3)]
    assert len(caught) == 1
    assert "`image` should be in [0, 1], got values from 200 to 200; divide by 255" in str(
        caught[0].message
    )
    assert caught[0].filename == __file__
    with pytest.warns(wj.RangeWarning, match=r"`reference`.*\(x \+ 1\) / 2"):
        loss(image / 255, -image / 255)
    jax.jit(loss)(image, image)  # cannot see values


def test_import_is_light():
    code = (
        "import sys, jax, watson_jax, watson_jax.losses._lpips.loss;"
        "heavy = ['flax', 'optax', 'pooch', 'tensorflow', 'torch', 'matplotlib', 'orbax',"
        " 'tensorflow_datasets', 'skimage', 'sklearn', 'absl', 'tqdm', 'PIL'];"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_losses_without_parameters():
    for name in ("l1", "l2", "ssim", "ms_ssim"):
        loss = wj.get_loss(name, color="gray")
        assert loss.params == () == wj.load_params(name)
        image, reference = (jnp.full((32, 32, 1), value) for value in (0.2, 0.7))
        value = getattr(wj, name)(image, reference)
        np.testing.assert_array_equal(loss.fn((), image, reference), value)
        np.testing.assert_array_equal(loss(image, reference), value)
    assert wj.get_loss("ssim", border="valid")(image, reference).shape == ()


def test_every_loss_has_a_spec():
    for name in wj.list_losses():
        spec = wj.loss_info(name)
        assert spec.name == name
        assert spec.summary
        assert (spec.default_weights in spec.weights) == (spec.params_type is not None)
        assert np.isfinite([spec.log_weight(None, channels) for channels in (1, 3)]).all()
        assert set(spec.downloads) <= set(spec.weights)
    known = {alias for spec in LOSSES.values() for alias in (spec.name, *spec.aliases)}
    assert len(known) == sum(1 + len(spec.aliases) for spec in LOSSES.values())


@pytest.mark.parametrize("name", wj.list_losses())
def test_the_smallest_images_are_those_of_the_spec(name):
    least = wj.loss_info(name).min_size
    loss = example_loss(name, "rgb")
    if name == "adaptive":  # whose parameters are for images of one size
        loss = wj.get_loss(name, image_size=(least, least))
    image, smaller = (jax.ShapeDtypeStruct((n, n, 3), jnp.float32) for n in (least, least - 1))
    assert jax.eval_shape(loss, image, image).shape == ()
    with pytest.raises(ValueError, match=r"must be (at least|\d+x\d+)"):
        jax.eval_shape(loss, smaller, smaller)


@pytest.mark.parametrize(
    ("name", "function"), [("mse", "l2"), ("mae", "l1"), ("ssim_loss", "ssim")]
)
def test_the_fields_names(name, function):
    assert getattr(wj, name) is getattr(wj, function)
    assert wj.get_loss(name).name == function


def test_the_authors_names():
    for theirs, ours in (("deeploss-vgg", "lpips-vgg"), ("Deeploss_Squeeze", "lpips-squeeze")):
        assert wj.loss_info(theirs).name == ours


@pytest.mark.parametrize("color", ["rgb", "gray"])
@pytest.mark.parametrize("name", ["watson-dft", "watson-dct"])
def test_packaged_weights_are_the_default_and_need_no_network(name, color, monkeypatch, tmp_path):
    monkeypatch.setenv("WATSON_JAX_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("WATSON_JAX_CACHE", str(tmp_path))
    params = wj.load_params(name, color=color)
    packaged = wj.load_params(name, color=color, weights="packaged")
    jax.tree.map(np.testing.assert_array_equal, params, packaged)
    initial = wj.load_params(name, color=color, weights="initial")
    assert np.any(params.thresholds != initial.thresholds)
    assert np.all(params.pooling_exponent >= 1)
    assert params.luminance_floor > 0
    assert not list(tmp_path.iterdir())
