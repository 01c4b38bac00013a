"""What one run has come to: its numbers, its spectra and the images that pictures show."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

import watson_jax as wj
from experiments._common.cli import UserError
from experiments.vae import figures, quality
from experiments.vae.configs import VaeConfig
from experiments.vae.runs import Run

NUM_PAIRS = 3
SAMPLE_LINES = 2
MANIFOLD_SIZES = 9, 5, 3  # the later ones where many grids would be a large file
_TABLE_WIDTH = 512  # pixels of the data


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one run has come to.

    Attributes:
      workdir: of the run.
      config: what was trained.
      rows: of `metrics.jsonl`.
      numbers: by name, see `MEASURES`.
      spectra: of "data", "reconstructions" and "samples", by frequency.
      held_out: how many images were used that the run was not trained on.
      data: held-out images that are shown, `[1, columns, height, width, channels]`.
      reconstructions: of them.
      samples: `[lines, columns, height, width, channels]`, of the same latents for all runs.
      interpolations: between two held-out images, which are at the ends of each line.
      manifold: decoded grid of latents, if there are two of them.
    """

    workdir: Path
    config: VaeConfig
    rows: Sequence[Mapping[str, Any]]
    numbers: Mapping[str, float]
    spectra: Mapping[str, Float[np.ndarray, " frequencies"]]
    held_out: int
    data: np.ndarray
    reconstructions: np.ndarray
    samples: np.ndarray
    interpolations: np.ndarray
    manifold: np.ndarray | None


Groups = Mapping[str, Sequence[Outcome]]
"""Runs by their label; those with the same label differ in the seed."""

MEASURES = {
    "sharpness of reconstructions": "variance of the Laplacian relative to that of the held-out "
    "images; 1 is as sharp, less is blurred, more is noisy",
    "sharpness of samples": "the same of decoded draws from the standard normal",
    "spectrum of reconstructions": "distance of the radial power spectrum from that of the held-out "
    "images: mean of |log10 of their ratio|; 0 is the same, 0.3 is a factor of two",
    "spectrum of samples": "the same of decoded draws from the standard normal",
    "chroma error of reconstructions, 1e-3": "mean square of the differences in Cb and Cr from the "
    "held-out images; only of colour images",
    "recognised samples, %": "samples that a small network, which knows digits and refuses noise and "
    "mixtures of digits, takes for one digit with more than 90 % confidence",
    "digits among them": "how many of the ten digits make up at least 1 % of the recognised samples",
    "their entropy, bits": "evenness of the digits among the recognised samples; 3.32 at most",
    "Fréchet distance": "between samples and held-out images in the features of that network; lower is "
    "nearer",
    "KL divergence": "held-out, of the latents from the standard normal, in nats; near 0 where a model "
    "makes no use of them",
    "minutes of training": "with what else an epoch takes, on the machine that trained",
}


