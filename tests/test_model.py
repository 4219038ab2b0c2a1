"""Tests of RateDistortionModel: what it logs, on several backends and devices."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops
from tools import BACKEND, array

from echo_keras import losses
from echo_keras.autoencoders import autoencoder as chained
from echo_keras.layers import (
    DeterministicBottleneck,
    EchoBottleneck,
    GaussianBottleneck,
    Penalty,
)
from echo_keras.model import RateDistortionModel, find_layers

pytestmark = pytest.mark.core

TERMS = ("rate", "distortion", "neg_elbo")


def echo(**arguments):
    # More examples than a batch below, so that the bank tops it up.
    return EchoBottleneck(2, d_max=7, bank_size=16, **arguments)


def gaussian(**arguments):
    return GaussianBottleneck(2, **arguments)


each_bottleneck = pytest.mark.parametrize("bottleneck", [echo, gaussian])


def data(n=10, width=6, seed=0):
    x = np.random.RandomState(seed).random_sample((n, width)) > 0.5
    return x.astype("float32")


def autoencoder(bottleneck, cls=RateDistortionModel, optimizer="sgd", **decoder):
    inputs = keras.Input((6,))
    features = layers.Dense(4, activation="tanh")(inputs)
    logits = layers.Dense(6, dtype="float32", **decoder)(bottleneck(features))
    model = cls(inputs, logits)
    model.compile(optimizer, loss=losses.Bernoulli())
    return model


def compiled(model):
    model.compile("sgd", loss=losses.Bernoulli())
    return model


def deaf_autoencoder(bottleneck, **arguments):
    """Its decoder ignores z: all that is logged is known, whatever the noise."""
    bias = keras.initializers.Constant(np.linspace(-2, 1, 6))
    return autoencoder(
        bottleneck,
        optimizer=keras.optimizers.SGD(0.0),
        kernel_initializer="zeros",
        bias_initializer=bias,
        **arguments,
    )


def expected_of_deaf(model, bottleneck, x):
    """Rate and distortion of each example, by NumPy or outside of any model."""
    bias = array(model.layers[-1].bias)
    distortion = (np.log1p(np.exp(bias)) - x * bias).sum(1)
    rate = array(bottleneck.rate(array(model.layers[1](x))))
    return rate, distortion


def evaluated(model, x, batch_size=4):
    return model.evaluate(x, x, batch_size=batch_size, verbose=0, return_dict=True)


def fitted(model, x, epochs=1, **arguments):
    arguments = {"batch_size": 4, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(x, x, epochs=epochs, **arguments).history


def assert_adds_up(log, beta, prefix="", rtol=1e-5):
    loss, rate, distortion, neg_elbo = (
        np.array(log[prefix + name]) for name in ("loss", *TERMS)
    )
    assert np.all(rate > 0.1) and np.all(distortion > 0.1)
    np.testing.assert_allclose(loss, distortion + beta * rate, rtol=rtol)
    np.testing.assert_allclose(neg_elbo, distortion + rate, rtol=rtol)


# The log


@pytest.mark.parametrize(("bottleneck", "beta"), [(echo, 0.5), (gaussian, 1.0)])
def test_logs_add_up_in_fit_validation_and_evaluate(bottleneck, beta):
    model = autoencoder(bottleneck(beta=beta))
    log = fitted(model, data(), epochs=2, validation_data=(data(7), data(7)))
    assert set(log) == {p + n for p in ("", "val_") for n in ("loss", *TERMS)}
    assert_adds_up(log, beta)
    assert_adds_up(log, beta, prefix="val_")
    assert_adds_up(evaluated(model, data()), beta)


@each_bottleneck
def test_logs_are_means_over_examples(bottleneck):
    bottleneck = bottleneck(beta=0.5)
    model = deaf_autoencoder(bottleneck)
    x = data(10)  # batches of 4, 4 and 2
    rate, distortion = expected_of_deaf(model, bottleneck, x)
    # Were batches weighted alike, the last one would show.
    unweighted = np.mean([distortion[i : i + 4].mean() for i in (0, 4, 8)])
    assert abs(unweighted - distortion.mean()) > 1e-3
    expected = {
        "loss": distortion.mean() + 0.5 * rate.mean(),
        "rate": rate.mean(),
        "distortion": distortion.mean(),
        "neg_elbo": distortion.mean() + rate.mean(),
    }
    logs = [evaluated(model, x, batch_size) for batch_size in (1, 4, 10)]
    # Each epoch afresh, too.
    history = fitted(model, x, epochs=2)
    logs += [{name: v[i] for name, v in history.items()} for i in range(2)]
    for log in logs:
        for name, value in expected.items():
            np.testing.assert_allclose(log[name], value, rtol=1e-5, err_msg=name)


def test_neg_elbo_does_not_change_with_beta():
    channel = gaussian()
    model = deaf_autoencoder(channel)
    logs = []
    for beta in (1.0, 0.0, 7.0):
        channel.channel.beta.assign(beta)
        logs.append(evaluated(model, data()))
        assert_adds_up(logs[-1], beta)
    for log in logs:
        assert log["neg_elbo"] == logs[0]["neg_elbo"]


def test_a_large_beta_leaves_the_digits_of_the_distortion():
    channel = gaussian(beta=1e7)
    model, x = deaf_autoencoder(channel), data()
    _, distortion = expected_of_deaf(model, channel, x)
    for log in (evaluated(model, x), {k: v[0] for k, v in fitted(model, x).items()}):
        assert log["distortion"] == pytest.approx(distortion.mean(), rel=1e-5)


def test_channel_inside_a_nested_model():
    inner = keras.Input((6,))
    bottleneck = gaussian()
    encoder = keras.Model(inner, bottleneck(layers.Dense(4)(inner)))
    inputs = keras.Input((6,))
    model = RateDistortionModel(inputs, layers.Dense(6)(encoder(inputs)))
    model.compile("sgd", loss=losses.Bernoulli())
    assert_adds_up(fitted(model, data()), beta=1.0)
    assert find_layers(model, GaussianBottleneck) == [bottleneck]
    log = evaluated(model, data())
    assert_adds_up(log, beta=1.0)
    rate = array(bottleneck.rate(array(encoder.layers[1](data())))).mean()
    np.testing.assert_allclose(log["rate"], rate, rtol=1e-5)


def test_two_channels_add_up():
    first, second = gaussian(), echo(beta=0.5)
    inputs = keras.Input((6,))
    z = layers.Concatenate()([first(inputs), second(inputs)])
    model = RateDistortionModel(inputs, layers.Dense(6)(z))
    model.compile("sgd", loss=losses.Bernoulli())
    log = evaluated(model, data())
    rates = [array(layer.rate(data())).mean() for layer in (first, second)]
    np.testing.assert_allclose(log["rate"], sum(rates), rtol=1e-5)
    expected = log["distortion"] + rates[0] + 0.5 * rates[1]
    np.testing.assert_allclose(log["loss"], expected, rtol=1e-5)


def test_a_regularizer_is_in_the_loss_alone():
    bottleneck = gaussian()
    model = deaf_autoencoder(bottleneck, bias_regularizer=keras.regularizers.L2(0.1))
    penalty = 0.1 * (np.linspace(-2, 1, 6) ** 2).sum()
    rate, distortion = expected_of_deaf(model, bottleneck, data())
    log = evaluated(model, data())
    np.testing.assert_allclose(log["rate"], rate.mean(), rtol=1e-5)
    np.testing.assert_allclose(log["distortion"], distortion.mean(), rtol=1e-5)
    np.testing.assert_allclose(log["loss"], log["neg_elbo"] + penalty, rtol=1e-5)


@keras.saving.register_keras_serializable(package="echo_keras_tests")
class Power(Penalty):
    """The squared norm of what passes through."""

    def penalty(self, z):
        return ops.sum(ops.square(z), axis=1)


def test_penalties_are_logged_under_their_names_without_their_weights(tmp_path):
    inputs = keras.Input((6,))
    z = Power(weight=0.5, name="power_of_x")(inputs)
    inner = keras.Input((2,))
    nested = keras.Model(inner, Power(weight=0.0, name="power_of_z")(inner))
    z = nested(gaussian()(z))
    bias = keras.initializers.Constant(np.linspace(-2, 1, 6))
    dense = layers.Dense(6, kernel_initializer="zeros", bias_initializer=bias)
    model = compiled(RateDistortionModel(inputs, dense(z)))
    model.save(tmp_path / "model.keras")
    for m in (model, keras.saving.load_model(tmp_path / "model.keras")):
        log = evaluated(m, data())  # batches of 4, 4 and 2
        assert set(log) == {"loss", "power_of_x", "power_of_z", *TERMS}
        power = (data() ** 2).sum(1).mean()
        np.testing.assert_allclose(log["power_of_x"], power, rtol=1e-5)
        assert log["power_of_z"] > 0.1
        expected = log["neg_elbo"] + 0.5 * power
        np.testing.assert_allclose(log["loss"], expected, rtol=1e-5)
        neg_elbo = log["rate"] + log["distortion"]
        np.testing.assert_allclose(log["neg_elbo"], neg_elbo, rtol=1e-5)


def test_other_metrics_stay():
    model = deaf_autoencoder(gaussian())
    metric = keras.metrics.MeanSquaredError(name="error")
    model.compile("sgd", loss=losses.Bernoulli(), metrics=[metric])
    log = evaluated(model, data())
    assert set(log) == {"loss", "error", *TERMS}
    bias = np.linspace(-2, 1, 6)
    np.testing.assert_allclose(log["error"], ((data() - bias) ** 2).mean(), rtol=1e-5)


@pytest.mark.parametrize("code", [layers.Dense, DeterministicBottleneck])
def test_without_a_channel_there_is_no_rate_and_no_elbo(code, tmp_path):
    model = autoencoder(code(2))
    log = fitted(model, data(), validation_data=(data(7), data(7)))
    assert set(log) == {"loss", "distortion", "val_loss", "val_distortion"}
    model.save(tmp_path / "model.keras")
    log = evaluated(keras.saving.load_model(tmp_path / "model.keras"), data())
    assert set(log) == {"loss", "distortion"} and log["loss"] == log["distortion"] > 0.1


@pytest.mark.parametrize("name", ["neg_elbo", "rate", "distortion", "power"])
def test_callbacks_know_that_smaller_is_better(name, tmp_path):
    inputs = keras.Input((6,))
    logits = layers.Dense(6)(Power(name="power")(gaussian()(inputs)))
    model = compiled(RateDistortionModel(inputs, logits))
    path, val = tmp_path / "best.keras", f"val_{name}"
    best = keras.callbacks.ModelCheckpoint(path, val, save_best_only=True)
    stop = keras.callbacks.EarlyStopping(val, patience=9)
    worst = keras.callbacks.ModelCheckpoint(path, val, save_best_only=True, mode="max")
    callbacks = [best, stop, worst]
    held_out = (data(7), data(7))
    log = fitted(model, data(), 3, validation_data=held_out, callbacks=callbacks)
    assert best.best == stop.best == min(log[val]) < max(log[val]) == worst.best


@pytest.mark.parametrize("run", [fitted, evaluated])
def test_without_a_loss_training_and_evaluating_raise(run):
    inputs = keras.Input((6,))
    model = RateDistortionModel(inputs, layers.Dense(6)(gaussian()(inputs)))
    model.compile("adam")
    with pytest.raises(ValueError, match="must be compiled with a loss, the distort"):
        run(model, data())


@each_bottleneck
def test_a_plain_keras_model_trains_alike(bottleneck):
    logs, weights = [], []
    for cls in (keras.Model, RateDistortionModel):
        keras.utils.set_random_seed(1)
        model = autoencoder(bottleneck(), cls=cls)
        logs.append(fitted(model, data(), epochs=3)["loss"])
        weights.append(model.get_weights()[:2])
    np.testing.assert_allclose(logs[0], logs[1], rtol=1e-5)
    for plain, ours in zip(*weights, strict=True):
        np.testing.assert_allclose(plain, ours, rtol=1e-4, atol=1e-6)


# Saving


@each_bottleneck
def test_saved_model_continues(bottleneck, tmp_path):
    model = autoencoder(bottleneck(beta=0.5), optimizer="adam")
    fitted(model, data(), epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded) is RateDistortionModel
    assert isinstance(loaded.loss, losses.Bernoulli)
    logs = [fitted(m, data(), epochs=2) for m in (model, loaded)]
    assert_adds_up(logs[1], beta=0.5)
    for name, values in logs[0].items():
        np.testing.assert_allclose(logs[1][name], values, rtol=1e-5, err_msg=name)
    for w, again in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(again, w, rtol=1e-5, atol=1e-6)


def test_clone():
    model = autoencoder(echo(parametrization="paper"))
    clone = keras.models.clone_model(model)
    assert type(clone) is RateDistortionModel
    ours, theirs = (m.layers[2] for m in (model, clone))
    assert ours is not theirs and ours.channel is not theirs.channel
    assert ours.get_config() == theirs.get_config()
    assert set(evaluated(compiled(clone), data())) == {"loss", *TERMS}


# Precision, compilation, devices


@pytest.mark.parametrize(
    ("bottleneck", "policy"),
    [
        (echo, "mixed_bfloat16"),
        (gaussian, "mixed_float16"),
    ],
)
def test_half_precision_logs_like_full(bottleneck, policy):
    # Small steps: in float16, Keras skips the first ones until its scale fits.
    logs = []
    for dtype in ("float32", policy):
        keras.config.set_dtype_policy(dtype)
        keras.utils.set_random_seed(1)
        model = autoencoder(bottleneck())
        logs.append(evaluated(model, data()))
        assert all(m.dtype == "float32" for m in model.metrics)
        trained = fitted(model, data(), epochs=2)
    for name in ("loss", *TERMS):
        # bfloat16 keeps 8 bits; features and code enter with an error of 2^-9.
        np.testing.assert_allclose(logs[1][name], logs[0][name], rtol=0.02)
    # Training may part ways (float16 skips steps while it finds its loss scale).
    assert_adds_up(trained, beta=1.0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's XLA")
def test_xla_changes_nothing():
    logs = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(1)
        # What is drawn under XLA differs, so the decoder does not listen.
        model = deaf_autoencoder(echo())
        model.compile(
            keras.optimizers.SGD(0.0), loss=losses.Bernoulli(), jit_compile=jit_compile
        )
        logs.append(fitted(model, data()))
        assert model.jit_compile == jit_compile
    for name in ("loss", *TERMS):
        np.testing.assert_allclose(logs[1][name], logs[0][name], rtol=1e-5)


# Batches of 4 and a last one of 2, split between two devices. With a variance of
# 1e-12 noise does not show in the numbers.
MIRRORED = """
import json
import keras
import numpy as np
import tensorflow as tf
from echo_keras import losses
from echo_keras.layers import GaussianSample
from echo_keras.model import RateDistortionModel

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)

