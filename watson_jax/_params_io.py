"""Loading and saving the parameters of a loss."""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, TypedDict, Unpack, overload

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from watson_jax._registry import LOSSES, find_color, loss_info, spec_of
from watson_jax.files import clause, plain
from watson_jax.losses import AdaptiveParams, LpipsParams, WatsonDctParams, WatsonDftParams
from watson_jax.losses._spec import LossSpec
from watson_jax.weights import CheckpointError, is_npz, read_npz, read_torch, write_npz
from watson_jax.weights._limits import MAX_DEPTH

FORMAT = "watson_jax.params.v1"


class _Arguments(TypedDict, total=False):
    color: str
    weights: str | os.PathLike[str] | None
    image_size: tuple[int, int] | None
    backbone: str | os.PathLike[str] | Mapping[str, ArrayLike] | None


# For type checkers, which learn the class of the parameters from a name that is spelled out.
@overload
def load_params(
    name: Literal["watson-dft"], **arguments: Unpack[_Arguments]
) -> WatsonDftParams: ...
@overload
def load_params(
    name: Literal["watson-dct"], **arguments: Unpack[_Arguments]
) -> WatsonDctParams: ...
@overload
def load_params(name: Literal["adaptive"], **arguments: Unpack[_Arguments]) -> AdaptiveParams: ...
@overload
def load_params(
    name: Literal["lpips-vgg", "lpips-alex", "lpips-squeeze"], **arguments: Unpack[_Arguments]
) -> LpipsParams: ...
@overload
def load_params(
    name: Literal["l1", "l2", "ssim", "ms-ssim"], **arguments: Unpack[_Arguments]
) -> tuple[()]: ...
@overload
def load_params(name: str, **arguments: Unpack[_Arguments]) -> Any: ...


def load_params(
    name: str,
    *,
    color: str = "rgb",
    weights: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    backbone: str | os.PathLike[str] | Mapping[str, ArrayLike] | None = None,
) -> Any:
    """Loads the parameters of a loss.

    Args:
      name: the loss, such as "watson-dft".
      color: "rgb" or "gray", in any case.
      weights: "packaged" for this library's own fit of the Watson losses, which ships with it and is
        their default; "published" for the authors' fit (for LPIPS its own v0.1 and its default), fetched
        once and cached, where `WATSON_JAX_WEIGHTS_DIR` names a folder that is looked at first; "paper"
        for the linear weights of LPIPS that the paper's authors tuned; "initial" for the starting
        values of a fit, Adaptive's default; or the path of a file that `save_params`, the authors' code
        or, for LPIPS, the `lpips` package wrote.
      image_size: (height, width) of the images; only Adaptive's initial weights need it.
      backbone: for LPIPS, torchvision's state dict of the network from a source that you trust: the path
        of a file that `torch.save` wrote, or arrays by torchvision's names. It takes the place of the
        published file, whose SHA-256 is checked; of yours, names, shapes and finiteness are. SqueezeNet
        has not been verified with its trained weights, only with random ones.

    Returns:
      The loss's parameters, a pytree of float32 arrays; `()` for losses without.

    Raises:
      ValueError: if a name is unknown, or the file is damaged, hostile or of another loss or colour
        (`watson_jax.CheckpointError`).
      TypeError: if `image_size` is missing, or the loss has no parameters for `weights`, or no network
        for `backbone`.
      OSError: if the file cannot be found or fetched.

    Example:
      >>> params = load_params("watson-dft", color="gray", weights="initial")
      >>> params.thresholds.shape
      (1, 8, 5)
    """
    spec = loss_info(name)
    name = spec.name
    color = find_color(color)
    if backbone is not None and not spec.takes_backbone:
        raise TypeError(f"`backbone` must be left out for {name}, which has no network.")
    network = {} if backbone is None else {"backbone": backbone}
    if spec.params_type is None:
        if weights is not None:
            raise TypeError(
                f"`weights` must be left out for {name}, which has none, got {weights!r}."
            )
        return ()
    choices = f"{', '.join(map(repr, spec.weights))} or the path of a file"
    if not isinstance(weights, (str, os.PathLike, type(None))):
        raise TypeError(f"`weights` must be {choices} for {name}, got {weights!r}.")
    weights = spec.default_weights if weights is None else weights
    assert weights is not None  # every loss with parameters has a default
    if weights == "initial" and "initial" not in spec.weights:
        raise ValueError(
            f"`weights` cannot be 'initial' for {name}, whose network says nothing about images before "
            f"it is trained; take {choices}."
        )
    if weights in spec.weights:
        made = spec.weights[str(weights)](color, image_size, **network)
        if isinstance(made, pathlib.Path):
            made = _read(name, spec, made, color, network)
        return jax.tree.map(jnp.float32, made)
    path = os.path.expanduser(weights)
    if not os.path.isfile(path):  # which `Path.is_file` does not answer for a path that is too long
        near = difflib.get_close_matches(str(weights)[:100], spec.weights, n=1)
        raise FileNotFoundError(
            f"`weights` must be {choices} for {name}, got '{plain(weights)}', where there is no file"
            + (f"; did you mean {near[0]!r}?" if near else ".")
        )
    return jax.tree.map(jnp.float32, _read(name, spec, pathlib.Path(path), color, network))


