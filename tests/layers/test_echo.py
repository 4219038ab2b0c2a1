"""Tests of the Echo channel: its noise, its rate, its bank and Keras's promises.

Statistical tests have fixed seeds. Over seeds, each would reject correct code with
probability ALPHA (Bonferroni where it makes several comparisons), or lies within
`SIGMAS` standard errors (one in 15,000).

Two tricks make them exact and fast:

- One-hot codes: if row i is the unit vector e_i and s = r everywhere, the noise is
  a number whose digits in base 1/r say which row was heard at which lag.
- Product channels: with iid columns, row 0 of one call holds as many independent
  draws of the noise as there are columns, because the order does not depend on f.
"""

import math
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy import stats
from tools import array, frozen_call, gradients, ring_index

from echo_keras.layers import (
    EchoSample,
    collect_draws,
    max_scale,
)
from echo_keras.layers.base import example_weights
from echo_keras.layers.echo import SAMPLINGS
from echo_keras.layers.echo_noise import (
    gathered_noise,
    ring_noise,
)

pytestmark = pytest.mark.core

ALPHA = 1e-4
SIGMAS = 4.0
BACKEND = keras.backend.backend()
DISTINCT = ("cyclic", "without_replacement")
quick = settings(max_examples=40, deadline=None, derandomize=True, database=None)


# Helpers


def codes(shape=(6, 3), seed=0):
    """[f, log_s] well inside their bounds."""
    rng = np.random.default_rng(seed)
    f, log_s = rng.uniform(-0.9, 0.9, shape), rng.uniform(-1.0, -0.1, shape)
    return [f.astype("float32"), log_s.astype("float32")]


def one_hot(rows, dims=None, start=0):
    """[f, log_s]: row i is the unit vector `start` + i, and s = r everywhere."""
    f = np.eye(dims or rows, dtype="float32")[start : start + rows]
    return [f, np.zeros_like(f)]


def heard(z, f, channel):
    """Which row each example heard at each lag, (batch, d_max), from one-hot codes."""
    noise = (array(z).astype("float64") - f) / channel.r
    index = np.empty((len(noise), channel.d_max), int)
    rows = np.arange(len(noise))
    for lag in range(channel.d_max):
        index[:, lag] = noise.argmax(axis=1)
        digit = channel.r**lag
        # Otherwise nothing was heard at this lag and the digits mean something else.
        np.testing.assert_allclose(noise[rows, index[:, lag]], digit, rtol=0.1)
        noise[rows, index[:, lag]] -= digit
    return index


def brute_force(f, s, index):
    """Eq. 3 of the paper in float64: one sum over the rows index[i] for each i."""
    f, s = np.asarray(f, "float64"), np.asarray(s, "float64")
    noise = np.zeros((len(index), *f.shape[1:]))
    for i, row in enumerate(index):
        decay = np.ones(f.shape[1:])
        for k in row:
            noise[i] += decay * f[k]
            decay = decay * s[k]
    return noise


def fast(function):
    """A traced function on TensorFlow, whose eager mode is slow."""
    if BACKEND != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function)


def train_calls(channel, inputs, n):
    """z of n calls in training, (n, batch, d)."""
    inputs = [ops.convert_to_tensor(x) for x in inputs]
    channel(inputs, training=True)
    call = fast(lambda: channel(inputs, training=True))
    return np.stack([array(call()) for _ in range(n)])


def assert_uniform(cells, n_cells, comparisons=1):
    counts = np.bincount(np.ravel(cells), minlength=n_cells)
    assert len(counts) == n_cells
    assert stats.chisquare(counts).pvalue > ALPHA / comparisons


def functional(channel, shape=(3,)):
    """A model from [f, log_s] to z."""
    inputs = [keras.Input(shape), keras.Input(shape)]
    return keras.Model(inputs, channel(inputs))


def frozen_model(channel, shape=(3,)):
    """A model whose loss is the channel's alone and whose weights stay."""
    inputs = [keras.Input(shape), keras.Input(shape)]
    z = keras.layers.Flatten()(channel(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="zeros")(z))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


# 1. The largest scale


@pytest.mark.parametrize(
    "d_max, magnitude, r",
    [
        (99, 1, 0.83587),
        (100, 1, 0.83729),
        (99, 10, 0.81752),
        (63, 1, 0.75908),
        (64, 1, 0.76220),
        (64, 10, 0.73645),
    ],
)
def test_max_scale_table(d_max, magnitude, r):
    assert round(max_scale(d_max, magnitude), 5) == r
    assert EchoSample(d_max=d_max, max_magnitude=magnitude).r == pytest.approx(
        r, abs=5e-6
    )


@quick
@given(st.integers(1, 2000), st.floats(1e-3, 1e3), st.floats(1e-12, 1e-2))
def test_max_scale_solves_the_bound(d_max, magnitude, precision):
    r = max_scale(d_max, magnitude, precision)
    assert 0 < r < 1
    assert magnitude * r**d_max / (1 - r) == pytest.approx(precision, rel=1e-8)
    # More echoes or a coarser precision allow more noise, larger codes less.
    assert max_scale(d_max + 1, magnitude, precision) > r
    assert max_scale(d_max, magnitude, 2 * precision) > r
    assert max_scale(d_max, 2 * magnitude, precision) < r


bad_positive = st.one_of(
    st.floats(max_value=0.0), st.sampled_from([float("nan"), float("inf")])
)


@pytest.mark.parametrize("d_max", [0, -5, 1.5, float("nan"), float("inf")])
def test_max_scale_bad_d_max(d_max):
    with pytest.raises(ValueError, match="^d_max must be an integer >= 1. Received"):
        max_scale(d_max)


@quick
@given(bad_positive)
def test_max_scale_bad_magnitude(magnitude):
    with pytest.raises(ValueError, match="max_magnitude must be a finite number > 0"):
        max_scale(9, magnitude)


@quick
@given(bad_positive)
def test_max_scale_bad_precision(precision):
    with pytest.raises(ValueError, match="^precision must be a finite number > 0"):
        max_scale(9, 1.0, precision)


@pytest.mark.parametrize(
    "d_max, magnitude, precision, word",
    [
        (99, 1.0, 2e12, "smaller"),
        (99, 1e-300, 1.0, "smaller"),
        (1, 1e38, 1e-300, "larger"),
    ],
)
def test_max_scale_where_no_r_has_the_precision(d_max, magnitude, precision, word):
    with pytest.raises(ValueError, match=f"the remainder of the series is {word}"):
        max_scale(d_max, magnitude, precision)


def test_max_scale_at_the_ends_of_what_it_solves():
    for precision in (1e-290, 1e11):
        r = max_scale(1, 1.0, precision)
        assert r / (1 - r) == pytest.approx(precision, rel=1e-3)
    assert 1 - max_scale(10**9) < 1e-7


