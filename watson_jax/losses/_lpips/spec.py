"""What the library knows of LPIPS: its files, and the state dicts in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from watson_jax.losses._lpips.loss import (
    LpipsParams,
    check_network,
    lpips,
    lpips_layer_differences,
)
from watson_jax.losses._spec import Fittable, ImageSize, LossSpec, State, compare_shapes
from watson_jax.weights import fetch, read_torch

BACKBONE_FILES = {
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "alex": "alexnet-owt-7be5be79.pth",
}
"""The published file of each network, trained on ImageNet."""

_LINEAR_FILES = {
    "published": "lpips_v0.1/{network}.pth",
    "paper": "{color}_pnet_lin_{network}_trial0.pth",
}


def lpips_params_from_torch(
    backbone_state: Mapping[str, np.ndarray],
    linear_state: Mapping[str, np.ndarray],
    network: str,
    rescale_inputs: bool = True,
) -> LpipsParams:
    """Converts the state dicts of torchvision's network and of LPIPS's linear weights.

    Args:
      backbone_state: torchvision's, from `read_torch`; the classifier's entries are ignored.
      linear_state: that of LPIPS v0.1 or of the paper's authors, named `lin0.model.1.weight` and so on.
      network: "vgg", "squeeze" or "alex".
      rescale_inputs: True for LPIPS's own linear weights, False for those of the paper's authors.

    Returns:
      float32 parameters.

    Raises:
      ValueError: if there is no such network.
      CheckpointError: if arrays are missing, unexpected, of a wrong shape or not finite; each is named.
    """
    check_network(network)
    from watson_jax.losses._lpips import networks

    return LpipsParams(
        backbone=networks.backbone_from_torch(backbone_state, network),
        linear=networks.linear_from_torch(linear_state, network),
        network=network,
        rescale_inputs=rescale_inputs,
    )


def load_lpips_params(
    network: str, *, color: str = "rgb", weights: str = "published"
) -> LpipsParams:
    """Loads the parameters of LPIPS from published files, fetched once and cached.

    Args:
      network: "vgg", "squeeze" or "alex".
      color: "rgb" or "gray": the images that the linear weights were fitted on, where that differs.
      weights: "published" for LPIPS v0.1, or "paper" for the linear weights that the authors of the
        Watson losses tuned, which there are for "vgg" and "squeeze".

    Returns:
      float32 parameters.

    Raises:
      CheckpointError: if a file is damaged.
      OSError: if a file cannot be found or fetched.
    """
    # The small file first: where both are missing, the error comes before 500 MB do.
    linear = read_torch(fetch(_LINEAR_FILES[weights].format(network=network, color=color)))
    return lpips_params_from_torch(load_backbone(network), linear, network, weights == "published")


def load_backbone(network: str) -> dict[str, np.ndarray]:
    """The state dict of torchvision's network without its classifier, nine tenths of VGG's file."""
    return read_torch(fetch(BACKBONE_FILES[network]), without=("classifier.",))


def _fittable(params: LpipsParams) -> Fittable:
    def distance(learned: dict, features: dict, key: PRNGKeyArray | None) -> Array:
        weighted = (
            jnp.matmul(features[layer], learned[layer], precision="highest") for layer in learned
        )
        return jnp.asarray(sum(weighted))

    return Fittable(
        params.linear,
        features=lambda images, references: lpips_layer_differences(params, images, references),
        distance=distance,
        project=lambda linear: jax.tree.map(lambda weights: jnp.maximum(weights, 0), linear),
        as_params=lambda linear: dataclasses.replace(params, linear=linear),
        costly_features=True,
    )


def _spec(network: str, *tuned: str, min_size: int, log_weights: tuple[float, float]) -> LossSpec:
    def load(weights: str) -> Callable[[str, ImageSize], LpipsParams]:
        return lambda color, _: load_lpips_params(network, color=color, weights=weights)

    def from_torch(state: State, color: str) -> LpipsParams:
        # Both authors name their entries alike, and only LPIPS's own weights want images in [-1, 1].
        published = read_torch(fetch(_LINEAR_FILES["published"].format(network=network)))
        is_published = state.keys() == published.keys() and all(
            np.array_equal(state[key], published[key]) for key in published
        )
        return lpips_params_from_torch(load_backbone(network), state, network, is_published)

    def check(params: LpipsParams, color: str) -> None:
        from watson_jax.losses._lpips.networks import backbone_shapes, linear_shapes

        compare_shapes(params.backbone, backbone_shapes(network))
        compare_shapes(params.linear, linear_shapes(network))

    def untrained() -> LpipsParams:
        from watson_jax.losses._lpips.networks import linear_shapes, random_backbone

        linear = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), linear_shapes(network))
        return LpipsParams(random_backbone(network, 0), linear, network=network)

    kinds = ("published", *tuned)
    return LossSpec(
        name=f"lpips-{network}",
        summary=f"distance in the features of {_NAMES[network]}",
        function=lpips,
        params_type=LpipsParams,
        weights={name: load(name) for name in kinds},
        default_weights="published",
        downloads={
            kind: (BACKBONE_FILES[network], _LINEAR_FILES[kind].replace("{network}", network))
            for kind in kinds
        },
        licence="BSD for LPIPS and torchvision" + "; the paper's: none stated" * bool(tuned),
        paper_weights="paper" if tuned else "",
        from_torch=from_torch,
        check=check,
        variant={"network": network},
        aliases=(f"deeploss-{network}",) if tuned else (),
        min_size=min_size,
        log_weights={"published": log_weights},
        untrained=untrained,
        fittable=_fittable,
        fit_from="published",
        fit_ranking="network",
    )


_NAMES = {"vgg": "VGG16", "squeeze": "SqueezeNet 1.1", "alex": "AlexNet"}

LPIPS_VGG = _spec("vgg", "paper", min_size=16, log_weights=(9.0, 10.0))
LPIPS_SQUEEZE = _spec("squeeze", "paper", min_size=17, log_weights=(9.0, 9.0))
LPIPS_ALEX = _spec("alex", min_size=31, log_weights=(9.0, 9.0))
