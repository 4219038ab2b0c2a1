"""Tests of chains of flows: order, context, adaptation."""

import numpy as np
import pytest
from keras import layers
from tools import array, normal, randomize

from echo_keras.layers import Chain, Coupling, MAFBlock, Permutation, Scale, Shift

pytestmark = pytest.mark.core

D, CONTEXT = 5, 2
SMALL = {"hidden": (9, 8), "activation": "tanh"}


@pytest.mark.parametrize("context", [False, True])
def test_chain_applies_its_flows_in_order(context):
    takers = MAFBlock(steps=1, mean_only=False, **SMALL), Coupling(**SMALL)
    chain = Chain([takers[0], Permutation("swap"), takers[1], Scale(), Shift()])
    chain.build([(None, D), (None, CONTEXT)] if context else (None, D))
    randomize(chain)
    x, condition = normal(6, D), normal(6, CONTEXT) if context else None
    y, total = x, 0.0
    for flow in chain.flows:
        assert flow.takes_context == (flow in takers)
        y, log_det = flow.transform(y, condition if flow in takers else None)
        total = total + array(log_det)
    found, log_det = chain.transform(x, condition)
    np.testing.assert_array_equal(array(found), array(y))
    np.testing.assert_allclose(array(log_det), total, atol=1e-6)
    assert chain.takes_context
    if context:
        # All dimensions that the coupling changes move with the context.
        moved = array(chain.transform(x, condition + 1.0)[0]) != array(found)
        assert moved.any(axis=0).sum() >= D // 2


def data(n=300, d=D):
    """Correlated data of means and standard deviations far from 0 and 1."""
    generator = np.random.RandomState(0)
    z = generator.normal(size=(n, d)) @ generator.normal(size=(d, d))
    return 100.0 + z * 10.0 ** np.arange(-2, d - 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [Shift(), Scale()],
        lambda: [Coupling((4,)), Permutation(), Scale(), Shift()],
        # At the other end, with flows between it and the data.
        lambda: [Scale(), Shift(), Permutation(), Scale()],
        lambda: [Permutation(), Chain([Scale(), Shift()])],
        # The data come through a coupling that is not the identity.
        lambda: [Scale(), Shift(), built(Coupling(**SMALL))],
    ],
)
def test_chain_adapts_to_standard_data(make):
    chain, z = Chain(make()), data()[:, ::-1] / 10
    chain.adapt(z)
    x = array(chain.inverse(z)[0])
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(x.std(0), 1, rtol=1e-3)


def built(flow):
    flow.build((None, D))
    return randomize(flow)


def test_a_chain_without_scale_and_shift_adapts_to_nothing():
    flow = built(Coupling(**SMALL))
    before = flow.get_weights()
    Chain([flow]).adapt(data())
    for old, new in zip(before, flow.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("flows", [[], None, Scale(), [layers.Dense(2)], [Scale]])
def test_a_chain_of_something_else_raises(flows):
    with pytest.raises(ValueError, match="at least one Flow. Received: flows="):
        Chain(flows)


def test_a_flow_twice_in_a_chain_raises():
    flow = Scale()
    with pytest.raises(ValueError, match="flows must be different layers"):
        Chain([flow, Permutation(), flow])
