"""The parameters of the Watson losses, stored unconstrained, with their readable values."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from watson_jax.transforms._dft import SELF_CONJUGATE

# Watson's thresholds of visibility for the coefficients of the 8x8 DCT, [vertical, horizontal]
# frequency; as tabulated in Cox, Miller, Bloom, Fridrich, Kalker: Digital Watermarking and
# Steganography, 2nd edition, 2008.
WATSON_THRESHOLDS = np.array(
    [
        [1.40, 1.01, 1.16, 1.66, 2.40, 3.43, 4.79, 6.56],
        [1.01, 1.45, 1.32, 1.52, 2.00, 2.71, 3.67, 4.93],
        [1.16, 1.32, 2.24, 2.59, 2.98, 3.64, 4.60, 5.88],
        [1.66, 1.52, 2.59, 3.77, 4.55, 5.30, 6.28, 7.60],
        [2.40, 2.00, 2.98, 4.55, 6.15, 7.46, 8.71, 10.17],
        [3.43, 2.71, 3.64, 5.30, 7.46, 9.62, 11.58, 13.51],
        [4.79, 3.67, 4.60, 6.28, 8.71, 11.58, 14.50, 17.29],
        [6.56, 4.93, 5.88, 7.60, 10.17, 13.51, 17.29, 21.15],
    ]
)


class _Readable:
    """What the unconstrained fields of both parameter sets mean."""

    log_thresholds: Float[Array, "channels 8 frequencies"]
    contrast_logit: Float[Array, " channels"]
    channel_logits: Float[Array, " channels"]

    @property
    def thresholds(self) -> Float[Array, "channels 8 frequencies"]:
        """T > 0, the smallest visible change of each coefficient."""
        return jnp.exp(self.log_thresholds)

    @property
    def contrast_exponent(self) -> Float[Array, " channels"]:
        """The exponent r in (0, 1) of contrast masking."""
        return jax.nn.sigmoid(self.contrast_logit)

    @property
    def channel_weights(self) -> Float[Array, " channels"]:
        """The weights lambda of eq. 9, which add up to 1."""
        return jax.nn.softmax(self.channel_logits, axis=-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class WatsonDctParams(_Readable):
    """Parameters of Watson-DCT, one leading axis for the channels (Y, Cb, Cr; length 1 for grey).

    The arrays are free real numbers, so that an optimizer may move them anywhere; the properties are
    what they mean. `vmap` over a further leading axis to evaluate many sets at once.

    `luminance_floor` is a lower bound of the brightness ratio in luminance masking (0, the paper: none).
    It is a plain number and not fitted, but a fit depends on it, so that it belongs to the set.
    """

    log_thresholds: Float[Array, "channels 8 8"]
    luminance_exponent: Float[Array, " channels"]
    contrast_logit: Float[Array, " channels"]
    pooling_exponent: Float[Array, " channels"]
    channel_logits: Float[Array, " channels"]
    luminance_floor: float = dataclasses.field(default=0.0, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class WatsonDftParams(_Readable):
    """Parameters of Watson-DFT: as those of `WatsonDctParams`, and the weights of the phases.

    `phase_floor` is the amplitude below which phases fade out (0, the paper: none).

    `free_self_conjugate` leaves the weights of the four real coefficients free, as the authors do
    while fitting. Their phase is 0 or pi, so that a sign flip costs nothing: by default they are 0.
    """

    log_thresholds: Float[Array, "channels 8 5"]
    luminance_exponent: Float[Array, " channels"]
    contrast_logit: Float[Array, " channels"]
    pooling_exponent: Float[Array, " channels"]
    channel_logits: Float[Array, " channels"]
    log_phase_weights: Float[Array, "channels 8 5"]
    free_self_conjugate: bool = dataclasses.field(default=False, metadata={"static": True})
    luminance_floor: float = dataclasses.field(default=0.0, metadata={"static": True})
    phase_floor: float = dataclasses.field(default=0.0, metadata={"static": True})

    @property
    def phase_weights(self) -> Float[Array, "channels 8 5"]:
        """The weights w >= 0 of eq. 10."""
        weights = jnp.exp(self.log_phase_weights)
        if self.free_self_conjugate:
            return weights
        return jnp.where(jnp.broadcast_to(SELF_CONJUGATE, weights.shape), 0, weights)


WatsonParams = WatsonDctParams | WatsonDftParams


def check_floor(name: str, value: Any) -> float:
    """A floor of the Watson losses: 0, or a number whose square does not vanish in float32.

    Raises:
      ValueError: if `value` is something else; the sentence calls it by its `name`.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not (value == 0 or 1e-15 <= value < float("inf")):
        raise ValueError(f"`{name}` must be a plain number, 0 or at least 1e-15, got {value!r}.")
    return float(value)


def initial_watson_dct_params(channels: int) -> WatsonDctParams:
    """The starting values from which the paper fits Watson-DCT.

    Args:
      channels: 3 for colour, 1 for grey.

    Returns:
      float32 parameters.
    """
    return WatsonDctParams(
        log_thresholds=jnp.tile(jnp.log(jnp.float32(WATSON_THRESHOLDS)), (channels, 1, 1)),
        luminance_exponent=jnp.full(channels, 0.649, jnp.float32),
        contrast_logit=jnp.full(channels, np.log(0.7 / 0.3), jnp.float32),
        pooling_exponent=jnp.full(channels, 4, jnp.float32),
        channel_logits=jnp.zeros(channels, jnp.float32),
    )


def initial_watson_dft_params(channels: int) -> WatsonDftParams:
    """The starting values from which the paper fits Watson-DFT.

    Args:
      channels: 3 for colour, 1 for grey.

    Returns:
      float32 parameters.
    """
    return WatsonDftParams(
        log_thresholds=jnp.zeros((channels, *SELF_CONJUGATE.shape), jnp.float32),
        luminance_exponent=jnp.full(channels, 0.1, jnp.float32),
        contrast_logit=jnp.full(channels, np.log(0.2 / 0.8), jnp.float32),
        pooling_exponent=jnp.ones(channels, jnp.float32),
        channel_logits=jnp.zeros(channels, jnp.float32),
        log_phase_weights=jnp.full((channels, *SELF_CONJUGATE.shape), -2, jnp.float32),
    )
