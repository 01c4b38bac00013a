"""The Watson losses on GPUs in two kernels, one for the value and one for the gradient of an image.

A program of a kernel takes some 8x8 blocks of both images from memory, and keeps in registers what
`..formula` makes of them. So both images are read twice, and nothing of their size but the gradient is
written. Only `..api` knows of this file: without it, GPUs run the formula.

Pallas compiles the kernels with Triton. On other platforms it interprets them, which is slow and for
tests.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

from watson_jax._platform import by_platform
from watson_jax._sharding import vary_alike
from watson_jax.losses._watson import formula
from watson_jax.losses._watson.formula import SMALLEST_THRESHOLD, WatsonOptions
from watson_jax.losses._watson.params import WatsonDftParams, WatsonParams
from watson_jax.losses._watson.stages import (
    EPSILON,
    angle_between,
    contrast_masking,
    fade_out,
    luminance_masking,
)
from watson_jax.transforms._blocks import BLOCK_SIZE, pad_to_blocks
from watson_jax.transforms._color import YCBCR_MATRIX
from watson_jax.transforms._dct import DCT_BASIS
from watson_jax.transforms._dft import DFT_BASIS

PIXELS = BLOCK_SIZE**2
# Blocks of a program, and its threads by 32. With more blocks or fewer threads, values leave the
# registers of an H100; products for tensor cores have at least 16 rows.
BLOCKS, WARPS = 16, 8


def distance(
    params: WatsonParams,
    mean_brightness: Array | None,
    image: Array,
    reference: Array,
    options: WatsonOptions,
) -> Float[Array, ""]:
    """The distance of one pair; the mean is that of the reference where none is given."""
    image, reference = pad_to_blocks(image), pad_to_blocks(reference)
    if mean_brightness is None:
        mean_brightness = formula.mean_brightness(type(params), reference)
    norm, phase = _pool(options, *vary_alike(params, mean_brightness, image, reference))
    return formula.add_up(params, norm, phase, image.shape[0] * image.shape[1] // PIXELS, options)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pool(options, params, mean_brightness, image, reference):
    """The p-norm and the sum of phases of each channel, as `formula.pool`."""
    return _pool_forward(options, params, mean_brightness, image, reference)[0]


def _pool_forward(options, *arguments):
    params, _, image, _ = arguments
    shape = (_programs(image), image.shape[-1], 3)
    found = _run(_value_kernel, options, shape, arguments, ())
    largest, total, phase = jnp.moveaxis(found, -1, 0)
    # Each program's sum of powers is relative to its own largest entry.
    p, log_largest = params.pooling_exponent, jnp.log(jnp.max(largest, 0))
    ratio = jnp.exp((p - 1)[None] * (jnp.log(largest) - log_largest[None]))
    total = jnp.sum(total * ratio, 0)
    log_total = jnp.log(jnp.where(total == 0, 1, total)) - log_largest
    norm = jnp.where(total == 0, 0, jnp.exp(log_largest + log_total / p))
    phase = jnp.sum(phase, 0) if isinstance(params, WatsonDftParams) else None
    return (norm, phase), (arguments, log_largest, log_total)


def _pool_backward(options, saved, cotangents):
    arguments, log_largest, log_total = saved
    params, mean_brightness, image, reference = arguments
    of_norm, of_phase = cotangents
    p = params.pooling_exponent
    factors = jnp.stack(
        [
            log_largest,
            of_norm * jnp.exp((1 - p) / p * log_total),
            jnp.zeros_like(of_norm) if of_phase is None else of_phase,
        ],
        -1,
    )
    of_image = _run(_gradient_kernel, options, (image.size,), arguments, (factors,))

    # What else is differentiated is by the formula; where nothing is, XLA leaves this out.
    def pooled(params, mean_brightness, reference):
        seen = formula.features(type(params), image, reference, options, mean_brightness)
        return formula.pool(params, formula.terms(params, seen, options))

    _, pull = jax.vjp(pooled, params, mean_brightness, reference)
    of_params, of_mean, of_reference = pull(cotangents)
    return of_params, of_mean, of_image.reshape(image.shape), of_reference


_pool.defvjp(_pool_forward, _pool_backward)


def _run(kernel, options, shape, arguments, factors):
    """Runs a kernel for one pair of images; `jax.vmap` over pairs adds an axis to its grid."""
    params, mean_brightness, image, reference = arguments
    channels = image.shape[-1]
    p, thresholds = params.pooling_exponent, params.thresholds.reshape(channels, -1)
    if isinstance(params, WatsonDftParams):
        flat = DFT_BASIS.reshape(-1, PIXELS).T
        basis, weights = [flat.real, flat.imag], params.phase_weights.reshape(channels, -1)
    else:
        basis, weights = [DCT_BASIS], jnp.zeros_like(thresholds)
    red, blue, luma, offset = jnp.asarray(_COLORS[:, :channels], jnp.float32)
    scalars = _Scalars(
        red,
        blue,
        luma,
        offset,
        mean_brightness[:, 0, 0],
        params.luminance_exponent,
        params.contrast_exponent,
        p,
        jnp.where(p < 1, EPSILON, 0),
    )
    inputs = vary_alike(
        image.ravel(),
        reference.ravel(),
        jnp.stack([_padded(part, 0) for part in basis]),
        jnp.stack([_padded(thresholds, 1), _padded(weights, 0)], 1),
        jnp.stack(scalars, 1),
        *factors,
    )
    result = jax.ShapeDtypeStruct(
        shape, jnp.float32, manual_axis_type=jax.typeof(inputs[0]).manual_axis_type
    )

    def run(precision, *inputs, **how):
        return pl.pallas_call(
            functools.partial(kernel, image.shape, options, precision),
            result,
            grid=(_programs(image),),
            compiler_params=triton.CompilerParams(num_warps=WARPS),
            **how,
        )(*inputs)

    on_gpu = functools.partial(run, jax.lax.DotAlgorithmPreset.TF32_TF32_F32_X3)
    interpreted = functools.partial(run, jax.lax.Precision.HIGHEST, interpret=True)
    return by_platform(*inputs, cuda=on_gpu, rocm=on_gpu, default=interpreted)


def _programs(image):
    return -(-image.shape[0] * image.shape[1] // (PIXELS * BLOCKS))


def _padded(x, value):
    """With 64 frequencies: all lengths in a kernel are powers of 2."""
    x = jnp.asarray(x, jnp.float32)
    return jnp.pad(x, ((0, 0), (0, PIXELS - x.shape[1])), constant_values=value)


# A channel is red (R - G) + blue (B - G) + luma G + offset, so that grey has no chroma at all. Columns
# are the channels.
_COLORS = np.array([*YCBCR_MATRIX.T[[0, 2]], [1, 0, 0], [0, 0.5, 0.5]])


class _Scalars(NamedTuple):
    """The numbers of a channel."""

    red: Array
    blue: Array
    luma: Array
    offset: Array
    mean_brightness: Array
    luminance_exponent: Array
    contrast_exponent: Array
    pooling_exponent: Array
    epsilon: Array  # of the p-norm


def _value_kernel(*static_and_inputs):
    """Writes a program's largest entry, its sum of powers relative to that, and its sum of phases."""
    *inputs, out_ref = static_and_inputs
    tile, program = _load(*inputs), pl.program_id(0)

    def pool(channel, _):
        scalars, terms = tile.channel(channel)
        difference, phase = terms(tile.image)
        size = jnp.abs(difference)
        largest = jnp.max(size) + scalars.epsilon
        largest = jnp.where(largest == 0, 1.0, largest)
        powers = _powers(size, jnp.log(largest), scalars)
        found = largest, jnp.sum(size * powers), jnp.sum(phase)
        for i, number in enumerate(found):
            out_ref[program, channel, i] = number

    jax.lax.fori_loop(0, len(tile.image), pool, None)


