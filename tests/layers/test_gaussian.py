"""Tests of the Gaussian channel and its standard normal marginal.

Statistical tests allow 4.5 standard errors: a correct layer fails a comparison at
most once in 140,000 seeds, and the seeds are fixed.
"""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats
from tools import array

from echo_keras.layers import (
    GaussianSample,
    IAFBlock,
    collect_draws,
)

pytestmark = pytest.mark.core

ERRORS = 4.5


@keras.saving.register_keras_serializable(package="echo_keras_tests")
class Shifted(keras.layers.Layer):
    """The marginal N(shift, 1), without `kl`: rates are Monte Carlo estimates."""

    def __init__(self, shift, **kwargs):
        super().__init__(**kwargs)
        self.shift = shift

    def build(self, input_shape):
        self.code_shape = tuple(input_shape)[1:]

    def log_prob(self, z):
        axes = tuple(range(1, len(z.shape)))
        return ops.sum(
            -0.5 * ops.square(z - self.shift) - 0.5 * np.log(2 * np.pi), axes
        )

    def sample(self, n):
        return ops.full((n, *self.code_shape), self.shift)

    def get_config(self):
        return {**super().get_config(), "shift": self.shift}


def codes(shape=(6, 3), seed=0):
    """A mean and a log-variance, float32."""
    random = np.random.RandomState(seed)
    return [random.normal(0, s, shape).astype("float32") for s in (1.5, 1.0)]


def divergence(mean, log_var, shift=0.0):
    """KL[N(mean, exp(log_var)) || N(shift, 1)], by NumPy in float64: (batch,)."""
    mean, log_var = (np.asarray(x, "float64") for x in (mean, log_var))
    per_dimension = (mean - shift) ** 2 + np.exp(log_var) - log_var - 1
    return 0.5 * per_dimension.reshape(len(mean), -1).sum(1)


def repeated(mean, log_var, n):
    return [np.tile(np.asarray(x, "float32"), (n, 1)) for x in (mean, log_var)]


def assert_mean(x, expected):
    """The mean of x over examples is `expected` within ERRORS standard errors."""
    x = np.asarray(x, "float64")
    error = x.std(axis=0, ddof=1) / np.sqrt(len(x))
    assert np.all(np.abs(x.mean(axis=0) - expected) < ERRORS * error)


# The rate


@pytest.mark.parametrize("shape", [(5, 1), (5, 3), (4, 2, 3), (3, 2, 2, 2)])
def test_rate_is_the_divergence_of_each_example(shape):
    mean, log_var = codes(shape)
    layer = GaussianSample()
    with collect_draws() as rates:
        z = layer([mean, log_var])
    expected = divergence(mean, log_var)
    assert tuple(z.shape) == shape
    assert tuple(rates[0][0].shape) == shape[:1]
    assert float(array(layer.last_rate)) == 0.0
    layer([mean, log_var])
    np.testing.assert_allclose(array(rates[0][0]), expected, rtol=1e-5)
    np.testing.assert_allclose(array(layer.rate([mean, log_var])), expected, rtol=1e-5)
    np.testing.assert_allclose(array(layer.last_rate), expected.mean(), rtol=1e-5)


def test_rate_is_what_monte_carlo_finds():
    mean, log_var = np.array([1.0, -0.5, 0.2]), np.array([-2.0, 0.3, 0.0])
    z = np.random.RandomState(1).normal(mean, np.exp(log_var / 2), (100_000, 3))
    log_q = stats.norm.logpdf(z, mean, np.exp(log_var / 2)).sum(1)
    log_m = stats.norm.logpdf(z).sum(1)
    layer = GaussianSample()
    layer(repeated(mean, log_var, 2))
    assert_mean(log_q - log_m, array(layer.last_rate))


def test_loss_is_beta_times_the_mean_rate():
    layer = GaussianSample(beta=0.25)
    layer(codes())
    expected = 0.25 * divergence(*codes()).mean()
    assert len(layer.losses) == 1
    np.testing.assert_allclose(array(layer.losses[0]), expected, rtol=1e-5)