def run():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    z = GaussianSample(noise_variance=1e-12, beta=0.5)(keras.layers.Dense(2)(inputs))
    penalty = keras.regularizers.L2(0.1)
    outputs = keras.layers.Dense(6, kernel_regularizer=penalty)(z)
    model = RateDistortionModel(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.01), loss=losses.Bernoulli())
    x = (np.random.RandomState(0).random_sample((10, 6)) > 0.5).astype("float32")
    arguments = {"batch_size": 4, "verbose": 0}
    log = model.fit(
        x, x, epochs=2, shuffle=False, validation_data=(x, x), **arguments
    ).history
    log.update(model.evaluate(x, x, return_dict=True, **arguments))
    return log

single = run()
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope() as scope:
    assert tf.distribute.get_strategy().num_replicas_in_sync == 2
    print(json.dumps([single, run()]))
"""


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's own")
def test_two_devices_log_what_one_does(repository):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MIRRORED],
        cwd=repository,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    single, mirrored = json.loads(result.stdout.splitlines()[-1])
    assert set(single) == set(mirrored) and len(single["val_rate"]) == 2
    for name, values in single.items():
        np.testing.assert_allclose(mirrored[name], values, rtol=1e-4, err_msg=name)


# Assembling


def test_noise_on_the_input_reaches_the_encoder_alone():
    class Shift(layers.Layer):
        def call(self, inputs):
            return inputs + 1.0

    encoder = keras.Sequential([keras.Input((2,)), layers.Identity()])
    bottleneck = GaussianBottleneck(2, noise_variance=1e-12)
    decoder = keras.Sequential([keras.Input((2,)), layers.Identity()])
    model = chained(encoder, bottleneck, decoder, input_noise=Shift())
    bottleneck.heads[0].set_weights([np.eye(2), np.zeros(2)])
    x = np.zeros((3, 2), "float32")
    np.testing.assert_allclose(array(model(x)), np.ones((3, 2)), atol=1e-4)
