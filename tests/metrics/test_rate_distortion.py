"""Tests of evaluate: means, standard errors, samples, units and echoes."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy import stats

from echo_keras import losses, metrics
from echo_keras.layers import (
    EchoBottleneck,
    GaussianBottleneck,
    PseudoInputs,
    StandardNormal,
    VampPrior,
)
from echo_keras.layers.marginals import Logistic
from echo_keras.metrics.rate_distortion import (
    evaluate,
    generative_information,
    importance_weighted,
    per_example,
    per_example_likelihood,
)
from echo_keras.model import RateDistortionModel
from echo_keras.model import autoencoder as chained

pytestmark = pytest.mark.core

NAMES = ("rate", "distortion", "neg_elbo")


def array(x):
    return ops.convert_to_numpy(x)


def data(n=10, seed=0):
    x = np.random.RandomState(seed).random_sample((n, 6)) > 0.5
    return x.astype("float32")


def autoencoder(bottleneck, loss=None, **decoder):
    inputs = keras.Input((6,))
    model = RateDistortionModel(inputs, layers.Dense(6, **decoder)(bottleneck(inputs)))
    model.compile("sgd", loss=loss or losses.Bernoulli())
    return model


def deaf_autoencoder(bottleneck, loss=None):
    """Its decoder ignores z, so that nothing in the result is random."""
    bias = keras.initializers.Constant(np.linspace(-2, 1, 6))
    return autoencoder(
        bottleneck, loss, kernel_initializer="zeros", bias_initializer=bias
    )


def trained_echo(**arguments):
    """An Echo bottleneck whose bank is full."""
    bottleneck = EchoBottleneck(2, d_max=7, bank_size=16, **arguments)
    bottleneck(data(16, seed=9), training=True)
    return bottleneck


@pytest.mark.parametrize("bottleneck", [GaussianBottleneck(2), EchoBottleneck(2)])
def test_is_what_keras_evaluates(bottleneck):
    model = deaf_autoencoder(bottleneck)
    x = data(10)
    keras_says = model.evaluate(x, x, batch_size=4, verbose=0, return_dict=True)
    for batch_size in (1, 4, 100):
        result = evaluate(model, x, batch_size=batch_size)
        for name in NAMES:
            np.testing.assert_allclose(result[name], keras_says[name], rtol=1e-5)


def test_standard_errors_are_those_of_the_examples():
    bottleneck = GaussianBottleneck(2)
    model = deaf_autoencoder(bottleneck)
    x = data(10)
    rate = array(bottleneck.rate(x)).astype("float64")
    distortion = array(losses.Bernoulli().call(x, model(x))).astype("float64")
    expected = dict(zip(NAMES, (rate, distortion, rate + distortion), strict=True))
    result = evaluate(model, x, batch_size=4)
    assert set(result) == {*NAMES, *(f"{name}_se" for name in NAMES)}
    for name, values in expected.items():
        assert type(result[name]) is float
        np.testing.assert_allclose(result[name], values.mean(), rtol=1e-5)
        error = values.std(ddof=1) / math.sqrt(10)
        np.testing.assert_allclose(result[f"{name}_se"], error, rtol=1e-5)


def test_one_image_has_no_standard_error():
    result = evaluate(deaf_autoencoder(GaussianBottleneck(2)), data(1))
    assert math.isfinite(result["neg_elbo"]) and math.isnan(result["neg_elbo_se"])


def test_several_samples_average_the_noise_away():
    # One image 400 times, so that all spread is that of the noise. With 16 samples
    # the standard error is a quarter: its estimate from 400 values is off by 3.5 %,
    # more for skewed ones, and 15 % are allowed. Means: 4.5 standard errors.
    keras.utils.set_random_seed(1)
    model = autoencoder(GaussianBottleneck(2))
    x = np.repeat(data(1), 400, axis=0)
    one, many = evaluate(model, x), evaluate(model, x, samples=16)
    ratio = many["distortion_se"] / one["distortion_se"]
    assert 0.85 < 4 * ratio < 1.15
    apart = abs(many["distortion"] - one["distortion"])
    assert apart < 4.5 * math.hypot(many["distortion_se"], one["distortion_se"])
    np.testing.assert_allclose(many["rate"], one["rate"], rtol=1e-6)


def test_samples_are_drawn_afresh():
    model = autoencoder(GaussianBottleneck(2))
    first, second = (per_example(model, data())[1] for _ in range(2))
    assert np.abs(first - second).min() > 0


def test_bits():
    model = deaf_autoencoder(GaussianBottleneck(2))
    nats, bits = evaluate(model, data()), evaluate(model, data(), bits=True)
    assert set(bits) == {f"{name}_bits" for name in nats}
    for name in nats:
        np.testing.assert_allclose(bits[f"{name}_bits"] * math.log(2), nats[name])


def test_two_channels_add_up():
    first, second = GaussianBottleneck(2), trained_echo()
    inputs = keras.Input((6,))
    z = layers.Concatenate()([first(inputs), second(inputs)])
    model = RateDistortionModel(inputs, layers.Dense(6)(z))
    model.compile("sgd", loss=losses.Bernoulli())
    rate, _ = per_example(model, data(), batch_size=4)
    expected = array(first.rate(data())) + array(second.rate(data()))
    np.testing.assert_allclose(rate, expected, rtol=1e-5)


def test_a_plain_keras_model_will_do():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(6)(GaussianBottleneck(2)(inputs)))
    model.compile("sgd", loss=losses.Gaussian())
    assert evaluate(model, data())["rate"] > 0


def test_leaves_the_model_as_it_was():
    model = autoencoder(trained_echo())
    before = [array(w) for w in model.weights if "last_rate" not in w.path]
    evaluate(model, data(), samples=2, echoes="batch")
    after = [array(w) for w in model.weights if "last_rate" not in w.path]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


# Echoes. A decoder with large weights shows the noise in the distortion.


def echo_autoencoder(seed=None):
    keras.utils.set_random_seed(1)
    kernel = keras.initializers.RandomNormal(stddev=2.0, seed=0)
    return autoencoder(trained_echo(seed=seed), kernel_initializer=kernel)


def distortions(echoes):
    """The first image's distortion in two companies, with the same random numbers."""
    for seed in (5, 6):
        x = np.concatenate([data(1), data(11, seed)])
        model = echo_autoencoder(seed=3)
        yield per_example(model, x, echoes=echoes, batch_size=12)[1][0]


