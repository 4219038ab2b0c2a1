"""Accuracy, calibration and information of classifiers, in closed form."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from echo_keras import losses, objectives
from echo_keras.layers import EchoBottleneck, GaussianBottleneck, max_scale
from echo_keras.metrics import classification, evaluate


def identity(shape=(3,)):
    return keras.Sequential([keras.Input(shape), layers.Identity()], name="encoder")


def known_model(bottleneck, weights):
    """The code's mean is x; weights are those of the logits."""
    model = objectives.information_bottleneck(identity(), bottleneck, 3)
    bottleneck.heads[0].kernel.assign(np.eye(3))
    bottleneck.heads[0].bias.assign(np.zeros(3))
    model.get_layer("decoder").set_weights([np.array(w) for w in weights])
    model.compile("sgd", loss=losses.CategoricalNLL())
    return model


def gaussian(variance=0.25):
    return GaussianBottleneck(3, noise_variance=variance, name="bottleneck")


def data(n=7):
    return np.random.RandomState(0).normal(size=(n, 3)).astype("float32")


def logs(p):
    return np.log(np.array(p))


# Information


@pytest.mark.core
def test_informations_of_a_gaussian_code():
    """Logits ignore the code, so that the bound on I(Z; C) has a closed form."""
    p, y = np.array([0.5, 0.3, 0.2]), np.array([0, 0, 1, 2, 2, 2, 2])
    x = data()
    model = known_model(gaussian(), [np.zeros((3, 3)), logs(p)])
    found = classification.information_plane(model, x, y, batch_size=3)
    rate = 0.5 * (np.square(x).sum(axis=1) + 3 * (0.25 - np.log(0.25) - 1))
    frequencies = np.array([2, 1, 4]) / 7
    per_example = {
        "rate": rate,
        "distortion": -np.log(p[y]),
        "label_entropy": -np.log(frequencies[y]),
        "label_information": np.log(p[y] / frequencies[y]),
    }
    assert len(found) == 8
    for name, values in per_example.items():
        error = values.std(ddof=1) / np.sqrt(7)
        assert found[name] == pytest.approx(values.mean(), rel=1e-4), name
        assert found[f"{name}_se"] == pytest.approx(error, rel=1e-4), name
    # Minus a divergence: of predictions from the frequencies they are compared with.
    divergence = np.sum(frequencies * np.log(frequencies / p))
    assert found["label_information"] == pytest.approx(-divergence, rel=1e-4)


def test_rate_of_an_echo_code_is_its_scale():
    bottleneck = EchoBottleneck(3, d_max=7, name="bottleneck")
    model = known_model(bottleneck, [np.eye(3), np.zeros(3)])
    kernel, bias = bottleneck.heads[1].get_weights()
    bottleneck.heads[1].set_weights([0 * kernel, 0 * bias - 0.5])
    found = classification.information_plane(model, data(), np.arange(7) % 3)
    # Where log s / r is the head's number, or the least there is.
    log_s = bottleneck.encode(np.zeros((1, 3), "float32"))[1]
    log_s = np.minimum(keras.ops.convert_to_numpy(log_s), 0.0).sum()
    expected = -3 * np.log(max_scale(7, 10.0)) - log_s
    assert found["rate"] == pytest.approx(expected, rel=1e-4)
    assert found["rate_se"] < 1e-6


def test_perfect_predictions_have_all_the_information():
    y = np.arange(9) % 3
    x = np.eye(3, dtype="float32")[y]
    model = known_model(gaussian(1e-8), [50 * np.eye(3), np.zeros(3)])
    found = classification.information_plane(model, x, y, samples=2)
    assert found["label_information"] == pytest.approx(np.log(3), abs=1e-4)
    assert found["label_entropy"] == pytest.approx(np.log(3))


