"""Tests of what needs no data_dir: downloads, imitated."""

import socket
import sys
import types

import keras
import numpy as np
import pytest
from image_files import (
    CIFAR,
    faces,
    grey,
    only_sentence,
    unit,
    write_amat,
)
from PIL import Image

from echo_keras import data
from echo_keras.data import celeba


class FakeBuilder:
    def __init__(self, name, folder, splits):
        self.name, self.data_dir, self.splits = name, str(folder), splits
        self.info = types.SimpleNamespace(
            version="3.0.0",
            splits={
                split: types.SimpleNamespace(num_examples=len(content["image"]))
                for split, content in splits.items()
            },
        )
        self.downloads = 0
        self.batch_size = 1000  # the largest it gives
        self.given = dict.fromkeys(splits, 0)

    def download_and_prepare(self):
        self.downloads += 1

    def as_dataset(self, split, batch_size, shuffle_files):
        assert shuffle_files is False
        content = self.splits[split]
        n = len(content["image"])
        size = min(batch_size, self.batch_size)
        for i in range(0, n, size):
            batch = {k: v[i : i + size] for k, v in content.items()}
            self.given[split] += len(batch["image"])
            yield batch


@pytest.fixture
def fake_tfds(monkeypatch, tmp_path):
    """Returns a function that installs a fake module with one data set in it."""

    def no_network(*args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "create_connection", no_network)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    def install(name, splits, prepared=True):
        builder = FakeBuilder(name, tmp_path, splits)
        if prepared:
            (tmp_path / "dataset_info.json").touch()
        module = types.ModuleType("tensorflow_datasets")
        module.builder = {name: builder}.__getitem__
        module.as_numpy = iter
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
        return builder

    return install


def tfds_splits(**splits):
    return {
        split: {"image": x[..., None], "label": np.arange(len(x))}
        for split, x in splits.items()
    }


def test_tfds_mnist(fake_tfds):
    x = np.concatenate([grey(1194), np.zeros((6, 28, 28), "uint8")])
    builder = fake_tfds("mnist", tfds_splits(train=x, test=grey(3, 1)))
    d = data.load("mnist")
    assert len(d.x_train) == 1000 and len(d.x_valid) == 200
    assert np.array_equal(np.concatenate([d.x_train, d.x_valid]), unit(x))
    assert d.y_train[-1] == 999
    assert d.source == "TensorFlow Datasets mnist:3.0.0"
    assert "order of TensorFlow Datasets" in d.description
    assert builder.downloads == 0


def test_tfds_binary_mnist_is_written_as_0_and_1(fake_tfds):
    splits = tfds_splits(train=grey(5), validation=grey(2, 1), test=grey(3, 2))
    for content in splits.values():
        content["image"] //= 128
        del content["label"]
    fake_tfds("binarized_mnist", splits)
    d = data.load("binary_mnist")
    assert np.array_equal(d.x_train, splits["train"]["image"])
    assert np.array_equal(d.x_valid, splits["validation"]["image"])


def test_tfds_omniglot_is_resized_and_inverted(fake_tfds):
    x = np.full((2, 105, 105, 3), 255, "uint8")
    x[0, :15] = 0  # ink over exactly the four upper rows of 28
    content = {"image": x, "alphabet": np.array([3, 4]), "label": np.array([7, 8])}
    fake_tfds("omniglot", {"train": content, "test": content})
    d = data.load("omniglot")
    assert (d.x_train[0, :4] == 1).all() and (d.x_train[0, 4:] == 0).all()
    assert (d.x_train[1] == 0).all()
    assert d.y_train.tolist() == [3, 4]
    assert "area-averaged Omniglot split by alphabet" in d.description
    assert d.source == "TensorFlow Datasets omniglot:3.0.0"


