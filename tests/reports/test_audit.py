"""Each finding: a model that has it, and one that has not."""

import math

import keras
import numpy as np
import pytest
from audited import X_TRAIN, X, one, trained
from keras import ops
from tools import array

import echo_keras
from echo_keras import losses, metrics
from echo_keras.layers import (
    GaussianBottleneck,
)
from echo_keras.reports import CHECKS, Audit, Finding

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def echo():
    return trained()


@pytest.fixture(scope="module")
def vae():
    return trained("vae", beta=0.1)


# Weights, data and loss


def test_not_finite(as_it_was):
    assert one("not_finite", as_it_was) is None
    kernel = as_it_was.get_layer("decoder").trainable_weights[0]
    kernel.assign(ops.full(kernel.shape, math.nan))
    found = one("not_finite", as_it_was)
    assert found.severity == "error" and found.numbers["weights"] == [kernel.path]


def plain(loss, activation=None, rate=True):
    """A plain Keras model of images, with a loss of Keras's own or another."""
    inputs = keras.Input((4, 2, 1))
    h = keras.layers.Dense(4)(keras.layers.Flatten()(inputs))
    z = GaussianBottleneck(2)(h) if rate else h
    outputs = keras.layers.Dense(8, activation=activation)(z)
    model = keras.Model(inputs, keras.layers.Reshape((4, 2, 1))(outputs))
    model.compile("sgd", loss=loss)
    return model


IMAGES = X.reshape(-1, 4, 2, 1)


@pytest.mark.parametrize(
    "loss", ["mse", "binary_crossentropy", keras.losses.MeanAbsoluteError()]
)
def test_a_loss_of_keras_is_a_mean_over_pixels(loss):
    model = plain(loss, "sigmoid")
    found = one("distortion_averaged", model, IMAGES, None)
    assert found.severity == "error" and found.numbers["values"] == 8
    assert "beta were 8 times" in found.evidence


def test_a_sum_over_pixels_is_none():
    def summed(y, output):
        return ops.sum(ops.square(y - output), axis=(1, 2, 3))

    for loss in (summed, losses.SquaredError(), losses.Bernoulli()):
        assert one("distortion_averaged", plain(loss), IMAGES, None) is None


def test_an_average_over_rows_alone_is_found():
    def by_rows(y, output):
        return ops.mean(ops.sum(ops.square(y - output), axis=(2, 3)), axis=1)

    found = one("distortion_averaged", plain(by_rows), IMAGES, None)
    assert (found.numbers["values"], found.numbers["axes"]) == (4, [1])


def test_an_average_without_a_rate_is_nobodys_business():
    model = plain("mse", rate=False)
    audit = echo_keras.audit(model, IMAGES, checks=["distortion_averaged"])
    assert "no channel" in audit.skipped["distortion_averaged"]


@pytest.mark.parametrize("loss", [losses.Bernoulli(), "binary_crossentropy"])
def test_pixels_out_of_range(loss):
    model = plain(loss, "sigmoid")
    assert one("pixels_out_of_range", model, IMAGES, None) is None
    found = one("pixels_out_of_range", model, 255 * IMAGES, None)
    assert found.severity == "error" and "Divide pixels by 255" in found.remedy
    assert found.numbers["share"] == pytest.approx(IMAGES.mean())


def test_pixels_of_bytes_under_a_squared_error():
    model = plain(losses.SquaredError())
    assert one("pixels_out_of_range", model, IMAGES, None) is None
    found = one("pixels_out_of_range", model, 255 * IMAGES, None)
    assert found.severity == "warning"


def test_a_sigmoid_before_a_loss_of_logits():
    found = one(
        "logits_for_probabilities", plain(losses.Bernoulli(), "sigmoid"), IMAGES
    )
    assert "come from a sigmoid" in found.evidence
    assert one("logits_for_probabilities", plain(losses.Bernoulli()), IMAGES) is None


def test_probabilities_are_told_by_how_well_they_fit():
    """No layer tells: 0.9 where a pixel is 1, and 0.1 where it is 0."""
    inputs = keras.Input((8,))
    model = keras.Model(inputs, 0.8 * inputs + 0.1)
    model.compile(loss=losses.Bernoulli())
    found = one("logits_for_probabilities", model)
    as_p, as_logits = -math.log(0.9), np.logaddexp(0, [0.1, 0.9]) - [0, 0.9]
    gain = 8 * (as_logits[X.astype(int)].mean() - as_p)
    assert found.numbers["gain"] == pytest.approx(gain, rel=1e-4)
    # Logits that lie there because the pixels are ones more often than zeros.
    constant = keras.Model(inputs, 0.0 * inputs + 0.3)
    constant.compile(loss=losses.Bernoulli())
    assert one("logits_for_probabilities", constant, np.ones((9, 8))) is None


def test_logits_before_a_loss_of_probabilities():
    wrong = plain("binary_crossentropy")
    found = one("logits_for_probabilities", wrong, 9 * IMAGES - 4)
    assert "takes probabilities" in found.evidence
    right = plain("binary_crossentropy", "sigmoid")
    assert one("logits_for_probabilities", right, IMAGES) is None


# The run


