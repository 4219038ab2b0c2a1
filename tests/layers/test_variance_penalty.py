"""Tests of the penalty on the summed variance of the code."""

import numpy as np
import pytest
from tools import array, gradients, normal

from echo_keras.layers import VariancePenalty

pytestmark = pytest.mark.core


@pytest.mark.parametrize("shape", [(7, 3), (5, 2, 4)])
@pytest.mark.parametrize("target", [0.5, 40.0])
def test_value_and_gradient(shape, target):
    layer = VariancePenalty(2.0, variance=target)
    z = 1.5 * normal(*shape) + 3.0
    np.testing.assert_array_equal(array(layer(z)), z)
    # Variances are divided by n.
    excess = z.reshape(len(z), -1).astype("float64").var(axis=0).sum() - target
    np.testing.assert_allclose(array(layer.last_value), abs(excess), rtol=1e-5)
    np.testing.assert_allclose(array(layer.losses[0]), 2 * abs(excess), rtol=1e-5)
    (found,) = gradients(layer.penalty, z)
    expected = np.sign(excess) * 2 * (z - z.mean(axis=0)) / len(z)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_default_variance_is_that_of_a_standard_normal():
    layer = VariancePenalty()
    layer.build((None, 4, 2))
    assert layer.target == 8.0
    with pytest.raises(ValueError, match=r"must have a variance.*\(None, None\)"):
        VariancePenalty().build((None, None))
    with pytest.raises(ValueError, match="variance must be a finite number >= 0"):
        VariancePenalty(variance=-1.0)
