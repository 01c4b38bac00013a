"""Perceptual losses based on Watson's model of human vision, in JAX.

Images are float arrays `[..., height, width, channels]` in [0, 1]; the distorted image comes first,
the reference second; a loss returns one value for each pair.
"""

from watson_jax import two_afc as two_afc
from watson_jax._checks import RangeWarning as RangeWarning
from watson_jax._get_loss import Loss as Loss
from watson_jax._get_loss import get_loss as get_loss
from watson_jax._params_io import load_params as load_params
from watson_jax._params_io import save_params as save_params
from watson_jax._registry import list_losses as list_losses
from watson_jax._registry import loss_info as loss_info
from watson_jax._version import __version__ as __version__
from watson_jax.losses import AdaptiveParams as AdaptiveParams
from watson_jax.losses import LossSpec as LossSpec
from watson_jax.losses import LpipsFeatures as LpipsFeatures
from watson_jax.losses import LpipsParams as LpipsParams
from watson_jax.losses import WatsonDctParams as WatsonDctParams
from watson_jax.losses import WatsonDftParams as WatsonDftParams
from watson_jax.losses import adaptive as adaptive
from watson_jax.losses import contrast_masking as contrast_masking
from watson_jax.losses import l1 as l1
from watson_jax.losses import l2 as l2
from watson_jax.losses import lpips as lpips
from watson_jax.losses import lpips_features as lpips_features
from watson_jax.losses import lpips_from_features as lpips_from_features
from watson_jax.losses import lpips_params_from_torch as lpips_params_from_torch
from watson_jax.losses import luminance_masking as luminance_masking
from watson_jax.losses import mae as mae
from watson_jax.losses import ms_ssim as ms_ssim
from watson_jax.losses import mse as mse
from watson_jax.losses import p_norm as p_norm
from watson_jax.losses import phase_distance as phase_distance
from watson_jax.losses import smooth_maximum as smooth_maximum
from watson_jax.losses import ssim as ssim
from watson_jax.losses import ssim_loss as ssim_loss
from watson_jax.losses import watson_dct as watson_dct
from watson_jax.losses import watson_dct_map as watson_dct_map
from watson_jax.losses import watson_dft as watson_dft
from watson_jax.losses import watson_dft_map as watson_dft_map
from watson_jax.transforms import block_dct as block_dct
from watson_jax.transforms import block_dft as block_dft
from watson_jax.transforms import grid_shift as grid_shift
from watson_jax.transforms import inverse_block_dct as inverse_block_dct
from watson_jax.transforms import inverse_block_dft as inverse_block_dft
from watson_jax.transforms import merge_blocks as merge_blocks
from watson_jax.transforms import pad_to_blocks as pad_to_blocks
from watson_jax.transforms import random_grid_shift as random_grid_shift
from watson_jax.transforms import rgb_to_ycbcr as rgb_to_ycbcr
from watson_jax.transforms import split_blocks as split_blocks
from watson_jax.transforms import ycbcr_to_rgb as ycbcr_to_rgb
from watson_jax.weights import CheckpointError as CheckpointError
from watson_jax.weights import DownloadError as DownloadError
