"""Tests of draws from a prior as a layer."""

import numpy as np
import pytest
from tools import array

from echo_keras.layers import PriorSamples


@pytest.mark.core
def test_prior_samples_are_fresh_and_as_many_as_the_inputs():
    layer = PriorSamples(2, seed=0)
    one, two = (array(layer(np.zeros((n, 5)))) for n in (4, 7))
    assert one.shape == (4, 2) and two.shape == (7, 2)
    assert not np.isin(one, two).any()


@pytest.mark.parametrize("units", [0, -1, 1.5])
def test_bad_units_raise(units):
    with pytest.raises(ValueError, match=r"^units must be an integer >= 1"):
        PriorSamples(units)
