"""Every example in a docstring runs, and every layer has one."""

import doctest
import importlib
import inspect
import pkgutil

import keras
import pytest
from tools import BACKEND, small_networks

import echo_keras

# Modules whose examples need an extra, and TensorFlow.
OPTIONAL = {"echo_keras.interop.tfp": "tensorflow_probability"}


def names():
    yield "echo_keras"
    for module in pkgutil.walk_packages(echo_keras.__path__, "echo_keras."):
        yield module.name
    # In a checkout they stand beside the package, which its path does not tell.
    layers = echo_keras.layers
    for module in pkgutil.iter_modules(layers.__path__, "echo_keras.layers."):
        yield module.name


def examples():
    """Every docstring with examples, by its full name."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in sorted(set(names())):
        for test in finder.find(importlib.import_module(name), name):
            if test.examples:
                yield test


EXAMPLES = {test.name: test for test in examples()}


def test_modules_are_found():
    found = {name.rpartition(".")[0] for name in EXAMPLES}
    assert {"echo_keras.losses", "echo_keras.layers.echo"} <= found
    assert {"echo_keras.objectives.rate", "echo_keras.metrics.novelty"} <= found


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name):
    """Each from seed 0, with a small `encoder` and `decoder` at hand."""
    test = EXAMPLES[name]
    module = ".".join(name.split(".")[:3])
    if module in OPTIONAL:
        if BACKEND != "tensorflow":
            pytest.skip(f"{module} needs TensorFlow")
        pytest.importorskip(OPTIONAL[module])
    encoder, decoder = small_networks()
    keras.utils.set_random_seed(0)
    names = {"encoder": encoder, "decoder": decoder}
    test.globs = {**names, **test.globs}
    failed, _ = doctest.DocTestRunner().run(test)
    assert not failed


@pytest.mark.parametrize("name", echo_keras.layers.__all__)
def test_public_layers_have_an_example(name):
    thing = getattr(echo_keras.layers, name)
    # Not inherited: inspect.getdoc would fall back on the base class.
    text = thing.__doc__ or ""
    assert text.strip()
    if inspect.signature(thing).parameters:
        assert "Example:" in text and ">>>" in text


def test_public_names_are_sorted_and_exist():
    names = echo_keras.layers.__all__
    assert names == sorted(names)
    assert all(hasattr(echo_keras.layers, name) for name in names)