def test_tfds_omniglot_by_alphabet_has_characters_as_labels(fake_tfds):
    x = np.full((2, 105, 105, 3), 255, "uint8")
    x[0, :, :15] = 0  # ink over exactly the four left columns of 28
    content = {"image": x, "alphabet": np.array([3, 4]), "label": np.array([7, 8])}
    test = {"image": x[:1], "alphabet": np.array([5]), "label": np.array([1000])}
    fake_tfds("omniglot", {"train": content, "test": test})
    d = data.load("omniglot_alphabets")
    assert (d.x_train[0, :, :4] == 1).all() and (d.x_train[0, :, 4:] == 0).all()
    assert d.y_train.tolist() == [7, 8] and d.y_test.tolist() == [1000]
    assert "published 19280 and 13180" in d.description


def test_tfds_cifar10(fake_tfds):
    x, y, x_test, y_test = CIFAR
    splits = {
        "train": {"image": x, "label": y},
        "test": {"image": x_test, "label": y_test},
    }
    builder = fake_tfds("cifar10", splits)
    builder.batch_size = 4
    d = data.load("cifar10", limit=6)
    assert np.array_equal(d.x_train, (x[:6] / 255).astype("float32"))
    assert np.array_equal(d.x_test, (x_test / 255).astype("float32"))
    assert d.y_train.tolist() == list(range(6)) and d.y_test.tolist() == [9, 0, 4]
    assert "10 training and 3 test images, published 50000" in d.description
    assert d.source == "TensorFlow Datasets cifar10:3.0.0"


def test_tfds_celeba(fake_tfds):
    x = faces(9)
    counts = {"train": x[:5], "validation": x[5:7], "test": x[7:]}
    builder = fake_tfds("celeb_a", {k: {"image": v} for k, v in counts.items()})
    builder.batch_size = 2
    whole = data.load("celeba")
    parts = [whole.x_train, whole.x_valid, whole.x_test]
    expected = [celeba.face(Image.fromarray(image)) for image in x]
    assert np.array_equal(np.rint(255 * np.concatenate(parts)), expected)
    assert [len(part) for part in parts] == [5, 2, 2] and whole.y_train is None
    assert "5 training and 2 test images, published 162770" in whole.description
    for limit in range(1, 6):
        builder.given["train"] = 0
        part = data.load("celeba", limit=limit)
        assert np.array_equal(part.x_train, whole.x_train[:limit])
        assert np.array_equal(part.x_valid, whole.x_valid)
        assert builder.given["train"] == min(5, limit + limit % 2)  # whole batches
    assert "first 3 of 5" in data.load("celeba", limit=3).description
    with pytest.raises(ValueError, match="at most 5, the training images"):
        data.load("celeba", limit=6)


