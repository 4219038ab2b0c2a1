"""RateDistortionModel in the uses that Keras users make of models."""

import gc

import keras
import numpy as np
import pytest
from keras import layers, ops
from tools import BACKEND, array

from echo_keras import audit, losses, metrics, renew_memories
from echo_keras.autoencoders import conv_autoencoder
from echo_keras.layers import (
    BetaSchedule,
    EchoBottleneck,
    GaussianBottleneck,
    GaussianSample,
    QuantizedBottleneck,
    TargetRate,
    VariancePenalty,
)
from echo_keras.model import RateDistortionModel

pytestmark = pytest.mark.core


def data(n=10, seed=0):
    x = np.random.RandomState(seed).random_sample((n, 6)) > 0.5
    return x.astype("float32")


def model_of(bottleneck=None, loss=None, **compiled):
    inputs = keras.Input((6,))
    z = (bottleneck or GaussianBottleneck(2, seed=0))(inputs)
    outputs = layers.Dense(6, kernel_initializer="zeros", bias_initializer="ones")(z)
    model = RateDistortionModel(inputs, outputs)
    compiled = {"optimizer": keras.optimizers.SGD(0.0), **compiled}
    model.compile(loss=loss or losses.Bernoulli(), **compiled)
    return model


def logs(model, *data, **arguments):
    return model.evaluate(*data, verbose=0, return_dict=True, **arguments)


# Targets


def test_the_target_of_an_autoencoder_is_its_input():
    model, x = model_of(), data()
    expected = logs(model, x, x)
    assert logs(model, x) == pytest.approx(expected, rel=1e-6)
    found = model.fit(x, verbose=0, batch_size=10, validation_data=(x,)).history
    for prefix in ("", "val_"):
        assert found[f"{prefix}distortion"][0] == pytest.approx(expected["distortion"])


def test_weights_count_where_the_target_is_the_input():
    model, x = model_of(), data()
    weights = np.arange(10.0)
    expected = logs(model, x, x, sample_weight=weights)
    assert logs(model, x, sample_weight=weights) == pytest.approx(expected, rel=1e-6)
    valid = (x, None, weights)
    found = model.fit(
        x, sample_weight=weights, verbose=0, batch_size=10, validation_data=valid
    ).history
    for prefix in ("", "val_"):
        assert found[f"{prefix}distortion"][0] == pytest.approx(expected["distortion"])
    assert logs(model, x, sample_weight=np.zeros(10))["loss"] == 0.0


@pytest.mark.filterwarnings("ignore:The structure of")
def test_one_input_in_a_list_is_its_own_target():
    model, x = model_of(), data()
    assert logs(model, [x]) == pytest.approx(logs(model, x), rel=1e-6)


def test_several_inputs_need_targets():
    inputs = [keras.Input((6,)), keras.Input((2,))]
    features = layers.Concatenate()(inputs)
    outputs = layers.Dense(6)(GaussianBottleneck(2)(features))
    model = RateDistortionModel(inputs, outputs)
    model.compile("sgd", losses.Bernoulli())
    x = [data(), np.ones((10, 2), "float32")]
    assert logs(model, x, data())["distortion"] > 0
    with pytest.raises(ValueError, match="y must be given for a model of several"):
        model.fit(x, verbose=0)


@pytest.mark.parametrize("as_dict", [False, True])
def test_two_outputs(as_dict):
    inputs = keras.Input((6,))
    z = GaussianBottleneck(2, seed=0)(inputs)
    pixels = layers.Dense(6, kernel_initializer="zeros", name="pixels")(z)
    label = layers.Dense(3, kernel_initializer="zeros", name="label")(z)
    outputs = {"pixels": pixels, "label": label} if as_dict else [pixels, label]
    model = RateDistortionModel(inputs, outputs)
    both = losses.Bernoulli(), losses.CategoricalNLL()
    loss = dict(zip(("pixels", "label"), both, strict=True)) if as_dict else list(both)
    model.compile(keras.optimizers.SGD(0.0), loss)
    x, labels = data(), np.arange(10) % 3
    y = {"pixels": x, "label": labels} if as_dict else [x, labels]
    # Batches of different length: means are over examples.
    log = logs(model, x, y, batch_size=7)
    assert log["distortion"] == pytest.approx(6 * np.log(2) + np.log(3), rel=1e-5)
    assert log["neg_elbo"] == pytest.approx(log["rate"] + log["distortion"], rel=1e-5)
    assert log["pixels_loss"] == pytest.approx(6 * np.log(2), rel=1e-5)
    rate = array(model.layers[1].rate(x)).mean()
    assert log["rate"] == pytest.approx(rate, rel=1e-5)


