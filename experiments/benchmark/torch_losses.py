"""Watson-DFT, Watson-DCT and L2 in tuned eager PyTorch: what the benchmark compares with.

Written from the paper's formulas as a careful PyTorch user would, so that the comparison is fair:
images are NCHW and stay on their device, every form below was the fastest measured among those that
leave the formula visible, and what depends on the reference alone records no gradient. The epsilons
are at the places of the authors' published code; without those in the pooling and in the angle,
PyTorch's gradient of equal images would not be finite.

Equation numbers are those of Czolbe, Krause, Cox, Igel: "A Loss Function for Generative Neural
Networks Based on Watson's Perceptual Model", NeurIPS 2020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

BLOCK_SIZE = 8
EPSILON = 1e-10

Twin = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class ChannelParams:
    """The readable parameters of one channel; `phase_weights` is None for Watson-DCT."""

    thresholds: torch.Tensor
    luminance_exponent: torch.Tensor
    contrast_exponent: torch.Tensor
    pooling_exponent: torch.Tensor
    channel_weights: torch.Tensor
    phase_weights: torch.Tensor | None


def channel_params(params: Any, device: str = "cpu") -> list[ChannelParams]:
    """Takes the parameters of a Watson loss apart into the tensors of each channel; others have none."""
    names = [field.name for field in dataclasses.fields(ChannelParams)]
    found = {name: getattr(params, name, None) for name in names}
    arrays = {name: None if v is None else np.asarray(v) for name, v in found.items()}

    def row(channel: int) -> dict[str, Any]:
        # Exponents become 0-dimensional tensors, which PyTorch handles as fast as numbers.
        return {
            name: None if values is None else torch.tensor(values[channel], device=device)
            for name, values in arrays.items()
        }

    return [ChannelParams(**row(i)) for i in range(len(getattr(params, "channel_weights", ())))]


def l2(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of `[N, C, H, W]` images, shape `[N]`."""
    return (image - reference).square().mean(dim=(1, 2, 3))


def watson_dct(
    params: list[ChannelParams], image: torch.Tensor, reference: torch.Tensor
) -> torch.Tensor:
    """Watson-DCT of `[N, C, H, W]` images, shape `[N]`."""
    return _over_channels(_watson_dct_channel, params, image, reference)


def watson_dft(
    params: list[ChannelParams], image: torch.Tensor, reference: torch.Tensor
) -> torch.Tensor:
    """Watson-DFT of `[N, C, H, W]` images, shape `[N]`."""
    return _over_channels(_watson_dft_channel, params, image, reference)


def make_twin(name: str, channels: list[ChannelParams]) -> Twin | None:
    """The PyTorch twin of a loss of watson_jax.

    Args:
      name: the loss as `watson_jax.get_loss` calls it.
      channels: its parameters, from `channel_params`.

    Returns:
      A function of two `[N, C, H, W]` images, or None where no twin is written.
    """
    if name == "l2":
        return l2
    with_params = {"watson-dct": watson_dct, "watson-dft": watson_dft}.get(name)
    if with_params is None:
        return None
    return lambda image, reference: with_params(channels, image, reference)


def tensors(channels: list[ChannelParams]) -> list[torch.Tensor]:
    """All parameters of all channels."""
    values = (getattr(c, field.name) for c in channels for field in dataclasses.fields(c))
    return [value for value in values if value is not None]


def _over_channels(
    distance: Callable[[ChannelParams, torch.Tensor, torch.Tensor], torch.Tensor],
    params: list[ChannelParams],
    image: torch.Tensor,
    reference: torch.Tensor,
) -> torch.Tensor:
    # Eq. 9. Channel by channel: on a CPU the smaller tensors stay in the cache for longer, which
    # makes this no slower than one call over all three.
    pairs = zip(_color_channels(image), _color_channels(reference), strict=True)
    total = torch.zeros(image.shape[0], dtype=image.dtype, device=image.device)
    for channel, (x, y) in zip(params, pairs, strict=True):
        total = total + channel.channel_weights * distance(channel, x, y)
    return total


