"""Objectives and training steps, as pure functions that `jax.jit` compiles."""

from watson_jax.training._vae import NonFiniteError as NonFiniteError
from watson_jax.training._vae import TrainState as TrainState
from watson_jax.training._vae import adam as adam
from watson_jax.training._vae import check_finite as check_finite
from watson_jax.training._vae import create_train_state as create_train_state
from watson_jax.training._vae import epoch_order as epoch_order
from watson_jax.training._vae import kl_divergence as kl_divergence
from watson_jax.training._vae import make_eval_step as make_eval_step
from watson_jax.training._vae import make_train_chunk as make_train_chunk
from watson_jax.training._vae import make_train_step as make_train_step
from watson_jax.training._vae import vae_terms as vae_terms
