"""Tests of the marginals and of the pseudo-inputs of the VampPrior.

Statistical tests allow 4.5 standard errors, and seeds are fixed.
"""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import special, stats
from tools import array, gradients

from echo_keras.layers import (
    GaussianBottleneck,
    GaussianMixture,
    PseudoInputs,
    VampPrior,
    collect_draws,
)
from echo_keras.layers.marginals import (
    Laplace,
    Logistic,
    SpikeAndSlab,
    StandardNormal,
)
from echo_keras.layers.numerics import scaled_distances
from echo_keras.losses import SquaredError
from echo_keras.model import RateDistortionModel
from echo_keras.networks import conv_decoder, conv_encoder

pytestmark = pytest.mark.core

ERRORS = 4.5


def normal(*shape, scale=1.0, seed=0):
    return np.random.RandomState(seed).normal(0, scale, shape).astype("float32")


def assert_mean(x, expected):
    """The mean of x over examples is `expected` within ERRORS standard errors."""
    x = np.asarray(x, "float64")
    error = x.std(axis=0, ddof=1) / np.sqrt(len(x))
    assert np.all(np.abs(x.mean(axis=0) - expected) < ERRORS * error)


def log_densities(z, mean, log_var):
    """log N(z_i; mean_k, var_k) in float64, (n, K)."""
    z, mean, log_var = (
        np.asarray(x, "float64").reshape(len(x), -1) for x in (z, mean, log_var)
    )
    scale = np.exp(log_var / 2)
    return stats.norm.logpdf(z[:, None], mean, scale).sum(2)


def mixture(z, mean, log_var, log_weights=None):
    log_n = log_densities(z, mean, log_var)
    if log_weights is None:
        log_weights = np.full(len(mean), -np.log(len(mean)))
    return special.logsumexp(log_n + log_weights, axis=1)


def components(count=7, shape=(3,), seed=1):
    return normal(count, *shape, scale=2.0, seed=seed), normal(count, *shape, seed=9)


# What all marginals share


def marginals():
    prior = VampPrior(seed=5)
    prior(np.zeros((1, 3)), *components())
    others = (
        StandardNormal(seed=5),
        Logistic(scale=0.5, seed=5),
        Laplace(scale=0.7, seed=5),
        SpikeAndSlab(0.3, 0.25, seed=5),
        GaussianMixture([[0, 0, 0], [1, 0, -1]], [0.9, 1.2], [0.6, 0.4], seed=5),
    )
    for marginal in others:
        marginal.build((None, 3))
    return [*others, prior]


@pytest.mark.parametrize("index", range(6))
def test_samples_have_the_law_that_log_prob_says(index):
    # By the identity E[p_other(z) / m(z)] = 1, for a law inside that of m.
    marginal = marginals()[index]
    z = array(marginal.sample(20_000))
    inside = stats.norm.logpdf(z, 0.2, 0.4).sum(1)
    assert_mean(np.exp(inside - array(marginal.log_prob(z))), 1.0)
    np.testing.assert_array_equal(array(marginal(z)), array(marginal.log_prob(z)))


# The logistic distribution


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_logistic_log_prob(scale):
    z = np.concatenate([normal(5, 2, 3, scale=3.0), np.full((1, 2, 3), 300.0)])
    expected = stats.logistic.logpdf(z, scale=scale).reshape(6, -1).sum(1)
    layer = Logistic(scale)
    np.testing.assert_allclose(array(layer(z)), expected, rtol=1e-5)
    np.testing.assert_allclose(array(layer(-z)), expected, rtol=1e-5)


