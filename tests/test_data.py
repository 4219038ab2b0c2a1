"""Tests of echo_keras.data: sources, splits, treatments, and every complaint."""

import doctest
import gzip
import hashlib
import pathlib
import socket
import struct
import subprocess
import sys
import types

import hypothesis
import numpy as np
import pytest
import scipy.io
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

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


@pytest.mark.parametrize("name", [n for n in data.names() if n != "digits"])
def test_missing_files_are_named(tmp_path, name):
    (tmp_path / "cifar.npz").touch()
    with pytest.raises(FileNotFoundError, match=f"{name}.npz") as error:
        data.load(name, tmp_path)
    first_file = data._AUTHORS[name][0][0]
    assert first_file in only_sentence(error) and str(tmp_path) in str(error.value)


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
        self.info = types.SimpleNamespace(version="3.0.0")
        self.downloads = 0

    def download_and_prepare(self):
        self.downloads += 1

    def as_dataset(self, split, batch_size, shuffle_files):
        assert shuffle_files is False
        content = self.splits[split]
        n = len(content["image"])
        for i in range(0, n, batch_size):
            yield {k: v[i : i + batch_size] for k, v in content.items()}


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
        "heavy = 'keras tensorflow tensorflow_datasets sklearn scipy'.split()\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_docstring_examples_run():
    result = doctest.testmod(data)
    assert result.attempted >= 6 and result.failed == 0
