"""Tests of corruptions, labelled subsets and accuracies on codes."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from echo_keras.layers import GaussianBottleneck
from echo_keras.metrics import representation
from echo_keras.metrics.robustness import (
    CORRUPTIONS,
    KINDS,
    corrupt,
    stratified_subset,
    svm_accuracy,
)


def flat(images):
    return images.reshape(len(images), -1)


def images(n=100, shape=(4, 5, 3), seed=0):
    return np.random.RandomState(seed).random_sample((n, *shape))


# Corruptions


@pytest.mark.parametrize("amount", [0.2, 3.0])
def test_gaussian_noise_has_its_variance(amount):
    # 60,000 numbers. Standard errors: of the mean sigma / sqrt(n), of the variance
    # sigma^2 sqrt(2 / n), of a correlation of neighbours 1 / sqrt(n).
    x = images(1000)
    found = corrupt(x, "gaussian", amount)
    assert found.dtype == np.float32 and found.shape == x.shape
    noise, n = (found - x) / amount, x.size
    assert abs(noise.mean()) < 4.5 / math.sqrt(n)
    assert abs(noise.var() - 1) < 4.5 * math.sqrt(2 / n)
    for axis in range(4):
        left, right = np.delete(noise, 0, axis), np.delete(noise, -1, axis)
        assert abs((left * right).mean()) < 4.5 / math.sqrt(left.size)
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-4
    # Not clipped.
    assert found.min() < 0 and found.max() > 1


@pytest.mark.parametrize("amount", [0.2, 0.5, 0.9])
def test_pixels_are_masked_in_all_channels(amount):
    x = images(1000) + 1.0
    found = corrupt(x, "mask", amount)
    assert found.dtype == np.float32 and found.shape == x.shape
    masked = found == 0
    assert (masked == masked[..., :1]).all()
    np.testing.assert_array_equal(found[~masked], x.astype("float32")[~masked])
    # 20,000 pixels: below 1e-4, or the fraction is another.
    n, count = masked[..., 0].size, int(masked[..., 0].sum())
    assert stats.binomtest(count, n, amount).pvalue > 1e-4
    # And the images differ in how many, as independent draws do: 20 pixels each.
    spread = masked[..., 0].sum((1, 2)).var() / (20 * amount * (1 - amount))
    assert abs(spread - 1) < 4.5 * math.sqrt(2 / 1000) * 1.1


@pytest.mark.parametrize("kind", KINDS)
def test_amount_zero_and_seeds(kind):
    x = images(20)
    kept = x.copy()
    np.testing.assert_array_equal(corrupt(x, kind, 0.0), x.astype("float32"))
    one = corrupt(x, kind, 0.5, seed=1)
    np.testing.assert_array_equal(corrupt(x, kind, 0.5, seed=1), one)
    assert np.abs(corrupt(x, kind, 0.5, seed=2) - one).max() > 0.1
    np.testing.assert_array_equal(x, kept)
    same = x.astype("float32")
    assert not np.shares_memory(corrupt(same, kind, 0.0), same)


def test_one_seed_has_one_noise():
    x = images(20) + 1.0
    less, more = corrupt(x, "mask", 0.2), corrupt(x, "mask", 0.5)
    assert (more[less == 0] == 0).all()
    assert (corrupt(x, "mask", 1.0) == 0).all()
    less, more = corrupt(x, "gaussian", 0.1) - x, corrupt(x, "gaussian", 0.2) - x
    np.testing.assert_allclose(more, 2 * less, atol=1e-5)


X = np.full((4, 2, 2, 1), 0.5)


@pytest.mark.parametrize(
    "x, kind, amount, sentence",
    [
        (X[..., 0], "mask", 0.5, r"\(n, h, w, c\), .* Received: shape \(4, 2, 2\)"),
        (X.astype(str), "mask", 0.5, "x must be real numbers of shape"),
        (X * np.nan, "gaussian", 0.5, "x must be finite"),
        (X, "salt", 0.5, "kind must be one of gaussian, mask. Received: kind='salt'"),
        (
            X,
            "gaussian",
            -0.1,
            "amount must .* number >= 0. Received: amount=-0.1",
        ),
        (X, "gaussian", math.inf, "finite number >= 0. Received: amount=inf"),
        (X, "gaussian", math.nan, "finite number >= 0. Received: amount=nan"),
        (X, "mask", -0.1, r"amount must be a number in \[0, 1\]"),
        (X, "mask", 1.1, r"in \[0, 1\]. Received: amount=1.1"),
        (X, "mask", math.nan, r"in \[0, 1\]. Received: amount=nan"),
    ],
)
def test_bad_corruptions_raise(x, kind, amount, sentence):
    with pytest.raises(ValueError, match=sentence):
        corrupt(x, kind, amount)


# Labelled examples


@settings(max_examples=100, deadline=None)
@given(
    y=hnp.arrays("int64", st.integers(2, 40), elements=st.integers(-2, 3)),
    n=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_subset_has_the_classes_frequencies_or_raises(y, n, seed):
    classes, counts = np.unique(y, return_counts=True)
    possible = n == len(y) or (
        counts.min() >= 2 and len(classes) <= n <= len(y) - len(classes)
    )
    if not possible:
        with pytest.raises(ValueError, match="n must take and leave an example"):
            stratified_subset(y, n, seed)
        return
    rows = stratified_subset(y, n, seed)
    assert len(rows) == n and (np.diff(rows) > 0).all()
    drawn = np.array([(y[rows] == c).sum() for c in classes])
    assert (np.abs(drawn - n * counts / len(y)) < 1).all()
    np.testing.assert_array_equal(stratified_subset(y, n, seed), rows)


def test_examples_of_a_subset_are_drawn_uniformly():
    # 2 of the 10 of class 0 each time, and 8 of the 40 of class 1.
    y = np.repeat([0, 1], [10, 40])
    counts = np.zeros(50)
    for seed in range(300):
        counts[stratified_subset(y, 10, seed)] += 1
    assert counts[:10].sum() == 600
    for part in (counts[:10], counts[10:]):
        assert stats.chisquare(part).pvalue > 1e-4


def test_bad_subsets_raise():
    with pytest.raises(ValueError, match=r"take and leave .* n=3 of 6 .*least popul"):
        stratified_subset(list("aaaaab"), 3)
    with pytest.raises(ValueError, match="n must be an integer >= 1. Received: n=2.5"):
        stratified_subset([0, 0, 1, 1], 2.5)
    with pytest.raises(ValueError, match=r"m >= 1. Received: shape \(2, 2\)"):
        stratified_subset([[0, 0], [1, 1]], 2)


# Accuracies


def blobs(n, seed=0):
    """Images of one of three classes, one pixel each; far apart."""
    y = np.random.RandomState(seed).randint(3, size=n)
    x = 0.01 * images(n, (1, 3, 1), seed)
    x[np.arange(n), 0, y, 0] += 0.9
    return x, np.array(["a", "b", "c"])[y]


def test_separable_codes_are_classified():
    train, test = blobs(60), blobs(200, seed=1)
    found = svm_accuracy(flat, *train, *test, corruptions=[("mask", 1.0)])
    assert list(found) == ["clean", "clean_se", "mask 1", "mask 1_se"]
    assert all(type(value) is float for value in found.values())
    assert (found["clean"], found["clean_se"]) == (1.0, 0.0)
    # Black images are all of the same class.
    share = [(test[1] == name).mean() for name in "abc"]
    assert min(abs(found["mask 1"] - p) for p in share) < 1e-12
    p = found["mask 1"]
    assert found["mask 1_se"] == pytest.approx(math.sqrt(p * (1 - p) / 200))


def test_shuffled_labels_are_chance():
    x, y = blobs(300)
    rng = np.random.RandomState(2)
    test_x, test_y = blobs(1000, seed=1)
    # Test labels shuffled: hits are 1000 draws at about 1 / 3, and fewer than 1 in
    # 10,000 seeds is off by 4 standard errors of 0.015.
    found = svm_accuracy(flat, x, y, test_x, rng.permutation(test_y), corruptions=())
    assert abs(found["clean"] - 1 / 3) < 4 * 0.015
    assert found["clean_se"] == pytest.approx(0.015, rel=0.05)


def test_it_is_the_machine_of_scikit_learn_on_standardized_codes():
    x, y = blobs(80)
    x, y = np.concatenate([x, x[::-1]]), np.concatenate([y, np.roll(y, 1)])
    test_x, test_y = blobs(90, seed=1)
    represent = lambda images: flat(images) * [1e-3, 1.0, 1e3] + 5  # noqa: E731
    scaler = StandardScaler().fit(represent(x.astype("float32")))
    machine = SVC(C=0.3, gamma=2.0).fit(
        scaler.transform(represent(x.astype("float32"))), y
    )
    found = svm_accuracy(
        represent, x, y, test_x, test_y, seed=5, batch_size=7, C=0.3, gamma=2.0
    )
    assert len(found) == 2 + 2 * len(CORRUPTIONS)
    for kind, amount in (*CORRUPTIONS, ("gaussian", 0.0)):
        codes = represent(corrupt(test_x, kind, amount, seed=5))
        name = f"{kind} {amount}" if amount else "clean"
        expected = machine.score(scaler.transform(codes), test_y)
        assert found[name] == pytest.approx(expected, abs=1e-12), name


def test_labelled_sets_are_drawn_and_their_spread_is_told():
    (x, y), test = blobs(200), blobs(100, seed=1)
    flipped = np.roll(y, 1)  # labels that say little, so that sets differ
    found = svm_accuracy(flat, x, flipped, *test, (), seed=3, labelled=12, draws=4)
    alone = []
    for seed in range(3, 7):
        rows = stratified_subset(flipped, 12, seed)
        one = svm_accuracy(flat, x[rows], flipped[rows], *test, ())
        alone.append(one["clean"])
    assert found["clean"] == pytest.approx(np.mean(alone))
    assert found["clean_sd"] == pytest.approx(np.std(alone, ddof=1))
    assert found["clean_sd"] > 0
    with pytest.raises(ValueError, match="draws must be an integer >= 1"):
        svm_accuracy(flat, x, y, *test, draws=0)


def test_samples_and_means_of_codes_are_told_apart():
    # The mean tells the class, the sample is nothing but noise of variance 100.
    inputs = keras.Input((1, 3, 1))
    h = keras.layers.Flatten()(inputs)
    z = GaussianBottleneck(3, noise_variance=100.0, beta=0.0, seed=0)(h)
    model = keras.Model(inputs, keras.layers.Dense(3)(z))
    model.layers[-2].heads[0].set_weights([np.eye(3), np.zeros(3)])
    train, test = blobs(100), blobs(600, seed=1)
    mean, sampled = (
        svm_accuracy(representation(model, noisy), *train, *test, ())["clean"]
        for noisy in (False, True)
    )
    # A third, within 4 standard errors of 0.019.
    assert mean == 1.0 and abs(sampled - 1 / 3) < 4 * 0.019


def test_noise_costs_accuracy():
    train, test = blobs(60), blobs(500, seed=1)
    noisy = [("gaussian", 0.2), ("gaussian", 1.0), ("gaussian", 100.0)]
    found = svm_accuracy(flat, *train, *test, corruptions=noisy)
    assert found["clean"] >= found["gaussian 0.2"] > found["gaussian 1"] + 0.1
    # Noise alone: one class in three, 4 standard errors of 0.021.
    assert abs(found["gaussian 100"] - 1 / 3) < 4 * 0.021


@pytest.mark.parametrize(
    "changed, sentence",
    [
        ({"x_train": X[..., 0]}, r"x_train must have shape .* Received: \(4, 2, 2\)"),
        ({"y_train": [0, 1]}, r"y_train shape \(n,\). Received: .* and \(2,\)"),
        (
            {"x_test": X[:0], "y_test": []},
            "x_test must be an array .* at least one number",
        ),
        ({"y_train": [1] * 4}, "y_train must hold at least two classes"),
        ({"represent": lambda x: x}, "represent must make vectors of shape"),
        ({"represent": lambda x: flat(x) * np.nan}, "represent must be finite"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1"),
        ({"corruptions": [("salt", 1.0)]}, "Received: kind='salt'"),
        ({"corruptions": [("mask", 2.0)]}, "amount must be a number in"),
        ({"corruptions": [("mask", 0.5)] * 2}, "Received: mask 0.5 twice"),
    ],
)
def test_bad_arguments_raise(changed, sentence):
    arguments = {"represent": flat, "x_train": X, "y_train": [0, 1, 0, 1]}
    arguments |= {"x_test": X, "y_test": [0, 1, 0, 1]}
    with pytest.raises(ValueError, match=sentence):
        svm_accuracy(**arguments | changed)


def test_codes_of_a_model_through_its_representation():
    inputs = keras.Input((1, 3, 1))
    bottleneck = GaussianBottleneck(2)
    z = bottleneck(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(z))
    train, test = blobs(60), blobs(300, seed=1)
    # The first class at a corner of the code, the two others at another.
    kernel = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    bottleneck.heads[0].set_weights([kernel, np.zeros(2)])
    found = svm_accuracy(representation(model), *train, *test, corruptions=())
    rows = test[1] == "a"
    of_one = svm_accuracy(
        representation(model), *train, test[0][rows], test[1][rows], corruptions=()
    )
    assert of_one["clean"] == 1.0
    # Noise of 0.01 does not tell the others apart: half of about 200.
    others = (found["clean"] * 300 - rows.sum()) / (300 - rows.sum())
    assert abs(others - 0.5) < 4.5 * 0.5 / (300 - rows.sum()) ** 0.5
