"""Tests of Frechet distances."""

import math

import keras
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from echo_keras.metrics import fid, fid_name, frechet_distance


def flat(images):
    return images.reshape(len(images), -1)


def random_covariance(k, seed, rank=None):
    x = np.random.RandomState(seed).normal(size=(rank or 2 * k, k))
    return x.T @ x / len(x)


def rotation(k, seed):
    return np.linalg.qr(np.random.RandomState(seed).normal(size=(k, k)))[0]


def test_diagonal_covariances():
    a, b = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.01])
    mean_a, mean_b = np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 5.0])
    expected = 5.0 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    found = frechet_distance(mean_a, np.diag(a), mean_b, np.diag(b))
    assert type(found) is float
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_covariances_that_commute():
    q, rng = rotation(6, 0), np.random.RandomState(1)
    a, b = rng.random_sample((2, 6)) + 0.1
    found = frechet_distance(np.zeros(6), (q * a) @ q.T, np.zeros(6), (q * b) @ q.T)
    np.testing.assert_allclose(found, ((a**0.5 - b**0.5) ** 2).sum(), rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_covariances_that_do_not_commute(seed):
    a, b = random_covariance(8, seed), random_covariance(8, seed + 10)
    # Two other ways: eigenvalues of A^(1/2) B A^(1/2), and the root as it is printed.
    root = scipy.linalg.sqrtm(a)
    cross = np.sqrt(np.linalg.eigvalsh(root @ b @ root)).sum()
    printed = np.trace(scipy.linalg.sqrtm(a @ b)).real
    np.testing.assert_allclose(cross, printed, rtol=1e-9)
    expected = np.trace(a) + np.trace(b) - 2 * cross
    found = frechet_distance(np.zeros(8), a, np.zeros(8), b)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # Had they commuted, it would be something else.
    apart = (np.sqrt(np.linalg.eigvalsh(a)) - np.sqrt(np.linalg.eigvalsh(b))) ** 2
    assert abs(found / apart.sum() - 1) > 0.1


def test_rotations_and_shifts_of_both_do_not_matter():
    a, b, q = random_covariance(5, 0), random_covariance(5, 1), rotation(5, 2)
    means = np.random.RandomState(3).normal(size=(2, 5))
    expected = frechet_distance(means[0], a, means[1], b)
    moved = means @ q.T + 7.0
    found = frechet_distance(moved[0], q @ a @ q.T, moved[1], q @ b @ q.T)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    turned = frechet_distance(means[0], a, means[1], q @ b @ q.T)
    assert abs(turned - expected) > 0.1


@pytest.mark.parametrize("rank", [1, 3, 20])
def test_identical_and_exchanged(rank):
    a, b = random_covariance(20, 0, rank), random_covariance(20, 1)
    mean = np.arange(20.0)
    assert 0 <= frechet_distance(mean, a, mean, a) < 1e-10
    one, two = frechet_distance(mean, a, -mean, b), frechet_distance(-mean, b, mean, a)
    np.testing.assert_allclose(one, two, rtol=1e-12)


def test_singular_covariances():
    # Two lines that cross at 60 degrees: tr + tr - 2 |<u, v>|.
    u, v = np.array([1.0, 0.0]), np.array([0.5, math.sqrt(0.75)])
    zero = np.zeros(2)
    lines = frechet_distance(zero, np.outer(u, u), zero, np.outer(v, v))
    np.testing.assert_allclose(lines, 1.0, rtol=1e-7)
    # At 90 degrees the product is nilpotent or zero, and has no root that is of use.
    crossed = frechet_distance(zero, np.diag([1.0, 0.0]), zero, np.diag([0.0, 4.0]))
    np.testing.assert_allclose(crossed, 5.0, rtol=1e-12)
    # From a point, all of the spread counts.
    b = random_covariance(30, 0, rank=4)
    point = frechet_distance(np.zeros(30), np.zeros((30, 30)), np.zeros(30), b)
    np.testing.assert_allclose(point, np.trace(b), rtol=1e-10)


@settings(max_examples=50, deadline=None)
@given(
    k=st.integers(1, 6),
    ranks=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    scale=st.floats(-12, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_real_and_not_negative_at_any_rank_and_scale(k, ranks, scale, seed):
    rng = np.random.RandomState(seed)
    x, y = (10.0**scale * rng.normal(size=(rank, k)) for rank in ranks)
    found = frechet_distance(x.mean(0), x.T @ x, y.mean(0), y.T @ y)
    assert isinstance(found, float) and math.isfinite(found) and found >= 0
    # Between the difference of the spreads and their sum (Cauchy and Schwarz).
    a, b = np.linalg.norm(x), np.linalg.norm(y)
    found -= np.sum((x.mean(0) - y.mean(0)) ** 2)
    assert (a - b) ** 2 - 1e-6 * (a + b) ** 2 <= found <= (1 + 1e-6) * (a**2 + b**2)


def test_float32_covariances_are_good_enough():
    a = random_covariance(50, 0, rank=5).astype("float32")
    assert np.linalg.eigvalsh(a)[0] < 0  # by rounding
    assert frechet_distance(np.zeros(50), a, np.zeros(50), a) < 1e-5 * np.trace(a)


EYE, ZERO = np.eye(2), np.zeros(2)


@pytest.mark.parametrize(
    "moments, sentence",
    [
        ((ZERO, EYE, np.zeros(3), np.eye(3)), "as many dimensions. Received: 2 and 3"),
        ((ZERO, np.eye(3), ZERO, EYE), r"cov_a shape \(k, k\). Received: \(2,\) and"),
        ((ZERO, EYE, ZERO[None], EYE), r"mean_b must have shape \(k,\)"),
        (
            (np.zeros(0), np.zeros((0, 0)), ZERO, EYE),
            "mean_a must be an array .* at least one",
        ),
        ((ZERO, EYE, np.array([0, np.nan]), EYE), "mean_b and cov_b must be finite"),
        ((ZERO, np.full((2, 2), np.inf), ZERO, EYE), "mean_a and cov_a must be finite"),
        ((ZERO, -EYE, ZERO, EYE), "cov_a must be a covariance matrix.* eigenvalue -1"),
        ((ZERO, EYE, ZERO, np.array([[1, 0.5], [0, 1]])), "cov_b .* Received: 0.25"),
    ],
)
def test_bad_moments_raise(moments, sentence):
    with pytest.raises(ValueError, match=sentence):
        frechet_distance(*moments)


# FID


def gaussian_images(n, mean, deviations, seed):
    """Far enough from 0 and 1 never to reach them."""
    x = np.random.RandomState(seed).normal(size=(n, 2, 2, 1))
    return mean + x * np.reshape(deviations, (2, 2, 1))


def test_fid_of_identical_sets_is_zero():
    x = gaussian_images(20, 0.5, [0.05] * 4, 0)
    assert 0 <= fid(flat, x, x) < 1e-15
    # Fewer images than features: singular covariances.
    assert 0 <= fid(flat, x[:3], x[[2, 0, 1]]) < 1e-15


def test_fid_of_two_gaussians():
    # Of a pixel with means d apart and standard deviations s and t, to first order:
    # the square of the sample means' difference has the variance 4 d^2 (s^2 + t^2) / n,
    # and that of the sample deviations' 2 (s - t)^2 (s^2 + t^2) / n. The bias is of
    # order k^2 s^2 / n.
    n, d, s, t = 20_000, 0.02, np.array([0.02, 0.04, 0.06, 0.08]), np.array([0.05] * 4)
    real, generated = gaussian_images(n, 0.5, s, 0), gaussian_images(n, 0.5 + d, t, 1)
    expected = (d**2 + (s - t) ** 2).sum()
    variance = (4 * d**2 + 2 * (s - t) ** 2) * (s**2 + t**2) / n
    error = 4.5 * math.sqrt(variance.sum()) + 4**2 * 0.08**2 / n
    assert error < 0.1 * expected  # or it would be no test
    assert abs(fid(flat, real, generated) - expected) < error


def test_fid_is_the_distance_of_sample_moments():
    x = np.random.RandomState(0).random_sample((30, 2, 2, 3)).astype("float32")
    y = np.random.RandomState(1).random_sample((40, 2, 2, 3)).astype("float32") ** 2
    moments = []
    for images in (flat(x).astype("float64"), flat(y).astype("float64")):
        apart = images - images.mean(0)
        moments += [images.mean(0), apart.T @ apart / (len(images) - 1)]
    expected = frechet_distance(*moments)
    for batch_size in (1, 7, 100):
        assert fid(flat, x, y, batch_size) == pytest.approx(expected, rel=1e-9)


def test_one_feature():
    x = gaussian_images(50, 0.5, [0.01] * 4, 0)
    y = gaussian_images(50, 0.6, [0.05] * 4, 1)
    a, b = (images[:, 0, 0, 0].astype("float32").astype("float64") for images in (x, y))
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    found = fid(lambda images: images[:, 0, 0], x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.core
def test_features_may_be_a_model_of_keras():
    x, y = (gaussian_images(15, m, [0.05] * 4, 0) for m in (0.4, 0.5))
    model = keras.Sequential(
        [keras.Input((2, 2, 1)), layers.Flatten(), layers.Dense(3)], name="dense"
    )
    weights = model.get_weights()[0]
    found = fid(model, x, y, batch_size=10)
    # The second set is the first, shifted.
    np.testing.assert_allclose(found, np.sum((0.1 * weights.sum(0)) ** 2), rtol=1e-4)
    assert fid_name(model) == "FID-dense"
    # A function may return a tensor.
    of_tensors = fid(lambda images: ops.reshape(images, (-1, 4)), x, y)
    assert of_tensors == pytest.approx(0.04, rel=1e-5)


X = np.full((4, 2, 2, 1), 0.5)


@pytest.mark.parametrize(
    "features, real, generated, batch_size, sentence",
    [
        (flat, X[:1], X, 10, "real must be at least 2 images.*Received: 1"),
        (flat, X, X[:1], 10, "generated must be at least 2 images.*Received: 1"),
        (
            flat,
            X,
            X[:, :1],
            10,
            r"generated must .*\(n, 2, 2, 1\). Received: .*\(4, 1, 2, 1\)",
        ),
        (flat, X * 3, X, 10, r"real must hold pixels in \[0, 1\]"),
        (flat, X, X * np.nan, 10, "generated must hold pixels .* Received: NaN"),
        (flat, X, X, 0, "batch_size must be an integer >= 1. Received: batch_size=0"),
        (
            flat,
            X,
            X,
            1.5,
            "an integer >= 1. Received: batch_size=1.5",
        ),
        (lambda x: x, X, X, 3, r"shape \(3, k\), k >= 1. Received: \(3, 2, 2, 1\)"),
        (
            lambda x: flat(x)[:1],
            X,
            X,
            10,
            r"k >= 1. Received: \(1, 4\)",
        ),
        (lambda x: flat(x)[:, :0], X, X, 10, r"Received: \(4, 0\)"),
        (
            lambda x: flat(x) * np.inf,
            X,
            X,
            10,
            "features must be finite. Received",
        ),
    ],
)
def test_bad_features_or_images_raise(features, real, generated, batch_size, sentence):
    with pytest.raises(ValueError, match=sentence):
        fid(features, real, generated, batch_size)


def test_names_of_distances():
    assert fid_name(flat) == "FID-flat"
    for nameless in (lambda x: x, 3, None):
        with pytest.raises(ValueError, match="which have a name"):
            fid_name(nameless)