def test_logistic_samples():
    layer = Logistic(np.sqrt(3) / np.pi, seed=0)
    layer.build((None, 4, 5))
    z = array(layer.sample(2_000))
    assert z.shape == (2_000, 4, 5)
    assert_mean(z.ravel(), 0.0)
    assert_mean(z.ravel() ** 2, 1.0)
    # False alarms: one seed in 1,000.
    law = stats.logistic(scale=np.sqrt(3) / np.pi)
    assert stats.kstest(z.ravel(), law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_scale_raises(scale):
    with pytest.raises(ValueError, match=f"^scale must .*Received: scale={scale}$"):
        Logistic(scale)


MEANS = [[-2.0, 0.0, 0.0], [2.0, 1.0, 0.0]]
IN_A_CHANNEL = {
    "logistic": (Logistic(), lambda z: stats.logistic.logpdf(z).sum(1)),
    "laplace": (Laplace(0.7), lambda z: stats.laplace.logpdf(z, scale=0.7).sum(1)),
    "sparse": (
        SpikeAndSlab(0.8, 0.05, 2.0),
        lambda z: np.log(
            0.8 * stats.norm.pdf(z, scale=0.05) + 0.2 * stats.norm.pdf(z, scale=2)
        ).sum(1),
    ),
    "mixture": (
        GaussianMixture(MEANS, 0.3),
        lambda z: mixture(z, MEANS, np.full((2, 3), 2 * np.log(0.3))),
    ),
}


@pytest.mark.parametrize("name", IN_A_CHANNEL)
def test_a_marginal_in_a_channel_has_the_monte_carlo_rate(name):
    marginal, log_m = IN_A_CHANNEL[name]
    layer = GaussianBottleneck(3, marginal=marginal)
    x = normal(6, 5)
    with collect_draws() as rates:
        z = array(layer(x))
    mean, log_var = (array(head(x)) for head in layer.heads)
    log_q = stats.norm.logpdf(z, mean, np.exp(log_var / 2)).sum(1)
    expected = log_q - log_m(z)
    np.testing.assert_allclose(array(rates[0][0]), expected, rtol=1e-3, atol=1e-4)


# Laplace, and sparse codes


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_laplace_log_prob(scale):
    z = np.concatenate([normal(5, 2, 3, scale=3.0), np.full((1, 2, 3), 100.0)])
    expected = stats.laplace.logpdf(z, scale=scale).reshape(6, -1).sum(1)
    np.testing.assert_allclose(array(Laplace(scale)(z)), expected, rtol=1e-5)


def test_spike_and_slab_log_prob():
    z = np.concatenate([normal(50, 2, 3, scale=0.1), np.full((1, 2, 3), 30.0)])
    narrow, wide = (stats.norm.pdf(z, scale=s) for s in (0.05, 2.0))
    expected = np.log(0.8 * narrow + 0.2 * wide).reshape(51, -1).sum(1)
    found = array(SpikeAndSlab(0.8, 0.05, 2.0)(z))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def of_spike_and_slab(z):
    return 0.8 * stats.norm.cdf(z, scale=0.05) + 0.2 * stats.norm.cdf(z, scale=2.0)


@pytest.mark.parametrize(
    "layer, cdf",
    [
        (Laplace(0.7, seed=0), stats.laplace(scale=0.7).cdf),
        (SpikeAndSlab(0.8, 0.05, 2.0, seed=0), of_spike_and_slab),
    ],
)
def test_samples_of_peaked_laws(layer, cdf):
    layer.build((None, 4, 5))
    z = array(layer.sample(2_000))
    assert z.shape == (2_000, 4, 5)
    # False alarms: one seed in 1,000.
    assert stats.kstest(z.ravel(), cdf).pvalue > 1e-3


def test_a_slab_is_wider_than_its_spike():
    with pytest.raises(ValueError, match="^slab must be a finite number > 2. Rec"):
        SpikeAndSlab(spike=2.0)


# A mixture of Gaussians


def test_gaussian_mixture_log_prob():
    means, scale, weights = normal(4, 3, scale=2.0), [0.5, 1, 2, 0.1], [0.1, 0.2, 0.3]
    weights.append(0.4)
    z = np.concatenate([normal(50, 3, scale=3.0), means])
    log_var = np.broadcast_to(2 * np.log(scale)[:, None], (4, 3))
    expected = mixture(z, means, log_var, np.log(weights))
    found = array(GaussianMixture(means, scale, weights)(z))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    expected = mixture(z, means, np.full((4, 3), 2 * np.log(0.3)))
    found = array(GaussianMixture(means, 0.3)(z))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_gaussian_mixture_samples():
    means = [[-50.0, 0.0], [0.0, 50.0], [50.0, 0.0]]
    scale, weights = np.array([0.5, 1.0, 2.0]), [0.2, 0.5, 0.3]
    z = array(GaussianMixture(means, scale, weights, seed=0).sample(20_000))
    k = np.linalg.norm(z[:, None] - means, axis=2).argmin(1)
    assert_mean(np.eye(3)[k], weights)
    residual = z - np.array(means)[k]
    for j in range(3):
        assert_mean(residual[k == j], 0.0)
        assert_mean(residual[k == j] ** 2, scale[j] ** 2)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (([1.0],), r"means must be an array of shape \(K, d\)"),
        (([[1.0], [2.0]], [1.0]), "scale must be one for each of 2 .* Received: 1$"),
        (([[1.0], [2.0]], 0.0), "^scale must be a finite number > 0"),
        (([[1.0], [2.0]], 1.0, [0.5, 0.6]), "weights must add up to 1.*of sum 1.1$"),
    ],
)
def test_bad_mixtures_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        GaussianMixture(*arguments)


