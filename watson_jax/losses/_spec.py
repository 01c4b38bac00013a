"""What the library knows of a loss: everything that scripts, fits, benchmarks and tests need of it.

A new loss is one folder with a `LossSpec`, and its line in `watson_jax/_registry.py`.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from watson_jax.weights import CheckpointError, fetch, read_torch

CHANNELS = {"rgb": 3, "gray": 1}

State = Mapping[str, np.ndarray]
ImageSize = tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class Fittable:
    """One loss in two parts: what the images alone decide, and what the parameters make of it.

    Only the second part depends on the parameters, so that many trials of a fit share the first.

    Attributes:
      learned: the starting values of what is fitted, a pytree.
      features: `features(images, references)` of a batch, a pytree with the batch's axis first.
      distance: `distance(learned, features, key)` of one pair; a key asks for dropout, None for the
        loss as it is used.
      project: brings what an optimizer made of `learned` back to where it is admissible.
      finish: what is done to the values after the last step, those of many trials at once.
      as_params: makes the loss's own parameters of `learned`.
      costly_features: whether features are to be computed once and kept.
    """

    learned: Any
    features: Callable[[Array, Array], Any]
    distance: Callable[[Any, Any, PRNGKeyArray | None], Array]
    project: Callable[[Any], Any] = lambda learned: learned
    finish: Callable[[Any], Any] = lambda learned: learned
    as_params: Callable[[Any], Any] = lambda learned: learned
    costly_features: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossSpec:
    """One loss.

    Attributes:
      name: as `get_loss` takes it.
      summary: what it is, in one line.
      function: the public function; parameters come first if there are any, options are keywords.
      log_weights: the default λ, the logarithm of the loss's factor e^λ, for a VAE of grey 32x32 and of
        colour 64x64 images, by the kind of weights; under None for losses without. From the
        authors' code: published Watson-DFT, Adaptive and LPIPS as they are, SSIM less the logarithm of
        the batch size, since they average over it. The others are matched to Watson-DFT, to a half, so
        that the distance from an image to the mean image counts as much. For colours that is too little
        for most Watson losses: all faces became one, so theirs are larger. For packaged Watson-DFT in
        grey it is too much: its samples are best with a smaller one (docs/results.md).
      params_type: the class of its parameters; None for losses without.
      weights: by the names that `weights` takes, ways to make parameters from (colour, image size), or
        the path of the file that holds them.
      default_weights: the one that is meant when none is named.
      downloads: for kinds of weights that are fetched, the published files, with `{color}` in their name
        where there is one for each.
      licence: of those files.
      paper_weights: the kind that the paper's own tables are about; None for losses without weights, and
        "" where the paper has no such loss.
      from_torch: reads a state dict that the authors' code wrote, given the colour.
      takes_backbone: whether the functions in `weights` and `from_torch` take a further `backbone`, the
        state dict of the network under the loss.
      image_size_for: the kinds of weights that are made for images of one size.
      block_map: `block_map(params, image, reference)`, each block's share of the distance.
      check: raises `CheckpointError` if parameters from a file are not those of this loss and colour.
      variant: static fields of the parameters that tell this loss from others of the same class.
      aliases: further names, such as those of the authors' code.
      min_size: the least height and width of an image.
      trained_with_model: whether its parameters are to be learned together with a model.
      untrained: makes random parameters, where initial ones do not exist; for tests and benchmarks.
      fittable: takes it apart for fitting, from its parameters and settings; None: nothing to fit.
      fit_settings: the names of the settings that `fittable` takes.
      fit_from: the kind of weights from which a fit starts.
      fit_ranking: how a fit turns two distances into a choice: by "gamma" (eq. 11) or LPIPS's "network".
    """

    name: str
    summary: str
    function: Callable[..., Any]
    log_weights: Mapping[str | None, tuple[float, float]]
    params_type: type | None = None
    weights: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    default_weights: str | None = None
    downloads: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    licence: str | None = None
    paper_weights: str | None = None
    from_torch: Callable[..., Any] | None = None
    takes_backbone: bool = False
    image_size_for: tuple[str, ...] = ()
    block_map: Callable[..., Any] | None = None
    check: Callable[[Any, str], None] | None = None
    variant: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    min_size: int = 1
    trained_with_model: bool = False
    untrained: Callable[[], Any] | None = None
    fittable: Callable[..., Fittable] | None = None
    fit_settings: tuple[str, ...] = ()
    fit_from: str = "initial"
    fit_ranking: str = "gamma"

    def owns(self, params: Any) -> bool:
        """Whether `params` are parameters of this loss."""
        return type(params) is self.params_type and all(
            getattr(params, name) == value for name, value in self.variant.items()
        )

    def log_weight(self, weights: str | None, channels: int) -> float:
        """The default λ, the logarithm of the loss's factor e^λ, for a VAE that trains with this loss.

        Args:
          weights: a kind of weights; None: the default ones. A path: the same, as the file most likely
            holds a fit like them.
          channels: of the images: 1 or 3.

        Raises:
          ValueError: if there is no such number of channels.
        """
        if channels not in CHANNELS.values():
            raise ValueError(f"`channels` must be 1 or 3, got {channels!r}.")
        of_default = self.log_weights[self.default_weights]
        return self.log_weights.get(weights or self.default_weights, of_default)[channels == 3]


def load_published(name: str, from_torch: Callable[[State, str], Any], color: str) -> Any:
    """Parameters from a published file, fetched once."""
    return from_torch(read_torch(fetch(name.format(color=color))), color)


def compare_shapes(found: Any, expected: Any) -> None:
    """Raises a `CheckpointError` that names every array of `found` which is not as in `expected`."""

    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
            for path, leaf in leaves
        }

    has, wants = shapes(found), shapes(expected)
    wrong = [f"{name} is missing" for name in wants if name not in has]
    wrong += [f"{name} is unexpected" for name in has if name not in wants]
    wrong += [
        f"{name} must have the shape {wants[name]}, it has {has[name]}"
        for name in wants
        if name in has and has[name] != wants[name]
    ]
    if wrong:
        raise CheckpointError(", ".join(wrong))


PACKAGED = pathlib.Path(__file__).parents[1] / "packaged"
"""Weights that ship with the library; MODEL_CARD.md in it says where they come from."""
