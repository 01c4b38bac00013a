"""Data sets of human judgements, and photographs and distortions to make some.

They need the extra `experiments`, which the losses do not.
"""

from watson_jax.datasets._bapps_readers import load_bapps as load_bapps
from watson_jax.datasets._bapps_readers import load_bapps_jnd as load_bapps_jnd
from watson_jax.datasets._bapps_readers import load_bapps_jnd_tfds as load_bapps_jnd_tfds
from watson_jax.datasets._bapps_readers import load_bapps_tfds as load_bapps_tfds
from watson_jax.datasets._jnd_data import JndData as JndData
from watson_jax.datasets._score_data import ScoreData as ScoreData
from watson_jax.datasets._two_afc_data import TwoAfcData as TwoAfcData
from watson_jax.datasets.csv_files import load_scores_csv as load_scores_csv
from watson_jax.datasets.csv_files import load_triplets_csv as load_triplets_csv
from watson_jax.datasets.distortions import DISTORTION_TYPES as DISTORTION_TYPES
from watson_jax.datasets.distortions import distort as distort
from watson_jax.datasets.photos import photographs as photographs
from watson_jax.datasets.photos_2afc import load_photos_2afc as load_photos_2afc
