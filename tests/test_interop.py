"""Marginals and posteriors as TensorFlow Probability distributions."""

import doctest
import sys

import keras
import numpy as np
import pytest
from tools import array

from echo_keras.interop import tfp as interop
from echo_keras.layers import (
    EchoSample,
    GaussianSample,
    IAFBlock,
    Logistic,
    MAFMarginal,
    StandardNormal,
    VampPrior,
)

SMALL = {"steps": 2, "hidden": (8, 8), "seed": 3}


@pytest.fixture
def tfp():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("TensorFlow Probability needs the TensorFlow backend")
    pytest.importorskip("tf_keras")
    return pytest.importorskip("tensorflow_probability")


def codes(shape=(6, 3), seed=0):
    return np.random.RandomState(seed).normal(size=shape).astype("float32")


def vamp_prior(shape=(5, 3), **arguments):
    prior = VampPrior(**arguments)
    prior(codes((2, *shape[1:])), codes(shape, 1), codes(shape, 2))
    if prior.learned_weights:
        prior.logits.assign(codes(shape[:1], 4))
    return prior


def maf_marginal(**arguments):
    marginal = MAFMarginal(**SMALL, **arguments)
    marginal.build((None, 3))
    weights = marginal.flow.get_weights()
    marginal.flow.set_weights([0.5 * codes(w.shape, i) for i, w in enumerate(weights)])
    return marginal


def built(marginal, shape):
    marginal.build((None, *shape))
    return marginal


MARGINALS = {
    "normal": lambda: built(StandardNormal(), (3,)),
    "normal of images": lambda: built(StandardNormal(), (2, 2, 1)),
    "logistic": lambda: built(Logistic(scale=0.7), (3,)),
    "vamp": vamp_prior,
    "vamp of images": lambda: vamp_prior((5, 2, 2, 1)),
    "vamp with weights": lambda: vamp_prior(learned_weights=True),
    "maf": maf_marginal,
    "affine maf": lambda: maf_marginal(mean_only=False, permutation="random"),
    "maf on logistic": lambda: maf_marginal(base=Logistic()),
}


@pytest.mark.parametrize("name", MARGINALS)
def test_the_distribution_has_the_marginals_density(name, tfp):
    marginal = MARGINALS[name]()
    m = interop.distribution(marginal)
    assert isinstance(m, tfp.distributions.Distribution)
    shape = tuple(m.event_shape)
    assert tuple(m.batch_shape) == ()
    assert tuple(marginal.sample(2).shape) == (2, *shape)
    z = codes((6, *shape))
    expected = array(marginal.log_prob(z))
    np.testing.assert_allclose(m.log_prob(z).numpy(), expected, rtol=1e-5, atol=1e-5)
    # Any sample shape, as everywhere in Probability.
    two = m.log_prob(z.reshape(2, 3, *shape)).numpy()
    np.testing.assert_allclose(two.ravel(), expected, rtol=1e-5, atol=1e-5)
    one = m.log_prob(z[0]).numpy()
    np.testing.assert_allclose(one, expected[0], rtol=1e-5, atol=1e-5)
    assert tuple(m.sample(seed=0).shape) == shape
    # And its samples come from there: log-densities have one mean.
    drawn = m.sample(4000, seed=0)
    assert tuple(drawn.shape) == (4000, *shape)
    ours, theirs = (
        array(marginal.log_prob(x)).astype("float64")
        for x in (marginal.sample(4000), drawn)
    )
    error = np.sqrt((ours.var() + theirs.var()) / 4000)
    assert abs(ours.mean() - theirs.mean()) < 4.5 * error


def test_kinds_of_distributions(tfp):
    tfd = tfp.distributions
    kinds = {
        "normal": tfd.MultivariateNormalDiag,
        "logistic": tfd.Independent,
        "vamp": tfd.MixtureSameFamily,
    }
    for name, kind in kinds.items():
        assert isinstance(interop.distribution(MARGINALS[name]()), kind)
    # A class of its own, made behind the public name.
    maf = interop.distribution(MARGINALS["maf"]())
    assert isinstance(maf.bijector.bijectors[0], tfp.bijectors.MaskedAutoregressiveFlow)
    mixture = interop.distribution(vamp_prior())
    assert isinstance(mixture.components_distribution, tfd.MultivariateNormalDiag)


