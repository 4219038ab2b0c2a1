"""Data in batches: arrays, structures of arrays, and what already comes in batches."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echo_keras.metrics import default_batch_size, evenly_spaced, map_batches
from echo_keras.metrics.batching import with_standard_error


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 20), batch_size=st.integers(1, 25), shuffled=st.booleans())
def test_every_row_is_seen_once_and_put_back(n, batch_size, shuffled):
    seen = []
    order = np.random.RandomState(0).permutation(n) if shuffled else None

    def function(batch):
        seen.append(batch["a"])
        return {"twice": 2 * batch["a"], "sum": batch["a"][:, 0] + batch["b"]}

    x = {"a": np.arange(2 * n).reshape(n, 2), "b": np.arange(n)}
    found = map_batches(function, x, batch_size, order)
    np.testing.assert_array_equal(found["twice"], 2 * x["a"])
    np.testing.assert_array_equal(found["sum"], 3 * np.arange(n))
    assert [len(a) for a in seen[:-1]] == [batch_size] * (len(seen) - 1)
    expected = x["a"] if order is None else x["a"][order]
    np.testing.assert_array_equal(np.concatenate(seen), expected)


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return np.zeros((2, 3))


def test_batches_go_through_as_they_are():
    pieces = [np.zeros((2, 3)), np.ones((1, 3))]
    found = map_batches(lambda x: x[:, 0], iter(pieces))
    np.testing.assert_array_equal(found, [0, 0, 1])


@pytest.mark.parametrize(
    ("x", "arguments", "says"),
    [
        (np.zeros((0, 3)), {}, "at least one example"),
        ([np.zeros(3), np.zeros(4)], {}, "arrays of length 3, 4"),
        (np.float32(1), {}, "at least one example"),
        (np.zeros(3), {"batch_size": 0}, "batch_size must be an integer >= 1"),
        (np.zeros(3), {"batch_size": 1.5}, "Received: batch_size=1.5"),
        (iter([np.zeros(3)]), {"batch_size": 2}, "must be None for data that come in"),
        (iter([np.zeros(3)]), {"order": np.arange(3)}, "must be None for data that"),
        (iter([]), {}, "at least one batch. Received: none"),
        (3, {}, "x must be an array, a list or dict of arrays, or batches"),
        (Endless(), {}, "Received: Endless without num_batches"),
    ],
)
def test_other_data_raise(x, arguments, says):
    with pytest.raises(ValueError, match=says):
        map_batches(lambda x: x, x, **arguments)


def test_batches_are_smaller_where_examples_are_larger():
    shapes = [(), (28, 28, 1), (64, 64, 3), (1000, 1000, 3)]
    found = [default_batch_size(np.broadcast_to(0.0, (9, *s))) for s in shapes]
    assert found[0] == 1024 and found[-1] == 1 and found == sorted(found)[::-1]
    pair = default_batch_size({"a": np.zeros((9, 784)), "b": np.zeros((9, 784))})
    assert pair == default_batch_size(np.zeros((9, 1568)))


def test_evenly_spaced_examples_are_from_all_over_a_sorted_file():
    x = np.arange(100)
    np.testing.assert_array_equal(evenly_spaced(x, 5), [0, 25, 50, 74, 99])
    np.testing.assert_array_equal(evenly_spaced(x, 1000), x)


def test_standard_errors():
    values = np.random.RandomState(0).normal(size=50)
    found = with_standard_error("rate_bits", values)
    assert found == {
        "rate_bits": pytest.approx(values.mean()),
        "rate_se_bits": pytest.approx(values.std(ddof=1) / 50**0.5),
    }
    assert np.isnan(with_standard_error("rate", np.ones(1))["rate_se"])
