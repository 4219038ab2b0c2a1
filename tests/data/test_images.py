"""Tests of echo_keras.data: sources, splits, treatments, and every complaint."""

import doctest
import gzip
import hashlib
import io
import pathlib
import socket
import struct
import subprocess
import sys
import types
import zipfile

import hypothesis
import numpy as np
import pytest
import scipy.io
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from echo_keras import data

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
MODULE = pathlib.Path(__file__).resolve().parents[1] / "echo_keras" / "data.py"
SPLITS = ("x_train", "x_valid", "x_test")


def grey(n, seed=0):
    x = np.random.RandomState(seed).randint(0, 256, (n, 28, 28))
    return x.astype("uint8")


def unit(x):
    """uint8 images as `load` should return them."""
    return (x / 255).astype("float32").reshape(-1, 28, 28, 1)


def idx_bytes(array):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def write_idx(folder, x_train, x_test, zipped=True):
    folder.mkdir(exist_ok=True)
    files = {
        "train-images-idx3-ubyte": x_train,
        "train-labels-idx1-ubyte": np.arange(len(x_train), dtype="uint8"),
        "t10k-images-idx3-ubyte": x_test,
        "t10k-labels-idx1-ubyte": np.arange(len(x_test), dtype="uint8"),
    }
    for name, array in files.items():
        content = idx_bytes(array)
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / name).write_bytes(content)


def write_amat(folder, **splits):
    for split, x in splits.items():
        lines = (" ".join(map(str, row)) + " \n" for row in x.reshape(len(x), -1))
        (folder / f"binarized_mnist_{split}.amat").write_text("".join(lines))


def write_npz(path, **changes):
    arrays = {
        "x_train": grey(12),
        "x_test": grey(3, 1),
        "y_train": np.arange(12),
        "y_test": np.arange(3),
    }
    arrays.update(changes)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return arrays


def colour(n, height, width, seed=0):
    x = np.random.RandomState(seed).randint(0, 256, (n, height, width, 3))
    return x.astype("uint8")


def only_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    return text


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
    ours = data._resize(image[None], data._bilinear_8_to_28(), 16 * 14**2)
    theirs = zoom(image / 16, 3.5, order=1, grid_mode=True, mode="nearest")
    np.testing.assert_allclose(ours[0, :, :, 0], theirs, atol=1e-6)


def test_area_averaging_is_exact():
    weights = data._area_105_to_28()
    assert (weights.sum(1) == 15).all() and (weights.sum(0) == 4).all()
    x = np.random.RandomState(0).rand(1, 105, 105)
    fine = x[0].repeat(4, 0).repeat(4, 1).reshape(28, 15, 28, 15).mean((1, 3))
    np.testing.assert_allclose(
        data._resize(x, weights, 15**2)[0, :, :, 0], fine, rtol=1e-6
    )


def test_labels_stay_with_their_images():
    d = data.load("digits", binarize="none")
    x, x_test = d.x_train.reshape(-1, 784), d.x_test.reshape(-1, 784)
    nearest = ((x**2).sum(1) - 2 * x_test @ x.T).argmin(1)
    assert (d.y_train[nearest] == d.y_test).mean() > 0.95


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


@pytest.mark.parametrize("limit", [0, -1, 1298, 2.5, True, "10"])
def test_bad_limit(limit):
    with pytest.raises(ValueError, match="limit must be"):
        data.load("digits", limit=limit)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, None])
def test_bad_seed(seed):
    with pytest.raises(ValueError, match="seed must be"):
        data.load("digits", seed=seed)


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
    with pytest.raises(ValueError, match="already binary"):
        data.load("binary_mnist", tmp_path, binarize)


# Images of any origin

WRONG_IMAGES = {
    "integers": (np.zeros((2, 28, 28), "int64"), "dtype int64"),
    "objects": (np.full((2, 28, 28), None), "dtype object"),
    "complex": (np.zeros((2, 28, 28), complex), "dtype complex128"),
    "flat": (np.zeros((2, 784)), r"shape .* found \(2, 784\)"),
    "no images": (np.zeros((0, 28, 28)), "at least one image"),
    "too large": (np.full((2, 28, 28), 1.5), "values from 1.5 to 1.5; divide"),
    "negative": (np.full((2, 28, 28), -1.0), "values from -1 to -1; shift"),
    "infinite": (np.full((2, 28, 28), np.inf), "values from inf"),
    "scaled uint8": (np.ones((2, 28, 28), "uint8"), "none above 1"),
}


@pytest.mark.parametrize("case", WRONG_IMAGES)
def test_check_images_names_the_fault(case):
    x, match = WRONG_IMAGES[case]
    with pytest.raises(ValueError, match=match) as error:
        data.check_images(x, "holiday")
    assert only_sentence(error).startswith("holiday: expected")


