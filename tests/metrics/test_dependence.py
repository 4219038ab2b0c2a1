"""Total correlation of samples, and of noise given what it is scaled by."""

import numpy as np
import pytest

from echo_keras.metrics import conditional_total_correlation, total_correlation
from echo_keras.metrics.dependence import independent_law


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
        total_correlation(z, variant="paper"), 2 * expected, rtol=1e-9, atol=1e-12
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


def test_the_total_correlation_given_x_is_that_of_scaled_noise():
    covariance = np.array([[2.0, 1.0, 0.3], [1.0, 5.0, -1.0], [0.3, -1.0, 0.5]])
    noise, random = exactly(200, covariance), np.random.RandomState(1)
    matrices = random.normal(size=(7, 3, 3))
    expected = np.mean([total_correlation(noise @ s.T) for s in matrices])
    found = conditional_total_correlation(noise, matrices)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # A diagonal S changes no correlation, App. C: TC(Z|X) is TC of the noise.
    diagonals = random.normal(size=(7, 3))
    for scales in (diagonals, diagonals[:, None] * np.eye(3)):
        found = conditional_total_correlation(noise, scales)
        np.testing.assert_allclose(found, total_correlation(noise), rtol=1e-9)


@pytest.mark.parametrize("scales", [np.ones((2, 4)), np.ones((2, 3, 4)), np.ones(3)])
def test_scales_of_other_shapes_are_refused(scales):
    with pytest.raises(ValueError, match=r"scales must be of shape \(m, d\)"):
        conditional_total_correlation(exactly(50, np.eye(3)), scales)
    with pytest.raises(ValueError, match="scales must not be singular"):
        conditional_total_correlation(exactly(50, np.eye(3)), np.ones((2, 3, 3)))


def test_all_axes_but_the_first_are_dimensions():
    z = np.random.RandomState(0).normal(size=(50, 2, 3))
    assert total_correlation(z) == total_correlation(z.reshape(50, 6))
    assert total_correlation(z[:, :1, :1]) == 0.0


@pytest.mark.parametrize(("n", "d"), [(500, 8), (50, 20), (130, 64), (5, 2)])
def test_independent_samples_have_the_law_that_is_stated(n, d):
    z = np.random.RandomState(0).normal(size=(400, n, d))
    found = np.array([total_correlation(x) for x in z])
    mean, deviation = independent_law(n, d)
    # 4.5 standard errors, of the deviation as that of a Gaussian or of chi-square.
    assert abs(found.mean() - mean) < 4.5 * deviation / np.sqrt(400)
    error = np.sqrt((0.5 if d > 2 else 3.5) / 400)
    assert abs(found.std() / deviation - 1) < 4.5 * error


def test_the_law_of_many_samples_is_that_of_the_squared_correlations():
    mean, deviation = independent_law(1_000_000, 10)
    assert mean == pytest.approx(90 / 4e6, rel=1e-4)
    assert deviation == pytest.approx(np.sqrt(90) / 2e6, rel=1e-4)
    assert independent_law(10, 1) == (0.0, 0.0)


def test_a_linear_combination_is_infinite():
    z = np.random.RandomState(0).normal(size=(50, 3))
    z[:, 2] = z[:, 0] - 2 * z[:, 1]
    assert total_correlation(z) == np.inf


@pytest.mark.parametrize(
    "z, sentence",
    [
        (np.zeros(5), r"with an axis of dimensions. Received: shape \(5,\)"),
        (np.eye(3), "Received: 3 samples of 3 dimensions"),
        (np.zeros((0, 3)), r"at least one number. Received: shape \(0, 3\)"),
        (np.array([[0.0], [1.0], [np.nan]]), "samples must be finite"),
        (np.array([[0.0], [1.0], [np.inf]]), "samples must be finite"),
    ],
)
def test_bad_samples_raise(z, sentence):
    with pytest.raises(ValueError, match=sentence):
        total_correlation(z)


def test_constant_dimensions_are_named():
    z = np.random.RandomState(0).normal(size=(50, 4))
    z[:, 1], z[:, 3] = 0.1, -7.0
    with pytest.raises(ValueError, match="constant dimensions 1, 3"):
        total_correlation(z)


def test_an_unknown_variant_raises():
    with pytest.raises(ValueError, match="Received: variant='printed'"):
        total_correlation(np.ones((3, 2)), variant="printed")
