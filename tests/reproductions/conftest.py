"""The scripts import each other from their own folder, as when they are run."""

import pathlib
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "reproductions"
sys.path.insert(0, str(SCRIPTS))


@pytest.fixture(scope="session")
def call():
    """Runs a script's `main` as the command line would: call(module, *arguments)."""

    def run(script, *arguments):
        with flagsaver.flagsaver():
            flags.FLAGS([script.__name__, *map(str, arguments)])
            script.main([script.__name__])

    return run