def test_check_images_requires_the_shape_asked_for():
    with pytest.raises(ValueError, match=r"\(n, 28, 28, 1\), found \(1, 8, 8, 1\)"):
        data.check_images(np.zeros((1, 8, 8)), shape=(28, 28, 1))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "float32", "float64"])
def test_check_images_takes_these(dtype):
    white = 255 if dtype == "uint8" else 1
    x = np.zeros((2, 5, 6, 3), dtype)
    x[0] = white
    out = data.check_images(x)
    assert out.dtype == np.float32 and out.shape == x.shape
    assert (out[0] == 1).all() and (out[1] == 0).all()
    out[:] = 0.5
    assert x[0].min() == white  # the caller's array is not ours to change


in_range = hnp.arrays(
    st.sampled_from(["float32", "float64"]),
    st.tuples(*[st.integers(1, 3)] * 4),
    elements=st.floats(0, 1, width=32),
)


@hypothesis.settings(max_examples=60, deadline=None, database=None)
@hypothesis.given(in_range)
def test_images_in_range_pass_unchanged(x):
    assert np.array_equal(data.check_images(x), x)


@hypothesis.settings(max_examples=100, deadline=None, database=None)
@hypothesis.given(
    in_range,
    st.integers(0, 80),
    st.floats(width=32).filter(lambda v: not 0 <= v <= 1),
)
def test_a_single_wrong_pixel_is_found(x, where, value):
    x.flat[where % x.size] = value
    with pytest.raises(ValueError, match="NaN" if np.isnan(value) else "values from"):
        data.check_images(x)


# Files in data_dir


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("own_folder", [True, False])
def test_idx_files(tmp_path, name, zipped, own_folder):
    folder = tmp_path / name if own_folder else tmp_path
    write_idx(folder, grey(12), grey(3, 1), zipped)
    d = data.load(name, tmp_path)
    assert np.array_equal(d.x_train, unit(grey(12))[:10])
    assert np.array_equal(d.x_test, unit(grey(3, 1)))
    assert d.y_train.tolist() == list(range(10)) and d.y_test.tolist() == [0, 1, 2]
    assert "train-images-idx3-ubyte" in d.source and str(tmp_path) not in repr(d)
    assert "12 training and 3 test images, published 60000 and 10000" in d.description


def test_a_folder_of_its_own_comes_first(tmp_path):
    write_idx(tmp_path, grey(12), grey(3))
    write_idx(tmp_path / "fashion_mnist", grey(6, 5), grey(3, 6))
    d = data.load("fashion_mnist", tmp_path)
    assert np.array_equal(d.x_test, unit(grey(3, 6)))


def test_labels_may_be_absent(tmp_path):
    write_idx(tmp_path, grey(6), grey(3))
    for path in tmp_path.glob("*labels*"):
        path.unlink()
    d = data.load("mnist", tmp_path)
    assert d.y_train is None and d.y_test is None


def test_amat_files(tmp_path):
    splits = {
        s: grey(n, n) // 128 for s, n in [("train", 5), ("valid", 2), ("test", 3)]
    }
    write_amat(tmp_path, **splits)
    d = data.load("binary_mnist", tmp_path)
    for split, x in splits.items():
        assert np.array_equal(getattr(d, f"x_{split}")[..., 0], x)
    assert d.binarize == "static" and d.y_train is None
    assert "5 training and 3 test images, published 50000" in d.description


def test_chardata_is_turned_upright(tmp_path):
    x, x_test = unit(grey(4)), unit(grey(2, 1))
    columns = [
        np.stack([image[:, :, 0].ravel(order="F") for image in images], -1)
        for images in (x, x_test)
    ]
    scipy.io.savemat(
        tmp_path / "chardata.mat", {"data": columns[0], "testdata": columns[1]}
    )
    d = data.load("omniglot", tmp_path)
    assert np.array_equal(d.x_train, x) and np.array_equal(d.x_test, x_test)
    assert d.source == "chardata.mat in data_dir" and "Burda" in d.description
    assert "area-averaged" not in d.description


def test_omniglot_npz_says_what_it_is(tmp_path):
    write_npz(tmp_path / "omniglot.npz")
    d = data.load("omniglot", tmp_path)
    assert "area-averaged Omniglot" in d.description
    assert "not the chardata.mat" in d.description
    assert len(d.x_train) == 12 and d.x_valid is None


FILES = {
    "binary_mnist": ["binary_mnist.npz", "binarized_mnist_train.amat"],
    "mnist": ["mnist.npz", "train-images-idx3-ubyte"],
    "omniglot": ["omniglot.npz", "chardata.mat"],
    "fashion_mnist": ["fashion_mnist.npz", "train-images-idx3-ubyte"],
    "cifar10": ["cifar10.npz", "data_batch_1.bin", "cifar10_10k.npz"],
    "celeba": ["celeba.npz", "list_eval_partition.txt, img_align_celeba/", ".zip"],
    "omniglot_alphabets": ["omniglot.npz", "chardata.mat, which names no alphabets"],
}