# A marginal that knows no divergence


def test_without_kl_each_rate_belongs_to_the_sample_returned():
    mean, log_var = codes((40, 3))
    layer = GaussianSample(Shifted(0.7))
    with collect_draws() as rates:
        z = array(layer([mean, log_var]))
    log_q = stats.norm.logpdf(z, mean, np.exp(log_var / 2)).sum(1)
    expected = log_q - stats.norm.logpdf(z, 0.7).sum(1)
    np.testing.assert_allclose(array(rates[0][0]), expected, rtol=1e-3, atol=1e-3)


def test_without_kl_the_estimate_has_the_right_mean():
    mean, log_var = [[1.0, -0.5, 0.2]], [[-2.0, 0.3, 0.0]]
    layer = GaussianSample(Shifted(0.7), seed=1)
    layer.build([(None, 3)] * 2)
    estimates = array(layer.rate(repeated(mean, log_var, 20_000)))
    assert_mean(estimates, divergence(mean, log_var, shift=0.7))
    assert estimates.std() > 0.1


def test_with_kl_the_marginal_is_not_sampled_against():
    layer = GaussianSample()
    layer.build([(None, 3)] * 2)
    np.testing.assert_array_equal(
        array(layer.rate(codes())), array(layer.rate(codes()))
    )


# A flow


@keras.saving.register_keras_serializable(package="echo_keras_tests")
class Affine(keras.layers.Layer):
    """The flow y = scale x + shift, and + context if there is one."""

    def __init__(self, scale=2.0, shift=0.5, **kwargs):
        super().__init__(**kwargs)
        self.scale, self.shift = scale, shift

    def build(self, input_shape):
        self.log_scale = self.add_weight(
            initializer=keras.initializers.Constant(np.log(self.scale))
        )

    def transform(self, x, context=None):
        y = ops.exp(self.log_scale) * x + self.shift
        log_det = ops.zeros_like(x[:, 0]) + x.shape[1] * self.log_scale
        return (y if context is None else y + context), log_det

    def inverse(self, y, context=None):
        y = y if context is None else y - context
        x = (y - self.shift) * ops.exp(-self.log_scale)
        return x, ops.zeros_like(x[:, 0]) - x.shape[1] * self.log_scale

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "shift": self.shift}


def log_normal(z, mean, log_var):
    return stats.norm.logpdf(z, mean, np.exp(np.asarray(log_var) / 2)).sum(1)


