"""Tests of ScaledDense and Standardize: statistics by hand, whatever the batch size."""

import keras
import numpy as np
import pytest
from tools import array

from echo_keras.layers import ScaledDense, collect_draws
from echo_keras.layers.base import example_weights
from echo_keras.layers.standardize import Standardize

pytestmark = pytest.mark.core


def rows(n, channels=6, seed=0):
    """Features of a few thousandths around a mean that all examples share."""
    random = np.random.default_rng(seed)
    return (0.02 + random.normal(size=(n, channels)) / 500).astype("float32")


@pytest.mark.parametrize("sizes", [[1000], [100] * 10, [1] * 40, [3, 400, 1, 200]])
def test_mean_is_that_of_all_examples_however_they_were_cut(sizes):
    layer, x = ScaledDense(4), rows(sum(sizes))
    for end, size in zip(np.cumsum(sizes), sizes, strict=True):
        layer(x[end - size : end], training=True)
    np.testing.assert_allclose(array(layer.mean), x.mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize("size", [2, 100])
def test_gain_is_that_of_the_first_batch_for_good(size):
    layer, x = ScaledDense(4), rows(size)
    layer(np.tile(x[:1], (5, 1)), training=True)  # equal examples set nothing
    y = array(layer(x, training=True))
    centred = (x - x.mean(axis=0)).astype("float64") @ array(layer.kernel)
    gain = array(layer.gain)
    np.testing.assert_allclose(gain, 1 / np.sqrt(np.square(centred).mean()), rtol=1e-3)
    assert 0.5 < np.square(y - y.mean(axis=0)).mean() < 2.0
    layer(1000 * rows(size, seed=1), training=True)
    np.testing.assert_array_equal(array(layer.gain), gain)


def test_a_first_batch_of_one_example_sets_the_gain_about_zero():
    layer, x = ScaledDense(4), rows(1)
    layer(x, training=True)
    expected = 1 / np.sqrt(np.square(x @ array(layer.kernel)).mean())
    np.testing.assert_allclose(array(layer.gain), expected, rtol=1e-4)


def test_the_mean_follows_the_last_thousand_examples():
    layer, x = ScaledDense(4), rows(1000)
    layer(x, training=True)
    for _ in range(30):  # 30 times a tenth of the way: .9^30 = .04
        layer(7 * x[:100], training=True)
    old, new = x.mean(axis=0), 7 * x[:100].mean(axis=0)
    expected = new + 0.9**30 * (old - new)
    np.testing.assert_allclose(array(layer.mean), expected, rtol=1e-3)


def test_output_by_hand_is_the_same_in_both_modes():
    layer, x = ScaledDense(3, bias_initializer="ones"), rows(1000)
    trained = array(layer(x, training=True))
    h = (x - array(layer.mean)) @ array(layer.kernel) + 1.0
    np.testing.assert_allclose(trained, array(layer.gain) * h, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(array(layer(x)), trained, rtol=1e-5, atol=1e-5)


def test_before_training_it_is_a_dense_layer():
    layer, x = ScaledDense(3), rows(5)
    np.testing.assert_allclose(array(layer(x)), x @ array(layer.kernel), rtol=1e-4)


def test_fit_sets_the_gain_and_files_keep_it(tmp_path):
    inputs, x = keras.Input((6,)), rows(400)
    model = keras.Model(inputs, ScaledDense(4)(inputs))
    model.compile("adam", "mse")
    model.fit(x, np.zeros((400, 4)), batch_size=100, verbose=0)
    layer = model.layers[-1]
    assert float(array(layer.seen)) == 400 and float(array(layer.gain)) > 10
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.predict(x[:3]), model.predict(x[:3]))
    # A clone starts anew.
    assert float(array(keras.models.clone_model(model).layers[-1].seen)) == 0


def test_half_precision_keeps_a_small_deviation_beside_a_large_mean():
    layer = ScaledDense(4, dtype="mixed_bfloat16")
    x = rows(1000)
    y = array(layer(x, training=True)).astype("float32")
    exact = array(layer.gain) * ((x - x.mean(axis=0)) @ array(layer.kernel))
    # bfloat16 has 8 bits: of the input here, whose mean is ten times its deviation.
    assert np.abs(y - exact).std() < 0.1


@pytest.mark.parametrize("layer_class", [lambda: ScaledDense(2), Standardize])
def test_nothing_moves_while_draws_are_collected_as_in_training(layer_class):
    layer = layer_class()
    layer(100 * rows(30, seed=1), training=True)
    before = [array(w).copy() for w in layer.non_trainable_weights]
    with collect_draws():
        found = array(layer(rows(9), training=True))
    for old, new in zip(before, layer.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(array(new), old)
    np.testing.assert_array_equal(found, array(layer(rows(9), training=True)))


def weighted(layer, x, weights):
    with example_weights(np.array(weights, "float32")):
        return array(layer(x, training=True))


@pytest.mark.parametrize("layer_class", [lambda: ScaledDense(2), Standardize])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_whole_weights_are_repeated_rows(layer_class, scale):
    found, expected = layer_class(), layer_class()
    x, weights = 100 * rows(7), np.array([2, 0, 1, 1, 0, 3, 0])
    x[weights == 0] += 8.0
    if layer_class is not Standardize:
        for layer in (found, expected):
            layer.build((None, 6))
            layer.kernel.assign(np.eye(6, 2))
    y = weighted(found, x, scale * weights)[weights > 0]
    again = array(expected(np.repeat(x, weights, axis=0), training=True))
    np.testing.assert_allclose(
        np.repeat(y, weights[weights > 0], axis=0), again, rtol=1e-3, atol=1e-4
    )
    for name in ("mean", "variance", "gain"):
        if hasattr(found, name):
            a, b = (array(getattr(layer, name)) for layer in (found, expected))
            np.testing.assert_allclose(a, b, rtol=1e-4)


def test_weights_of_examples_are_those_of_their_positions():
    x = 100 * np.random.RandomState(0).normal(size=(4, 5, 6)).astype("float32")
    layer, expected = Standardize(), Standardize()
    y = weighted(layer, x, [1, 0, 0, 1])
    again = array(expected(x[[0, 3]], training=True))
    np.testing.assert_allclose(y[[0, 3]], again, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer_class", [lambda: ScaledDense(2), Standardize])
@pytest.mark.parametrize("weights", [[0.0] * 9, [0.0] * 8 + [1.0]])
def test_a_batch_in_which_less_than_two_count(layer_class, weights):
    layer, x = layer_class(), 100 * rows(9)
    layer.build((None, 6))
    y = weighted(layer, x, weights)
    assert np.isfinite(y).all()
    kept = array(layer.mean) == 0.0  # as it was
    assert kept.all() == (layer_class is Standardize or not any(weights))


def test_standardize_is_batch_normalization_without_weights():
    ours = Standardize()
    keras_s = keras.layers.BatchNormalization(momentum=0.9, center=False, scale=False)
    for seed in range(3):
        x = 100 * rows(32, seed=seed)
        for training in (True, False):
            expected = array(keras_s(x, training=training))
            found = array(ours(x, training=training))
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_standardize_divides_a_single_example_by_what_it_knows():
    layer, x = Standardize(), 100 * rows(64)
    for _ in range(60):
        layer(x, training=True)
    known = [array(layer.mean), array(layer.variance)]
    one = array(layer(x[:1], training=True))
    np.testing.assert_allclose(one, array(layer(x))[:1], rtol=1e-5)
    assert np.abs(one).max() > 0.1
    for old, new in zip(known, (layer.mean, layer.variance), strict=True):
        np.testing.assert_array_equal(array(new), old)