def test_echoes_from_the_bank_ignore_the_batch():
    first, second = distortions("bank")
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_echoes_from_the_batch_are_those_of_its_other_images():
    first, second = distortions("batch")
    assert abs(first - second) > 1e-3


def test_batch_echoes_of_equal_images_are_one_another():
    # All images alike: the noise is the sum of s^l f whatever the order, and so
    # without randomness. The bank of other images would bring some.
    model, x = echo_autoencoder(), np.repeat(data(1), 12, axis=0)
    assert np.ptp(per_example(model, x, echoes="batch")[1]) < 1e-4
    assert np.ptp(per_example(model, x, echoes="bank")[1]) > 1e-2


def test_batch_echoes_end_with_the_evaluation():
    model, x = echo_autoencoder(), np.repeat(data(1), 12, axis=0)
    evaluate(model, x, echoes="batch")
    assert np.ptp(per_example(model, x, echoes="bank")[1]) > 1e-2
    with pytest.raises(ValueError, match="incompatible with the layer"):
        evaluate(model, x[:, :5], echoes="batch")
    assert np.ptp(per_example(model, x, echoes="bank")[1]) > 1e-2


def test_the_rate_does_not_depend_on_where_echoes_come_from():
    model = autoencoder(trained_echo())
    bank, batch = (
        per_example(model, data(), echoes=echoes)[0] for echoes in ("bank", "batch")
    )
    np.testing.assert_allclose(bank, batch, rtol=1e-6)


# Importance weighting, on models whose likelihood is known: x = W z + b + noise with
# orthogonal columns in W, so that the posterior has a diagonal covariance.

WEIGHTS = np.array([[1, 1, 1, 1, 0, 0], [0.5, -0.5, 0, 0, 1, -1]]) * 0.8
BIAS, VARIANCE = np.linspace(-1, 1, 6), 0.5
PRECISIONS = 1 + (WEIGHTS**2).sum(1) / VARIANCE


