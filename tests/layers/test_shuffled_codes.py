"""Tests of shuffled codes: their law, and that no gradient passes."""

import keras
import numpy as np
import pytest
from keras import ops
from tools import array, gradients, normal

from echo_keras.layers import ShuffledCodes, VectorQuantizer
from echo_keras.layers.base import example_weights

pytestmark = pytest.mark.core


def test_groups_keep_their_marginals_and_become_independent():
    # Two groups of two dimensions that are one another's copy.
    pairs = normal(20_000, 2)
    z = np.concatenate([pairs, pairs], axis=1)
    found = array(ShuffledCodes(2, seed=0)(z))
    known = set(map(tuple, pairs))
    for part in (found[:, :2], found[:, 2:]):
        assert set(map(tuple, part)) == known
    covariance = np.cov(found.T)
    # Standard errors of .007.
    np.testing.assert_allclose(covariance[:2, 2:], 0.0, atol=0.03)


def test_of_quantized_codes_they_are_draws_from_the_codebook():
    """The same frequencies as those of `VectorQuantizer.sample`, of all pairs."""
    levels = np.arange(6.0).reshape(2, 3, 1)
    quantizer = VectorQuantizer(
        3, groups=2, initializer=keras.initializers.Constant(levels)
    )
    inputs = np.round(np.abs(normal(20_000, 2))).clip(0, 2) * [[1, 1]] + [[0, 3]]
    inputs[:, 1] = inputs[:, 0] + 3  # codes that depend on each other
    z = quantizer(inputs.astype("float32"))
    quantizer.set_frequencies(array(quantizer.indices(inputs.astype("float32"))))

    def table(codes):
        first, second = np.round(array(codes)).astype(int).T
        return np.bincount(3 * first + second - 3, minlength=9) / len(first)

    found = table(ShuffledCodes(2, seed=0)(z))
    expected = table(quantizer.sample(20_000))
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.abs(table(z) - expected).max() > 0.1


def shuffled(z, weights, seed=0):
    with example_weights(ops.convert_to_tensor(np.array(weights, "float32"))):
        return array(ShuffledCodes(seed=seed)(z))


def test_whole_weights_are_repeated_rows():
    z = normal(6, 3)
    found = shuffled(z, [0, 1, 3, 0, 2, 0])
    expected = np.repeat(z, [0, 1, 3, 0, 2, 0], axis=0)
    np.testing.assert_array_equal(np.sort(found, 0), np.sort(expected, 0))
    # Equal weights are none.
    without = array(ShuffledCodes(seed=0)(z))
    np.testing.assert_array_equal(shuffled(z, [0.1] * 6), without)
    assert np.isfinite(shuffled(z, [0] * 6)).all()


def test_an_example_is_shuffled_in_proportion_to_its_weight():
    weights = np.array([0.3, 1.7, 0.0, 0.9, 0.1])
    z = np.arange(5.0)[:, None].astype("float32")
    drawn = [shuffled(z, weights, seed)[:, 0] for seed in range(400)]
    counts = np.stack([np.bincount(d.astype(int), minlength=5) for d in drawn])
    expected = 5 * weights / weights.sum()
    # Standard errors of at most .5 / 20.
    np.testing.assert_allclose(counts.mean(axis=0), expected, atol=0.1)
    assert (np.abs(counts - expected) < 1).all()  # evenly spaced


def test_no_gradient_reaches_the_codes():
    layer = ShuffledCodes(seed=0)

    def total(z):
        return ops.sum(layer(z)) + 0.0 * ops.sum(z)

    assert not gradients(total, normal(5, 3))[0].any()


def test_codes_of_fewer_axes_raise():
    layer = ShuffledCodes(seed=0)
    layer(normal(5, 3))
    with pytest.raises(ValueError, match="expected ndim=2, found ndim=1"):
        layer(normal(3))


@pytest.mark.parametrize(
    ("groups", "shape", "sentence"),
    [
        (0, (None, 4), "groups must be an integer >= 1"),
        (3, (None, 4), r"d a multiple of groups=3. Received: input_shape=\(None, 4\)"),
        (None, (None, 2, 4), r"shape \(batch, d\)"),
    ],
)
def test_bad_arguments_raise(groups, shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        ShuffledCodes(groups).build(shape)
