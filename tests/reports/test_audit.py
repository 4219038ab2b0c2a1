"""Each finding: a model that has it, and one that has not."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from tools import array, normal, small_networks

import echo_keras
from echo_keras import losses, metrics, objectives
from echo_keras.layers import (
    EchoBottleneck,
    GaussianBottleneck,
    GaussianSample,
    MMDPenalty,
)
from echo_keras.reports import CHECKS, Audit, Finding

pytestmark = pytest.mark.core


def binary(n, seed=0):
    """Eight pixels of two independent causes, so that two dimensions tell something."""
    random = np.random.RandomState(seed)
    cause = np.repeat(random.uniform(0.1, 0.9, (n, 2)), 4, axis=1)
    return (random.uniform(size=(n, 8)) < cause).astype("float32")


X, X_TRAIN = binary(300, 1), binary(600, 2)


def trained(kind="echo", beta=0.02, epochs=8):
    keras.utils.set_random_seed(0)
    encoder, decoder = small_networks()
    # The more echoes, the lower the lowest rate.
    kwargs = {"d_max": 49, "bank_size": 256} if kind == "echo" else {}
    build = {"echo": objectives.echo, "vae": objectives.vae}[kind]
    model = build(encoder, decoder, 2, beta=beta, **kwargs)
    model.compile(keras.optimizers.Adam(0.02), loss=losses.Bernoulli())
    model.fit(X_TRAIN, batch_size=100, epochs=epochs, verbose=0)
    return model


@pytest.fixture(scope="module")
def echo():
    return trained()


@pytest.fixture(scope="module")
def vae():
    return trained("vae", beta=0.1)


def one(name, model, x=X, x_train=X_TRAIN, **kwargs):
    """The finding of one check, or None; what is skipped fails."""
    audit = echo_keras.audit(model, x, x_train, checks=[name], **kwargs)
    assert not audit.skipped, audit.skipped
    return audit[name] if audit else None


def bottleneck(model):
    return model.get_layer("bottleneck")


@pytest.fixture
def as_it_was(echo):
    """Gives the Echo model of the module back as it was."""
    weights = [w.copy() for w in echo.get_weights()]
    yield echo
    echo.set_weights(weights)


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


# The code


@pytest.mark.parametrize("kind", ["echo", "vae"])
def test_posterior_collapse(kind, request):
    assert one("posterior_collapse", request.getfixturevalue(kind)) is None
    collapsed = trained(kind, beta=100.0, epochs=14)
    found = one("posterior_collapse", collapsed)
    floor = 2 * -math.log(bottleneck(collapsed).channel.r) if kind == "echo" else 0.0
    assert found.numbers["lowest_rate"] == pytest.approx(floor, rel=1e-5)
    assert floor - 1e-5 < found.numbers["rate"] < floor + 0.1
    assert one("inactive_dimensions", collapsed) is None  # said once


def linear(x, kernel, bias=0.0):
    """A layer of given weights: kernel, (d,), is its diagonal."""
    kernel = np.diag(np.array(kernel, "float32"))
    layer = keras.layers.Dense(len(kernel))
    y = layer(x)
    layer.set_weights([kernel, np.zeros(len(kernel)) + bias])
    return y


def fixed_channel(means, log_var=-4.0, noise_variance=None, marginal=None):
    """A channel of a mean for each dimension that is so many times the input's.

    An idle dimension is a draw from the standard normal.
    """
    inputs = keras.Input((len(means),))
    channel = GaussianSample(marginal, noise_variance, seed=0)
    given = linear(inputs, means)
    if noise_variance is None:
        spread = [log_var if m else 0.0 for m in means]
        given = [given, linear(inputs, np.zeros(len(means)), spread)]
    model = keras.Model(inputs, keras.layers.Dense(len(means))(channel(given)))
    model.compile(loss=losses.SquaredError())
    return model


def test_inactive_dimensions():
    found = one(
        "inactive_dimensions", fixed_channel([1, 0, 1, 0]), normal(300, 4), None
    )
    assert found.numbers == {"inactive": [1, 3], "dimensions": 4}
    assert found.evidence.endswith("z2, z4.")
    active = fixed_channel([1, 1, 1, 1])
    assert one("inactive_dimensions", active, normal(300, 4), None) is None


def test_dimensions_of_fixed_noise_have_a_lowest_rate():
    """Of noise of variance 1/2: KL of N(0, 1/2) from N(0, 1), which tells nothing."""
    model = fixed_channel([1, 0], noise_variance=0.5)
    found = one("inactive_dimensions", model, normal(300, 2), None)
    assert found.numbers["inactive"] == [1]
    idle = fixed_channel([0, 0], noise_variance=0.5)
    found = one("posterior_collapse", idle, normal(300, 2), None)
    assert found.numbers["rate"] == pytest.approx(0.5 + math.log(2) - 1, rel=1e-5)


def test_inactive_dimensions_of_a_learned_marginal():
    """Rates are then no sum over dimensions: two draws of a code share its signal."""
    model = fixed_channel([1, 0], -1.0, marginal=echo_keras.layers.Logistic())
    found = one("inactive_dimensions", model, normal(1000, 2), None)
    assert found.numbers["inactive"] == [1]


def test_total_correlation():
    independent = fixed_channel([1, 1, 1])
    x = normal(1000, 3)
    assert one("total_correlation", independent, x, None) is None
    x[:, 1] = 0.8 * x[:, 0] + 0.6 * x[:, 1]
    found = one("total_correlation", independent, x, None)
    noise = 1 + math.exp(-4)
    expected = -0.5 * math.log(1 - (0.8 / noise) ** 2)
    assert found.numbers["total_correlation"] == pytest.approx(expected, abs=0.1)


def test_prior_mismatch():
    right = fixed_channel([1, 1], log_var=-4.0)
    x = normal(600, 2) * math.sqrt(1 - math.exp(-4))
    assert one("prior_mismatch", right, x, None) is None
    found = one("prior_mismatch", right, x + [0.0, 0.5], None)
    assert found.numbers["p"] == 0.001  # beyond all of 999 permutations
    assert found.numbers["means"][1] == pytest.approx(0.5, abs=0.15)
    assert "z2" in found.evidence


def test_the_prior_of_a_penalty_is_compared():
    inputs = keras.Input((2,))
    prior = echo_keras.layers.Logistic(scale=0.1, seed=0)
    z = MMDPenalty(prior=prior)(EchoBottleneck(2, d_max=9, bank_size=64)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(z))
    assert "Logistic" in one("prior_mismatch", model, normal(200, 2), None).evidence


def test_the_permutation_test_keeps_its_error_rate():
    """Of 100 pairs of one law at the rate .1: 10 wrong, with a deviation of 3."""
    from echo_keras.reports.checks_code import _permutation_test

    random = np.random.RandomState(0)
    pairs = random.standard_cauchy((100, 2, 20, 1))
    p = np.array([_permutation_test(z, y, seed) for seed, (z, y) in enumerate(pairs)])
    assert 2 <= (p[:, 1] <= 0.1).sum() <= 18
    # Its statistic is the unbiased squared MMD.
    z, y = normal(5, 2), normal(5, 2, seed=1)
    both = np.concatenate([z, y]).astype("float64")
    squared = ((both[:, None] - both[None]) ** 2).sum(-1)
    k = 1 / (1 + squared / np.median(squared))
    within = [k[s][:, s].sum() - 5 for s in (slice(5), slice(5, 10))]
    expected = sum(within) / 20 - 2 * k[:5, 5:].mean()
    assert _permutation_test(z, y, 0)[0] == pytest.approx(expected, rel=1e-5)


# The bank


def test_empty_bank(as_it_was):
    assert one("empty_bank", as_it_was) is None
    bottleneck(as_it_was).channel.bank_rows.assign(0.0)
    assert one("empty_bank", as_it_was).severity == "error"


@pytest.mark.parametrize(
    ("poison", "sentence"),
    [
        (lambda bank: np.full_like(bank, np.nan), "256 of 256 rows hold NaN"),
        (lambda bank: np.repeat(bank[:1], 256, axis=0), "all of its 256 rows"),
        (lambda bank: np.concatenate([bank[:156], 0 * bank[:100] + 0.5]), "100 times"),
    ],
)
def test_poisoned_bank(poison, sentence, as_it_was):
    assert one("poisoned_bank", as_it_was) is None
    bank = bottleneck(as_it_was).channel.bank
    bank.assign(poison(array(bank).copy()))
    assert sentence in one("poisoned_bank", as_it_was).evidence


def test_few_examples_may_repeat(as_it_was):
    bank = bottleneck(as_it_was).channel.bank
    bank.assign(np.tile(np.unique(array(bank), axis=0)[:4], (64, 1)))
    assert one("poisoned_bank", as_it_was, X[:4], X_TRAIN[:4]) is None
    assert "64 times" in one("poisoned_bank", as_it_was).evidence


def test_stale_bank(as_it_was):
    channel = bottleneck(as_it_was).channel
    assert one("stale_bank", as_it_was) is None
    # The encoder moves on, the bank stays.
    channel.trainable = False
    head = bottleneck(as_it_was).heads[1]
    head.bias.assign(head.bias - 1.0)
    found = one("stale_bank", as_it_was)
    assert "of log s" in found.evidence and found.numbers["columns"] >= 1
    channel.trainable = True
    as_it_was.optimizer.learning_rate = 0.0
    as_it_was.fit(X_TRAIN, batch_size=50, verbose=0)  # the remedy
    assert one("stale_bank", as_it_was) is None


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
