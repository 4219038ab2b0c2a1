"""Codes that tell less of a nuisance, with decoders that know it."""

import invariant
import keras
import numpy as np
import pytest
from invariant import STUDY
from tools import array

from echo_keras import data


@pytest.fixture(scope="module")
def digits():
    return invariant.with_classes(data.load("digits", limit=200), {})


def config(**changes):
    return STUDY.configs("digits", **{k: [v] for k, v in changes.items()})[0]


def test_the_class_stands_behind_the_pixels(digits):
    images = data.load("digits", limit=200)
    assert digits.x_train.shape == (200, 784 + 10)
    x = invariant.pixels(digits, digits.x_test)
    np.testing.assert_array_equal(x, images.x_test.reshape(len(x), -1))
    one_hot = digits.x_test[:, 784:]
    np.testing.assert_array_equal(one_hot.argmax(axis=1), images.y_test)
    np.testing.assert_array_equal(one_hot.sum(axis=1), 1.0)
    batch, target = STUDY.feed(config(decoder="plain"), digits)["x"][0]
    np.testing.assert_array_equal(target, batch[:, :784])


@pytest.mark.parametrize("method", ["echo", "vae"])
@pytest.mark.parametrize("decoder", ["plain", "conditional"])
def test_the_decoder_alone_knows_the_class_or_nothing_does(digits, method, decoder):
    model = STUDY.build(config(method=method, decoder=decoder, beta=1.0), digits)
    x = digits.x_train[:20]
    other = np.concatenate([x[:, :784], np.roll(x[:, 784:], 1, axis=1)], axis=1)
    bottleneck = model.get_layer("bottleneck")
    features = keras.Model(model.input, bottleneck.input)
    np.testing.assert_array_equal(array(features(x)), array(features(other)))
    # One and the same code: the noise is of the generator's next numbers.
    state = bottleneck.channel.seed_generator.state
    start = array(state).copy()
    images = array(model(x))
    state.assign(start)
    differ = np.abs(array(model(other)) - images).max()
    assert images.shape == (20, 784)
    assert differ > 1e-3 if decoder == "conditional" else differ == 0


def test_the_claim_is_judged_at_the_highest_beta():
    def run(decoder, beta, accuracy):
        return {
            "config": {"method": "echo", "decoder": decoder, "beta": beta},
            "measures": {"nuisance": {"machine": accuracy, "machine_se": 0.01}},
        }

    low = [run("plain", 1.0, 0.9), run("conditional", 1.0, 0.9)]
    high = [run("plain", 4.0, 0.8), run("conditional", 4.0, 0.4)]
    here, agrees = invariant.less_told(low + high)
    assert agrees and here.endswith("Echo at beta 4 40.0% against 80.0%")
    assert invariant.less_told(low)[1] is None  # within two standard errors
    assert invariant.less_told(low + high[:1]) is None
