"""Tests of Parzen windows and nearest neighbours."""

import math

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.neighbors import KernelDensity

from echo_keras.metrics import sample_quality
from echo_keras.metrics.sample_quality import (
    BANDWIDTHS,
    nearest_neighbours,
    parzen_log_likelihood,
)

X = np.full((4, 2, 2, 1), 0.5)

# Parzen windows


def test_one_sample_is_one_gaussian():
    rng = np.random.RandomState(0)
    sample, x, h = rng.normal(size=(1, 3, 2)), rng.normal(size=(50, 3, 2)), 0.7
    logs = stats.norm.logpdf(x, sample, h).sum((1, 2))
    found = parzen_log_likelihood(sample, x, bandwidth=h)
    assert found == {
        "log_likelihood_parzen": pytest.approx(logs.mean(), rel=1e-10),
        "log_likelihood_parzen_se": pytest.approx(logs.std(ddof=1) / 50**0.5, rel=1e-9),
        "parzen_bandwidth": h,
    }
    assert all(type(value) is float for value in found.values())


def test_many_samples_are_a_kernel_density():
    rng = np.random.RandomState(0)
    samples, x = rng.normal(size=(300, 4)), rng.normal(size=(40, 4))
    for h in (0.02, 0.3, 5.0):
        apart = stats.norm.logpdf(x[:, None], samples, h).sum(2)
        logs = scipy.special.logsumexp(apart, axis=1) - math.log(300)
        found = parzen_log_likelihood(samples, x, bandwidth=h)["log_likelihood_parzen"]
        np.testing.assert_allclose(found, logs.mean(), rtol=1e-9)
    # Scikit-learn's trees approximate where windows are narrow; not here.
    logs = KernelDensity(bandwidth=h, rtol=1e-12).fit(samples).score_samples(x)
    np.testing.assert_allclose(found, logs.mean(), rtol=1e-9)


def test_far_images_do_not_underflow():
    found = parzen_log_likelihood(np.zeros((2, 10)), np.ones((1, 10)), bandwidth=1e-3)
    expected = -10 / 2e-6 - 5 * math.log(2 * math.pi * 1e-6)
    assert found["log_likelihood_parzen"] == pytest.approx(expected, rel=1e-12)
    assert math.isnan(found["log_likelihood_parzen_se"])


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.RandomState(0)
    samples, x = rng.normal(size=(200, 4)), rng.normal(size=(60, 4))
    whole = parzen_log_likelihood(samples, x, bandwidth=0.5)
    chunked, rows = sample_quality.pairwise_distances_chunked, []

    def small(*arguments, reduce_func, working_memory, **others):
        def counted(distances, start):
            rows.append(len(distances))
            return reduce_func(distances, start)

        # A MiB is 131,072 distances: 10 rows of 200.
        memory = 10 * 200 / 131_072
        return chunked(*arguments, reduce_func=counted, working_memory=memory, **others)

    monkeypatch.setattr(sample_quality, "pairwise_distances_chunked", small)
    assert parzen_log_likelihood(samples, x, bandwidth=0.5) == pytest.approx(whole)
    assert rows == [10] * 6


def test_the_bandwidth_is_the_best_on_validation_images():
    # One sample: the best is the root mean square distance per pixel, 0.2.
    rng = np.random.RandomState(0)
    sample, x = np.full((1, 100), 0.5), 0.5 + 0.2 * rng.normal(size=(50, 100))
    found = parzen_log_likelihood(sample, x[:10], validation=x)
    # Neighbours on the grid are a factor of 1.12 apart, the estimate within 3 % at
    # 2 standard deviations.
    assert abs(math.log(found["parzen_bandwidth"] / 0.2)) < math.log(1.12)
    means = [
        parzen_log_likelihood(sample, x, bandwidth=h)["log_likelihood_parzen"]
        for h in BANDWIDTHS
    ]
    assert found["parzen_bandwidth"] == BANDWIDTHS[np.argmax(means)]
    at = parzen_log_likelihood(sample, x[:10], bandwidth=found["parzen_bandwidth"])
    assert found == at


