"""Total correlation, the law of codes and bounds of their information."""

import keras
import numpy as np
import pytest

from echo_keras.layers.marginals import Logistic
from echo_keras.metrics import (
    aggregate_posterior,
    conditional_total_correlation,
    entropy_bound,
    information_bounds,
    total_correlation,
)


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


# The law of codes


def test_aggregate_posterior_of_the_prior_and_of_others():
    generator = np.random.RandomState(0)
    normal = aggregate_posterior(generator.normal(size=(4000, 3)))
    # Unbiased: 0 in the mean; its spread over seeds is .0004.
    assert abs(normal["mmd"]) < 0.002
    assert normal["summed_variance"] == pytest.approx(3.0, abs=0.3)
    assert abs(normal["excess_kurtosis"]) < 0.3
    wide = aggregate_posterior(2.0 * generator.normal(size=(4000, 3)))
    assert wide["mmd"] > 0.02
    assert wide["summed_variance"] == pytest.approx(12.0, abs=1.2)
    uniform = aggregate_posterior(generator.uniform(size=(4000, 3)))
    assert uniform["excess_kurtosis"] == pytest.approx(-1.2, abs=0.1)


def test_aggregate_posterior_against_another_prior():
    z = np.random.RandomState(0).logistic(size=(4000, 2))
    at_home = aggregate_posterior(z, Logistic(seed=1))
    abroad = aggregate_posterior(z)
    assert abs(at_home["mmd"]) < 0.003 < 0.02 < abroad["mmd"]


class ZeroAndTwo(keras.layers.Layer):
    """A prior whose samples are 0, 2, 0, 2, ..., so that nothing is random."""

    def sample(self, n):
        return 2.0 * (np.arange(n, dtype="float32")[:, None] % 2)


def test_aggregate_posterior_of_two_points_by_hand():
    found = aggregate_posterior(np.array([[0.0], [2.0]]), ZeroAndTwo())
    # The kernel is 2 / (2 + 4) between 0 and 2, and pairs of a code with itself count
    # between the laws alone: 2/3 - 2 (2 + 2/3) / 4. No code is nearer to its own law.
    assert found["mmd"] == pytest.approx(-2 / 3, rel=1e-12)
    assert found["mmd_se"] == pytest.approx(0, abs=1e-12)


def test_the_error_of_the_discrepancy_is_its_spread():
    found = [
        aggregate_posterior(np.random.RandomState(s).normal(0.5, size=(200, 2)), seed=s)
        for s in range(100)
    ]
    mmd, error = np.transpose([(f["mmd"], f["mmd_se"]) for f in found])
    # Of 100 draws a deviation is known to 7 %.
    assert np.mean(error) == pytest.approx(np.std(mmd), rel=0.25)


@pytest.mark.parametrize("shape", [(5,), (1, 2), (5, 2, 1)])
def test_aggregate_posterior_of_what_are_no_codes(shape):
    with pytest.raises(ValueError, match=r"codes of shape \(n, d\), n >= 2"):
        aggregate_posterior(np.zeros(shape))


# Bounds of the information in a code


def gaussian_source(noise, marginal=1.0, gain=1.0, spread=1.0):
    """(rate, distortion, information) where x ~ N(0, 1) and z ~ N(x, noise).

    The marginal is N(0, marginal (1 + noise)) and the decoder N(gain a z, spread b),
    with q(x|z) = N(a z, b): the three factors are 1 where the bounds are tight.
    """
    a, b = 1 / (1 + noise), noise / (1 + noise)
    variance, of_decoder = marginal * (1 + noise), spread * b
    rate = 0.5 * (np.log(variance / noise) + (1 + noise) / variance - 1)
    error = (1 - gain * a) ** 2 + (gain * a) ** 2 * noise
    distortion = 0.5 * (np.log(2 * np.pi * of_decoder) + error / of_decoder)
    return np.broadcast_arrays(rate, distortion, 0.5 * np.log(1 + 1 / noise))


ENTROPY = 0.5 * np.log(2 * np.pi * np.e)  # of N(0, 1)


def test_information_bounds_are_tight_for_the_right_marginal_and_decoder():
    noise = np.array([0.01, 0.3, 1.0, 20.0])
    rate, distortion, information = gaussian_source(noise)
    lower, upper = information_bounds(rate, distortion, ENTROPY)
    np.testing.assert_allclose(lower, information)
    np.testing.assert_allclose(upper, information)
    assert entropy_bound(rate, distortion) == pytest.approx(ENTROPY)


def test_information_bounds_hold_for_wrong_ones():
    wrong = np.array([0.5, 0.8, 1.3, 2.0])
    for name in ("marginal", "gain", "spread"):
        rate, distortion, information = gaussian_source(0.3, **{name: wrong})
        lower, upper = information_bounds(rate, distortion, ENTROPY)
        loose = upper - information if name == "marginal" else information - lower
        tight = information - lower if name == "marginal" else upper - information
        assert np.min(loose) > 0.01
        np.testing.assert_allclose(tight, 0, atol=1e-12)
        assert entropy_bound(rate, distortion) > ENTROPY + 0.01


def test_with_the_bound_for_the_entropy_the_best_model_has_no_lower_bound():
    points = np.transpose([(1, 90), (20, 62), (60, 40)]).astype(float)
    entropy = entropy_bound(*points)
    assert entropy == 82
    lower, upper = information_bounds(*points, entropy)
    assert lower.tolist() == [-8, 20, 42] and upper.tolist() == [1, 20, 60]
    # One record's numbers, rather than arrays.
    assert information_bounds(20.0, 62.0, 80.0) == (18, 20)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([1, 2], [1], 3.0), r"one shape .* shapes \(2,\), \(1,\) and \(\)"),
        ((1, 2, [3.0]), r"entropy must be a number.*\(1,\)"),
        ((1, 2, np.inf), "rate, distortion and entropy must be finite"),
        (([1, np.nan], [1, 2], 3.0), "rate, distortion and entropy must be finite"),
    ],
)
def test_bad_information_bounds(arguments, says):
    with pytest.raises(ValueError, match=says):
        information_bounds(*arguments)
