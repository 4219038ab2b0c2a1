"""Tests of Frechet distances, features, Parzen windows and neighbours."""

import json
import math

import keras
import numpy as np
import pytest
import scipy.linalg
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import layers, ops
from scipy import stats
from sklearn.neighbors import KernelDensity

from echo_keras import data
from echo_keras.metrics import sample_quality
from echo_keras.metrics.sample_quality import (
    BANDWIDTHS,
    classifier_features,
    fid,
    fid_name,
    frechet_distance,
    inception_features,
    nearest_neighbours,
    parzen_log_likelihood,
)


def flat(images):
    return images.reshape(len(images), -1)


def random_covariance(k, seed, rank=None):
    x = np.random.RandomState(seed).normal(size=(rank or 2 * k, k))
    return x.T @ x / len(x)


def rotation(k, seed):
    return np.linalg.qr(np.random.RandomState(seed).normal(size=(k, k)))[0]


# Frechet distance


def test_diagonal_covariances():
    a, b = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.01])
    mean_a, mean_b = np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 5.0])
    expected = 5.0 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    found = frechet_distance(mean_a, np.diag(a), mean_b, np.diag(b))
    assert type(found) is float
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_covariances_that_commute():
    q, rng = rotation(6, 0), np.random.RandomState(1)
    a, b = rng.random_sample((2, 6)) + 0.1
    found = frechet_distance(np.zeros(6), (q * a) @ q.T, np.zeros(6), (q * b) @ q.T)
    np.testing.assert_allclose(found, ((a**0.5 - b**0.5) ** 2).sum(), rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_covariances_that_do_not_commute(seed):
    a, b = random_covariance(8, seed), random_covariance(8, seed + 10)
    # Two other ways: eigenvalues of A^(1/2) B A^(1/2), and the root as it is printed.
    root = scipy.linalg.sqrtm(a)
    cross = np.sqrt(np.linalg.eigvalsh(root @ b @ root)).sum()
    printed = np.trace(scipy.linalg.sqrtm(a @ b)).real
    np.testing.assert_allclose(cross, printed, rtol=1e-9)
    expected = np.trace(a) + np.trace(b) - 2 * cross
    found = frechet_distance(np.zeros(8), a, np.zeros(8), b)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # Had they commuted, it would be something else.
    apart = (np.sqrt(np.linalg.eigvalsh(a)) - np.sqrt(np.linalg.eigvalsh(b))) ** 2
    assert abs(found / apart.sum() - 1) > 0.1


def test_rotations_and_shifts_of_both_do_not_matter():
    a, b, q = random_covariance(5, 0), random_covariance(5, 1), rotation(5, 2)
    means = np.random.RandomState(3).normal(size=(2, 5))
    expected = frechet_distance(means[0], a, means[1], b)
    moved = means @ q.T + 7.0
    found = frechet_distance(moved[0], q @ a @ q.T, moved[1], q @ b @ q.T)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    turned = frechet_distance(means[0], a, means[1], q @ b @ q.T)
    assert abs(turned - expected) > 0.1


@pytest.mark.parametrize("rank", [1, 3, 20])
def test_identical_and_exchanged(rank):
    a, b = random_covariance(20, 0, rank), random_covariance(20, 1)
    mean = np.arange(20.0)
    assert 0 <= frechet_distance(mean, a, mean, a) < 1e-10
    one, two = frechet_distance(mean, a, -mean, b), frechet_distance(-mean, b, mean, a)
    np.testing.assert_allclose(one, two, rtol=1e-12)


def test_singular_covariances():
    # Two lines that cross at 60 degrees: tr + tr - 2 |<u, v>|.
    u, v = np.array([1.0, 0.0]), np.array([0.5, math.sqrt(0.75)])
    zero = np.zeros(2)
    lines = frechet_distance(zero, np.outer(u, u), zero, np.outer(v, v))
    np.testing.assert_allclose(lines, 1.0, rtol=1e-7)
    # At 90 degrees the product is nilpotent or zero, and has no root that is of use.
    crossed = frechet_distance(zero, np.diag([1.0, 0.0]), zero, np.diag([0.0, 4.0]))
    np.testing.assert_allclose(crossed, 5.0, rtol=1e-12)
    # From a point, all of the spread counts.
    b = random_covariance(30, 0, rank=4)
    point = frechet_distance(np.zeros(30), np.zeros((30, 30)), np.zeros(30), b)
    np.testing.assert_allclose(point, np.trace(b), rtol=1e-10)


@settings(max_examples=50, deadline=None)
@given(
    k=st.integers(1, 6),
    ranks=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    scale=st.floats(-12, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_real_and_not_negative_at_any_rank_and_scale(k, ranks, scale, seed):
    rng = np.random.RandomState(seed)
    x, y = (10.0**scale * rng.normal(size=(rank, k)) for rank in ranks)
    found = frechet_distance(x.mean(0), x.T @ x, y.mean(0), y.T @ y)
    assert isinstance(found, float) and math.isfinite(found) and found >= 0
    # Between the difference of the spreads and their sum (Cauchy and Schwarz).
    a, b = np.linalg.norm(x), np.linalg.norm(y)
    found -= np.sum((x.mean(0) - y.mean(0)) ** 2)
    assert (a - b) ** 2 - 1e-6 * (a + b) ** 2 <= found <= (1 + 1e-6) * (a**2 + b**2)


def test_float32_covariances_are_good_enough():
    a = random_covariance(50, 0, rank=5).astype("float32")
    assert np.linalg.eigvalsh(a)[0] < 0  # by rounding
    assert frechet_distance(np.zeros(50), a, np.zeros(50), a) < 1e-5 * np.trace(a)


EYE, ZERO = np.eye(2), np.zeros(2)


@pytest.mark.parametrize(
    "moments, sentence",
    [
        ((ZERO, EYE, np.zeros(3), np.eye(3)), "as many dimensions, found 2 and 3"),
        ((ZERO, np.eye(3), ZERO, EYE), r"cov_a of shape \(k, k\), found \(2,\) and"),
        ((ZERO, EYE, ZERO[None], EYE), r"mean_b of shape \(k,\)"),
        ((np.zeros(0), np.zeros((0, 0)), ZERO, EYE), "k >= 1"),
        ((ZERO, EYE, np.array([0, np.nan]), EYE), "in mean_b or cov_b"),
        ((ZERO, np.full((2, 2), np.inf), ZERO, EYE), "in mean_a or cov_a"),
        ((ZERO, -EYE, ZERO, EYE), "cov_a to be symmetric without .* eigenvalue -1;"),
        ((ZERO, EYE, ZERO, np.array([[1, 0.5], [0, 1]])), "cov_b .* found 0.25"),
    ],
)
def test_bad_moments_raise(moments, sentence):
    with pytest.raises(ValueError, match=sentence):
        frechet_distance(*moments)


# FID


def gaussian_images(n, mean, deviations, seed):
    """Far enough from 0 and 1 never to reach them."""
    x = np.random.RandomState(seed).normal(size=(n, 2, 2, 1))
    return mean + x * np.reshape(deviations, (2, 2, 1))


def test_fid_of_identical_sets_is_zero():
    x = gaussian_images(20, 0.5, [0.05] * 4, 0)
    assert 0 <= fid(flat, x, x) < 1e-15
    # Fewer images than features: singular covariances.
    assert 0 <= fid(flat, x[:3], x[[2, 0, 1]]) < 1e-15


def test_fid_of_two_gaussians():
    # Of a pixel with means d apart and standard deviations s and t, to first order:
    # the square of the sample means' difference has the variance 4 d^2 (s^2 + t^2) / n,
    # and that of the sample deviations' 2 (s - t)^2 (s^2 + t^2) / n. The bias is of
    # order k^2 s^2 / n.
    n, d, s, t = 20_000, 0.02, np.array([0.02, 0.04, 0.06, 0.08]), np.array([0.05] * 4)
    real, generated = gaussian_images(n, 0.5, s, 0), gaussian_images(n, 0.5 + d, t, 1)
    expected = (d**2 + (s - t) ** 2).sum()
    variance = (4 * d**2 + 2 * (s - t) ** 2) * (s**2 + t**2) / n
    error = 4.5 * math.sqrt(variance.sum()) + 4**2 * 0.08**2 / n
    assert error < 0.1 * expected  # or it would be no test
    assert abs(fid(flat, real, generated) - expected) < error


def test_fid_is_the_distance_of_sample_moments():
    x = np.random.RandomState(0).random_sample((30, 2, 2, 3)).astype("float32")
    y = np.random.RandomState(1).random_sample((40, 2, 2, 3)).astype("float32") ** 2
    moments = []
    for images in (flat(x).astype("float64"), flat(y).astype("float64")):
        apart = images - images.mean(0)
        moments += [images.mean(0), apart.T @ apart / (len(images) - 1)]
    expected = frechet_distance(*moments)
    for batch_size in (1, 7, 100):
        assert fid(flat, x, y, batch_size) == pytest.approx(expected, rel=1e-9)


def test_one_feature():
    x = gaussian_images(50, 0.5, [0.01] * 4, 0)
    y = gaussian_images(50, 0.6, [0.05] * 4, 1)
    a, b = (images[:, 0, 0, 0].astype("float32").astype("float64") for images in (x, y))
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    found = fid(lambda images: images[:, 0, 0], x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.core
def test_features_may_be_a_model_of_keras():
    x, y = (gaussian_images(15, m, [0.05] * 4, 0) for m in (0.4, 0.5))
    model = keras.Sequential(
        [keras.Input((2, 2, 1)), layers.Flatten(), layers.Dense(3)], name="dense"
    )
    weights = model.get_weights()[0]
    found = fid(model, x, y, batch_size=10)
    # The second set is the first, shifted.
    np.testing.assert_allclose(found, np.sum((0.1 * weights.sum(0)) ** 2), rtol=1e-4)
    assert fid_name(model) == "FID-dense"
    # A function may return a tensor.
    of_tensors = fid(lambda images: ops.reshape(images, (-1, 4)), x, y)
    assert of_tensors == pytest.approx(0.04, rel=1e-5)


X = np.full((4, 2, 2, 1), 0.5)


@pytest.mark.parametrize(
    "features, real, generated, batch_size, sentence",
    [
        (flat, X[:1], X, 10, "real: expected at least 2 images, found 1"),
        (flat, X, X[:1], 10, "generated: expected at least 2 images, found 1"),
        (flat, X, X[:, :1], 10, r"generated: .* \(n, 2, 2, 1\), found \(4, 1, 2, 1\)"),
        (flat, X * 3, X, 10, r"real: expected pixels in \[0, 1\]"),
        (flat, X, X * np.nan, 10, "generated: expected pixels .* found NaN"),
        (flat, X, X, 0, "batch_size to be an integer >= 1, found 0"),
        (flat, X, X, 1.5, "batch_size to be an integer >= 1, found 1.5"),
        (lambda x: x, X, X, 3, r"shape \(3, k\), k >= 1, found \(3, 2, 2, 1\)"),
        (lambda x: flat(x)[:1], X, X, 10, r"shape \(4, k\), k >= 1, found \(1, 4\)"),
        (lambda x: flat(x)[:, :0], X, X, 10, r"found \(4, 0\)"),
        (lambda x: flat(x) * np.inf, X, X, 10, "features to be finite, found NaN or"),
    ],
)
def test_bad_features_or_images_raise(features, real, generated, batch_size, sentence):
    with pytest.raises(ValueError, match=sentence):
        fid(features, real, generated, batch_size)


def test_names_of_distances():
    assert fid_name(flat) == "FID-flat"
    for nameless in (lambda x: x, 3, None):
        with pytest.raises(ValueError, match="expected features with a name"):
            fid_name(nameless)


# Features of a classifier


@pytest.fixture
def digits():
    return data.load("digits", limit=600)


SMALL = {"epochs": 4, "width": 8, "learning_rate": 5e-3}


@pytest.mark.core
def test_a_classifier_of_digits_is_kept(digits, tmp_path, monkeypatch):
    x, y = digits.x_train, digits.y_train
    folder = tmp_path / "new" / "features"
    features, accuracy = classifier_features(x, y, "digits", folder, **SMALL)
    # Ten classes; 0.1 is chance. 60 images: one standard error below 0.8 is 0.05.
    assert accuracy >= 0.8
    assert accuracy * 60 == pytest.approx(round(accuracy * 60))
    assert features.name == "digits" and fid_name(features) == "FID-digits"
    assert {file.name for file in folder.iterdir()} == {"digits.keras", "digits.json"}
    assert json.loads((folder / "digits.json").read_text())["accuracy"] == accuracy
    found = features.predict_on_batch(x[:5])
    assert found.shape == (5, 64) and found.min() >= 0

    # Images of the same law are nearer than others.
    half = fid(features, x[:300], x[300:])
    assert 5 * half < fid(features, x[:300], 1 - x[300:])

    def train(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr(sample_quality, "_train_classifier", train)
    loaded, again = classifier_features(x, y, "digits", folder, **SMALL)
    assert again == accuracy and loaded.name == "digits"
    np.testing.assert_allclose(
        loaded.predict_on_batch(x[:5]), found, rtol=1e-5, atol=1e-6
    )

    turned = y.copy()
    turned[0] = (y[0] + 1) % 10
    for images, labels, arguments, sentence in (
        (
            x[:, :20],
            y,
            SMALL,
            r"made with image_shape \[20, 28, 1\], found \[28, 28, 1",
        ),
        (x[:-1], y[:-1], SMALL, "made with images 599, found 600"),
        (x[::-1], y[::-1], SMALL, "made with checksum"),
        (x, turned, SMALL, "made with checksum"),
        (x, y, SMALL | {"epochs": 5}, "made with epochs 5, found 4"),
        (x, y, SMALL | {"width": 9}, "made with width 9, found 8"),
        (x, y, SMALL | {"seed": 1}, "made with seed 1, found 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            classifier_features(images, labels, "digits", folder, **arguments)
    content = (folder / "digits.keras").read_bytes()
    (folder / "digits.keras").write_bytes(content[:-1000])
    with pytest.raises(ValueError, match="expected a Keras model, found damage"):
        classifier_features(x, y, "digits", folder, **SMALL)
    (folder / "digits.json").write_text("{}")
    with pytest.raises(ValueError, match="expected digits.json beside it"):
        classifier_features(x, y, "digits", folder, **SMALL)
    (folder / "digits.json").unlink()
    with pytest.raises(ValueError, match="expected digits.json beside it"):
        classifier_features(x, y, "digits", folder, **SMALL)


def stripes(n, seed=0):
    """Images of which one of two pixels is white."""
    y = np.random.RandomState(seed).randint(2, size=n)
    return np.eye(2)[y].reshape(n, 2, 1, 1), y


TINY = {"epochs": 1, "width": 2, "batch_size": 10, "learning_rate": 0.1}


def test_the_seed_alone_decides():
    x, y = stripes(40)
    keras.utils.set_random_seed(1)
    one = classifier_features(x, y, "one", **TINY)[0].predict_on_batch(x)
    keras.utils.set_random_seed(2)
    two = classifier_features(x, y, "two", **TINY)[0].predict_on_batch(x)
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)
    other = classifier_features(x, y, "other", seed=1, **TINY)[0].predict_on_batch(x)
    assert np.abs(one - other).max() > 1e-3


def test_a_tenth_is_held_out_and_the_others_are_shuffled(monkeypatch):
    x = np.random.RandomState(0).random_sample((57, 4, 4, 1)).astype("float32")
    y = np.random.RandomState(1).choice([-3, 1000], size=57)
    seen = []

    def fit(self, x, y, *arguments, **others):
        seen.append((self, x, y))

    monkeypatch.setattr(keras.Model, "fit", fit)
    _, accuracy = classifier_features(x, y, "noise", epochs=3, seed=4)
    assert len(seen) == 3
    epochs = []
    for _, images, labels in seen:
        same = (images[:, None] == x).all((2, 3, 4))
        assert (same.sum(axis=1) == 1).all()
        rows = np.argmax(same, axis=1)
        np.testing.assert_array_equal(np.array([-3, 1000])[labels], y[rows])
        epochs.append(rows)
    for rows in epochs:
        assert len(rows) == 52 and set(rows) == set(epochs[0])
    assert (epochs[0] != epochs[1]).any() and (epochs[1] != epochs[2]).any()
    held_out = np.setdiff1d(np.arange(57), rows)
    logits = seen[0][0].predict_on_batch(x[held_out])
    right = np.array([-3, 1000])[np.argmax(logits, axis=1)] == y[held_out]
    assert len(right) == 5 and accuracy == right.mean()


def test_bad_arguments_of_the_classifier_raise():
    x, y = stripes(10)
    for images, labels, changed, sentence in (
        (x, y[:9], {}, r"expected y of shape \(10,\) .* found shape \(9,\)"),
        (x, y.astype(float), {}, "integer classes, .* dtype float64"),
        (x[:9], y[:9], {}, "at least 10 images"),
        (x, np.zeros(10, int), {}, "at least two classes to tell apart, found 1"),
        (x + 1, y, {}, r"expected pixels in \[0, 1\]"),
        (x, y, {"name": "../escape"}, "name of letters, digits"),
        (x, y, {"name": ""}, "name of letters, digits"),
        (x, y, {"name": ".hidden"}, "name of letters, digits"),
        (x, y, {"epochs": 0}, "epochs to be an integer >= 1, found 0"),
        (x, y, {"batch_size": 0.5}, "batch_size to be an integer >= 1"),
        (x, y, {"width": -1}, "width to be an integer >= 1"),
        (x, y, {"learning_rate": 0.0}, "finite learning_rate > 0, found 0.0"),
        (x, y, {"learning_rate": math.nan}, "finite learning_rate > 0, found nan"),
    ):
        with pytest.raises(ValueError, match=sentence):
            classifier_features(images, labels, **({"name": "n"} | changed))


# Features of Inception


@pytest.fixture
def shown(monkeypatch):
    """In place of InceptionV3, a network whose output is what it is shown."""
    asked = {}

    def stand_in(**arguments):
        asked.update(arguments)
        return keras.Sequential([keras.Input((299, 299, 3)), layers.Flatten()])

    monkeypatch.setattr(keras.applications, "InceptionV3", stand_in)

    def show(images, **arguments):
        model = inception_features(images.shape[1:], **arguments)
        assert model.name == ("inception" if not arguments else "inception_untrained")
        return model.predict_on_batch(images).reshape(len(images), 299, 299, 3)

    return show, asked


@pytest.mark.core
def test_inception_sees_images_of_its_size_and_range(shown):
    show, asked = shown
    colour = np.random.RandomState(0).random_sample((2, 299, 299, 3)).astype("float32")
    np.testing.assert_allclose(show(colour), 2 * colour - 1, atol=1e-6)
    assert asked == {
        "include_top": False,
        "weights": "imagenet",
        "input_shape": (299, 299, 3),
        "pooling": "avg",
    }
    grey = show(colour[..., :1], weights=None)
    assert asked["weights"] is None
    np.testing.assert_allclose(
        grey, np.repeat(2 * colour[..., :1] - 1, 3, 3), atol=1e-6
    )


@pytest.mark.core
def test_inception_sees_small_images_interpolated(shown):
    show, _ = shown
    # A row of two pixels, 0 and 1: linear between their centres, flat outside.
    ramp = np.array([0.0, 1.0], "float32").reshape(1, 1, 2, 1)
    place = (np.arange(299) + 0.5) * 2 / 299 - 0.5
    expected = np.broadcast_to(2 * np.clip(place, 0, 1)[:, None] - 1, (299, 299, 3))
    np.testing.assert_allclose(show(ramp)[0], expected, atol=1e-5)


def test_inception_itself_without_its_weights():
    model = inception_features((8, 8, 1), weights=None)
    assert model.output_shape == (None, 2048)
    # Its own count without the top.
    assert model.count_params() == 21_802_784
    assert not any(isinstance(layer, layers.Lambda) for layer in model.layers)


def test_without_a_network_the_alternative_is_named(monkeypatch):
    def fail(**arguments):
        raise Exception("URL fetch failure on https://example.org")

    monkeypatch.setattr(keras.applications, "InceptionV3", fail)
    with pytest.raises(
        ConnectionError, match="fetch failure.* use classifier_features"
    ):
        inception_features((28, 28, 1))
    with pytest.raises(Exception, match="^URL fetch failure"):
        inception_features((28, 28, 1), weights="some/file.weights.h5")


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 2), (2, 28, 28, 1)])
def test_bad_shapes_for_inception_raise(shape):
    with pytest.raises(ValueError, match="with 1 or 3 channels, found"):
        inception_features(shape)


# Parzen windows


def test_one_sample_is_one_gaussian():
    rng = np.random.RandomState(0)
    sample, x, h = rng.normal(size=(1, 3, 2)), rng.normal(size=(50, 3, 2)), 0.7
    logs = stats.norm.logpdf(x, sample, h).sum((1, 2))
    found = parzen_log_likelihood(sample, x, bandwidth=h)
    assert found == {
        "log_likelihood_parzen": pytest.approx(logs.mean(), rel=1e-10),
        "log_likelihood_parzen_se": pytest.approx(logs.std(ddof=1) / 50**0.5, rel=1e-9),
        "parzen_bandwidth": h,
    }
    assert all(type(value) is float for value in found.values())


def test_many_samples_are_a_kernel_density():
    rng = np.random.RandomState(0)
    samples, x = rng.normal(size=(300, 4)), rng.normal(size=(40, 4))
    for h in (0.02, 0.3, 5.0):
        apart = stats.norm.logpdf(x[:, None], samples, h).sum(2)
        logs = scipy.special.logsumexp(apart, axis=1) - math.log(300)
        found = parzen_log_likelihood(samples, x, bandwidth=h)["log_likelihood_parzen"]
        np.testing.assert_allclose(found, logs.mean(), rtol=1e-9)
    # Scikit-learn's trees approximate where windows are narrow; not here.
    logs = KernelDensity(bandwidth=h, rtol=1e-12).fit(samples).score_samples(x)
    np.testing.assert_allclose(found, logs.mean(), rtol=1e-9)


def test_far_images_do_not_underflow():
    found = parzen_log_likelihood(np.zeros((2, 10)), np.ones((1, 10)), bandwidth=1e-3)
    expected = -10 / 2e-6 - 5 * math.log(2 * math.pi * 1e-6)
    assert found["log_likelihood_parzen"] == pytest.approx(expected, rel=1e-12)
    assert math.isnan(found["log_likelihood_parzen_se"])


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.RandomState(0)
    samples, x = rng.normal(size=(200, 4)), rng.normal(size=(60, 4))
    whole = parzen_log_likelihood(samples, x, bandwidth=0.5)
    chunked, rows = sample_quality.pairwise_distances_chunked, []

    def small(*arguments, reduce_func, working_memory, **others):
        def counted(distances, start):
            rows.append(len(distances))
            return reduce_func(distances, start)

        # A MiB is 131,072 distances: 10 rows of 200.
        memory = 10 * 200 / 131_072
        return chunked(*arguments, reduce_func=counted, working_memory=memory, **others)

    monkeypatch.setattr(sample_quality, "pairwise_distances_chunked", small)
    assert parzen_log_likelihood(samples, x, bandwidth=0.5) == pytest.approx(whole)
    assert rows == [10] * 6


def test_the_bandwidth_is_the_best_on_validation_images():
    # One sample: the best is the root mean square distance per pixel, 0.2.
    rng = np.random.RandomState(0)
    sample, x = np.full((1, 100), 0.5), 0.5 + 0.2 * rng.normal(size=(50, 100))
    found = parzen_log_likelihood(sample, x[:10], validation=x)
    # Neighbours on the grid are a factor of 1.12 apart, the estimate within 3 % at
    # 2 standard deviations.
    assert abs(math.log(found["parzen_bandwidth"] / 0.2)) < math.log(1.12)
    means = [
        parzen_log_likelihood(sample, x, bandwidth=h)["log_likelihood_parzen"]
        for h in BANDWIDTHS
    ]
    assert found["parzen_bandwidth"] == BANDWIDTHS[np.argmax(means)]
    at = parzen_log_likelihood(sample, x[:10], bandwidth=found["parzen_bandwidth"])
    assert found == at


def test_more_samples_of_the_data_take_narrower_windows():
    rng = np.random.RandomState(0)
    validation, x = rng.random_sample((2, 200, 2))
    found = [
        parzen_log_likelihood(rng.random_sample((n, 2)), x, validation=validation)
        for n in (10, 1000)
    ]
    assert found[1]["parzen_bandwidth"] < 0.7 * found[0]["parzen_bandwidth"]
    assert found[1]["log_likelihood_parzen"] > found[0]["log_likelihood_parzen"]
    # The density is 1; a window reaches over the edge, and so stays below.
    assert -0.5 < found[1]["log_likelihood_parzen"] < 0


@pytest.mark.parametrize("validation, h", [(np.zeros((3, 4)), 0.01), (X * 9, 1.0)])
def test_a_bandwidth_at_the_end_of_the_grid_warns(validation, h):
    validation = validation.reshape(len(validation), 4)
    with pytest.warns(UserWarning, match="at the end of those tried"):
        found = parzen_log_likelihood(
            np.zeros((3, 4)), np.zeros((3, 4)), validation=validation
        )
    assert found["parzen_bandwidth"] == pytest.approx(h)


def test_an_unknown_bandwidth_raises():
    with pytest.raises(ValueError, match="either a bandwidth or .* found neither"):
        parzen_log_likelihood(X, X)
    with pytest.raises(ValueError, match="either a bandwidth or .* found both"):
        parzen_log_likelihood(X, X, bandwidth=1.0, validation=X)
    for bandwidth in (0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="expected a finite bandwidth > 0"):
            parzen_log_likelihood(X, X, bandwidth=bandwidth)


# Neighbours


def test_neighbours_by_brute_force():
    rng = np.random.RandomState(0)
    images, others = rng.normal(size=(20, 3, 3, 2)), rng.normal(size=(50, 3, 3, 2))
    every = np.sqrt(((images[:, None] - others[None]) ** 2).sum((2, 3, 4)))
    indices, distances = nearest_neighbours(images, others, n=4)
    np.testing.assert_array_equal(indices, np.argsort(every, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :4], rtol=1e-12)


def test_a_copy_is_at_distance_zero():
    others = 100 + np.random.RandomState(0).random_sample((30, 8, 8)).astype("float32")
    indices, distances = nearest_neighbours(others[[7, 3]], others)
    assert indices.tolist() == [[7], [3]] and (distances == 0).all()


# What is no images


NUMBERS = hnp.arrays(
    st.sampled_from(["float64", "float32", "int64", "bool"]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
    elements={"allow_nan": True, "allow_infinity": True},
)


def usable(x, like=None):
    return (
        x.ndim >= 2
        and x.size > 0
        and bool(np.isfinite(x).all())
        and (like is None or x.shape[1:] == like.shape[1:])
    )


@settings(max_examples=200, deadline=None)
@given(a=NUMBERS, b=NUMBERS, n=st.integers(-1, 4))
def test_arrays_that_do_not_fit_raise_and_others_do_not(a, b, n):
    with np.errstate(over="ignore"):  # squares of huge numbers
        fits = usable(b) and usable(a, b) and 1 <= n <= len(b)
        huge = fits and max(np.abs(a.astype(float)).max(), np.abs(b).max()) > 1e100
        if huge:
            return
        if fits:
            indices, distances = nearest_neighbours(a, b, n)
            assert indices.shape == distances.shape == (len(a), n)
            assert (np.diff(distances, axis=1) >= -1e-6 * distances.max()).all()
        else:
            with pytest.raises(ValueError, match="expected"):
                nearest_neighbours(a, b, n)
        if usable(b) and usable(a, b):
            found = parzen_log_likelihood(b, a, bandwidth=1.0)
            assert not math.isnan(found["log_likelihood_parzen"])
        else:
            with pytest.raises(ValueError, match="expected"):
                parzen_log_likelihood(b, a, bandwidth=1.0)


@pytest.mark.parametrize("bad", [np.array(["a"]), np.array([[None]]), np.ones((2, 3))])
def test_other_things_than_images_raise(bad):
    with pytest.raises(ValueError, match="expected images to be"):
        nearest_neighbours(bad, np.ones((2, 2)))