def examine(
    run: Run, *, most: int, losses: Mapping[str, wj.Loss], reader: quality.DigitReader | None
) -> Outcome:
    """Measures a run and decodes what pictures show.

    Args:
      run: finished.
      most: held-out images to use at most, and samples to draw.
      losses: by which reconstructions are measured.
      reader: counts recognisable samples, where they are digits.
    """
    data = quality.to_float(run.held_out(most))
    means = run.encode(data)
    reconstructions = run.decode(means)
    # The same for all runs.
    latents = np.asarray(jax.random.normal(jax.random.key(0), (most, run.config.latent_size)))
    samples = run.decode(latents)
    named = {"reconstructions": reconstructions, "samples": samples}
    spectra = {n: quality.radial_spectrum(x) for n, x in {"data": data, **named}.items()}

    numbers = likeness(named, data)
    if reader is not None:
        numbers |= readability(reader, samples, data)
    numbers["KL divergence"] = run.rows[-1]["held_out_kl"]
    numbers["minutes of training"] = run.rows[-1]["seconds"] / 60
    for name, loss in losses.items():
        numbers[f"{name} of reconstructions"] = quality.mean_distance(loss, reconstructions, data)

    columns = max(4, _TABLE_WIDTH // data.shape[2])
    lines = samples[: len(samples) // columns * columns][: SAMPLE_LINES * columns]
    manifold = None
    if run.config.latent_size == 2:
        manifold = run.decode(figures.manifold_latents(MANIFOLD_SIZES[0]))
    return Outcome(
        workdir=run.workdir,
        config=run.config,
        rows=run.rows,
        numbers=numbers,
        spectra=spectra,
        held_out=len(data),
        data=data[None, :columns],
        reconstructions=reconstructions[None, :columns],
        samples=lines.reshape(-1, columns, *lines.shape[1:]),
        interpolations=_interpolations(run, data, means, min(10, columns)),
        manifold=manifold,
    )


def likeness(images: Mapping[str, np.ndarray], data: np.ndarray) -> dict[str, float]:
    """Sharpness, distance of spectra, and truth of reconstructed colours, by what the images are."""
    spectrum = quality.radial_spectrum(data)
    numbers = {f"sharpness of {n}": quality.sharpness(x, data) for n, x in images.items()}
    numbers |= {
        f"spectrum of {n}": quality.log_distance(quality.radial_spectrum(x), spectrum)
        for n, x in images.items()
    }
    if data.shape[-1] == 3 and "reconstructions" in images:
        chroma_error = quality.chroma_error(images["reconstructions"], data)
        numbers["chroma error of reconstructions, 1e-3"] = 1e3 * chroma_error
    return numbers


def readability(
    reader: quality.DigitReader, samples: np.ndarray, data: np.ndarray
) -> dict[str, float]:
    """What the reader finds in samples, and how far they are from held-out images."""
    found = quality.recognition(reader.probabilities(samples))
    return {
        "recognised samples, %": 100 * found["recognised"],
        "digits among them": found["classes"],
        "their entropy, bits": found["entropy"],
        "Fréchet distance": quality.frechet_distance(
            reader.features(samples), reader.features(data)
        ),
    }


def data_numbers(
    train: UInt8[np.ndarray, "train height width channels"],
    test: UInt8[np.ndarray, "test height width channels"],
    *,
    most: int,
    reader: quality.DigitReader | None,
) -> dict[str, float]:
    """The numbers of training images in place of samples: what cannot be expected to be surpassed."""
    images, data = quality.to_float(train[:most]), quality.to_float(test)
    numbers = likeness({"samples": images}, data)
    return numbers | (readability(reader, images, data) if reader is not None else {})


def _interpolations(run: Run, data: np.ndarray, means: np.ndarray, columns: int) -> np.ndarray:
    pairs = min(NUM_PAIRS, len(data) // 2)
    first, second = np.arange(pairs), np.arange(pairs, 2 * pairs)
    share = np.linspace(0, 1, columns - 2, dtype=np.float32)[:, None]
    latents = means[first, None] * (1 - share) + means[second, None] * share
    ends = data[first, None], data[second, None]
    return np.concatenate([ends[0], run.decode(latents), ends[1]], axis=1)


def group_by_label(outcomes: Sequence[Outcome]) -> Groups:
    """Puts runs that differ in nothing but the seed together; those of a loss in the order of λ."""
    losses = [outcome.config.loss for outcome in outcomes]

    def place(outcome: Outcome) -> tuple[int, float]:
        return losses.index(outcome.config.loss), outcome.config.log_weight or 0.0

    groups: dict[str, list[Outcome]] = {}
    ordered = sorted(outcomes, key=place)
    labels = labels_of([outcome.config for outcome in ordered])
    for label, outcome in zip(labels, ordered, strict=True):
        groups.setdefault(label, []).append(outcome)
    return groups


def one_of_each(groups: Groups) -> dict[str, Outcome]:
    """The run of each group that is drawn: all of them held the same images out.

    Raises:
      UserError: if they did not, since the seed splits some data sets.
    """
    first = next(iter(groups.values()))[0]
    shown = {}
    for label, members in groups.items():
        same = [outcome for outcome in members if np.array_equal(outcome.data, first.data)]
        if not same:
            raise UserError(
                f"--runs must hold out the same images for one picture of all; {members[0].workdir} "
                f"and {first.workdir} do not, as their seeds are {members[0].config.seed} and "
                f"{first.config.seed}."
            )
        shown[label] = same[0]
    return shown


def labels_of(configs: Sequence[VaeConfig]) -> list[str]:
    """Short names that tell configurations apart: the loss, and whatever else differs.

    Where nothing but λ differs, it alone is the name. The seed and the place of the data count for
    nothing: runs that differ in no more have the same name.
    """
    records = [_settings(config) for config in configs]
    differing = [name for name in records[0] if len({str(r[name]) for r in records}) > 1]
    if len({round(record["halving_epochs"] / record["epochs"], 6) for record in records}) == 1:
        # It follows from the number of epochs.
        differing = [name for name in differing if name != "halving_epochs"]
    if differing == ["log_weight"]:
        return [_field_text("log_weight", record) for record in records]

    labels = [record["loss"] for record in records]
    if "weights" in differing:
        named = quality.short_names(r["weights"] for r in records if r["weights"])
        labels = [
            f"{r['loss']} ({named[r['weights']]})" if r["weights"] else r["loss"] for r in records
        ]
    # Only what tells runs of one name apart: the λ of other losses differs anyway.
    extended = []
    for label, record in zip(labels, records, strict=True):
        alike = [r for other, r in zip(labels, records, strict=True) if other == label]
        fields = [n for n in differing if len({str(r[n]) for r in alike}) > 1]
        texts = [_field_text(n, record) for n in fields if n not in ("loss", "weights")]
        extended.append(", ".join([label, *texts]))
    return extended


def _settings(config: VaeConfig) -> dict[str, Any]:
    record = dataclasses.asdict(config)
    return {name: record[name] for name in record if name not in ("seed", "data_dir")}


def _field_text(name: str, record: Mapping[str, Any]) -> str:
    value = record[name]
    symbol = {"log_weight": "λ"}.get(name, name)
    return f"{symbol} = {value:.4g}" if isinstance(value, float) else f"{symbol} = {value}"
