"""Numbers that say how good a VAE's images are.

Images are floats in [0, 1], `[number, height, width, channels]`; what is measured of colour images is
measured on their luma, except where a loss sees the colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, UInt8

import watson_jax as wj
from watson_jax.transforms import LUMA_WEIGHTS

ImageArray = Float[np.ndarray, "number height width channels"]

CONFIDENT = 0.9
LEAST_SHARE = 0.01  # of the confident samples, for a class to count

_CLASSES = 10
_BATCH = 250
_LEARNT_IMAGES = 500_000  # counted as often as they are seen
_PASSES = 10, 60  # at least and at most


def to_float(images: UInt8[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """Bytes to [0, 1]."""
    return images.astype(np.float32) / 255


def luma(images: ImageArray) -> Float[np.ndarray, "number height width"]:
    """The brightness of colour images, grey ones as they are."""
    return images[..., 0] if images.shape[-1] == 1 else images @ LUMA_WEIGHTS


def laplacian_variance(images: ImageArray) -> Float[np.ndarray, " number"]:
    """The variance over each image of what tells a pixel from its four neighbours."""
    x = luma(images)
    neighbours = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    return (neighbours - 4 * x[:, 1:-1, 1:-1]).var(axis=(1, 2))


def sharpness(images: ImageArray, data: ImageArray) -> float:
    """The mean variance of the Laplacian relative to the data's: 1 is as sharp, less is blurred."""
    return float(laplacian_variance(images).mean() / laplacian_variance(data).mean())


