"""What all tests share: strict promotion rules, quick compilation, float64 on request, recorded data."""

import gc
import os
import pathlib
import tempfile

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Tests mostly compile. Without LLVM's optimization, which changes no more than rounding, they take a
# quarter less; programs that they start inherit it. What losses promise at the limits of float32, and
# what computes more than it compiles, is compiled as users do.
_QUICKLY = "jax_disable_most_optimizations"
_AS_USERS_DO = (
    "tests/losses/test_contract.py",
    "tests/losses/test_watson.py::test_the_public_example_triplet",
    "tests/models/test_vae.py",
)
os.environ[_QUICKLY.upper()] = "1"

# Most programs are compiled by several tests and processes: the first one leaves them for the others.
_CACHE = "jax_compilation_cache_dir"
if _CACHE.upper() not in os.environ:
    _folder = tempfile.TemporaryDirectory(prefix="watson-jax-tests-")
    os.environ[_CACHE.upper()] = _folder.name  # for workers and programs that are started
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
jax.config.update(_CACHE, os.environ[_CACHE.upper()])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


# Tracing makes many objects but few cycles. Looking for cycles as often as usual takes a twentieth of
# the tests' time.
gc.set_threshold(50_000, 20, 100)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    quickly = not item.nodeid.startswith(_AS_USERS_DO)
    if jax.config.read(_QUICKLY) != quickly:
        jax.config.update(_QUICKLY, quickly)
        jax.clear_caches()


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items):
    """`@pytest.mark.slow(except_for="x")` leaves the cases with x in their name to the fast suite."""
    for item in items:
        for mark in list(item.iter_markers("slow")):
            if "except_for" in mark.kwargs and mark.kwargs["except_for"] in item.name:
                item.own_markers.remove(mark)


@pytest.fixture
def x64():
    """Lets a test compute in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def reference_folder(monkeypatch):
    """The folder of recorded values and published weights, named by WATSON_JAX_REFERENCE."""
    folder = os.environ.get("WATSON_JAX_REFERENCE")
    if not folder:
        pytest.skip("WATSON_JAX_REFERENCE names no folder of recorded values")
    monkeypatch.setenv("WATSON_JAX_WEIGHTS_DIR", str(pathlib.Path(folder, "weights")))
    return pathlib.Path(folder)


@pytest.fixture
def goldens(reference_folder):
    """Opens a file of recorded values by its name."""

    def open_file(name):
        with np.load(reference_folder / "goldens" / f"{name}.npz") as file:
            return dict(file)

    return open_file