def linear_model(widen=1.0, shift=0.0, marginal=None):
    """Its q(z|x) is the posterior, with `widen` times its variance, moved by shift."""
    inputs = keras.Input((6,))
    bottleneck = GaussianBottleneck(2, marginal=marginal, seed=1)
    decoder = layers.Dense(6)
    model = RateDistortionModel(inputs, decoder(bottleneck(inputs)))
    model.compile(loss=losses.Gaussian(VARIANCE))
    to_mean = WEIGHTS.T / VARIANCE / PRECISIONS
    mean, log_var = bottleneck.heads
    mean.set_weights([to_mean, shift - BIAS @ to_mean])
    log_var.set_weights([np.zeros((6, 2)), np.log(widen / PRECISIONS)])
    decoder.set_weights([WEIGHTS, BIAS])
    return model


def linear_data(n, seed=0):
    random = np.random.RandomState(seed)
    x = random.normal(size=(n, 2)) @ WEIGHTS + BIAS
    x += math.sqrt(VARIANCE) * random.normal(size=x.shape)
    covariance = WEIGHTS.T @ WEIGHTS + VARIANCE * np.eye(6)
    return x.astype("float32"), stats.multivariate_normal(BIAS, covariance).logpdf(x)


def test_with_the_posterior_every_weight_is_the_likelihood():
    x, exact = linear_data(10)
    for samples in (1, 3):
        found = per_example_likelihood(linear_model(), x, samples, batch_size=4)
        np.testing.assert_allclose(found, exact, atol=1e-4)
    result = importance_weighted(linear_model(), x, samples=2)
    assert set(result) == {"log_likelihood_iw2", "log_likelihood_iw2_se"}
    assert all(type(value) is float for value in result.values())
    np.testing.assert_allclose(result["log_likelihood_iw2"], exact.mean(), atol=1e-4)
    error = exact.std(ddof=1) / math.sqrt(10)
    np.testing.assert_allclose(result["log_likelihood_iw2_se"], error, rtol=1e-4)


def test_one_sample_is_the_elbo_in_expectation():
    x = np.repeat(linear_data(1)[0], 4_000, axis=0)
    model = linear_model(widen=1.5, shift=0.2)
    found = per_example_likelihood(model, x, 1, batch_size=1_000)
    other = evaluate(model, x, batch_size=1_000)
    error = math.hypot(found.std() / math.sqrt(4_000), other["neg_elbo_se"])
    assert abs(found.mean() + other["neg_elbo"]) < 4.5 * error


def test_more_samples_rise_to_the_likelihood():
    x, exact = (np.repeat(a, 500, axis=0) for a in linear_data(2))
    model = linear_model(widen=1.5, shift=0.4)
    found = [
        per_example_likelihood(model, x, k, batch_size=1_000) - exact
        for k in (1, 4, 16, 100)
    ]
    gaps = [gap.mean() for gap in found]
    errors = [gap.std() / math.sqrt(1_000) for gap in found]
    for k in range(3):
        assert gaps[k + 1] - gaps[k] > -4.5 * math.hypot(errors[k], errors[k + 1])
    assert gaps[0] < -0.2
    # The bias of K weights is about their variance over 2 K.
    assert abs(gaps[-1]) < 0.01 + 4.5 * errors[-1]


def test_another_marginal_changes_the_weights():
    # Under the wider marginal it is another model, with another likelihood.
    x, exact = linear_data(10)
    found = per_example_likelihood(linear_model(marginal=Logistic()), x, 200)
    z = np.random.RandomState(0).logistic(size=(200_000, 2))
    log_p = stats.norm(z @ WEIGHTS + BIAS, math.sqrt(VARIANCE))
    for i in range(2):
        p = np.exp(log_p.logpdf(x[i]).sum(1))
        relative = p.std() / p.mean() / math.sqrt(len(p))
        # 4.5 errors of both estimates; that of 200 weights is below 0.1.
        assert abs(found[i] - np.log(p.mean())) < 4.5 * relative + 0.3
    assert np.abs(found - exact).mean() > 0.3


def test_importance_weights_may_be_tiny():
    x = linear_data(4)[0] + 100
    found = per_example_likelihood(linear_model(), x, 3)
    assert np.isfinite(found).all() and found.max() < -1_000


def test_echo_has_no_importance_weights():
    with pytest.raises(ValueError, match="needs a density q.z.x. of every channel"):
        importance_weighted(autoencoder(trained_echo()), data(), samples=2)


@pytest.mark.parametrize("arguments", [{"samples": 0}, {"batch_size": 0}])
def test_bad_numbers_of_weights_raise(arguments):
    with pytest.raises(ValueError, match="samples and batch_size must be >= 1; rec"):
        importance_weighted(linear_model(), data(), **arguments)


