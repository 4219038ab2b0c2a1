"""Tests of permutations: the orders, where they come from, and what they refuse."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import array, normal

from echo_keras.layers import Chain, Permutation, Scale


@pytest.mark.core
def test_permutations_move_dimensions():
    x = np.arange(10.0, 15.0)[None]
    for order, expected in (
        ("reverse", [14, 13, 12, 11, 10]),
        ("swap", [13, 14, 10, 11, 12]),
        ([2, 0, 1, 4, 3], [12, 10, 11, 14, 13]),
        (np.array([2, 0, 1, 4, 3]), [12, 10, 11, 14, 13]),
    ):
        flow = Permutation(order)
        assert array(flow.transform(x)[0]).tolist() == [expected]
        assert array(flow.inverse(np.float32([expected]))[0]).tolist() == x.tolist()


def orders(*flows):
    for flow in flows:
        flow.build((None, 10))
        np.testing.assert_array_equal(np.sort(flow.orders), range(10))
    return [flow.orders.tolist() for flow in flows]


def test_random_orders_come_from_the_seed():
    first, again, other = orders(*(Permutation("random", seed=s) for s in (1, 1, 2)))
    assert first == again != other
    # Without a seed, from one that is drawn and that a copy knows.
    flow = Permutation("random")
    copy = Permutation.from_config(flow.get_config())
    first, again, other = orders(flow, copy, Permutation("random"))
    assert first == again != other


@pytest.mark.parametrize("other", [{"seed": 2}, {"order": "reverse"}])
def test_weights_refuse_to_load_into_another_order(other, tmp_path):
    models = []
    for changed in ({}, {}, other):
        inputs = keras.Input((5,))
        flow = Permutation(**{"order": "random", "seed": 1, **changed})
        models.append(keras.Model(inputs, Chain([flow, Scale()])(inputs)))
    models[0].save_weights(tmp_path / "x.weights.h5")
    models[1].load_weights(tmp_path / "x.weights.h5")
    with pytest.raises(ValueError, match="must have the order and the seed"):
        models[2].load_weights(tmp_path / "x.weights.h5")


indices = st.lists(st.integers(-3, 8), max_size=6)


@settings(deadline=None)
@given(order=indices.filter(lambda x: not x or sorted(x) != list(range(len(x)))))
def test_orders_that_are_no_permutation_raise(order):
    with pytest.raises(
        ValueError, match="order must (hold each of the indices|be a list)"
    ):
        Permutation(order)


@pytest.mark.parametrize("order", [None, 3, (0.5, 1), [[1, 0]], "shuffle", "", ("a",)])
def test_other_orders_raise(order):
    with pytest.raises(ValueError, match="order must .* Received: order="):
        Permutation(order)


def test_an_order_of_another_length_raises():
    with pytest.raises(ValueError, match=r"each of its 3 indices. Rec.*\(6, 5\)"):
        Permutation([2, 0, 1]).transform(normal(6, 5))
