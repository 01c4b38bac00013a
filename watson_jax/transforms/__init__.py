"""Image transforms below the losses: colour, blocks, their DCT and DFT, the grid's position."""

from watson_jax.transforms._blocks import merge_blocks as merge_blocks
from watson_jax.transforms._blocks import pad_to_blocks as pad_to_blocks
from watson_jax.transforms._blocks import split_blocks as split_blocks
from watson_jax.transforms._color import LUMA_WEIGHTS as LUMA_WEIGHTS
from watson_jax.transforms._color import rgb_to_ycbcr as rgb_to_ycbcr
from watson_jax.transforms._color import ycbcr_to_rgb as ycbcr_to_rgb
from watson_jax.transforms._dct import block_dct as block_dct
from watson_jax.transforms._dct import inverse_block_dct as inverse_block_dct
from watson_jax.transforms._dft import block_dft as block_dft
from watson_jax.transforms._dft import inverse_block_dft as inverse_block_dft
from watson_jax.transforms._grid_shift import grid_shift as grid_shift
from watson_jax.transforms._grid_shift import random_grid_shift as random_grid_shift