# Generative information, on the same models: I_d is known, and so are the bounds' gaps.

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


def test_with_a_wrong_encoder_the_bounds_are_apart_by_its_divergences():
    model = linear_chain(widen=1.5, shift=0.4)
    found = generative_information(model, 4_000, samples=1, batch_size=1_000, seed=2)
    below, above = gap(PRECISIONS, 1.5, 0.4)
    # The estimate of log p(x) from one code is the ELBO, too low by KL[e || posterior].
    assert below > 0.5 and above > 0.5
    assert_bounds(found, INFORMATION - below, INFORMATION + above)


def test_more_codes_lower_the_upper_bound_and_leave_the_other():
    model = linear_chain(widen=1.5, shift=0.4)
    found = generative_information(model, 1_000, samples=16, batch_size=1_000, seed=2)
    below, _ = gap(PRECISIONS, 1.5, 0.4)
    # The bias of K weights is about their variance over 2 K, 0.05 or so.
    error = 4.5 * found["generative_upper_se"]
    assert -error < found["generative_upper"] - INFORMATION < 0.1 + error
    assert abs(found["generative_lower"] - (INFORMATION - below)) < error


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


def test_components_of_a_vamp_prior_follow_the_encoder():
    encoder = keras.Sequential([keras.Input((6,)), layers.Dense(6)])
    decoder = keras.Sequential([keras.Input((2,)), layers.Dense(6)])
    prior, pseudo = VampPrior(), PseudoInputs(3)
    bottleneck = GaussianBottleneck(2, marginal=prior)
    model = chained(encoder, bottleneck, decoder, pseudo_inputs=pseudo)
    model.compile(loss=losses.Gaussian())
    prior.components.assign(np.zeros((2, 3, 2)))  # those of long ago
    generative_information(model, 2, log_density=lambda x: x[:, 0])
    expected = bottleneck.encode(encoder(pseudo(data())))
    np.testing.assert_allclose(
        array(prior.components), [array(x) for x in expected], rtol=1e-5
    )


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
        ({"n": 0}, "n, samples and batch_size must be >= 1; received 0, 100 and 100"),
        ({"n": 3, "samples": 0}, "received 3, 0 and 100"),
        ({"n": 3, "batch_size": 0}, "received 3, 100 and 0"),
        (
            {"n": 3, "log_density": lambda x: np.zeros((3, 6))},
            r"one number for each image, shape \(3,\); it returned shape \(3, 6\)",
        ),
    ],
)
def test_bad_arguments_of_generative_information_raise(arguments, says):
    with pytest.raises(ValueError, match=says):
        generative_information(linear_chain(), **arguments)


@pytest.mark.parametrize("loss", [losses.SquaredError(), "mse", None])
def test_generative_information_needs_a_likelihood(loss):
    model = linear_chain()
    model = RateDistortionModel(model.input, model.output)
    if loss is not None:
        model.compile(loss=loss)
    with pytest.raises(ValueError, match="a model compiled with a likelihood, such as"):
        generative_information(model, 3)


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
        with pytest.raises(ValueError, match=rf"a density q.*layers are {found}"):
            generative_information(model, 3)


def test_the_published_vamp_prior_has_no_generative_information():
    encoder = keras.Sequential([keras.Input((6,)), layers.Identity()])
    decoder = keras.Sequential([keras.Input((2,)), layers.Dense(6)])
    bottleneck = GaussianBottleneck(2, marginal=VampPrior(variant="published_code"))
    model = chained(encoder, bottleneck, decoder, pseudo_inputs=PseudoInputs(3))
    model.compile(loss=losses.Gaussian())
    with pytest.raises(ValueError, match="no density m.z. that its samples come from"):
        generative_information(model, 3)


# Bad input


@pytest.mark.parametrize("arguments", [{"samples": 0}, {"batch_size": 0}])
def test_bad_numbers_raise(arguments):
    model = deaf_autoencoder(GaussianBottleneck(2))
    with pytest.raises(ValueError, match="samples and batch_size must be >= 1; rec"):
        evaluate(model, data(), **arguments)


def test_unknown_echoes_raise():
    model = deaf_autoencoder(GaussianBottleneck(2))
    sentence = "echoes must be one of bank, batch; received 'train'"
    with pytest.raises(ValueError, match=sentence):
        evaluate(model, data(), echoes="train")