def test_more_samples_of_the_data_take_narrower_windows():
    rng = np.random.RandomState(0)
    validation, x = rng.random_sample((2, 200, 2))
    found = [
        parzen_log_likelihood(rng.random_sample((n, 2)), x, validation=validation)
        for n in (10, 1000)
    ]
    assert found[1]["parzen_bandwidth"] < 0.7 * found[0]["parzen_bandwidth"]
    assert found[1]["log_likelihood_parzen"] > found[0]["log_likelihood_parzen"]
    # The density is 1; a window reaches over the edge, and so stays below.
    assert -0.5 < found[1]["log_likelihood_parzen"] < 0


@pytest.mark.parametrize("validation, h", [(np.zeros((3, 4)), 0.01), (X * 9, 1.0)])
def test_a_bandwidth_at_the_end_of_the_grid_warns(validation, h):
    validation = validation.reshape(len(validation), 4)
    with pytest.warns(UserWarning, match="at the end of those tried"):
        found = parzen_log_likelihood(
            np.zeros((3, 4)), np.zeros((3, 4)), validation=validation
        )
    assert found["parzen_bandwidth"] == pytest.approx(h)


def test_an_unknown_bandwidth_raises():
    with pytest.raises(ValueError, match="must be given. Received: neither"):
        parzen_log_likelihood(X, X)
    with pytest.raises(ValueError, match="must be given. Received: both"):
        parzen_log_likelihood(X, X, bandwidth=1.0, validation=X)
    for bandwidth in (0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="bandwidth must be a finite number > 0"):
            parzen_log_likelihood(X, X, bandwidth=bandwidth)


# Neighbours


def test_neighbours_by_brute_force():
    rng = np.random.RandomState(0)
    images, others = rng.normal(size=(20, 3, 3, 2)), rng.normal(size=(50, 3, 3, 2))
    every = np.sqrt(((images[:, None] - others[None]) ** 2).sum((2, 3, 4)))
    indices, distances = nearest_neighbours(images, others, n=4)
    np.testing.assert_array_equal(indices, np.argsort(every, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :4], rtol=1e-12)


def test_a_copy_is_at_distance_zero():
    others = 100 + np.random.RandomState(0).random_sample((30, 8, 8)).astype("float32")
    indices, distances = nearest_neighbours(others[[7, 3]], others)
    assert indices.tolist() == [[7], [3]] and (distances == 0).all()


# What is no images


NUMBERS = hnp.arrays(
    st.sampled_from(["float64", "float32", "int64", "bool"]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
    elements={"allow_nan": True, "allow_infinity": True},
)


def usable(x, like=None):
    return (
        x.ndim >= 2
        and x.size > 0
        and bool(np.isfinite(x).all())
        and float(np.abs(x.astype(float)).max()) <= 1e100
        and (like is None or x.shape[1:] == like.shape[1:])
    )


@settings(max_examples=200, deadline=None)
@given(a=NUMBERS, b=NUMBERS, n=st.integers(-1, 4))
def test_arrays_that_do_not_fit_raise_and_others_do_not(a, b, n):
    with np.errstate(over="ignore"):  # squares of huge numbers
        fits = usable(b) and usable(a, b) and 1 <= n <= len(b)
        if fits:
            indices, distances = nearest_neighbours(a, b, n)
            assert indices.shape == distances.shape == (len(a), n)
            assert (np.diff(distances, axis=1) >= -1e-6 * distances.max()).all()
        else:
            with pytest.raises(ValueError, match="must"):
                nearest_neighbours(a, b, n)
        if usable(b) and usable(a, b):
            found = parzen_log_likelihood(b, a, bandwidth=1.0)
            assert not math.isnan(found["log_likelihood_parzen"])
        else:
            with pytest.raises(ValueError, match="must"):
                parzen_log_likelihood(b, a, bandwidth=1.0)


@pytest.mark.parametrize("bad", [np.array(["a"]), np.array([[None]]), np.ones((2, 3))])
def test_other_things_than_images_raise(bad):
    with pytest.raises(ValueError, match="images must"):
        nearest_neighbours(bad, np.ones((2, 2)))
