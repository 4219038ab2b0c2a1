"""Tests of the affine coupling against NumPy in float64."""

import numpy as np
import pytest
from tools import array, normal, randomize

from echo_keras.layers import Coupling
from echo_keras.layers.flow import MAX_LOG_SCALE

pytestmark = pytest.mark.core

CONTEXT = 2
SMALL = {"hidden": (9, 8), "activation": "tanh"}


def built(flow, context=False, d=5, scale=0.5):
    flow.build([(None, d), (None, CONTEXT)] if context else (None, d))
    return randomize(flow, scale=scale)


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize(("d", "kept"), [(2, 1), (4, 2), (5, 3)])
def test_coupling_in_float64(d, kept, context):
    flow = built(Coupling(**SMALL), context, d)
    x, condition = normal(6, d), normal(6, CONTEXT, seed=1)
    h = x[:, :kept].astype("float64")
    h = np.concatenate([h, condition], 1) if context else h
    for layer in flow.hidden:
        h = np.tanh(h @ array(layer.kernel) + array(layer.bias))
    layer = flow.output_layer
    m, a = np.split(h @ array(layer.kernel) + array(layer.bias), 2, axis=1)
    a = MAX_LOG_SCALE * np.tanh(a / MAX_LOG_SCALE)
    y, log_det = flow.transform(x, condition if context else None)
    np.testing.assert_array_equal(array(y)[:, :kept], x[:, :kept])
    expected = x[:, kept:] * np.exp(a) + m
    np.testing.assert_allclose(array(y)[:, kept:], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(array(log_det), a.sum(1), rtol=1e-5, atol=1e-5)


def test_scales_stay_bounded():
    flow, x = built(Coupling(**SMALL), scale=100.0), normal(6, 5)
    _, log_det = flow.transform(x)
    assert 1.0 < np.abs(array(log_det)).max() <= MAX_LOG_SCALE * 2
    for method in (flow.transform, flow.inverse):
        assert all(np.isfinite(array(t)).all() for t in method(x))


def test_counts():
    # Table 5, CelebA: 32 of 64 dimensions in, shift and scale of the others out.
    assert built(Coupling(), d=64).count_params() == (
        (32 * 256 + 256) + 2 * (256 * 256 + 256) + (256 * 64 + 64)
    )
    alone, conditional = (built(Coupling(**SMALL), c) for c in (False, True))
    assert conditional.count_params() - alone.count_params() == CONTEXT * 9


@pytest.mark.parametrize("hidden", [(), 64, (8, 0), (2.5,)])
def test_bad_hidden_layers_raise(hidden):
    with pytest.raises(ValueError, match="hidden must be a list of integers >= 1"):
        Coupling(hidden)


def test_one_dimension_cannot_be_coupled():
    with pytest.raises(ValueError, match=r"at least 2 dimensions.*=\(None, 1\)"):
        Coupling().build((None, 1))