def _gradient_kernel(*static_and_inputs):
    """Writes the gradient of the image, with `_pool_backward`'s factors."""
    *inputs, factors_ref, out_ref = static_and_inputs
    tile = _load(*inputs)

    def add_channel(channel, gradients):
        scalars, terms = tile.channel(channel)
        log_largest, of_norm, of_phase = (factors_ref[channel, i] for i in range(3))
        (difference, phase), pull = jax.vjp(terms, tile.image)
        slopes = of_norm * _powers(jnp.abs(difference), log_largest, scalars)
        # A slope at 0 may be infinite.
        of_difference = jnp.where(difference == 0, 0.0, jnp.sign(difference) * slopes)
        (more,) = pull((of_difference, jnp.full_like(phase, of_phase)))
        return tuple(map(jnp.add, gradients, more))

    zeros = tuple(map(jnp.zeros_like, tile.image))
    gradients = jax.lax.fori_loop(0, len(zeros), add_channel, zeros)
    for color, gradient in enumerate(gradients):
        triton.store(out_ref.at[tile.at + color], gradient, mask=tile.valid)


def _powers(size, log_largest, scalars):
    """((|x| + epsilon) / largest)^(p - 1), and 0 where x and epsilon are 0."""
    base = size + scalars.epsilon
    log_ratio = jnp.log(jnp.where(base == 0, 1.0, base)) - log_largest
    return jnp.where(base == 0, 0.0, jnp.exp((scalars.pooling_exponent - 1) * log_ratio))