# Weights


def test_sample_weights_weigh_every_term():
    model, x = model_of(), data()
    weights = np.array([0.0, 3.0, *[1.0] * 8], "float32")
    rate, distortion = metrics.per_example(model, x)
    for found in (
        logs(model, x, x, sample_weight=weights, batch_size=5),
        {
            name: values[0]
            for name, values in model.fit(
                x, x, sample_weight=weights, batch_size=5, shuffle=False, verbose=0
            ).history.items()
        },
    ):
        assert found["rate"] == pytest.approx((weights * rate).mean(), rel=1e-5)
        expected = (weights * distortion).mean()
        assert found["distortion"] == pytest.approx(expected, rel=1e-5)
        expected += (weights * rate).mean()
        assert found["loss"] == pytest.approx(expected, rel=1e-5)
        assert found["neg_elbo"] == pytest.approx(expected, rel=1e-5)


def test_examples_of_weight_zero_train_nothing():
    weights = np.array([1.0, 1.0, 1.0, 0.0], "float32")
    trained = []
    for other in (0.0, 1.0):
        x = data(4)
        x[3] = other
        keras.utils.set_random_seed(0)
        model = model_of(optimizer=keras.optimizers.SGD(0.1))
        model.train_on_batch(x, x, sample_weight=weights)
        trained.append([array(w) for w in model.trainable_variables])
    for first, second in zip(*trained, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-7)


def model_of_two(**compiled):
    """An autoencoder with a penalty and two outputs, and its bottleneck."""
    inputs = keras.Input((6,))
    bottleneck = GaussianBottleneck(2, seed=0)
    z = VariancePenalty(0.5, name="variance")(bottleneck(inputs))
    outputs = [layers.Dense(6, name=name)(z) for name in ("first", "second")]
    model = RateDistortionModel(inputs, outputs)
    compiled = {"optimizer": keras.optimizers.SGD(0.0), **compiled}
    model.compile(loss=[losses.Bernoulli(), losses.Bernoulli()], **compiled)
    return model, bottleneck


# Keras hands one array on as one for each output.
one_or_two = pytest.mark.parametrize("given", [lambda w: w, lambda w: [w, w]])


@one_or_two
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_weights_of_examples_weigh_the_rate_beside_several_outputs(given, shape):
    model, bottleneck = model_of_two()
    x, weights = data(), np.array([0.0, 3.0, *[1.0] * 8], "float32")
    rate = array(bottleneck.rate(x))
    given = given(weights.reshape(shape))
    log = logs(model, x, [x, x], sample_weight=given, batch_size=5)
    assert log["rate"] == pytest.approx((weights * rate).mean(), rel=1e-5)


def test_an_example_whose_outputs_differ_in_weight_has_its_rate_unweighted():
    model, bottleneck = model_of_two()
    x, first = data(), np.array([0.0, 3.0, *[2.0] * 8], "float32")
    second = np.array([0.0, 3.0, *[0.5] * 8], "float32")
    rate = array(bottleneck.rate(x))
    expected = (np.array([0.0, 3.0, *[1.0] * 8]) * rate).mean()
    log = logs(model, x, [x, x], sample_weight=[first, second], batch_size=5)
    assert log["rate"] == pytest.approx(expected, rel=1e-5)
    # Weights of values are the distortion's alone, as with one output.
    model, bottleneck = model_of_two()
    rate = array(bottleneck.rate(x))
    log = logs(model, x, [x, x], sample_weight=[first, np.full_like(x, 3.0)])
    assert log["rate"] == pytest.approx(rate.mean(), rel=1e-5)


@one_or_two
def test_weights_of_zero_train_nothing_beside_several_outputs(given):
    model, _ = model_of_two(optimizer=keras.optimizers.SGD(0.1))
    x = data()
    before = [array(w) for w in model.trainable_variables]
    model.train_on_batch(x, [x, x], sample_weight=given(np.zeros(10, "float32")))
    model.fit(x, [x, x], sample_weight=np.zeros(10, "float32"), verbose=0)
    for old, new in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, array(new))


