"""Tests of the noise on an encoder's input."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tools import array

from echo_keras.layers import InputNoise

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


def test_every_call_draws_anew_and_a_seed_repeats():
    x = np.zeros((4, 3), "float32")
    one, same, other = (InputNoise(1.0, seed=seed) for seed in (3, 3, 4))
    first, second = (array(one(x, training=True)) for _ in range(2))
    assert np.all(first != second)
    np.testing.assert_array_equal(array(same(x, training=True)), first)
    assert np.all(array(other(x, training=True)) != first)


def test_noise_goes_on_after_a_reload(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, InputNoise(1.0, seed=3)(inputs))
    x = np.zeros((4, 3), "float32")
    model(x, training=True)
    model.save(tmp_path / "m.keras")
    expected = array(model(x, training=True))
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(array(again(x, training=True)), expected)
    assert again.layers[-1].bound == 1.0


def test_noise_in_half_precision_keeps_the_dtype():
    layer = InputNoise(0.5, dtype="mixed_bfloat16")
    x = layer(np.zeros((4, 3), "float32"), training=True)
    assert keras.backend.standardize_dtype(x.dtype) == "bfloat16"


@given(st.one_of(st.floats(max_value=-1e-9), st.just(np.inf), st.just(np.nan)))
def test_bad_bound_raises(bound):
    with pytest.raises(ValueError, match=r"^bound must be a finite number >= 0"):
        InputNoise(bound)
