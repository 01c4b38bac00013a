"""Published files of weights: where they are, and how they come onto this machine."""

import dataclasses
import difflib
import hashlib
import importlib.util
import os
import pathlib
import time

from watson_jax.files import atomic_write, cache_folder, import_pooch
from watson_jax.weights._errors import CheckpointError, DownloadError

_TRUST = "WATSON_JAX_TRUST_WEIGHTS_DIR"
_ATTEMPTS = 3
_SECONDS_BETWEEN_ATTEMPTS = 1.0


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A file on the network.

    Attributes:
      url: where it is, under a name that does not move (a commit, not a branch).
      sha256: its SHA-256, or the first 8 or more hexadecimal digits where no more are published.
    """

    url: str
    sha256: str

    def __post_init__(self):
        if not 8 <= len(self.sha256) <= 64 or not set(self.sha256) <= set("0123456789abcdef"):
            raise ValueError(
                f"`sha256` must be 8 to 64 lower-case hexadecimal digits, got {self.sha256!r}."
            )


# Czolbe, Krause, Cox, Igel, "A Loss Function for Generative Neural Networks Based on Watson's
# Perceptual Model", NeurIPS 2020: the weights that the authors published.
_WATSON_FOLDER = (
    "https://raw.githubusercontent.com/SteffenCzolbe/PerceptualSimilarity/"
    "3729dd1fc7e7082c0c66f7dc74d119a78948cb17/src/loss/weights"
)
_WATSON_SHA256 = {
    "gray_adaptive": "db9673847841ebdfa130f9d861e6e8a27426cc4f88e5f8b702639eda7a089667",
    "gray_pnet_lin_squeeze": "09edfe8565911f6c275646e1a5a5a04a17997e8175bb79bbc10c6ca3e87e602a",
    "gray_pnet_lin_vgg": "bbf8ea727bac61aaaefba7fae63a10547c03d4cd5b81a7ba05d8003a1ca96788",
    "gray_watson_dct": "6401e9d3a430ac5dac691f93f1b9b61562ce13457a26b4dcb87eea39c5ea7ff4",
    "gray_watson_fft": "74fda350525e4660671bc957944d6e9773b3989effc5aa9d2b73eccd5943584e",
    "rgb_adaptive": "3b2d5d28b8468f5e1d119f1fa709199b6c645dc7f58538d939ebc27287fb95d4",
    "rgb_pnet_lin_squeeze": "7f4c84e909231e6eb253f55f8484e5895c2044178fe3316912ef4ebd50dc7b14",
    "rgb_pnet_lin_vgg": "df4bad76bf9d8bca8466f4e34adc12289dbce25c6e040cba3a5152c24cdf3682",
    "rgb_watson_dct": "bde40e0bc1912060da45b4487df660450ba91fa44c031f22a144c661d99488ef",
    "rgb_watson_fft": "98386c0e0841fc346ab4c7d296788ed0af81f2ca8866a885be4405d03321a717",
}

# Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a
# Perceptual Metric", CVPR 2018: the linear weights of LPIPS, version 0.1.
_LPIPS_FOLDER = (
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/"
    "082bb24f84c091ea94de2867d34c4544f68e0963/lpips/weights/v0.1"
)
_LPIPS_SHA256 = {
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "squeeze": "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}

# The networks under LPIPS, trained on ImageNet, as torchvision publishes them: of the SHA-256, the first
# eight digits, in the name.
_TORCHVISION_FOLDER = "https://download.pytorch.org/models"
_TORCHVISION_NAMES = (
    "alexnet-owt-7be5be79.pth",
    "squeezenet1_1-b8a52dc0.pth",
    "vgg16-397923af.pth",
)

PUBLISHED: dict[str, PublishedFile] = (
    {
        f"{name}_trial0.pth": PublishedFile(f"{_WATSON_FOLDER}/{name}_trial0.pth", sha256)
        for name, sha256 in _WATSON_SHA256.items()
    }
    | {
        f"lpips_v0.1/{name}.pth": PublishedFile(f"{_LPIPS_FOLDER}/{name}.pth", sha256)
        for name, sha256 in _LPIPS_SHA256.items()
    }
    | {
        name: PublishedFile(f"{_TORCHVISION_FOLDER}/{name}", name.removesuffix(".pth")[-8:])
        for name in _TORCHVISION_NAMES
    }
)


def fetch(name: str, *, instead: str = "") -> pathlib.Path:
    """Returns the path of a published file on this machine, downloading it if need be.

    Looks in the folder that the environment variable `WATSON_JAX_WEIGHTS_DIR` names, then in the
    cache (`WATSON_JAX_CACHE`, by default the user's cache folder), then at the file's address. The
    file's SHA-256 is checked every time, wherever it was found. `WATSON_JAX_TRUST_WEIGHTS_DIR=1` turns
    the check off for files in `WATSON_JAX_WEIGHTS_DIR`: for copies that you have saved again yourself.

    Args:
      name: a key of `PUBLISHED`, such as `"rgb_watson_fft_trial0.pth"`.
      instead: what else one can do, as a clause of the error's sentence.

    Returns:
      The path of a file whose content is the published one, or the trusted one.

    Raises:
      ValueError: if there is no such published file.
      CheckpointError: if the file in `WATSON_JAX_WEIGHTS_DIR` is not the published one.
      DownloadError: if the file is not on this machine and cannot be downloaded or cached.
    """
    if name not in PUBLISHED:
        nearest = difflib.get_close_matches(name, PUBLISHED, n=1, cutoff=0) or ["nothing"]
        raise ValueError(
            f"`name` must be a published file, got {name!r}; nearest is {nearest[0]!r}."
        )
    published = PUBLISHED[name]
    if folder := os.environ.get("WATSON_JAX_WEIGHTS_DIR"):
        local = pathlib.Path(folder, name).expanduser()
        if local.exists():
            if os.environ.get(_TRUST) == "1":
                return local
            if problem := _mismatch(local, published):
                raise CheckpointError(
                    f"{local} is not the published file: {problem}; replace it by {published.url}, "
                    f"delete it, or set {_TRUST}=1 if you trust it{_also(instead)}."
                )
            return local
    cached = cache_folder() / name
    # A broken entry (a full disk, a stray edit) is simply downloaded again.
    if not cached.exists() or _mismatch(cached, published):
        _download(name, published, cached, instead)
    return cached


def _mismatch(path: pathlib.Path, published: PublishedFile) -> str:
    """Says how the content of `path` differs from the published one; empty if it does not."""
    with open(path, "rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual.startswith(published.sha256):
        return ""
    return f"expected SHA-256 {published.sha256}, got {actual}"


class _WrongContentError(OSError):
    """The server sent something else than the published file."""


def _also(instead: str) -> str:
    return f", or {instead}" if instead else ""


def _download(name: str, published: PublishedFile, path: pathlib.Path, instead: str) -> None:
    pooch = import_pooch()
    # `pooch.create` and `pooch.retrieve` do the same but for three things: they know no shortened
    # hashes, their files cannot be read by other users of a shared cache, and they do not say which
    # error was the last one.
    has_progress = importlib.util.find_spec("tqdm") is not None
    download = pooch.HTTPDownloader(progressbar=has_progress, chunk_size=2**16)
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                download(published.url, file, None)
                file.flush()
                if problem := _mismatch(pathlib.Path(file.name), published):
                    raise _WrongContentError(problem)
            return
        except OSError as error:  # which is what requests raises, too
            problem = _describe(error)
            if error.strerror:  # from this machine's disk: the network is not at fault
                break
    if not path.exists():
        raise DownloadError(
            f"Cannot download {name} ({problem}): fetch {published.url} by hand and save it as {path}, "
            f"or as {name} in a folder that the environment variable WATSON_JAX_WEIGHTS_DIR names"
            f"{_also(instead)}."
        )
    raise DownloadError(
        f"Cannot download {name} ({problem}), and {path} is not the published file "
        f"({_mismatch(path, published)}): fetch {published.url} by hand in its place, or move the file "
        f"to {name} in a folder that WATSON_JAX_WEIGHTS_DIR names and set {_TRUST}=1 if you trust it"
        f"{_also(instead)}."
    )


def _describe(error: OSError) -> str:
    if isinstance(error, _WrongContentError):
        return str(error)
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code}"
    return error.strerror or f"no lasting connection, {type(error).__name__}"  # not requests' essay
