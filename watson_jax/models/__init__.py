"""Networks of the paper's experiments, as `flax.nnx` modules."""

from watson_jax.models._layers import upsample_twice as upsample_twice
from watson_jax.models._vae import CelebAVAE as CelebAVAE
from watson_jax.models._vae import MnistVAE as MnistVAE
from watson_jax.models._vae import VaeOutput as VaeOutput
