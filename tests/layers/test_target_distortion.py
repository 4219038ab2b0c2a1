"""Tests of the multiplier that holds the distortion at a target."""

import keras
import numpy as np
import pytest
from keras import ops
from tools import array, normal

from echo_keras import RateDistortionModel
from echo_keras.layers import GaussianSample, TargetDistortion, collect_draws
from echo_keras.losses import Bernoulli, SquaredError

pytestmark = pytest.mark.core


def pair(distortion, n=4):
    """Data and reconstructions of this squared error each."""
    return [np.zeros((n, 1)), np.full((n, 1), distortion**0.5)]


def test_lambda_follows_its_rule():
    layer = TargetDistortion(
        4.0, SquaredError(), step_size=0.2, initial=0.5, smoothing=0.75
    )
    average, log_weight = 4.0, np.log(0.5)
    for distortion in (9.0, 9.0, 1.0, 100.0):
        inputs = pair(distortion)
        x_hat = layer(inputs, training=True)
        np.testing.assert_array_equal(array(x_hat), inputs[1].astype("float32"))
        average += 0.25 * (distortion - average)
        log_weight += 0.2 * np.clip((average - 4.0) / 4.0, -1, 1)
        np.testing.assert_allclose(array(layer.weight), np.exp(log_weight), rtol=1e-5)
        # The loss has the lambda that this call has set.
        expected = (np.exp(log_weight) - 1) * distortion
        np.testing.assert_allclose(array(layer.losses[0]), expected, rtol=1e-4)
        np.testing.assert_allclose(array(layer.last_value), distortion, rtol=1e-5)


def test_nothing_moves_but_in_training():
    layer = TargetDistortion(4.0, SquaredError(), initial=2.0)
    layer(pair(9.0))
    layer(pair(9.0), training=False)
    with collect_draws():
        layer(pair(9.0), training=True)
    assert float(array(layer.weight)) == 2.0 and float(array(layer.average)) == 4.0
    np.testing.assert_allclose(array(layer.losses[0]), 9.0, rtol=1e-5)


def test_lambda_stays_within_its_bounds():
    layer = TargetDistortion(
        1.0, SquaredError(), step_size=2.0, smoothing=0.0, low=0.5, high=3.0
    )
    for distortion, bound in ((50.0, 3.0), (0.0, 0.5)):
        for _ in range(4):
            layer(pair(distortion), training=True)
        np.testing.assert_allclose(array(layer.weight), bound, rtol=1e-6)


def test_training_settles_at_the_target():
    """Of a normal x, D* is reached by 1/2 log 1/D* nats, of slope -1 / 2 D*."""
    keras.utils.set_random_seed(0)
    x = normal(512, 1)
    x = (x - x.mean()) / x.std()
    target = 0.3
    inputs = keras.Input((1,))
    mean = keras.layers.Dense(1, name="mean")(inputs)
    log_var = keras.layers.Dense(1, kernel_initializer="zeros", name="log_var")(
        ops.ones_like(inputs)
    )
    z = GaussianSample(seed=0, name="channel")([mean, log_var])
    x_hat = keras.layers.Dense(1)(z)
    layer = TargetDistortion(target, SquaredError(), step_size=0.02, name="lambda")
    model = RateDistortionModel(inputs, layer([inputs, x_hat]))
    model.compile(keras.optimizers.Adam(0.03), loss=SquaredError())
    logs = model.fit(x, batch_size=128, epochs=150, verbose=0).history
    last = {name: np.mean(values[-50:]) for name, values in logs.items()}
    assert last["distortion"] == pytest.approx(target, rel=0.05)
    assert last["rate"] == pytest.approx(0.5 * np.log(1 / target), rel=0.05)
    assert last["lambda"] == pytest.approx(1 / (2 * target), rel=0.1)
    # What is logged as the distortion is the compiled loss, without the layer's term.
    assert last["neg_elbo"] == pytest.approx(last["rate"] + last["distortion"])