def save_params(path: str | os.PathLike[str], params: Any) -> None:
    """Saves the parameters of a loss as a plain `.npz` file, which NumPy alone can read.

    Args:
      path: the file to write; an existing one is replaced as a whole.
      params: one set, as `load_params` returns it.

    Raises:
      TypeError: if these are not the parameters of a loss, or `path` is none.
      ValueError: if `path` names no file.
      OSError: if the file cannot be written.

    Example:
      >>> import tempfile
      >>> path = tempfile.mkdtemp() + "/mine.npz"
      >>> save_params(path, load_params("watson-dct", weights="initial"))
      >>> load_params("watson-dct", weights=path).log_thresholds.shape
      (3, 8, 8)
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"`path` must be the path of a file to write, got {path!r}.")
    if not pathlib.PurePath(path).name or "\0" in os.fspath(path):
        raise ValueError(f"`path` must name a file to write, got {os.fspath(path)!r}.")
    spec = spec_of(params)
    if spec is None:
        with_params = (name for name, known in LOSSES.items() if known.params_type)
        raise TypeError(
            f"`params` must be the parameters of one of {', '.join(with_params)}, "
            f"got {type(params).__name__}."
        )
    fields = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    arrays: dict[str, ArrayLike] = {"format": FORMAT, "loss": spec.name, **_flatten(fields)}
    write_npz(os.path.expanduser(path), arrays)


def _read(
    name: str, spec: LossSpec, path: pathlib.Path, color: str, network: Mapping[str, Any]
) -> Any:
    try:
        with np.errstate(over="ignore"):  # what is too large for float32 is found below
            if is_npz(path):
                if network:
                    raise CheckpointError("it has a network of its own, so leave out `backbone`")
                params = _from_npz(name, spec, read_npz(path))
            elif spec.from_torch is None:
                raise CheckpointError("only files of `save_params` can be read for this loss")
            else:
                params = spec.from_torch(read_torch(path), color, **network)
            params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)
        if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(params)):
            raise CheckpointError("it has entries that are not finite in float32")
        if spec.check is not None:
            spec.check(params, color)
    except CheckpointError as error:
        if plain(path) in str(error) or str(error).startswith("`backbone`"):
            raise
        raise CheckpointError(
            f"{plain(path)} holds no {color} parameters of {name}: {clause(error)}."
        ) from None
    return params


def _from_npz(name: str, spec: LossSpec, arrays: dict[str, np.ndarray]) -> Any:
    for key, expected in (("format", FORMAT), ("loss", name)):
        found = str(arrays.pop(key, "missing"))
        if found != expected:
            raise CheckpointError(f"its entry {key!r} must be {expected!r}, it is {found!r}")
    assert spec.params_type is not None
    fields = {f.name: bool(f.metadata.get("static")) for f in dataclasses.fields(spec.params_type)}
    defaults = {
        f.name: f.default
        for f in dataclasses.fields(spec.params_type)
        if f.default is not dataclasses.MISSING
    }
    values = _unflatten(arrays)
    # Files of earlier versions lack what has come since, whose default is how they were meant.
    wrong = [f"{key} is missing" for key in fields if key not in values and key not in defaults]
    wrong += [f"{key} is unexpected" for key in values if key not in fields]
    if wrong:
        raise CheckpointError(", ".join(wrong))
    wrong = [
        f"{k} must be one value"
        for k, v in values.items()
        if fields[k] and (type(v) is dict or v.shape)
    ]
    wrong += [
        f"{key} must hold floating point numbers, it has {leaf.dtype}"
        for key, leaf in arrays.items()
        if not fields[key.partition("/")[0]] and leaf.dtype.kind != "f"
    ]
    if wrong:
        raise CheckpointError(", ".join(wrong))
    kinds = {k: type(v) for k, v in (defaults | dict(spec.variant)).items()}

    def static_value(key: str, value: np.ndarray) -> Any:
        # A floor may have been given as a whole number.
        is_whole = kinds.get(key) is float and value.dtype.kind in "iu"
        return float(value) if is_whole else value.item()

    params = spec.params_type(
        **{k: static_value(k, v) if fields[k] else v for k, v in values.items()}
    )
    static = {f.name: getattr(params, f.name) for f in dataclasses.fields(params) if fields[f.name]}
    if not spec.owns(params) or any(type(static[key]) is not kinds[key] for key in static):
        raise CheckpointError(f"its static entries are {static}, which is another loss's")
    return params


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Nested dictionaries to one with slashes in its names."""
    flat: dict[str, np.ndarray] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}/")
        else:
            flat[prefix + key] = np.asarray(value)
    return flat


def _unflatten(flat: dict[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *folders, last = name.split("/")
        if len(folders) > MAX_DEPTH:
            raise CheckpointError(f"{plain(name, 80)} lies more than {MAX_DEPTH} levels deep")
        inside = tree
        for folder in folders:
            inside = inside.setdefault(folder, {})
            if not isinstance(inside, dict):
                raise CheckpointError(f"{name} lies inside an array")
        inside[last] = value
    return tree
