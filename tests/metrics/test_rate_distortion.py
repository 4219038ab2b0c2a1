"""Tests of evaluate: means, standard errors, samples, units and echoes."""

import math
import re

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops
from linear_gaussian import BIAS, VARIANCE, WEIGHTS, linear_data, linear_model
from scipy import stats
from tools import BACKEND, array

from echo_keras import losses
from echo_keras.layers import (
    DeterministicBottleneck,
    EchoBottleneck,
    EchoSample,
    GaussianBottleneck,
    GaussianSample,
    Logistic,
    QuantizedBottleneck,
)
from echo_keras.metrics import rate_by_dimension, rate_distortion
from echo_keras.metrics.forward import Forward
from echo_keras.metrics.rate_distortion import (
    evaluate,
    importance_weighted,
    per_example,
    per_example_likelihood,
)
from echo_keras.model import RateDistortionModel

pytestmark = pytest.mark.core

NAMES = ("rate", "distortion", "neg_elbo")


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
    for batch_size in (4, 100):
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


# What a rate says


def test_without_a_channel_there_is_no_rate():
    model = deaf_autoencoder(DeterministicBottleneck(2))
    expected = array(losses.Bernoulli().call(data(), model(data())))
    assert evaluate(model, data(), training_set=True) == {
        "distortion": pytest.approx(expected.mean(), rel=1e-5),
        "distortion_se": pytest.approx(expected.std(ddof=1) / math.sqrt(10), rel=1e-4),
        "log_n": pytest.approx(math.log(len(np.unique(data(), axis=0)))),
    }
    assert per_example(model, data())[0] is None
    with pytest.raises(ValueError, match="needs a density q.z.x. of every channel"):
        importance_weighted(model, data())


def three_inputs():
    """An Echo model with a rate of 6.21, of three distinct inputs, 100 times each."""
    bottleneck = EchoBottleneck(2, d_max=7, bank_size=16)
    model = deaf_autoencoder(bottleneck)
    x = np.tile(np.eye(3, 6, dtype="float32"), (100, 1))
    bottleneck(x, training=True)
    log_s = np.full(2, (bottleneck.channel.min_rate - 6.21) / 2)
    bottleneck.heads[1].set_weights([np.zeros((6, 2)), log_s])
    return model, x


def test_three_inputs_have_no_more_than_log_3_to_tell():
    model, x = three_inputs()
    with pytest.warns(
        UserWarning, match=r"6\.21 nats, is above log n = 1\.10 .* n = 3"
    ):
        found = evaluate(model, x, training_set=True)
    assert found["rate"] == pytest.approx(6.21, abs=1e-4)
    assert found["log_n"] == pytest.approx(math.log(3))
    with pytest.warns(UserWarning, match="above log n"):
        bits = evaluate(model, Pairs(x), training_set=True, bits=True)
    assert bits["log_n_bits"] == pytest.approx(math.log2(3))


def test_what_is_no_training_set_or_says_less_than_log_n_does_not_warn():
    # The tests make an error of every warning.
    model, x = three_inputs()
    assert "log_n" not in evaluate(model, x)
    x = np.random.RandomState(0).random_sample((2_000, 6)).astype("float32")
    found = evaluate(model, x, training_set=True)
    assert found["log_n"] == pytest.approx(math.log(2_000))  # 7.60
    # A Gaussian channel never claims more than an upper bound.
    many = keras.initializers.Constant(9.0)
    gaussian = deaf_autoencoder(GaussianBottleneck(2))
    gaussian.layers[1].heads[0].bias.assign(many((2,)))
    found = evaluate(gaussian, data(), training_set=True)
    assert found["rate"] > 9 > found["log_n"]


def test_examples_of_several_inputs_differ_in_any_of_them():
    image, label = keras.Input((6,)), keras.Input((3,))
    model = pixel_model([image, label], layers.Concatenate()([image, label]))
    x, labels = np.zeros((6, 6), "float32"), np.eye(3, dtype="float32")[[0, 1, 2] * 2]
    found = evaluate(model, [x, labels], x, training_set=True)
    assert found["log_n"] == pytest.approx(math.log(3))