@pytest.mark.parametrize("name", [n for n in data.names() if n != "digits"])
def test_missing_files_are_named(tmp_path, name):
    (tmp_path / "cifar.npz").touch()
    with pytest.raises(FileNotFoundError, match=f"^{name}: expected") as error:
        data.load(name, tmp_path)
    assert all(file in only_sentence(error) for file in FILES[name])
    assert f"in {tmp_path / name} or in" in str(error.value)
    assert f"in {tmp_path}, found none" in str(error.value)


def test_half_of_the_files_is_missing_files(tmp_path):
    write_idx(tmp_path, grey(6), grey(3))
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-images-idx3-ubyte"):
        data.load("mnist", tmp_path)


def test_data_dir_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder at"):
        data.load("mnist", tmp_path / "typo")


def nan_image():
    x = unit(grey(12))
    x[3, 4, 5] = np.nan
    return x


WRONG_NPZ = {
    "pickle": ({"x_train": np.array([{}], object)}, "pickles are never loaded"),
    "key": ({"x_test": None}, "keys x_train, x_test, found x_train, y_train, y_test"),
    "shape": ({"x_train": np.zeros((12, 32, 32), "uint8")}, r"found \(12, 32, 32, 1\)"),
    "colour": ({"x_train": np.zeros((12, 28, 28, 3), "uint8")}, "28, 28, 3"),
    "dtype": ({"x_train": np.zeros((12, 28, 28), int)}, "dtype int64"),
    "range": ({"x_train": grey(12).astype("float32")}, "divide by 255"),
    "nan": ({"x_train": nan_image()}, "NaN in 1 of 12"),
    "labels": ({"y_train": np.arange(11)}, "expected 12 integer labels"),
    "label type": ({"y_test": np.zeros(3)}, "integer labels"),
}


@pytest.mark.parametrize("case", WRONG_NPZ)
def test_wrong_npz(tmp_path, case):
    changes, match = WRONG_NPZ[case]
    write_npz(tmp_path / "mnist.npz", **changes)
    with pytest.raises(ValueError, match=match) as error:
        data.load("mnist", tmp_path)
    assert "mnist.npz" in only_sentence(error)


def test_binary_mnist_must_be_binary(tmp_path):
    x = grey(3)
    write_npz(tmp_path / "binary_mnist.npz", x_valid=x)
    with pytest.raises(ValueError, match="expected binary pixels"):
        data.load("binary_mnist", tmp_path)
    write_npz(tmp_path / "binary_mnist.npz")
    with pytest.raises(ValueError, match="keys x_train, x_test, x_valid"):
        data.load("binary_mnist", tmp_path)


@pytest.mark.parametrize("white", [1, 255])
def test_binary_npz_may_be_written_with_1_or_255(tmp_path, white):
    x = grey(3) // 128
    write_npz(
        tmp_path / "binary_mnist.npz",
        x_train=x * white, x_valid=x * white, x_test=x * white,
        y_train=None, y_test=None,
    )  # fmt: skip
    d = data.load("binary_mnist", tmp_path)
    for split in SPLITS:
        assert np.array_equal(getattr(d, split)[..., 0], x)


def truncate(path, keep=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(bytes(content))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [truncate, flip, empty])
@pytest.mark.parametrize("kind", ["npz", "idx.gz", "mat"])
def test_damaged_archives(tmp_path, kind, harm):
    if kind == "npz":
        name, path = "mnist", tmp_path / "mnist.npz"
        write_npz(path)
    elif kind == "idx.gz":
        name, path = "mnist", tmp_path / "train-images-idx3-ubyte.gz"
        write_idx(tmp_path, grey(12), grey(3))
    else:
        name, path = "omniglot", tmp_path / "chardata.mat"
        x = unit(grey(5)).reshape(5, 784).T
        scipy.io.savemat(path, {"data": x, "testdata": x}, do_compression=True)
    harm(path)
    with pytest.raises(ValueError, match="fetch or make the file again") as error:
        data.load(name, tmp_path)
    assert path.name in str(error.value)
    if not (kind == "idx.gz" and harm is empty):
        assert error.value.__cause__ is not None


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda b: b[:-1], "expected 9408 bytes of data .* found 9407"),
        (lambda b: b + b"x", "found 9409"),
        (lambda b: b[:9], "begin with 00 00 08 03"),
        (lambda b: b"\0\0\x0d\x03" + b[4:], "begin with 00 00 0d 03"),
        (lambda b: b"", "begin with nothing"),
        (lambda b: b[:4] + b"\xff" * 12 + b[16:], "bytes of data for the shape"),
    ],
)
def test_idx_header_must_agree_with_its_bytes(tmp_path, change, match):
    write_idx(tmp_path, grey(12), grey(3), zipped=False)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=match):
        data.load("mnist", tmp_path)