@pytest.mark.parametrize("marginal", [None, Shifted(0.7)])
@pytest.mark.parametrize("with_context", [False, True])
def test_flow_rate_belongs_to_the_sample_returned(marginal, with_context):
    # An affine flow of a Gaussian is a Gaussian, whose density is known.
    mean, log_var = codes((40, 3))
    context = codes((40, 3), seed=3)[0]
    layer = GaussianSample(marginal, flow=Affine(), context=with_context)
    inputs = [mean, log_var] + [context] * with_context
    with collect_draws() as rates:
        z = array(layer(inputs))
    moved = 2 * mean + 0.5 + context * with_context
    expected = log_normal(z, moved, log_var + 2 * np.log(2))
    expected -= log_normal(z, 0.7 if marginal else 0.0, 0.0)
    np.testing.assert_allclose(array(rates[0][0]), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(array(rates[0][1]), array(rates[0][0]))


def test_flow_rate_estimates_the_divergence():
    mean, log_var = [[1.0, -0.5, 0.2]], [[-2.0, 0.3, 0.0]]
    layer = GaussianSample(flow=Affine(0.5, 0.1), seed=1)
    layer.build([(None, 3)] * 2)
    estimates = array(layer.rate(repeated(mean, log_var, 20_000)))
    moved = 0.5 * np.array(mean) + 0.1, np.array(log_var) - 2 * np.log(2)
    assert_mean(estimates, divergence(*moved))


# Log-ratios


@pytest.mark.parametrize("marginal", [None, Shifted(0.7)])
def test_log_ratio_belongs_to_the_sample_returned(marginal):
    mean, log_var = codes((40, 3))
    layer = GaussianSample(marginal)
    layer.build([(None, 3)] * 2)
    draw = layer.draw([mean, log_var])
    z = array(draw.z)
    expected = log_normal(z, mean, log_var) - log_normal(z, 0.7 if marginal else 0, 0)
    np.testing.assert_allclose(array(draw.log_ratio), expected, rtol=1e-3, atol=1e-3)


def test_log_ratio_of_a_fixed_variance():
    mean, _ = codes((40, 3))
    layer = GaussianSample(noise_variance=0.3)
    layer.build((None, 3))
    draw = layer.draw(mean)
    z = array(draw.z)
    expected = log_normal(z, mean, np.log(0.3)) - log_normal(z, 0, 0)
    np.testing.assert_allclose(array(draw.log_ratio), expected, rtol=1e-3, atol=1e-3)


def test_drawing_leaves_the_loss_and_the_last_rate():
    layer = GaussianSample(beta=0.25, seed=2)
    layer([np.zeros((4, 3), "float32")] * 2)
    with collect_draws() as draws:
        layer(codes((4, 3)))
    layer.draw(codes((4, 3)))
    rate, log_ratio = (array(x) for x in draws[0])
    assert float(array(layer.last_rate)) == 0.0 and layer.losses == []
    np.testing.assert_allclose(rate, divergence(*codes((4, 3))), rtol=1e-5)
    assert np.abs(log_ratio - rate).max() > 1e-3


# The density of given codes


@pytest.mark.parametrize("shape", [(7, 3), (4, 2, 3)])
def test_log_prob_is_scipys(shape):
    mean, log_var = codes(shape)
    z = codes(shape, seed=5)[0] * 3
    found = array(GaussianSample().log_prob(z, [mean, log_var]))
    expected = stats.norm.logpdf(z, mean, np.exp(log_var / 2))
    np.testing.assert_allclose(found, expected.reshape(len(z), -1).sum(1), rtol=1e-5)
    found = array(GaussianSample(noise_variance=0.3).log_prob(z, mean))
    expected = stats.norm.logpdf(z, mean, np.sqrt(0.3))
    np.testing.assert_allclose(found, expected.reshape(len(z), -1).sum(1), rtol=1e-5)


@pytest.mark.parametrize("with_context", [False, True])
def test_log_prob_through_a_flow_is_scipys(with_context):
    mean, log_var = codes((7, 3))
    z, context = codes((7, 3), seed=5)
    layer = GaussianSample(flow=Affine(), context=with_context)
    inputs = [mean, log_var] + [context] * with_context
    layer(inputs)
    moved = 2 * mean + 0.5 + context * with_context
    expected = log_normal(z, moved, log_var + 2 * np.log(2))
    np.testing.assert_allclose(array(layer.log_prob(z, inputs)), expected, rtol=1e-5)


def random_flow(**arguments):
    """A flow that is far from the identity."""
    flow = IAFBlock(steps=2, hidden=(8,), **arguments)
    flow.build((None, 3))
    random = np.random.RandomState(3)
    flow.set_weights([random.normal(0, 0.4, w.shape) for w in flow.get_weights()])
    return flow


@pytest.mark.parametrize("flow", [{}, {"mean_only": False}, None])
def test_log_prob_of_what_the_channel_draws(flow):
    layer = GaussianSample(flow=None if flow is None else random_flow(**flow))
    with collect_draws() as ratios:
        z = array(layer(codes((40, 3))))
    drawn = array(ratios[0][1]) + stats.norm.logpdf(z).sum(1)
    found = array(layer.log_prob(z, codes((40, 3))))
    np.testing.assert_allclose(found, drawn, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("flow", [None, {"mean_only": False}])
def test_log_prob_integrates_to_one(flow):
    # Importance sampling from a wide Gaussian: the mean of q(z|x) / g(z) is 1.
    layer = GaussianSample(flow=None if flow is None else random_flow(**flow))
    z = np.random.RandomState(0).normal(0, 2.5, (20_000, 3)).astype("float32")
    inputs = repeated([[0.2, -0.3, 0.1]], [[-0.5, 0.0, -1.0]], 20_000)
    log_q = array(layer.log_prob(z, inputs)).astype("float64")
    assert_mean(np.exp(log_q - stats.norm.logpdf(z, 0, 2.5).sum(1)), 1.0)


@pytest.mark.parametrize("shape", [(1, 3), (6, 2), (6,)])
def test_log_prob_of_codes_of_another_shape_raises(shape):
    with pytest.raises(ValueError, match="^z and mean must have the same shape"):
        GaussianSample().log_prob(np.zeros(shape), codes())


# A fixed variance


@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3)])
def test_fixed_variance_takes_the_mean_alone(shape):
    mean, _ = codes(shape)
    layer = GaussianSample(noise_variance=0.25)
    assert tuple(layer(mean).shape) == shape
    expected = divergence(mean, np.full(shape, np.log(0.25)))
    np.testing.assert_allclose(array(layer.rate(mean)), expected, rtol=1e-5)
    np.testing.assert_allclose(array(layer.last_rate), expected.mean(), rtol=1e-5)


