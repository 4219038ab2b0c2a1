"""The data set whose law is known: by hand, and by all values of a block."""

import itertools

import numpy as np
import pytest

from echo_keras import data
from echo_keras.data import blocks


@pytest.fixture(scope="module")
def law():
    """All 65,536 blocks (n, 4, 4) and their probabilities, latent by latent."""
    every = np.array(list(itertools.product([0, 1], repeat=16))).reshape(-1, 4, 4)
    p = np.zeros(len(every))
    for block in (0, 1):
        of_block = np.full(len(every), 0.5)
        for i, j in itertools.product((0, 2), (0, 2)):
            quarter = every[:, i : i + 2, j : j + 2].reshape(-1, 4)
            of_block *= sum(
                (0.8 if light == block else 0.2)
                * np.where(quarter == light, 0.95, 0.05).prod(axis=1)
                for light in (0, 1)
            )
        p += of_block
    return every, p


def test_the_entropy_is_that_of_all_values_of_a_block(law):
    _, p = law
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert blocks.entropy() == pytest.approx(-4 * (p * np.log(p)).sum(), abs=1e-9)


def test_the_log_probability_is_a_sum_over_blocks(law):
    every, p = law
    chosen = np.random.RandomState(0).choice(len(p), size=(50, 2, 2), p=p)
    x = np.zeros((50, 8, 8, 1))
    for i, j in itertools.product(range(2), repeat=2):
        corner = every[chosen[:, i, j]]
        x[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4, 0] = corner
    expected = np.log(p[chosen]).sum(axis=(1, 2))
    np.testing.assert_allclose(blocks.log_prob(x), expected, rtol=1e-10)


def test_images_follow_their_law(law):
    every, p = law
    x = blocks.draw(20_000, seed=3)
    log_p = blocks.log_prob(x)
    error = log_p.std() / np.sqrt(len(x))
    assert abs(-log_p.mean() - blocks.entropy()) < 4 * error
    # Pixels that share a quarter, a block, or neither: 0.5 with no covariance.
    pixels = 2 * x[..., 0] - 1
    by_law = (2 * every - 1).reshape(-1, 16)
    covariance = by_law.T @ (by_law * p[:, None])
    for i, j in itertools.product(range(2), repeat=2):
        corner = pixels[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].reshape(-1, 16)
        found = corner.T @ corner / len(x)
        np.testing.assert_allclose(found, covariance, atol=4.5 / np.sqrt(len(x)))
    apart = pixels[:, :4, :4].reshape(-1, 16).T @ pixels[:, 4:, :4].reshape(-1, 16)
    assert (np.abs(apart) / len(x) < 4.5 / np.sqrt(len(x))).all()


def test_the_data_set_is_the_same_for_everybody(tmp_path):
    d = data.load("blocks", limit=20, seed=5)
    assert d.x_train.shape == (20, 8, 8, 1) and d.x_test.shape == (10_000, 8, 8, 1)
    assert set(np.unique(d.x_test)) == {0, 1} and d.binarize == "static"
    assert "differ" not in d.description and d.x_valid is None
    whole = data.load("blocks")
    assert whole.checksum == data.load("blocks", tmp_path, seed=1).checksum


@pytest.mark.parametrize("x", [np.zeros((2, 64)), np.full((1, 8, 8, 1), 0.5)])
def test_other_images_have_no_probability(x):
    with pytest.raises(ValueError, match="x must be"):
        blocks.log_prob(x)