# Keras, imitated


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """An empty folder in the place of Keras's own, and no TensorFlow Datasets."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    return tmp_path / "keras" / "datasets"


@pytest.fixture
def network(monkeypatch):
    """Hosts that answer, and all that were asked, with their port and time."""
    answering, asked = set(), []

    def connect(where, timeout):
        asked.append((*where, timeout))
        if where[0] not in answering:
            raise OSError("no network in tests")
        return types.SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    return answering, asked


def fake_keras(monkeypatch, name, *splits):
    loaded = []

    def load_data():
        loaded.append(name)
        return splits

    module = types.SimpleNamespace(load_data=load_data)
    monkeypatch.setattr(keras.datasets, name, module)
    return loaded


@pytest.mark.parametrize("local", [True, False])
def test_keras_mnist_is_the_published_one(
    shared_data, keras_home, network, monkeypatch, local
):
    answering, asked = network
    published = data.load("mnist", shared_data)
    with np.load(shared_data / "mnist.npz") as file:
        images = file["x_train"], file["x_test"]
    splits = [(x, np.arange(len(x))) for x in images]
    fake_keras(monkeypatch, "mnist", *splits)
    if local:
        (keras_home / "mnist.npz").touch()
    else:
        answering.add("storage.googleapis.com")
    d = data.load("mnist")
    assert d.checksum == published.checksum and len(d.x_valid) == 10_000
    assert d.y_train[-1] == 49_999 and d.y_test.dtype == np.int64
    assert d.source == "keras.datasets.mnist, the published images"
    kept = "50000 of 60000 training images, the last 10000 kept for validation"
    assert d.description == f"MNIST; {kept}; grey pixels"
    assert asked == ([] if local else [("storage.googleapis.com", 443, 2.5)])


def test_keras_cifar10(keras_home, network, monkeypatch):
    x, y, x_test, y_test = CIFAR
    fake_keras(monkeypatch, "cifar10", (x, y[:, None]), (x_test, y_test[:, None]))
    network[0].add("www.cs.toronto.edu")
    d = data.load("cifar10")
    assert np.array_equal(d.x_train, (x / 255).astype("float32"))
    assert d.y_train.tolist() == list(range(10)) and d.y_test.tolist() == [9, 0, 4]


def test_keras_fetches_binary_mnist(keras_home, network, monkeypatch):
    splits = {
        s: grey(n, n) // 128
        for s, n in zip(("train", "valid", "test"), (5, 2, 3), strict=True)
    }
    write_amat(keras_home, **splits)
    fetched = []

    def get_file(name, url, file_hash):
        fetched.append(url)
        assert len(file_hash) == 64
        return str(keras_home / name)

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    d = data.load("binary_mnist")
    for split, x in splits.items():
        assert np.array_equal(getattr(d, f"x_{split}")[..., 0], x)
    assert len(set(fetched)) == 3 and network[1] == []
    assert d.source == "binarized_mnist_train.amat and others, fetched by Keras"
    (keras_home / "binarized_mnist_test.amat").unlink()
    with pytest.raises(ConnectionError, match="from www.cs.toronto.edu. Rec"):
        data.load("binary_mnist")


def test_a_failing_download_is_one_sentence(keras_home, network, monkeypatch):
    def load_data():
        raise Exception("URL fetch failure on\nhttps://: None")

    module = types.SimpleNamespace(load_data=load_data)
    monkeypatch.setattr(keras.datasets, "fashion_mnist", module)
    network[0].add("storage.googleapis.com")
    with pytest.raises(ConnectionError, match="URL fetch failure on https") as error:
        data.load("fashion_mnist")
    assert "pass data_dir" in only_sentence(error)


# Networks


def test_offline_says_so_at_once(keras_home, network):
    with pytest.raises(ConnectionError, match="storage.googleapis.com") as error:
        data.load("mnist")
    assert "pass data_dir" in only_sentence(error)
    # Five seconds in all, for Keras and for TensorFlow Datasets.
    assert sum(seconds for *_, seconds in network[1]) == 5


@pytest.mark.parametrize(
    ("proxies", "address"),
    [
        ({}, ("github.com", 443)),
        ({"https": "http://proxy.example:3128"}, ("proxy.example", 3128)),
        ({"https": "proxy.example:8080"}, ("proxy.example", 8080)),
        ({"http": "http://proxy.example"}, ("github.com", 443)),
    ],
)
def test_downloads_once_the_network_answers(
    fake_tfds, network, monkeypatch, proxies, address
):
    x = np.full((6, 105, 105, 3), 255, "uint8")
    content = {"image": x, "alphabet": np.arange(6)}
    builder = fake_tfds("omniglot", {"train": content, "test": content}, False)
    answering, asked = network
    answering.update(["github.com", "proxy.example"])
    monkeypatch.setattr("urllib.request.getproxies", lambda: proxies)
    data.load("omniglot")
    assert builder.downloads == 1 and asked == [(*address, 5)]


def test_without_tfds_one_sentence_says_what_to_do(keras_home, network):
    network[0].add("github.com")
    with pytest.raises(ImportError, match="pip install tensorflow-datasets, or pass"):
        data.load("omniglot")


def test_no_silent_fall_back_to_downloads(fake_tfds, tmp_path):
    fake_tfds("mnist", tfds_splits(train=grey(6), test=grey(3)))
    with pytest.raises(FileNotFoundError):
        data.load("mnist", tmp_path)