def test_it_goes_on_where_it_was_saved(tmp_path):
    inputs = keras.Input((1,))
    x_hat = keras.layers.Dense(1)(GaussianSample()([inputs, ops.zeros_like(inputs)]))
    layer = TargetDistortion(2.0, SquaredError(), step_size=0.3, name="lambda")
    model = RateDistortionModel(inputs, layer([inputs, x_hat]))
    model.compile("sgd", loss=SquaredError())
    model.fit(normal(32, 1), epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").get_layer("lambda")
    assert loaded.get_config() == layer.get_config()
    for name in ("weight", "average"):
        before, after = getattr(layer, name), getattr(loaded, name)
        assert float(array(before)) == float(array(after)) not in (1.0, 2.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, Bernoulli()), "distortion must be a .* > 0.* distortion=0.0"),
        ((1.0, keras.losses.MeanSquaredError()), "loss must be one that gives nats"),
        ((1.0, "mse"), "loss must be one that gives nats.* loss='mse'"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TargetDistortion(*arguments)


def test_half_precision_does_not_round_the_output_nor_the_data():
    layer = TargetDistortion(4.0, SquaredError(), dtype="mixed_bfloat16")
    x, x_hat = (ops.full((2, 3), value) for value in (0.0, 1.001))  # 1 in bfloat16
    np.testing.assert_array_equal(array(layer([x, x_hat])), array(x_hat))
    assert float(array(layer.last_value)) == pytest.approx(3 * 1.001**2, rel=1e-6)


def small_model():
    inputs = keras.Input((3,))
    x_hat = keras.layers.Dense(3)(GaussianSample()([inputs, ops.zeros_like(inputs)]))
    layer = TargetDistortion(2.0, SquaredError(), initial=3.0, name="lambda")
    model = RateDistortionModel(inputs, layer([inputs, x_hat]))
    model.compile("sgd", loss=SquaredError())
    return model


def test_sample_weights_are_those_of_the_compiled_loss():
    model, weights = small_model(), np.array([0.0, 2.0, 1.0, 3.0])
    x = normal(4, 3)
    log = model.evaluate(x, sample_weight=weights, verbose=0, return_dict=True)
    assert log["loss"] != pytest.approx(log["neg_elbo"], rel=0.1)
    rate = np.mean(weights * np.square(x).sum(axis=1) / 2)
    expected = log["distortion"] * 3.0 + rate
    assert log["loss"] == pytest.approx(expected, rel=1e-5)


def test_weights_of_values_are_refused():
    x, message = normal(4, 3), r"sample_weight must have the shape \(batch,\) .* 3\)"
    for name in ("fit", "evaluate"):
        # A model each: one whose `fit` has raised is of no more use on JAX.
        function = getattr(small_model(), name)
        with pytest.raises(ValueError, match=message):
            function(x, sample_weight=np.ones((4, 3)), verbose=0)


def test_a_second_call_of_a_step_adds_to_the_distortion_of_the_first():
    layer = TargetDistortion(10.0, SquaredError(), step_size=0.2, smoothing=0.0)
    x, a, b = (keras.Input((1,)) for _ in range(3))
    outputs = [layer([x, a]), layer([x, b])]
    model = RateDistortionModel([x, a, b], outputs)
    model.compile("sgd", loss=[SquaredError(), SquaredError()])
    zeros, ones = np.zeros((4, 1)), np.ones((4, 1))
    model([zeros, ones, 2 * ones], training=True)  # D = 1 + 4, one step of lambda
    expected = np.exp(0.2 * (5.0 - 10.0) / 10.0)
    np.testing.assert_allclose(array(layer.weight), expected, rtol=1e-5)
    total = sum(float(array(term)) for term in model.losses)
    assert total == pytest.approx((expected - 1) * 5.0, rel=1e-4)


def test_lambda_of_a_frozen_layer_stays():
    layer = TargetDistortion(4.0, SquaredError(), initial=2.0, trainable=False)
    layer(pair(9.0), training=True)
    assert float(array(layer.weight)) == 2.0 and float(array(layer.average)) == 4.0