def test_samples_average_log_probabilities_and_predictive_probabilities():
    """Logits are the code itself, of variance 1/4 around 0 in one coordinate."""
    x, y = np.zeros((500, 3), "float32"), np.zeros(500, int)
    weights = [np.diag([1.0, 0.0, 0.0]), np.zeros(3)]
    model = known_model(gaussian(), weights)
    z = np.random.RandomState(1).normal(scale=0.5, size=10**6)
    log_p = z - np.log(np.exp(z) + 2)
    one, many = (
        classification.information_plane(model, x, y, samples)["distortion_se"]
        for samples in (1, 16)
    )
    # The spread is of codes alone here: a quarter of it is left.
    assert one == pytest.approx(log_p.std() / np.sqrt(500), rel=0.2)
    assert many == pytest.approx(one / 4, rel=0.25)
    found = classification.information_plane(model, x, y, 16)["distortion"]
    assert abs(found + log_p.mean()) < 5 * many
    _, logits = classification.forward(model, x, 400)
    # By Jensen's inequality more than the mean of logarithms; here by .025.
    p = classification.predictive(logits)[:, 0]
    assert p.mean() == pytest.approx(np.log(np.exp(log_p).mean()), abs=0.002)
    assert np.exp(log_p).mean() > np.exp(log_p.mean()) * 1.01


def test_predictive_is_a_distribution_whatever_is_added_to_logits():
    logits = np.random.RandomState(0).normal(size=(4, 6, 3))
    shifted = logits + 1000 * np.arange(4)[:, None, None]
    log_p = classification.predictive(shifted)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1.0)
    np.testing.assert_allclose(log_p, classification.predictive(logits))


# Accuracy, likelihood, calibration


def test_measures_by_hand():
    p = [[0.72, 0.28, 0], [0.08, 0.62, 0.3], [0.2, 0.16, 0.64], [0.52, 0.28, 0.2]]
    found = classification.classification_metrics(
        np.log(np.array(p) + 1e-12) + 5.0, [0, 1, 0, 0], bins=10
    )
    assert found["accuracy"] == 0.75
    # Of the spread with n - 1: sqrt(p (1 - p) / (n - 1)).
    assert found["accuracy_se"] == pytest.approx(np.sqrt(0.75 * 0.25 / 3))
    nll = -np.log([0.72, 0.62, 0.2, 0.52])
    assert found["negative_log_likelihood"] == pytest.approx(nll.mean())
    error = nll.std(ddof=1) / 2
    assert found["negative_log_likelihood_se"] == pytest.approx(error)
    # Bins (.5, .6], (.6, .7] with two, one of them right, and (.7, .8].
    expected = (abs(1 - 0.52) + abs(1 - 0.62 - 0.64) + abs(1 - 0.72)) / 4
    assert found["calibration_error"] == pytest.approx(expected)


@pytest.mark.parametrize(("share", "expected"), [(0.8, 0.0), (0.6, 0.2), (1.0, 0.2)])
def test_calibration_error_of_one_confidence(share, expected):
    y = np.repeat([0, 1], [round(100 * share), 100 - round(100 * share)])
    logits = np.tile(logs([0.8, 0.2]), (100, 1))
    found = classification.calibration_error(logits, y)
    assert found == pytest.approx(expected, abs=1e-9)


def test_calibration_errors_of_two_bins_do_not_cancel():
    # Too sure by .1, and too unsure by .2, of as many.
    logits = np.repeat(logs([[0.9, 0.1], [0.6, 0.4]]), 10, axis=0)
    y = np.array(8 * [0] + 2 * [1] + 8 * [0] + 2 * [1])
    found = classification.calibration_error(logits, y, bins=2)
    # Bins (0, 1/2] and (1/2, 1]: both in one, where they do cancel.
    assert found == pytest.approx(abs(0.8 - 0.75))
    assert classification.calibration_error(logits, y, 10) == pytest.approx(0.15)


def test_a_confidence_on_an_edge_is_in_the_bin_below():
    # .5 and .4, and .5 and .7: of the pairs that share a bin gaps cancel.
    y = [0, 1]
    below = logs([[0.5, 0.5, 1e-300], [0.4, 0.3, 0.3]])
    above = logs([[0.5, 0.5, 1e-300], [0.7, 0.2, 0.1]])
    found = [classification.calibration_error(v, y, 2) for v in (below, above)]
    assert found == pytest.approx([(0.5 - 0.4) / 2, (0.5 + 0.7) / 2])