def _color_channels(image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if image.shape[1] == 1:
        return (image[:, 0],)
    red, green, blue = image.unbind(1)
    return (
        0.299 * red + 0.587 * green + 0.114 * blue,
        -0.1687 * red - 0.3313 * green + 0.5 * blue + 0.5,
        0.5 * red - 0.4187 * green - 0.0813 * blue + 0.5,
    )


def split_blocks(channel: torch.Tensor) -> torch.Tensor:
    """`[N, H, W]` to `[N, K, 8, 8]`, padded at the bottom and right by repeating the edge."""
    bottom, right = (-channel.shape[1] % BLOCK_SIZE, -channel.shape[2] % BLOCK_SIZE)
    if bottom or right:
        channel = functional.pad(channel, (0, right, 0, bottom), mode="replicate")
    blocks = channel.unfold(1, BLOCK_SIZE, BLOCK_SIZE).unfold(2, BLOCK_SIZE, BLOCK_SIZE)
    return blocks.flatten(1, 2)


def _watson_dct_channel(params: ChannelParams, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    # The two-dimensional transform as one product with a 64 x 64 matrix, faster than two of 8 x 8.
    basis = _dct_basis(x)
    c_x, c_y = ((split_blocks(image).flatten(-2) @ basis).unflatten(-1, (8, 8)) for image in (x, y))
    masked = _masked_threshold(params, c_y.abs(), c_y[..., :1, :1].clamp(min=0))
    return _pool(params, c_x - c_y, masked)


def _watson_dft_channel(params: ChannelParams, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    assert params.phase_weights is not None
    (amplitude_x, phase_x), (amplitude_y, phase_y) = (_amplitude_and_phase(i) for i in (x, y))
    masked = _masked_threshold(params, amplitude_y, amplitude_y[..., :1, :1])
    # Eq. 10. The factor keeps the derivative of arccos finite.
    angle = torch.arccos(torch.cos(phase_x - phase_y) * (1 - 1e-7))
    phase_term = (params.phase_weights * angle).sum(dim=(1, 2, 3))
    return _pool(params, amplitude_x - amplitude_y, masked) + phase_term


def _amplitude_and_phase(channel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    c = torch.fft.rfft2(split_blocks(channel), norm="forward")
    # A quarter of the time of `atan2` on strided views of the complex numbers.
    real, imaginary = c.real + EPSILON, c.imag.contiguous()
    amplitude = torch.sqrt(real.square() + (imaginary + EPSILON).square())
    return amplitude, torch.atan2(imaginary, real)


def _masked_threshold(
    params: ChannelParams, amplitude: torch.Tensor, dc: torch.Tensor
) -> torch.Tensor:
    # Eq. 5, with the mean over the blocks of each image.
    ratio = (dc + EPSILON) / (dc.mean(dim=1, keepdim=True) + EPSILON)
    threshold = params.thresholds * ratio.pow(params.luminance_exponent)
    # Eq. 6 and 7; the smooth maximum is written so that no exponential overflows.
    r = params.contrast_exponent
    contrast = (amplitude + EPSILON).pow(r) * threshold.pow(1 - r)
    difference = contrast - threshold
    return threshold + difference * torch.sigmoid(difference)


def _pool(params: ChannelParams, difference: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    # Eq. 4 and 8.
    terms = ((difference / masked).abs() + EPSILON).pow(params.pooling_exponent)
    return (terms + EPSILON).sum(dim=(1, 2, 3)).pow(1 / params.pooling_exponent)


def _dct_basis(like: torch.Tensor) -> torch.Tensor:
    """Columns are the 64 orthonormal type-II cosine patterns, rows the pixels of a block."""
    patterns = one_dimensional_dct(like)
    return torch.kron(patterns, patterns).T


def one_dimensional_dct(like: torch.Tensor) -> torch.Tensor:
    """Rows are the 8 orthonormal type-II cosines."""
    position = torch.arange(BLOCK_SIZE, dtype=like.dtype, device=like.device)
    patterns = torch.cos(torch.pi / BLOCK_SIZE * (position + 0.5) * position[:, None])
    patterns = patterns * (2 / BLOCK_SIZE) ** 0.5
    patterns[0] *= 0.5**0.5
    return patterns
