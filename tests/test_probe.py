"""The rate of a layer: networks of which it is known what must pass."""

import keras
import numpy as np
import pytest
from tools import array, normal

from echo_keras import losses, objectives
from echo_keras.layers import EchoBottleneck, GaussianBottleneck, QuantizedBottleneck
from echo_keras.probe import RateProbe, _read

pytestmark = pytest.mark.core

STEP = 0.03  # of Adam, in trainings of few steps
VARIANCES = np.array([4.0, 1.0, 0.25])
X = normal(1000, 3) * np.sqrt(VARIANCES).astype("float32")
ROTATION = np.linalg.qr(normal(3, 3, seed=1))[0].astype("float32")


def network(*kernels, loss=None):
    """Linear layers of given kernels, named "dense_0" and so on."""
    layers = [
        keras.layers.Dense(k.shape[1], use_bias=False, name=f"dense_{i}")
        for i, k in enumerate(kernels)
    ]
    model = keras.Sequential([keras.Input((len(kernels[0]),)), *layers])
    for layer, kernel in zip(layers, kernels, strict=True):
        layer.set_weights([kernel])
    model.compile(loss=loss or losses.SquaredError())
    return model


def needed(variances, distortion):
    """R(D) of independent normal variables, by reverse water-filling."""
    low, high = 0.0, max(variances)
    for _ in range(60):
        level = (low + high) / 2
        full = np.minimum(level, variances).sum() < distortion
        low, high = (level, high) if full else (low, level)
    return float(0.5 * np.log(np.maximum(variances / level, 1.0)).sum())


def test_reverse_water_filling():
    assert needed(np.array([1.0]), 0.25) == pytest.approx(np.log(2))
    # Level 1: one dimension is drowned.
    assert needed(VARIANCES, 2.25) == pytest.approx(np.log(2))


def test_a_linear_network_passes_what_rate_distortion_theory_says():
    model = network(ROTATION, np.eye(3, dtype="float32"))
    targets = X @ ROTATION
    reading = RateProbe(model, "dense_0", tolerance=0.6, learning_rate=STEP).fit(
        X, targets, epochs=4
    )
    expected = needed(np.linalg.eigvalsh(np.cov(X.T)), 0.6)
    assert reading.loss_without == pytest.approx(0.0, abs=1e-6)
    assert expected - 0.08 < reading.rate < 1.1 * expected + 0.08
    betas = [step["beta"] for step in reading.path]
    assert betas[0] == pytest.approx(6e-4)
    assert np.allclose(np.diff(np.log2(betas)), 1)
    assert reading.path[-2]["loss"] <= reading.limit < reading.path[-1]["loss"]
    assert 0 < reading.rate_se < 0.2


@pytest.fixture(scope="module")
def narrow():
    """Readings of a wide layer and of the one number that is made of it."""
    kernel = np.array([[1.0], [2.0], [0.0]], "float32")
    model = network(np.eye(3, dtype="float32"), kernel)
    before = model.get_weights()
    readings = {
        layer: RateProbe(model, layer, 1.0, learning_rate=STEP).fit(
            X, X @ kernel, epochs=4
        )
        for layer in ("dense_0", "dense_1")
    }
    same = [
        np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)
    ]
    assert all(same) and model.trainable
    return readings, np.var(X @ kernel)


def test_only_what_the_rest_of_the_network_uses_must_pass(narrow):
    readings, variance = narrow
    expected = 0.5 * np.log(variance)  # at a distortion of 1
    assert readings["dense_1"].rate == pytest.approx(expected, abs=0.08)
    # A channel that is wider, and knows nothing of the task, learns to be as narrow.
    assert expected - 0.08 < readings["dense_0"].rate < expected + 0.25


def test_echo_reads_the_same(narrow):
    _, variance = narrow
    kernel = np.array([[1.0], [2.0], [0.0]], "float32")
    model = network(kernel, np.ones((1, 1), "float32"))
    probe = RateProbe(
        model, "dense_0", 1.0, EchoBottleneck(1, d_max=99), learning_rate=STEP
    )
    reading = probe.fit(X, X @ kernel, epochs=4)
    assert reading.rate == pytest.approx(0.5 * np.log(variance), abs=0.1)


def test_nothing_must_pass_where_nothing_depends_on_it():
    model = network(np.eye(3, dtype="float32"), np.zeros((3, 2), "float32"))
    probe = RateProbe(
        model,
        "dense_0",
        0.1,
        score=lambda y, out: (y == out).mean(),
        learning_rate=STEP,
    )
    reading = probe.fit(X, np.zeros((len(X), 2), "float32"), epochs=4)
    assert reading.rate < 0.02
    assert reading.loss_without == reading.limit == 0.0
    assert reading.score == reading.score_without == 1.0


