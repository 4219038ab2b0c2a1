"""The data set whose law is known: by hand, and by all values of its blocks."""

import itertools

import numpy as np
import pytest

from echo_keras import data
from echo_keras.data import blocks


def block_probabilities():
    """Of all 65,536 blocks, pixel by pixel, as the docstring says."""
    every = np.array(list(itertools.product([0, 1], repeat=16)))
    known = blocks.patterns().reshape(16, 16)
    p = np.zeros(len(every))
    for pattern in known:
        p += np.where(every == pattern, 0.95, 0.05).prod(axis=1) / 16
    return every, p


def test_patterns_are_orthogonal():
    signs = 1 - 2 * blocks.patterns().reshape(16, 16)
    np.testing.assert_array_equal(signs @ signs.T, 16 * np.eye(16))


def test_the_entropy_is_that_of_all_values_of_a_block():
    _, p = block_probabilities()
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert blocks.entropy() == pytest.approx(-4 * (p * np.log(p)).sum(), abs=1e-9)
    # Flips leave a pattern in some doubt, but little.
    flips = -64 * (0.05 * np.log(0.05) + 0.95 * np.log(0.95))
    assert flips < blocks.entropy() < flips + 4 * np.log(16)


def test_the_log_probability_is_a_sum_over_blocks():
    every, p = block_probabilities()
    chosen = np.random.RandomState(0).choice(len(p), size=(50, 2, 2), p=p)
    corners = every[chosen].reshape(50, 2, 2, 4, 4)
    x = np.zeros((50, 8, 8, 1))
    for i, j in itertools.product(range(2), repeat=2):
        x[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4, 0] = corners[:, i, j]
    expected = np.log(p[chosen]).sum(axis=(1, 2))
    np.testing.assert_allclose(blocks.log_prob(x), expected, rtol=1e-10)


def test_images_follow_their_law():
    x = blocks.draw(20_000, seed=3)
    log_p = blocks.log_prob(x)
    error = log_p.std() / np.sqrt(len(x))
    assert abs(-log_p.mean() - blocks.entropy()) < 4 * error
    every, p = block_probabilities()
    # Every corner has a block with the frequency of its probability: a statistic with
    # one cell for each pattern without a flip and one for all others.
    for i, j in itertools.product(range(2), repeat=2):
        corner = x[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].reshape(-1, 16)
        same = corner[:, None] == blocks.patterns().reshape(16, 16)
        counts = same.all(axis=2).sum(axis=0)
        expected = len(x) * p[(every == 0).all(axis=1)]
        spread = np.sqrt(expected * (1 - expected / len(x)))
        assert (abs(counts - expected) < 4.5 * spread).all()


def test_the_data_set_is_the_same_for_everybody(tmp_path):
    d = data.load("blocks", limit=20, seed=5)
    assert d.x_train.shape == (20, 8, 8, 1) and d.x_test.shape == (10_000, 8, 8, 1)
    assert set(np.unique(d.x_test)) == {0, 1} and d.binarize == "static"
    assert "differ" not in d.description and d.x_valid is None
    whole = data.load("blocks")
    assert whole.checksum == data.load("blocks", tmp_path, seed=1).checksum
    # No test image is a training image, but by chance: there are e^23.8.
    train = {x.tobytes() for x in whole.x_train}
    assert sum(x.tobytes() in train for x in whole.x_test) < 100


@pytest.mark.parametrize("x", [np.zeros((2, 64)), np.full((1, 8, 8, 1), 0.5)])
def test_other_images_have_no_probability(x):
    with pytest.raises(ValueError, match="x must be"):
        blocks.log_prob(x)