def test_positions_folded_into_the_batch_have_no_weights():
    inputs = keras.Input((3, 2))
    z = GaussianSample(noise_variance=0.5)(ops.reshape(inputs, (-1, 2)))
    model = RateDistortionModel(inputs, ops.reshape(z, (-1, 3, 2)))
    model.compile("sgd", losses.SquaredError())
    x = np.random.RandomState(0).normal(size=(4, 3, 2)).astype("float32")
    with pytest.raises(
        Exception, match="sample_weight must be one number for each row"
    ):
        model.evaluate(x, sample_weight=np.array([1.0, 0.0, 0.0, 0.0]), verbose=0)


def test_weights_of_pixels_are_the_likelihood_of_the_observed_ones():
    observed = np.random.RandomState(1).random_sample((10, 6)) > 0.3
    x = np.where(observed, data(), np.nan).astype("float32")
    inputs = keras.Input((6,))
    seen = ops.where(ops.isnan(inputs), 0.0, inputs)
    outputs = layers.Dense(6, kernel_initializer="zeros")(GaussianBottleneck(2)(seen))
    model = RateDistortionModel(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), losses.Bernoulli())
    # What is not observed may be anything; the check of targets sees the data alone.
    y = np.nan_to_num(x, nan=0.5)
    log = logs(model, x, y, sample_weight=observed.astype("float32"), batch_size=4)
    assert log["distortion"] == pytest.approx(observed.sum() / 10 * np.log(2), rel=1e-5)
    unweighted = array(model.layers[-2].rate(np.nan_to_num(x))).mean()
    assert log["rate"] == pytest.approx(unweighted, rel=1e-5)


@pytest.mark.parametrize("loss", [losses.SquaredError(), losses.Laplace()])
def test_weights_of_leading_axes(loss):
    generator = np.random.RandomState(0)
    y, p = generator.normal(size=(2, 4, 5, 6, 3)).astype("float32")
    w = generator.randint(0, 3, (4, 5, 6)).astype("float32")
    p[0, 0, 0], w[0, 0, 0] = np.nan, 0.0
    tensors = ops.convert_to_tensor(y), ops.convert_to_tensor(p)
    per_value = np.nan_to_num(array(loss.per_element(*tensors)))
    expected = (per_value * w[..., None]).sum() / 4
    for weights in (w, np.repeat(w[..., None], 3, 3)):
        assert float(array(loss(y, p, weights))) == pytest.approx(expected, rel=1e-5)
    of_rows = array(loss(y[1:], p[1:], np.array([2.0, 0.0, 1.0], "float32")))
    expected = per_value[1:].sum((1, 2, 3)) @ np.array([2.0, 0.0, 1.0]) / 3
    assert float(of_rows) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"Received: shape \(4, 6\)"):
        loss(y, p, w[:, 0])


def test_padding_costs_nothing():
    """A sequence VAE on the same data, with and without padded steps."""
    found = []
    generator = np.random.RandomState(0)
    short = generator.normal(size=(8, 3, 4)).astype("float32")
    for steps in (3, 9):
        x = np.zeros((8, steps, 4), "float32")
        x[:, :3] = short
        inputs = keras.Input((steps, 4))
        h = layers.Masking(0.0)(inputs)
        kernel = keras.initializers.RandomNormal(seed=1)
        h = layers.Dense(5, kernel_initializer=kernel)(h)
        bottleneck = GaussianBottleneck(2)
        z = PassesMasks()(bottleneck(h))
        outputs = layers.Dense(4, kernel_initializer="zeros")(z)
        model = RateDistortionModel(inputs, outputs)
        model.compile(keras.optimizers.SGD(0.0), losses.SquaredError())
        for head in bottleneck.heads:
            head.kernel.assign(np.random.RandomState(2).normal(size=(5, 2)))
        found.append(logs(model, x, x))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0]["rate"] > 0.1


