"""Settings and fixtures for every test. The environment is set before Keras loads."""

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """With `--dist loadgroup`, tests that share a module's fixture share a worker.

    Those fixtures train models; all other tests go to whichever worker is free.
    """
    for item in items:
        fixtures = getattr(item, "_fixtureinfo", None)
        found = fixtures.name2fixturedefs.values() if fixtures else ()
        if any(definitions[-1].scope == "module" for definitions in found):
            item.add_marker(pytest.mark.xdist_group(str(item.path.name)))


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
