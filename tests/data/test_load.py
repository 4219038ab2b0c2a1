"""Tests of `data.load`: splits, treatments, arguments, and the published data."""

import hashlib

import numpy as np
import pytest
from image_files import (
    SPLITS,
    grey,
    only_sentence,
    unit,
    write_idx,
    write_npz,
)

from echo_keras import data
from echo_keras._files import sha256
from echo_keras.data import pixels, readers

# The embedded data set


def test_digits_are_the_same_for_everybody():
    d = data.load("digits")
    assert d.x_train.shape == (1297, 28, 28, 1) and d.x_test.shape == (500, 28, 28, 1)
    assert d.x_valid is None and d.binarize == "static"
    assert set(np.unique(d.x_train)) == {0, 1} and d.x_train.dtype == np.float32
    assert d.checksum == (
        "2b3da1dad9dfbfa9f2e921870ffe30a6ae95fe85e878f3518a1778c1921e592f"
    )
    assert data.load("digits", seed=7).checksum == d.checksum


def test_digits_split_is_a_partition():
    from sklearn.datasets import load_digits

    d = data.load("digits", binarize="none")
    labels = np.concatenate([d.y_train, d.y_test])
    assert np.array_equal(np.bincount(labels), np.bincount(load_digits().target))
    means = np.sort(np.concatenate([d.x_train, d.x_test]).mean((1, 2, 3)))
    # Bilinear resizing weighs the borders slightly differently from the middle.
    truth = np.sort(load_digits().images.mean((1, 2)) / 16)
    assert abs(means - truth).max() < 0.02


def test_bilinear_resizing_is_scipys():
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    image = load_digits().images[3]
    ours = pixels.bilinear_8_to_28(image[None])
    theirs = zoom(image / 16, 3.5, order=1, grid_mode=True, mode="nearest")
    np.testing.assert_allclose(ours[0, :, :, 0], theirs, atol=1e-6)


def test_area_averaging_is_exact():
    x = np.random.RandomState(0).randint(0, 256, (1, 105, 105))
    fine = x[0].repeat(4, 0).repeat(4, 1).reshape(28, 15, 28, 15).mean((1, 3))
    found = pixels.area_105_to_28(x)[0, :, :, 0]
    np.testing.assert_allclose(255 * found, fine, rtol=1e-6)
    white = pixels.area_105_to_28(np.full((1, 105, 105), 255))
    assert (white == 1).all()


def test_labels_stay_with_their_images():
    d = data.load("digits", binarize="none")
    x, x_test = d.x_train.reshape(-1, 784), d.x_test.reshape(-1, 784)
    nearest = ((x**2).sum(1) - 2 * x_test @ x.T).argmin(1)
    assert (d.y_train[nearest] == d.y_test).mean() > 0.95


# The table


def test_a_new_data_set_is_one_entry(tmp_path, monkeypatch):
    def read(entry, paths, limit):
        x = entry.images(np.load(paths[0]), str(paths[0]))
        return data.Raw(x[2:], x[:2], "dots.npy", notes=["drawn by hand"])

    files = data.Files(("dots.npy",), read)
    entry = data.Entry("Dots", (files,), shape=(2, 3, 1), validation=4, counts=(8, 2))
    monkeypatch.setitem(data.DATASETS, "dots", entry)
    x = np.random.RandomState(0).random_sample((10, 2, 3))
    (tmp_path / "dots").mkdir()
    np.save(tmp_path / "dots" / "dots.npy", x)
    d = data.load("dots", tmp_path, "threshold", limit=5)
    np.testing.assert_array_equal(d.x_train[..., 0], x[2:7] > 0.5)
    np.testing.assert_array_equal(d.x_valid[..., 0], x[8:] > 0.5)
    assert len(d.x_test) == 2 and "dots" in data.names()
    assert d.description == (
        "Dots; drawn by hand; 6 of 8 training images, the last 2 kept for validation; "
        "first 5 of 6 training images; binary, thresholded at 0.5"
    )
    grey = data.load("dots", tmp_path).description
    assert grey.endswith("the last 2 kept for validation; grey pixels")
    with pytest.raises(FileNotFoundError, match="must hold dots: dots.npy"):
        data.load("dots", tmp_path.parent)