def test_predictions_drawn_from_themselves_are_calibrated():
    generator = np.random.RandomState(0)
    logits = 2 * generator.normal(size=(20_000, 4))
    y = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
    # Of 15 bins each adds about sqrt(2 / pi) sqrt(p (1 - p) n_b) / n: under .012.
    assert classification.calibration_error(logits, y) < 0.012
    assert classification.calibration_error(3 * logits, y) > 0.1


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 30),
    classes=st.integers(1, 5),
    bins=st.integers(1, 20),
)
def test_calibration_error_is_within_its_bounds(seed, n, classes, bins):
    generator = np.random.RandomState(seed)
    logits = 10 * generator.normal(size=(n, classes))
    y = generator.randint(classes, size=n)
    found = classification.classification_metrics(logits, y, bins)
    assert 0 <= found["calibration_error"] <= 1
    assert found["negative_log_likelihood"] >= 0
    one_bin = classification.calibration_error(logits, y, 1)
    assert one_bin <= found["calibration_error"] + 1e-12


@pytest.mark.parametrize(
    ("logits", "y", "says"),
    [
        (np.zeros((0, 3)), [], r"logits must be .* at least one number"),
        (np.zeros((2, 3)), [0], r"Received: \(2, 3\) and \(1,\)"),
        (np.zeros(3), [0], r"Received: \(3,\) and \(1,\)"),
        (np.full((1, 3), np.nan), [0], "Received: NaN"),
        (np.zeros((1, 3)), [3], "integers from 0 to 2. Received: int64 from 3 to 3"),
        (np.zeros((1, 3)), [-1], "from -1 to -1"),
        (np.zeros((1, 3)), [0.5], "Received: dtype float64"),
    ],
)
def test_bad_logits_and_classes_raise(logits, y, says):
    for function in (
        classification.classification_metrics,
        classification.calibration_error,
    ):
        with pytest.raises(ValueError, match=says):
            function(logits, y)


@pytest.mark.parametrize("bins", [0, 2.5])
def test_bad_bins_raise(bins):
    with pytest.raises(ValueError, match=f"bins must .* Received: bins={bins}"):
        classification.calibration_error(np.zeros((1, 3)), [0], bins)


@pytest.mark.parametrize(
    ("n", "arguments", "says"),
    [
        (0, {}, "at least one example"),
        (2, {"samples": 0}, "samples must be an integer >= 1"),
        (2, {"batch_size": 0}, "batch_size must be an integer >= 1"),
    ],
)
def test_bad_arguments_of_forward_raise(n, arguments, says):
    model = known_model(gaussian(), [np.eye(3), np.zeros(3)])
    with pytest.raises(ValueError, match=says):
        classification.forward(model, data(n), **arguments)


# Training with labels


@pytest.mark.core
def test_a_bottleneck_learns_labels():
    y = np.arange(60) % 3
    x = np.eye(3, dtype="float32")[y]
    bottleneck = GaussianBottleneck(2, beta=1e-3, name="bottleneck")
    model = objectives.information_bottleneck(identity(), bottleneck, 3)
    model.compile(keras.optimizers.Adam(0.05), loss=losses.CategoricalNLL())
    history = model.fit(x, y, batch_size=20, epochs=40, verbose=0).history
    _, logits = classification.forward(model, x, samples=5)
    found = classification.classification_metrics(classification.predictive(logits), y)
    assert found["accuracy"] == 1.0
    found = classification.information_plane(model, x, y, samples=5)
    assert 0.8 < found["label_information"] < np.log(3) + 1e-6
    # What is told of the classes cannot be more than what is kept of the inputs.
    assert found["label_information"] < found["rate"]
    assert history["distortion"][-1] < history["distortion"][0]
    # `evaluate` takes labels as targets: the distortion is that of the plane.
    of_labels = evaluate(model, x, y, samples=50)
    assert of_labels["distortion"] == pytest.approx(found["distortion"], abs=0.04)
