"""Tests of total correlation against closed forms."""

import numpy as np
import pytest

from echo_keras.metrics.information import total_correlation


def gaussian(n, covariance, seed=0):
    random = np.random.RandomState(seed)
    return random.multivariate_normal(np.zeros(len(covariance)), covariance, n)


def exactly(n, covariance):
    """Samples whose own covariance is the one asked for."""
    z = np.random.RandomState(0).normal(size=(n, len(covariance)))
    z -= z.mean(0)
    z = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / n)).T
    return z @ np.linalg.cholesky(covariance).T


@pytest.mark.parametrize("rho", [0.0, 0.3, -0.9, 0.999])
def test_two_correlated_dimensions(rho):
    z = exactly(100, np.array([[1, rho], [rho, 1]]))
    expected = -0.5 * np.log(1 - rho**2)
    np.testing.assert_allclose(total_correlation(z), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        total_correlation(z, as_printed=True), 2 * expected, rtol=1e-9, atol=1e-12
    )


def test_a_chain_has_the_sum_of_its_links():
    # Corr = rho^|i - j| has determinant (1 - rho^2)^(d - 1).
    d, rho = 6, 0.7
    steps = np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
    expected = -0.5 * (d - 1) * np.log(1 - rho**2)
    z = exactly(50, rho**steps)
    np.testing.assert_allclose(total_correlation(z), expected, rtol=1e-9)


def test_scales_and_means_do_not_matter():
    z = gaussian(200, [[2, 1, 0], [1, 2, 1], [0, 1, 2]])
    expected = total_correlation(z)
    moved = z * [1e-12, -1.0, 1e9] + [0.0, 3.0, -1e9]
    np.testing.assert_allclose(total_correlation(moved), expected, rtol=1e-6)


def test_all_axes_but_the_first_are_dimensions():
    z = np.random.RandomState(0).normal(size=(50, 2, 3))
    assert total_correlation(z) == total_correlation(z.reshape(50, 6))
    assert total_correlation(z[:, :1, :1]) == 0.0


def test_independent_samples_give_the_error_that_is_stated():
    n, d = 500, 8
    z = np.random.RandomState(0).normal(size=(200, n, d))
    found = np.array([total_correlation(x) for x in z])
    mean, spread = d * (d - 1) / (4 * n), np.sqrt(d * (d - 1)) / (2 * n)
    # Both up to terms of order d / n, here 2 %; and 4.5 standard errors.
    assert abs(found.mean() - mean) < 0.02 * mean + 4.5 * spread / np.sqrt(200)
    assert abs(found.std() / spread - 1) < 0.02 + 4.5 / np.sqrt(2 * 200)


def test_a_linear_combination_is_infinite():
    z = np.random.RandomState(0).normal(size=(50, 3))
    z[:, 2] = z[:, 0] - 2 * z[:, 1]
    assert total_correlation(z) == np.inf


@pytest.mark.parametrize(
    "z, sentence",
    [
        (np.zeros(5), r"with an axis of dimensions; received shape \(5,\)"),
        (np.eye(3), "received 3 samples of 3 dimensions"),
        (np.zeros((0, 3)), "received 0 samples of 3 dimensions"),
        (np.array([[0.0], [1.0], [np.nan]]), "samples contain NaN or infinity"),
        (np.array([[0.0], [1.0], [np.inf]]), "samples contain NaN or infinity"),
    ],
)
def test_bad_samples_raise(z, sentence):
    with pytest.raises(ValueError, match=sentence):
        total_correlation(z)


def test_constant_dimensions_are_named():
    z = np.random.RandomState(0).normal(size=(50, 4))
    z[:, 1], z[:, 3] = 0.1, -7.0
    with pytest.raises(ValueError, match="constant here: 1, 3"):
        total_correlation(z)
