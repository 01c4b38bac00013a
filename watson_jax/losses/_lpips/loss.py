"""LPIPS: the distance of two images in the features of a network for recognition."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from watson_jax._checks import check_image, check_pair

NETWORKS = ("vgg", "squeeze", "alex")
_EPSILON = 1e-10
# Mean and standard deviation of ImageNet's colours, for images in [-1, 1].
_SHIFT = np.array([-0.030, -0.088, -0.188])
_SCALE = np.array([0.458, 0.448, 0.450])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class LpipsParams:
    """Parameters of LPIPS.

    To fit the linear weights, differentiate with respect to `linear` and project onto [0, inf) after
    each step, for example with `optax.projections.projection_non_negative`: a negative weight would
    make a difference bring images closer, and nothing here prevents it. The backbone's gradient is 0.

    Attributes:
      backbone: the weights of the network by layer, such as `["conv1_1"]["kernel"]`; never trained.
      linear: a weight >= 0 for each channel of each compared layer, by the layer's name.
      network: "vgg" (VGG16), "squeeze" (SqueezeNet 1.1) or "alex" (AlexNet).
      rescale_inputs: whether images are mapped to [-1, 1] first, as LPIPS documents. The weights of the
        paper's authors were fitted without that.
    """

    backbone: dict[str, Any]
    linear: dict[str, Float[Array, " channels"]]
    network: str = dataclasses.field(metadata={"static": True})
    rescale_inputs: bool = dataclasses.field(default=True, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class LpipsFeatures:
    """What LPIPS needs to know of a reference, from `lpips_features`.

    Attributes:
      reference: the images.
      layers: their features by layer, each of length 1 over the channels.
      network: as in the parameters.
      rescale_inputs: as in the parameters.
    """

    reference: Float[Array, "*batch height width channels"]
    layers: dict[str, Float[Array, "*batch _ _ _"]]
    network: str = dataclasses.field(metadata={"static": True})
    rescale_inputs: bool = dataclasses.field(metadata={"static": True})


def lpips(
    params: LpipsParams,
    image: Float[ArrayLike, "*batch height width channels"],
    reference: Float[ArrayLike, "*batch height width channels"],
) -> Float[Array, "*batch"]:
    """The LPIPS distance of two images: their difference in the features of a trained network.

    The squared difference of the features of each layer, at length 1 over the channels, is weighted for
    each channel, averaged over the pixels, and summed over the layers. Swapping the images changes
    nothing.

    Args:
      params: from `load_params("lpips-vgg", ...)`; for colour and grey images alike.
      image: the distorted image, floats in [0, 1], shape `[..., H, W, C]` with C = 3 (RGB) or 1 (grey,
        repeated three times). H and W are at least 16 for VGG, 17 for SqueezeNet and 31 for AlexNet.
      reference: the original, the same shape.

    Returns:
      Distances >= 0, shape `[...]`, 0 for identical images; lower is more similar. float32, or float64
      for float64 images.

    Raises:
      TypeError: if `params` are of another loss, or an image is not floating point.
      ValueError: if a shape is wrong or an image is too small.

    Example:
      >>> from watson_jax.losses._lpips.networks import linear_shapes, random_backbone
      >>> linear = {layer: jnp.ones(x.shape) for layer, x in linear_shapes("alex").items()}
      >>> params = LpipsParams(random_backbone("alex", 0), linear, "alex")
      >>> reference = jnp.linspace(0, 1, 1024).reshape(32, 32, 1)
      >>> near, far = (lpips(params, reference**power, reference) for power in (1.2, 2))
      >>> bool(0 < near < far)
      True

    References:
      R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang: The Unreasonable Effectiveness of Deep
      Features as a Perceptual Metric. CVPR 2018.
    """
    _check_params(params)
    image, reference = check_pair(image, reference, min_size=_networks().MIN_SIZE[params.network])
    return _compare(params, image, reference)


def lpips_features(
    params: LpipsParams, reference: Float[ArrayLike, "*batch height width channels"]
) -> LpipsFeatures:
    """The features of references that are going to be compared many times.

    Args:
      params: as for `lpips`.
      reference: as for `lpips`.

    Returns:
      What `lpips_from_features` takes in place of the references; any `jax.vmap` and `jax.jit` passes it
      on. It takes as much memory as all of the network's compared layers.

    Raises:
      TypeError: as for `lpips`.
      ValueError: as for `lpips`.

    Example:
      Compare many images with one reference: `features = lpips_features(params, reference)`, then
      `lpips_from_features(params, images, features)`.
    """
    _check_params(params)
    return _features(params, _check_alone("reference", reference, params))


def lpips_from_features(
    params: LpipsParams,
    image: Float[ArrayLike, "*many height width channels"],
    features: LpipsFeatures,
) -> Float[Array, "*many"]:
    """The LPIPS distance to references whose features are known; half the work of `lpips`.

    Args:
      params: those that `lpips_features` was given; `linear` may differ.
      image: distorted images. Their leading axes end with those of the references: images of the shape
        `[100, H, W, C]` are compared with one reference `[H, W, C]`, or each with its own of as many.
      features: from `lpips_features`.

    Returns:
      As `lpips`, one value for each image.

    Raises:
      TypeError: if `params` or `features` are something else, or an image is not floating point.
      ValueError: if a shape is wrong, or the features are of another network.

    Example:
      >>> from watson_jax.losses._lpips.networks import linear_shapes, random_backbone
      >>> linear = {layer: jnp.ones(x.shape) for layer, x in linear_shapes("alex").items()}
      >>> params = LpipsParams(random_backbone("alex", 0), linear, "alex")
      >>> reference = jnp.linspace(0, 1, 1024).reshape(32, 32, 1)
      >>> features = lpips_features(params, reference)
      >>> many = jnp.stack([reference, reference**1.2, reference**2])
      >>> lpips_from_features(params, many, features).shape
      (3,)
    """
    _check_params(params)
    if type(features) is not LpipsFeatures:
        raise TypeError(
            f"`features` must be LpipsFeatures, got {type(features).__name__}; "
            "compute them with lpips_features(params, reference)."
        )
    ours = params.network, params.rescale_inputs
    theirs = features.network, features.rescale_inputs
    if ours != theirs:
        raise ValueError(
            "`features` must be of the network and the input range of `params`, "
            f"got {theirs} and {ours}."
        )
    shape = features.reference.shape
    image = _check_alone("image", image, params, shape[-1:])
    if image.shape[-len(shape) :] != shape:
        raise ValueError(
            f"`image` must have a shape that ends with the references' {shape}, got {image.shape}."
        )
    return _distances(params, image, features)


@jax.jit
def _compare(params: LpipsParams, image: Array, reference: Array) -> Array:
    return _distances(params, image, _features(params, reference))


@jax.jit
def _features(params: LpipsParams, reference: Array) -> LpipsFeatures:
    layers = {name: _unit(x) for name, x in _run(params, reference).items()}
    return LpipsFeatures(reference, layers, params.network, params.rescale_inputs)


@jax.jit
def _distances(params: LpipsParams, image: Array, features: LpipsFeatures) -> Array:
    layers = _layer_differences(params, image, features)
    return jnp.asarray(
        sum(
            jnp.matmul(x, jnp.asarray(params.linear[name], x.dtype), precision="highest")
            for name, x in layers.items()
        )
    )


@jax.jit
def lpips_layer_differences(
    params: LpipsParams,
    image: Float[Array, "*batch height width channels"],
    reference: Float[Array, "*batch height width channels"],
) -> dict[str, Float[Array, "*batch _"]]:
    """What the linear weights multiply: squared differences by layer and channel."""
    return _layer_differences(params, image, _features(params, reference))


def _layer_differences(
    params: LpipsParams, image: Array, features: LpipsFeatures
) -> dict[str, Array]:
    wide = jnp.float64 in (image.dtype, features.reference.dtype)
    dtype = jnp.float64 if wide else jnp.float32
    image = image.astype(dtype)
    further = tuple(range(image.ndim - features.reference.ndim))
    references = jax.tree.map(lambda x: jnp.expand_dims(x.astype(dtype), further), features)
    identical = jnp.all(image == references.reference, axis=(-3, -2, -1), keepdims=True)
    layers = {}
    for name, x in _run(params, image).items():
        difference = _unit(x) - references.layers[name]
        # Two runs of a network may round differently. What identical images then differ by is taken
        # off as a constant: the value and gradient become 0, the second derivative stays.
        rounding = jnp.where(identical, difference, 0)
        difference = difference - jax.lax.stop_gradient(rounding)
        layers[name] = jnp.mean(jnp.square(difference), axis=(-3, -2))
    return layers


def _run(params: LpipsParams, image: Array) -> dict[str, Array]:
    from watson_jax.losses._lpips import networks

    if image.shape[-1] == 1:
        image = jnp.repeat(image, 3, axis=-1)
    if params.rescale_inputs:
        image = 2 * image - 1
    shift, scale = (
        jnp.asarray(x, image.dtype).reshape((1,) * (image.ndim - 1) + (3,))
        for x in (_SHIFT, _SCALE)
    )
    backbone = jax.tree.map(
        lambda x: jax.lax.stop_gradient(jnp.asarray(x, image.dtype)), params.backbone
    )
    return networks.backbone_features(params.network, backbone, (image - shift) / scale)


def _unit(x: Array) -> Array:
    """Features at length 1 over the channels; where all are 0, they stay 0, with a finite gradient."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    is_zero = squared == 0
    norm = jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, squared)))
    return x / (norm + _EPSILON)


def _networks() -> types.ModuleType:
    """The module of the networks, imported on first use for the sake of those who need no flax."""
    from watson_jax.models import _backbones

    return _backbones


def _check_alone(
    name: str, image: Any, params: LpipsParams, channels: tuple[int, ...] = (1, 3)
) -> Array:
    image = check_image(name, image, channels, _networks().MIN_SIZE[params.network])
    return image.astype(jnp.float64 if image.dtype == jnp.float64 else jnp.float32)


def _check_params(params: Any) -> None:
    if type(params) is not LpipsParams:
        raise TypeError(
            f"`params` must be LpipsParams, got {type(params).__name__}; "
            "the parameters come first: lpips(params, image, reference)."
        )
    check_network(params.network)
    shapes = [jnp.shape(weights) for weights in params.linear.values()]
    if any(len(shape) != 1 for shape in shapes):
        raise ValueError(
            "`params` must be one set, with `linear` weights of the shape [channels], "
            f"got {shapes[0]}; use jax.vmap for several sets."
        )


def check_network(network: str) -> None:
    """Raises a `ValueError` unless there is such a network."""
    if network not in NETWORKS:
        raise ValueError(f"`network` must be one of {', '.join(NETWORKS)}, got {network!r}.")
