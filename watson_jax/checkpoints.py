"""The old name of `watson_jax.weights`."""

import warnings

from watson_jax.weights import *  # noqa: F403

warnings.warn(
    "`watson_jax.checkpoints` is called `watson_jax.weights` now; import that.",
    DeprecationWarning,
    stacklevel=2,
)
