"""One checker of arguments: what it takes, what it refuses, and what it says."""

import math

import keras
import numpy as np
import pytest

from echo_keras.layers import StandardNormal, arguments


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_integers_are_pythons_and_numpys(value):
    found = arguments.integer("n", value, 1, 3)
    assert type(found) is int and found == 3


@pytest.mark.parametrize(
    "value", [None, True, np.True_, "3", 3.0, math.nan, math.inf, 0, 4, [3], 10**400]
)
def test_what_is_no_integer_in_range(value):
    with pytest.raises(ValueError, match=r"n must be an integer in \[1, 3\]\. Receiv"):
        arguments.integer("n", value, 1, 3)


def test_an_integer_has_a_largest_value():
    assert arguments.integer("n", 2**31 - 1) == 2**31 - 1
    with pytest.raises(
        ValueError, match=r"in \[1, 2147483647\]\. Received: n=21474836"
    ):
        arguments.integer("n", 2**31)
    with pytest.raises(
        ValueError, match="n must be an integer >= 1, or None. Received"
    ):
        arguments.integer("n", 0, optional=True)
    assert arguments.integer("n", None, optional=True) is None


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2)])
def test_numbers_are_pythons_and_numpys(value):
    found = arguments.number("x", value, low=2, below=3)
    assert type(found) is float and found == 2.0


@pytest.mark.parametrize(
    "value", [None, True, np.True_, "2", math.nan, math.inf, -math.inf, 3, 1.9, [2], 2j]
)
def test_what_is_no_number_in_range(value):
    with pytest.raises(ValueError, match=r"x must be a number in \[2, 3\)\. Received"):
        arguments.number("x", value, low=2, below=3)


@pytest.mark.parametrize(
    "bounds, wanted",
    [
        ({}, "a finite number"),
        ({"above": 0}, "a finite number > 0"),
        ({"low": 0}, "a finite number >= 0"),
        ({"above": 0, "high": 1}, r"a number in \(0, 1\]"),
        ({"low": 0, "optional": True}, "a finite number >= 0, or None"),
        ({"low": 0, "otherwise": ", or 'auto'"}, "a finite number >= 0, or 'auto'"),
    ],
)
def test_numbers_say_their_bounds(bounds, wanted):
    with pytest.raises(ValueError, match=f"^x must be {wanted}\\. Received: x='a'$"):
        arguments.number("x", "a", **bounds)
    with pytest.raises(ValueError, match="x must be"):  # infinite in float32
        arguments.number("x", 1e39, **bounds)


@pytest.mark.parametrize("value", ["False", "", 0, 1, 1.5, None, math.nan, []])
def test_flags_are_not_what_python_takes_for_true(value):
    assert arguments.flag("x", np.False_) is False and arguments.flag("x", True) is True
    with pytest.raises(ValueError, match="x must be True or False. Received: x="):
        arguments.flag("x", value)


@pytest.mark.parametrize("value", ["c", None, 1, ["a"], np.array(["a", "b"])])
def test_choices(value):
    assert arguments.choice("x", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match="x must be one of a, b. Received: x="):
        arguments.choice("x", value, ("a", "b"))


@pytest.mark.parametrize(
    "value", [None, 3, "3", [], [0], [1.5], [True], {3: 3}, [None]]
)
def test_lists_of_integers(value):
    assert arguments.integers("x", np.array([3, 4])) == (3, 4)
    with pytest.raises(ValueError, match="x must be a list of integers >= 1. Received"):
        arguments.integers("x", value)
    with pytest.raises(ValueError, match="x must be 2 integers >= 1. Received: x=.3,."):
        arguments.integers("x", (3,), length=2)


def test_layers_must_have_the_methods():
    prior = StandardNormal()
    needs = ("log_prob", "sample")
    assert arguments.layer("prior", prior, needs) is prior
    config = keras.saving.serialize_keras_object(prior)
    assert isinstance(arguments.layer("prior", config, needs), StandardNormal)
    assert arguments.layer("prior", None, needs, optional=True) is None
    for value in ("normal", keras.layers.Dense(2), StandardNormal, {}, 1.0):
        with pytest.raises(
            ValueError, match="a Keras layer with log_prob and sample. R"
        ):
            arguments.layer("prior", value, needs)


@pytest.mark.parametrize(
    "value, sentence",
    [
        (["a"], "x must be real numbers"),
        ([[1], [1, 2]], "x must be an array of shape"),
        (None, "x must be real numbers"),
        ([1j], "x must be real numbers"),
        (np.zeros((0, 3)), r"at least one number. Received: shape \(0, 3\)"),
        (np.zeros((2, 2)), r"of shape \(n,\), .* Received: shape \(2, 2\)"),
        ([1.0, math.nan], "x must be finite. Received: NaN or infinity"),
    ],
)
def test_arrays(value, sentence):
    assert arguments.array("x", [1, 2]).tolist() == [1, 2]
    with pytest.raises(ValueError, match=sentence):
        arguments.array("x", value, "(n,)", (1,))


def test_long_values_are_cut():
    with pytest.raises(ValueError) as error:
        arguments.integer("n", "a" * 1000)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("n", [None, -1, 0, 2.5, "2", True])
def test_sample_sizes(n):
    prior = StandardNormal(seed=1)
    with pytest.raises(ValueError, match="StandardNormal must be built"):
        prior.sample(2)
    prior.build((None, 3))
    assert prior.sample(np.int64(2)).shape == (2, 3)
    with pytest.raises(ValueError, match="n must be an integer >= 1. Received: n="):
        prior.sample(n)


def test_paths_of_another_kind(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for path, folder, kinds in (
        (file, True, ("folder", "file")),
        (tmp_path, False, ("file", "folder")),
    ):
        assert arguments.path("path", path) == path
        assert arguments.path("path", path, folder=not folder) == path
        sentence = "must be the path of a {}. Received: .*, which is a {}$"
        with pytest.raises(ValueError, match=sentence.format(*kinds)):
            arguments.path("path", path, folder=folder)
