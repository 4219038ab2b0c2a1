"""The law of codes, and bounds of their information."""

import keras
import numpy as np
import pytest

from echo_keras.layers.marginals import Logistic
from echo_keras.metrics import (
    aggregate_posterior,
    entropy_bound,
    information_bounds,
)


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
