"""Measures are of a layer's call in the model at hand, whoever else calls the layer."""

import keras
import numpy as np
import pytest
from keras import layers
from tools import array

from echo_keras import losses, metrics, renew_memories
from echo_keras.layers import (
    EchoBottleneck,
    GaussianBottleneck,
    GaussianSample,
    MarginalKLPenalty,
    PriorSamples,
    dense_discriminator,
)
from echo_keras.model import RateDistortionModel
from echo_keras.training import pretrain_encoder

pytestmark = pytest.mark.core

X = np.random.RandomState(0).random_sample((40, 6)).astype("float32")


def model_of(inputs, outputs):
    model = RateDistortionModel(inputs, outputs)
    model.compile("sgd", losses.SquaredError())
    return model


def shared(bottleneck, other_first, *between):
    """A model whose layers another one calls as well, on 100 times the inputs."""
    encoder, decoder, x = layers.Dense(5), layers.Dense(6), keras.Input((6,))

    def through(h):
        z = bottleneck(encoder(h))
        for layer in between:
            z = layer(z)
        return decoder(z)

    if other_first:
        through(layers.Rescaling(100.0)(x))
    model = model_of(x, through(x))
    if not other_first:
        through(layers.Rescaling(100.0)(x))
    return model


@pytest.mark.parametrize("method", ["code", "rate"])
def test_a_method_that_was_called_first_is_not_the_code(method):
    x, bottleneck = keras.Input((6,)), GaussianBottleneck(2, noise_variance=0.25)
    h = layers.Dense(5)(x)
    getattr(bottleneck, method)(h)
    model = model_of(x, layers.Dense(6)(bottleneck(h)))
    noise = metrics.encode(model, X) - metrics.encode(model, X, noisy=False)
    assert noise.shape == (40, 2)
    assert 0.3 < noise.std() < 0.7  # of 80 draws with .5


def test_a_method_whose_result_is_an_output_is_no_call():
    x, bottleneck = keras.Input((6,)), GaussianBottleneck(2)
    model = keras.Model(x, [layers.Dense(6)(bottleneck(x)), bottleneck.rate(x)])
    codes = metrics.encode(model, X, noisy=False)
    np.testing.assert_allclose(codes, array(bottleneck.code(X)), atol=1e-6)


@pytest.mark.parametrize("other_first", [False, True])
def test_another_model_may_call_the_same_layers(other_first):
    model = shared(GaussianBottleneck(2, seed=0), other_first)
    rate = metrics.evaluate(model, X)["rate"]
    parts = metrics.rate_by_dimension(model, X)
    assert parts.sum() == pytest.approx(rate, rel=1e-4)
    codes = metrics.encode(model, X, noisy=False)
    features = model.layers[1](X)
    expected = array(model.layers[2].code(features))
    np.testing.assert_allclose(codes, expected, rtol=1e-5, atol=1e-6)
    decoded = metrics.images(model, codes)
    np.testing.assert_allclose(decoded, array(model.layers[3](codes)), rtol=1e-5)
    assert pretrain_encoder(model, X, steps=1, batch_size=20) < 10  # not of 100 x


def test_memories_are_of_the_models_own_inputs():
    bottleneck = EchoBottleneck(2, d_max=3, bank_size=40)
    model = shared(bottleneck, other_first=True)
    model(X, training=True)
    renew_memories(model, X)
    largest = np.abs(array(bottleneck.sample(200))).max()
    assert largest < 20  # of 100 times the inputs: hundreds


def test_the_marginal_score_is_of_the_models_own_codes():
    penalty = MarginalKLPenalty(1.0, dense_discriminator((4,)))
    model = shared(GaussianBottleneck(2, noise_variance=1e-6), True, penalty)
    found = metrics.novelty.scores(model, X)["marginal"]
    codes = metrics.encode(model, X, noisy=False)
    np.testing.assert_allclose(found, -array(penalty.log_ratio(codes)), atol=0.05)


def test_a_bottleneck_that_is_called_twice_has_no_one_code():
    x, bottleneck, decoder = keras.Input((6,)), GaussianBottleneck(2), layers.Dense(6)
    both = [decoder(bottleneck(h)) for h in (x, layers.Rescaling(3.0)(x))]
    model = model_of(x, layers.Add()(both))
    assert metrics.rate_by_dimension(model, X) is None
    for measure in (metrics.encode, metrics.squared_error):
        with pytest.raises(ValueError, match="calls it 2 times"):
            measure(model, X)


def test_layers_behind_a_layer_named_decoder_count():
    """The bottleneck is within another model, or there is none."""
    x, y = keras.Input((6,)), keras.Input((6,))
    encoder = keras.Model(x, GaussianBottleneck(2)(x))
    decoder = keras.Sequential([keras.Input((2,)), layers.Dense(6)], name="decoder")
    nested = model_of(y, layers.Rescaling(255.0)(decoder(encoder(y))))
    gan = model_of(y, layers.Rescaling(255.0)(decoder(PriorSamples(2)(y))))
    for model in (nested, gan):
        with pytest.raises(ValueError, match="that makes its output"):
            metrics.images(model, np.ones((1, 2), "float32"))


def test_a_code_that_is_the_output_is_decoded_by_nothing():
    x = keras.Input((6,))
    model = model_of(x, GaussianSample()([x, layers.Rescaling(0.0)(x)]))
    np.testing.assert_array_equal(metrics.images(model, X), X)