def test_codes_of_another_shape_than_the_means_raise():
    with pytest.raises(ValueError, match=r"shape \(batch, 2\).*Received: \(4, 3\)$"):
        GaussianMixture([[0.0, 1.0]])(np.zeros((4, 3)))


# Scaled distances


@pytest.mark.parametrize("d", [1, 7, 8, 9, 16, 700])
def test_scaled_distances(d):
    z, mean, log_var = normal(5, d), normal(4, d, seed=1), normal(4, d, seed=2)
    expected = ((z[:, None] - mean) ** 2 * np.exp(-log_var)).sum(2)
    found = array(scaled_distances(*map(ops.convert_to_tensor, (z, mean, log_var))))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("d", [2, 11])
def test_gradients_of_scaled_distances_are_those_of_the_formula(d):
    z, mean, log_var = normal(5, d), normal(4, d, seed=1), normal(4, d, seed=2)
    weight = normal(5, 4, seed=3)
    found = gradients(
        lambda *x: ops.sum(ops.multiply(scaled_distances(*x), weight)), z, mean, log_var
    )
    gap, precision = z[:, None] - mean, np.exp(-log_var)
    of_gap = 2 * weight[:, :, None] * gap * precision
    of_log_var = -(weight[:, :, None] * gap**2 * precision).sum(0)
    expected = of_gap.sum(1), -of_gap.sum(0), of_log_var
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


# The VampPrior


@pytest.mark.parametrize("shape", [(3,), (2, 2, 3)])
@pytest.mark.parametrize("learned", [False, True])
def test_log_prob_is_that_of_the_mixture(shape, learned):
    z, parts = normal(20, *shape, scale=2.0), components(shape=shape)
    prior = VampPrior(learned_weights=learned)
    prior(z, *parts)
    log_weights = None
    if learned:
        np.testing.assert_allclose(
            array(prior(z, *parts)), mixture(z, *parts), rtol=1e-5, atol=1e-5
        )
        prior.logits.assign(np.arange(7) / 2)
        log_weights = special.log_softmax(np.arange(7) / 2)
    expected = mixture(z, *parts, log_weights)
    for found in (prior(z, *parts), prior(z), prior.log_prob(z)):
        np.testing.assert_allclose(array(found), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [1.0, 0.1, 0.01])
def test_narrow_components_cost_no_digits(width):
    # The paper's size, and z where the mass is: what the expanded square gets wrong.
    mean = normal(750, 32)
    log_var = np.full((750, 32), 2 * np.log(width), "float32")
    z = mean[:50] + width * normal(50, 32, seed=1)
    found = array(VampPrior()(z, mean, log_var))
    np.testing.assert_allclose(found, mixture(z, mean, log_var), rtol=1e-5, atol=1e-5)


def test_distant_components_stay_finite():
    mean = np.array([[-100.0, 0.0], [100.0, 0.0]], "float32")
    log_var = np.full((2, 2), -3.0, "float32")
    z = np.array([[-100.0, 0.0], [100.0, 0.1], [0.0, 0.0]], "float32")
    found = array(VampPrior()(z, mean, log_var))
    np.testing.assert_allclose(found, mixture(z, mean, log_var), rtol=1e-5)


