"""Tests of the noise on an encoder's input."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tools import array

from echo_keras.layers import AppendNoise, InputNoise

pytestmark = pytest.mark.core


def test_noise_is_a_normal_cut_at_two_standard_deviations():
    n = 40_000
    noise = array(InputNoise(0.5, seed=0)(np.zeros((n, 1)), training=True)).ravel()
    assert np.abs(noise).max() <= 0.5
    # False alarm once in a thousand seeds.
    cut = stats.truncnorm(-2, 2, scale=0.25)
    assert stats.kstest(noise, cut.cdf).pvalue > 1e-3


def test_no_noise_at_inference_and_at_bound_zero():
    x = np.random.RandomState(0).normal(size=(5, 3)).astype("float32")
    np.testing.assert_array_equal(array(InputNoise(0.5)(x)), x)
    np.testing.assert_array_equal(array(InputNoise(0.0)(x, training=True)), x)


@given(st.one_of(st.floats(max_value=-1e-9), st.just(np.inf), st.just(np.nan)))
def test_bad_bound_raises(bound):
    with pytest.raises(ValueError, match=r"^bound must be a finite number >= 0"):
        InputNoise(bound)


@pytest.mark.parametrize("training", [False, True])
def test_appended_noise_is_normal_and_leaves_inputs_as_they_are(training):
    x = np.random.RandomState(0).normal(size=(5_000, 2, 3)).astype("float32")
    found = array(AppendNoise(2, seed=0)(x, training=training))
    np.testing.assert_array_equal(found[..., :3], x)
    noise = found[..., 3:].reshape(-1, 4)  # of both positions
    assert stats.kstest(noise.ravel(), stats.norm.cdf).pvalue > 1e-3
    # Independent: each correlation has the standard error 1 / sqrt(5,000).
    assert np.abs(np.corrcoef(noise.T) - np.eye(4)).max() < 4.5 / np.sqrt(5_000)


@pytest.mark.parametrize("layer", [InputNoise(0.5, seed=0), AppendNoise(2, seed=0)])
def test_integers_have_noise_that_is_not_rounded(layer):
    found = array(layer(np.ones((50, 2), "uint8"), training=True))
    noise = found[:, -2:]
    assert found.dtype == "float32" and np.unique(noise).size > 90


@pytest.mark.parametrize("layer", [InputNoise(0.5), AppendNoise(2)])
def test_a_mask_passes_on(layer):
    x = np.array([[[1.0, 2.0], [0.0, 0.0]]])
    masked = keras.layers.Masking()(x)
    assert array(layer(masked)._keras_mask).tolist() == [[True, False]]