class PerPixel(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return ops.square(y_true - y_pred)


def test_a_loss_that_is_not_per_example_raises():
    model = deaf_autoencoder(GaussianBottleneck(2), loss=PerPixel())
    with pytest.raises(ValueError, match="one number for each example, as those of"):
        evaluate(model, data())


@pytest.mark.parametrize("loss", ["mse", keras.losses.mean_squared_error])
def test_a_loss_of_keras_by_name_or_function_raises(loss):
    model = deaf_autoencoder(GaussianBottleneck(2), loss=loss)
    with pytest.raises(ValueError, match="The model's loss must"):
        evaluate(model, data())


def test_a_model_that_was_not_compiled_raises():
    inputs = keras.Input((6,))
    model = RateDistortionModel(inputs, layers.Dense(6)(inputs))
    with pytest.raises(ValueError, match="The model's loss must"):
        evaluate(model, data())


def test_batch_mode_shuffles_sorted_files_and_puts_results_back(monkeypatch):
    heard = []

    def step(model, batch):
        batch = ops.convert_to_numpy(batch)[:, 0]
        heard.append(batch)
        return [batch], 2 * batch

    monkeypatch.setattr(metrics, "_step", step)
    x = np.arange(40, dtype="float32")[:, None]
    rate, distortion = per_example(None, x, echoes="batch", batch_size=10)
    np.testing.assert_array_equal(rate, x[:, 0])
    np.testing.assert_array_equal(distortion, 2 * x[:, 0])
    # A batch in file order would span 9; one drawn at random spans most of 40.
    assert min(np.ptp(batch) for batch in heard) > 15


# Codes and their law


def test_codes_are_those_of_the_decoder_with_and_without_noise():
    model = autoencoder(GaussianBottleneck(2, noise_variance=0.25))
    x = data(3000)
    bottleneck = model.layers[1]
    mean = array(bottleneck.code(x))
    without = metrics.encode(model, x, noisy=False, batch_size=7)
    np.testing.assert_allclose(without, mean, atol=1e-5)
    noise = metrics.encode(model, x, seed=1) - mean
    # 6,000 draws: the standard deviation within five of its standard errors.
    assert abs(noise.std() - 0.5) < 5 * 0.5 / math.sqrt(12_000)
    again = metrics.encode(model, x, seed=1) - mean
    np.testing.assert_array_equal(again, noise)


def test_in_batches_sees_every_row_once_in_order():
    seen = []

    def function(x):
        seen.append(len(x))
        return 2 * x

    found = metrics.map_batches(function, np.arange(7), batch_size=3)
    np.testing.assert_array_equal(found, 2 * np.arange(7))
    assert seen == [3, 3, 1]


def test_aggregate_posterior_of_the_prior_and_of_others():
    generator = np.random.RandomState(0)
    normal = metrics.aggregate_posterior(generator.normal(size=(4000, 3)))
    # Unbiased: 0 in the mean; its spread over seeds is .0004.
    assert abs(normal["mmd"]) < 0.002
    assert normal["summed_variance"] == pytest.approx(3.0, abs=0.3)
    assert abs(normal["excess_kurtosis"]) < 0.3
    wide = metrics.aggregate_posterior(2.0 * generator.normal(size=(4000, 3)))
    assert wide["mmd"] > 0.02
    assert wide["summed_variance"] == pytest.approx(12.0, abs=1.2)
    uniform = metrics.aggregate_posterior(generator.uniform(size=(4000, 3)))
    assert uniform["excess_kurtosis"] == pytest.approx(-1.2, abs=0.1)


def test_aggregate_posterior_against_another_prior():
    z = np.random.RandomState(0).logistic(size=(4000, 2))
    at_home = metrics.aggregate_posterior(z, Logistic(seed=1))
    abroad = metrics.aggregate_posterior(z)
    assert abs(at_home["mmd"]) < 0.003 < 0.02 < abroad["mmd"]


@pytest.mark.parametrize("shape", [(5,), (1, 2), (5, 2, 1)])
def test_aggregate_posterior_of_what_are_no_codes(shape):
    with pytest.raises(ValueError, match=r"expected codes of shape \(n, d\)"):
        metrics.aggregate_posterior(np.zeros(shape))