def test_published_code_is_the_mean_of_log_densities():
    z, parts = normal(20, 3), components()
    found = array(VampPrior(variant="published_code")(z, *parts))
    expected = log_densities(z, *parts).mean(1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.all(found < mixture(z, *parts))


def test_samples_follow_weights_means_and_variances():
    prior = VampPrior(learned_weights=True, seed=0)
    mean = np.array([[-50.0], [0.0], [50.0]], "float32")
    variance = np.array([[0.25], [1.0], [4.0]], "float32")
    prior(np.zeros((1, 1)), mean, np.log(variance))
    prior.logits.assign(np.log([0.2, 0.5, 0.3]))
    z = array(prior.sample(20_000))[:, 0]
    k = np.round(z / 50).astype(int) + 1
    assert_mean(np.eye(3)[k], [0.2, 0.5, 0.3])
    assert_mean(z - mean[k, 0], 0.0)
    for j in range(3):
        assert_mean((z[k == j] - mean[j, 0]) ** 2, variance[j, 0])


def test_a_prior_that_was_never_called_raises():
    built = VampPrior()
    built.build((None, 2), (3, 2), (3, 2))
    for prior in (VampPrior(), built):
        for use in (lambda p: p.log_prob(np.zeros((1, 2))), lambda p: p.sample(1)):
            with pytest.raises(ValueError, match="^VampPrior has no components yet"):
                use(prior)


def test_without_pseudo_inputs_it_says_what_to_do():
    for use in (
        lambda: VampPrior()(np.zeros((1, 2))),
        lambda: GaussianBottleneck(2, marginal=VampPrior())(np.zeros((4, 3))),
    ):
        with pytest.raises(ValueError, match="VampPrior needs the mean and log_var of"):
            use()


@pytest.mark.parametrize(
    "shapes, sentence",
    [
        ([(5, 2), (3, 2), (4, 2)], r"\('K', 2\). Received: \(3, 2\) and \(4, 2\)$"),
        ([(5, 2), (3, 1), (3, 1)], r"\('K', 2\). Received: \(3, 1\) and \(3, 1\)$"),
        ([(5, 2), (None, 2), (None, 2)], r"^The number of components .*: \(None, 2\)$"),
    ],
)
def test_bad_shapes_raise(shapes, sentence):
    with pytest.raises(ValueError, match=sentence):
        VampPrior().build(*shapes)


def test_bad_variants_raise():
    with pytest.raises(ValueError, match="^learned_weights must be False with"):
        VampPrior(learned_weights=True, variant="published_code")
    sentence = "^variant must be one of paper, published_code. Received: variant='x'$"
    with pytest.raises(ValueError, match=sentence):
        VampPrior(variant="x")


def test_drawing_leaves_the_components_as_they_are():
    layer = GaussianBottleneck(2, marginal=VampPrior(), seed=3)
    x, pseudo = normal(6, 5), normal(3, 5, seed=1)
    layer([x, pseudo])
    kept = array(layer.channel.marginal.components)
    draw = layer.draw([x, 2 * pseudo])
    with collect_draws():
        layer([x, 2 * pseudo], training=True)
    np.testing.assert_array_equal(array(layer.channel.marginal.components), kept)
    layer([x, 2 * pseudo])
    assert np.abs(array(layer.channel.marginal.components) - kept).max() > 0.1
    log_ratio = array(layer.log_prob(draw.z, [x, pseudo]))
    log_ratio = log_ratio - array(layer.channel.marginal.log_prob(draw.z))
    np.testing.assert_allclose(array(draw.rate), log_ratio, rtol=1e-4, atol=1e-4)


# In a model


def vamp_model(count=6, bottleneck=None, **arguments):
    inputs = keras.Input((5,))
    encoder = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(4, activation="tanh")], name="encoder"
    )
    pseudo = PseudoInputs(count, low=-2.0, high=2.0, name="pseudo")(inputs)
    layer = GaussianBottleneck(
        3, marginal=VampPrior(**arguments), name="z", **(bottleneck or {})
    )
    z = layer([encoder(inputs), encoder(pseudo)])
    model = RateDistortionModel(inputs, keras.layers.Dense(5, name="decoder")(z))
    model.compile(keras.optimizers.Adam(0.01), SquaredError())
    return model


def expected_rate(model, x, z):
    """log q(z|x) - log m(z), from the model's own heads, in float64."""
    encoder, layer = model.get_layer("encoder"), model.get_layer("z")
    u = array(model.get_layer("pseudo")(x))
    parts = [[array(head(encoder(v))) for head in layer.heads] for v in (x, u)]
    log_q = np.diag(log_densities(z, *parts[0]))
    log_weights = None
    if layer.channel.marginal.learned_weights:
        log_weights = special.log_softmax(array(layer.channel.marginal.logits))
    return log_q - mixture(z, *parts[1], log_weights)