# 2. The sums


RINGS = [(2, 1), (3, 2), (5, 3), (5, 4), (17, 16), (20, 13)]


@pytest.mark.parametrize("rows, depth", RINGS)
@pytest.mark.parametrize("code_shape", [(3,), (2, 2, 2)])
def test_ring_noise_is_the_double_sum(rows, depth, code_shape):
    f, log_s = codes((rows, *code_shape), seed=rows)
    s = np.exp(log_s)
    noise = ring_noise(ops.convert_to_tensor(f), ops.convert_to_tensor(s), depth)
    expected = brute_force(f, s, ring_index(rows, depth))
    np.testing.assert_allclose(array(noise), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows, depth", RINGS)
def test_ring_noise_within_the_precision_of_max_scale(rows, depth):
    # The worst case, f = M and s = r: what the d_max other rows alone would give.
    f = np.ones((rows, 2), "float32")
    s = max_scale(depth) * f
    noise = ring_noise(ops.convert_to_tensor(f), ops.convert_to_tensor(s), depth)
    exactly = brute_force(f, s, ring_index(rows, depth)[:, :depth])
    # Two units in the last place of float32 for the sum itself.
    tolerance = 2.0**-23 * (1 + 2 * exactly.max())
    np.testing.assert_allclose(array(noise), exactly, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rows, depth", RINGS)
def test_ring_noise_gradient_is_that_of_the_double_sum(rows, depth):
    f, log_s = codes((rows, 2, 2), seed=rows)
    log_s += np.log(max_scale(depth))
    w = codes((rows, 2, 2), seed=1)[0]
    index = ring_index(rows, depth)

    def ring_sum(f, log_s):
        return ops.sum(ops.multiply(ring_noise(f, ops.exp(log_s), depth), w))

    def double_sum(f, log_s):
        total, decay, s = 0.0, 1.0, ops.exp(log_s)
        for k in range(index.shape[1]):
            heard = ops.convert_to_tensor(index[:, k])
            total = total + decay * ops.take(f, heard, axis=0)
            decay = decay * ops.take(s, heard, axis=0)
        return ops.sum(ops.multiply(total, w))

    got = gradients(ring_sum, f, log_s)
    for g, expected in zip(got, gradients(double_sum, f, log_s), strict=True):
        np.testing.assert_allclose(g, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows, depth", RINGS)
def test_gathered_noise_is_the_double_sum(rows, depth):
    f, log_s = codes((rows, 3), seed=depth)
    index = np.random.default_rng(depth).integers(0, rows, (7, depth))
    noise = gathered_noise(*map(ops.convert_to_tensor, (f, log_s, index)))
    expected = brute_force(f, np.exp(log_s), index)
    np.testing.assert_allclose(array(noise), expected, rtol=1e-5, atol=1e-5)


def test_the_brute_force_sum_by_hand():
    f, s = np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.25, 0.125])
    # Row 2, then 0, then 1: 4 + 1/8 (1 + 1/2 (2)).
    assert brute_force(f, s, [[2, 0, 1]])[0] == 4.25


# 3. The three samplings


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_echoes_are_other_rows_of_the_batch(sampling):
    channel = EchoSample(d_max=4, sampling=sampling, bank_size=9, seed=0)
    f, log_s = one_hot(9)
    me = np.arange(9)
    firsts = set()
    for _ in range(4):
        z = array(channel([f, log_s], training=True))
        # The one-hot 1 of the example itself is all there is in its own dimension.
        np.testing.assert_array_equal(z[me, me], 1.0)
        index = heard(z, f, channel)
        assert (index != me[:, None]).all()
        firsts.add(tuple(index[:, 0]))
        sets = [len(set(row)) for row in index]
        if sampling in DISTINCT:
            assert sets == [4] * 9
        else:
            # 9 examples without any repeat: probability (336 / 512)^9 = 0.02.
            assert min(sets) < 4
        if sampling == "cyclic":
            for lag in range(4):
                assert sorted(index[:, lag]) == list(me)
            # Successors on one ring: who stands next to me stands at lag 2 for those
            # who have me at lag 1.
            np.testing.assert_array_equal(index[index[:, 0], 0], index[:, 1])
    assert len(firsts) == 4, "the order must be drawn anew at every call"


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_noise_is_the_sum_over_the_echoes_heard(sampling):
    # The first nine dimensions tell who was heard; the others are checked.
    channel = EchoSample(d_max=4, sampling=sampling, bank_size=9, seed=1)
    f, log_s = (np.hstack(pair) for pair in zip(one_hot(9), codes((9, 5)), strict=True))
    z = array(channel([f, log_s], training=True))
    index = heard(z[:, :9], f[:, :9], channel)
    s = channel.r * np.exp(log_s)
    expected = f + s * brute_force(f, s, index)
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)


def test_cyclic_order_is_uniform():
    # All 4! orders in which row 0 can hear the other four; 20 calls a cell.
    channel = EchoSample(d_max=4, bank_size=5, seed=0)
    f, log_s = one_hot(5)
    z = train_calls(channel, [f, log_s], 480)[:, 0]
    index = heard(z, f[0], channel)
    assert_uniform(permutation_number(index - 1), 24)


def test_without_replacement_order_is_uniform_and_drawn_for_each_example():
    channel = EchoSample(d_max=4, sampling="without_replacement", bank_size=5, seed=0)
    f, log_s = one_hot(5)
    index = np.stack(
        [heard(z, f, channel) for z in train_calls(channel, [f, log_s], 96)]
    )
    others = (index - np.arange(5)[:, None] - 1) % 5
    number = permutation_number(others.reshape(-1, 4)).reshape(96, 5)
    assert_uniform(number, 24)
    # Two examples of one batch: whom they hear first is independent.
    first = others[:, :, 0]
    assert_uniform(4 * first[:, 0] + first[:, 1], 16)


def test_with_replacement_is_uniform_over_the_others_and_independent():
    channel = EchoSample(d_max=4, sampling="with_replacement", bank_size=5, seed=0)
    f, log_s = one_hot(5)
    index = np.stack(
        [heard(z, f, channel) for z in train_calls(channel, [f, log_s], 96)]
    )
    others = ((index - np.arange(5)[:, None] - 1) % 5).reshape(-1, 4)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    for a, b in pairs:
        assert_uniform(4 * others[:, a] + others[:, b], 16, len(pairs))


def permutation_number(rows):
    """Numbers rows that are permutations of 0..3 from 0 to 23."""
    rows = np.asarray(rows)
    rank = [(rows[:, i + 1 :] < rows[:, i : i + 1]).sum(axis=1) for i in range(3)]
    return 6 * rank[0] + 2 * rank[1] + rank[2]