class _Tile(NamedTuple):
    """What a program works on: arrays `[BLOCKS, 64]` of pixels."""

    image: tuple[Array, ...]  # one for each colour
    at: Array  # where the first colour of each pixel lies
    valid: Array  # whether there is such a block
    channel: Callable[[Any], tuple[_Scalars, Callable[[tuple[Array, ...]], tuple[Array, Array]]]]


def _load(size, options, precision, image_ref, reference_ref, basis_ref, rows_ref, scalars_ref):
    height, width, channels = size
    shape = (BLOCKS, PIXELS)
    block = pl.program_id(0) * BLOCKS + jax.lax.broadcasted_iota(jnp.int32, shape, 0)
    pixel = jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    in_row = width // BLOCK_SIZE
    row = block // in_row * BLOCK_SIZE + pixel // BLOCK_SIZE
    column = block % in_row * BLOCK_SIZE + pixel % BLOCK_SIZE
    at, valid = (row * width + column) * channels, row < height
    image, reference = (
        tuple(triton.load(ref.at[at + c], mask=valid, other=0.0) for c in range(channels))
        for ref in (image_ref, reference_ref)
    )
    # As `differing_blocks`, in numbers, of which Triton knows the largest.
    unequal = [jnp.where(x == y, 0, 1) for x, y in zip(image, reference, strict=True)]
    differs = jnp.max(functools.reduce(jnp.maximum, unequal), 1, keepdims=True) > 0
    basis = [basis_ref[i] for i in range(basis_ref.shape[0])]

    def channel(c):
        scalars = _Scalars(*(scalars_ref[c, i] for i in range(len(_Scalars._fields))))
        thresholds, phase_weights = (rows_ref[c, i, :][None] for i in range(2))
        transform = functools.partial(_transform, basis=basis, precision=precision)

        def terms(image):
            x, y = (transform(_of_channel(colors, scalars)) for colors in (image, reference))
            difference, phase = _terms(x, y, thresholds, phase_weights, scalars, options)
            return jnp.where(differs, difference, 0.0), jnp.where(differs, phase, 0.0)

        return scalars, terms

    return _Tile(image, at, valid, channel)


def _of_channel(colors, scalars):
    """Y, Cb, Cr or grey of pixels."""
    if len(colors) == 1:
        return colors[0]
    red, green, blue = colors
    of_colors = scalars.red * (red - green) + scalars.blue * (blue - green)
    return of_colors + scalars.luma * green + scalars.offset


def _transform(pixels, basis, precision):
    """`transform_blocks`, for each part of the basis."""
    is_first = jax.lax.broadcasted_iota(jnp.int32, pixels.shape, 1) == 0
    corner = jax.lax.stop_gradient(_first(pixels))
    parts = [jnp.dot(pixels - corner, part, precision=precision) for part in basis]
    dc_of_ones = 1 if len(basis) == 2 else BLOCK_SIZE
    parts[0] = parts[0] + jnp.where(is_first, dc_of_ones * corner, 0.0)
    return parts


def _first(x):
    """The first column: arrays in a kernel cannot be cut."""
    is_first = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1) == 0
    return jnp.sum(jnp.where(is_first, x, 0.0), 1, keepdims=True)


def _terms(x, y, thresholds, phase_weights, scalars, options):
    """`formula.Terms` of one channel, from one part of the coefficients (DCT) or two (DFT)."""
    if len(x) == 2:
        (x_re, x_im), (y_re, y_im) = x, y
        c_x, c_y = (jnp.sqrt((re + EPSILON) ** 2 + (im + EPSILON) ** 2) for re, im in (x, y))
        angle = angle_between(x_re + EPSILON, x_im, y_re + EPSILON, y_im)
        phase = phase_weights * fade_out(angle, x_re, x_im, y_re, y_im, options.phase_floor)
    else:
        (c_x,), (c_y,) = x, y
        phase = jnp.zeros_like(c_x)
    t_l = luminance_masking(  # eq. 5
        thresholds,
        jnp.maximum(_first(c_y), 0),
        scalars.mean_brightness,
        scalars.luminance_exponent,
        floor=options.luminance_floor,
    )
    t_l = jnp.maximum(t_l, SMALLEST_THRESHOLD)
    s = contrast_masking(t_l, jnp.abs(c_y), scalars.contrast_exponent)  # eq. 6, 7
    return (c_x - c_y) / s, phase
