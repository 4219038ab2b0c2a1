"""Tests of the MMD penalty. Statistical tests allow 4.5 standard errors."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from echo_keras.layers.marginals import Logistic, StandardNormal
from echo_keras.layers.penalties import MMDPenalty, VariancePenalty

pytestmark = pytest.mark.core

ERRORS = 4.5


def array(x):
    return ops.convert_to_numpy(x)


def normal(*shape, seed=0):
    return np.random.RandomState(seed).normal(size=shape).astype("float32")


@keras.saving.register_keras_serializable(package="echo_keras_tests")
class Given(keras.layers.Layer):
    """A prior whose samples are the rows of one array, so that nothing is random."""

    def build(self, input_shape):
        self.rows = normal(50, *input_shape[1:], seed=7)

    def sample(self, n):
        return ops.convert_to_tensor(self.rows)[:n]


def kernel_of(name, d, bandwidth):
    def rbf(x, y):
        b = bandwidth or d / np.sqrt(2)
        return np.exp(-((x - y) ** 2).sum() / (2 * b**2))

    def imq(x, y):
        c = bandwidth**2 if bandwidth else 2 * d
        return c / (c + ((x - y) ** 2).sum())

    return {"rbf": rbf, "imq": imq}[name]


def double_loop(z, y, kernel, unbiased):
    n, total = len(z), 0.0
    for i in range(n):
        for j in range(n):
            if i != j or not unbiased:
                pairs = n * (n - 1) if unbiased else n**2
                total += (kernel(z[i], z[j]) + kernel(y[i], y[j])) / pairs
            total -= 2 * kernel(z[i], y[j]) / n**2
    return total


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("bandwidth", [None, 0.7])
@pytest.mark.parametrize("shape", [(9, 3), (6, 2, 3)])
def test_value_is_that_of_the_double_loop(kernel, estimator, bandwidth, shape):
    layer = MMDPenalty(2.0, kernel, bandwidth, estimator, prior=Given())
    z = 1.5 * normal(*shape) + 0.5
    np.testing.assert_array_equal(array(layer(z)), z)
    z, y = (x.reshape(len(x), -1).astype("float64") for x in (z, layer.prior.rows))
    kernel = kernel_of(kernel, z.shape[1], bandwidth)
    expected = double_loop(z, y[: len(z)], kernel, estimator == "unbiased")
    np.testing.assert_allclose(array(layer.last_value), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        array(layer.losses[0]), 2 * expected, rtol=1e-4, atol=1e-6
    )


def values(layer, draw, repeats=200):
    found = [float(array(layer.penalty(draw(i)))) for i in range(repeats)]
    return np.mean(found), np.std(found, ddof=1) / np.sqrt(repeats)


def expected_rbf(mean, variance, d, b):
    """MMD^2 between N(mean, variance I) and N(0, I)."""

    def mean_kernel(spread, distance):
        total = b**2 + spread
        return (b**2 / total) ** (d / 2) * np.exp(-(distance**2) / (2 * total))

    away = np.sqrt(d) * mean
    return (
        mean_kernel(2 * variance, 0.0)
        + mean_kernel(2.0, 0.0)
        - 2 * mean_kernel(1 + variance, away)
    )


@pytest.mark.parametrize("mean, scale", [(0.0, 1.0), (0.5, 1.0), (0.0, 0.3)])
def test_unbiased_estimate_has_the_mean_that_gaussians_have(mean, scale):
    layer = MMDPenalty(estimator="unbiased", bandwidth=1.5, seed=0)
    layer.build((None, 3))
    found, error = values(layer, lambda i: mean + scale * normal(20, 3, seed=i))
    expected = expected_rbf(mean, scale**2, 3, 1.5)
    assert abs(found - expected) < ERRORS * error
    assert error < 0.005


def test_biased_estimate_is_above_by_its_diagonal():
    layer = MMDPenalty(bandwidth=1.5, seed=0)
    layer.build((None, 3))
    found, error = values(layer, lambda i: normal(20, 3, seed=i))
    mean_kernel = (1.5**2 / (1.5**2 + 2)) ** 1.5
    assert abs(found - 2 * (1 - mean_kernel) / 20) < ERRORS * error


def test_default_bandwidth_is_that_of_the_echo_paper():
    z = normal(10, 32)
    default, paper = MMDPenalty(seed=1), MMDPenalty(bandwidth=32 / np.sqrt(2), seed=1)
    default(z), paper(z)
    assert float(array(default.weight)) == 999.0
    assert array(default.last_value) == array(paper.last_value) > 0


def test_unbiased_estimate_of_one_example_is_zero():
    layer = MMDPenalty(estimator="unbiased")
    layer(normal(1, 3) + 5)
    assert float(array(layer.last_value)) == 0.0
    layer = MMDPenalty()
    layer(normal(1, 3) + 5)
    assert float(array(layer.last_value)) > 0


def test_another_prior():
    layer = MMDPenalty(estimator="unbiased", bandwidth=2.0, prior=Logistic(0.5, seed=1))
    layer.build((None, 2))
    rng = np.random.RandomState(0)
    found, error = values(
        layer, lambda i: rng.logistic(0, 0.5, (20, 2)).astype("float32")
    )
    assert abs(found) < ERRORS * error
    away, _ = values(layer, lambda i: 3 + 0.1 * normal(20, 2, seed=i), repeats=20)
    assert away > 0.5


def penalised_model(**arguments):
    inputs = keras.Input((4,))
    z = keras.layers.Dense(3, name="dense")(inputs)
    return keras.Model(inputs, MMDPenalty(name="mmd", **arguments)(z))


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_gradients_bring_codes_to_the_prior(kernel):
    model = penalised_model(weight=1.0, kernel=kernel, bandwidth=2.0, seed=0)
    model.compile(keras.optimizers.Adam(0.1), None)
    model.get_layer("dense").bias.assign([2.0, -2.0, 2.0])
    x = normal(100, 4)
    log = model.fit(x, epochs=20, batch_size=50, verbose=0)
    assert log.history["loss"][-1] < 0.2 * log.history["loss"][0]
    assert np.abs(array(model.get_layer("dense").bias)).max() < 0.7


def test_save_and_load_continue_the_draws(tmp_path):
    model, x = penalised_model(seed=5), normal(6, 4)
    layer = model.get_layer("mmd")

    def value(model):
        model(x)
        return float(array(model.get_layer("mmd").last_value))

    first = value(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    second = value(model)
    assert first != second
    assert value(loaded) == second
    configs = [
        json.dumps(m.get_config(), sort_keys=True)
        for m in (layer, loaded.get_layer("mmd"))
    ]
    assert configs[0] == configs[1]
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert clone.get_layer("mmd").prior is not layer.prior
    assert value(clone) == first  # with the seed, from its beginning


def test_any_batch_size():
    model = penalised_model(estimator="unbiased")
    model.compile("sgd", None)
    for n in (3, 1):
        model.fit(normal(n, 4), verbose=0)
        assert np.isfinite(float(array(model.get_layer("mmd").last_value)))


def test_half_precision_computes_in_float32():
    full, half = MMDPenalty(seed=0), MMDPenalty(seed=0, dtype="mixed_bfloat16")
    z = array(ops.cast(ops.cast(normal(30, 4), "bfloat16"), "float32"))
    full(z)
    assert keras.backend.standardize_dtype(half(z).dtype) == "bfloat16"
    np.testing.assert_array_equal(array(full.last_value), array(half.last_value))


def test_keras_layer_contract(run_layer_test):
    run_layer_test(
        MMDPenalty,
        {"kernel": "imq", "bandwidth": 0.5, "estimator": "unbiased", "seed": 1},
        input_shape=(4, 3),
        expected_output_shape=(4, 3),
        expected_num_trainable_weights=0,
        expected_num_non_trainable_weights=2,
        expected_num_seed_generators=1,
        expected_num_losses=1,
        supports_masking=False,
    )


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"kernel": "linear"}, "one of rbf, imq; received 'linear'"),
        ({"estimator": "fast"}, "one of biased, unbiased; received 'fast'"),
        ({"bandwidth": 0.0}, "bandwidth must be a finite number > 0.*received 0.0"),
        ({"weight": -1.0}, "weight must be a finite number >= 0. Received: weight=-1.0"),
    ],
)
def test_bad_arguments_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        MMDPenalty(**arguments)


def test_unknown_axis_raises():
    with pytest.raises(ValueError, match=r"every axis but the batch.*\(None, None\)"):
        MMDPenalty(prior=StandardNormal()).build((None, None))


@pytest.mark.parametrize("shape", [(7, 3), (5, 2, 4)])
def test_variance_penalty_is_its_formula(shape):
    layer = VariancePenalty(2.0, variance=4.0)
    z = 1.5 * normal(*shape) + 3.0
    np.testing.assert_array_equal(array(layer(z)), z)
    expected = abs(z.reshape(len(z), -1).astype("float64").var(axis=0).sum() - 4.0)
    np.testing.assert_allclose(array(layer.last_value), expected, rtol=1e-5)
    np.testing.assert_allclose(array(layer.losses[0]), 2 * expected, rtol=1e-5)


def test_variance_penalty_has_the_mean_that_gaussians_have():
    # The variance of n = 10 draws, divided by n, has mean .9 in each of 3 dimensions.
    layer = VariancePenalty(variance=0.0)
    layer.build((None, 3))
    mean, error = values(layer, lambda i: normal(10, 3, seed=i), repeats=400)
    assert abs(mean - 2.7) < ERRORS * error


def test_variance_penalty_brings_the_variance_to_its_target():
    z = normal(200, 2)
    inputs = keras.Input((2,))
    scaled = keras.layers.Dense(2, use_bias=False)(inputs)
    model = keras.Model(inputs, VariancePenalty(1.0, variance=3.0)(scaled))
    model.compile(keras.optimizers.Adam(0.02), loss=None)
    model.fit(z, batch_size=200, epochs=300, verbose=0)
    found = array(model(z)).var(axis=0).sum()
    assert abs(found - 3.0) < 0.1


def test_default_variance_is_that_of_a_standard_normal():
    layer = VariancePenalty()
    layer.build((None, 4, 2))
    assert layer.target == 8.0
    with pytest.raises(ValueError, match="needs a variance"):
        VariancePenalty().build((None, None))
    with pytest.raises(ValueError, match="variance must be a finite number >= 0"):
        VariancePenalty(variance=-1.0)


def test_variance_penalty_contract(run_layer_test):
    run_layer_test(
        VariancePenalty,
        {"weight": 2.0, "variance": 1.0},
        input_shape=(5, 3),
        expected_output_shape=(5, 3),
        expected_num_losses=1,
        expected_num_seed_generators=0,
        supports_masking=False,
    )