# 4. Cyclic and without replacement: one law


def reference_noise(f, s, depth, n, rng):
    """n draws of row 0's noise: `depth` of the other rows in uniform order."""
    order = rng.permuted(np.tile(np.arange(1, len(f)), (n, 1)), axis=1)[:, :depth]
    before = np.cumprod(s[order], axis=1)
    before = np.concatenate([np.ones_like(before[:, :1]), before[:, :-1]], axis=1)
    return (before * f[order]).sum(axis=1)


def test_cyclic_and_without_replacement_have_one_law():
    # Fixed data with f > 0, so that depth and s move the mean.
    rng = np.random.default_rng(0)
    f = rng.uniform(0.2, 1.0, (26, 3)).astype("float32")
    log_s = rng.uniform(-0.4, 0.0, (26, 3)).astype("float32")
    noise = {}
    for sampling in DISTINCT:
        channel = EchoSample(d_max=24, sampling=sampling, bank_size=26, seed=1)
        s = channel.r * np.exp(log_s)
        z = train_calls(channel, [f, log_s], 300)[:, 0]
        noise[sampling] = (z - f[0]) / s[0]

    weights = rng.normal(size=3)

    def p_value(a, b):
        """Of the three marginals and one projection, times four."""
        views = [*zip(a.T, b.T, strict=True), (a @ weights, b @ weights)]
        return 4 * min(stats.ks_2samp(*pair).pvalue for pair in views)

    assert p_value(*noise.values()) > ALPHA
    right = reference_noise(f, s, 24, 10_000, rng)
    wrong_depth = reference_noise(f, s, 1, 10_000, rng)
    wrong_scale = reference_noise(f, 0.8 * s, 24, 10_000, rng)
    for draws in noise.values():
        assert p_value(draws, right) > ALPHA
        # The test has the power to tell.
        assert p_value(draws, wrong_depth) < ALPHA
        assert p_value(draws, wrong_scale) < ALPHA


# 5. Lemma 2.1 and a closed form


@pytest.mark.parametrize("sampling", DISTINCT)
@pytest.mark.parametrize("scale", ["constant", "of_x"])
def test_noise_and_output_have_one_law(sampling, scale):
    # max_scale(24) is 1/2: the bound's own solution, used throughout below.
    channel = EchoSample(d_max=24, sampling=sampling, bank_size=25, seed=2)
    assert channel.r == pytest.approx(0.5, rel=1e-12)
    x = np.random.default_rng(5).uniform(-1, 1, (25, 8000)).astype("float32")
    f = 0.6 * x + 0.3
    s = np.full_like(x, 0.4) if scale == "constant" else 0.3 + 0.2 * x
    z = array(channel([f, np.log(s / 0.5)], training=True))[0]
    noise = (z - f[0]) / s[0]
    # Noise and output from different columns, hence independent samples.
    assert stats.ks_2samp(noise[:4000], z[4000:]).pvalue > ALPHA
    # The test has the power to tell: f alone, or noise of another size.
    assert stats.ks_2samp(noise[:4000], f[0, 4000:]).pvalue < ALPHA
    assert stats.ks_2samp(0.8 * noise[:4000], z[4000:]).pvalue < ALPHA


@pytest.mark.parametrize("sampling", DISTINCT)
def test_half_a_sign_gives_uniform_noise(sampling):
    # Sum of +-2^-l, l = 1, 2, ...: the Bernoulli convolution of ratio 1/2.
    channel = EchoSample(d_max=24, sampling=sampling, bank_size=25, seed=3)
    f = np.random.default_rng(4).choice([-0.5, 0.5], (25, 4000)).astype("float32")
    z = array(channel([f, np.zeros_like(f)], training=True))[0]
    uniform = stats.uniform(-1, 2)
    assert stats.kstest((z - f[0]) / 0.5, uniform.cdf).pvalue > ALPHA
    assert stats.kstest(z, uniform.cdf).pvalue > ALPHA
    assert stats.kstest(z[f[0] > 0], stats.uniform(0, 1).cdf).pvalue > ALPHA


# 6. The echoes left out


def tail(f, s, depth):
    """What the echoes after the first `depth` add to the noise, in float64."""
    everything = brute_force(f, s, [range(len(f))])
    return abs(everything - brute_force(f, s, [range(depth)])).max()


@pytest.mark.parametrize("d_max, magnitude", [(1, 1.0), (24, 1.0), (99, 1.0), (64, 10)])
def test_truncation_error_at_its_worst(d_max, magnitude):
    r = max_scale(d_max, magnitude)
    f, s = np.full((d_max + 3000, 1), magnitude), np.full((d_max + 3000, 1), r)
    # Reached, not merely kept: a smaller r would waste rate.
    assert tail(f, s, d_max) == pytest.approx(2.0**-23, rel=1e-6)
    if d_max == 99:
        short_cut = np.full_like(s, 2 ** (-23 / 99))
        assert tail(f, short_cut, d_max) > 6 * 2.0**-23


@quick
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.floats(0.1, 10.0))
def test_truncation_error_is_below_single_precision(seed, d_max, magnitude):
    rng = np.random.default_rng(seed)
    r = max_scale(d_max, magnitude)
    f = magnitude * rng.uniform(-1, 1, (d_max + 200, 4)) ** rng.integers(0, 3)
    s = r * rng.uniform(0, 1, f.shape) ** rng.choice([0.0, 0.1, 1.0])
    assert tail(f, s, d_max) <= 2.0**-23 * (1 + 1e-6)  # float64's own rounding


def test_bounds_are_enforced():
    channel = EchoSample(d_max=24, max_magnitude=2.0, bank_size=25, seed=0)
    wild = [np.full((25, 2), 100.0, "float32"), np.full((25, 2), 5.0, "float32")]
    z = array(channel(wild, training=True))
    r = channel.r
    np.testing.assert_allclose(z, 2 * (1 - r**25) / (1 - r), rtol=1e-6)
    np.testing.assert_allclose(array(channel.rate(wild)), channel.min_rate, rtol=1e-6)
    lowest = array(channel([-wild[0], wild[1]], training=True))
    np.testing.assert_allclose(lowest, -z, rtol=1e-6)


# 7. The rate is exact: Theorem 2.2