def test_fixed_variance_is_the_variance_of_the_noise():
    layer = GaussianSample(noise_variance=0.25, seed=0)
    z = array(layer(np.full((20_000, 2), 3.0, "float32"))).astype("float64")
    assert_mean(z, 3.0)
    assert_mean((z - 3.0) ** 2, 0.25)


# z


@pytest.mark.parametrize("training", [False, True])
def test_z_has_the_moments_of_its_inputs(training):
    mean, log_var = np.array([2.0, -1.0]), np.array([-3.0, 1.0])
    layer = GaussianSample(seed=0)
    z = array(layer(repeated(mean, log_var, 20_000), training=training))
    noise = (z.astype("float64") - mean) / np.exp(log_var / 2)
    assert_mean(noise, 0.0)
    assert_mean(noise**2, 1.0)
    # Independent between dimensions and between neighbouring examples.
    assert_mean(noise[:, 0] * noise[:, 1], 0.0)
    assert_mean(noise[1:] * noise[:-1], 0.0)
    # False alarms: one seed in 1,000.
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3


# Under Keras


def constant_model(layer):
    """A model whose output ignores z and whose inputs are what the layer takes."""
    inputs = [keras.Input((3,)), keras.Input((3,))]
    outputs = keras.layers.Dense(1, kernel_initializer="zeros")(layer(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


def test_a_callback_changes_beta_between_batches():
    layer = GaussianSample()
    model = constant_model(layer)

    def halve(batch, logs):
        if keras.backend.backend() == "jax":
            # Here Keras reads the weights anew only after they were synchronised.
            model.jax_state_sync()
        layer.beta.assign(0.5 ** (batch + 1))

    halve = keras.callbacks.LambdaCallback(on_train_batch_end=halve)
    x = [np.tile(a[:1], (12, 1)) for a in codes()]
    log = model.fit(x, np.zeros((12, 1)), batch_size=4, callbacks=[halve], verbose=0)
    expected = divergence(*x)[0] * (1 + 0.5 + 0.25) / 3
    np.testing.assert_allclose(log.history["loss"], [expected], rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_leaves_the_rate_alone(policy):
    # Values that half precision would round; the rate, 66,400 nats, is beyond the
    # range of float16.
    mean = np.full((2, 512), 16.1, "float32")
    log_var = np.full((2, 512), -0.51, "float32")
    full, half = GaussianSample(seed=0), GaussianSample(seed=0, dtype=policy)
    z_full, z_half = full([mean, log_var]), half([mean, log_var])
    compute = policy.removeprefix("mixed_")
    assert keras.backend.standardize_dtype(z_half.dtype) == compute
    assert keras.backend.standardize_dtype(half.losses[0].dtype) == "float32"
    assert float(array(full.last_rate)) > 65_504
    assert keras.backend.standardize_dtype(half.sample(2).dtype) == compute
    np.testing.assert_array_equal(array(half.last_rate), array(full.last_rate))
    # The same noise, rounded once at the end.
    np.testing.assert_array_equal(
        array(ops.cast(z_half, "float32")),
        array(ops.cast(ops.cast(z_full, compute), "float32")),
    )


# The marginal


def test_samples_come_from_a_custom_marginal():
    layer = GaussianSample(Shifted(0.7))
    layer.build([(None, 2, 3), (None, 2, 3)])
    np.testing.assert_allclose(array(layer.sample(4)), np.full((4, 2, 3), 0.7))


# Capacity


@pytest.mark.parametrize(("d", "noise", "bits"), [(16, 0.25, 16.0), (2, 1.0, 0.0)])
def test_capacity_is_that_of_the_paper(d, noise, bits):
    channel = GaussianSample(noise_variance=noise)
    channel.build((None, d))
    assert channel.capacity_bits() == pytest.approx(bits)
    assert channel.capacity() == pytest.approx(bits * np.log(2))


def test_capacity_is_the_information_of_a_normal_code():
    channel = GaussianSample(noise_variance=0.3)
    channel.build((None, 4))
    # z ~ N(0, 2 I) and z given x has variance .3: h(z) - h(z|x).
    expected = 4 * (stats.norm(0, 2**0.5).entropy() - stats.norm(0, 0.3**0.5).entropy())
    assert channel.capacity(variance=8.0) == pytest.approx(expected)


def test_capacity_needs_fixed_noise_a_shape_and_enough_variance():
    learned = GaussianSample()
    learned.build([(None, 2), (None, 2)])
    with pytest.raises(ValueError, match="fixed noise_variance"):
        learned.capacity()
    fixed = GaussianSample(noise_variance=0.5)
    with pytest.raises(ValueError, match="build the layer"):
        fixed.capacity()
    fixed.build((None, 2))
    with pytest.raises(ValueError, match=r"at least that of the noise, 2 x 0.5"):
        fixed.capacity(variance=0.9)


# Bad input


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        *(
            (
                {"noise_variance": v},
                rf"^noise_variance must be a finite number > 0.* noise_variance={v}$",
            )
            for v in (0.0, -1.0, np.inf, np.nan)
        ),
        ({"context": True}, "^context=True needs a flow"),
        (
            {"context": True, "flow": Affine(), "noise_variance": 1.0},
            "^context=True needs a flow, and no fixed noise_variance",
        ),
    ],
)
def test_bad_arguments_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        GaussianSample(**arguments)


@pytest.mark.parametrize(
    "layer, shapes, sentence",
    [
        (
            GaussianSample(),
            [3],
            r"a list of two tensors, \[mean, log_var\]. Received",
        ),
        (GaussianSample(), [3, 3, 3], "^StandardNormal takes 0 inputs .*Received: 1$"),
        (GaussianSample(), [3, 1], r"same shape .* Received: \(5, 3\) and \(5, 1\)$"),
        (
            GaussianSample(flow=Affine(), context=True),
            [3, 3],
            r"must be \[mean, log_var, context\]. Received: 2 inputs$",
        ),
        (
            GaussianSample(noise_variance=1.0),
            [3, 3],
            "^With a fixed noise_variance .* the mean alone. Received: 2 inputs$",
        ),
    ],
)
def test_bad_inputs_raise(layer, shapes, sentence):
    inputs = [np.zeros((5, d), "float32") for d in shapes]
    with pytest.raises(ValueError, match=sentence):
        layer(inputs if len(inputs) > 1 else inputs[0])