def test_a_classifier_with_keras_own_loss_and_held_out_examples():
    """Two classes, of which more than half a bit must pass to tell them well."""
    y = (X[:, 0] > 0).astype("int64")
    inputs = keras.Input((3,))
    h = keras.layers.Dense(4, activation="relu", name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(h))
    kernel = np.array([[3.0, -3, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "float32")
    model.get_layer("hidden").set_weights([kernel, np.zeros(4)])
    head = np.array([[-2.0, 2], [2, -2], [0, 0], [0, 0]], "float32")
    model.get_layer("logits").set_weights([head, np.zeros(2)])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def accuracy(targets, outputs):
        return np.mean(array(outputs).argmax(1) == targets)

    probe = RateProbe(model, "hidden", 0.25, score=accuracy, learning_rate=STEP)
    reading = probe.fit(X[:800], y[:800], (X[800:], y[800:]), epochs=4)
    assert reading.score_without == 1.0 and reading.score > 0.8
    # By Fano's inequality at the error that is left, and at most H(C) by far more.
    error = 1 - reading.score
    lost = -error * np.log(error) - (1 - error) * np.log(1 - error) if error else 0.0
    assert np.log(2) - lost - 0.1 < reading.rate < 2.0


def test_the_rate_is_read_between_the_last_two():
    path = [
        {"rate": 4.0, "rate_se": 0.2, "loss": 1.0},
        {"rate": 2.0, "rate_se": 0.1, "loss": 2.0},
    ]
    assert _read(path, 1.25) == pytest.approx((3.5, 0.175, 1.25))
    assert _read(path, 2.5) == (2.0, 0.1, 2.0)


def test_convolutions_share_a_channel_between_positions():
    inputs = keras.Input((4, 4, 1))
    h = keras.layers.Conv2D(2, 3, padding="same", name="conv")(inputs)
    outputs = keras.layers.GlobalAveragePooling2D()(h)
    model = keras.Model(inputs, outputs)
    model.compile(loss=losses.SquaredError())
    x = normal(200, 4, 4, 1)
    probe = RateProbe(model, "conv", 0.02)
    reading = probe.fit(x, model.predict(x, verbose=0), epochs=1)
    assert probe.channel.units == 2 and reading.rate > 0
    assert all(step["rate"] > 0 for step in reading.path)


def skipping():
    inputs = keras.Input((3,))
    h = keras.layers.Dense(3, name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Add()([h, inputs]))
    model.compile(loss="mse")
    return model


def with_channel():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, GaussianBottleneck(3, name="hidden")(inputs))
    model.compile(loss="mse")
    return model


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(3, name="hidden")
        self(np.ones((1, 3)))
        self.compile(loss="mse")

    def call(self, x):
        return self.hidden(x)


def plain():
    return network(np.eye(3, dtype="float32"))


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (plain, {"layer": "none"}, "layer must be one of dense_0. Received"),
        (plain, {"tolerance": 0}, "tolerance must be a finite number > 0"),
        (plain, {"channel": QuantizedBottleneck(2, 4)}, "must be a GaussianBottlen"),
        (plain, {"loss": "no such"}, "loss must be a Keras loss"),
        (skipping, {"layer": "hidden"}, "passed by everything on the way"),
        (with_channel, {"layer": "hidden"}, "model must have no channel of its own"),
        (Own, {"layer": "hidden"}, "model must be functional or sequential"),
    ],
)
def test_what_cannot_be_probed_is_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        RateProbe(model(), **{"layer": "dense_0", "tolerance": 1.0, **arguments})


def test_data_that_cannot_be_probed_are_refused():
    probe = RateProbe(plain(), "dense_0", 1.0)
    with pytest.raises(ValueError, match="features that vary"):
        probe.fit(np.ones((5, 3), "float32"), np.ones((5, 3)))
    with pytest.raises(ValueError, match="y must have as many targets as inputs, 9"):
        probe.fit(X[:9], X[:8])
    with pytest.raises(ValueError, match="validation must be a pair"):
        probe.fit(X[:9], X[:9], X[:9])
    # Of three principal components one is left.
    probe = RateProbe(plain(), "dense_0", 0.01, GaussianBottleneck(1))
    with pytest.raises(ValueError, match="tolerance must be more than what the loss"):
        probe.fit(X, X, epochs=1)


def test_wide_layers_need_a_channel_of_their_own():
    model = network(np.eye(3, 1025, dtype="float32"))
    with pytest.raises(ValueError, match="channel must be given for a layer of more"):
        RateProbe(model, "dense_0", 1.0).fit(X[:5], X[:5])


def test_an_objective_of_the_library_is_refused_for_its_channel():
    encoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model = objectives.vae(
        encoder,
        lambda d: keras.Sequential([keras.Input((d,)), keras.layers.Dense(3)]),
        2,
    )
    model.compile(loss=losses.SquaredError())
    with pytest.raises(ValueError, match="no channel of its own"):
        RateProbe(model, "bottleneck", 1.0)