def test_the_capacity_of_noise_of_fixed_variance():
    # VCAE paper, Sec. 4: d / 2 log(1 / variance), whatever the encoder does.
    model = autoencoder(GaussianBottleneck(16, noise_variance=0.05), losses.Gaussian())
    found = evaluate(model, data(), bits=True)
    assert found["capacity_bits"] == pytest.approx(8 * math.log2(20))
    found = evaluate(model, data())
    assert found["capacity"] == pytest.approx(8 * math.log(20))  # 23.97 nats
    for bottleneck in (
        GaussianBottleneck(2),
        GaussianBottleneck(2, noise_variance=1.5),
    ):
        assert "capacity" not in evaluate(deaf_autoencoder(bottleneck), data())


def test_each_call_of_a_channel_has_its_capacity():
    inputs, other = keras.Input((6,)), GaussianSample(noise_variance=0.5)
    twice = GaussianSample(noise_variance=0.25)
    codes = [c(layers.Dense(3)(inputs)) for c in (twice, twice, other)]
    model = RateDistortionModel(inputs, layers.Dense(6)(layers.Concatenate()(codes)))
    model.compile(loss=losses.Bernoulli())
    # 3 / 2 log(1 / variance) of each call.
    expected = 1.5 * (2 * math.log(4) + math.log(2))
    assert evaluate(model, data())["capacity"] == pytest.approx(expected)


def test_one_named_input_is_its_own_target():
    inputs = {"image": keras.Input((6,), name="image")}
    model = pixel_model(inputs, inputs["image"])
    found = evaluate(model, {"image": data()})
    assert found == pytest.approx(evaluate(model, {"image": data()}, data()), rel=1e-4)
    log = model.evaluate({"image": data()}, verbose=0, return_dict=True)
    assert found["rate"] == pytest.approx(log["rate"], rel=1e-5)
    model.compile(loss=losses.Bernoulli())  # the input is checked as a target
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        evaluate(model, {"image": data() + 1})


@pytest.mark.parametrize(
    "loss", [losses.Bernoulli(), [losses.Bernoulli(), losses.Bernoulli()]]
)
def test_a_model_of_several_outputs_is_refused_for_its_outputs(loss):
    inputs = keras.Input((6,))
    z = GaussianBottleneck(2)(inputs)
    model = RateDistortionModel(inputs, [layers.Dense(6)(z), layers.Dense(6)(z)])
    model.compile(loss=loss)
    with pytest.raises(ValueError, match="model must have one output, and one loss"):
        evaluate(model, data())


# In training mode


def normalized_model(momentum=0.99):
    """Codes without noise to speak of, normalized by those of the batch."""
    inputs = keras.Input((6,))
    z = GaussianBottleneck(3, noise_variance=1e-12)(inputs)
    z = layers.BatchNormalization(momentum=momentum, epsilon=0.0)(z)
    model = RateDistortionModel(inputs, layers.Dense(6)(z))
    model.compile(loss=losses.SquaredError())
    return model


def test_in_training_mode_batches_are_normalized_by_themselves():
    model, x = normalized_model(), data(20)
    bottleneck, _, decoder = model.layers[1:]
    z = array(bottleneck.code(x)).astype("float64")
    order, kernel = np.random.RandomState(0).permutation(20), array(decoder.kernel)
    expected = np.zeros(20)
    for here in np.split(order, 4):
        batch = (z[here] - z[here].mean(axis=0)) / z[here].std(axis=0)
        expected[here] = np.square(batch @ kernel - x[here]).sum(axis=1)
    before = model.get_weights()
    found = evaluate(model, x, batch_size=5, training=True)
    assert found["distortion"] == pytest.approx(expected.mean(), rel=1e-4)
    inference = np.square(z @ kernel - x).sum(axis=1).mean()
    assert evaluate(model, x)["distortion"] == pytest.approx(inference, rel=1e-4)
    # Nothing but the state of the noise has moved.
    names = [w.name for w in model.weights]
    for name, old, new in zip(names, before, model.get_weights(), strict=True):
        if name != "seed_generator_state":
            np.testing.assert_array_equal(old, new, err_msg=name)


def test_in_training_mode_a_vae_is_what_it_is_at_inference():
    model = autoencoder(GaussianBottleneck(2))
    x = np.repeat(data(8), 500, axis=0)
    training, inference = (evaluate(model, x, training=t) for t in (True, False))
    assert training["rate"] == pytest.approx(inference["rate"], rel=1e-5)
    # The noise of batches must be independent: 40 batches of one draw of noise would
    # be six times as far apart as 4,000 draws.
    error = math.hypot(training["distortion_se"], inference["distortion_se"])
    assert abs(training["distortion"] - inference["distortion"]) < 4.5 * error


