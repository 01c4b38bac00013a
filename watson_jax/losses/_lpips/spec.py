"""What the library knows of LPIPS: its files, and the state dicts in them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from numpy.typing import ArrayLike

from watson_jax.files import plain
from watson_jax.losses._lpips.loss import (
    LpipsParams,
    check_network,
    lpips,
    lpips_layer_differences,
)
from watson_jax.losses._spec import Fittable, ImageSize, LossSpec, State, compare_shapes
from watson_jax.weights import CheckpointError, fetch, read_torch

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

# SHA-256 of the arrays in linear files, as little-endian float32 in the order of names. Both authors
# name their entries alike, and only LPIPS's own weights want images in [-1, 1].
_PUBLISHED_LINEAR = {
    "vgg": "9153a2043dccf3b525d4f13db916e93ef040548ea923b6f2100de5ebac141a78",
    "squeeze": "68f1b1752260e0335c6394983132e210e3ed5c2540e78d239be07671a77130e4",
    "alex": "718a8b40b0d22f96192d34ab93c0db5c7943558ff6c2407f44812dce2f29b5f4",
}
_PAPER_LINEAR = (
    "80a5f41d4eb7d533e5e7bdd1931191543ade3dbf9e93caf257427e23cbf14760",  # vgg, rgb
    "f3498832aa6b0c0867370a87498f081e1420f6ffabac5dfe8c00e4eaf1443cfa",  # vgg, gray
    "fc046d175257b14e768a6e54d74e23b2a88b8c3160aff7effca3c268dff2c909",  # squeeze, rgb
    "c77ec27d377a83e70d92e9de3fcb6300b5d0a1f880354d744f4f995d14bcbcd7",  # squeeze, gray
)

Backbone = str | os.PathLike[str] | Mapping[str, ArrayLike] | None

_CLASSIFIER = ("classifier.",)
_PACKAGE_BACKBONE = re.compile(r"net\.slice\d+\.")


def lpips_params_from_torch(
    backbone_state: Mapping[str, ArrayLike],
    linear_state: Mapping[str, ArrayLike],
    network: str,
    *,
    rescale_inputs: bool = True,
) -> LpipsParams:
    """Converts the state dicts of torchvision's network and of LPIPS's linear weights.

    The conversion of SqueezeNet has not been compared with its trained weights, only with random ones.

    Args:
      backbone_state: arrays by torchvision's names, from `watson_jax.weights.read_torch` or from
        `model.state_dict()` on the CPU; the classifier's entries are ignored.
      linear_state: that of LPIPS v0.1 or of the paper's authors, named `lin0.model.1.weight` and so on.
      network: "vgg", "squeeze" or "alex".
      rescale_inputs: True for LPIPS's own linear weights, False for those of the paper's authors.

    Returns:
      float32 parameters, for `lpips` and `save_params`.

    Raises:
      ValueError: if there is no such network.
      CheckpointError: if arrays are missing, unexpected, of a wrong shape or not finite.

    Example:
      >>> from watson_jax.weights import read_torch
      >>> state = torchvision.models.alexnet(weights="DEFAULT").state_dict()  # doctest: +SKIP
      >>> linear = read_torch("lpips_v0.1/alex.pth")  # doctest: +SKIP
      >>> params = lpips_params_from_torch(state, linear, "alex")  # doctest: +SKIP
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
    network: str, *, color: str = "rgb", weights: str = "published", backbone: Backbone = None
) -> LpipsParams:
    """Loads the parameters of LPIPS from published files, fetched once and cached.

    Args:
      network: "vgg", "squeeze" or "alex".
      color: "rgb" or "gray": the images that the linear weights were fitted on, where that differs.
      weights: "published" for LPIPS v0.1, or "paper" for the linear weights that the authors of the
        Watson losses tuned, which there are for "vgg" and "squeeze".
      backbone: as for `load_backbone`.

    Returns:
      float32 parameters.

    Raises:
      CheckpointError: if a file is damaged.
      OSError: if a file cannot be found or fetched.
    """
    # What is fetched comes last, and the small file first: an error comes before 500 MB do.
    own = None if backbone is None else load_backbone(network, backbone)
    name = _LINEAR_FILES[weights].format(network=network, color=color)
    linear = read_torch(fetch(name, instead="name a file of them with `weights`"))
    state = load_backbone(network) if own is None else own
    return lpips_params_from_torch(state, linear, network, rescale_inputs=weights == "published")


