"""3×3 convolution with 16 products for 4 pixels in place of 36: Winograd's F(2×2, 3×3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), section 4: with the
matrices below, 2×2 pixels of the output are

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A

of the 3×3 kernel g and the 4×4 pixels d around them. Over many tiles and channels, each of the 16
entries of ⊙ is a matrix product. All is linear in g, so the gradient with respect to g is the transposes
of the same steps. Heights and widths are even; outside the image is zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

_B_T = (1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)
_G = (1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)
_A_T = (1, 1, 1, 0), (0, 1, -1, -1)

Matrix = Iterable[Sequence[float]]


def convolve(
    image: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "3 3 inputs outputs"],
) -> Float[Array, "batch height width outputs"]:
    """The convolution of images with a kernel."""
    tiles = _transformed_tiles(image)
    kernels = _both_axes(_G, kernel)
    products = [[tiles[i][j] @ kernels[i][j] for j in range(4)] for i in range(4)]
    pixels = _both_axes(_A_T, products)
    output = jnp.stack([jnp.stack(row, axis=3) for row in pixels], axis=2)
    return output.reshape(*image.shape[:3], -1)


def kernel_gradient(
    image: Float[Array, "batch height width inputs"],
    gradient: Float[Array, "batch height width outputs"],
) -> Float[Array, "3 3 inputs outputs"]:
    """The gradient of `sum(gradient * convolve(image, kernel))` with respect to the kernel."""
    pixels = [[gradient[:, i::2, j::2] for j in range(2)] for i in range(2)]
    products = _both_axes(zip(*_A_T, strict=True), pixels)
    tiles = _transformed_tiles(image)
    kernels = [
        [jnp.einsum("bhwi,bhwo->io", tiles[i][j], products[i][j]) for j in range(4)]
        for i in range(4)
    ]
    return jnp.stack([jnp.stack(row) for row in _both_axes(zip(*_G, strict=True), kernels)])


def _transformed_tiles(image: Array) -> list[list[Array]]:
    """Bᵀ d B of the overlapping 4×4 tiles, which are 2 pixels apart: 4×4 arrays over tiles."""
    height, width = image.shape[1:3]
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    tiles = [[padded[:, i : i + height : 2, j : j + width : 2] for j in range(4)] for i in range(4)]
    return _both_axes(_B_T, tiles)


def _both_axes(matrix: Matrix, grid: Iterable[Iterable[Array]]) -> list[list[Array]]:
    """`matrix @ grid @ matrix.T`, where the entries of the grid are arrays of any one shape."""
    rows = list(matrix)
    columns = [_product(rows, column) for column in zip(*grid, strict=True)]
    return [_product(rows, row) for row in zip(*columns, strict=True)]


def _product(matrix: Sequence[Sequence[float]], vector: Sequence[Array]) -> list[Array]:
    """`matrix @ vector`, without the zeros; entries of ±1 cost no multiplication."""
    terms = [[m * v for m, v in zip(row, vector, strict=True) if m] for row in matrix]
    return [sum(rest, start=first) for first, *rest in terms]
