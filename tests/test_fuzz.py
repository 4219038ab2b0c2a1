"""What is public, called with what it was not made for, ends well or in a sentence."""

import collections

import fuzzing
import numpy as np
import pytest

CALLS = 260


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Texts are taken for paths: files may be written."""
    monkeypatch.chdir(tmp_path)


def seeded(calls, count):
    """So many calls, the same ones in every run, from all over the list."""
    order = np.random.RandomState(1).permutation(len(calls))
    return [calls[i] for i in order[:count]]


def said(what, parameter, label, end, text):
    argument = "" if parameter is None else parameter.name
    return f"{what}({argument}={label}): {end}, {text:.200}"


@pytest.mark.parametrize("calls", [fuzzing.calls_of_arguments, fuzzing.calls_of_layers])
def test_calls_end_in_a_result_or_a_sentence(calls):
    calls, wrong = list(calls()), []
    share = CALLS if len(calls) > 5000 else CALLS // 4
    ends = collections.Counter()
    for what, parameter, label, value, call in seeded(calls, share):
        end, text = fuzzing.end_of(call, parameter, value)
        ends[end] += 1
        if end not in fuzzing.FINE:
            wrong.append(said(what, parameter, label, end, text))
    assert not wrong, "\n".join(wrong)
    # The harness itself is of use only while it gets through to both.
    assert ends["result"] > 10 and ends["sentence"] > 5


def test_the_harness_tells_ends_apart():
    def raises(error):
        raise error

    ends = {
        "result": lambda: 1.0,
        "NaN": lambda: {"a": [np.array([1.0, np.nan])]},
        "obscure": lambda: raises(AttributeError("no attribute 'built'")),
        "NumPy's warning": lambda: np.log(np.zeros(1)),
    }
    for end, call in ends.items():
        assert fuzzing.end_of(call)[0] == end
    # A ValueError of Python's own, raised below a file that is not ours.
    assert fuzzing.end_of(lambda: int("a"))[0] == "obscure"


def test_every_public_name_is_called():
    called = {what for what, *_ in fuzzing.calls_of_arguments()}
    for module, name, function in fuzzing.public():
        if fuzzing.takes_arguments(function):
            assert f"{module}.{name}" in called
