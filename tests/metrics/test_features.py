"""Tests of the features of images."""

import json
import math

import keras
import numpy as np
import pytest
from keras import layers

from echo_keras import data
from echo_keras.metrics import classifier_features, fid, fid_name, inception_features
from echo_keras.metrics import features as features_module


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

    monkeypatch.setattr(features_module, "_train_classifier", train)
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
            r"made with image_shape \[20, 28, 1\]. Received: \[28, 28, 1",
        ),
        (x[:-1], y[:-1], SMALL, "made with images 599. Received: 600"),
        (x[::-1], y[::-1], SMALL, "made with checksum"),
        (x, turned, SMALL, "made with checksum"),
        (x, y, SMALL | {"epochs": 5}, "made with epochs 5. Received: 4"),
        (x, y, SMALL | {"width": 9}, "made with width 9. Received: 8"),
        (x, y, SMALL | {"seed": 1}, "made with seed 1. Received: 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            classifier_features(images, labels, "digits", folder, **arguments)
    content = (folder / "digits.keras").read_bytes()
    (folder / "digits.keras").write_bytes(content[:-1000])
    with pytest.raises(ValueError, match="must hold a Keras model. Received: damage"):
        classifier_features(x, y, "digits", folder, **SMALL)
    (folder / "digits.json").write_text("{}")
    with pytest.raises(ValueError, match="must have digits.json beside it"):
        classifier_features(x, y, "digits", folder, **SMALL)
    (folder / "digits.json").unlink()
    with pytest.raises(ValueError, match="must have digits.json beside it"):
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
        (x, y[:9], {}, r"y must have shape \(10,\) .* Received: shape \(9,\)"),
        (x, y.astype(float), {}, "integer classes, .* dtype float64"),
        (x[:9], y[:9], {}, "at least 10 images"),
        (x, np.zeros(10, int), {}, "at least two classes to tell apart. Received: 1"),
        (x + 1, y, {}, r"must hold pixels in \[0, 1\]"),
        (x, y, {"name": "../escape"}, "name must be letters"),
        (x, y, {"name": ""}, "name must be letters"),
        (x, y, {"name": ".hidden"}, "name must be letters"),
        (x, y, {"epochs": 0}, "epochs must be an integer >= 1. Received: epochs=0"),
        (x, y, {"batch_size": 0.5}, "batch_size must be an integer >= 1"),
        (x, y, {"width": -1}, "width must be an integer >= 1"),
        (x, y, {"learning_rate": 0.0}, "learning_rate=0.0"),
        (x, y, {"learning_rate": math.nan}, "finite number > 0.*=nan"),
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
    sentence = "with 1 or 3 channels. R|3 integers >= 1. Received"
    with pytest.raises(ValueError, match=sentence):
        inception_features(shape)
