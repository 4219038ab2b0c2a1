"""Tests of the elementwise flows: their formulas and their adaptation to data."""

import numpy as np
import pytest
from keras import ops
from tools import array, normal

from echo_keras.layers import Chain, Scale, Shift

adaptable = pytest.mark.parametrize("make", [Scale, Shift, lambda: Chain([Scale()])])


@pytest.mark.core
def test_formulas():
    x, parameter = normal(6, 3), normal(3, seed=1)
    for flow, y, log_det in (
        (Scale(), x * np.exp(parameter), parameter.sum()),
        (Shift(), x + parameter, 0.0),
    ):
        flow.build((None, 3))
        flow.set_weights([parameter])
        found, found_log_det = flow.transform(x)
        np.testing.assert_allclose(array(found), y, rtol=1e-6)
        np.testing.assert_allclose(array(found_log_det), np.full(6, log_det), rtol=1e-6)


@pytest.mark.core
def test_adaptation_standardizes():
    z = 100.0 + normal(300, 3) * [0.1, 1.0, 10.0]
    scale, shift = Scale(), Shift()
    for factor in (1, 2):  # and a built layer, anew
        scale.adapt(factor * z)
        expected = np.log(factor * z.std(0))
        np.testing.assert_allclose(array(scale.log_scale), expected, rtol=1e-5)
    shift.adapt(z)
    np.testing.assert_allclose(array(shift.shift), z.mean(0), rtol=1e-6)
    shifted = array(ops.mean(shift.inverse(z)[0], axis=0))
    np.testing.assert_allclose(shifted, np.zeros(3), atol=1e-3)


@adaptable
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_data_that_are_not_finite_raise(make, bad):
    z = np.arange(8.0).reshape(4, 2)
    z[2, 1] = bad
    with pytest.raises(
        ValueError, match=r"NaN or infinity. Received: .* with 1 values"
    ):
        make().adapt(z)


@adaptable
@pytest.mark.parametrize("shape", [(3,), (1, 2), (0, 2), (3, 0), (3, 2, 1)])
def test_data_of_another_shape_raise(make, shape):
    with pytest.raises(ValueError, match=r"shape \(n, d\), n >= 2.*Received: shape \("):
        make().adapt(np.arange(float(np.prod(shape))).reshape(shape))


@adaptable
def test_data_of_another_width_raise(make):
    flow = make()
    flow.build((None, 2))
    with pytest.raises(ValueError, match=r"built for 2 dimensions.*shape \(4, 3\)"):
        flow.adapt(normal(4, 3))


def test_constant_dimensions_have_no_scale():
    z = normal(5, 4)
    z[:, 1], z[:, 3] = 0.1, 7.0
    with pytest.raises(ValueError, match=r"Received: dimensions \[1, 3\] constant"):
        Scale().adapt(z)
