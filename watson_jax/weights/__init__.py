"""Files of parameters: reading, writing and fetching them."""

from watson_jax.weights._errors import CheckpointError as CheckpointError
from watson_jax.weights._errors import DownloadError as DownloadError
from watson_jax.weights._fetch import PUBLISHED as PUBLISHED
from watson_jax.weights._fetch import PublishedFile as PublishedFile
from watson_jax.weights._fetch import fetch as fetch
from watson_jax.weights._npz import is_npz as is_npz
from watson_jax.weights._npz import read_npz as read_npz
from watson_jax.weights._npz import write_npz as write_npz
from watson_jax.weights._torch import read_torch as read_torch