def radial_spectrum(images: ImageArray) -> Float[np.ndarray, " frequencies"]:
    """Mean power at 1, 2, … cycles per image, up to half a cycle per pixel.

    Every frequency counts where it is nearest to. A Hann window keeps the step between opposite
    borders out, which would hide what is missing of the high frequencies of photographs.
    """
    x = luma(images)
    height, width = x.shape[1:]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    x = (x - x.mean(axis=(1, 2), keepdims=True)) * window
    power = (np.abs(np.fft.fft2(x)) ** 2).mean(axis=0)
    side = min(height, width)
    rows, columns = (np.fft.fftfreq(length) * side for length in (height, width))
    ring = np.rint(np.hypot(rows[:, None], columns)).astype(int)
    total, count = np.bincount(ring.ravel(), power.ravel()), np.bincount(ring.ravel())
    return (total / count)[1 : side // 2 + 1]


def log_distance(
    spectrum: Float[np.ndarray, " frequencies"], data: Float[np.ndarray, " frequencies"]
) -> float:
    """The mean over frequencies of |log10(spectrum / data)|; 0.3 is a factor of two."""
    return float(np.abs(np.log10(np.maximum(spectrum, 1e-12) / np.maximum(data, 1e-12))).mean())


def chroma_error(images: ImageArray, data: ImageArray) -> float:
    """The mean square of the differences in Cb and Cr."""
    difference = wj.rgb_to_ycbcr(images)[..., 1:] - wj.rgb_to_ycbcr(data)[..., 1:]
    return float((difference**2).mean())


def make_losses(names: Sequence[str], shape: tuple[int, int, int]) -> dict[str, wj.Loss]:
    """Losses to measure reconstructions with, the same for all runs, whatever they were trained with.

    Args:
      names: such as "ssim", or "watson-dft:published" with weights.
      shape: of the images.

    Returns:
      The losses by name. Files of weights are named without their folders, where that is unambiguous.

    Raises:
      ValueError: if a name is unknown.
      OSError: if weights cannot be found or fetched.
    """
    height, width, channels = shape
    color = "rgb" if channels == 3 else "gray"
    split = [text.partition(":") for text in names]
    named = short_names(weights for _, _, weights in split)
    return {
        f"{name}{colon}{named[weights]}": wj.get_loss(
            name, color=color, weights=weights or None, image_size=(height, width)
        )
        for name, colon, weights in split
    }


def short_names(weights: Iterable[str]) -> dict[str, str]:
    """What weights are called: files by their names without folders, unless two have the same one."""
    names = {text: Path(text).name for text in weights}
    return names if len({*names.values()}) == len(names) else {text: text for text in names}


def mean_distance(loss: wj.Loss, images: ImageArray, reference: ImageArray) -> float:
    """The mean of a loss over pairs of images."""
    fn = jax.jit(loss.fn)
    starts = range(0, len(images), _BATCH)
    parts = [fn(loss.params, images[i : i + _BATCH], reference[i : i + _BATCH]) for i in starts]
    return float(np.concatenate(parts).mean())


class DigitReader:
    """A small network that recognises digits, and refuses what is none.

    Networks that only know digits are sure about anything: one such took 45 % of the means of two
    digits for a digit, and 80 % of images of noise. Hence an eleventh class of both kinds.

    Attributes:
      accuracy: share of held-out images whose digit it finds, in [0, 1].
    """

    def __init__(
        self,
        images: ImageArray,
        labels: UInt8[np.ndarray, " number"],
        test_images: ImageArray,
        test_labels: UInt8[np.ndarray, " test"],
        *,
        passes: int | None = None,
    ):
        """Learns to read.

        Args:
          images: to learn from.
          labels: their digits.
          test_images: to measure the accuracy on.
          test_labels: their digits.
          passes: over the images; None: as many as their number calls for.
        """
        from sklearn.neural_network import MLPClassifier
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        least, most = _PASSES
        batch = min(_BATCH, len(images))
        rng = np.random.default_rng(0)
        # Plain reshaping makes the inputs; a network of this size needs no convolutions for digits.
        self._network = MLPClassifier((256,), alpha=1e-3, batch_size=batch, random_state=0)
        with threadpool_limits(1):  # threads only wait for each other in products so small
            for _ in range(passes or min(max(_LEARNT_IMAGES // len(images), least), most)):
                fakes = _no_digits(images, labels, rng)
                targets = np.concatenate([labels, np.full(len(fakes), _CLASSES)])
                mixed = np.concatenate([images, fakes]).reshape(len(targets), -1)
                self._network.partial_fit(mixed, targets, classes=np.arange(_CLASSES + 1))
        found = self.probabilities(test_images)[:, :_CLASSES].argmax(axis=1)
        self.accuracy = float((found == test_labels).mean())

    def probabilities(self, images: ImageArray) -> Float[np.ndarray, "number 11"]:
        """Of the ten digits, and of none."""
        return self._network.predict_proba(images.reshape(len(images), -1))

    def features(self, images: ImageArray) -> Float[np.ndarray, "number features"]:
        """The activations of the hidden layer, for `frechet_distance`."""
        weights, bias = self._network.coefs_[0], self._network.intercepts_[0]
        return np.maximum(images.reshape(len(images), -1) @ weights + bias, 0)


def _no_digits(
    images: ImageArray, labels: UInt8[np.ndarray, " number"], rng: np.random.Generator
) -> Float[np.ndarray, "fakes height width channels"]:
    """Means of two different digits, and some images whose pixels are mixed up."""
    other = rng.permutation(len(images))
    pairs = np.flatnonzero(labels != labels[other])[: len(images) // 4]
    means = (images[pairs] + images[other[pairs]]) / 2
    some = images[rng.choice(len(images), -(-len(images) // 20), replace=False)]
    pixels = some.reshape(len(some), -1)
    return np.concatenate([means, rng.permuted(pixels, axis=1).reshape(some.shape)])


def frechet_distance(
    features: Float[np.ndarray, "number features"], data: Float[np.ndarray, "other features"]
) -> float:
    """The Fréchet distance between two sets of features, each taken for normally distributed.

    |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with means m and covariances C (Heusel et al. 2017,
    "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", eq. 6). It is
    positive for two finite sets of the same distribution, so it is reported beside that of real images.
    """
    means = features.mean(axis=0), data.mean(axis=0)
    first, second = (np.cov(x.astype(np.float64), rowvar=False) for x in (features, data))
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    # C1 C2 has the eigenvalues of this symmetric matrix.
    squares = np.linalg.eigvalsh(root @ second @ root)
    product = np.sqrt(np.maximum(squares, 0)).sum()
    return float(
        ((means[0] - means[1]) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * product
    )


def recognition(probabilities: Float[np.ndarray, "number classes"]) -> dict[str, float]:
    """What a `DigitReader` makes of samples.

    Returns:
      "recognised", the share with a digit of more than 90 %; "classes", how many digits at least one in
      a hundred of these shows; and "entropy" of their digits in bits, at most 3.32.
    """
    digits = probabilities[:, :_CLASSES]
    confident = digits[digits.max(axis=1) > CONFIDENT].argmax(axis=1)
    if not len(confident):
        return {"recognised": 0.0, "classes": 0.0, "entropy": 0.0}
    shares = np.bincount(confident, minlength=_CLASSES) / len(confident)
    present = shares[shares > 0]
    return {
        "recognised": len(confident) / len(digits),
        "classes": float((shares >= LEAST_SHARE).sum()),
        "entropy": float(abs((present * np.log2(present)).sum())),
    }
