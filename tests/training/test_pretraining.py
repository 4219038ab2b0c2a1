"""An encoder whose codes begin with the prior's moments."""

import keras
import numpy as np
import pytest
from tools import array

from echo_keras import metrics, networks, objectives
from echo_keras.training import pretrain_encoder

SHAPE = (6,)


def data():
    """Correlated, and far from mean 0."""
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(6, 6))
    return (3.0 + generator.normal(size=(400, 6)) @ mixing).astype("float32")


def model(objective=objectives.wae, **arguments):
    encoder = networks.dense_encoder(SHAPE, (8,))
    return objective(
        encoder, lambda n: networks.dense_decoder(n, SHAPE, (8,)), 3, **arguments
    )


@pytest.mark.core
@pytest.mark.parametrize("objective", [objectives.wae, objectives.vae])
def test_codes_get_the_moments_of_the_prior(objective):
    found, x = model(objective), data()
    decoder = [array(w) for w in found.get_layer("decoder").weights]
    before = metrics.encode(found, x, noisy=False)
    assert np.abs(np.cov(before.T) - np.eye(3)).max() > 0.5
    faster = keras.optimizers.Adam(0.02)
    term = pretrain_encoder(found, x, 500, 200, faster, tolerance=0.01)
    z = metrics.encode(found, x, noisy=False)
    mean, covariance = z.mean(0), np.cov(z.T)
    apart = np.mean(mean**2) + np.mean((covariance - np.eye(3)) ** 2)
    assert term < 0.01
    # Of other images than the last batch's, a step later.
    assert apart < 0.03
    for a, b in zip(decoder, found.get_layer("decoder").weights, strict=True):
        np.testing.assert_array_equal(a, array(b))


def test_the_term_is_that_of_the_first_batch_and_ends_the_steps():
    found, x = model(), data()
    z = metrics.encode(found, x, noisy=False)
    expected = np.mean(z.mean(0) ** 2) + np.mean((np.cov(z.T) - np.eye(3)) ** 2)
    # All images are one batch, and no more than one step is made.
    term = pretrain_encoder(found, x, steps=50, batch_size=1000, tolerance=1e9)
    assert term == pytest.approx(expected, rel=1e-4)
    after = metrics.encode(found, x, noisy=False)
    assert 0 < np.abs(after - z).max() < 0.3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"steps": 0}, "steps must be an integer >= 1. Received: steps=0"),
        ({"batch_size": 1}, "batch_size must be an integer >= 2"),
        ({"optimizer": "adam"}, "optimizer must be a Keras optimizer or None"),
    ],
)
def test_bad_arguments_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        pretrain_encoder(model(), data(), **arguments)
