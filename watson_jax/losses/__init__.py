"""Losses as pure functions, their parameters, and the stages of which they consist."""

from watson_jax.losses._adaptive.loss import adaptive as adaptive
from watson_jax.losses._adaptive.params import AdaptiveParams as AdaptiveParams
from watson_jax.losses._lpips.loss import LpipsFeatures as LpipsFeatures
from watson_jax.losses._lpips.loss import LpipsParams as LpipsParams
from watson_jax.losses._lpips.loss import lpips as lpips
from watson_jax.losses._lpips.loss import lpips_features as lpips_features
from watson_jax.losses._lpips.loss import lpips_from_features as lpips_from_features
from watson_jax.losses._lpips.spec import lpips_params_from_torch as lpips_params_from_torch
from watson_jax.losses._pixel import l1 as l1
from watson_jax.losses._pixel import l2 as l2
from watson_jax.losses._spec import LossSpec as LossSpec
from watson_jax.losses._ssim import ms_ssim as ms_ssim
from watson_jax.losses._ssim import ssim as ssim
from watson_jax.losses._watson.api import watson_dct as watson_dct
from watson_jax.losses._watson.api import watson_dct_map as watson_dct_map
from watson_jax.losses._watson.api import watson_dft as watson_dft
from watson_jax.losses._watson.api import watson_dft_map as watson_dft_map
from watson_jax.losses._watson.params import WatsonDctParams as WatsonDctParams
from watson_jax.losses._watson.params import WatsonDftParams as WatsonDftParams
from watson_jax.losses._watson.params import check_floor as check_floor
from watson_jax.losses._watson.stages import contrast_masking as contrast_masking
from watson_jax.losses._watson.stages import luminance_masking as luminance_masking
from watson_jax.losses._watson.stages import p_norm as p_norm
from watson_jax.losses._watson.stages import phase_distance as phase_distance
from watson_jax.losses._watson.stages import smooth_maximum as smooth_maximum

# The field's names for the same functions.
mae, mse, ssim_loss = l1, l2, ssim
