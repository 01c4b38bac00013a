"""The old name of `watson_jax.weights`."""

import warnings
from typing import Any

from watson_jax import weights


def __getattr__(name: str) -> Any:
    value = getattr(weights, name)
    message = "`watson_jax.checkpoints` is called `watson_jax.weights` now; import that."
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return value