class Maps:
    """A channel of one dimension and an x of k values: x = k sends y to f_k + s_k y.

    Echo's z then has the law that is its own mixture of images under these maps,
    and both that law and I(X; Z) follow by numerical integration, without Echo.
    """

    def __init__(self, p, s, f):
        self.p, self.s, self.f = map(np.array, (p, s, f))
        # All maps send [-1, 1] into itself.
        assert (abs(self.f) + self.s <= 1 + 1e-12).all()
        self.grid = np.linspace(-1, 1, 20_001)
        self.values = (self.grid + 1) / 2
        for _ in range(150):
            self.values = self.p @ self.conditional_cdf(self.grid)

    def cdf(self, z):
        return np.interp(z, self.grid, self.values, left=0.0, right=1.0)

    def conditional_cdf(self, z):
        """P(Z <= z | X = k), one row for each k."""
        return np.stack(
            [self.cdf((z - f) / s) for f, s in zip(self.f, self.s, strict=True)]
        )

    def information(self, bins):
        """I(X; bin of Z) in nats, which grows to I(X; Z) with the bins."""
        edges = np.linspace(-1, 1, bins + 1)
        return information(self.p[:, None] * np.diff(self.conditional_cdf(edges)))

    def draw(self, channel, columns, seed):
        """x, f, log_s and z of the product channel, each (d_max + 1, columns)."""
        rng = np.random.default_rng(seed)
        x = rng.choice(len(self.p), (channel.d_max + 1, columns), p=self.p)
        f = self.f[x].astype("float32")
        log_s = np.log(self.s / channel.r)[x].astype("float32")
        return x, f, log_s, array(channel([f, log_s], training=True))


def information(joint):
    """Mutual information in nats of a joint distribution (k, bins)."""
    independent = joint.sum(axis=0) * joint.sum(axis=1, keepdims=True)
    seen = joint > 0
    return (joint[seen] * np.log(joint[seen] / independent[seen])).sum()


