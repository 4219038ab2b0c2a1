"""Tests of the penalty on KL[q(z) || p(z)]: its sign, its prior, its estimate."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from tools import array, gradients, normal

from echo_keras import losses
from echo_keras.layers import Logistic, MarginalKLPenalty, dense_discriminator

pytestmark = pytest.mark.core


@pytest.mark.parametrize("weight", [2.0, -1.0])
def test_the_weight_has_a_sign(weight):
    discriminator = keras.Sequential([layers.Dense(1)])
    layer = MarginalKLPenalty(weight, discriminator, seed=0)
    z = normal(50, 3)
    layer(z)
    kernel, bias = (array(w) for w in discriminator.get_weights())
    expected = (z @ kernel + bias).mean()
    assert float(layer.last_value.value) == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert float(array(layer.losses[1])) == pytest.approx(
        weight * expected, rel=1e-3, abs=1e-5
    )


def test_an_encoder_without_saturation_wants_its_codes_taken_for_draws():
    discriminator = keras.Sequential([layers.Dense(1)])
    layer = MarginalKLPenalty(2.0, discriminator, seed=0, form="non_saturating")
    z = normal(50, 3)
    layer(z)
    kernel, bias = (array(w) for w in discriminator.get_weights())
    ratio = (z @ kernel + bias)[:, 0]
    prior = 1 / (1 + np.exp(ratio))  # the probability that it is one
    expected = -2 * np.log(prior).mean()
    assert float(array(layer.losses[1])) == pytest.approx(expected, rel=1e-3)
    assert float(layer.last_value.value) == pytest.approx(ratio.mean(), rel=1e-3)

    def term(z):
        layer(z)
        return layer.losses[-1]

    (found,) = gradients(term, z)
    slope = 2 / 50 * (1 - prior)[:, None] * kernel[:, 0]
    np.testing.assert_allclose(found, slope, rtol=1e-3, atol=1e-6)


def test_codes_are_compared_with_the_prior():
    layer = MarginalKLPenalty(
        prior=Logistic(3.0, seed=1), discriminator=dense_discriminator((4,))
    )
    layer.build((None, 2))
    drawn = array(layer.reference(np.zeros((20_000, 2), "float32")))
    # Variance c^2 pi^2 / 3, whose standard error is about a hundredth of it.
    np.testing.assert_allclose(drawn.var(axis=0), 9 * np.pi**2 / 3, rtol=0.06)


@pytest.mark.parametrize(
    ("weight", "form", "sentence"),
    [
        (float("nan"), "kl", "weight must be a finite number"),
        (-1.0, "non_saturating", "weight must be a number >= 0 unless form is 'kl'. R"),
        (1.0, "js", "form must be one of kl, non_saturating. Received: form='js'"),
    ],
)
def test_bad_arguments_raise(weight, form, sentence):
    with pytest.raises(ValueError, match=sentence):
        MarginalKLPenalty(weight, form=form)


def test_the_estimate_converges_to_the_closed_form():
    mean, variance, d = 0.7, 0.36, 2
    z = mean + variance**0.5 * normal(30_000, d)
    inputs = keras.Input((d,))
    layer = MarginalKLPenalty(discriminator=dense_discriminator((64, 64)), seed=0)
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.Adam(1e-3), loss=losses.ZeroLoss())
    model.fit(z, z, batch_size=500, epochs=3, verbose=0)
    fresh = ops.convert_to_tensor(mean + variance**0.5 * normal(20_000, d, seed=1))
    found = float(array(ops.mean(layer.penalty(fresh))))
    # 0.87 nats. Four seeds on TensorFlow ended at .79 to .90.
    expected = 0.5 * d * (mean**2 + variance - np.log(variance) - 1)
    assert found == pytest.approx(expected, abs=0.12)
