"""Every example in a docstring runs, and every layer has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import echo_keras
import echo_keras.layers

pytestmark = pytest.mark.core


def module_names():
    for package in (echo_keras, echo_keras.layers):
        yield package.__name__
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            yield module.name


# A set: in a checkout both packages find `layers`.
MODULES = sorted(set(module_names()))


def test_modules_are_found():
    assert {"echo_keras.losses", "echo_keras.layers.echo"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, report=True)
    assert result.failed == 0


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
