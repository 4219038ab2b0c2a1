"""The entropy of codes whose law is known."""

import numpy as np
import pytest

from echo_keras.metrics import differential_entropy

RANDOM = np.random.default_rng(0)
NORMAL = RANDOM.normal(size=(4000, 3))


@pytest.mark.parametrize("neighbours", [1, 3, 10])
def test_of_a_normal_law(neighbours):
    h, error = differential_entropy(NORMAL, neighbours)
    # Fails for fewer than one in a hundred seeds: the error is a little too small.
    assert h == pytest.approx(1.5 * np.log(2 * np.pi * np.e), abs=4 * error)
    assert error < 0.05


@pytest.mark.parametrize("d", [1, 2])
def test_of_a_uniform_law(d):
    h, error = differential_entropy(RANDOM.uniform(0, 3, size=(4000, d)))
    # The balls of codes at the edges reach beyond them.
    assert h == pytest.approx(d * np.log(3), abs=4 * error + 0.03 * d)


def test_scale_rotation_shift_and_order():
    h, _ = differential_entropy(NORMAL)
    rotation, _ = np.linalg.qr(RANDOM.normal(size=(3, 3)))
    moved = 5.0 * NORMAL[::-1] @ rotation + 7.0
    assert differential_entropy(moved)[0] == pytest.approx(h + 3 * np.log(5), abs=1e-9)


def test_codes_of_several_axes_are_flat():
    assert differential_entropy(NORMAL.reshape(-1, 3, 1)) == differential_entropy(
        NORMAL
    )


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: differential_entropy(NORMAL[:3]), "more than neighbours=3"),
        (lambda: differential_entropy(np.zeros((9, 2))), "9 of 9 codes"),
        (lambda: differential_entropy(NORMAL, 0), "neighbours must be"),
        (lambda: differential_entropy(np.full((9, 2), np.nan)), "z must"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
