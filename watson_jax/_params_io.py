"""Loading and saving the parameters of a loss."""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from watson_jax._registry import LOSSES, LossEntry, check_color, find_loss
from watson_jax.checkpoints import CheckpointError, fetch, read_npz, read_torch, write_npz

FORMAT = "watson_jax.params.v1"
KEYWORDS = ("initial", "published")


def load_params(
    name: str, *, color: str = "rgb", weights: str | os.PathLike[str] | None = None
) -> Any:
    """Loads the parameters of a loss.

    Args:
      name: the loss, such as "watson-dft".
      color: "rgb" or "gray".
      weights: "initial" for the starting values of a fit; "published" for the authors' fit, fetched
        once and cached (`WATSON_JAX_WEIGHTS_DIR` names a folder that is looked at first); or the path
        of a file that `save_params` or the authors' code wrote.

    Returns:
      The loss's parameters, a pytree of float32 arrays.

    Raises:
      ValueError: if a name is unknown, or the file is damaged, hostile or of another loss or colour
        (`watson_jax.CheckpointError`).
      TypeError: if `weights` is missing.
      OSError: if the file cannot be found or fetched.

    Example:
      >>> params = load_params("watson-dft", color="gray", weights="initial")
      >>> params.thresholds.shape
      (1, 8, 5)
    """
    name, entry = find_loss(name)
    channels = check_color(color)
    if weights is None:
        raise TypeError(
            f"`weights` must be given for {name}: "
            f"{', '.join(map(repr, KEYWORDS))} or the path of a file."
        )
    template = entry.initial(channels)
    if weights == "initial":
        return template
    if weights == "published":
        path = fetch(entry.published.format(color=color))
    else:
        path = pathlib.Path(weights)
        if not path.is_file():
            near = difflib.get_close_matches(str(weights), KEYWORDS, n=1)
            raise FileNotFoundError(
                f"`weights` must be {', '.join(map(repr, KEYWORDS))} or the path of a file, "
                f"got {str(weights)!r}, where there is no file"
                + (f"; did you mean {near[0]!r}?" if near else ".")
            )
    return _read(name, entry, path, template, color)


def save_params(path: str | os.PathLike[str], params: Any) -> None:
    """Saves the parameters of a loss as a plain `.npz` file, which NumPy alone can read.

    Args:
      path: the file to write; an existing one is replaced as a whole.
      params: one set, as `load_params` returns it.

    Raises:
      TypeError: if these are not the parameters of a loss.
      OSError: if the file cannot be written.

    Example:
      >>> import tempfile
      >>> path = tempfile.mkdtemp() + "/mine.npz"
      >>> save_params(path, load_params("watson-dct", weights="initial"))
      >>> load_params("watson-dct", weights=path).log_thresholds.shape
      (3, 8, 8)
    """
    names = [name for name, entry in LOSSES.items() if type(params) is entry.params_type]
    if not names:
        raise TypeError(
            f"`params` must be the parameters of one of {', '.join(LOSSES)}, "
            f"got {type(params).__name__}."
        )
    fields = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    write_npz(path, {"format": FORMAT, "loss": names[0], **jax.tree.map(np.asarray, fields)})


def _read(name: str, entry: LossEntry, path: pathlib.Path, template: Any, color: str) -> Any:
    try:
        if zipfile.is_zipfile(path) and path.suffix != ".pth":
            params = _from_npz(name, path, template)
        else:
            params = entry.from_torch(read_torch(path))
        for field in dataclasses.fields(template):
            expected, found = (np.asarray(getattr(p, field.name)) for p in (template, params))
            if expected.shape != found.shape:
                raise CheckpointError(
                    f"{field.name} must have the shape {expected.shape}, it has {found.shape}"
                )
            if not np.all(np.isfinite(found)):
                raise CheckpointError(f"{field.name} has entries that are not finite")
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path} holds no {color} parameters of {name}: {error}.") from None
    return jax.tree.map(jnp.float32, params)


def _from_npz(name: str, path: pathlib.Path, template: Any) -> Any:
    arrays = read_npz(path)
    for key, expected in (("format", FORMAT), ("loss", name)):
        found = str(arrays.pop(key, "missing"))
        if found != expected:
            raise CheckpointError(f"its entry {key!r} must be {expected!r}, it is {found!r}")
    static = {f.name: bool(f.metadata.get("static")) for f in dataclasses.fields(template)}
    wrong = [f"{key} is missing" for key in static if key not in arrays]
    wrong += [f"{key} is unexpected" for key in arrays if key not in static]
    if wrong:
        raise CheckpointError(", ".join(wrong))
    return type(template)(**{k: bool(v) if static[k] else v for k, v in arrays.items()})
