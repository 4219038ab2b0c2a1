"""Beta as an input: how it is drawn, and what a channel makes of it."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats
from tools import array

from echo_keras.layers import (
    BetaInput,
    BetaRange,
    EchoBottleneck,
    EchoSample,
    GaussianSample,
    TargetRate,
    VectorQuantizer,
    collect_draws,
)
from echo_keras.layers.base import example_weights

pytestmark = pytest.mark.core

LEVELS = BetaRange(0.1, 10.0, levels=3)
X = np.ones((5, 2), "float32")
MEAN = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]], "float32")
RATES = 0.5 * (MEAN**2).sum(1)


def given(*betas):
    return ops.convert_to_tensor(np.array(betas, "float32")[:, None])


def test_levels_have_constant_ratios_and_a_middle_one():
    betas = BetaRange(0.5, 8.0, levels=5)
    np.testing.assert_allclose(betas.values, [0.5, 1, 2, 4, 8])
    assert betas.middle == 2.0
    assert BetaRange(0.5, 8.0).middle == 2.0
    assert BetaRange(0.5, 4.0, levels=4).middle == 1.0
    # A little more than half way on the scale of logarithms is the next one.
    near = betas.nearest(ops.convert_to_tensor([0.01, 0.5, 1.40, 1.43, 8.0, 99.0]))
    assert array(near).tolist() == [0, 0, 1, 2, 4, 4]


def test_log_beta_is_uniform():
    layer = BetaInput(BetaRange(0.2, 5.0), per="example", seed=0)
    beta = array(layer(np.ones((4000, 1)), training=True))[:, 0]
    share = (np.log(beta) - np.log(0.2)) / (np.log(5.0) - np.log(0.2))
    assert (
        stats.kstest(share, "uniform").pvalue > 1e-3
    )  # fails once in a thousand seeds


def test_levels_are_equally_likely():
    layer = BetaInput(LEVELS, seed=0)
    draws = [float(array(layer(X, training=True))[0, 0]) for _ in range(300)]
    counts = [np.isclose(draws, value).sum() for value in LEVELS.values]
    assert sum(counts) == 300
    assert stats.chisquare(counts).pvalue > 1e-3


def test_the_range_widens_from_its_lower_end():
    layer = BetaInput(BetaRange(1.0, np.e), per="example", warmup=4, seed=0)
    tops = [
        float(array(layer(np.ones((999, 1)), training=True)).max()) for _ in "abcdef"
    ]
    expected = [0.25, 0.5, 0.75, 1, 1, 1]  # the largest of 999 is .99 of it or more
    assert np.all(np.log(tops) <= expected)
    assert np.all(np.log(tops) > 0.99 * np.array(expected))
    layer(np.ones((9, 1)))
    assert float(array(layer.seen)) == 4.0


def test_at_inference_it_is_the_weight_and_in_training_too_if_not_trainable():
    layer = BetaInput(LEVELS, seed=0)
    assert array(layer(X)).tolist() == [[1.0]]
    layer.beta.assign(4.0)
    with collect_draws():
        assert array(layer(X, training=True)).tolist() == [[4.0]]
    layer.trainable = False
    assert {array(layer(X, training=True)).item() for _ in range(9)} == {4.0}
    each = BetaInput(per="example")
    assert array(each(X)).tolist() == [[1.0]] * 5


@pytest.mark.parametrize("per, rows", [("batch", 1), ("example", None)])
def test_shape(per, rows):
    assert BetaInput(per=per)(keras.Input((3, 2))).shape == (rows, 1)


def test_each_example_pays_its_own_beta():
    channel = GaussianSample(beta=BetaRange())
    betas = np.array([0.5, 2.0, 10.0], "float32")
    channel([MEAN, np.zeros_like(MEAN)], beta=given(*betas), training=True)
    assert float(array(channel.losses[0])) == pytest.approx((betas * RATES).mean())
    # What is logged is the rate itself, and nothing learns from a beta that was given.
    assert float(array(channel.last_rate)) == pytest.approx(RATES.mean())
    assert float(array(channel.beta)) == 1.0
    with example_weights(ops.convert_to_tensor([1.0, 0.0, 1.0])):
        channel([MEAN, np.zeros_like(MEAN)], beta=given(2.0))
    expected = (2 * RATES * [1, 0, 1]).mean()
    assert float(array(channel.losses[0])) == pytest.approx(expected)


def test_a_plain_channel_takes_beta_with_the_call_too():
    channel = GaussianSample(beta=3.0)
    channel([MEAN, np.zeros_like(MEAN)], beta=given(2.0))
    assert float(array(channel.losses[0])) == pytest.approx(2 * RATES.mean())


def constant(value, s=0.5, n=8):
    """Codes that are one number, whose Echo noise is value / (1 - s)."""
    f = np.full((n, 1), value, "float32")
    return [f, np.full((n, 1), np.log(s), "float32")]


def echo(**arguments):
    arguments = {"d_max": 40, "bank_size": 50, "seed": 0, **arguments}
    return EchoSample(beta=LEVELS, **arguments)


def noise_of(channel, *call, **how):
    """What the codes of f = 0 are: s times the noise."""
    return array(channel([0.0 * call[0], call[1]], **how))


def test_echoes_come_from_rows_of_the_same_beta():
    channel = echo()
    r = channel.r
    low, high = constant(0.5), constant(-0.25)
    for _ in range(3):  # a batch of eight has too few rows: the bank tops it up
        for beta, codes in ((0.1, low), (10.0, high)):
            z = array(channel(codes, beta=given(beta), training=True))
            mean = codes[0][0, 0]
            expected = mean + 0.5 * r * mean / (1 - 0.5 * r)
            np.testing.assert_allclose(z, expected, rtol=1e-4)
    assert array(channel.bank_rows).tolist() == [24.0, 0.0, 24.0]
    for beta, mean in ((0.1, 0.5), (10.0, -0.25)):
        z = noise_of(channel, *low, beta=given(beta))
        np.testing.assert_allclose(z, 0.5 * r * mean / (1 - 0.5 * r), rtol=1e-4)
    # At the level that was never seen there is none.
    assert noise_of(channel, *low, beta=given(1.0)).tolist() == [[0.0]] * 8


@pytest.mark.parametrize("sampling", ["cyclic", "without_replacement"])
def test_the_law_of_the_noise_is_that_of_a_channel_of_one_beta(sampling):
    random = np.random.default_rng(0)
    rows = {
        0.1: [random.uniform(-1, 1, (400, 1)), random.uniform(-2, 0, (400, 1))],
        10.0: [random.uniform(0, 0.3, (400, 1)), random.uniform(-0.5, 0, (400, 1))],
    }
    how = {"d_max": 20, "bank_size": 400, "sampling": sampling}
    channel = EchoSample(beta=LEVELS, seed=1, **how)
    alone = {beta: EchoSample(seed=2, **how) for beta in rows}
    for k in range(4):
        for beta, codes in rows.items():
            part = [code[100 * k : 100 * k + 100] for code in codes]
            channel(part, beta=given(beta), training=True)
            alone[beta](part, training=True)
    zeros = [np.zeros((3000, 1))] * 2
    for beta, other in ((0.1, 10.0), (10.0, 0.1)):
        found = array(channel(zeros, beta=given(beta)))[:, 0]
        same = array(alone[beta](zeros))[:, 0]
        different = array(alone[other](zeros))[:, 0]
        # One ring serves all codes of a call, which are then not independent: every
        # place of it once.
        found, same, different = map(np.unique, (found, same, different))
        assert stats.ks_2samp(found, same).pvalue > 1e-3
        assert stats.ks_2samp(found, different).pvalue < 1e-6


def test_methods_are_at_the_level_of_the_layers_own_beta():
    channel = echo()
    for beta, value in ((0.1, 0.5), (10.0, -0.25)):
        channel(constant(value), beta=given(beta), training=True)
    for beta, mean in ((0.1, 0.5), (10.0, -0.25)):
        channel.beta.assign(beta)
        expected = mean / (1 - 0.5 * channel.r)
        np.testing.assert_allclose(array(channel.sample(3)), expected, rtol=1e-4)
        found = array(channel.mean(constant(0.0)))
        np.testing.assert_allclose(found, 0.5 * channel.r * expected, rtol=1e-4)
    channel.beta.assign(1.0)
    with pytest.raises(ValueError, match="bank, which is empty"):
        channel.sample(3)


def quantizer(**arguments):
    levels = keras.initializers.Constant(np.array([[[-1.0], [1.0]]]))
    return VectorQuantizer(2, initializer=levels, beta=LEVELS, **arguments)


def test_codewords_are_shared_and_frequencies_are_of_a_level():
    layer = quantizer(decay=0.5, dead_code_threshold=None)
    batches = [(0.1, [-1, -1, -1, 1]), (10.0, [1, 1, 1, 1]), (0.1, [-1, 1, 1, 1])]
    for beta, z in batches:
        z = np.array(z, "float32")[:, None]
        layer(z, beta=given(beta), training=True)
    # By level, its first batch and half of the way to the second.
    expected = [[0.5, 0.5], [0.5, 0.5], [0.0, 1.0]]
    np.testing.assert_allclose(array(layer.level_frequencies)[:, 0], expected)
    # Of all: 3/4, halfway to 0, halfway to 1/4.
    np.testing.assert_allclose(array(layer.frequencies)[0], [0.3125, 0.6875])
    assert array(layer.level_steps).tolist() == [2.0, 0.0, 1.0]
    one = np.array([[-1.0]], "float32")
    layer(one, beta=given(10.0))
    rare = -np.log(1e-3 / 2)
    assert float(array(layer.last_rate)) == pytest.approx(rare, rel=1e-4)
    layer.beta.assign(10.0)
    np.testing.assert_allclose(layer.code_probabilities(), [[5e-4, 1 - 5e-4]])
    layer.beta.assign(0.1)
    np.testing.assert_allclose(layer.code_probabilities(), [[0.5, 0.5]])


def test_a_revived_codeword_shares_the_frequency_of_its_parent_at_every_level():
    layer = quantizer(decay=0.0, dead_code_threshold=2)
    ones = np.ones((4, 1), "float32")
    mixed = np.array([[-1.0], [-1.0], [1.0], [1.0]], "float32")
    layer(mixed, beta=given(0.1), training=True)
    for _ in range(2):  # -1 has now been unused twice and moves to a code of 1
        layer(ones, beta=given(10.0), training=True)
    expected = [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
    np.testing.assert_allclose(array(layer.level_frequencies)[:, 0], expected)
    np.testing.assert_allclose(array(layer.codebook()).ravel(), [1.0, 1.0], atol=1e-6)


def test_memories_are_renewed_and_taken_at_the_level_of_beta():
    channel = echo()
    channel.build([(None, 1), (None, 1)])
    channel.beta.assign(10.0)
    channel.renew_memory(constant(0.5, n=60))
    assert array(channel.bank_rows).tolist() == [0.0, 0.0, 50.0]
    single = EchoSample(d_max=40, bank_size=50)
    single.build([(None, 1), (None, 1)])
    single.take_memory(channel)
    assert float(array(single.bank_rows)) == 50.0
    np.testing.assert_array_equal(array(single.bank), array(channel.bank)[2])
    bad = [np.full((2, 1), np.nan, "float32")] * 2
    with pytest.raises(ValueError, match="at least one finite row"):
        single.renew_memory(bad)
    layer = quantizer()
    layer.build((None, 1))
    layer.renew_memory(np.array([[1.0], [1.0], [-1.0], [1.0]], "float32"))
    np.testing.assert_allclose(array(layer.level_frequencies)[1], [[0.25, 0.75]])
    # Its own batches count on from those that the frequencies come from.
    single = VectorQuantizer(2)
    for _ in range(3):
        single(np.ones((4, 1), "float32"), training=True)
    layer.take_memory(single)
    expected = array(single.frequencies)
    np.testing.assert_allclose(array(layer.level_frequencies)[1], expected)
    assert array(layer.level_steps).tolist() == [0.0, 3.0, 0.0]
    with pytest.raises(ValueError, match="keeps no memory"):
        GaussianSample().renew_memory([MEAN, MEAN])


PAIR = [np.zeros((3, 2), "float32")] * 2


@pytest.mark.parametrize(
    "make, how, message",
    [
        (lambda: GaussianSample(beta=BetaRange()), {}, "must be called with beta"),
        (
            lambda: EchoSample(),
            {"beta": given(1.0)},
            "must have a BetaRange to be called with beta",
        ),
        (
            lambda: GaussianSample(beta=TargetRate(2.0)),
            {"beta": given(1.0)},
            "must have a BetaRange to be called with beta",
        ),
        (
            lambda: EchoSample(beta=LEVELS),
            {"beta": given(1.0, 1.0, 1.0)},
            r"shape \(1, 1\)",
        ),
        (
            lambda: GaussianSample(beta=BetaRange()),
            {"beta": ops.ones((3,))},
            r"shape \(batch, 1\)",
        ),
        (lambda: EchoSample(beta=BetaRange()), {}, "levels of the BetaRange"),
        (
            lambda: EchoBottleneck(2, "standardized", beta=LEVELS),
            {},
            "must not be 'standardized'",
        ),
        (
            lambda: GaussianSample(beta=BetaRange(), free_bits=0.1),
            {},
            "free_bits must be 0",
        ),
    ],
)
def test_errors(make, how, message):
    with pytest.raises(ValueError, match=message):
        make()(PAIR, **how)


def test_config_round_trip():
    for layer in (BetaInput(LEVELS, "example", seed=3), echo(), quantizer()):
        again = type(layer).from_config(layer.get_config())
        assert again.get_config() == layer.get_config()
    assert BetaInput(LEVELS).betas.values.tolist() == LEVELS.values.tolist()
