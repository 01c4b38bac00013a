"""Watson-DFT, Watson-DCT and SSIM in eager PyTorch as one writes them down from the formulas.

Where `torch_losses` is tuned for the comparison to be hard, this is the form in which such losses
circulate: one tensor operation for each operation of the paper, the DCT as two products with an 8x8
matrix, SSIM by two-dimensional convolutions. Images are NCHW.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from experiments.benchmark.torch_losses import (
    EPSILON,
    ChannelParams,
    Twin,
    one_dimensional_dct,
    split_blocks,
)


def make_plain(name: str, channels: list[ChannelParams]) -> Twin | None:
    """The plain form of a loss of watson_jax, as `torch_losses.make_twin`."""
    if name == "ssim":
        return ssim
    coefficients = {"watson-dct": _dct, "watson-dft": _dft}.get(name)
    if coefficients is None:
        return None

    def loss(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        pairs = zip(_color(image).unbind(1), _color(reference).unbind(1), strict=True)
        parts = [
            c.channel_weights * coefficients(c, x, y)
            for c, (x, y) in zip(channels, pairs, strict=True)
        ]
        return torch.stack(parts).sum(0)

    return loss


def _color(image: torch.Tensor) -> torch.Tensor:
    if image.shape[1] == 1:
        return image
    matrix = [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]
    planes = torch.einsum("cd,ndhw->nchw", torch.tensor(matrix).to(image), image)
    return planes + torch.tensor([0, 0.5, 0.5]).to(image)[:, None, None]


def _dft(params: ChannelParams, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    c_x, c_y = (torch.fft.rfft2(split_blocks(z)) / 64 for z in (x, y))
    amplitude_x, amplitude_y = (
        torch.sqrt((c.real + EPSILON) ** 2 + (c.imag + EPSILON) ** 2) for c in (c_x, c_y)
    )
    phase_x, phase_y = (torch.atan2(c.imag, c.real + EPSILON) for c in (c_x, c_y))
    angle = torch.arccos(torch.cos(phase_x - phase_y) * (1 - 1e-7))
    assert params.phase_weights is not None
    pooled = _watson(params, amplitude_x - amplitude_y, amplitude_y, amplitude_y[..., :1, :1])
    return pooled + (params.phase_weights * angle).sum((1, 2, 3))


def _dct(params: ChannelParams, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    matrix = one_dimensional_dct(x)
    c_x, c_y = (matrix @ split_blocks(z) @ matrix.T for z in (x, y))
    return _watson(params, c_x - c_y, c_y.abs(), c_y[..., :1, :1].clamp(min=0))


def _watson(
    params: ChannelParams, difference: torch.Tensor, magnitude: torch.Tensor, dc: torch.Tensor
) -> torch.Tensor:
    # Eq. 5 to 7, then the pooling of eq. 4 and 8.
    ratio = (dc + EPSILON) / (dc.mean(1, keepdim=True) + EPSILON)
    t_l = params.thresholds * ratio**params.luminance_exponent
    r = params.contrast_exponent
    both = torch.stack([t_l, (magnitude + EPSILON) ** r * t_l ** (1 - r)])
    s = (torch.softmax(both, 0) * both).sum(0)
    terms = ((difference / s).abs() + EPSILON) ** params.pooling_exponent
    return (terms + EPSILON).sum((1, 2, 3)) ** (1 / params.pooling_exponent)


def ssim(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """One minus SSIM of `[N, C, H, W]` images with zeros outside, shape `[N]`."""
    channels = image.shape[1]
    weights = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window = torch.tensor(np.outer(weights, weights) / weights.sum() ** 2).to(image)
    window = window.expand(channels, 1, 11, 11).contiguous()

    def blur(z: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(z, window, padding=5, groups=channels)

    mean_x, mean_y = blur(image), blur(reference)
    variance_x = blur(image * image) - mean_x**2
    variance_y = blur(reference * reference) - mean_y**2
    covariance = blur(image * reference) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)) / (
        (mean_x**2 + mean_y**2 + 1e-4) * (variance_x + variance_y + 9e-4)
    )
    return 1 - similarity.mean((1, 2, 3))