def test_rate_is_that_of_the_codes_of_the_pseudo_inputs():
    model, x = vamp_model(), normal(8, 5)
    layer, encoder = model.get_layer("z"), model.get_layer("encoder")
    with collect_draws() as rates:
        z = array(layer([encoder(x), encoder(model.get_layer("pseudo")(x))]))
    expected = expected_rate(model, x, z)
    np.testing.assert_allclose(array(rates[0][0]), expected, rtol=1e-4, atol=1e-4)
    assert z.shape == (8, 3)


@pytest.mark.parametrize("learned", [False, True])
def test_training_reaches_pseudo_inputs_and_weights(learned):
    model = vamp_model(learned_weights=learned)
    names = {w.path.split("/")[-1]: w for w in model.trainable_weights}
    assert ("logits" in names) == learned
    before = [array(w) for w in model.trainable_weights]
    log = model.fit(normal(16, 5), normal(16, 5), batch_size=8, verbose=0)
    assert np.isfinite(log.history["rate"]).all()
    for old, new in zip(before, model.trainable_weights, strict=True):
        assert np.any(old != array(new)), new.path
    # One encoder, one pair of heads, and components that follow them.
    assert len(model.trainable_weights) == 2 + 1 + 4 + 2 + learned
    model.predict(normal(1, 5), verbose=0)
    layer, encoder = model.get_layer("z"), model.get_layer("encoder")
    mean = layer.heads[0](encoder(model.get_layer("pseudo")(normal(1, 5))))
    kept = array(layer.channel.marginal.components)[0]
    np.testing.assert_allclose(kept, array(mean), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arguments", [{"learned_weights": True}, {}])
def test_round_trip_and_clone_leave_one_encoder(arguments, tmp_path):
    x = normal(8, 5)
    model = vamp_model(seed=4, bottleneck={"seed": 1}, **arguments)
    model = keras.Model(model.input, model.output)  # not compiled
    model(x)
    if arguments:
        model.get_layer("z").channel.marginal.logits.assign(np.arange(6) / 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    clone = keras.models.clone_model(model)
    for other in (loaded, clone):
        assert other.count_params() == model.count_params()
        other.set_weights(model.get_weights())
        layer, encoder = other.get_layer("z"), other.get_layer("encoder")
        with collect_draws() as rates:
            z = array(layer([encoder(x), encoder(other.get_layer("pseudo")(x))]))
        expected = expected_rate(other, x, z)
        np.testing.assert_allclose(array(rates[0][0]), expected, rtol=1e-4, atol=1e-4)
        assert tuple(layer.sample(4).shape) == (4, 3)
    assert loaded.get_layer("z").channel.marginal.seed == 4


def test_a_trained_prior_serves_as_a_fixed_marginal():
    # Its components are then read while a graph is traced.
    prior = VampPrior(learned_weights=True, trainable=False)
    prior(np.zeros((1, 3)), *components())
    kept = array(prior.components)
    inputs = keras.Input((5,))
    layer = GaussianBottleneck(3, marginal=prior)
    model = RateDistortionModel(inputs, keras.layers.Dense(5)(layer(inputs)))
    model.compile("sgd", SquaredError())
    log = model.fit(normal(8, 5), normal(8, 5), verbose=0)
    assert np.isfinite(log.history["rate"]).all()
    np.testing.assert_array_equal(array(prior.components), kept)


def test_number_of_weights_of_the_echo_paper():
    inputs = keras.Input((28, 28, 1))
    encoder = conv_encoder()
    pseudo = PseudoInputs(750)(inputs)
    z = GaussianBottleneck(32, marginal=VampPrior())([encoder(inputs), encoder(pseudo)])
    model = keras.Model(inputs, conv_decoder(32)(z))
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert count == 1_986_849


# Pseudo-inputs


def test_pseudo_inputs_ignore_their_input_and_start_uniform():
    layer = PseudoInputs(500, low=-1.0, high=3.0)
    u = array(layer(normal(2, 4)))
    np.testing.assert_array_equal(u, array(layer(np.full((9, 4), np.nan))))
    assert u.shape == (500, 4) and layer.compute_output_shape((None, 4)) == (500, 4)
    assert -1 <= u.min() and u.max() <= 3
    assert_mean(u.ravel(), 1.0)
    assert_mean((u.ravel() - 1) ** 2, 16 / 12)


def test_pseudo_inputs_stay_in_range_and_can_return():
    inputs = keras.Input((2,))
    layer = PseudoInputs(4)
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(1.0), "mse")
    layer.pseudo_inputs.assign([[2.0, 2.0]] * 4)
    x = np.zeros((4, 2))
    np.testing.assert_array_equal(model.predict(x, verbose=0), np.ones((4, 2)))
    # Towards 0 the gradient passes, and away from the range it does not.
    model.fit(x, np.full((4, 2), 2.0), verbose=0)
    np.testing.assert_array_equal(array(layer.pseudo_inputs), np.full((4, 2), 2.0))
    model.fit(x, np.zeros((4, 2)), verbose=0)
    assert array(layer.pseudo_inputs).max() < 2.0


def test_adapt_copies_different_examples():
    x = np.linspace(0, 1, 40, dtype="float32").reshape(20, 2)
    layers = [PseudoInputs(12) for _ in range(3)]
    for layer, seed in zip(layers, (1, 1, 2), strict=True):
        layer.adapt(x, seed=seed)
    first, same, other = (array(layer(x)) for layer in layers)
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)
    chosen = np.searchsorted(x[:, 0], first[:, 0])
    np.testing.assert_array_equal(x[chosen], first)
    assert len(set(chosen)) == 12
    layers[0].adapt(x)  # on a built layer
    assert np.any(array(layers[0](x)) != first)


