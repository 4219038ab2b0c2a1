"""Tests of the bottlenecks: dense heads, a channel, and nothing lost between."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats
from tools import array, gradients

from echo_keras.layers import (
    DeterministicBottleneck,
    EchoBottleneck,
    EchoSample,
    GaussianBottleneck,
    GaussianSample,
    IAFBlock,
    VampPrior,
    collect_draws,
)
from echo_keras.layers.echo_bottleneck import PARAMETRIZATIONS
from echo_keras.layers.marginals import Logistic
from echo_keras.layers.numerics import log_softplus

pytestmark = pytest.mark.core

# Every kind, with channels small enough for batches of a few rows.
ECHO = {"d_max": 3, "bank_size": 8}
KINDS = {
    **{
        kind: (EchoBottleneck, {**ECHO, "parametrization": kind})
        for kind in ("scaled", "standardized", "paper", "published_code")
    },
    "gaussian": (GaussianBottleneck, {}),
}


def make(kind, units=2, **arguments):
    layer_class, small = KINDS[kind]
    return layer_class(units, **small, **arguments)


def features(shape=(6, 5), seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype("float32")


def model_of(bottleneck, channels=5):
    inputs = keras.Input((channels,))
    outputs = keras.layers.Dense(1)(bottleneck(inputs))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels, units", [(5, 2), (7, 1)])
def test_trainable_weights_are_those_of_the_two_heads(kind, channels, units):
    layer = make(kind, units)
    layer.build((None, channels))
    count = sum(int(np.prod(w.shape)) for w in layer.trainable_weights)
    assert count == 2 * (channels + 1) * units
    assert len(layer.trainable_weights) == 4


# What the layers compute


@pytest.mark.parametrize("kind, width", [("paper", 16), ("published_code", 64)])
def test_paper_is_dense_heads_and_a_channel_by_hand(kind, width):
    layer = make(kind, seed=3)
    by_hand = EchoSample(d_max=3, bank_size=8, seed=3)
    x = features(scale=8.0)
    for training in (True, False):
        z = array(layer(x, training=training))
        u, v = (x @ array(head.kernel) + array(head.bias) for head in layer.heads)
        code = [np.tanh(u / width), -np.logaddexp(0, -v)]
        expected = array(by_hand(code, training=training))
        np.testing.assert_allclose(z, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        array(layer.rate(x)), array(by_hand.rate(code)), rtol=1e-5
    )


def test_scaled_is_scaled_and_dense_heads_and_a_channel_by_hand():
    layer = make("scaled", seed=3)
    by_hand = EchoSample(d_max=3, max_magnitude=10.0, bank_size=8, seed=3)
    x = 4 + features(scale=0.02)
    for training in (True, False):
        z = array(layer(x, training=training))
        f = (x - x.mean(0)) @ array(layer.heads[0].kernel)
        f = f / np.sqrt(np.square(f).mean())  # the variance of this batch, for good
        code = [f, x @ array(layer.heads[1].kernel) + np.log(0.5)]
        expected = array(by_hand(code, training=training))
        np.testing.assert_allclose(z, expected, rtol=1e-3, atol=1e-3)


def test_standardized_is_dense_heads_and_a_channel_by_hand_then_standardized():
    layer = make("standardized", seed=3)
    by_hand = EchoSample(d_max=3, bank_size=8, seed=3)
    x = features()
    z = array(layer(x, training=True))
    u, v = (x @ array(head.kernel) + array(head.bias) for head in layer.heads)
    code = [np.tanh(u), v]
    raw = array(by_hand(code, training=True))
    # 0.001 is added to the variance before it divides.
    expected = (raw - raw.mean(0)) / np.sqrt(raw.var(0) + 1e-3)
    np.testing.assert_allclose(z, expected, rtol=1e-3, atol=1e-4)
    # Standardizing is invertible, so the rate is that of the raw code.
    np.testing.assert_allclose(
        array(layer.rate(x)), array(by_hand.rate(code)), rtol=1e-5
    )


def test_gaussian_is_dense_heads_and_a_channel_by_hand():
    layer, by_hand = make("gaussian", seed=3), GaussianSample(seed=3)
    x = features()
    z = array(layer(x))
    code = [x @ array(head.kernel) + array(head.bias) for head in layer.heads]
    np.testing.assert_allclose(z, array(by_hand(code)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        array(layer.rate(x)), array(by_hand.rate(code)), rtol=1e-5
    )


def test_standardized_code_has_mean_zero_and_variance_one_in_training():
    layer = EchoBottleneck(4, "standardized", d_max=15, seed=0)
    z = array(layer(features((64, 5), scale=3.0), training=True))
    np.testing.assert_allclose(z.mean(0), 0.0, atol=1e-5)
    # 0.001 is added to the variance of the raw code, which is above 0.2.
    np.testing.assert_allclose(z.var(0), 1.0, atol=5e-3)
    # The paper's parametrization hands on the scale of its heads.
    paper = EchoBottleneck(4, d_max=15, parametrization="paper", seed=0)
    z = array(paper(features((64, 5)), training=True))
    assert z.std() < 0.2


def test_standardized_inference_follows_the_training_batches():
    layer = EchoBottleneck(3, "standardized", d_max=15, seed=0)
    # A raw code of variance 0.1, so that the initial statistics would show.
    x = features((256, 5), scale=0.3)
    for _ in range(60):  # 0.9^60 = 0.002 of the initial statistics is left
        layer(x, training=True)
    z = array(layer(x))
    np.testing.assert_allclose(z.mean(0), 0.0, atol=0.2)
    np.testing.assert_allclose(z.std(0), 1.0, atol=0.2)


def test_first_scale_is_half_of_its_bound():
    # log s = log 0.5 at zero features, in all parametrizations.
    for kind in PARAMETRIZATIONS:
        layer = make(kind)
        zeros = np.zeros((3, 5), "float32")
        layer(zeros)
        expected = layer.channel.min_rate + 2 * np.log(2)
        np.testing.assert_allclose(array(layer.rate(zeros)), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_rate_loss_and_last_rate(kind):
    layer = make(kind, beta=0.25)
    x = features()
    with collect_draws() as rates:
        layer(x)
    layer(x, training=True)
    rate = array(layer.rate(x))
    assert rate.shape == (6,)
    np.testing.assert_allclose(array(rates[0][0]), rate, rtol=1e-5)
    np.testing.assert_allclose(array(layer.channel.last_rate), rate.mean(), rtol=1e-5)
    assert len(layer.losses) == 1
    np.testing.assert_allclose(array(layer.losses[0]), 0.25 * rate.mean(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["scaled", "standardized"])
def test_samples_have_the_law_of_the_code(kind):
    # Noise and code have one law (Lemma 2.1), so their moments agree: the bank
    # holds 256 rows, and 4 standard errors of the mean of 256 are 0.25.
    layer = EchoBottleneck(3, kind, d_max=15, bank_size=256, seed=0)
    x = features((256, 5), scale=2.0)
    for _ in range(60):
        layer(x, training=True)
    samples, z = array(layer.sample(2000)), array(layer(x))
    np.testing.assert_allclose(samples.mean(0), z.mean(0), atol=0.25)
    np.testing.assert_allclose(samples.std(0), z.std(0), atol=0.25)


# The Gaussian bottleneck's further inputs


def test_gaussian_hands_the_codes_of_pseudo_inputs_to_the_prior():
    layer = GaussianBottleneck(2, marginal=VampPrior(), seed=3)
    x, pseudo = features(), features((4, 5), seed=1)
    assert tuple(layer([x, pseudo]).shape) == (6, 2)
    assert layer.compute_output_shape([(None, 5), (4, 5)]) == (None, 2)
    assert sum(int(np.prod(w.shape)) for w in layer.trainable_weights) == 2 * 6 * 2
    expected = [pseudo @ array(head.kernel) + array(head.bias) for head in layer.heads]
    components = array(layer.channel.marginal.components)
    np.testing.assert_allclose(components, expected, rtol=1e-4, atol=1e-6)
    assert tuple(layer.rate([x, pseudo]).shape) == (6,)
    assert tuple(layer.sample(3).shape) == (3, 2)


@keras.saving.register_keras_serializable(package="echo_keras_tests")
class Conditioned(keras.layers.Layer):
    """The flow y = x + the sum of the context."""

    def build(self, input_shape):
        self.shapes = input_shape

    def transform(self, x, context=None):
        return x + ops.sum(context, axis=1, keepdims=True), ops.zeros_like(x[:, 0])


@pytest.mark.parametrize("marginal", [None, VampPrior()])
def test_gaussian_hands_its_features_to_the_flow(marginal):
    layer = GaussianBottleneck(
        2, flow=Conditioned(), context=True, marginal=marginal, seed=3
    )
    plain = GaussianBottleneck(2, seed=3)
    x = features()
    plain(x)
    given = x if marginal is None else [x, features((4, 5), seed=1)]
    layer(given)
    for old, new in zip(layer.heads, plain.heads, strict=True):
        new.set_weights(old.get_weights())
    # Both have drawn once.
    expected = array(plain(x)) + x.sum(1, keepdims=True)
    np.testing.assert_allclose(array(layer(given)), expected, rtol=1e-4, atol=1e-4)
    assert [tuple(s) for s in layer.channel.flow.shapes] == [(6, 2), (6, 5)]
    again = GaussianBottleneck.from_config(layer.get_config())
    assert type(again.channel.flow) is Conditioned and again.channel.context


def test_context_of_a_head_of_its_own():
    layer = GaussianBottleneck(
        2, flow=Conditioned(), context=True, context_units=3, seed=3
    )
    plain = GaussianBottleneck(2, seed=3)
    x = features()
    plain(x)
    layer(x)
    for old, new in zip(layer.heads, plain.heads, strict=True):
        new.set_weights(old.get_weights())
    context = x @ array(layer.context_head.kernel)
    expected = array(plain(x)) + context.sum(1, keepdims=True)
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-4, atol=1e-4)
    # Three heads: mean, log-variance and context, each with a bias.
    assert layer.count_params() - count_state(layer) == 6 * (2 + 2 + 3)
    again = GaussianBottleneck.from_config(layer.get_config())
    assert again.context_units == 3


def count_state(layer):
    return sum(int(np.prod(w.shape)) for w in layer.non_trainable_weights)


@pytest.mark.parametrize(
    "arguments",
    [
        {"context_units": 3},
        {"context_units": 0, "context": True, "flow": Conditioned()},
    ],
)
def test_bad_context_units_raise(arguments):
    with pytest.raises(ValueError, match=r"^context_units must be (None|an integer)"):
        GaussianBottleneck(2, **arguments)


# Without noise


def test_deterministic_is_a_dense_layer():
    layer, x = DeterministicBottleneck(3), features()
    z = array(layer(x, training=True))
    (head,) = layer.heads
    np.testing.assert_allclose(z, x @ array(head.kernel), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(array(layer.code(x)), z)
    assert layer.count_params() == 6 * 3 and not layer.losses
    assert layer.compute_output_shape((7, 4, 5)) == (7, 4, 3)


def test_deterministic_has_no_rate_density_or_marginal():
    layer, x = DeterministicBottleneck(3), features()
    z = layer(x)
    for call in (layer.rate, layer.rate_by_dimension):
        with pytest.raises(ValueError, match="no finite rate"):
            call(x)
    with pytest.raises(ValueError, match="no density"):
        layer.log_prob(z, x)
    with pytest.raises(ValueError, match="fit_latent_flow"):
        layer.sample(3)
    draw = layer.draw(x)
    np.testing.assert_array_equal(array(draw.z), array(z))
    assert draw.rate is None and draw.log_ratio is None


# The density of given codes


@pytest.mark.parametrize(
    "arguments", [{}, {"variance_activation": "softplus"}, {"noise_variance": 0.3}]
)
def test_log_prob_is_scipys(arguments):
    layer = GaussianBottleneck(2, **arguments)
    x, z = features(), features((6, 2), seed=4)
    layer(x)
    mean, *v = (x @ array(head.kernel) + array(head.bias) for head in layer.heads)
    variance = np.exp(v[0]) if v else 0.3
    if "variance_activation" in arguments:
        variance = np.logaddexp(0, v[0])
    expected = stats.norm.logpdf(z, mean, np.sqrt(variance)).sum(1)
    found = array(layer.log_prob(z, x))
    assert found.shape == (6,)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prior", [None, VampPrior()])
def test_log_prob_follows_the_flow_and_needs_no_pseudo_inputs(prior):
    layer = GaussianBottleneck(
        2, flow=IAFBlock(steps=2, hidden=(8,)), context=True, marginal=prior, seed=3
    )
    x = features()
    given = x if prior is None else [x, features((4, 5), seed=1)]
    layer(given)
    flow = layer.channel.flow
    random = np.random.RandomState(3)
    flow.set_weights([random.normal(0, 0.4, w.shape) for w in flow.get_weights()])
    with collect_draws() as ratios:
        z = layer(given)
    drawn = array(ratios[0][1]) + array(layer.channel.marginal.log_prob(z))
    for inputs in (given, x):
        found = array(layer.log_prob(z, inputs))
        np.testing.assert_allclose(found, drawn, rtol=1e-4, atol=1e-4)


def test_echo_has_no_density():
    layer = make("standardized")
    z = layer(features())
    with pytest.raises(ValueError, match=r"^EchoBottleneck gives no density q\(z\|x\)"):
        layer.log_prob(z, features())


# The variance as a softplus


def test_log_softplus_and_its_gradient_from_one_end_of_float32_to_the_other():
    near = [-10.001, -10.0, -9.999, -1.0, 0.0, 1.0, 20.0]
    x = np.array([-1e30, -1e4, -200.0, -88.0, *near, 88.0, 1e4, 1e30], "float32")
    exact = x.astype("float64")
    softplus = np.logaddexp(0.0, exact)
    with np.errstate(divide="ignore"):
        expected = np.where(exact < -50, exact, np.log(softplus))
    np.testing.assert_allclose(array(log_softplus(x)), expected, rtol=3e-7)
    # The sigmoid over the softplus, which is 1 below and 1 / x above.
    (found,) = gradients(lambda x: ops.sum(log_softplus(x)), x)
    slope = np.exp(-np.logaddexp(0.0, -np.maximum(exact, -50))) / np.maximum(
        softplus, np.exp(-50)
    )
    np.testing.assert_allclose(found, slope, rtol=2e-5)


def softplus_bottleneck(bias, **arguments):
    """Mean 0.5 and v = bias, whatever the features."""
    layer = GaussianBottleneck(2, variance_activation="softplus", **arguments)
    layer.build((None, 5))
    for head, value in zip(layer.heads, ([0.5, 0.5], bias), strict=True):
        head.set_weights([np.zeros((5, 2)), np.array(value)])
    return layer


def test_softplus_gives_the_variance():
    # softplus(log(e^s - 1)) = s
    variance = np.array([0.25, 3.0])
    layer = softplus_bottleneck(np.log(np.expm1(variance)), seed=0)
    x = features((20_000, 5))
    mean, log_var = (array(a) for a in layer.encode(x))
    np.testing.assert_allclose(mean, 0.5)
    np.testing.assert_allclose(log_var, np.tile(np.log(variance), (20_000, 1)), 1e-5)
    expected = 0.5 * (0.25 + variance - np.log(variance) - 1).sum()
    np.testing.assert_allclose(array(layer.rate(x[:3])), expected, rtol=1e-5)
    # 20,000 draws: the variance of each dimension is off by 1 % at one sigma.
    np.testing.assert_allclose(array(layer(x)).var(axis=0), variance, rtol=0.045)


@pytest.mark.parametrize("v", [-1e4, 1e4])
def test_softplus_trains_from_extreme_variances(v):
    # For v far below 0 the rate of a dimension is 1/2 (mean^2 - v - 1), which falls
    # by lr / 2 at a step; far above it is 1/2 (mean^2 + v - log v - 1).
    layer = softplus_bottleneck([v, v])
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(1.0), None)
    model.fit(np.zeros((4, 5), "float32"), batch_size=4, verbose=0)
    expected = 2 * 0.5 * (0.25 + (v - np.log(v) if v > 0 else -v) - 1)
    np.testing.assert_allclose(float(array(layer.channel.last_rate)), expected, 1e-6)
    moved = array(layer.heads[1].bias) - v
    np.testing.assert_allclose(moved, 0.5 * (-1 if v > 0 else 1), atol=1e-3)


def test_softplus_holds_for_the_components_of_the_prior():
    layer = GaussianBottleneck(2, "softplus", marginal=VampPrior())
    x, pseudo = features(), features((4, 5), seed=1)
    layer([x, pseudo])
    mean, log_var = (pseudo @ array(h.kernel) + array(h.bias) for h in layer.heads)
    components = array(layer.channel.marginal.components)
    expected = [mean, np.log(np.logaddexp(0, log_var))]
    np.testing.assert_allclose(components, expected, rtol=1e-4, atol=1e-6)


# Parts of the rate, and a third head


@pytest.mark.parametrize(
    "bottleneck", [EchoBottleneck(3, d_max=9), GaussianBottleneck(3)]
)
def test_rate_by_dimension_adds_up(bottleneck):
    x = np.random.default_rng(0).normal(size=(12, 5)).astype("float32")
    bottleneck(x, training=True)
    parts = array(bottleneck.rate_by_dimension(x))
    assert parts.shape == (12, 3)
    rate = array(bottleneck.rate(x))
    np.testing.assert_allclose(parts.sum(axis=1), rate, rtol=1e-5, atol=1e-6)


def test_rate_by_dimension_of_other_marginals():
    bottleneck = GaussianBottleneck(3, marginal=Logistic())
    bottleneck(np.ones((4, 5), "float32"))
    with pytest.raises(ValueError, match="standard normal marginal"):
        bottleneck.rate_by_dimension(np.ones((4, 5), "float32"))


def test_triangular_echo_bottleneck(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 5)).astype("float32")
    inputs = keras.Input((5,))
    bottleneck = EchoBottleneck(4, d_max=9, scale="triangular")
    model = keras.Model(inputs, bottleneck(inputs))
    # f, log s and the six entries below the diagonal: 14 outputs of 5 + 1 weights.
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == 14 * 6
    model(x, training=True)
    log_s = np.minimum(array(bottleneck.encode(x)[1]), 0) + np.log(bottleneck.channel.r)
    np.testing.assert_allclose(array(bottleneck.rate(x)), -log_s.sum(axis=1), rtol=1e-5)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.predict(x[:3]), model.predict(x[:3]))


def test_fixed_noise_variance_has_one_head():
    layer = GaussianBottleneck(2, noise_variance=0.25, beta=0.0, seed=0)
    x = np.ones((20_000, 3), "float32")
    z = array(layer(x))
    mean = array(layer.heads[0](x))
    assert len(layer.heads) == 1 and len(layer.trainable_weights) == 2
    # 20,000 draws: the variance of each dimension is off by 1 % at one sigma.
    np.testing.assert_allclose((z - mean).var(axis=0), 0.25, rtol=0.045)
    expected = 0.5 * (mean[0] ** 2 + 0.25 - 1 - np.log(0.25)).sum()
    np.testing.assert_allclose(array(layer.rate(x))[0], expected, rtol=1e-5)
    assert float(array(layer.losses[0])) == 0.0
    np.testing.assert_array_equal(array(layer.code(x)), mean)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_never_trained_adds_no_echo(kind):
    layer = make(kind)
    x = np.random.RandomState(0).normal(size=(8, 5)).astype("float32")
    layer.build(x.shape)
    f = array(layer.heads[0](x))  # gain 1, moving mean 0 and variance 1 at first
    widths = {"standardized": 1, "paper": 16, "published_code": 64}
    if kind in widths:
        f = np.tanh(f / widths[kind])
    np.testing.assert_allclose(array(layer.code(x)), f, rtol=2e-3)
    if kind != "gaussian":
        np.testing.assert_allclose(array(layer(x)), f, rtol=2e-3)
        np.testing.assert_allclose(array(layer.signal(x)), f, rtol=2e-3)


@pytest.mark.parametrize("kind", PARAMETRIZATIONS)
@pytest.mark.parametrize("scale", ["diagonal", "triangular"])
def test_code_is_the_mean_of_z(kind, scale):
    # Biases of f that differ by dimension, as those of a trained model: the noise has
    # a mean of up to 1 then, by which f(x) is off.
    layer = EchoBottleneck(
        3, kind, d_max=31, bank_size=128, scale=scale, seed=0, max_magnitude=1.0
    )
    layer.build((None, 5))
    layer.heads[0].bias.assign([0.3, 0.6, -0.6])
    for head in layer.heads[1:]:
        head.kernel.assign(features(head.kernel.shape, 3, 0.3))
    x = features((128, 5))
    for _ in range(40):
        layer(x, training=True)
    code = array(layer.code(x))
    draws = array(layer.draw(np.tile(x, (400, 1))).z).reshape(400, *code.shape)
    # The mean of 400 draws, each within 5 of its standard errors.
    within = 5 * draws.std(axis=0) / np.sqrt(400)
    assert np.all(np.abs(draws.mean(axis=0) - code) < within)
    assert np.any(np.abs(array(layer.signal(x)) - code) > 2 * within)


def test_scaled_training_and_inference_are_one_model_at_any_batch_size():
    x = 3 + features((2000, 6), scale=0.01)
    layer = EchoBottleneck(4, d_max=15, seed=0)
    for batch in (64, 1, 7, 500, 64):  # more than the 1,000 rows that set the gain
        for start in range(0, min(600, 50 * batch), batch):
            layer(x[start : start + batch], training=True)
    # One law whatever the batch: its mean within 5 standard errors of the code's.
    for batch in (1, 2, 50, 2000):
        rows = x[:batch]
        z = np.array([array(layer(rows, training=True))[0] for _ in range(100)])
        # The bank moves on meanwhile, and fills with few rows.
        within = 5 * z.std(axis=0) / np.sqrt(100) + 0.3
        assert np.all(np.abs(z.mean(axis=0) - array(layer.code(rows))[0]) < within)
        assert np.square(z).mean() > 0.01


@pytest.mark.parametrize("kind", PARAMETRIZATIONS)
def test_draw_is_a_call_without_side_effects(kind):
    x = features()
    called, drawn = make(kind, seed=3), make(kind, seed=3)
    for layer in (called, drawn):
        layer.build(x.shape)
        for head, seed in zip(layer.heads, (1, 2), strict=True):
            head.kernel.assign(features((5, 2), seed))
        layer(x, training=True)
    state = [array(w) for w in drawn.weights]
    draw = drawn.draw(x)
    np.testing.assert_array_equal(array(draw.z), array(called(x)))
    np.testing.assert_allclose(array(draw.rate), array(drawn.rate(x)), rtol=1e-6)
    for old, new in zip(state, drawn.weights, strict=True):
        np.testing.assert_array_equal(array(new), old)
    assert np.abs(array(drawn.draw(x, "batch").z) - array(draw.z)).max() > 1e-6


# Bad input


@pytest.mark.parametrize(
    "kind, arguments, sentence",
    [
        *(
            (kind, {"units": n}, f"^units must be an integer .*Received: units={n}$")
            for kind in (DeterministicBottleneck, EchoBottleneck, GaussianBottleneck)
            for n in (0, 2.5)
        ),
        (
            EchoBottleneck,
            {"units": 2, "parametrization": "tanh"},
            "^parametrization must be one of scaled, standardized, "
            "paper, published_code. "
            "Received: parametrization='tanh'$",
        ),
        (EchoBottleneck, {"units": 2, "beta": -1}, "Received: beta=-1$"),
        (
            GaussianBottleneck,
            {"units": 2, "variance_activation": "relu"},
            "one of exp, softplus. Received: variance_activation='relu'$",
        ),
        (
            GaussianBottleneck,
            {"units": 2, "variance_activation": "softplus", "noise_variance": 1.0},
            "'exp' with a fixed noise_variance.*='softplus'$",
        ),
    ],
)
def test_bad_arguments_raise(kind, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        kind(**arguments)


def test_gaussian_takes_at_most_two_inputs():
    with pytest.raises(ValueError, match=r"pseudo_features\]. Received: 3 inputs$"):
        GaussianBottleneck(2)([features()] * 3)
