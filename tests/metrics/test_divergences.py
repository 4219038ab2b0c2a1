"""Divergences of laws that are known, from their samples."""

import math

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from echo_keras.metrics import divergence

N, D = 4000, 16


def normal(n=N, d=D, seed=0):
    return np.random.RandomState(seed).normal(size=(n, d))


def of_scale(scale):
    """KL[N(0, scale^2 I) || N(0, I)]."""
    return D * (0.5 * (scale**2 - 1) - math.log(scale))


@pytest.mark.parametrize(
    ("scale", "shift", "true"),
    [
        (0.7, 0.0, 1.63),
        (0.5, 0.0, 5.09),
        (1.0, math.sqrt(3.2 / D), 1.6),
        (1.0, math.sqrt(10.2 / D), 5.1),
    ],
)
def test_gaussians_of_known_divergence(scale, shift, true):
    assert true == pytest.approx(of_scale(scale) + D * shift**2 / 2, abs=0.01)
    found = divergence(scale * normal() + shift, normal(seed=1))
    assert not found["lower_bound"]
    # What the discriminator leaves out, and the noise.
    assert abs(found["kl"] - true) < 0.1 * true + 3 * found["kl_se"]
    assert 0.01 < found["kl_se"] < 0.3
    assert 0.2 < found["js"] < math.log(2)


@pytest.mark.parametrize(("scale", "shift"), [(0.3, 0.0), (2.0, 0.0), (1.0, 1.2247)])
def test_what_no_sample_resolves_is_bounded_from_below(scale, shift):
    true = of_scale(scale) + D * shift**2 / 2
    assert true > math.log(N) + 3
    found = divergence(scale * normal() + shift, normal(seed=1))
    assert found["lower_bound"] and math.isnan(found["kl_se"])
    assert 3.0 < found["kl"] < math.log(N)


def test_separate_laws_are_bounded_by_what_as_many_samples_can_say():
    found = divergence(normal() + 100, normal(seed=1), LogisticRegression())
    # By hand: all N of one side and none of the other, of 82 intervals at 95 %.
    wrong = 0.05 / 82
    p, q = wrong ** (1 / N), 1 - wrong ** (1 / N)
    expected = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert found["lower_bound"] and found["kl"] == pytest.approx(expected, rel=1e-6)
    assert found["js"] == pytest.approx(math.log(2), abs=1e-3)


@pytest.mark.parametrize("n", [400, N])
def test_the_same_law_has_no_divergence(n):
    found = divergence(normal(n), normal(n, seed=1))
    assert abs(found["kl"]) < 4 * found["kl_se"] + 0.01
    assert abs(found["js"]) < 4 * found["js_se"] + 0.01
    assert not found["lower_bound"]


def test_the_error_is_the_spread_over_samples():
    found = [
        divergence(
            normal(300, 1, 2 * s) + 1.0, normal(300, 1, 2 * s + 1), LogisticRegression()
        )
        for s in range(60)
    ]
    for name, true in (("kl", 0.5), ("js", 0.1106)):
        value, error = np.transpose([(f[name], f[f"{name}_se"]) for f in found])
        assert np.mean(value) == pytest.approx(true, rel=0.1)
        assert np.mean(error) == pytest.approx(np.std(value), rel=0.3)


def test_quantized_codes_are_infinitely_far_from_a_density():
    codes = np.random.RandomState(0).choice(np.linspace(-2, 2, 16), size=(500, 3))
    found = divergence(codes, normal(500, 3))
    assert found["kl"] == math.inf and not found["lower_bound"]
    # Two discrete laws on the same values are not; nor is one code of many constant.
    fair, biased = (np.random.RandomState(1).rand(4000, 1) < p for p in (0.5, 0.8))
    expected = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    found = divergence(biased, fair, LogisticRegression())["kl"]
    assert found == pytest.approx(expected, abs=0.05)
    half = normal(500, 2)
    half[:, 1] = np.maximum(half[:, 1], 0)
    assert divergence(half, normal(500, 2, 1))["kl"] == math.inf
    assert divergence(normal(500, 2, 1), half)["kl"] < math.inf


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("other", ["float32", "same"])
def test_the_grid_of_half_precision_is_no_law(dtype, other):
    a = keras.ops.cast(normal(500, 2), dtype)
    b = keras.ops.cast(normal(500, 2, 1), dtype if other == "same" else other)
    for found in (divergence(a, b), divergence(b, a)):
        assert abs(found["kl"]) < 4 * found["kl_se"] + 0.01
    # What is far apart in it still is.
    far = divergence(keras.ops.cast(normal(500, 1) + 1.0, dtype), normal(500, 1, 1))
    assert far["kl"] == pytest.approx(0.5, abs=0.2)


def test_each_sample_is_scored_by_a_discriminator_that_never_saw_it():
    # One that knows its samples by heart, and nothing else.
    class Memory(LogisticRegression):
        def fit(self, x, y):
            self.known = {tuple(row): label for row, label in zip(x, y, strict=True)}
            return self

        def predict_proba(self, x):
            p = [self.known.get(tuple(row), 0.5) for row in x]
            return np.stack([1 - np.array(p), p], axis=1)

    found = divergence(normal(200, 2), normal(200, 2, 1), Memory())
    assert found["kl"] == pytest.approx(0, abs=1e-12)


@pytest.mark.core
def test_images_of_another_brightness():
    random = np.random.RandomState(0)

    def images(p, n=600):
        return (random.rand(n, 8, 8, 1) < p).astype("float32")

    true = 64 * (0.33 * math.log(0.33 / 0.25) + 0.67 * math.log(0.67 / 0.75))
    found = divergence(images(0.33), images(0.25), folds=2)
    # Of few images the network learns a part: from below.
    assert 0.25 * true < found["kl"] < true + 3 * found["kl_se"]
    again = divergence(images(0.3), images(0.3), folds=2)
    assert abs(again["kl"]) < 0.05


@pytest.mark.parametrize(
    ("a", "b", "folds", "says"),
    [
        (np.zeros((90, 2)), np.zeros((90, 3)), 5, r"\(90, 2\) and \(90, 3\)"),
        (np.zeros((90, 2, 2)), np.zeros((90, 2, 2)), 5, r"of one shape"),
        (np.zeros((90, 2)), np.zeros((19, 2)), 2, "at least 20 samples"),
        (np.full((90, 2), np.nan), np.zeros((90, 2)), 5, "finite"),
        (np.zeros((90, 2)), np.zeros((90, 2)), 1, "Received: folds=1"),
    ],
)
def test_what_are_no_samples(a, b, folds, says):
    with pytest.raises(ValueError, match=says):
        divergence(a, b, folds=folds)