# What a Dataset promises


def test_checksum_is_of_the_arrays_returned():
    for d in (data.load("digits"), data.load("digits", limit=10, binarize="none")):
        content = d.x_train.tobytes() + d.x_test.tobytes()
        assert d.checksum == hashlib.sha256(content).hexdigest()


def test_dataset_is_frozen_and_prints_on_one_line():
    d = data.load("digits")
    with pytest.raises(AttributeError):
        d.name = "mnist"
    assert "array" not in repr(d) and "\n" not in repr(d)


def test_limit_keeps_the_first_training_images_and_says_so():
    whole, part = data.load("digits"), data.load("digits", limit=20)
    assert np.array_equal(part.x_train, whole.x_train[:20])
    assert np.array_equal(part.y_train, whole.y_train[:20])
    assert np.array_equal(part.x_test, whole.x_test)
    assert "first 20 of 1297" in part.description
    assert "first" not in whole.description
    assert part.checksum != whole.checksum


@pytest.mark.parametrize("binarize", ["none", "static", "dynamic"])
def test_the_first_images_are_those_of_limit(mnist_dir, binarize):
    whole = data.load("mnist", mnist_dir, binarize)
    part, same = whole.first(4), data.load("mnist", mnist_dir, binarize, limit=4)
    assert part.description == same.description
    assert "first 4 of 10 training images" in part.description
    assert part.checksum == same.checksum != whole.checksum
    assert np.shares_memory(part.x_train, whole.x_train)
    assert part.y_train.tolist() == same.y_train.tolist() == [0, 1, 2, 3]
    assert whole.first(10).description == whole.description
    for n in (0, 11, 2.0):
        with pytest.raises(ValueError, match=r"n must be an integer in \[1, 10\]"):
            whole.first(n)


