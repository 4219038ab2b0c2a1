"""Tests of the gated linear units: the formula and the counts."""

import numpy as np
import pytest
from tools import array

from echo_keras.layers import GatedConv2D, GatedConv2DTranspose, GatedDense

pytestmark = pytest.mark.core

CASES = [
    (GatedDense, {"units": 3}, (5, 4), (5, 3)),
    (GatedDense, {"units": 3}, (5, 2, 4), (5, 2, 3)),
    (GatedConv2D, {"filters": 3, "kernel_size": 3}, (2, 5, 5, 4), (2, 3, 3, 3)),
    (
        GatedConv2D,
        {"filters": 3, "kernel_size": (3, 2), "strides": 2, "padding": "same"},
        (2, 5, 6, 4),
        (2, 3, 3, 3),
    ),
    (
        GatedConv2DTranspose,
        {"filters": 3, "kernel_size": 5, "strides": 2, "padding": "same"},
        (2, 3, 4, 2),
        (2, 6, 8, 3),
    ),
]


def plain(layer):
    """Keras's own layer of twice the outputs, with the weights of a gated one."""
    kind = type(layer).__bases__[1]
    config = layer.get_config()
    outputs = "units" if "units" in config else "filters"
    twin = kind.from_config({**config, outputs: 2 * config[outputs]})
    return twin


@pytest.mark.parametrize("cls, arguments, shape, output", CASES)
def test_one_half_gates_the_other(cls, arguments, shape, output):
    x = np.random.RandomState(0).normal(size=shape).astype("float32")
    layer = cls(**arguments, bias_initializer="normal")
    found = array(layer(x))
    twin = plain(layer)
    twin.build(shape)
    twin.set_weights(layer.get_weights())
    a, b = np.split(array(twin(x)).astype("float64"), 2, axis=-1)
    assert found.shape == output
    np.testing.assert_allclose(found, a / (1 + np.exp(-b)), atol=1e-5)


def test_counts_are_those_of_two_layers():
    layer = GatedConv2D(8, 5)
    layer.build((None, 28, 28, 3))
    assert layer.count_params() == 2 * (5 * 5 * 3 * 8 + 8)
    dense = GatedDense(8)
    dense.build((None, 3))
    assert dense.count_params() == 2 * (3 * 8 + 8)


def test_bad_sizes_raise():
    with pytest.raises(ValueError):
        GatedDense(0)
    with pytest.raises(ValueError):
        GatedConv2D(0, 3)
