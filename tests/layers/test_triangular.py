"""Tests of the Echo channel whose S(x) is a lower triangular matrix.

As in test_echo.py, statistical tests have fixed seeds and would reject correct code
with probability ALPHA in all, or lie within SIGMAS standard errors.
"""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from keras import ops
from scipy import linalg, stats
from tools import array, frozen_call, gradients, ring_index

from echo_keras.layers import EchoSample, max_scale
from echo_keras.layers.echo import SAMPLINGS
from echo_keras.layers.echo_noise import (
    matrix_gathered_noise,
    ring_noise,
    triangular_scale,
)

pytestmark = pytest.mark.core

ALPHA = 1e-4
SIGMAS = 4.0
BACKEND = keras.backend.backend()
RINGS = [(2, 1), (3, 2), (5, 4), (9, 8), (20, 13), (33, 32)]
quick = settings(max_examples=40, deadline=None, derandomize=True, database=None)


# Helpers


def codes(shape=(6, 3), seed=0):
    """[f, log_s, lower], f and log_s well inside their bounds."""
    rng = np.random.default_rng(seed)
    rows, d = shape
    f, log_s = rng.uniform(-0.9, 0.9, shape), rng.uniform(-1.0, -0.1, shape)
    lower = rng.normal(0, 1, (rows, d * (d - 1) // 2))
    return [a.astype("float32") for a in (f, log_s, lower)]


def matrices(log_s, lower, r):
    """S in float64, entry by entry; log_s includes log r."""
    s = np.exp(np.asarray(log_s, "float64"))
    lower = np.asarray(lower, "float64")
    out = np.zeros((*s.shape, s.shape[1]))
    for row, result in enumerate(out):
        at = 0
        for j in range(s.shape[1]):
            entries = lower[row, at : at + j]
            at += j
            result[j, :j] = (r - s[row, j]) * entries / (1 + abs(entries).sum())
            result[j, j] = s[row, j]
    return out


def to_lower(s, r):
    """log_s without log r, and lower, for which S is the matrix s, (d, d)."""
    lower = []
    for j, row in enumerate(s):
        shares = row[:j] / (r - row[j])
        lower.extend(shares / (1 - abs(shares).sum()))
    return np.log(np.diag(s) / r), np.array(lower)


def brute_force(f, s, index):
    """Eq. 3 of the paper in float64: one sum over the rows index[i] for each i."""
    f, s = np.asarray(f, "float64"), np.asarray(s, "float64")
    noise = np.zeros((len(index), f.shape[1]))
    for i, row in enumerate(index):
        decay = np.eye(f.shape[1])
        for k in row:
            noise[i] += decay @ f[k]
            decay = decay @ s[k]
    return noise


def triangular_model(channel, d=3):
    """A model from [f, log_s, lower] to z."""
    inputs = [keras.Input((d,)), keras.Input((d,)), keras.Input((d * (d - 1) // 2,))]
    return keras.Model(inputs, channel(inputs))


def small(**kwargs):
    arguments = {"d_max": 3, "bank_size": 8, "seed": 0, "scale": "triangular"}
    return EchoSample(**{**arguments, **kwargs})


# 1. The matrix


def test_the_matrix_by_hand():
    log_s = np.log([[0.5, 0.25, 0.75]]).astype("float32")
    lower = np.array([[1.0, 3.0, -1.0]], "float32")
    s = array(triangular_scale(*map(ops.convert_to_tensor, (log_s, lower)), 0.8))[0]
    expected = [[0.5, 0, 0], [0.55 / 2, 0.25, 0], [0.05 * 3 / 5, -0.05 / 5, 0.75]]
    np.testing.assert_allclose(s, expected, rtol=1e-5)


@pytest.mark.parametrize("d", [2, 3, 7])
def test_the_matrix_entry_by_entry(d):
    r = max_scale(20)
    _, log_s, lower = codes((5, d))
    log_s += np.log(r)
    s = array(triangular_scale(*map(ops.convert_to_tensor, (log_s, lower)), r))
    np.testing.assert_allclose(s, matrices(log_s, lower, r), rtol=1e-5, atol=1e-7)
    assert (np.triu(s, 1) == 0).all()
    log_det = np.linalg.slogdet(s.astype("float64"))[1]
    np.testing.assert_allclose(log_det, log_s.sum(axis=1), rtol=1e-5)


anything = st.floats(-(2.0**120), 2.0**120, width=32) | st.sampled_from([0.0, 1.0])


@quick
@given(
    st_numpy.arrays("float32", (3, 4), elements=st.floats(-200, 0, width=32)),
    st_numpy.arrays("float32", (3, 6), elements=anything),
    st.integers(1, 500),
)
def test_no_row_sums_to_more_than_r(log_s, lower, d_max):
    r = max_scale(d_max)
    log_s = np.float32(log_s + np.log(r))
    s = array(triangular_scale(*map(ops.convert_to_tensor, (log_s, lower)), r))
    assert np.isfinite(s).all()
    assert abs(s).sum(axis=2).max() <= r * (1 + 1e-6)
    assert abs(np.linalg.eigvals(s)).max() <= r * (1 + 1e-6)


def test_every_matrix_of_smaller_norm_can_be_written_so():
    r = max_scale(50)
    s = np.tril(np.random.default_rng(0).normal(size=(5, 5)))
    np.fill_diagonal(s, abs(np.diag(s)))
    s *= 0.999 * r / abs(s).sum(axis=1, keepdims=True)
    log_s, lower = (np.float32(a[None]) for a in to_lower(s, r))
    log_s += np.float32(np.log(r))
    got = array(triangular_scale(*map(ops.convert_to_tensor, (log_s, lower)), r))
    np.testing.assert_allclose(got[0], s, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", [0.0, 1.0, 1e3])
def test_gradients_of_large_entries_do_not_vanish(size):
    # d = 2: the one entry, (r - s) l / (1 + |l|), has the slope (r - s) / (1 + |l|)^2.
    log_s = np.log([[0.5, 0.5]]).astype("float32")

    def total(lower):
        return ops.sum(triangular_scale(ops.convert_to_tensor(log_s), lower, 0.8))

    (gradient,) = gradients(total, np.array([[size]], "float32"))
    np.testing.assert_allclose(gradient, 0.3 / (1 + size) ** 2, rtol=1e-3)


# 2. The sums


@pytest.mark.parametrize("rows, depth", RINGS)
def test_ring_noise_is_the_double_sum(rows, depth):
    f, log_s, lower = codes((rows, 4), seed=rows)
    s = matrices(log_s, lower, 1.0).astype("float32")
    noise = ring_noise(*map(ops.convert_to_tensor, (f, s)), depth)
    expected = brute_force(f, s, ring_index(rows, depth))
    np.testing.assert_allclose(array(noise), expected, rtol=1e-5, atol=1e-5)


def worst_matrices(rows, r, seed=0):
    """S without a sign, each row summing to r: nothing cancels."""
    weights = np.tril(np.random.default_rng(seed).uniform(0.1, 1, (rows, 3, 3)))
    return r * weights / weights.sum(axis=2, keepdims=True)


@pytest.mark.parametrize("rows, depth", RINGS)
def test_ring_noise_within_the_precision_of_max_scale(rows, depth):
    f = np.ones((rows, 3), "float32")
    s = worst_matrices(rows, max_scale(depth)).astype("float32")
    noise = ring_noise(*map(ops.convert_to_tensor, (f, s)), depth)
    exactly = brute_force(f, s, ring_index(rows, depth)[:, :depth])
    # Four units in the last place of float32 for the sum itself.
    tolerance = 2.0**-23 * (1 + 4 * exactly.max())
    np.testing.assert_allclose(array(noise), exactly, rtol=0, atol=tolerance)


@pytest.mark.parametrize("d_max, magnitude", [(1, 1.0), (24, 1.0), (64, 10.0)])
def test_truncation_error_at_its_worst(d_max, magnitude):
    r = max_scale(d_max, magnitude)
    f = np.full((d_max + 1000, 3), magnitude)
    s = worst_matrices(len(f), r)
    everything = range(len(f))
    tail = brute_force(f, s, [everything]) - brute_force(f, s, [everything[:d_max]])
    # Reached, as by a diagonal S, and not exceeded.
    np.testing.assert_allclose(tail, 2.0**-23, rtol=1e-6)


@pytest.mark.parametrize("rows, depth", [(3, 2), (9, 8), (20, 13)])
def test_ring_noise_gradient_is_that_of_the_double_sum(rows, depth):
    f, log_s, lower = codes((rows, 3), seed=rows)
    r = max_scale(depth)
    log_s += np.log(r)
    w = codes((rows, 3), seed=1)[0]
    index = ring_index(rows, depth)

    def ring_sum(f, log_s, lower):
        s = triangular_scale(log_s, lower, r)
        return ops.sum(ops.multiply(ring_noise(f, s, depth), w))

    def double_sum(f, log_s, lower):
        total, decay = 0.0, ops.eye(3)
        s = triangular_scale(log_s, lower, r)
        for k in range(index.shape[1]):
            heard = ops.convert_to_tensor(index[:, k])
            row = ops.expand_dims(ops.take(f, heard, axis=0), 2)
            total = total + ops.matmul(decay, row)[:, :, 0]
            decay = ops.matmul(decay, ops.take(s, heard, axis=0))
        return ops.sum(ops.multiply(total, w))

    got = gradients(ring_sum, f, log_s, lower)
    for g, expected in zip(got, gradients(double_sum, f, log_s, lower), strict=True):
        np.testing.assert_allclose(g, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("rows, depth", RINGS)
def test_gathered_noise_is_the_double_sum(rows, depth):
    f, log_s, lower = codes((rows, 3), seed=depth)
    s = matrices(log_s, lower, 1.0).astype("float32")
    index = np.random.default_rng(depth).integers(0, rows, (7, depth))
    noise = matrix_gathered_noise(*map(ops.convert_to_tensor, (f, s, index)), depth)
    np.testing.assert_allclose(
        array(noise), brute_force(f, s, index), rtol=1e-5, atol=1e-5
    )


def test_the_brute_force_sum_by_hand():
    f = np.array([[1.0, 2.0], [4.0, 8.0]])
    s = np.array([[[0.5, 0.0], [0.25, 0.5]], np.zeros((2, 2))])
    # f_0 + S_0 f_1 = (1, 2) + (2, 1 + 4).
    np.testing.assert_array_equal(brute_force(f, s, [[0, 1]]), [[3.0, 7.0]])


# 3. The channel


def heard(z, f, channel):
    """Which row each example heard at each lag, as in test_echo.py."""
    noise = (z.astype("float64") - f) / channel.r
    index = np.empty((len(noise), channel.d_max), int)
    rows = np.arange(len(noise))
    for lag in range(channel.d_max):
        index[:, lag] = noise.argmax(axis=1)
        digit = channel.r**lag
        np.testing.assert_allclose(noise[rows, index[:, lag]], digit, rtol=0.1)
        noise[rows, index[:, lag]] -= digit
    return index


def told():
    """Nine codes whose first 9 dimensions are one-hot with s = r: who was heard.

    The other four have any s, and mix all dimensions before them.
    """
    f, log_s, lower = codes((9, 13))
    f[:, :9], log_s[:, :9] = np.eye(9), 0.0
    return [f, log_s, lower]


@pytest.mark.parametrize("training, batch", [(True, 9), (True, 3), (False, 9)])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_noise_is_the_sum_over_the_echoes_heard(sampling, training, batch):
    # The batch of 3 is topped up from the bank.
    channel = small(d_max=4, sampling=sampling, bank_size=9)
    everything = told()
    channel(everything, training=True)
    f, log_s, lower = (a.astype("float64") for a in everything)
    s = matrices(log_s + np.log(channel.r), lower, channel.r)
    inputs = [a[:batch].copy() for a in everything]
    if not training:  # the bank has these very rows: what is heard must stand alone
        inputs[0][:, :9] = 0.0
    z = array(frozen_call(channel, inputs, training=training))
    index = heard(z[:, :9], inputs[0][:, :9], channel)
    noise = brute_force(f, s, index)
    expected = inputs[0] + np.einsum("ijk,ik->ij", s[:batch], noise)
    # S is below 0.02 here, hence the smaller tolerance for the noise itself.
    np.testing.assert_allclose(z, expected, rtol=1e-6, atol=1e-7)
    # The entries below the diagonal are heard.
    assert abs(noise - brute_force(f, s * np.eye(13), index)).max() > 1e-4


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_without_entries_below_it_is_the_diagonal_channel(sampling):
    f, log_s, lower = codes()
    triangular = small(sampling=sampling)
    diagonal = small(sampling=sampling, scale="diagonal")
    for training in (True, False):
        z = triangular([f, log_s, 0 * lower], training=training)
        same = diagonal([f, log_s], training=training)
        np.testing.assert_allclose(array(z), array(same), rtol=1e-6, atol=1e-6)
        assert float(array(triangular.last_rate)) == float(array(diagonal.last_rate))


def test_rate_is_that_of_the_diagonal():
    channel = small(beta=0.5)
    f, log_s, lower = codes()
    channel([f, log_s, lower], training=True)
    expected = -(log_s + np.log(channel.r)).sum(axis=1)
    np.testing.assert_allclose(
        array(channel.rate([f, log_s, lower])), expected, rtol=1e-5
    )
    np.testing.assert_allclose(array(channel.losses[0]), expected.mean() / 2, rtol=1e-5)
    assert channel.min_rate == pytest.approx(-3 * np.log(channel.r))


@pytest.mark.parametrize(
    ("sampling", "batch"), [("cyclic", 20), ("without_replacement", 36)]
)
def test_gradients_reach_all_inputs_through_the_noise(sampling, batch):
    # The batch of 20 is topped up from the bank. At this d_max r is 0.6.
    channel = small(d_max=33, sampling=sampling, bank_size=40)
    channel(codes((40, 3), seed=1), training=True)
    rng = np.random.default_rng(2)
    inputs = [0.5 * a for a in codes((batch, 3), seed=3)]
    w = rng.normal(size=(batch, 3)).astype("float32")

    def objective(*inputs):
        z = frozen_call(channel, list(inputs), training=True)
        return ops.sum(ops.multiply(z, w))

    analytic = gradients(objective, *inputs)
    for k, width in ((0, 0.1), (1, 0.02), (2, 0.01)):
        direction = rng.choice([-1.0, 1.0], inputs[k].shape).astype("float32")
        if k == 2:  # |l| has a kink at 0, which a difference must not straddle
            direction[abs(inputs[2]) < 2 * width] = 0.0
        ahead, behind = list(inputs), list(inputs)
        ahead[k] = inputs[k] + width * direction
        behind[k] = inputs[k] - width * direction
        slope = float(array(objective(*ahead) - objective(*behind))) / (2 * width)
        expected = (analytic[k] * direction).sum()
        assert slope == pytest.approx(expected, rel=5e-3, abs=5e-3)
        assert abs(analytic[k]).min(axis=1).max() > 0


# 4. Gaussian codes: everything in closed form

# |f| <= 8 is eight standard deviations of its widest coordinate: f stays Gaussian.
F = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.5, 0.6]])
BELOW = np.array([[0.3, 0.0, 0.0], [0.2, 0.25, 0.0], [-0.1, 0.2, 0.15]])
GAUSSIAN = {"triangular": BELOW, "diagonal": np.diag(np.diag(BELOW))}


def total_correlation(covariance):
    log_det = np.linalg.slogdet(covariance)[1]
    return 0.5 * (np.log(np.diag(covariance)).sum() - log_det)


def information(z, noise):
    """I(X; Z) in nats of a Gaussian Z, from the covariances of Z and of Z given X."""
    return 0.5 * (np.linalg.slogdet(z)[1] - np.linalg.slogdet(noise)[1])


def stationary(s):
    """Covariances of Z and of Z given X, from Sigma = F F' + S Sigma S'."""
    sigma = linalg.solve_discrete_lyapunov(s, F @ F.T)
    return sigma, s @ sigma @ s.T


@pytest.mark.parametrize("kind", GAUSSIAN)
def test_closed_forms(kind):
    s = GAUSSIAN[kind]
    z, noise = stationary(s)
    rate = -np.linalg.slogdet(s)[1]
    assert information(z, noise) == pytest.approx(rate, abs=1e-12)
    # The identity of App. C: I + TC(Z) = sum of I_j + TC(Z|X).
    separately = 0.5 * np.log(np.diag(z) / np.diag(noise)).sum()
    gap = total_correlation(z) - total_correlation(noise)
    assert rate + gap == pytest.approx(separately, abs=1e-12)
    if kind == "diagonal":
        assert gap == pytest.approx(0.0, abs=1e-12)
    else:
        assert abs(gap) > 0.1


@pytest.mark.parametrize("scale", ["diagonal", "triangular"])
def test_the_rate_is_of_the_scale_of_the_noise(scale):
    rng = np.random.default_rng(0)
    f, log_s, lower = (np.float32(rng.normal(size=(4, 3))) for _ in range(3))
    inputs = [f, log_s] + [lower] * (scale == "triangular")
    channel = EchoSample(d_max=9, scale=scale)
    channel(inputs, training=True)
    s = array(channel.noise_scale(inputs))
    log_det = np.log(s).sum(1) if scale == "diagonal" else np.linalg.slogdet(s)[1]
    np.testing.assert_allclose(array(channel.rate(inputs)), -log_det, rtol=1e-5)
    # And the mean of z is f + S mu of one mu for all.
    mu = array(channel.mean(inputs)) - array(channel.code(f))
    mu = mu / s if scale == "diagonal" else np.linalg.solve(s, mu[..., None])[..., 0]
    np.testing.assert_allclose(mu, np.tile(mu[:1], (4, 1)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", GAUSSIAN)
def test_samples_have_the_closed_forms(kind):
    calls, rows = 40, 2000
    channel = small(d_max=31, max_magnitude=8.0, bank_size=32)
    s = GAUSSIAN[kind]
    log_s, lower = (np.float32(np.tile(a, (rows, 1))) for a in to_lower(s, channel.r))
    rng = np.random.default_rng(5)
    covariances = []
    for _ in range(calls):
        f = np.float32(rng.normal(size=(rows, 3)) @ F.T)
        z = array(channel([f, log_s, lower], training=True)).astype("float64")
        covariances.append([z.T @ z / rows, (z - f).T @ (z - f) / rows])
    covariances = np.array(covariances)  # (calls, 2, 3, 3); the calls are independent
    mean = covariances.mean(axis=0)
    error = covariances.std(axis=0, ddof=1) / np.sqrt(calls)
    # Two symmetric matrices of six entries each.
    bound = stats.t(calls - 1).isf(ALPHA / 2 / 12)
    expected = np.array(stationary(s))
    assert (abs(mean - expected) < bound * error).all()
    assert error.max() < 0.01
    # The test has the power to tell: the matrix transposed.
    assert (abs(mean - np.array(stationary(s.T))) > bound * error).any() or (
        kind == "diagonal"
    )

    def measure(covariance):
        z, noise = covariance
        gap = total_correlation(z) - total_correlation(noise)
        return np.array([information(z, noise), gap])

    left_out = (calls * mean - covariances) / (calls - 1)
    error = np.std([measure(c) for c in left_out], axis=0) * np.sqrt(calls - 1)
    assert error.max() < 0.01
    rate, gap = measure(mean)
    np.testing.assert_array_less(
        abs(measure(mean) - measure(expected)), SIGMAS * error + 1e-3
    )
    # What the layer reports is what the samples carry, without being told the law.
    assert abs(rate - float(array(channel.last_rate))) < SIGMAS * error[0] + 1e-3
    if kind == "diagonal":
        assert abs(gap) < SIGMAS * error[1] + 1e-3
    else:
        assert abs(gap) > 0.1


# 5. Bad input


def test_unknown_scale_raises():
    with pytest.raises(ValueError, match="scale must be one of diagonal, triangular"):
        EchoSample(scale="full")


@pytest.mark.parametrize(
    "shapes, sentence",
    [
        ([(2, 3)] * 2, r"list of three tensors, \[f, log_s, lower\]. Received"),
        ([(2, 3)] * 4, r"list of three tensors, \[f, log_s, lower\]. Received"),
        ([(2, 3), (2, 4), (2, 3)], r"^\[f, log_s\] must have the same shape"),
        ([(2, 4), (2, 4), (2, 4)], r"for d = 4 \(batch, 6\), in .*: \(2, 4\)$"),
        ([(2, 3), (2, 3), (2, 3, 3)], r"for d = 3 \(batch, 3\), in"),
        ([(2, 1), (2, 1), (2, 1)], r"^f must have the shape \(batch, d\)"),
        (
            [(2, 2, 2), (2, 2, 2), (2, 6)],
            r"^f must have the shape \(batch, d\)",
        ),
    ],
)
def test_bad_inputs_raise(shapes, sentence):
    with pytest.raises(ValueError, match=sentence):
        small()([np.zeros(shape, "float32") for shape in shapes])


# 6. Promises


def test_bank_holds_all_three():
    channel = small(bank_size=8)
    for seed in (0, 1):
        f, log_s, lower = codes(seed=seed)
        channel([f, log_s, lower], training=True)
    newest = np.hstack([f, log_s + np.log(channel.r), lower])
    np.testing.assert_allclose(array(channel.bank)[:6], newest, atol=1e-6)
    assert float(array(channel.bank_rows)) == 8


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_one_image_from_the_bank_and_samples(sampling):
    channel = small(sampling=sampling)
    x = codes()
    np.testing.assert_array_equal(array(channel(x)), x[0])  # never trained, no noise
    with pytest.raises(ValueError, match="is empty before training"):
        channel.sample(2)
    channel(x, training=True)
    one, other = [a[:1] for a in x], codes(seed=4)
    other = [np.concatenate(pair) for pair in zip(one, other, strict=True)]
    z = array(triangular_model(channel).predict(one, verbose=0))
    assert z.shape == (1, 3) and (z != x[0][:1]).any()
    if sampling == "cyclic":  # the result does not depend on the batch
        alone, with_others = (array(frozen_call(channel, a)) for a in (one, other))
        assert alone.shape == (1, 3) and with_others.shape == (7, 3)
    samples = array(channel.sample(5))
    assert samples.shape == (5, 3) and np.isfinite(samples).all()