def test_idx_labels_must_match_the_images(tmp_path):
    write_idx(tmp_path, grey(12), grey(3))
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(11, "uint8"))))
    with pytest.raises(ValueError, match="expected 12 integer labels"):
        data.load("mnist", tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t[:-10], "found 780 in line 3"),
        (lambda t: t.replace("0 1", "0 2", 1), "other characters"),
        (lambda t: t.replace("0 1", "0.1", 1), "other characters"),
        (lambda t: t.replace("0 1", "01", 1), "several digits"),
        (lambda t: "", "found 0 in line 1"),
    ],
)
def test_damaged_amat(tmp_path, change, match):
    x = grey(3) // 128
    write_amat(tmp_path, train=x, valid=x, test=x)
    path = tmp_path / "binarized_mnist_train.amat"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=match):
        data.load("binary_mnist", tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"data": np.zeros((784, 2))}, "keys data, testdata, found data;"),
        ({"data": np.zeros((2, 784)), "testdata": np.zeros((784, 2))}, r"\(2, 784\)"),
        ({"data": np.full((784, 2), 2.0), "testdata": np.zeros((784, 2))}, "from 2"),
    ],
)
def test_wrong_chardata(tmp_path, content, match):
    scipy.io.savemat(tmp_path / "chardata.mat", content)
    with pytest.raises(ValueError, match=match):
        data.load("omniglot", tmp_path)


# CIFAR-10


def write_cifar(folder, x, y, x_test, y_test):
    """The binary version: labels and planes, in five parts and one."""
    folder.mkdir(parents=True, exist_ok=True)
    fifth = len(x) // 5
    files = {
        f"data_batch_{i + 1}.bin": (x[i * fifth :][:fifth], y[i * fifth :][:fifth])
        for i in range(5)
    }
    files["test_batch.bin"] = x_test, y_test
    for file, (images, labels) in files.items():
        content = b""
        for image, label in zip(images, labels, strict=True):
            red, green, blue = image[..., 0], image[..., 1], image[..., 2]
            content += bytes([label]) + red.tobytes() + green.tobytes() + blue.tobytes()
        (folder / file).write_bytes(content)


CIFAR = colour(10, 32, 32), np.arange(10), colour(3, 32, 32, 1), np.array([9, 0, 4])


@pytest.mark.parametrize(
    "folder",
    [
        ".",
        "cifar10",
        "cifar-10-batches-bin",
        "cifar10/cifar-10-batches-bin",
    ],
)
def test_cifar_binary_files(tmp_path, folder):
    write_cifar(tmp_path / folder, *CIFAR)
    d = data.load("cifar10", tmp_path)
    assert np.array_equal(d.x_train, (CIFAR[0] / 255).astype("float32"))
    assert np.array_equal(d.x_test, (CIFAR[2] / 255).astype("float32"))
    assert d.y_train.tolist() == list(range(10)) and d.y_test.tolist() == [9, 0, 4]
    assert d.x_valid is None and d.binarize == "none"
    assert d.x_train.flags.c_contiguous and d.x_test.flags.c_contiguous
    assert "data_batch" in d.source and str(tmp_path) not in repr(d)
    assert "10 training and 3 test images, published 50000 and 10000" in d.description


def test_part_of_cifar_is_read_only_where_there_is_no_whole(tmp_path):
    def source():
        return data.load("cifar10", tmp_path).source

    x, y, x_test, y_test = CIFAR
    arrays = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}
    write_npz(tmp_path / "cifar10_10k.npz", **arrays)
    assert source() == "cifar10_10k.npz in data_dir"
    write_cifar(tmp_path / "cifar-10-batches-bin", *CIFAR)
    assert source() == "data_batch_{1,2,3,4,5}.bin and test_batch.bin in data_dir"
    write_npz(tmp_path / "cifar10.npz", **arrays)
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").unlink()
    assert source() == "cifar10.npz in data_dir"
    d = data.load("cifar10", tmp_path)
    assert np.array_equal(d.x_train, (x / 255).astype("float32"))
    assert d.y_test.tolist() == [9, 0, 4]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda b: b[:-1], "records of 3073 bytes.*found 6145 bytes"),
        (lambda b: b + b"x", "found 6147 bytes"),
        (lambda b: b"", "found 0 bytes"),
        (lambda b: b"\x0a" + b[1:], "labels from 0 to 9, found 10"),
        (lambda b: b[:1] + b, "found 6147 bytes"),  # CIFAR-100 has two labels
    ],
)
def test_damaged_cifar(tmp_path, change, match):
    write_cifar(tmp_path, *CIFAR)
    path = tmp_path / "data_batch_4.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=match) as error:
        data.load("cifar10", tmp_path)
    assert "data_batch_4.bin" in only_sentence(error)


def test_four_fifths_of_cifar_are_missing_files(tmp_path):
    write_cifar(tmp_path, *CIFAR)
    (tmp_path / "data_batch_5.bin").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_5.bin"):
        data.load("cifar10", tmp_path)