def load_backbone(network: str, own: Backbone = None) -> Mapping[str, ArrayLike]:
    """The state dict of torchvision's network without its classifier, nine tenths of VGG's file.

    Args:
      network: "vgg", "squeeze" or "alex".
      own: the path of a trusted file that takes the place of the published one, or a state dict.

    Raises:
      TypeError: if `own` is neither.
      CheckpointError: if the file is damaged.
      OSError: if the file cannot be found or fetched.
    """
    if own is None:
        path = fetch(BACKBONE_FILES[network], instead="name a file of your own with `backbone`")
        return read_torch(path, without=_CLASSIFIER)
    if isinstance(own, Mapping):
        return _checked(own, network, "a dictionary")
    if not isinstance(own, (str, os.PathLike)):
        raise TypeError(
            "`backbone` must be the path of a file or a dictionary of arrays, got "
            f"{type(own).__name__}."
        )
    if not (path := pathlib.Path(own).expanduser()).is_file():
        raise FileNotFoundError(
            f"`backbone` must be the path of a file, got '{plain(own)}', where there is none."
        )
    try:
        state = read_torch(path, without=_CLASSIFIER)
    except CheckpointError as error:
        raise CheckpointError(
            f"`backbone` must be a file that `torch.save` wrote: {error}"
        ) from None
    return _checked(state, network, plain(own))


def _checked(state: Mapping[str, ArrayLike], network: str, name: str) -> Mapping[str, ArrayLike]:
    """Blames the backbone for what is wrong with it, which would else look like the weights' fault."""
    from watson_jax.losses._lpips import networks

    try:
        networks.backbone_from_torch(state, network)
    except CheckpointError as error:
        raise CheckpointError(
            f"`backbone` must hold {_NAMES[network]} of torchvision, got {name}: {error}."
        ) from None
    return state


def lpips_from_state(state: State, network: str, backbone: Backbone = None) -> LpipsParams:
    """Converts what users have on disk; fetches nothing but a backbone that is in neither dict.

    Args:
      state: linear weights, or all of the `lpips` package's `LPIPS(net=...)`, its backbone included.
      network: "vgg", "squeeze" or "alex".
      backbone: as for `load_backbone`.

    Raises:
      CheckpointError: if the arrays are not those of such a model, or are linear weights of which it is
        not known which images they take.
      OSError: if the network has to be fetched and cannot be.
    """
    inside = {
        _PACKAGE_BACKBONE.sub("features.", name): array
        for name, array in state.items()
        if _PACKAGE_BACKBONE.match(name)
    }
    if inside:  # in the package, `lins.0` is `lin0` once more, and the scaling is the same for all
        linear = {name: x for name, x in state.items() if re.match(r"lin\d", name)}
        found = inside if backbone is None else load_backbone(network, backbone)
        return lpips_params_from_torch(found, linear, network)
    if not any(name.startswith("lin") for name in state):
        raise CheckpointError(
            "it holds no linear weights of LPIPS; if it is a backbone, name it with `backbone`"
        )
    digest = _digest(state)
    is_published = digest == _PUBLISHED_LINEAR[network]
    if not is_published and digest not in _PAPER_LINEAR:
        raise CheckpointError(
            "its linear weights are neither LPIPS's own nor the paper's, so that it is not known "
            "whether images are to be mapped to [-1, 1]; say so with `lpips_params_from_torch(..., "
            "rescale_inputs=...)`, and keep what it returns with `save_params`"
        )
    found = load_backbone(network, backbone)
    return lpips_params_from_torch(found, state, network, rescale_inputs=is_published)


def _digest(state: State) -> str:
    arrays = (np.asarray(state[name], "<f4").tobytes() for name in sorted(state))
    return hashlib.sha256(b"".join(arrays)).hexdigest()


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
    def load(weights: str) -> Callable[..., LpipsParams]:
        def load_kind(color: str, _: ImageSize, backbone: Backbone = None) -> LpipsParams:
            return load_lpips_params(network, color=color, weights=weights, backbone=backbone)

        return load_kind

    def from_torch(state: State, color: str, backbone: Backbone = None) -> LpipsParams:
        return lpips_from_state(state, network, backbone)

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
        takes_backbone=True,
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
