"""What noise on a code costs, of decoders whose derivatives are known."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from echo_keras.autoencoders import autoencoder
from echo_keras.layers import DeterministicBottleneck
from echo_keras.losses import Bernoulli, SquaredError
from echo_keras.metrics import noise_sensitivity

pytestmark = pytest.mark.core
RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(40, 3)).astype("float32")


def model(*stack, loss=None):
    """Codes are the first two of three numbers; `stack` decodes them."""
    encoder = keras.Sequential([keras.Input((3,)), layers.Identity()], name="encoder")
    bottleneck = DeterministicBottleneck(2)
    decoder = keras.Sequential([keras.Input((2,)), *stack], name="decoder")
    found = autoencoder(encoder, bottleneck, decoder)
    bottleneck.heads[0].set_weights([np.eye(3, 2), np.zeros(2)])
    found.compile(loss=loss or SquaredError())
    return found


def linear():
    weights = RANDOM.normal(size=(2, 3)).astype("float32")
    dense = layers.Dense(3)
    built = model(dense)
    dense.set_weights([weights, np.ones(3)])
    return built, weights.astype("float64")


def test_of_a_linear_decoder():
    built, weights = linear()
    found = noise_sensitivity(built, X)
    squares = np.linalg.svd(weights)[1] ** 2
    assert found["jacobian"] == pytest.approx(squares.sum(), rel=1e-4)
    assert found["spectral"] == pytest.approx(squares.max(), rel=1e-4)
    # Rounding, divided by the square of the step.
    assert abs(found["curvature"]) < 1e-3
    assert found["jacobian_se"] < 1e-4


def squares(z):
    """z_1^2, z_2^2 and 1."""
    return ops.concatenate([ops.square(z), ops.ones_like(z[:, :1])], axis=-1)


def test_of_a_decoder_that_bends():
    built = model(layers.Lambda(squares))
    found = noise_sensitivity(built, X, step=0.1)
    z = X[:, :2].astype("float64")
    bends = np.sum((X[:, :2] - z**2) * 2, axis=1)
    assert found["jacobian"] == pytest.approx(
        np.mean(np.sum(4 * z**2, axis=1)), rel=1e-3
    )
    assert found["spectral"] == pytest.approx(
        np.mean(np.max(4 * z**2, axis=1)), rel=1e-3
    )
    assert found["curvature"] == pytest.approx(bends.mean(), abs=1e-3)
    assert found["curvature_se"] == pytest.approx(bends.std(ddof=1) / 40**0.5, rel=1e-2)


def test_noise_costs_the_jacobian_less_the_curvature():
    built, variance = model(layers.Lambda(squares)), 0.01
    x, z = X.astype("float64"), X[:, :2].astype("float64")
    # Of e ~ N(0, s^2): E (x - (z + e)^2)^2 = (x - z^2)^2 + s^2 (6 z^2 - 2 x) + 3 s^4.
    more = variance * (6 * z**2 - 2 * x[:, :2]) + 3 * variance**2
    found = noise_sensitivity(built, X)
    slope = found["jacobian"] - found["curvature"]
    expected = more.sum(axis=1).mean() - 6 * variance**2
    assert variance * slope == pytest.approx(expected, rel=1e-3)


def test_images_are_means_and_batches_do_not_matter():
    built = model(layers.Dense(3), loss=Bernoulli())
    x = np.clip(X, 0, 1)
    found = noise_sensitivity(built, x)
    again = noise_sensitivity(built, x, batch_size=7)
    assert again == pytest.approx(found, rel=1e-4, abs=1e-5)
    weights, bias = built.get_layer("decoder").get_weights()
    p = 1 / (1 + np.exp(-(x[:, :2] @ weights + bias)))
    expected = np.sum((p * (1 - p))[:, None] ** 2 * weights**2, axis=(1, 2)).mean()
    assert found["jacobian"] == pytest.approx(expected, rel=1e-2)


def test_images_of_another_shape():
    with pytest.raises(ValueError, match=r"makes, \(4,\) .* Received: shape \(40, 3\)"):
        noise_sensitivity(model(layers.Dense(4)), X)


@pytest.mark.parametrize("step", [0, -1.0, "small"])
def test_a_step_that_is_none(step):
    with pytest.raises(ValueError, match="step must be a finite number > 0"):
        noise_sensitivity(linear()[0], X, step)