def test_in_training_mode_echoes_come_from_the_batch():
    model, x = echo_autoencoder(), np.repeat(data(1), 12, axis=0)
    found = evaluate(model, x, training=True, batch_size=12)
    assert found["distortion_se"] < 1e-4


# Dimensions


def bare_channel(x):
    """An Echo channel without the layer around it."""
    return EchoSample(d_max=7, bank_size=16)([layers.Dense(2)(x), layers.Dense(2)(x)])


def test_rates_of_dimensions_add_up_to_the_rate():
    for layer in (trained_echo(), GaussianBottleneck(2), bare_channel):
        model = deaf_autoencoder(layer)
        found = rate_by_dimension(model, data(), batch_size=4)
        assert found.shape == (2,) and found.std() > 1e-3
        assert found.sum() == pytest.approx(evaluate(model, data())["rate"], rel=1e-5)


def test_what_does_not_add_up_has_no_rates_of_dimensions():
    for bottleneck in (
        DeterministicBottleneck(2),
        GaussianBottleneck(2, marginal=Logistic()),
    ):
        assert rate_by_dimension(deaf_autoencoder(bottleneck), data()) is None
    # A quantizer's are those of its groups.
    model = deaf_autoencoder(QuantizedBottleneck(4, codewords=4, groups=2))
    np.testing.assert_allclose(rate_by_dimension(model, data()), np.log([4, 4]))


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


# Inputs and targets


def pixel_model(inputs, code):
    """Its code has hardly any noise, so that its numbers are those of any order."""
    z = GaussianBottleneck(4, noise_variance=1e-12)(code)
    model = RateDistortionModel(inputs, layers.Dense(6)(z))
    model.compile(loss=losses.Gaussian())
    return model