def test_adapt_takes_data_of_the_range_that_was_given():
    x = np.array([[0, 255]], "uint8")
    layer = PseudoInputs(1, high=255.0)
    layer.adapt(x)
    np.testing.assert_array_equal(array(layer.pseudo_inputs), x)


def test_adapt_to_the_mean_plus_noise():
    x = np.random.RandomState(0).uniform(0.2, 0.8, (50, 3)).astype("float32")
    layer = PseudoInputs(4_000)
    layer.adapt(x, method="mean", noise=0.02, seed=0)
    u = array(layer(x))
    assert_mean(u, x.mean(0))
    assert_mean((u - x.mean(0)) ** 2, 0.02**2)


@pytest.mark.parametrize(
    "x, arguments, sentence",
    [
        (np.zeros((3, 2)), {}, "^x must have at least 4 examples.* Received: 3$"),
        (np.zeros((5, 3)), {}, r"^x must have the shape .*Received: \(5, 3\)$"),
        (np.full((5, 2), np.nan), {}, "^x must be finite"),
        (
            np.arange(10, dtype="uint8").reshape(5, 2),
            {},
            r"^x must lie within \[low, high\] = \[0, 1\]: .* values from 0 to 9$",
        ),
        (np.full((5, 2), -0.1), {"method": "mean"}, "^x must lie within .* -0.1 to"),
        (
            np.zeros((5, 2)),
            {"method": "pca"},
            "Received: method='pca'$",
        ),
        (np.zeros((5, 2)), {"noise": 0.0}, "^noise must be a finite number > 0. Rec"),
    ],
)
def test_bad_data_to_adapt_to_raise(x, arguments, sentence):
    layer = PseudoInputs(4)
    layer.build((None, 2))
    with pytest.raises(ValueError, match=sentence):
        layer.adapt(x, **arguments)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"count": 0}, "integer >= 1. Received: count=0$"),
        ({"count": 2.5}, "integer >= 1. Received: count=2.5$"),
        (
            {"count": 3, "low": 1.0},
            "high must be a finite number > 1. Received: high=1.0$",
        ),
        (
            {"count": 3, "high": float("inf")},
            "high must be a finite number > 0. Received: high=inf$",
        ),
    ],
)
def test_bad_arguments_of_pseudo_inputs_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        PseudoInputs(**arguments)


def test_pseudo_inputs_of_unknown_shape_raise():
    with pytest.raises(ValueError, match=r"^Every axis but the batch.*\(None, None\)$"):
        PseudoInputs(3).build((None, None))


def test_a_mixture_keeps_its_weights_in_its_config():
    mixture = GaussianMixture([[0.0], [1.0]], [0.5, 2.0], weights=[0.2, 0.8])
    config = GaussianMixture.from_config(mixture.get_config()).get_config()
    assert config["weights"] == [0.2, 0.8] and config["scale"] == [0.5, 2.0]