@pytest.mark.parametrize("x", [grey(5), np.zeros((5, 3, 32, 32), "uint8")])
def test_cifar_must_have_its_shape(tmp_path, x):
    write_npz(tmp_path / "cifar10.npz", x_train=x)
    with pytest.raises(ValueError, match=r"\(n, 32, 32, 3\)"):
        data.load("cifar10", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "celeba"])
@pytest.mark.parametrize("binarize", ["static", "dynamic", "threshold"])
def test_colour_is_not_binarised(tmp_path, name, binarize):
    with pytest.raises(ValueError, match="in colour.*must be None or 'none'") as error:
        data.load(name, tmp_path, binarize)
    assert repr(binarize) in only_sentence(error)


# CelebA

PARTS = [0, 2, 0, 1, 0, 0, 1, 2, 0]  # training, validation, test


def jpeg(image, **options):
    file = io.BytesIO()
    options = {"format": "JPEG", "quality": 95, "subsampling": 0} | options
    Image.fromarray(image).save(file, **options)
    return file.getvalue()


def faces(n):
    """Blotches of 30 pixels, which JPEG keeps well, in three colours."""
    x = np.random.RandomState(3).randint(0, 256, (n, 8, 6, 3))
    return x.repeat(30, 1).repeat(30, 2)[:, :218, :178].astype("uint8")


def write_celeba(folder, zipped=False, parts=PARTS):
    folder.mkdir(exist_ok=True)
    files = [f"{i + 1:06}.jpg" for i in range(len(parts))]
    contents = [jpeg(x) for x in faces(len(parts))]
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{file} {part}\n" for file, part in zip(files, parts, strict=True))
    )
    if zipped:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
            archive.mkdir("img_align_celeba")
            for file, content in zip(files, contents, strict=True):
                archive.writestr(f"img_align_celeba/{file}", content)
        return
    (folder / "img_align_celeba").mkdir()
    for file, content in zip(files, contents, strict=True):
        (folder / "img_align_celeba" / file).write_bytes(content)


def triangle_weights():
    """What bilinear resizing with antialiasing does to 140 pixels, in closed form."""
    scale = 140 / 64
    distance = np.arange(140) + 0.5 - scale * (np.arange(64)[:, None] + 0.5)
    weights = np.maximum(0, 1 - abs(distance) / scale)
    return weights / weights.sum(1, keepdims=True)


def decoded_crop(content):
    return np.asarray(Image.open(io.BytesIO(content)))[39:179, 19:159]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("own_folder", [False, True])
def test_celeba_files(tmp_path, zipped, own_folder):
    write_celeba(tmp_path / "celeba" if own_folder else tmp_path, zipped)
    d = data.load("celeba", tmp_path)
    images = [jpeg(x) for x in faces(9)]
    w = triangle_weights()
    for part, split in enumerate(SPLITS):
        x = getattr(d, split)
        which = [i for i in range(9) if PARTS[i] == part]
        assert x.dtype == np.float32 and x.shape == (len(which), 64, 64, 3)
        for image, i in zip(255 * x, which, strict=True):
            crop = decoded_crop(images[i]).astype(float)
            expected = np.einsum("ai,bj,ijc->abc", w, w, crop, optimize=True)
            # Pillow rounds to 8 bits after columns and after rows.
            assert abs(image - expected).max() < 1.01
            means = image.mean((0, 1)), crop.mean((0, 1))
            np.testing.assert_allclose(*means, atol=1)
    assert d.y_train is None and d.y_test is None and d.binarize == "none"
    assert d.source.startswith("img_align_celeba" + ".zip" * zipped)
    assert "5 training and 2 test images, published 162770 and 19962" in d.description
    assert "first" not in d.description


def test_face_is_the_centre_and_nothing_else():
    image = colour(1, 218, 178)[0]
    image[39:179, 19:159] = 10, 120, 250
    assert (data._face(Image.fromarray(image)) == (10, 120, 250)).all()
    # One pixel more on any side would show.
    for border in [
        np.s_[39, 19:159], np.s_[178, 19:159], np.s_[39:179, 19], np.s_[39:179, 158]
    ]:  # fmt: skip
        other = image.copy()
        other[border] = 255 - other[border]
        assert (data._face(Image.fromarray(other)) != (10, 120, 250)).any()


def test_face_has_edges_where_they_belong():
    # 35 pixels become 16. Output pixels beside an edge have an eighth of their
    # triangle on its other side.
    image = np.zeros((218, 178, 3), "uint8")
    image[39 + 35 :, :, 0] = 255
    image[:, 19 + 70 :, 1] = 255
    face = data._face(Image.fromarray(image)) / 255
    rows, columns = face[:, :1, 0], face[:1, :, 1]
    assert (face[:, :, 0] == rows).all() and (face[:, :, 1] == columns).all()
    assert (face[:, :, 2] == 0).all()
    for profile, at in ((rows.ravel(), 16), (columns.ravel(), 32)):
        assert (profile[: at - 1] == 0).all() and (profile[at + 1 :] == 1).all()
        np.testing.assert_allclose(profile[at - 1 : at + 1], [1 / 8, 7 / 8], atol=0.02)