def test_the_distribution_of_a_flow_follows_its_weights(tfp):
    marginal = maf_marginal()
    m = interop.distribution(marginal)
    before = m.log_prob(codes()).numpy()
    marginal.flow.set_weights([0.5 * w for w in marginal.flow.get_weights()])
    after = m.log_prob(codes()).numpy()
    assert (before != after).all()
    np.testing.assert_allclose(after, array(marginal(codes())), rtol=1e-5)


def test_densities_in_a_traced_function(tfp):
    import tensorflow as tf

    marginal = maf_marginal(mean_only=False)
    m = interop.distribution(marginal)
    log_prob = tf.function(m.log_prob, input_signature=[tf.TensorSpec((None, 3))])
    for n in (2, 5):
        z = codes((n, 3))
        np.testing.assert_allclose(log_prob(z), array(marginal(z)), rtol=1e-5)


@pytest.mark.parametrize("shape", [(6, 3), (6, 2, 2)])
def test_posterior(shape, tfp):
    mean, log_var = codes(shape), codes(shape, 1)
    layer = GaussianSample()
    q = interop.posterior(layer, [mean, log_var])
    assert tuple(q.batch_shape) == (6,) and tuple(q.event_shape) == shape[1:]
    np.testing.assert_allclose(q.mean(), mean)
    np.testing.assert_allclose(q.stddev(), np.exp(log_var / 2), rtol=1e-5)
    # The rate is what Probability finds.
    layer([mean, log_var])
    divergence = q.kl_divergence(interop.distribution(layer.marginal))
    np.testing.assert_allclose(
        divergence, array(layer.rate([mean, log_var])), rtol=1e-4
    )


def test_posterior_of_fixed_variance(tfp):
    q = interop.posterior(GaussianSample(noise_variance=0.25), codes())
    assert isinstance(q, tfp.distributions.MultivariateNormalDiag)
    np.testing.assert_allclose(q.mean(), codes())
    np.testing.assert_allclose(q.stddev(), np.full((6, 3), 0.5))


def test_examples_run(tfp):
    assert doctest.testmod(interop, report=True).failed == 0


# What is refused


def test_other_layers_raise():
    sentence = "^marginal must be one of StandardNormal, .* Received: marginal=Dense"
    with pytest.raises(ValueError, match=sentence):
        interop.distribution(keras.layers.Dense(2))
    with pytest.raises(ValueError, match="marginal=GaussianSample, a channel: see"):
        interop.distribution(GaussianSample())
    with pytest.raises(ValueError, match="^channel must be a GaussianSample. .*=Dense"):
        interop.posterior(keras.layers.Dense(2), codes())


@pytest.mark.parametrize(
    "inputs", [None, 3.0, [[1.0]], [["a"], ["b"]], [np.ones((2, 3)), np.ones((2, 4))]]
)
def test_posteriors_of_other_inputs_raise(inputs, tfp):
    with pytest.raises(ValueError, match="^inputs must be .*Received: "):
        interop.posterior(GaussianSample(), inputs)


def test_an_echo_channel_has_no_density():
    with pytest.raises(ValueError, match=r"it has a rate but no density q\(z\|x\)"):
        interop.posterior(EchoSample(), [codes(), codes()])


def test_a_flow_has_no_gaussian_posterior():
    channel = GaussianSample(flow=IAFBlock(**SMALL))
    with pytest.raises(ValueError, match="without a flow. Received: .*=IAFBlock"):
        interop.posterior(channel, [codes(), codes()])


def test_marginals_without_a_density_yet_raise(tfp):
    with pytest.raises(ValueError, match="^marginal must be built, .*=StandardNormal"):
        interop.distribution(StandardNormal())
    prior = VampPrior()
    prior.build((None, 3), (5, 3), (5, 3))
    with pytest.raises(ValueError, match="^marginal must know its components"):
        interop.distribution(prior)
    with pytest.raises(ValueError, match="averages log-densities"):
        interop.distribution(vamp_prior(variant="published_code"))


def test_another_backend_raises(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="set KERAS_BACKEND=.* backend=jax"):
        interop.distribution(StandardNormal())


def test_missing_packages_raise(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setitem(sys.modules, "tensorflow_probability", None)
    with pytest.raises(ImportError, match=r"pip install 'echo-keras\[tfp\]'"):
        interop.distribution(StandardNormal())
