"""The gate of a unit as a function of beta."""

import numpy as np
import pytest
from keras import ops
from tools import array

from echo_keras.layers import RateGate

pytestmark = pytest.mark.core

H = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")
BETAS = np.array([0.1, 1.0, 2.0, 10.0], "float32")[:, None]


def gate(axis=-1, **arguments):
    layer = RateGate(axis, **arguments)
    layer(H if arguments else [H, BETAS])
    units = H.shape[axis]
    layer.a.assign(np.linspace(-1, 1, units))
    layer.b.assign(np.linspace(0.5, -0.5, units))
    return layer


def expected(axis, betas):
    units = H.shape[axis]
    x = np.linspace(-1, 1, units) * np.log(betas) + np.linspace(0.5, -0.5, units)
    x = 5 * x
    scale = 2 / (1 + np.exp(-x))  # (rows, units)
    shape = [len(scale), 1, 1]
    shape[axis] = units
    return H * scale.reshape(shape)


@pytest.mark.parametrize("axis", [-1, 1, 2, -2])
def test_closed_form(axis):
    found = array(gate(axis)([H, BETAS]))
    np.testing.assert_allclose(found, expected(axis, BETAS), rtol=1e-5)


def test_one_beta_serves_the_whole_batch():
    found = array(gate()([H, BETAS[2:3]]))
    np.testing.assert_allclose(found, expected(-1, BETAS[2:3]), rtol=1e-5)


def test_a_gate_with_a_beta_of_its_own_stands_still():
    found = array(gate(beta=2.0)(H))
    np.testing.assert_allclose(found, expected(-1, BETAS[2:3]), rtol=1e-5)


def test_it_begins_at_one_and_stays_within_two():
    np.testing.assert_array_equal(array(RateGate()([H, BETAS])), H)
    layer = gate()
    layer.a.assign([50.0, -50.0])
    scale = array(layer.scale(ops.convert_to_tensor(BETAS)))
    np.testing.assert_allclose(scale[0], [0.0, 2.0], atol=1e-6)
    np.testing.assert_allclose(scale[3], [2.0, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    "inputs, message",
    [
        (H, r"must be \[h, beta\]"),
        ([H, H], r"beta \(batch, 1\)"),
        ([H], r"must be \[h, beta\]"),
    ],
)
def test_errors(inputs, message):
    with pytest.raises(ValueError, match=message):
        RateGate()(inputs)


def test_the_axis_of_the_batch_is_none_of_units():
    for axis in (0, -3, 3):
        with pytest.raises(ValueError, match="known number of units"):
            RateGate(axis)([H, BETAS])