def celeba_npz(folder):
    x, x_test = colour(5, 64, 64), colour(2, 64, 64, 1)
    write_npz(folder / "celeba.npz", x_train=x, x_test=x_test)


@pytest.mark.parametrize("kind", ["folder", "zip", "npz"])
def test_celeba_limit_gives_the_first_of_the_whole(tmp_path, kind):
    if kind == "npz":
        celeba_npz(tmp_path)
    else:
        write_celeba(tmp_path, kind == "zip")
    whole = data.load("celeba", tmp_path)
    for limit in range(1, 6):
        part = data.load("celeba", tmp_path, limit=limit)
        assert np.array_equal(part.x_train, whole.x_train[:limit])
        assert np.array_equal(part.x_test, whole.x_test)
        assert kind == "npz" or np.array_equal(part.x_valid, whole.x_valid)
        assert ("first" in part.description) == (limit < 5)
        assert "5 training and 2 test images, published" in part.description
    assert part.checksum == whole.checksum
    assert "first 2 of 5" in data.load("celeba", tmp_path, limit=2).description
    with pytest.raises(ValueError, match="at most the 5 training images of 'celeba'"):
        data.load("celeba", tmp_path, limit=6)


def test_celeba_decodes_no_more_than_the_limit(tmp_path):
    write_celeba(tmp_path)
    third = tmp_path / "img_align_celeba" / "000005.jpg"
    third.write_bytes(b"no face")
    assert len(data.load("celeba", tmp_path, limit=2).x_train) == 2
    with pytest.raises(ValueError, match="000005.jpg: expected a readable JPEG"):
        data.load("celeba", tmp_path, limit=3)
    # Too high a limit is refused before anything is decoded.
    with pytest.raises(ValueError, match="limit must be at most the 5"):
        data.load("celeba", tmp_path, limit=6)


def test_celeba_npz(tmp_path):
    celeba_npz(tmp_path)
    d = data.load("celeba", tmp_path)
    assert np.array_equal(d.x_train, (colour(5, 64, 64) / 255).astype("float32"))
    assert d.x_valid is None and d.y_train is None
    assert d.source == "celeba.npz in data_dir"
    x = colour(2, 64, 64, 7)
    write_npz(tmp_path / "celeba.npz", x_train=x, x_test=x, x_valid=x[::-1])
    d = data.load("celeba", tmp_path)
    assert np.array_equal(d.x_valid, d.x_train[::-1])


FACE = faces(1)[0]
WRONG_JPEGS = {
    "text": (b"no face", "a readable JPEG, found damage"),
    "empty": (b"", "a readable JPEG, found damage"),
    "truncated": (jpeg(FACE)[:2000], "a readable JPEG, found damage"),
    "png": (jpeg(FACE, format="PNG"), "a readable JPEG, found damage"),
    "turned": (jpeg(FACE.transpose(1, 0, 2)), "found RGB, 218 wide and 178 high"),
    "cropped": (jpeg(FACE[:64, :64]), "178 wide and 218 high, found RGB, 64 wide"),
    "grey": (jpeg(FACE[..., 0]), "found L, 178 wide"),
}


@pytest.mark.parametrize("case", WRONG_JPEGS)
def test_wrong_jpeg(tmp_path, case):
    content, match = WRONG_JPEGS[case]
    write_celeba(tmp_path)
    (tmp_path / "img_align_celeba" / "000004.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=match) as error:
        data.load("celeba", tmp_path)
    assert "000004.jpg" in only_sentence(error)


@pytest.mark.parametrize("harm", [truncate, flip, empty])
def test_damaged_celeba_archive(tmp_path, harm):
    write_celeba(tmp_path, zipped=True)
    harm(tmp_path / "img_align_celeba.zip")
    with pytest.raises(ValueError, match="fetch or make the file again") as error:
        data.load("celeba", tmp_path)
    assert "img_align_celeba.zip" in only_sentence(error)
    assert error.value.__cause__ is not None


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t[: t.index("000008")], "a line for each image, found no 000008"),
        (lambda t: t.replace("000003.jpg 0\n", ""), "image, found no 000003.jpg"),
        (lambda t: t[:-3], "0, 1 or 2, found '000009.jpg' in line 9"),
        (lambda t: t.replace("jpg 2", "jpg 3", 1), "found '000002.jpg 3' in line 2"),
        (lambda t: t + "000001.jpg 1\n", "each name once.*in line 10"),
        (lambda t: t.replace("3.jpg", "3 .jpg"), "found '000003 .jpg 0' in line 3"),
        (lambda t: t.replace(" 1", " 0"), "parts 0, 1 and 2, found none of 1"),
        (lambda t: "", "found none of 0"),
        (lambda t: t + "000010.jpg 1\n", "list_eval_partition.txt, found no 000010"),
    ],
)
def test_images_and_their_list_must_agree(tmp_path, zipped, change, match):
    write_celeba(tmp_path, zipped)
    path = tmp_path / "list_eval_partition.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=match) as error:
        data.load("celeba", tmp_path)
    assert "fetch or make the file again" in only_sentence(error)


