"""U, S and the target for S, where all of it is known."""

import numpy as np
import pytest

from echo_keras.metrics import density_bounds, expected_divergence, information_bounds

# x ~ N(0, 1), z = x + noise, p(x|z) the posterior, q(x) = N(0, spread^2).
ENTROPY = 0.5 * np.log(2 * np.pi * np.e)
NOISE = np.array([0.01, 0.3, 1.0, 20.0])
INFORMATION = 0.5 * np.log(1 + 1 / NOISE)
DISTORTION = ENTROPY - INFORMATION


@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
def test_closed_forms_of_gaussians(spread):
    cross = 0.5 * np.log(2 * np.pi * spread**2) + 0.5 / spread**2
    u, s = density_bounds(DISTORTION, np.full(4, cross), ENTROPY)
    divergence = np.log(spread) + 0.5 / spread**2 - 0.5
    np.testing.assert_allclose(s, divergence, atol=1e-12)
    np.testing.assert_allclose(u, INFORMATION + divergence)
    lower, _ = information_bounds(INFORMATION, DISTORTION, ENTROPY)
    np.testing.assert_allclose(u - s, lower)


def test_an_unknown_entropy_leaves_u():
    u, s = density_bounds(60.0, 80.0)
    assert u == 20.0 and s is None


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_of_equally_likely_symbols_seen_once_the_divergence_is_exact(n):
    # KL between 1/n on n of 1,000 symbols and 1/1000 on all.
    sample, truth = np.full(n, 1 / n), np.full(n, 1e-3)
    exact = np.sum(sample * np.log(sample / truth))
    assert expected_divergence(np.log(1000), n) == pytest.approx(exact, abs=1e-12)


def test_more_examples_than_symbols_leave_none():
    assert expected_divergence(np.log(10), 11) == 0.0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: density_bounds([1.0, 2.0], 1.0), "one shape"),
        (lambda: density_bounds(1.0, np.nan), "cross_entropy"),
        (lambda: density_bounds(1.0, 1.0, entropy=True), "entropy must be"),
        (lambda: expected_divergence(-1.0, 3), "entropy must be"),
        (lambda: expected_divergence(1.0, 0), "examples must be"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
