"""Settings and fixtures for every test. The environment is set before Keras loads."""

import functools
import os
import pathlib
import sys
import warnings

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["MPLBACKEND"] = "Agg"  # also for the scripts that tests start

import keras  # noqa: E402
import pytest  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadgroup`, files whose fixtures train models stay on one worker.

    They begin first; all other tests go one by one to whichever worker is free. On JAX
    every file stays together: its tests share what the process has compiled.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    @functools.cache
    def together(file):
        whole = keras.backend.backend() == "jax"
        return whole or 'scope="module"' in (config.rootpath / file).read_text()

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return file if together(file) else nodeid

    return Scheduling(config, log)


def _reset_keras():
    # free_memory=False leaves out a garbage collection of 0.3 s per test.
    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True)
def fresh_keras():
    """Every test starts from seed 0, float32 and an empty Keras session."""
    _reset_keras()
    keras.utils.set_random_seed(0)
    yield
    _reset_keras()
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def repository():
    """The root of the checkout, as a path."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data():
    """The folder with the real data sets; the test is skipped where there is none."""
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("real data not found at ../shared/data")
    return path


@pytest.fixture
def run_layer_test():
    """Keras's own layer contract, called as `run_layer_test(layer_cls, init_kwargs,
    input_shape=..., expected_output_shape=..., ...)`.

    Keras ships it under a private path; this is the one place that touches it.
    """
    from keras.src.testing.test_case import TestCase

    filtering = keras.config.is_traceback_filtering_enabled()
    case = TestCase()
    case.setUp()

    def run(*args, **kwargs):
        with warnings.catch_warnings():
            # Its training step trains the layer alone, which may have no weights.
            warnings.filterwarnings("ignore", message="The model does not have any")
            case.run_layer_test(*args, **kwargs)

    yield run
    case.doCleanups()
    if filtering:
        keras.config.enable_traceback_filtering()