def test_celeba_list_alone_is_missing_files(tmp_path):
    write_celeba(tmp_path, zipped=True)
    (tmp_path / "img_align_celeba.zip").unlink()
    with pytest.raises(FileNotFoundError, match="img_align_celeba.zip"):
        data.load("celeba", tmp_path)


# Omniglot by alphabet

OTHER_ALPHABETS = ["Angelic", "Tengwar", "ULOG"]


def write_omniglot(path, **changes):
    """Six characters of four alphabets, three drawers; image 10 c + d has one value."""
    alphabets = [*OTHER_ALPHABETS, *reversed(data._BACKGROUND)]
    names = ["Latin", "ULOG", "Latin", "Greek", "Angelic", "ULOG"]
    y = np.array([alphabets.index(name) for name in names])
    x = np.array([[10 * c + d for d in range(3)] for c in range(6)], "uint8")
    x = np.broadcast_to(x[..., None, None], (6, 3, 28, 28))
    characters = np.arange(6)
    arrays = {
        "x_train": x[:, :2].reshape(12, 28, 28),
        "x_test": x[:, 2],
        "y_train": y.repeat(2).astype("uint8"),
        "y_test": y.astype("uint8"),
        "c_train": characters.repeat(2).astype("uint16"),
        "c_test": characters.astype("uint16"),
        "alphabet_names": np.array(alphabets),
    } | changes
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


@pytest.mark.parametrize("folder", [".", "omniglot_alphabets", "omniglot"])
def test_omniglot_is_regrouped_by_alphabet(tmp_path, folder):
    write_omniglot(tmp_path / folder / "omniglot.npz")
    d = data.load("omniglot_alphabets", tmp_path)
    values = np.rint(255 * d.x_train[:, 5, 5, 0]).astype(int).tolist()
    assert values == [0, 1, 2, 20, 21, 22, 30, 31, 32]  # Latin, Latin, Greek
    assert d.y_train.tolist() == [0, 0, 0, 2, 2, 2, 3, 3, 3]
    values = np.rint(255 * d.x_test[:, 5, 5, 0]).astype(int).tolist()
    assert values == [10, 11, 12, 40, 41, 42, 50, 51, 52]
    assert d.y_test.tolist() == [1, 1, 1, 4, 4, 4, 5, 5, 5]
    assert d.x_valid is None and d.binarize == "none"
    assert d.source == "omniglot.npz in data_dir"
    assert "area-averaged Omniglot" in d.description
    assert "9 training and 9 test images, published 19280 and 13180" in d.description


def test_omniglot_alphabets_treat_grey_pixels_and_limit(tmp_path):
    write_omniglot(tmp_path / "omniglot.npz")
    whole = data.load("omniglot_alphabets", tmp_path, "static")
    part = data.load("omniglot_alphabets", tmp_path, "static", limit=4)
    assert set(np.unique(whole.x_train)) == {0, 1}
    assert np.array_equal(part.x_train, whole.x_train[:4])
    assert np.array_equal(part.y_train, whole.y_train[:4])
    assert np.array_equal(part.x_test, whole.x_test)


NO_GREEK = np.array([*OTHER_ALPHABETS, *(a for a in data._BACKGROUND if a != "Greek")])
WRONG_OMNIGLOT = {
    "no characters": ({"c_test": None}, "keys x_train.*c_test.*, found x_train"),
    "no alphabets": ({"alphabet_names": None}, "keys x_train.*alphabet_names, found"),
    "no index": ({"y_train": None}, "keys x_train.*y_train"),
    "other names": ({"alphabet_names": NO_GREEK}, "alphabet_names, found no Greek"),
    "index": ({"y_test": np.full(6, 33)}, "33 alphabet_names.*found 0 to 33"),
    "negative": ({"y_test": np.full(6, -1)}, "found -1 to"),
    "short": ({"c_train": np.arange(11)}, "c_train: expected 12 integer labels"),
    "floats": ({"y_train": np.zeros(12)}, "y_train: expected 12 integer labels"),
    "one kind": (
        {"y_train": np.zeros(12, int), "y_test": np.zeros(6, int)},
        "images of one kind only",
    ),
}


@pytest.mark.parametrize("case", WRONG_OMNIGLOT)
def test_wrong_omniglot(tmp_path, case):
    changes, match = WRONG_OMNIGLOT[case]
    write_omniglot(tmp_path / "omniglot.npz", **changes)
    with pytest.raises(ValueError, match=match) as error:
        data.load("omniglot_alphabets", tmp_path)
    assert "omniglot.npz" in only_sentence(error)


