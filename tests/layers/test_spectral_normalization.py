"""Tests of spectral normalization: the norm, both modes, the gradient, training."""

import keras
import numpy as np
import pytest
from keras import ops
from tools import array, gradients, normal

from echo_keras.layers import SpectralNormalization, conv_discriminator

pytestmark = pytest.mark.core


def norm(kernel):
    kernel = array(kernel)
    return np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2)


def dense(kernel):
    layer = SpectralNormalization(keras.layers.Dense(kernel.shape[1]))
    layer.build((None, len(kernel)))
    layer.layer.kernel.assign(kernel)
    return layer


def test_training_follows_the_norm_and_inference_is_the_same():
    """By `fit` on a model that Keras builds: JAX then has to keep what calls assign."""
    convolution = keras.layers.Conv2D(5, 3, strides=2, padding="same")
    stack = [SpectralNormalization(convolution), keras.layers.Flatten()]
    stack.append(SpectralNormalization(keras.layers.Dense(4)))
    model = keras.Sequential(stack)
    model.compile(keras.optimizers.SGD(0.05), "mse")
    x, y = normal(64, 6, 6, 2), 9 * normal(64, 4, seed=1)
    model.fit(x, y, batch_size=16, epochs=1, verbose=0)
    first = [array(layer.direction) for layer in (stack[0], stack[2])]
    model.fit(x, y, batch_size=16, epochs=30, verbose=0)
    for layer, before in zip((stack[0], stack[2]), first, strict=True):
        kernel, now = array(layer.layer.kernel), array(layer.direction)
        assert np.abs(now @ before) < 0.99 and np.linalg.norm(now) == pytest.approx(1)
        sigma = array(layer.spectral_norm()[0])
        assert sigma == pytest.approx(norm(kernel), rel=0.01) and sigma > 1.2
    # A model that divides by NumPy's norms.
    plain = keras.Sequential([convolution, stack[1], stack[2].layer])
    k, b, m, c = plain.get_weights()
    inference, training = (array(model(x, training=t)) for t in (False, True))
    np.testing.assert_array_equal(array(convolution.kernel), k)
    plain.set_weights([k / norm(k), b, m / norm(m), c])
    np.testing.assert_allclose(inference, array(plain(x)), rtol=0.03, atol=0.03)
    np.testing.assert_array_equal(training, inference)


def test_before_training_the_norm_is_right():
    discriminator = conv_discriminator((8, 16))
    discriminator.build((None, 28, 28, 1))
    layers = [x for x in discriminator.layers if isinstance(x, SpectralNormalization)]
    assert len(layers) == 3
    for layer in layers:
        sigma = array(layer.spectral_norm()[0])
        assert sigma == pytest.approx(norm(layer.layer.kernel), rel=0.01)


def test_inference_leaves_everything_as_it_is():
    layer = dense(normal(6, 4))
    x, before = normal(5, 6), layer.get_weights()
    direction = array(layer.direction)
    first, again = array(layer(x)), array(layer(x, training=False))
    np.testing.assert_array_equal(first, again)
    for weight, old in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert np.array_equal(array(layer.direction), direction)
    kernel = array(layer.layer.kernel)
    layer(x, training=True)
    assert not np.array_equal(array(layer.direction), direction)
    np.testing.assert_array_equal(array(layer.layer.kernel), kernel)


def test_the_gradient_passes_through_the_norm():
    kernel, x, y = normal(5, 3), normal(7, 5, seed=1), normal(7, 3, seed=2)
    layer = dense(kernel)
    left, values, right = np.linalg.svd(kernel, full_matrices=False)
    state = [ops.convert_to_tensor(right[0])]

    def product(kernel):
        weights = [kernel, ops.zeros(3)]
        outputs = layer.stateless_call(weights, state, ops.convert_to_tensor(x))[0]
        return ops.sum(ops.multiply(outputs, y))

    (found,) = gradients(product, kernel)
    # d|W| = u'dW v: the normalized kernel cannot grow.
    of_normalized = x.T @ y
    along = np.sum(of_normalized * kernel) / values[0]
    expected = (of_normalized - along * np.outer(left[:, 0], right[0])) / values[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(np.sum(found * kernel)) < 1e-4


@pytest.mark.parametrize("value", [-0.3, 1e-12])
def test_a_constant_kernel_has_one_singular_value(value):
    layer = dense(np.full((4, 9), value))
    for _ in range(3):
        found = layer(np.ones((1, 4), "float32"), training=True)
    np.testing.assert_allclose(array(found), np.sign(value) * 4 / 6, rtol=1e-5)


def test_a_kernel_of_zeros_gives_the_bias_and_can_grow():
    layer = dense(np.zeros((4, 2)))
    layer.layer.bias.assign([1.0, 2.0])
    before = array(layer.direction)
    found = layer(np.ones((1, 4), "float32"), training=True)
    np.testing.assert_array_equal(array(found), [[1.0, 2.0]])
    np.testing.assert_array_equal(array(layer.direction), before)
    state, x = [ops.convert_to_tensor(before)], ops.ones((1, 4))

    def total(kernel):
        return ops.sum(layer.stateless_call([kernel, ops.zeros(2)], state, x)[0])

    (gradient,) = gradients(total, np.zeros((4, 2), "float32"))
    np.testing.assert_array_equal(gradient, np.ones((4, 2)))


@pytest.mark.parametrize(
    ("layer", "squarings", "sentence"),
    [
        (keras.layers.ReLU, 1, "layer must be one of Dense, .*. Received: layer=<ReLU"),
        (lambda: keras.layers.Dense(1), 0, "squarings must be an integer >= 1"),
    ],
)
def test_bad_arguments_raise(layer, squarings, sentence):
    with pytest.raises(ValueError, match=sentence):
        SpectralNormalization(layer(), squarings)