def test_rate_above_log_n(vae, echo):
    n = len(np.unique(X_TRAIN, axis=0))
    for model, severity in ((vae, "note"), (echo, "warning")):
        assert one("rate_above_log_n", model) is None
        found = one("rate_above_log_n", model, X, X_TRAIN[:1].repeat(50, axis=0))
        assert found.severity == severity and found.numbers["n"] == 1
        assert found.numbers["rate"] > found.numbers["log_n"] == 0.0
    assert math.log(n) > float(metrics.evaluate(vae, X_TRAIN)["rate"])


def test_training_inference_gap(vae):
    assert one("training_inference_gap", vae) is None
    inputs = keras.Input((8,))
    h = keras.layers.Dropout(0.5, seed=0)(100 * inputs)
    z = GaussianBottleneck(2, seed=0)(0.01 * h)
    model = echo_keras.RateDistortionModel(inputs, keras.layers.Dense(8)(z) + 5 * h)
    model.compile(loss=losses.SquaredError())
    found = one("training_inference_gap", model)
    # Half of the ones are doubled and half are 0: (500 x)^2 more in each of 8 pixels.
    assert found.numbers["distortion"] == pytest.approx(8 * 250_000 * X.mean(), rel=0.1)
    assert "distortion by +" in found.evidence


@keras.saving.register_keras_serializable(package="tests")
class SharedNoise(keras.layers.Layer):
    """Adds one number to the outputs of a batch."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, x):
        return x + 10 * keras.random.normal((1, 1), seed=self.seed_generator)


def test_evaluations_that_differ(vae):
    assert one("unstable_validation", vae) is None
    inputs = keras.Input((8,))
    z = GaussianBottleneck(2, seed=0)(inputs)
    outputs = SharedNoise()(keras.layers.Dense(8)(z))
    model = echo_keras.RateDistortionModel(inputs, outputs)
    model.compile(loss=losses.SquaredError())
    found = one("unstable_validation", model)
    assert found.numbers["deviation"] > found.numbers["standard_error"]


FALLING = 100 + 20 * 0.5 ** np.arange(12.0)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (FALLING, None),
        (FALLING + [0, 0, 0, 0, 0, 0, 9, -9, 9, -9, 9, -9], "leaves a straight line"),
        (np.concatenate([FALLING[:6], np.linspace(101, 130, 6)]), "ends 29"),
        (np.where(np.arange(12) == 4, np.nan, FALLING), "first in epoch 5"),
    ],
)
def test_validation_over_epochs(vae, values, sentence):
    history = {"loss": FALLING.tolist(), "val_neg_elbo": values.tolist()}
    by_epoch = [{"val_neg_elbo": value} for value in values]
    kept = keras.callbacks.History()
    kept.history = history
    for given in (history, by_epoch, kept):
        found = one("unstable_validation", vae, history=given)
        assert (found is None) == (sentence is None)
        assert sentence is None or sentence in found.evidence


# All together


def test_a_sound_model_has_no_error(echo):
    audit = echo_keras.audit(echo, X, X_TRAIN)
    assert not [f for f in audit if f.severity == "error"], str(audit)
    assert {*(f.name for f in audit), *audit.clean, *audit.skipped} == set(CHECKS)
    assert set(audit.skipped) == {"prior_mismatch"}


def test_an_audit_repeats_and_leaves_the_model_as_it_was(vae):
    before = [array(v).copy() for v in vae.variables]
    first, second = (echo_keras.audit(vae, X, X_TRAIN) for _ in range(2))
    assert first == second
    for variable, value in zip(vae.variables, before, strict=True):
        np.testing.assert_array_equal(array(variable), value, err_msg=variable.path)


def test_what_cannot_be_measured_is_skipped_with_the_reason(vae):
    audit = echo_keras.audit(vae, 255 * X, X_TRAIN)
    assert audit["pixels_out_of_range"].severity == "error"
    assert "must be in [0, 1]" in audit.skipped["training_inference_gap"]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.bottleneck = GaussianBottleneck(2)
        self.decoder = keras.layers.Dense(8)

    def call(self, x, training=False):
        return self.decoder(self.bottleneck(x, training=training))


def test_a_subclassed_model_has_the_checks_that_need_no_graph():
    model = Subclassed()
    model.compile("sgd", loss=losses.Bernoulli())
    audit = echo_keras.audit(model, X, X_TRAIN)
    assert {"total_correlation", "prior_mismatch"} <= set(audit.skipped)
    assert "posterior_collapse" in audit.clean and "not_finite" in audit.clean
    assert metrics.rate_by_dimension(model, X) is None


def test_errors_come_first_and_are_printed():
    found = Finding("b", "error", "Evidence of b.", "Remedy of b.")
    audit = Audit((found,), ("c",), {"d": "no data"})
    assert str(audit) == (
        "error: b\n    Evidence of b.\n    Remedy of b.\nNot found: c.\n"
        "Not looked for: d: no data"
    )
    assert audit["b"] is found and "b" in audit and "c" not in audit
    with pytest.raises(KeyError):
        audit["c"]


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"checks": ["collapse"]}, "checks must be one of not_finite, "),
        ({"error_rate": 0.0}, r"error_rate must be a number in \(0, 1\)"),
        ({"y": X[:5]}, "y must have as many examples as x, 300"),
        ({"history": 3}, "history must be what fit returns"),
        ({"history": [{"loss": "low"}]}, r"history\['loss'\] must be real numbers"),
    ],
)
def test_arguments(vae, kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        echo_keras.audit(vae, X, **kwargs)
