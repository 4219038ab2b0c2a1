"""Bounds of the information of generated images, on models that are known."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops
from linear_gaussian import (
    BIAS,
    PRECISIONS,
    VARIANCE,
    WEIGHTS,
    linear_data,
    linear_model,
)
from scipy import stats
from tools import array

from echo_keras import losses
from echo_keras.autoencoders import autoencoder as chained
from echo_keras.layers import (
    EchoBottleneck,
    GaussianBottleneck,
    PseudoInputs,
    StandardNormal,
    VampPrior,
)
from echo_keras.metrics import generative_information
from echo_keras.model import RateDistortionModel

core = pytest.mark.core

INFORMATION = 0.5 * np.log(PRECISIONS).sum()


class Doubled(layers.Layer):
    """Stands for a flow between bottleneck and decoder."""

    def call(self, z):
        return 2.0 * z


def linear_chain(widen=1.0, shift=0.0, between=(), **bottleneck):
    """As `linear_model`, with an encoder whose features are twice the images."""
    encoder = keras.Sequential([keras.Input((6,)), layers.Rescaling(2.0)])
    decoder = keras.Sequential([keras.Input((2,)), layers.Dense(6)])
    channel = GaussianBottleneck(2, seed=1, **bottleneck)
    model = chained(encoder, channel, decoder, between)
    model.compile(loss=losses.Gaussian(VARIANCE))
    model.set_weights(linear_model(widen, shift).get_weights())
    mean, _ = channel.heads
    mean.kernel.assign(mean.kernel / 2)
    decoder.layers[0].kernel.assign(decoder.layers[0].kernel / 2 ** len(between))
    return model


def gap(precisions, widen, shift):
    """KL[posterior || e] and KL[e || posterior], in nats."""
    moved = shift**2 * precisions
    lower = 0.5 * np.sum((1 + moved) / widen - 1 + np.log(widen))
    return lower, 0.5 * np.sum(widen + moved - 1 - np.log(widen))


def assert_bounds(found, lower, upper):
    """Each bound within 4.5 of its standard errors."""
    assert abs(found["generative_lower"] - lower) < 4.5 * found["generative_lower_se"]
    assert abs(found["generative_upper"] - upper) < 4.5 * found["generative_upper_se"]


@core
@pytest.mark.parametrize("between", [(), (Doubled(),)])
def test_with_the_posterior_both_generative_bounds_are_the_information(between):
    model = linear_chain(between=between)
    found = generative_information(model, 4_000, samples=1, batch_size=1_000, seed=2)
    assert set(found) == {
        f"generative_{name}" for name in ("lower", "lower_se", "upper", "upper_se")
    }
    assert all(type(value) is float for value in found.values())
    assert found["generative_lower_se"] < 0.05 and found["generative_upper_se"] < 0.05
    assert_bounds(found, INFORMATION, INFORMATION)


@core
def test_with_a_wrong_encoder_the_bounds_are_apart_by_its_divergences():
    model = linear_chain(widen=1.5, shift=0.4)
    found = generative_information(model, 4_000, samples=1, batch_size=1_000, seed=2)
    below, above = gap(PRECISIONS, 1.5, 0.4)
    # The estimate of log p(x) from one code is the ELBO, too low by KL[e || posterior].
    assert below > 0.5 and above > 0.5
    assert_bounds(found, INFORMATION - below, INFORMATION + above)


@core
def test_more_codes_lower_the_upper_bound_and_leave_the_other():
    model = linear_chain(widen=1.5, shift=0.4)
    found = generative_information(model, 1_000, samples=16, batch_size=1_000, seed=2)
    below, _ = gap(PRECISIONS, 1.5, 0.4)
    # The bias of K weights is about their variance over 2 K, 0.05 or so.
    error = 4.5 * found["generative_upper_se"]
    assert -error < found["generative_upper"] - INFORMATION < 0.1 + error
    assert abs(found["generative_lower"] - (INFORMATION - below)) < error


@core
@pytest.mark.parametrize("widen", [1.0, 1.5])
def test_a_density_of_the_users_takes_the_place_of_the_estimate(widen):
    covariance = widen * (WEIGHTS.T @ WEIGHTS + VARIANCE * np.eye(6))
    density = stats.multivariate_normal(BIAS, covariance)
    batches = []

    def log_density(x):
        batches.append((x.shape, x.dtype))
        return density.logpdf(x)

    found = generative_information(
        linear_chain(), 2_500, log_density=log_density, batch_size=1_000, seed=2
    )
    assert [b for b, _ in batches] == [(1_000, 6), (1_000, 6), (500, 6)]
    assert {dtype for _, dtype in batches} == {np.dtype("float32")}
    divergence = 0.5 * 6 * (1 / widen - 1 + math.log(widen))
    assert_bounds(found, INFORMATION, INFORMATION + divergence)


@core
def test_binary_images_against_every_image_there_is():
    # Three pixels: sums over all eight images, and over a fine grid of codes.
    encoder = keras.Sequential([keras.Input((3,)), layers.Identity()])
    decoder = keras.Sequential([keras.Input((1,)), layers.Dense(3)])
    bottleneck = GaussianBottleneck(1)
    model = chained(encoder, bottleneck, decoder)
    model.compile(loss=losses.Bernoulli())
    kernels = [[[0.2], [0.4], [0.3]], [[0.2], [0.1], [-0.4]]]
    for head, kernel in zip(bottleneck.heads, kernels, strict=True):
        head.set_weights([np.array(kernel), np.array([-0.3])])
    decoder.set_weights([np.array([[2.5, -1.5, 1.0]]), np.array([0.2, -0.4, 0.0])])
    images = np.array(np.meshgrid(*[[0, 1]] * 3, indexing="ij")).reshape(3, 8).T
    z, width = np.linspace(-8, 8, 4_001, retstep=True)
    logits = z[:, None] * [2.5, -1.5, 1.0] + [0.2, -0.4, 0.0]
    log_d = logits @ images.T - np.logaddexp(0, logits).sum(1, keepdims=True)
    log_m = stats.norm.logpdf(z)[:, None]
    joint = np.exp(log_m + log_d) * width
    log_p = np.log(joint.sum(0))
    mean, log_var = (images @ np.array(k) - 0.3 for k in kernels)
    log_e = stats.norm.logpdf(z[:, None], mean[:, 0], np.exp(log_var[:, 0] / 2))
    expected = [np.sum(joint * x) for x in (log_e - log_m, log_d - log_p)]
    assert expected[0] < expected[1] - 0.3

    def log_density(x):
        return log_p[(x @ [4, 2, 1]).astype(int)]

    found = generative_information(
        model, 4_000, log_density=log_density, batch_size=1_000, seed=2
    )
    assert_bounds(found, *expected)


@keras.saving.register_keras_serializable(package="echo_keras_tests")
class OnePixelAtATime(layers.Layer):
    """x_1 = a z + noise and x_2 = b x_1 + c z + noise; its outputs are the means."""

    A, B, C = 1.5, 0.7, -1.0

    def call(self, inputs):
        x, z = inputs
        first = self.A * z
        return ops.concatenate([first, self.B * x[:, :1] + self.C * z], axis=1)

    def draw(self, z):
        z, random = ops.convert_to_numpy(z), np.random.RandomState(5)
        noise = math.sqrt(VARIANCE) * random.normal(size=(2, len(z), 1))
        first = self.A * z + noise[0]
        means = self.A * z, self.B * first + self.C * z
        images = np.concatenate([first, means[1] + noise[1]], axis=1)
        return images.astype("float32"), np.concatenate(means, axis=1)


@core
def test_a_decoder_that_draws_one_pixel_at_a_time():
    inputs = keras.Input((2,))
    bottleneck = GaussianBottleneck(1, seed=1)
    z = layers.Identity()(bottleneck(layers.Identity()(inputs)))
    decoder = OnePixelAtATime()
    model = RateDistortionModel(inputs, decoder([inputs, z]))
    model.compile(loss=losses.Gaussian(VARIANCE))
    # x_2 - b x_1 = c z + noise: the posterior of z given two measurements of it.
    a, b, c = decoder.A, decoder.B, decoder.C
    precision = 1 + (a**2 + c**2) / VARIANCE
    kernel = np.array([[a - b * c], [c]]) / VARIANCE / precision
    mean, log_var = bottleneck.heads
    mean.set_weights([kernel, np.zeros(1)])
    log_var.set_weights([np.zeros((2, 1)), np.log([1 / precision])])
    found = generative_information(model, 4_000, samples=1, batch_size=4_000)
    assert_bounds(found, *[0.5 * math.log(precision)] * 2)


@core
def test_components_of_a_vamp_prior_follow_the_encoder():
    encoder = keras.Sequential([keras.Input((6,)), layers.Dense(6)])
    decoder = keras.Sequential([keras.Input((2,)), layers.Dense(6)])
    prior, pseudo = VampPrior(), PseudoInputs(3)
    bottleneck = GaussianBottleneck(2, marginal=prior)
    model = chained(encoder, bottleneck, decoder, pseudo_inputs=pseudo)
    model.compile(loss=losses.Gaussian())
    prior.components.assign(np.zeros((2, 3, 2)))  # those of long ago
    generative_information(model, 2, log_density=lambda x: x[:, 0])
    expected = bottleneck.encode(encoder(pseudo(linear_data(5)[0])))
    np.testing.assert_allclose(
        array(prior.components), [array(x) for x in expected], rtol=1e-5
    )


@core
def test_generative_information_follows_its_seeds():
    def bounds(seed, of_codes):
        model = linear_chain(marginal=StandardNormal(seed=of_codes))
        return generative_information(model, 20, samples=2, seed=seed)

    first = bounds(3, 1)
    assert bounds(3, 1) == first
    for other in (bounds(4, 1), bounds(3, 2)):
        assert other["generative_lower"] != first["generative_lower"]
        assert other["generative_upper"] != first["generative_upper"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"n": 0}, "n must be an integer >= 1. Received: n=0"),
        ({"n": 3, "samples": 0}, "Received: samples=0"),
        ({"n": 3, "batch_size": 0}, "Received: batch_size=0"),
        (
            {"n": 3, "log_density": lambda x: np.zeros((3, 6))},
            r"one number for each image, shape \(3,\). Received: shape \(3, 6\)",
        ),
    ],
)
def test_bad_arguments_of_generative_information_raise(arguments, says):
    with pytest.raises(ValueError, match=says):
        generative_information(linear_chain(), **arguments)


@core
@pytest.mark.parametrize("loss", [losses.SquaredError(), "mse", None])
def test_generative_information_needs_a_likelihood(loss):
    model = linear_chain()
    model = keras.Model(model.input, model.output)
    if loss is not None:
        model.compile(loss=loss)
    with pytest.raises(ValueError, match="compiled with a likelihood, such as"):
        generative_information(model, 3)


@core
def test_generative_information_needs_one_channel_with_a_density():
    def model_of(*channels, last=True):
        inputs = x = keras.Input((6,))
        for channel in channels:
            x = channel(x)
        model = RateDistortionModel(inputs, layers.Dense(6)(x) if last else x)
        model.compile(loss=losses.Gaussian())
        return model

    gaussian = GaussianBottleneck(2)
    for model, found in (
        (model_of(EchoBottleneck(2)), "EchoBottleneck, Dense"),
        (model_of(gaussian, GaussianBottleneck(2)), "GaussianBottleneck, Gaussian"),
        (model_of(EchoBottleneck(2), gaussian), "EchoBottleneck, GaussianBottleneck"),
        (model_of(GaussianBottleneck(6), last=False), "GaussianBottleneck"),
        (model_of(), "Dense"),
    ):
        with pytest.raises(ValueError, match=rf"a density q.*the layers {found}"):
            generative_information(model, 3)


@core
def test_the_published_vamp_prior_has_no_generative_information():
    encoder = keras.Sequential([keras.Input((6,)), layers.Identity()])
    decoder = keras.Sequential([keras.Input((2,)), layers.Dense(6)])
    bottleneck = GaussianBottleneck(2, marginal=VampPrior(variant="published_code"))
    model = chained(encoder, bottleneck, decoder, pseudo_inputs=PseudoInputs(3))
    model.compile(loss=losses.Gaussian())
    with pytest.raises(ValueError, match="must have a density m.z. that its samples"):
        generative_information(model, 3)