KINDS = {
    "echo": lambda: EchoBottleneck(2),
    "gaussian": lambda: GaussianBottleneck(2),
    "quantized": lambda: QuantizedBottleneck(2, 4),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_measured_of_a_model_knows_its_masks(kind):
    x = np.zeros((24, 5, 3), "float32")
    x[:, :2] = np.random.RandomState(0).normal(size=(24, 2, 3))
    inputs = keras.Input((5, 3))
    bottleneck = KINDS[kind]()
    z = bottleneck(layers.Masking(0.0)(inputs))
    model = RateDistortionModel(inputs, layers.Dense(3)(z))
    model.compile("adam", losses.SquaredError())
    model.fit(x, x, batch_size=8, verbose=0)
    rates = metrics.rate_by_dimension(model, x).reshape(5, -1)
    assert rates.sum() == pytest.approx(logs(model, x, x)["rate"], rel=1e-4)
    assert rates[:2].min() > 0 and not rates[2:].any()
    assert metrics.encode(model, x, noisy=False).shape == (24, 5, 2)
    if kind == "quantized":
        quantizer = bottleneck.channel
        index = array(quantizer.indices(bottleneck.encode(x)))[:, :2]
        renew_memories(model, x)
        found = quantizer.code_probabilities()
        quantizer.set_frequencies(index)
        np.testing.assert_allclose(found, quantizer.code_probabilities(), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_measured_of_a_sequential_model(kind):
    x = np.random.RandomState(0).normal(size=(24, 3)).astype("float32")
    model = keras.Sequential([layers.Dense(4), KINDS[kind](), layers.Dense(3)])
    with pytest.raises(ValueError, match="whose layers' inputs are known. Received"):
        metrics.encode(model, x)
    model.compile("adam", losses.SquaredError())
    model.fit(x, x, verbose=0)
    assert metrics.encode(model, x).shape == (24, 2)
    rates, found = metrics.rate_by_dimension(model, x), metrics.evaluate(model, x)
    assert rates.sum() == pytest.approx(found["rate"], rel=1e-4)
    assert not [found for found in audit(model, x) if found.severity == "error"]
    if kind != "gaussian":
        renew_memories(model, x)


class PassesMasks(layers.Layer):
    """A layer of somebody else's that lets a mask pass."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return inputs


# Losses and data


@pytest.mark.parametrize(
    ("loss", "instead"),
    [
        ("mse", "SquaredError"),
        ("binary_crossentropy", "Bernoulli"),
        (keras.losses.BinaryCrossentropy(from_logits=True), "Bernoulli"),
        (keras.losses.mean_absolute_error, "Laplace"),
        ("sparse_categorical_crossentropy", "CategoricalNLL"),
    ],
)
def test_losses_that_average_over_pixels_are_refused(loss, instead):
    with pytest.raises(ValueError, match=rf"sum over the values .*{instead}"):
        model_of(loss=loss)


def test_a_loss_of_ones_own_is_taken():
    def total(y_true, y_pred):
        return ops.sum(ops.square(y_true - y_pred), axis=-1)

    x = data()
    found = logs(model_of(loss=total), x)["distortion"]
    assert found == pytest.approx(((x - 1.0) ** 2).sum(1).mean(), rel=1e-5)


@pytest.mark.parametrize("weights", [3.0, [3.0], 0.0])
def test_weights_of_losses_are_refused(weights):
    with pytest.raises(ValueError, match=r"loss_weights must be None or 1: .* Rec"):
        model_of(loss_weights=weights)


@pytest.mark.parametrize("reduction", ["sum", "none", None, "mean_with_sample_weight"])
def test_sums_over_the_batch_are_refused(reduction):
    with pytest.raises(ValueError, match="reduction .* must be 'sum_over_batch_size'"):
        model_of(loss=losses.Bernoulli(reduction=reduction))


def test_weights_of_one_and_means_are_no_others(tmp_path):
    plain, x = model_of(), data()
    model = model_of(loss=losses.Bernoulli(reduction="mean"), loss_weights=1.0)
    model.set_weights(plain.get_weights())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        assert logs(each, x) == pytest.approx(logs(plain, x), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * 255, r"in \[0, 1\]\. Received: values from 0 to 255\. Divide"),
        (lambda x: (x * 255).astype("uint8"), "Divide pixels by 255"),
        (lambda x: 2 * x - 1, r"in \[0, 1\]\. Received: values from -1 to 1"),
        (lambda x: np.where(x > 0, np.nan, x), "must be finite"),
        (lambda x: x[:0], "must not be empty"),
    ],
)
def test_data_outside_of_what_the_loss_knows(change, message):
    model, x = model_of(), change(data())
    for run in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=message):
            run(x, verbose=0)
    with pytest.raises(ValueError, match=message):
        model.fit(data(), validation_data=(x, x), verbose=0)


class Bytes(keras.utils.PyDataset):
    """Batches of pixels that somebody forgot to divide by 255."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return data(5), data(5) * 200


def test_batches_outside_of_what_the_loss_knows():
    model = model_of()
    for run in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"distortion of Bernoulli must be >= 0"):
            run(Bytes(), verbose=0)


@pytest.mark.parametrize("label", [-1, 3, 0.5])
def test_labels_of_classes_that_do_not_exist(label):
    loss = losses.CategoricalNLL()
    labels = np.array([0, label, 2.0])
    if label == 3:  # the number of classes is the output's
        found = array(loss.call(labels, np.zeros((3, 3), "float32")))
        assert np.isfinite(found).tolist() == [True, False, True]
    else:
        with pytest.raises(ValueError, match="CategoricalNLL must be"):
            loss.check_data(labels)
    # An example without a label, of weight 0.
    weights = np.array([1.0, 0.0, 1.0], "float32")
    found = float(array(loss(np.array([0, -1, 2]), np.zeros((3, 3)), weights)))
    assert found == pytest.approx(2 / 3 * np.log(3))


# Called twice


def test_a_shared_bottleneck_logs_the_rates_of_both_calls():
    inputs = [keras.Input((6,)), keras.Input((6,))]
    bottleneck = GaussianBottleneck(2, seed=0)
    penalty = VariancePenalty(0.5, variance=1.0, name="variance")
    z = [penalty(bottleneck(x)) for x in inputs]
    dense = layers.Dense(6, kernel_initializer="zeros")
    model = RateDistortionModel(inputs, layers.Add()([dense(each) for each in z]))
    model.compile(keras.optimizers.SGD(0.0), losses.Bernoulli())
    x = [data(), data(seed=1)]
    log = logs(model, x, data())
    rates = [array(bottleneck.rate(each)).mean() for each in x]
    assert log["rate"] == pytest.approx(sum(rates), rel=1e-5)
    total = log["neg_elbo"] + 0.5 * log["variance"]
    assert log["loss"] == pytest.approx(total, rel=1e-5)
    trained = model.fit(x, data(), verbose=0, batch_size=10).history
    assert trained["rate"] == pytest.approx([sum(rates)], rel=1e-5)
    found = metrics.evaluate(model, x, data())
    assert found["rate"] == pytest.approx(sum(rates), rel=1e-5)


def test_every_trace_has_every_term():
    # On JAX, Keras lost a term in about one trace in eight of such a model.
    inputs = x = keras.Input((6,))
    for k in range(8):
        x = Constant(2.0**k)(x)
    model = RateDistortionModel(inputs, layers.Dense(6)(x))
    model.compile(keras.optimizers.SGD(0.0), losses.ZeroLoss())
    for size in range(3, 23):
        found = model.test_on_batch(data(size), data(size), return_dict=True)
        assert float(found["loss"]) == 255.0


class Constant(layers.Layer):
    """A layer of somebody else's that adds a constant to the loss."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def call(self, inputs):
        self.add_loss(ops.mean(ops.ones_like(inputs)) * self.value)
        return inputs


# Rules and callbacks


def test_beta_is_logged_when_it_has_a_rule():
    schedule = BetaSchedule(steps=4, end=2.0)
    model = model_of(GaussianBottleneck(2, beta=schedule))
    log = model.fit(data(), epochs=2, batch_size=5, verbose=0).history
    assert log["beta"] == pytest.approx([0.25, 1.25])  # 0 and .5, 1 and 1.5
    assert "beta" not in logs(model_of(), data())
    inputs = keras.Input((6,))
    h = layers.Dense(2)(inputs)
    first, second = (
        GaussianSample(noise_variance=0.5, beta=rule, name=name)
        for name, rule in (("low", TargetRate(1.0)), ("high", schedule))
    )
    model = RateDistortionModel(inputs, layers.Dense(6)(second(first(h))))
    model.compile("sgd", losses.Bernoulli())
    assert {"low_beta", "high_beta"} <= set(logs(model, data()))


def test_betas_of_bottlenecks_have_the_bottlenecks_names():
    x = keras.Input((6,))
    z = [
        GaussianBottleneck(2, beta=TargetRate(rate), name=name)(x)
        for name, rate in (("low", 1.0), ("high", 5.0))
    ]
    model = RateDistortionModel(x, layers.Dense(6)(layers.Concatenate()(z)))
    model.compile("sgd", losses.Bernoulli())
    assert {"low_beta", "high_beta"} <= set(logs(model, data()))


def test_arguments_of_fit_may_be_given_by_their_place():
    model, x = model_of(), data()
    # x, y, batch_size, epochs, verbose, callbacks, validation_split
    assert "val_rate" in model.fit(x, x, 8, 1, 0, None, 0.2).history


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no float64 unless told so")
@pytest.mark.parametrize(
    "bottleneck",
    [
        lambda: GaussianBottleneck(2, beta=TargetRate(1.0)),
        lambda: EchoBottleneck(2, d_max=3),
    ],
)
@pytest.mark.parametrize("loss", ["mse", losses.SquaredError])
def test_keras_may_compute_in_float64(bottleneck, loss):
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        x = keras.Input((6,))
        h = layers.Dense(6, activity_regularizer="l2")(x)
        outputs = layers.Dense(6)(VariancePenalty()(bottleneck()(h)))
        kind = keras.Model if loss == "mse" else RateDistortionModel
        model = kind(x, outputs)
        model.compile("sgd", loss if loss == "mse" else loss())
        found = model.fit(data(), data(), verbose=0).history["loss"][0]
        assert np.isfinite(found)
        if loss != "mse":
            assert model.loss.dtype == "float64"
            log = logs(model, data())
            total = log["rate"] + log["distortion"]
            assert log["neg_elbo"] == pytest.approx(total, rel=1e-6)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def test_callbacks_change_beta_between_epochs_on_every_backend():
    bottleneck = GaussianBottleneck(2)
    model, channel = model_of(bottleneck), bottleneck.channel

    class Raise(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            channel.beta.assign(float(epoch))

    log = model.fit(data(), epochs=3, callbacks=[Raise()], verbose=0).history
    for epoch in range(3):
        expected = log["distortion"][epoch] + epoch * log["rate"][epoch]
        assert log["loss"][epoch] == pytest.approx(expected, rel=1e-5)


def test_learning_rates_fall_when_rates_stand_still():
    model = model_of()
    for name in ("val_neg_elbo", "val_rate", "val_distortion"):
        optimizer = model.optimizer
        optimizer.learning_rate = 1.0
        fall = keras.callbacks.ReduceLROnPlateau(name, patience=1, min_delta=9.0)
        model.fit(
            data(), validation_data=(data(),), epochs=3, callbacks=[fall], verbose=0
        )
        assert fall.mode == "min"
        assert float(array(optimizer.learning_rate)) < 0.5
        model.compile(keras.optimizers.SGD(0.0), losses.Bernoulli())


# Batch sizes


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow compiles by XLA")
def test_eager_calls_of_new_batch_sizes_compile_nothing():
    from echo_keras.layers.echo_noise import ring_noise

    graphs = []
    for rows in (20, 21, 22, 23):
        f = ops.convert_to_tensor(np.zeros((rows, 2), "float32"))
        ring_noise(f, f + 0.5, 7)
        gc.collect()
        kinds = (type(o).__name__ for o in gc.get_objects())
        graphs.append(sum(kind == "FuncGraph" for kind in kinds))
    assert graphs[-1] <= graphs[0]


def test_quantized_codes_have_a_rate_by_sub_vector():
    bottleneck = QuantizedBottleneck(4, 8, groups=2, seed=0)
    x = data()
    bottleneck(x, training=True)
    parts = array(bottleneck.rate_by_dimension(x))
    assert parts.shape == (10, 2)
    np.testing.assert_allclose(parts.sum(1), array(bottleneck.rate(x)), rtol=1e-6)


def test_images_of_a_size_that_the_decoder_does_not_give():
    with pytest.raises(ValueError, match=r"encoder's, \(32, 32\)\. Received: .*28, 28"):
        conv_autoencoder(GaussianBottleneck(2), (32, 32, 3))
