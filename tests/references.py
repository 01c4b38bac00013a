"""The losses in float64 NumPy with plain loops, written from the paper: slow, and easy to believe.

`authors=True` puts back what this library leaves out on purpose: the epsilons inside the pooling and
the factor inside arccos of the authors' code, which count where images are nearly equal.
"""

import math

import numpy as np

EPSILON = 1e-10


def ycbcr(image):
    matrix = np.array(
        [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], np.float64
    )
    return image @ matrix.T + np.array([0, 0.5, 0.5])


def blocks_of(channel):
    """[H, W] to a list of 8x8 blocks, the edge repeated at the bottom and right."""
    height, width = channel.shape
    blocks = []
    for top in range(0, height, 8):
        for left in range(0, width, 8):
            block = np.empty((8, 8))
            for i in range(8):
                for j in range(8):
                    block[i, j] = channel[min(top + i, height - 1), min(left + j, width - 1)]
            blocks.append(block)
    return blocks


def dft(block):
    """The one-sided DFT, divided by 64."""
    result = np.zeros((8, 5), complex)
    for u in range(8):
        for v in range(5):
            for m in range(8):
                for n in range(8):
                    result[u, v] += block[m, n] * np.exp(-2j * np.pi * (u * m + v * n) / 8)
    return without_rounding_errors(result / 64)


def dct(block):
    """The orthonormal DCT."""
    result = np.zeros((8, 8))
    for u in range(8):
        for v in range(8):
            scale = math.sqrt((1 if u else 0.5) * (1 if v else 0.5)) / 4
            for m in range(8):
                for n in range(8):
                    result[u, v] += (
                        scale
                        * block[m, n]
                        * math.cos(math.pi * (2 * m + 1) * u / 16)
                        * math.cos(math.pi * (2 * n + 1) * v / 16)
                    )
    return without_rounding_errors(result)


def without_rounding_errors(coefficients):
    """Puts 0 for sums that cancel, whose sign and phase would be those of the last digits."""
    return np.where(np.abs(coefficients) < 1e-14, 0, coefficients)


def smooth_maximum(a, b):
    top = max(a, b)
    weight_a, weight_b = math.exp(a - top), math.exp(b - top)
    return (a * weight_a + b * weight_b) / (weight_a + weight_b)


def visible_change(threshold, dc, mean_dc, alpha, magnitude, r):
    luminance_masked = threshold * ((dc + EPSILON) / (mean_dc + EPSILON)) ** alpha
    contrast = (magnitude + EPSILON) ** r * luminance_masked ** (1 - r)
    return smooth_maximum(luminance_masked, contrast)


def pool(terms, p, authors):
    if authors:
        return sum((abs(t) + EPSILON) ** p + EPSILON for t in terms) ** (1 / p)
    total = sum(abs(t) ** p for t in terms if t != 0)
    return total ** (1 / p) if total else 0.0


def angle(a, b, authors):
    a, b = a + EPSILON, b + EPSILON
    if a == b and not authors:
        return 0.0
    if authors:
        return math.acos(math.cos(np.angle(a) - np.angle(b)) * (1 - 1e-7))
    return abs(np.angle(a * b.conjugate()))


def channel_distance(params, channel, image, reference, authors):
    """The distance in one channel, `image` and `reference` of shape [H, W]."""
    is_dft = hasattr(params, "phase_weights")
    transform = dft if is_dft else dct
    c_x, c_y = ([transform(b) for b in blocks_of(x)] for x in (image, reference))
    if is_dft:
        offset = EPSILON + 1j * EPSILON
        size_x, size_y = ([np.abs(c + offset) for c in cs] for cs in (c_x, c_y))
        difference = [a - b for a, b in zip(size_x, size_y, strict=True)]
        dc = [a[0, 0] for a in size_y]
    else:
        size_y = [np.abs(c) for c in c_y]
        difference = [a - b for a, b in zip(c_x, c_y, strict=True)]
        dc = [max(c[0, 0], 0) for c in c_y]
    mean_dc = sum(dc) / len(dc)

    def value(name):
        return np.asarray(getattr(params, name), np.float64)[channel]

    thresholds, alpha, r = (
        value("thresholds"),
        value("luminance_exponent"),
        value("contrast_exponent"),
    )
    terms, phase = [], 0.0
    for k in range(len(c_y)):
        for i in range(thresholds.shape[0]):
            for j in range(thresholds.shape[1]):
                s = visible_change(thresholds[i, j], dc[k], mean_dc, alpha, size_y[k][i, j], r)
                terms.append(difference[k][i, j] / s)
                if is_dft:
                    weight = value("phase_weights")[i, j]
                    phase += weight * angle(c_x[k][i, j], c_y[k][i, j], authors)
    return pool(terms, float(value("pooling_exponent")), authors) + phase


def watson(params, image, reference, *, authors=False):
    """Watson-DFT or Watson-DCT of one pair [H, W, C]; which of them, the parameters tell."""
    image, reference = (np.asarray(x, np.float64) for x in (image, reference))
    if image.shape[-1] == 3:
        image, reference = ycbcr(image), ycbcr(reference)
    weights = np.asarray(params.channel_weights, np.float64)
    return sum(
        weights[c] * channel_distance(params, c, image[..., c], reference[..., c], authors)
        for c in range(image.shape[-1])
    )
