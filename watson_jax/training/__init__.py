"""Objectives and training steps, as pure functions that `jax.jit` compiles."""

from watson_jax.training._fittable import Fittable as Fittable
from watson_jax.training._fittable import fittable as fittable
from watson_jax.training._two_afc import Learned as Learned
from watson_jax.training._two_afc import Trials as Trials
from watson_jax.training._two_afc import Triplets as Triplets
from watson_jax.training._two_afc import constant_then_linear as constant_then_linear
from watson_jax.training._two_afc import make_fit_step as make_fit_step
from watson_jax.training._two_afc import make_scores as make_scores
from watson_jax.training._two_afc import start_trials as start_trials
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
from watson_jax.training._vae import merge_model as merge_model
from watson_jax.training._vae import vae_terms as vae_terms


def __getattr__(name: str) -> object:
    if name == "Records":  # its name up to 0.1
        import warnings

        message = "`training.Records` is called `training.Triplets` now."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return Triplets
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