@pytest.mark.parametrize(
    "bad",
    [
        *({"limit": limit} for limit in (0, -1, 1298, 2.5, True, "10")),
        *({"seed": seed} for seed in (-1, 2**32, 0.5, None)),
    ],
)
def test_bad_numbers(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
        data.load("digits", **bad)


@pytest.mark.parametrize("name", ["cifar", "MNIST", "", None, 3, ["mnist"]])
def test_unknown_name_lists_the_valid_ones(name):
    with pytest.raises(ValueError, match="must be one of") as error:
        data.load(name)
    assert all(valid in only_sentence(error) for valid in data.names())


def test_unknown_name_suggests_a_close_one():
    with pytest.raises(ValueError, match="Did you mean 'fashion_mnist'"):
        data.load("fashion-mnist")


@pytest.mark.parametrize("binarize", ["stochastic", "", 1, True, ["static"]])
def test_unknown_binarize_lists_the_valid_ones(binarize):
    with pytest.raises(ValueError, match="binarize must be") as error:
        data.load("digits", binarize=binarize)
    assert all(valid in only_sentence(error) for valid in data.BINARIZE)


# Treatments of the pixels


@pytest.fixture
def mnist_dir(tmp_path):
    write_npz(tmp_path / "mnist.npz")
    return tmp_path


def test_grey_by_default(mnist_dir):
    d = data.load("mnist", mnist_dir)
    assert d.binarize == "none"
    assert np.array_equal(d.x_train, unit(grey(12))[:10])
    assert np.array_equal(d.x_valid, unit(grey(12))[10:])
    assert np.array_equal(d.x_test, unit(grey(3, 1)))
    assert d.y_train.tolist() == list(range(10)) and d.y_test.tolist() == [0, 1, 2]


def test_threshold(mnist_dir):
    d = data.load("mnist", mnist_dir, "threshold")
    assert np.array_equal(d.x_train, unit(grey(12))[:10] > 0.5)


def test_static_is_a_seeded_bernoulli_sample(mnist_dir):
    x = np.repeat(np.array([0, 51, 255, 128], "uint8"), 60)
    x = np.broadcast_to(x[:, None, None], (240, 28, 28))
    write_npz(mnist_dir / "mnist.npz", x_train=x, y_train=None)
    first = data.load("mnist", mnist_dir, "static", seed=1)
    again = data.load("mnist", mnist_dir, "static", seed=1)
    other = data.load("mnist", mnist_dir, "static", seed=2)
    assert first.checksum == again.checksum != other.checksum
    assert (first.x_train[:60] == 0).all() and (first.x_train[120:180] == 1).all()
    share = first.x_train[60:120].mean()
    error = (0.2 * 0.8 / (60 * 784)) ** 0.5
    assert abs(share - 0.2) < 5 * error
    # Splits are sampled independently.
    n = len(first.x_valid)
    assert not np.array_equal(first.x_valid, first.x_train[-n:])


def test_static_does_not_depend_on_limit(mnist_dir):
    whole = data.load("mnist", mnist_dir, "static")
    part = data.load("mnist", mnist_dir, "static", limit=4)
    assert np.array_equal(part.x_train, whole.x_train[:4])
    assert np.array_equal(part.x_test, whole.x_test)


def test_dynamic_leaves_training_grey_and_samples_the_rest(mnist_dir):
    d = data.load("mnist", mnist_dir, "dynamic")
    assert np.array_equal(d.x_train, unit(grey(12))[:10])
    assert set(np.unique(d.x_test)) == set(np.unique(d.x_valid)) == {0, 1}
    assert d.checksum == data.load("mnist", mnist_dir, "dynamic").checksum
    assert d.binarize == "dynamic"


@pytest.mark.parametrize("binarize", ["none", "dynamic", "threshold"])
def test_binary_mnist_is_not_binarised_again(tmp_path, binarize):
    with pytest.raises(ValueError, match="already binary. Received"):
        data.load("binary_mnist", tmp_path, binarize)


@pytest.mark.parametrize("name", ["cifar10", "celeba"])
@pytest.mark.parametrize("binarize", ["static", "dynamic", "threshold"])
def test_colour_is_not_binarised(tmp_path, name, binarize):
    with pytest.raises(ValueError, match="None or 'none' for .* in colour") as error:
        data.load(name, tmp_path, binarize)
    assert repr(binarize) in only_sentence(error)


# The published files


@pytest.mark.parametrize(
    ("name", "counts", "first_sums", "checksum"),
    [
        (
            "binary_mnist",
            (50_000, 10_000, 10_000),
            (31365, 22950, 37485),
            "2314b6d2f2fc0d03107ed3dc5b5a0d03d71e4bade2788675bc2d6cc57650debe",
        ),
        (
            "mnist",
            (50_000, 10_000, 10_000),
            (27525, None, 18454),
            "d27fb91380ff036e93126fddb1fc6037e178683a6d3d702bd6655b27bcd0ac69",
        ),
        (
            "fashion_mnist",
            (50_000, 10_000, 10_000),
            (76247, None, 33456),
            "992edc8d4846acab64638421bbb1762a3f5c38e674dff7da66f0c45833851297",
        ),
        (
            "omniglot",
            (24_345, None, 8_115),
            (16626, None, 14508),
            "d59c5c9695f41f6805f6d4d54bf0f2711cbedf70edb4a325a44e86e375f81b09",
        ),
    ],
)
def test_real_data(name, counts, first_sums, checksum, shared_data):
    d = data.load(name, shared_data)
    for split, count, total in zip(SPLITS, counts, first_sums, strict=True):
        x = getattr(d, split)
        assert (None if x is None else x.shape) == (count and (count, 28, 28, 1))
        if total is not None:
            assert round(float(x[0].sum(dtype="float64")) * 255) == total
    assert d.checksum == checksum
    assert d.source == f"{name}.npz in data_dir"
    assert "published" not in d.description


def test_real_cifar10(shared_data):
    d = data.load("cifar10", shared_data)
    assert d.x_train.shape == (10_000, 32, 32, 3)
    assert d.x_test.shape == (1000, 32, 32, 3)
    # Those of the published data_batch_1 and of the first thousand of test_batch.
    train = [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]
    assert np.bincount(d.y_train).tolist() == train
    test = [103, 89, 100, 103, 90, 86, 112, 102, 106, 109]
    assert np.bincount(d.y_test).tolist() == test
    assert d.source == "cifar10_10k.npz in data_dir"
    assert d.description == (
        "CIFAR-10; 10000 training and 1000 test images, published 50000 and 10000"
    )
    assert d.checksum == (
        "3bed9668092099917ca44f77c76c290c6f1906eb51a6f8c8ac1ad4dd3b95df64"
    )


def test_real_omniglot_alphabets(shared_data):
    d = data.load("omniglot_alphabets", shared_data)
    # Twenty drawings of each character; those of Lake's two archives.
    for x, y, characters in (
        (d.x_train, d.y_train, range(964)),
        (d.x_test, d.y_test, range(964, 1623)),
    ):
        assert x.shape == (20 * len(characters), 28, 28, 1)
        assert y.tolist() == [c for c in characters for _ in range(20)]
    with np.load(shared_data / "omniglot.npz", allow_pickle=False) as file:
        alphabet = dict(zip(file["c_train"], file["y_train"], strict=True))
        seen = {int(alphabet[c]) for c in d.y_train}
        unseen = {int(alphabet[c]) for c in d.y_test}
        ink = sum(file[split].sum(dtype=int) for split in ("x_train", "x_test"))
    assert len(seen) == 30 and len(unseen) == 20 and not seen & unseen
    found = (np.rint(255 * x).sum(dtype=int) for x in (d.x_train, d.x_test))
    assert sum(found) == ink
    assert "published" not in d.description
    assert d.checksum == (
        "8bc81fad04d378de7c455236fdbb6076bb967ef0a7d927d1805ee4975c8a1f3d"
    )


def test_published_binary_file_is_read_from_amat_too(tmp_path, shared_data):
    d = data.load("binary_mnist", shared_data)
    digest = hashlib.sha256()
    for part in np.array_split(d.x_train[..., 0].reshape(-1, 784), 10):
        text = np.full((len(part), 2 * 784), ord(" "), np.uint8)
        text[:, ::2] = part + ord("0")
        text[:, -1] = ord("\n")
        digest.update(text)
    assert digest.hexdigest().startswith("ad693b29f94c")
    path = tmp_path / "x.amat"
    path.write_bytes(text.tobytes())  # the last tenth
    assert np.array_equal(readers.read_amat(path), d.x_train[-5000:, :, :, 0])


@pytest.fixture(scope="module")
def heads(shared_data):
    """The first 1,000 images of each part of the published data."""
    found = {}
    for name in ("mnist", "fashion_mnist", "binary_mnist", "omniglot", "cifar10_10k"):
        with np.load(shared_data / f"{name}.npz", allow_pickle=False) as file:
            for key in ("x_train", "x_valid", "x_test"):
                if key in file:
                    found[name, key] = file[key][:1000]
    return found


@pytest.mark.parametrize(
    ("name", "parts", "sentence"),
    [
        (
            "omniglot",
            {"x_train": "mnist", "x_test": "omniglot"},
            "Received: the training images of MNIST. Load 'mnist'",
        ),
        (
            "mnist",
            {"x_train": "mnist", "x_test": "fashion_mnist"},
            "as test images .* Received: the test images of Fashion-MNIST",
        ),
        (
            "mnist",
            {"x_train": "omniglot", "x_test": "mnist"},
            "Received: the training images of Omniglot",
        ),
        (
            "binary_mnist",
            {"x_train": ("binary_mnist", "x_test"), "x_valid": "binary_mnist"},
            "Received: the test images of MNIST as binarised .* Put each part where it",
        ),
        (
            "binary_mnist",
            {"x_train": "binary_mnist", "x_valid": ("binary_mnist", "x_train")},
            "as validation images .* Received: the training images",
        ),
        (
            "cifar10",
            {"x_train": "cifar10_10k", "x_test": ("cifar10_10k", "x_train")},
            "as test images .* Received: the training images of CIFAR-10",
        ),
    ],
)
def test_other_images_in_a_part_are_refused(name, parts, sentence, heads, tmp_path):
    content = {
        key: heads[source if isinstance(source, tuple) else (source, key)]
        for key, source in parts.items()
    }
    content.setdefault("x_test", content["x_train"][:20])
    np.savez(tmp_path / f"{name}.npz", **content)
    with pytest.raises(ValueError, match=rf"^{name}.npz in data_dir must.*{sentence}"):
        data.load(name, tmp_path)
    # Of too few images nothing is said, nor of the right ones.
    np.savez(tmp_path / f"{name}.npz", **{k: x[:999] for k, x in content.items()})
    assert len(data.load(name, tmp_path).x_train)


@pytest.mark.parametrize("name", ["mnist", "binary_mnist", "omniglot", "cifar10"])
def test_the_first_published_images_are_accepted(name, heads, tmp_path):
    of_name = "cifar10_10k" if name == "cifar10" else name
    content = {key: x for (n, key), x in heads.items() if n == of_name}
    np.savez(tmp_path / f"{name}.npz", **content)
    assert len(data.load(name, tmp_path).x_test) == 1000
    # Each is one that the table knows, or the test above would see nothing.
    entry = data.DATASETS[name]
    for key, part in zip(("x_train", "x_test"), ("training", "test"), strict=True):
        x = entry.images(content[key], key)
        assert sha256(x).startswith(entry.heads[part])


def test_mnist_in_place_of_fashion_is_noticed(tmp_path, shared_data):
    with np.load(shared_data / "mnist.npz", allow_pickle=False) as file:
        write_idx(tmp_path, file["x_train"], file["x_test"], zipped=False)
    for path in tmp_path.glob("*labels*"):
        path.unlink()
    with pytest.raises(
        ValueError, match="must hold Fashion-MNIST.* of MNIST. Load 'mn"
    ):
        data.load("fashion_mnist", tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(bytes(content))
    d = data.load("mnist", tmp_path)
    assert "pixels differ from the published ones" in d.description


def test_training_images_are_held_out_where_there_are_no_others():
    d = data.load("digits")
    held = d.hold_out(97, seed=3)
    assert len(held.x_train) == len(held.y_train) == 1200 and len(held.x_valid) == 97
    rows = np.random.RandomState(3).permutation(1297)
    np.testing.assert_array_equal(held.x_valid, d.x_train[np.sort(rows[:97])])
    np.testing.assert_array_equal(held.x_train, d.x_train[np.sort(rows[97:])])
    np.testing.assert_array_equal(held.y_train, d.y_train[np.sort(rows[97:])])
    np.testing.assert_array_equal(held.x_test, d.x_test)
    assert held.checksum != d.checksum
    assert (
        "; 97 of 1297 training images held out with seed 3; binary" in held.description
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n": 0}, r"n must be an integer in \[1, 1296\]. Received: n=0"),
        ({"n": 1297}, "Received: n=1297"),
        ({"n": 5, "seed": -1}, "seed must be .* Received: seed=-1"),
    ],
)
def test_held_out_images_out_of_range_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        data.load("digits").hold_out(**arguments)


def test_nothing_is_held_out_beside_validation_images():
    held = data.load("digits").hold_out(97)
    with pytest.raises(ValueError, match="Received: 97 validation images of digits"):
        held.hold_out(5)
