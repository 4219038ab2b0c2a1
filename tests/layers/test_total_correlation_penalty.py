"""Tests of the total correlation penalty: its shuffles and its estimate."""

import keras
import numpy as np
import pytest
from keras import ops
from tools import array, normal

from echo_keras import RateDistortionModel, losses, training
from echo_keras.layers import TotalCorrelationPenalty, dense_discriminator
from echo_keras.layers.base import example_weights

pytestmark = pytest.mark.core


def built(d):
    layer = TotalCorrelationPenalty(1.0, dense_discriminator((2,)), seed=1)
    layer.build((None, d))
    return layer


def test_reference_shuffles_each_dimension_by_itself():
    layer = built(4)
    z = normal(200, 4)
    shuffled = array(layer.reference(ops.convert_to_tensor(z)))
    np.testing.assert_array_equal(np.sort(shuffled, 0), np.sort(z, 0))
    where = np.argsort(np.argsort(shuffled, 0), 0), np.argsort(np.argsort(z, 0), 0)
    order = [np.searchsorted(np.sort(z[:, j]), shuffled[:, j]) for j in range(4)]
    assert len({tuple(x) for x in order}) == 4 and (where[0] != where[1]).any()
    again = array(layer.reference(ops.convert_to_tensor(z)))
    assert (again != shuffled).any()  # drawn afresh


def test_shuffles_are_uniform():
    # Where the first of four rows goes, 4000 times: chi-square with 3 degrees of
    # freedom exceeds 21.1 with probability 1e-4.
    layer = built(4000)
    z = np.repeat(np.arange(4.0, dtype="float32")[:, None], 4000, axis=1)
    shuffled = array(layer.reference(ops.convert_to_tensor(z)))
    counts = (shuffled == 0).sum(axis=1)
    assert ((counts - 1000) ** 2 / 1000).sum() < 21.1


def correlated(n, rho, seed=0):
    """Pairs of Gaussians, whose total correlation is -log(1 - rho^2) / 2."""
    z = normal(n, 2, seed=seed)
    z[:, 1] = rho * z[:, 0] + np.sqrt(1 - rho**2) * z[:, 1]
    return z


def test_trained_estimate_converges_to_the_closed_form():
    # -log(1 - .8^2) / 2 = 0.511 nats. Four seeds on TensorFlow ended at .491 to .508.
    rate = keras.optimizers.schedules.CosineDecay(3e-3, 6 * 235)
    inputs = keras.Input((2,))
    layer = TotalCorrelationPenalty(
        0.0, dense_discriminator((64, 64)), seed=0, name="tc"
    )
    model = RateDistortionModel(inputs, layer(inputs))
    model.compile(
        training.with_discriminator_optimizer(
            keras.optimizers.SGD(0.0), keras.optimizers.Adam(rate, beta_1=0.5)
        ),
        loss=losses.SquaredError(),
    )
    z = correlated(60_000, 0.8)
    model.fit(z, z, batch_size=256, epochs=6, verbose=0)
    fresh = ops.convert_to_tensor(correlated(20_000, 0.8, seed=1))
    estimate = float(array(ops.mean(layer.penalty(fresh))))
    assert abs(estimate - -0.5 * np.log(1 - 0.8**2)) < 0.05


def test_examples_of_weight_zero_are_not_in_the_reference():
    """Independent codes, beside others far away that do not count: TC is 0.

    The weighted codes and the reference have the same mean, covariance and range.
    """
    layer, z = built(2), normal(4000, 2)
    z[::2] += 8.0  # along the diagonal
    weights = np.tile([0.0, 1.0], 2000).astype("float32")
    with example_weights(ops.convert_to_tensor(weights)):
        reference = array(layer.reference(ops.convert_to_tensor(z)))
    assert reference.max() == z[1::2].max() < 6
    assert abs(np.corrcoef(reference.T)[0, 1]) < 0.07  # 4.5 / sqrt(4000)
    np.testing.assert_array_equal(np.unique(reference), np.unique(z[1::2]))


@pytest.mark.parametrize("shape", [(None, 3, 2), (None, None), (None,)])
def test_codes_of_another_shape_raise(shape):
    with pytest.raises(ValueError, match=r"takes codes of shape \(batch, d\)"):
        TotalCorrelationPenalty().build(shape)
