"""Networks of the paper's experiments, as `flax.nnx` modules."""

from watson_jax.models._vae import MnistVAE as MnistVAE
from watson_jax.models._vae import VaeOutput as VaeOutput
from watson_jax.models._vae import upsample_twice as upsample_twice
