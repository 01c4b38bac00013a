"""What a loss costs where it is used: a training step of the paper's MNIST-VAE."""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import watson_jax as wj
from experiments.benchmark.measure import Program, time_interleaved
from experiments.benchmark.protocol import has_torch
from watson_jax.models import MnistVAE
from watson_jax.training import adam, create_train_state, make_train_chunk, make_train_step

LOSSES = ("l2", "watson-dft")
LEARNING_RATE = 1e-4


def vae_steps(
    *, batch: int, rounds: int, features: tuple[int, int] = (32, 64), hidden: int = 1024
) -> dict[str, float]:
    """Median milliseconds of a step by loss, and of PyTorch's with L2, timed in turn.

    Args:
      batch: number of images.
      rounds: how often each is timed.
      features: channels of the convolutions; the paper's by default.
      hidden: width of the dense layers; the paper's by default.
    """
    programs = {loss: _jax_step(loss, batch, features, hidden) for loss in LOSSES}
    if has_torch():
        programs["PyTorch, l2"] = _torch_step(batch, features, hidden)
    samples = time_interleaved(programs, rounds=rounds)
    return {name: 1e3 * float(np.median(seconds)) for name, seconds in samples.items()}


def describe(steps: dict[str, float]) -> str:
    """One line of text."""
    return ", ".join(f"{name} {milliseconds:.0f}" for name, milliseconds in steps.items())


def _jax_step(name: str, batch: int, features: tuple[int, int], hidden: int) -> Program:
    loss = wj.get_loss(name, color="gray")
    optimizer, _ = adam(LEARNING_RATE, halving_steps=1e5)
    graphdef, state = create_train_state(
        MnistVAE(jax.random.key(0), features=features, hidden=hidden), optimizer
    )
    chunk = make_train_chunk(make_train_step(graphdef, optimizer, loss.fn, log_weight=0.0))
    images = jax.random.bits(jax.random.key(1), (batch, 32, 32, 1), jnp.uint8)
    indices, key = jnp.arange(batch)[None], jax.random.key(2)

    def step() -> None:
        nonlocal state
        state, metrics = chunk(state, loss.params, images, indices, key)
        jax.block_until_ready((state, metrics))

    return step


def _torch_step(batch: int, features: tuple[int, int], hidden: int) -> Program:
    import torch
    from torch import nn

    torch.set_num_threads(os.cpu_count() or 1)
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"

    def conv(inputs: int, outputs: int) -> nn.Module:
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    leaky, (fine, coarse), units = nn.LeakyReLU(0.01), features, features[1] * 16 * 16
    down = nn.Sequential(
        conv(1, fine), leaky, nn.MaxPool2d(2), conv(fine, coarse), leaky, nn.Flatten()
    )
    encoder = nn.Sequential(down, nn.Linear(units, hidden), nn.ReLU(), nn.Linear(hidden, 4))
    decoder = nn.Sequential(
        nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, units), nn.ReLU(),
        nn.Unflatten(1, (coarse, 16, 16)), conv(coarse, coarse), leaky,
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        conv(coarse, fine), leaky, conv(fine, fine), leaky, conv(fine, 1), nn.Sigmoid(),
    )  # fmt: skip
    model = nn.ModuleList([encoder, decoder]).to(device)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    images = torch.rand(batch, 1, 32, 32, device=device)

    def step() -> Any:
        mean, log_variance = encoder(images).chunk(2, 1)
        latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        reconstruction = decoder(latent)
        kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
        total = (reconstruction - images).square().mean((1, 2, 3)).sum() + kl
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step