def test_chardata_has_no_alphabets(tmp_path):
    x = unit(grey(5)).reshape(5, 784).T
    scipy.io.savemat(tmp_path / "chardata.mat", {"data": x, "testdata": x})
    assert data.load("omniglot", tmp_path).source == "chardata.mat in data_dir"
    with pytest.raises(FileNotFoundError, match="chardata.mat, which names no"):
        data.load("omniglot_alphabets", tmp_path)


# The published files


def shared(name):
    if not (SHARED / f"{name}.npz").exists():
        pytest.skip(f"{name}.npz is not beside the repository")
    return data.load(name, SHARED)


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
def test_real_data(name, counts, first_sums, checksum):
    d = shared(name)
    for split, count, total in zip(SPLITS, counts, first_sums, strict=True):
        x = getattr(d, split)
        assert (None if x is None else x.shape) == (count and (count, 28, 28, 1))
        if total is not None:
            assert round(float(x[0].sum(dtype="float64")) * 255) == total
    assert d.checksum == checksum
    assert d.source == f"{name}.npz in data_dir"
    assert "published" not in d.description


def test_real_cifar10(shared_data):
    if not (shared_data / "cifar10_10k.npz").exists():
        pytest.skip("cifar10_10k.npz is not beside the repository")
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
    if not (shared_data / "omniglot.npz").exists():
        pytest.skip("omniglot.npz is not beside the repository")
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


def test_published_binary_file_is_read_from_amat_too(tmp_path):
    d = shared("binary_mnist")
    digest = hashlib.sha256()
    for part in np.array_split(d.x_train[..., 0].reshape(-1, 784), 10):
        text = np.full((len(part), 2 * 784), ord(" "), np.uint8)
        text[:, ::2] = part + ord("0")
        text[:, -1] = ord("\n")
        digest.update(text)
    assert digest.hexdigest().startswith("ad693b29f94c")
    path = tmp_path / "x.amat"
    path.write_bytes(text.tobytes())  # the last tenth
    assert np.array_equal(data._read_amat(path), d.x_train[-5000:, :, :, 0])


def test_mnist_in_place_of_fashion_is_noticed(tmp_path):
    if not (SHARED / "mnist.npz").exists():
        pytest.skip("mnist.npz is not beside the repository")
    with np.load(SHARED / "mnist.npz", allow_pickle=False) as file:
        write_idx(tmp_path, file["x_train"], file["x_test"], zipped=False)
    for path in tmp_path.glob("*labels*"):
        path.unlink()
    with pytest.raises(ValueError, match="expected Fashion-MNIST, found MNIST"):
        data.load("fashion_mnist", tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(bytes(content))
    d = data.load("mnist", tmp_path)
    assert "pixels differ from the published ones" in d.description


# TensorFlow Datasets, imitated


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
    expected = [data._face(Image.fromarray(image)) for image in x]
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
    with pytest.raises(ValueError, match="at most the 5 training images"):
        data.load("celeba", limit=6)


def test_tfds_offline_says_so_at_once(fake_tfds):
    builder = fake_tfds("mnist", tfds_splits(train=grey(6), test=grey(3)), False)
    with pytest.raises(ConnectionError, match="storage.googleapis.com") as error:
        data.load("mnist")
    assert "pass data_dir" in only_sentence(error) and builder.downloads == 0


@pytest.mark.parametrize(
    ("proxies", "address"),
    [
        ({}, ("storage.googleapis.com", 443)),
        ({"https": "http://proxy.example:3128"}, ("proxy.example", 3128)),
        ({"https": "proxy.example:8080"}, ("proxy.example", 8080)),
        ({"http": "http://proxy.example"}, ("storage.googleapis.com", 443)),
    ],
)
def test_tfds_downloads_once_the_network_answers(
    fake_tfds, monkeypatch, proxies, address
):
    builder = fake_tfds("mnist", tfds_splits(train=grey(6), test=grey(3)), False)
    calls = []

    def connect(where, timeout):
        assert timeout == 5
        calls.append(where)
        return types.SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr("urllib.request.getproxies", lambda: proxies)
    data.load("mnist")
    assert builder.downloads == 1 and calls == [address]


def test_without_tfds_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"echo-keras\[tfds\].*pass data_dir"):
        data.load("mnist")


def test_no_silent_fall_back_to_tfds(fake_tfds, tmp_path):
    fake_tfds("mnist", tfds_splits(train=grey(6), test=grey(3)))
    with pytest.raises(FileNotFoundError):
        data.load("mnist", tmp_path)


# The module itself


def test_reading_data_needs_neither_keras_nor_sklearn_at_import():
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('data', {str(MODULE)!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['data'] = module\n"
        "spec.loader.exec_module(module)\n"
        "heavy = 'keras tensorflow tensorflow_datasets sklearn scipy PIL'.split()\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_docstring_examples_run():
    result = doctest.testmod(data)
    assert result.attempted >= 6 and result.failed == 0