CHANNELS = {
    # The images tile [-1, 1] and p = s, so z is uniform and I = H(X).
    "sign": (24, Maps((0.5, 0.5), (0.5, 0.5), (-0.5, 0.5))),
    "tiles": (24, Maps((0.5, 0.3, 0.2), (0.5, 0.3, 0.2), (-0.5, 0.3, 0.8))),
    # The images overlap: x can only be guessed from z, and I < H(X) = log 2.
    "overlap": (99, Maps((0.5, 0.5), (0.7, 0.7), (-0.3, 0.3))),
    "overlap_s_of_x": (99, Maps((0.5, 0.5), (0.6, 0.8), (-0.4, 0.2))),
    "overlap_p": (99, Maps((0.35, 0.65), (0.65, 0.75), (-0.35, 0.25))),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_rate_is_the_information_found_by_integration(name):
    _, maps = CHANNELS[name]
    rate = -(maps.p * np.log(maps.s)).sum()
    entropy = -(maps.p * np.log(maps.p)).sum()
    if name.startswith("overlap"):
        assert rate < 0.6 * entropy
        # Binning only loses information; the rest is the integration's error.
        assert maps.information(30) < maps.information(300) < rate
        assert maps.information(3000) == pytest.approx(rate, abs=1e-3)
    else:
        assert rate == pytest.approx(entropy, abs=1e-12)
        assert maps.information(100) == pytest.approx(rate, abs=1e-6)
        np.testing.assert_allclose(maps.values, (maps.grid + 1) / 2, atol=1e-9)


@pytest.mark.parametrize("name", CHANNELS)
def test_rate_is_the_information_in_the_samples(name):
    d_max, maps = CHANNELS[name]
    channel = EchoSample(d_max=d_max, bank_size=d_max + 1, seed=7)
    columns, bins = (4000, 100) if d_max == 24 else (2000, 100)
    x, f, log_s, z = maps.draw(channel, columns, seed=8)

    # The samples have the law that the integration found, given x too.
    tests = [(z[0], maps.cdf), ((z - f)[0] / maps.s[x[0]], maps.cdf)]
    for k in range(len(maps.p)):
        given_k = z[0, x[0] == k]
        tests.append((given_k, lambda t, k=k: maps.conditional_cdf(t)[k]))
    smallest = min(stats.kstest(draws, cdf).pvalue for draws, cdf in tests)
    assert smallest > ALPHA / len(tests)

    # I(X; Z) counted from (x, bin of z) alone, without using s. Columns are
    # independent and rows are not, so the error comes from a jackknife over
    # 20 groups of columns.
    bin_of = np.clip(((z.astype("float64") + 1) * bins / 2).astype(int), 0, bins - 1)
    cell = x * bins + bin_of
    groups = np.stack(
        [
            np.bincount(part.ravel(), minlength=len(maps.p) * bins)
            for part in np.split(cell, 20, axis=1)
        ]
    ).reshape(20, len(maps.p), bins)
    total = groups.sum(axis=0)
    estimate = information(total / total.sum())
    left_out = [information((total - g) / (total - g).sum()) for g in groups]
    error = np.sqrt(19 * np.var(left_out))
    assert error < 0.01
    # Bias: upwards at most by (k - 1)(bins - 1) / 2n from counting, downwards by
    # what the bins hide, below 0.003 nats as the integration says.
    counting = (len(maps.p) - 1) * bins / (2 * x.size)
    rate = -(maps.p * np.log(maps.s)).sum()
    assert rate - maps.information(bins) < 0.003
    assert -SIGMAS * error - 0.003 < estimate - rate < SIGMAS * error + counting

    # What the layer reports, per column.
    reported = array(channel.rate([f, log_s])) / columns
    spread = np.log(maps.s)[x].std() / np.sqrt(x.size)
    assert abs(reported.mean() - rate) < SIGMAS * spread + 1e-5
    assert float(array(channel.last_rate)) / columns == pytest.approx(
        reported.mean(), rel=1e-5
    )


def test_gaussian_codes_give_gaussian_noise_and_its_capacity():
    # A bound far out (8 sigma) leaves f Gaussian, and a sum of Gaussians is one.
    columns, s = 10_000, 0.5
    channel = EchoSample(d_max=30, max_magnitude=8.0, bank_size=31, seed=1)
    f = np.random.default_rng(2).normal(size=(31, columns)).astype("float32")
    log_s = np.full_like(f, np.log(s / channel.r))
    z = array(channel([f, log_s], training=True))
    law = stats.norm(0, np.sqrt(1 / (1 - s**2)))
    noise = (z - f)[0] / s
    assert stats.kstest(noise, law.cdf).pvalue > ALPHA
    assert stats.kstest(z[0], law.cdf).pvalue > ALPHA
    # Closed form on both sides: 1/2 log(1 + SNR) = -log s.
    capacity = 0.5 * np.log1p(1 / (s * law.std()) ** 2)
    assert capacity == pytest.approx(-np.log(s))
    rate = array(channel.rate([f, log_s])) / columns
    np.testing.assert_allclose(rate, capacity, rtol=1e-5)
    # And from the samples. Both variances have relative error sqrt(2 / n).
    snr = f[0].var() / (z - f)[0].var()
    error = 0.5 * snr / (1 + snr) * np.sqrt(4 / columns)
    assert abs(0.5 * np.log1p(snr) - capacity) < SIGMAS * error


# 8. Gradients


@pytest.mark.parametrize("batch", [36, 20])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_gradients_reach_f_and_s_through_the_noise(sampling, batch):
    # The batch of 20 is topped up from the bank.
    # At this d_max r is 0.6: much noise makes the echoes count.
    channel = EchoSample(d_max=33, sampling=sampling, bank_size=40, seed=0)
    channel(codes((40, 2), seed=1), training=True)
    rng = np.random.default_rng(2)
    inputs = [0.5 * a for a in codes((batch, 2), seed=3)]
    w = rng.normal(size=(batch, 2)).astype("float32")

    def objective(f, log_s):
        z = frozen_call(channel, [f, log_s], training=True)
        return ops.sum(ops.multiply(z, w))

    analytic = gradients(objective, *inputs)
    for k, width in ((0, 0.1), (1, 0.02)):
        for _ in range(3):
            direction = rng.choice([-1.0, 1.0], (batch, 2)).astype("float32")
            ahead, behind = list(inputs), list(inputs)
            ahead[k] = inputs[k] + width * direction
            behind[k] = inputs[k] - width * direction
            slope = (objective(*ahead) - objective(*behind)) / (2 * width)
            expected = (analytic[k] * direction).sum()
            assert float(array(slope)) == pytest.approx(expected, rel=2e-3, abs=2e-3)
    # Without the echoes the gradient with respect to f would be w.
    assert abs(analytic[0] - w).max() > 0.05


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_rows_of_the_bank_are_constants(sampling):
    # One example hears the bank alone, so its noise does not depend on its f.
    channel = EchoSample(d_max=3, sampling=sampling, bank_size=8, seed=0)
    f, log_s = codes((1, 2))
    channel([f, log_s], training=True)
    channel(codes((7, 2), seed=1), training=True)
    s = channel.r * np.exp(log_s)
    noise = (array(frozen_call(channel, [f, log_s], training=True)) - f) / s

    def objective(f, log_s):
        return ops.sum(frozen_call(channel, [f, log_s], training=True))

    for_f, for_log_s = gradients(objective, f, log_s)
    np.testing.assert_allclose(for_f, 1.0)
    np.testing.assert_allclose(for_log_s, s * noise, rtol=1e-3)


@pytest.mark.skipif(BACKEND != "jax", reason="forward mode is JAX's")
def test_forward_mode_is_refused():
    import jax

    channel = EchoSample(d_max=3, bank_size=6, seed=0)
    f, log_s = (ops.convert_to_tensor(x) for x in codes())
    channel.build([f.shape, log_s.shape])
    for function in (
        lambda f: channel.draw([f, log_s], "batch").z,
        lambda f: ring_noise(f, ops.exp(log_s), 3),
    ):
        with pytest.raises(TypeError, match="forward-mode"):
            jax.jvp(function, [f], [f])


# 9. The clip


def test_f_is_clipped_and_only_gradients_that_lead_out_are_blocked():
    channel = EchoSample(d_max=3, max_magnitude=1.0)
    f = np.array([[1.5, 1.5, -1.5, -1.5, 0.5, 1.0]], "float32")
    w = np.array([[1.0, -1.0, 1.0, -1.0, 2.0, -3.0]], "float32")
    log_s = np.full_like(f, -1.0)
    channel.build([f.shape, f.shape])
    # Never trained, hence without noise: z is the clipped f.
    z = array(frozen_call(channel, [f, log_s]))
    np.testing.assert_array_equal(z, [[1, 1, -1, -1, 0.5, 1]])
    # Descent moves f against w: down from 1.5 and up from -1.5 may pass.

    def objective(f):
        return ops.sum(ops.multiply(frozen_call(channel, [f, log_s]), w))

    (gradient,) = gradients(objective, f)
    np.testing.assert_array_equal(gradient, [[1, 0, 0, -1, 2, -3]])


def test_log_s_is_clipped_and_only_gradients_that_lead_out_are_blocked():
    channel = EchoSample(d_max=3)
    log_s = np.array([[0.5], [0.5], [-0.5], [0.0], [-50.0]], "float32")
    f = np.zeros_like(log_s)
    w = np.array([1.0, -1.0, 2.0, 1.0, 1.0], "float32")
    channel.build([f.shape, f.shape])
    rate = array(channel.rate([f, log_s]))
    expected = np.array([0, 0, 0.5, 0, 50.0]) - np.log(channel.r)
    np.testing.assert_allclose(rate, expected, rtol=1e-6)
    (gradient,) = gradients(
        lambda s: ops.sum(ops.multiply(channel.rate([f, s]), w)), log_s
    )
    np.testing.assert_array_equal(gradient[:, 0], [0, 1, -2, -1, -1])


# 10. The bank


def test_never_trained_means_no_noise_and_no_samples():
    channel = EchoSample(d_max=5)
    sentence = "draws from the bank, which is empty before training"
    with pytest.raises(ValueError, match=sentence):
        channel.sample(3)
    f, log_s = codes()
    z = array(channel([f, log_s]))
    np.testing.assert_array_equal(z, f)
    with pytest.raises(ValueError, match=sentence):
        channel.sample(3)
    channel([f, log_s], training=True)
    assert array(channel.sample(3)).shape == (3, 3)


def bank(channel):
    """f and log s / r of the rows that the bank has."""
    rows = array(channel.bank)[: int(array(channel.bank_rows))]
    f, log_s = np.split(rows, 2, axis=1)
    return f, log_s - np.log(channel.r)


def test_bank_keeps_the_newest_rows_first():
    channel = EchoSample(d_max=3, bank_size=10)
    seen = []
    # Filled by degrees, then over, then by a batch larger than the bank.
    for n in (4, 3, 5, 12):
        seen.insert(0, codes((n, 2), seed=n))
        channel(seen[0], training=True)
        newest = [np.concatenate(rows)[:10] for rows in zip(*seen, strict=True)]
        f, log_s = bank(channel)
        np.testing.assert_array_equal(f, newest[0])
        np.testing.assert_allclose(log_s, newest[1], atol=1e-6)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_bank_that_is_not_full_gives_the_rows_it_has(sampling):
    channel = EchoSample(d_max=2, sampling=sampling, bank_size=12, seed=0)
    channel(one_hot(6, dims=8), training=True)
    quiet = [np.zeros((200, 8), "float32")] * 2
    assert set(heard(channel(quiet), 0.0, channel).ravel()) == set(range(6))


def test_inference_leaves_the_bank_alone():
    channel = EchoSample(d_max=3, bank_size=6)
    channel(codes(), training=True)
    before = [array(channel.bank), array(channel.bank_rows)]
    other = codes(seed=1)
    channel(other)
    with collect_draws("batch"):
        channel(other)
    channel.sample(2)
    np.testing.assert_array_equal(array(channel.bank), before[0])
    np.testing.assert_array_equal(array(channel.bank_rows), before[1])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_inference_does_not_depend_on_the_other_rows(sampling):
    channel = EchoSample(d_max=3, sampling=sampling, bank_size=6, seed=0)
    channel(codes(), training=True)
    here, elsewhere = codes((4, 3), seed=1), codes((4, 3), seed=2)
    for a, b in zip(here, elsewhere, strict=True):
        b[0] = a[0]
    z, other = (array(frozen_call(channel, x)) for x in (here, elsewhere))
    np.testing.assert_array_equal(z[0], other[0])
    assert (z[1:] != other[1:]).all() and (z[0] != here[0][0]).all()
    # As the paper evaluates, it does depend on them.
    with collect_draws("batch"):
        z, other = (array(frozen_call(channel, x)) for x in (here, elsewhere))
    assert (z[0] != other[0]).any()


@pytest.mark.parametrize("batch", [1, 200])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_inference_hears_the_bank_uniformly(sampling, batch):
    # The same law for one image and for many: the row heard first is uniform over
    # the bank and independent between examples.
    channel = EchoSample(d_max=4, sampling=sampling, bank_size=8, seed=0)
    channel(one_hot(8), training=True)
    quiet = [np.zeros((batch, 8), "float32")] * 2
    call = fast(lambda: channel(quiet))
    z = np.concatenate([array(call()) for _ in range(200 // batch)])
    index = heard(z, 0.0, channel)
    assert_uniform(index[:, 0], 8)
    distinct = np.array([len(set(row)) for row in index])
    # Drawn with replacement. Probability of four distinct rows: 0.41.
    assert 0.2 < (distinct == 4).mean() < 0.6


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_short_batch_is_sampled_to_full_depth(sampling):
    channel = EchoSample(d_max=4, sampling=sampling, bank_size=10, seed=0)
    channel(one_hot(10, dims=12), training=True)
    f, log_s = one_hot(2, dims=12, start=10)
    seen = set()
    for _ in range(12):
        z = array(frozen_call(channel, [f, log_s], training=True))
        # Draws the noise again, while the bank stays as it is.
        index = heard(z, f, channel)
        with collect_draws("batch"):
            evaluated = array(channel([f, log_s]))
        np.testing.assert_array_equal(evaluated, z)
        seen |= set(index.ravel())
        assert (index != np.array([[10], [11]])).all()
        if sampling in DISTINCT:
            assert [len(set(row)) for row in index] == [4, 4]
    # The two examples hear each other and the newest three rows of the bank.
    assert seen == {0, 1, 2, 10, 11}


def test_first_short_batch_hears_copies_of_itself():
    channel = EchoSample(d_max=4, bank_size=10, seed=0)
    f, log_s = one_hot(2)
    z = array(channel([f, log_s], training=True))
    # Depth four at s = r: all echoes together weigh 1 + r + r^2 + r^3.
    r = channel.r
    np.testing.assert_allclose((z - f).sum(axis=1), r * (1 - r**4) / (1 - r), rtol=1e-5)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_samples_are_echoes_of_the_bank(sampling):
    channel = EchoSample(d_max=4, sampling=sampling, bank_size=8, seed=0)
    channel(one_hot(8), training=True)
    draws = array(channel.sample(400))
    index = heard(channel.r * draws, 0.0, channel)
    assert_uniform(index[:, 0], 8)


def test_samples_have_the_law_of_z():
    # As many -1/2 as +1/2 in the bank: drawn with replacement they are exactly iid
    # signs, so noise, output and samples are uniform on [-1, 1].
    channel = EchoSample(d_max=24, sampling="with_replacement", bank_size=50, seed=0)
    f = np.tile([[-0.5], [0.5]], (25, 1)).astype("float32")
    channel([f, np.zeros_like(f)], training=True)
    uniform = stats.uniform(-1, 2)
    assert stats.kstest(array(channel.sample(3000))[:, 0], uniform.cdf).pvalue > ALPHA
    signs = np.random.default_rng(0).choice([-0.5, 0.5], (3000, 1)).astype("float32")
    z = array(channel([signs, np.zeros_like(signs)]))[:, 0]
    assert stats.kstest(z, uniform.cdf).pvalue > ALPHA


def test_bank_is_saved_and_loaded(tmp_path):
    channel = EchoSample(d_max=3, bank_size=6, seed=0)
    model = functional(channel)
    channel(codes(), training=True)
    channel.beta.assign(0.25)
    model.save_weights(tmp_path / "model.weights.h5")
    other = EchoSample(d_max=3, bank_size=6, seed=5)
    second = functional(other)
    second.load_weights(tmp_path / "model.weights.h5")
    for name in ("bank", "bank_rows", "beta"):
        np.testing.assert_array_equal(
            array(getattr(other, name)), array(getattr(channel, name))
        )
    assert array(channel.bank).any()
    # The loaded generator goes on where the saved one stood.
    np.testing.assert_array_equal(array(other.sample(4)), array(channel.sample(4)))


# 11. Loss and rate


@pytest.mark.parametrize("training", [True, False])
def test_rate_of_each_example_its_mean_and_the_loss(training):
    channel = EchoSample(d_max=3, bank_size=6, beta=0.5)
    f, log_s = codes()
    expected = -(log_s + np.log(channel.r)).sum(axis=1)
    channel([f, log_s], training=training)
    draw = channel.draw([f, log_s], "batch" if training else "bank")
    assert draw.log_ratio is None
    np.testing.assert_allclose(array(draw.rate), expected, rtol=1e-5)
    np.testing.assert_allclose(array(channel.rate([f, log_s])), expected, rtol=1e-5)
    np.testing.assert_allclose(array(channel.last_rate), expected.mean(), rtol=1e-5)
    assert len(channel.losses) == 1
    np.testing.assert_allclose(
        array(channel.losses[0]), 0.5 * expected.mean(), rtol=1e-5
    )


def test_min_rate():
    channel = EchoSample(d_max=99)
    with pytest.raises(ValueError, match="must be built first"):
        _ = channel.min_rate
    channel.build([(None, 32), (None, 32)])
    assert channel.min_rate == pytest.approx(5.74, abs=0.005)
    many = EchoSample(d_max=99)
    many.build([(None, 2, 4, 4)] * 2)
    assert many.min_rate == pytest.approx(channel.min_rate)
    lowest = [np.zeros((2, 32), "float32")] * 2
    np.testing.assert_allclose(array(channel.rate(lowest)), channel.min_rate, rtol=1e-6)


@keras.saving.register_keras_serializable(package="echo_keras_tests")
class CountedTraces(keras.layers.Layer):
    """Counts how often Keras runs the Python code of `call`."""

    traces = 0

    def call(self, x):
        self.traces += 1
        return x


def test_a_callback_changes_beta_without_a_new_trace():
    channel, counted = EchoSample(d_max=3, bank_size=6), CountedTraces()
    inputs = [keras.Input((3,)), keras.Input((3,))]
    z = counted(channel(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="zeros")(z))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    betas, traces = [1.0, 1.0, 0.25], []

    def follow(epoch, logs):
        channel.beta.assign(betas[epoch])
        traces.append(counted.traces)

    follow = keras.callbacks.LambdaCallback(on_epoch_begin=follow)
    x, y = codes((8, 3)), np.zeros((8, 1))
    log = model.fit(x, y, batch_size=4, epochs=3, callbacks=[follow], verbose=0)
    rate = -(x[1] + np.log(channel.r)).sum(axis=1).mean()
    np.testing.assert_allclose(log.history["loss"], np.multiply(betas, rate), rtol=1e-5)
    if BACKEND != "torch":  # which runs the code at every step
        assert traces[2] == counted.traces


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_draws_from_the_batch_hear_the_batch_until_the_block_ends(sampling):
    channel = EchoSample(d_max=3, sampling=sampling, bank_size=6, seed=0)
    channel(one_hot(6, dims=10), training=True)
    f, log_s = one_hot(4, dims=10, start=6)
    with collect_draws("batch"):
        inside = heard(channel([f, log_s]), f, channel)
    outside = heard(channel([f, log_s]), f, channel)
    assert inside.min() >= 6 and outside.max() < 6
    with pytest.raises(ZeroDivisionError), collect_draws("batch"):
        _ = 1 / 0
    assert heard(channel([f, log_s]), f, channel).max() < 6


# 12. Multiplicative


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_multiplicative_is_the_exponential(sampling):
    arguments = {"d_max": 3, "sampling": sampling, "bank_size": 6, "seed": 3}
    add, multiply = (
        EchoSample(**arguments),
        EchoSample(multiplicative=True, **arguments),
    )
    x = codes()
    for training in (True, False):
        z, exp_z = (array(c(x, training=training)) for c in (add, multiply))
        np.testing.assert_allclose(exp_z, np.exp(z), rtol=1e-6)
    samples, exp_samples = array(add.sample(4)), array(multiply.sample(4))
    np.testing.assert_allclose(exp_samples, np.exp(samples), rtol=1e-6)
    np.testing.assert_array_equal(array(add.rate(x)), array(multiply.rate(x)))


# 13. Bad input


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (
            {"sampling": "random"},
            "^sampling must be one of cyclic, without_replacement, with_replacement. "
            "Received: sampling='random'$",
        ),
        ({"beta": -1.0}, "^beta must be a finite number >= 0, .* beta=-1.0$"),
        ({"beta": float("nan")}, "^beta must be .* Received: beta=nan$"),
        ({"d_max": 0}, "^d_max must be an integer >= 1. Received: d_max=0$"),
        ({"d_max": 2.5}, "^d_max must be an integer >= 1. Received: d_max=2.5$"),
        ({"max_magnitude": 0.0}, "^max_magnitude must be a finite number > 0"),
        (
            {"d_max": 9, "bank_size": 9},
            "^bank_size must be an integer >= 10. Received: bank_size=9$",
        ),
        ({"d_max": 9, "bank_size": 10.5}, "^bank_size must be.* bank_size=10.5$"),
    ],
)
def test_bad_arguments_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        EchoSample(**arguments)


PAIR = r"^The inputs of EchoSample must be a list of two tensors, \[f, log_s\]. Rec"
ONE_SHAPE = r"^\[f, log_s\] must have the same shape in EchoSample. Received: \(2, 3\)"


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        (np.zeros((2, 3)), PAIR),
        ([np.zeros((2, 3))], PAIR),
        ([np.zeros((2, 3))] * 3, PAIR),
        ([np.zeros((2, 3)), np.zeros((2, 4))], ONE_SHAPE),
        ([np.zeros((2, 3)), np.zeros((2, 3, 1))], ONE_SHAPE),
    ],
)
def test_bad_inputs_raise(inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        EchoSample(d_max=3)(inputs)


def test_unknown_axis_raises():
    with pytest.raises(ValueError, match="^Every axis but the batch must be known"):
        functional(EchoSample(d_max=3), shape=(None, 3))


# 14. Promises


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_unknown_batch_size_and_short_last_batch(sampling):
    channel = EchoSample(d_max=5, sampling=sampling, bank_size=9, seed=0)
    model = frozen_model(channel)
    x, y = codes((10, 3)), np.zeros((10, 1))
    rate = -(x[1] + np.log(channel.r)).sum(axis=1)
    log = model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    # Keras weighs the batches by their size, so this is the mean over examples.
    assert log.history["loss"][0] == pytest.approx(rate.mean(), rel=1e-5)
    np.testing.assert_allclose(array(channel.last_rate), rate[8:].mean(), rtol=1e-5)
    np.testing.assert_array_equal(bank(channel)[0][:2], x[0][8:])
    for n in (1, 7, 10):
        few = [a[:n] for a in x]
        assert model.predict(few, verbose=0).shape == (n, 1)
        loss = model.evaluate(few, y[:n], batch_size=4, verbose=0)
        assert loss == pytest.approx(rate[:n].mean(), rel=1e-5)
    model.fit([a[:3] for a in x], y[:3], verbose=0)


@pytest.mark.parametrize("code_shape", [(), (3, 3, 2)])
def test_any_rank(code_shape):
    channel = EchoSample(d_max=3, bank_size=6, seed=0)
    flat = EchoSample(d_max=3, bank_size=6, seed=0)
    x = codes((5, *code_shape))
    x_flat = [a.reshape(5, -1) for a in x]
    for training in (True, False):
        z, z_flat = channel(x, training=training), flat(x_flat, training=training)
        assert tuple(z.shape) == (5, *code_shape)
        np.testing.assert_array_equal(array(z).reshape(5, -1), array(z_flat))
    assert array(channel.rate(x)).shape == (5,)
    np.testing.assert_allclose(array(channel.rate(x)), array(flat.rate(x_flat)))
    assert array(channel.sample(7)).shape == (7, *code_shape)
    assert channel.min_rate == flat.min_rate
    symbolic = functional(EchoSample(d_max=3), shape=code_shape)
    assert symbolic.output_shape == (None, *code_shape)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
def test_half_precision_leaves_noise_and_rate_alone(policy):
    # The values are not exact in half precision, nor is the rate, above its range.
    f, log_s = codes((6, 3))
    log_s[0, 0] = -70_000.25
    full = EchoSample(d_max=3, bank_size=6, seed=0)
    half = EchoSample(d_max=3, bank_size=6, seed=0, dtype=policy)
    compute = policy.removeprefix("mixed_")
    inputs = [ops.convert_to_tensor(a) for a in (f, log_s)]
    for training in (True, False):
        z_full, z_half = (c(inputs, training=training) for c in (full, half))
        assert keras.backend.standardize_dtype(z_half.dtype) == compute
        # The same noise, rounded once at the end.
        np.testing.assert_array_equal(
            array(ops.cast(z_half, "float32")),
            array(ops.cast(ops.cast(z_full, compute), "float32")),
        )
        np.testing.assert_array_equal(array(half.last_rate), array(full.last_rate))
    assert keras.backend.standardize_dtype(half.losses[0].dtype) == "float32"
    assert half.bank.dtype == half.beta.dtype == "float32"
    np.testing.assert_array_equal(array(half.rate(inputs)), array(full.rate(inputs)))
    assert keras.backend.standardize_dtype(half.sample(2).dtype) == compute


MIRRORED = """
import json
import sys

import keras
import numpy as np
import tensorflow as tf

from echo_keras.layers import EchoSample

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
rng = np.random.default_rng(0)
f = rng.uniform(-0.9, 0.9, (12, 3)).astype("float32")
log_s = rng.uniform(-1, 0, (12, 3)).astype("float32")


def build():
    inputs = [keras.Input((3,)), keras.Input((3,))]
    z = EchoSample(d_max=5, bank_size=16, beta=0.5, seed=0, name="channel")(inputs)
    # The squared error looks at f alone, which no noise has touched.
    kernel = np.concatenate([np.ones((3, 1)), np.zeros((3, 1))])
    both = keras.layers.Concatenate()([inputs[0], z])
    outputs = keras.layers.Dense(
        1, kernel_initializer=lambda shape, dtype: kernel.astype(dtype)
    )(both)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    several = build()
result = {"replicas": strategy.num_replicas_in_sync}
for name, model in {"one": build(), "several": several}.items():
    data = tf.data.Dataset.from_tensor_slices(((f, log_s), np.zeros((12, 1)))).batch(6)
    losses = model.fit(data, epochs=2, verbose=0).history["loss"]
    channel = model.get_layer("channel")
    result[name] = {
        "losses": losses,
        "evaluated": model.evaluate(data, verbose=0),
        "last_rate": float(channel.last_rate.numpy()),
        "bank": bool(np.any(channel.bank.numpy())),
        "predicted": np.isfinite(model.predict((f, log_s), verbose=0)).all().item(),
    }
squares = np.square(f.sum(1)).mean()
rates = -(log_s + np.log(channel.r)).sum(1)
result["expected"] = float(squares + 0.5 * rates.mean())
result["last_batch"] = {
    "one": float(rates[6:].mean()),
    "several": float(rates[6:9].mean()),  # the first replica's share
}
json.dump(result, open(sys.argv[1], "w"))
"""


@pytest.mark.skipif(BACKEND != "tensorflow", reason="MirroredStrategy is TensorFlow's")
def test_mirrored_strategy_logs_the_same_loss(tmp_path, repository):
    import json

    script, out = tmp_path / "mirrored.py", tmp_path / "result.json"
    script.write_text(textwrap.dedent(MIRRORED))
    path = os.pathsep.join([str(repository), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script), str(out)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(out.read_text())
    assert result["replicas"] == 2
    for name in ("one", "several"):
        run = result[name]
        assert run["losses"] == pytest.approx([result["expected"]] * 2, rel=1e-5)
        assert run["evaluated"] == pytest.approx(result["expected"], rel=1e-5)
        assert run["last_rate"] == pytest.approx(result["last_batch"][name], rel=1e-5)
        assert run["bank"] and run["predicted"]


def bank_of(f, log_s=-0.5, **arguments):
    """A channel that remembers these rows of f, (n, d)."""
    channel = EchoSample(seed=0, **arguments)
    channel.build([f.shape, f.shape])
    channel.renew_memory([f, np.full(f.shape, log_s, "float32")])
    return channel


def test_draws_from_the_bank_have_echoes_of_their_own():
    """Of 1,024 rows there are more sums of echoes than draws."""
    f = np.random.RandomState(0).uniform(-1, 1, (1024, 2)).astype("float32")
    channel = bank_of(f)
    assert len(np.unique(array(channel.sample(4000)), axis=0)) == 4000
    # Of examples that are alike the noise is independent: the deviation of a mean over
    # 400 is 1/20 of one's, within 5 deviations of an estimate from 100 means.
    x = [np.zeros((400, 2), "float32"), np.full((400, 2), -0.1, "float32")]
    z = np.stack([array(channel.draw(x).z) for _ in range(100)])
    ratio = z.mean(axis=1).std(axis=0) / z.std(axis=(0, 1)) * 20
    assert np.abs(ratio - 1).max() < 5 * 0.071


@pytest.mark.parametrize("rows", [5, 700])
def test_rows_of_a_bank_that_is_not_full_are_equally_likely(rows):
    f = np.where(np.arange(rows) < rows * 0.46, 1.0, -1.0)[:, None].astype("float32")
    channel = bank_of(f, -1.0, d_max=4 if rows == 5 else 99)
    expected = array(channel.mean([f[:1] * 0, np.full((1, 1), -30.0)]))[0, 0]
    x = [np.zeros((2000, 1), "float32"), np.zeros((2000, 1), "float32")]
    mean = array(channel.mean([a[:1] for a in x]))[0, 0]
    z = np.concatenate([array(channel.draw(x).z) for _ in range(20)])[:, 0]
    assert abs(expected) < 1e-6
    assert abs(z.mean() - mean) < 5 * z.std() / len(z) ** 0.5


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_examples_of_no_weight_are_no_echoes(sampling):
    """Where the others have f = -.9, those that count hear f = .5 alone."""
    channel = EchoSample(d_max=7, sampling=sampling, seed=0)
    f = np.full((40, 1), 0.5, "float32")
    f[20:] = -0.9
    x = [f, np.full((40, 1), -0.5, "float32")]
    weights = ops.convert_to_tensor([1.0] * 20 + [0.0] * 20)
    with example_weights(weights):
        channel(x, training=True)  # from here on the bank has rows
        z = array(channel(x, training=True))[:20]
    s = channel.r * math.exp(-0.5)
    noise = 0.5 * (1 - s**7) / (1 - s)
    np.testing.assert_allclose(z, 0.5 + s * noise, atol=2e-3)
