"""Tests of the distortions against SciPy's densities."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from scipy import special, stats
from tools import array

from echo_keras import losses

SHAPE = (7, 4, 3, 2)


def images(seed=0, binary=False):
    x = np.random.RandomState(seed).random_sample(SHAPE)
    return (x > 0.5 if binary else x).astype("float32")


def outputs(seed=1, channels=SHAPE[-1]):
    x = np.random.RandomState(seed).normal(0, 2, (*SHAPE[:-1], channels))
    return x.astype("float32")


def pixels(x):
    """The sum over every axis but the first, in float64."""
    return np.asarray(x, "float64").reshape(len(x), -1).sum(1)


def bernoulli(y, logits):
    return stats.bernoulli.logpmf(y, special.expit(logits.astype("float64")))


def learned(y, output):
    mean, log_var = np.split(output.astype("float64"), 2, axis=-1)
    return stats.norm.logpdf(y, mean, np.exp(log_var / 2))


# name: loss, data, output, log-density of each value by SciPy
CASES = {
    "bernoulli": (losses.Bernoulli(), images(binary=True), outputs(), bernoulli),
    "gaussian": (losses.Gaussian(), images(), outputs(), stats.norm.logpdf),
    "gaussian, variance 1/4": (
        losses.Gaussian(0.25),
        images(),
        outputs(),
        lambda y, mean: stats.norm.logpdf(y, mean, 0.5),
    ),
    "gaussian, learned": (
        losses.Gaussian("learned"),
        images(),
        outputs(channels=4),
        learned,
    ),
    "laplace": (
        losses.Laplace(0.3),
        images(),
        outputs(),
        lambda y, mean: stats.laplace.logpdf(y, mean, 0.3),
    ),
    "squared error": (
        losses.SquaredError(),
        images(),
        outputs(),
        lambda y, mean: -((y.astype("float64") - mean) ** 2),
    ),
}
every_loss = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


@pytest.mark.core
@every_loss
def test_sums_minus_log_density_over_pixels(case):
    loss, y, output, log_density = case
    per_example = array(loss.call(y, output))
    assert per_example.shape == (7,) and per_example.dtype == np.float32
    np.testing.assert_allclose(per_example, -pixels(log_density(y, output)), rtol=1e-5)


@pytest.mark.core
@every_loss
def test_is_the_mean_over_examples_or_the_weighted_one(case):
    loss, y, output, _ = case
    weight = np.array([0, 1, 2, 0.5, 0, 3, 1], "float32")
    per_example = array(loss.call(y, output))
    for given, expected in (
        (None, per_example.mean()),
        (weight, (per_example * weight).mean()),
    ):
        mean = loss(y, output, sample_weight=given)
        assert tuple(mean.shape) == ()
        np.testing.assert_allclose(array(mean), expected, rtol=1e-5)


@pytest.mark.core
def test_does_not_depend_on_how_data_are_batched():
    loss, y, output, _ = CASES["gaussian, learned"]
    inputs = keras.Input(output.shape[1:])
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss=loss)
    expected = array(loss.call(y, output)).mean()
    for batch_size in (1, 4, 7):  # 4 leaves a last batch of 3
        found = model.evaluate(output, y, batch_size=batch_size, verbose=0)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.core
@every_loss
def test_half_precision_output_is_summed_in_float32(case):
    loss, y, output, _ = case
    half = ops.cast(output, "bfloat16")
    rounded = array(ops.cast(half, "float32"))
    np.testing.assert_array_equal(
        array(loss.call(y, half)), array(loss.call(y, rounded))
    )


@every_loss
def test_config_round_trip(case):
    loss, y, output, _ = case
    config = keras.losses.serialize(loss)
    again = keras.losses.deserialize(config)
    assert type(again) is type(loss) and again.get_config() == loss.get_config()
    np.testing.assert_array_equal(
        array(again.call(y, output)), array(loss.call(y, output))
    )


@pytest.mark.core
def test_saved_in_a_compiled_model(tmp_path):
    loss = losses.Gaussian("learned")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(4)(inputs))
    model.compile("sgd", loss=loss)
    y = np.ones((5, 2))
    before = model.evaluate(np.ones((5, 3)), y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.loss.get_config() == loss.get_config()
    after = loaded.evaluate(np.ones((5, 3)), y, verbose=0)
    np.testing.assert_allclose(after, before, rtol=1e-6)


@every_loss
def test_names(case):
    loss = type(case[0])
    assert loss().name == loss.__name__.lower()
    assert loss(name="mine").name == "mine"


# Bernoulli


@pytest.mark.core
@pytest.mark.parametrize(
    ("y", "logit", "nats"),
    [
        (1.0, 200.0, 0.0),
        (0.0, -200.0, 0.0),
        # Keras's own cross-entropy of probabilities stops at 16.1 nats.
        (0.0, 200.0, 200.0),
        (1.0, -200.0, 200.0),
        (0.5, 200.0, 100.0),
        (0.0, 0.0, math.log(2)),
    ],
)
def test_bernoulli_at_extreme_logits(y, logit, nats):
    found = array(losses.Bernoulli().call(np.full((2, 3), y), np.full((2, 3), logit)))
    np.testing.assert_allclose(found, 3 * nats, rtol=1e-6, atol=1e-30)


@pytest.mark.core
def test_bernoulli_of_grey_targets_is_a_cross_entropy():
    y, logits = images(), outputs()
    p = special.expit(logits.astype("float64"))
    expected = -pixels(special.xlogy(y, p) + special.xlogy(1 - y, 1 - p))
    np.testing.assert_allclose(
        array(losses.Bernoulli().call(y, logits)), expected, rtol=1e-5
    )


@pytest.mark.core
def test_bernoulli_takes_bits_and_integers():
    y, logits = images(binary=True), outputs()
    expected = array(losses.Bernoulli().call(y, logits))
    for dtype in (bool, "uint8", "int64", "float64"):
        np.testing.assert_array_equal(
            array(losses.Bernoulli().call(y.astype(dtype), logits)), expected
        )


# Gaussian and Laplace


@pytest.mark.core
def test_learned_variance_lies_behind_the_mean_in_the_last_axis():
    y = np.zeros((1, 2), "float32")
    mean, log_var = [3.0, 0.0], [0.0, math.log(4.0)]
    expected = 0.5 * (9 + math.log(4) + 2 * math.log(2 * math.pi))
    found = array(losses.Gaussian("learned").call(y, np.array([mean + log_var])))
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


@pytest.mark.core
def test_half_the_squared_error_is_gaussian_up_to_a_constant():
    y, mean = images(), outputs()
    constant = 12 * math.log(2 * math.pi)  # 24 values, half of log 2 pi each
    np.testing.assert_allclose(
        array(losses.Gaussian().call(y, mean)),
        array(losses.SquaredError().call(y, mean)) / 2 + constant,
        rtol=1e-5,
    )


@pytest.mark.parametrize("variance", [0, -1.0, math.inf, math.nan, "fixed", None])
def test_bad_variance_raises(variance):
    sentence = rf"finite number > 0, or 'learned'. Received: variance={variance!r}$"
    with pytest.raises(ValueError, match=sentence):
        losses.Gaussian(variance)


@pytest.mark.parametrize("scale", [0, -1.0, math.inf, math.nan])
def test_bad_scale_raises(scale):
    sentence = rf"^scale must be a finite number > 0. Received: scale={scale}$"
    with pytest.raises(ValueError, match=sentence):
        losses.Laplace(scale)


# Drawing data. Statistical tests allow 4.5 standard errors: correct code fails a
# comparison at most once in 140,000 seeds, and the seeds are fixed.

DRAWS = 20_000


def drawn(loss, output, seed=0):
    """DRAWS samples for the output of one example, float64."""
    repeated = np.tile(np.asarray(output, "float32"), (DRAWS, 1))
    return array(loss.sample(repeated, seed)).astype("float64")


def assert_mean(x, expected):
    error = x.std(axis=0, ddof=1) / math.sqrt(len(x))
    assert np.all(np.abs(x.mean(axis=0) - expected) < 4.5 * error)


@pytest.mark.core
def test_bernoulli_draws_zeros_and_ones():
    p = np.array([0.1, 0.5, 0.8])
    x = drawn(losses.Bernoulli(), [special.logit(p)])
    assert set(np.unique(x)) == {0.0, 1.0}
    assert_mean(x, p)
    assert_mean((x[:, 0] - p[0]) * (x[:, 1] - p[1]), 0.0)
    assert_mean((x[1:] - p) * (x[:-1] - p), 0.0)
    sure = drawn(losses.Bernoulli(), [[-200.0, 200.0]])
    np.testing.assert_array_equal(sure, np.tile([0.0, 1.0], (DRAWS, 1)))


@pytest.mark.core
@pytest.mark.parametrize(
    ("loss", "output", "law"),
    [
        (losses.Gaussian(0.25), [2.0, -1.0], stats.norm([2, -1], 0.5)),
        (
            losses.Gaussian("learned"),
            [2.0, -1.0, math.log(9), math.log(0.04)],
            stats.norm([2, -1], [3, 0.2]),
        ),
        (losses.Laplace(0.3), [2.0, -1.0], stats.laplace([2, -1], 0.3)),
        # exp(-(y - mean)^2), up to a factor.
        (losses.SquaredError(), [2.0, -1.0], stats.norm([2, -1], math.sqrt(0.5))),
    ],
)
def test_draws_from_the_density(loss, output, law):
    x = drawn(loss, [output])
    assert x.shape == (DRAWS, 2)
    assert_mean(x, law.mean())
    assert_mean((x - law.mean()) ** 2, law.var())
    assert_mean((x[:, 0] - 2) * (x[:, 1] + 1), 0.0)
    assert_mean((x[1:] - law.mean()) * (x[:-1] - law.mean()), 0.0)
    # False alarms: one seed in 1,000.
    assert stats.kstest(law.cdf(x).ravel(), "uniform").pvalue > 1e-3


@pytest.mark.core
@pytest.mark.parametrize("name", ["bernoulli", "gaussian, learned", "laplace"])
def test_the_mean_distortion_of_draws_is_the_entropy(name):
    loss, y, output, log_density = CASES[name]
    repeated = np.repeat(output[:1], 4_000, axis=0)
    x = loss.sample(repeated, keras.random.SeedGenerator(1))
    assert tuple(x.shape) == (4_000, *y.shape[1:])
    assert keras.backend.standardize_dtype(x.dtype) == "float32"
    if name == "bernoulli":
        entropy = stats.bernoulli(special.expit(output[0].astype("float64"))).entropy()
    elif name == "laplace":
        entropy = stats.laplace(output[0], 0.3).entropy()
    else:
        entropy = stats.norm(0, np.exp(output[0, ..., 2:].astype("float64") / 2))
        entropy = entropy.entropy()
    found = array(loss.call(x, repeated)).astype("float64")
    assert_mean(found, entropy.sum())


@pytest.mark.core
@pytest.mark.parametrize("name", [*CASES, "categorical"])
def test_draws_follow_the_seed_and_take_half_precision(name):
    loss, output = losses.CategoricalNLL(), outputs().reshape(-1, 2)
    if name in CASES:
        loss, _, output, _ = CASES[name]
    output = ops.cast(output, "bfloat16")
    seeds = [keras.random.SeedGenerator(s) for s in (1, 1, 6)]
    first, same, other = (array(loss.sample(output, s)) for s in seeds)
    assert first.dtype == (np.int32 if name == "categorical" else np.float32)
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)
    assert np.any(first != array(loss.sample(output, seeds[0])))
    third, fourth = (array(loss.sample(output, 3)) for _ in range(2))
    np.testing.assert_array_equal(third, fourth)
    drawn = [array(loss.sample(output)) for _ in range(4)]
    assert any(np.any(x != drawn[0]) for x in drawn[1:])


@pytest.mark.core
def test_categorical_draws_class_numbers():
    p = np.array([0.2, 0.7, 0.1])
    labels = drawn(losses.CategoricalNLL(), [np.log(p)])
    assert labels.shape == (DRAWS,)
    assert_mean(labels[:, None] == np.arange(3), p)


# name: the mean's closed form in float64
MEANS = {
    "bernoulli": lambda output: special.expit(output),
    "gaussian": lambda output: output,
    "gaussian, variance 1/4": lambda output: output,
    "gaussian, learned": lambda output: output[..., :2],
    "laplace": lambda output: output,
    "squared error": lambda output: output,
}


@pytest.mark.core
@pytest.mark.parametrize("name", MEANS)
def test_means_are_in_the_data_s_units_and_uncut(name):
    loss, y, output, _ = CASES[name]
    expected = MEANS[name](output.astype("float64"))
    found = array(loss.mean(output))
    assert found.shape == y.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    half = array(loss.mean(ops.cast(output, "bfloat16")))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, expected, atol=0.05)


@pytest.mark.core
def test_mean_of_labels_is_their_probabilities():
    logits = np.array([[0.0, 1.0, -2.0], [1e4, 0.0, -1e4]], "float32")
    found = array(losses.CategoricalNLL().mean(logits))
    expected = special.softmax(logits.astype("float64"), axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_no_distortion_has_images_and_no_samples():
    logits = np.array([[-200.0, 0.0, 200.0]], "float32")
    np.testing.assert_array_equal(array(losses.ZeroLoss().mean(logits)), logits)
    found = array(losses.ZeroLoss(logits=True).mean(logits))
    np.testing.assert_allclose(found, [[0.0, 0.5, 1.0]])
    with pytest.raises(ValueError, match="a likelihood .* Received: loss=ZeroLoss"):
        losses.ZeroLoss().sample(outputs())


def test_a_loss_without_a_law_has_neither_mean_nor_samples():
    for method in (losses.Distortion().mean, losses.Distortion().sample):
        with pytest.raises(ValueError, match="a likelihood .* loss=Distortion"):
            method(outputs())


# Shapes


@pytest.mark.parametrize(
    ("loss", "data", "output", "needed"),
    [
        # Each of the first three would broadcast, and quietly mean something else.
        ("bernoulli", (2, 28, 28), (2, 28, 28, 1), r"\(2, 28, 28\)"),
        ("bernoulli", (2, 28, 28, 1), (2, 28, 28), r"\(2, 28, 28, 1\)"),
        ("bernoulli", (2, 1), (2, 4), r"\(2, 1\)"),
        ("laplace", (2, 4), (2, 3), r"\(2, 4\)"),
        ("gaussian, learned", (2, 4), (2, 4), r"\(2, 8\)"),
        ("gaussian", (2, 4), (2, 8), r"\(2, 4\)"),
    ],
)
def test_shapes_that_do_not_fit_raise(loss, data, output, needed):
    loss = CASES[loss][0]
    sentence = rf"^y_pred must have the shape {needed} for {type(loss).__name__} of"
    with pytest.raises(ValueError, match=sentence):
        loss(np.zeros(data), np.zeros(output))


@pytest.mark.core
def test_shapes_that_do_not_fit_raise_in_fit():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(4)(inputs))
    model.compile("sgd", loss=losses.Bernoulli())
    with pytest.raises(ValueError, match="y_pred must have the shape"):
        model.fit(np.zeros((5, 3)), np.zeros((5, 3)), verbose=0)


# Class labels, and no distortion


@pytest.mark.core
def test_categorical_is_minus_the_log_softmax_of_the_label():
    logits = outputs()[:, 0, 0, :1] * np.array([[1.0, -2.0, 0.5]], "float32")
    labels = np.arange(7) % 3
    expected = -special.log_softmax(logits.astype("float64"), axis=1)
    expected = expected[np.arange(7), labels]
    loss = losses.CategoricalNLL()
    for y in (labels, labels[:, None], labels.astype("float32")):
        np.testing.assert_allclose(array(loss.call(y, logits)), expected, rtol=1e-5)
    assert float(loss(labels, logits)) == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.core
def test_categorical_at_extreme_logits_is_finite():
    logits = np.array([[1e4, -1e4], [1e4, -1e4]], "float32")
    found = array(losses.CategoricalNLL().call(np.array([0, 1]), logits))
    np.testing.assert_allclose(found, [0.0, 2e4])


@pytest.mark.parametrize(
    ("labels", "logits"), [((4, 2), (4, 3)), ((4,), (4, 3, 1)), ((4,), (4,))]
)
def test_categorical_of_other_shapes_raises(labels, logits):
    with pytest.raises(ValueError, match="^CategoricalNLL takes labels of shape"):
        losses.CategoricalNLL().call(np.zeros(labels), np.zeros(logits))


@pytest.mark.core
def test_zero_loss_is_zero_for_every_example():
    found = array(losses.ZeroLoss().call(images(), outputs()))
    np.testing.assert_array_equal(found, np.zeros(7))
