"""Tests of the optimizers that Keras does not have."""

import keras
import numpy as np
import pytest
from tools import array

from echo_keras.training import NormalizedAdam


@pytest.mark.core
def test_normalized_adam_is_adam_on_gradients_of_norm_one():
    gradients = [np.float32([3e4, 4e4]), np.float32([[0.0, 5e-6]]), np.float32([0.0])]
    start = [np.ones_like(g) for g in gradients]
    found, expected = ([keras.Variable(x) for x in start] for _ in range(2))
    normalized = NormalizedAdam(0.1, beta_1=0.5)
    plain = keras.optimizers.Adam(0.1, beta_1=0.5)
    for scale in (1.0, 100.0, 0.01):  # the scale of a step makes no difference
        normalized.apply([keras.ops.array(scale * g) for g in gradients], found)
        unit = [g / max(np.linalg.norm(g), 1e-30) for g in gradients]
        plain.apply([keras.ops.array(np.float32(g)) for g in unit], expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(array(a), array(b), rtol=1e-4)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(normalized))
    assert type(again) is NormalizedAdam
