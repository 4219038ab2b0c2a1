"""Findings of codes and banks: a model that has it, and one that has not."""

import math
import types

import keras
import numpy as np
import pytest
from audited import X_TRAIN, X, bottleneck, one, trained
from tools import array, normal

import echo_keras
from echo_keras import losses
from echo_keras.layers import (
    EchoBottleneck,
    EchoSample,
    GaussianSample,
    MMDPenalty,
)
from echo_keras.reports import checks_code

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def echo():
    return trained()


@pytest.fixture(scope="module")
def vae():
    return trained("vae", beta=0.1)


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


@pytest.mark.parametrize(("n", "d"), [(300, 64), (150, 64), (20, 2)])
def test_few_codes_of_independent_dimensions_do_not_correlate(n, d, monkeypatch):
    """At the rate .05, of 200 codes 10 are wrong with a deviation of 3."""
    monkeypatch.setattr(checks_code, "DEPENDENT", 0.0)
    found = [
        checks_code.total_correlation(given(normal(n, d, seed=seed)))
        for seed in range(200)
    ]
    assert 1 <= sum(f is not None for f in found) <= 20


def given(z, **channel):
    """What the check asks of a subject whose codes are given."""
    channels = [types.SimpleNamespace(**channel)]
    return types.SimpleNamespace(codes=z, channels=channels, error_rate=0.05)


def test_noise_from_a_bank_of_independent_rows_does_not_correlate():
    """Noise that is nearly all of z is known no better than the 1,000 rows of it."""
    channel, d = EchoSample(seed=0), 32
    channel.build([(None, d)] * 2)
    found = []
    for seed in range(10):
        f = np.random.RandomState(seed).uniform(-1, 1, (2024, d)).astype("float32")
        log_s = np.full_like(f, -0.05)
        channel.renew_memory([f[1000:], log_s[1000:]])
        z = array(channel([f[:1000], log_s[:1000]]))
        subject = types.SimpleNamespace(codes=z, channels=[channel], error_rate=0.01)
        found.append(checks_code.total_correlation(subject))
    assert found == [None] * 10


def test_codes_of_a_multiplicative_channel_are_compared_by_their_logarithms():
    z = normal(1000, 2)
    z[:, 1] = 0.6 * z[:, 0] + 0.8 * z[:, 1]
    expected = checks_code.total_correlation(given(z)).numbers
    subject = given(np.exp(3 * z), multiplicative=True)
    found = checks_code.total_correlation(subject).numbers
    assert found == pytest.approx(expected, rel=1e-4)
    subject = given(z)
    subject.channels = []  # a code without noise
    assert checks_code.total_correlation(subject).numbers == expected


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