class Pairs(keras.utils.PyDataset):
    """Batches of 4 of inputs, a structure of arrays, and perhaps of targets."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return 3

    def __getitem__(self, index):
        here = slice(4 * index, 4 * index + 4)
        found = tuple(
            {k: v[here] for k, v in a.items()} if isinstance(a, dict) else a[here]
            for a in self.arrays
        )
        return found if len(found) > 1 else found[0]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def expected_of(model, x, y):
    output = array(model(x))
    error = 0.5 * (np.square(y - output) + np.log(2 * np.pi)).sum(axis=1)
    return error


def test_a_conditional_model_has_several_inputs():
    image, label = keras.Input((6,), name="image"), keras.Input((3,), name="label")
    model = pixel_model([image, label], layers.Concatenate()([image, label]))
    x, labels = data(11), np.eye(3, dtype="float32")[np.arange(11) % 3]
    found = per_example(model, [x, labels], x, batch_size=4)
    np.testing.assert_allclose(found[1], expected_of(model, [x, labels], x), rtol=1e-4)
    named = {"image": x, "label": labels}
    other = RateDistortionModel({"image": image, "label": label}, model.output)
    other.compile(loss=losses.Gaussian())
    assert_same(per_example(other, named, x), found)
    assert_same(per_example(other, Pairs(named, x)), found)
    result = evaluate(other, named, x, echoes="batch", batch_size=4)
    assert result["distortion"] == pytest.approx(found[1].mean(), rel=1e-4)
    with pytest.raises(ValueError, match="y must be given .* Received: y=None with 2"):
        per_example(model, [x, labels])


def test_denoising_has_targets_that_are_not_the_inputs():
    inputs = keras.Input((6,))
    model = pixel_model(inputs, inputs)
    x = data(11)
    noisy = x + np.random.RandomState(1).normal(size=x.shape).astype("float32")
    found = per_example(model, noisy, x, batch_size=4)
    np.testing.assert_allclose(found[1], expected_of(model, noisy, x), rtol=1e-4)
    assert np.abs(found[1] - per_example(model, noisy)[1]).max() > 0.1


def batches_of(kind, *arrays):
    if kind == "PyDataset":
        return Pairs(*arrays)
    if kind == "generator":
        return (Pairs(*arrays)[i] for i in range(3))
    if kind == "tf.data":
        if BACKEND != "tensorflow":
            pytest.skip("on TensorFlow")
        import tensorflow as tf

        arrays = arrays if len(arrays) > 1 else arrays[0]
        return tf.data.Dataset.from_tensor_slices(arrays).batch(4)
    if BACKEND != "torch":
        pytest.skip("on PyTorch")
    from torch import from_numpy
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(*map(from_numpy, arrays)), batch_size=4)


@pytest.mark.parametrize("kind", ["PyDataset", "generator", "tf.data", "DataLoader"])
def test_batches_give_the_numbers_of_the_array(kind):
    model = autoencoder(GaussianBottleneck(2, seed=3), losses.Gaussian())
    state = model.layers[1].channel.seed_generator.state
    before, x, y = array(state).copy(), data(11), data(11, seed=1)
    for arrays in ((x,), (x, y)):
        state.assign(before)
        expected = per_example(model, *arrays, batch_size=4, samples=2)
        state.assign(before)
        found = per_example(model, batches_of(kind, *arrays), samples=2)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    state.assign(before)
    expected = per_example_likelihood(model, x, y, batch_size=4, samples=2)
    state.assign(before)
    found = per_example_likelihood(model, batches_of(kind, x, y), samples=2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_batches_do_not_take_raises():
    model, x = deaf_autoencoder(GaussianBottleneck(2)), data(11)
    with pytest.raises(ValueError, match="y must be None for data that come in"):
        evaluate(model, Pairs(x), x)
    with pytest.raises(ValueError, match="batch_size and order must be None"):
        evaluate(model, Pairs(x), batch_size=4)
    with pytest.raises(ValueError, match="sample weights, which are not used"):
        evaluate(model, Pairs(x, x, np.ones(11)))


def test_pixels_of_8_bits_and_bools_are_numbers():
    model = deaf_autoencoder(GaussianBottleneck(2))
    x = data(11)
    expected = evaluate(model, x)
    for dtype in ("uint8", "bool", "float64"):
        assert evaluate(model, x.astype(dtype)) == pytest.approx(expected)


# Importance weighting


def test_with_the_posterior_every_weight_is_the_likelihood():
    x, exact = linear_data(10)
    for samples in (1, 3):
        found = per_example_likelihood(linear_model(), x, samples=samples, batch_size=4)
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
    found = per_example_likelihood(model, x, samples=1, batch_size=1_000)
    other = evaluate(model, x, batch_size=1_000)
    error = math.hypot(found.std() / math.sqrt(4_000), other["neg_elbo_se"])
    assert abs(found.mean() + other["neg_elbo"]) < 4.5 * error


def test_more_samples_rise_to_the_likelihood():
    x, exact = (np.repeat(a, 500, axis=0) for a in linear_data(2))
    model = linear_model(widen=1.5, shift=0.4)
    found = [
        per_example_likelihood(model, x, samples=k, batch_size=1_000) - exact
        for k in (1, 6, 36)
    ]
    gaps = [gap.mean() for gap in found]
    errors = [gap.std() / math.sqrt(1_000) for gap in found]
    for k in range(2):
        assert gaps[k + 1] - gaps[k] > -4.5 * math.hypot(errors[k], errors[k + 1])
    assert gaps[0] < -0.2
    # The bias of K weights is about their variance over 2 K.
    assert abs(gaps[-1]) < 0.03 + 4.5 * errors[-1]


def test_another_marginal_changes_the_weights():
    # Under the wider marginal it is another model, with another likelihood.
    x, exact = linear_data(10)
    found = per_example_likelihood(linear_model(marginal=Logistic()), x, samples=200)
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
    found = per_example_likelihood(linear_model(), x, samples=3)
    assert np.isfinite(found).all() and found.max() < -1_000


def test_echo_has_no_importance_weights():
    with pytest.raises(ValueError, match="needs a density q.z.x. of every channel"):
        importance_weighted(autoencoder(trained_echo()), data(), samples=2)


@pytest.mark.parametrize("arguments", [{"samples": 0}, {"batch_size": 0}])
def test_bad_numbers_of_weights_raise(arguments):
    with pytest.raises(ValueError, match="must be an integer >= 1. Received"):
        importance_weighted(linear_model(), data(), **arguments)


# Bad input


no_counts = st.one_of(
    st.integers(max_value=0),
    st.floats().filter(lambda value: not (value >= 1 and value.is_integer())),
    st.text(max_size=3),
    st.lists(st.integers(1, 9), max_size=2),
)


def test_numbers_that_are_no_counts_raise():
    model, x = deaf_autoencoder(GaussianBottleneck(2)), data()

    @settings(max_examples=60, deadline=None, database=None)
    @given(name=st.sampled_from(["samples", "batch_size"]), value=no_counts)
    def check(name, value):
        sentence = re.escape(
            f"{name} must be an integer >= 1. Received: {name}={value!r}"
        )
        with pytest.raises(ValueError, match=sentence):
            evaluate(model, x, **{name: value})

    check()


def test_whole_numbers_of_other_types_are_counts():
    model, x = deaf_autoencoder(GaussianBottleneck(2)), data()
    expected = evaluate(model, x)
    for batch_size in (np.int64(3), np.uint8(3)):
        found = evaluate(model, x, samples=np.int32(1), batch_size=batch_size)
        assert found == pytest.approx(expected)


def test_a_single_number_that_is_not_finite_is_found():
    model = deaf_autoencoder(GaussianBottleneck(2))

    @settings(max_examples=40, deadline=None, database=None)
    @given(
        which=st.sampled_from("xy"),
        where=st.integers(0, 59),
        value=st.sampled_from([np.nan, np.inf, -np.inf]),
        echoes=st.sampled_from(["bank", "batch"]),
        batch_size=st.integers(1, 12),
    )
    def check(which, where, value, echoes, batch_size):
        arrays = {"x": data(), "y": data()}
        arrays[which].flat[where] = value
        sentence = f"^{which} must be finite. Received: NaN or infinity"
        with pytest.raises(ValueError, match=sentence):
            evaluate(model, **arrays, echoes=echoes, batch_size=batch_size)

    check()


def test_inputs_and_targets_of_different_length_raise():
    model = deaf_autoencoder(GaussianBottleneck(2))

    @settings(max_examples=20, deadline=None, database=None)
    @given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(["bank", "batch"]))
    def check(n, more, echoes):
        sentence = f"as many in each array. Received: arrays of length {n}, {n + more}"
        with pytest.raises(ValueError, match=sentence):
            evaluate(model, data(n), data(n + more), echoes=echoes)

    check()


@settings(max_examples=30, deadline=None, database=None)
@given(
    st.text("banktch", max_size=9).filter(lambda text: text not in ("bank", "batch"))
    | st.none()
)
def test_unknown_echoes_raise(echoes):
    sentence = f"echoes must be one of bank, batch. Received: echoes={echoes!r}"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        evaluate(None, data(), echoes=echoes)


class PerPixel(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return ops.square(y_true - y_pred)


def test_a_loss_that_is_not_per_example_raises():
    model = deaf_autoencoder(GaussianBottleneck(2), loss=PerPixel())
    with pytest.raises(ValueError, match="one number for each example, as those of"):
        evaluate(model, data())


@pytest.mark.parametrize("loss", ["mse", keras.losses.mean_squared_error])
def test_a_loss_of_keras_by_name_or_function_raises(loss):
    model = deaf_autoencoder(GaussianBottleneck(2))
    model = keras.Model(model.input, model.output)
    model.compile(loss=loss)
    with pytest.raises(ValueError, match="The model's loss must"):
        evaluate(model, data())


def test_a_model_that_was_not_compiled_raises():
    inputs = keras.Input((6,))
    model = RateDistortionModel(inputs, layers.Dense(6)(inputs))
    with pytest.raises(ValueError, match="The model's loss must"):
        evaluate(model, data())


def test_batch_mode_shuffles_sorted_files_and_puts_results_back(monkeypatch):
    heard = []

    def forward_pass(model, echoes, training):
        def run(x, y):
            x = x[:, 0]
            heard.append(x)
            return Forward(None, x, None, 2 * x)

        return run

    monkeypatch.setattr(rate_distortion, "forward_pass", forward_pass)
    x = np.arange(40, dtype="float32")[:, None]
    model = keras.Sequential()
    rate, distortion = per_example(model, x, echoes="batch", batch_size=10)
    np.testing.assert_array_equal(rate, x[:, 0])
    np.testing.assert_array_equal(distortion, 2 * x[:, 0])
    # A batch in file order would span 9; one drawn at random spans most of 40.
    assert min(np.ptp(batch) for batch in heard) > 15
    order = np.random.RandomState(0).permutation(40)
    np.testing.assert_array_equal(np.concatenate(heard), order)
