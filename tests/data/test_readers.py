"""Tests of the files in data_dir: idx, amat, npz, mat, CIFAR-10, and their damage."""

import dataclasses
import gzip
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import scipy.io
from image_files import (
    CIFAR,
    SPLITS,
    colour,
    empty,
    flip,
    grey,
    idx_bytes,
    only_sentence,
    truncate,
    unit,
    write_amat,
    write_cifar,
    write_idx,
    write_npz,
)

from echo_keras import data
from echo_keras.data import matlab, readers


@pytest.mark.parametrize(
    ("name", "zipped", "own_folder"),
    [("mnist", True, False), ("mnist", False, True), ("fashion_mnist", True, True)],
)
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


# Missing files


FILES = {
    "binary_mnist": ["binary_mnist.npz", "binarized_mnist_train.amat"],
    "mnist": ["mnist.npz", "train-images-idx3-ubyte"],
    "omniglot": ["omniglot.npz", "chardata.mat"],
    "fashion_mnist": ["fashion_mnist.npz", "train-images-idx3-ubyte"],
    "cifar10": ["cifar10.npz", "data_batch_1.bin", "cifar10_10k.npz"],
    "celeba": ["celeba.npz", "list_eval_partition.txt, img_align_celeba/", ".zip"],
    "omniglot_alphabets": ["omniglot.npz", "chardata.mat, which names no alphabets"],
}


@pytest.mark.parametrize(
    "name", [n for n, e in data.DATASETS.items() if not e.embedded]
)
def test_missing_files_are_named(tmp_path, name):
    (tmp_path / "cifar.npz").touch()
    with pytest.raises(
        FileNotFoundError, match=f"^data_dir must hold {name}: "
    ) as error:
        data.load(name, tmp_path)
    assert all(file in only_sentence(error) for file in FILES[name])
    assert f"in {tmp_path / name} or in" in str(error.value)
    assert f"in {tmp_path}. Received: none" in str(error.value)


def test_half_of_the_files_is_missing_files(tmp_path):
    write_idx(tmp_path, grey(6), grey(3))
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-images-idx3-ubyte"):
        data.load("mnist", tmp_path)


def test_data_dir_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="which is no folder"):
        data.load("mnist", tmp_path / "typo")


# Damaged files


def nan_image():
    x = unit(grey(12))
    x[3, 4, 5] = np.nan
    return x


WRONG_NPZ = {
    "pickle": ({"x_train": np.array([{}], object)}, "pickles are never loaded"),
    "key": (
        {"x_test": None},
        "x_train, x_test. Received: the keys x_train, y_",
    ),
    "shape": ({"x_train": np.zeros((12, 32, 32), "uint8")}, r"shape \(12, 32, 32, 1\)"),
    "colour": ({"x_train": np.zeros((12, 28, 28, 3), "uint8")}, "28, 28, 3"),
    "dtype": ({"x_train": np.zeros((12, 28, 28), int)}, "dtype int64"),
    "range": ({"x_train": grey(12).astype("float32")}, "Divide by 255"),
    "nan": ({"x_train": nan_image()}, "NaN in 1 of 12"),
    "labels": ({"y_train": np.arange(11)}, "must hold 12 integer labels"),
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
    with pytest.raises(ValueError, match="must hold binary pixels"):
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
    with pytest.raises(ValueError, match="Fetch or make the file again") as error:
        data.load(name, tmp_path)
    assert path.name in str(error.value)
    if not (kind == "idx.gz" and harm is empty):
        assert error.value.__cause__ is not None


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda b: b[:-1], "hold 9408 bytes of data .* Received: 9407"),
        (lambda b: b + b"x", "hold 9408 bytes of data .* Received: more"),
        (lambda b: b[:9], "begin with 00 00 08 03"),
        (lambda b: b"\0\0\x0d\x03" + b[4:], "begin with 00 00 0d 03"),
        (lambda b: b"", "begin with nothing"),
        (lambda b: b[:4] + b"\xff" * 12 + b[16:], "at most 94080000 bytes of data"),
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
    with pytest.raises(ValueError, match="must hold 12 integer labels"):
        data.load("mnist", tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t[:-10], "Received: 780 in line 3"),
        (lambda t: t.replace("0 1", "0 2", 1), "other characters"),
        (lambda t: t.replace("0 1", "0.1", 1), "other characters"),
        (lambda t: t.replace("0 1", "01", 1), "several digits"),
        (lambda t: "", "Received: 0 in line 1"),
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
        ({"data": np.zeros((784, 2))}, "keys data, testdata. Received: the keys data"),
        ({"data": np.zeros((2, 784)), "testdata": np.zeros((784, 2))}, r"\(2, 784\)"),
        ({"data": np.full((784, 2), 2.0), "testdata": np.zeros((784, 2))}, "from 2"),
    ],
)
def test_wrong_chardata(tmp_path, content, match):
    scipy.io.savemat(tmp_path / "chardata.mat", content)
    with pytest.raises(ValueError, match=match):
        data.load("omniglot", tmp_path)


# Files that unpack to more than they may


def peak(function):
    """Megabytes that a call takes at most, and what it raised."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as error:
            function()
        return tracemalloc.get_traced_memory()[1] / 2**20, only_sentence(error)
    finally:
        tracemalloc.stop()


def npy(shape, dtype="|u1", content=b"", version=b"\1\0", order="False"):
    """Bytes of an .npy file with a header of its own."""
    header = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}}}\n"
    size = struct.pack("<H" if version == b"\1\0" else "<I", len(header))
    return b"\x93NUMPY" + version + size + header.encode() + content


def write_zip(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, content in members.items():
            archive.writestr(f"{key}.npy", content)


MANY = 50 * 2**20  # bytes, in a file of 50 kB


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            npy((MANY // 784, 28, 28), content=bytes(MANY // 784 * 784)),
            "at most 6272000 bytes. Received: uint8 of shape (66873, 28, 28)",
        ),
        (npy((10, 28, 28), content=bytes(MANY)), "52428800 for the shape"),
        (npy((2**60, 28, 28)), "as many bytes as its header says. Received: 0 for"),
        (npy((-1, 28, 28)), "as many bytes as its header says"),
        (npy((1,), f"<U{MANY // 4}", bytes(MANY)), "at most 6272000 bytes"),
        (npy((1,), "|O", b"pickle"), "object, and pickles are never loaded"),
        (npy((1,), "<c16", bytes(16)), "Received: complex128. Fetch"),
        # A header of fifty megabytes, which NumPy reads before it asks how long it is.
        (b"\x93NUMPY\2\0" + struct.pack("<I", MANY) + bytes(MANY), "(2, 0) of the"),
    ],
    ids=range(8),
)
def test_npz_bombs_are_not_unpacked(tmp_path, monkeypatch, content, sentence):
    entry = dataclasses.replace(data.DATASETS["mnist"], counts=(500, 100))
    monkeypatch.setitem(data.DATASETS, "mnist", entry)
    test = npy((1, 28, 28), content=bytes(784))
    write_zip(tmp_path / "mnist.npz", x_train=content, x_test=test)
    megabytes, text = peak(lambda: data.load("mnist", tmp_path))
    assert sentence in text and "mnist.npz" in text
    assert megabytes < 5


def test_an_array_that_is_there_twice_is_refused(tmp_path):
    write_npz(tmp_path / "mnist.npz")
    with zipfile.ZipFile(tmp_path / "mnist.npz", "a") as archive:
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x_train.npy", npy((1, 28, 28), content=bytes(784)))
    with pytest.raises(ValueError, match="one array x_train. Received: 2. Fetch"):
        data.load("mnist", tmp_path)


def test_arrays_that_lie_column_by_column_are_read(tmp_path):
    x = grey(12)
    write_npz(tmp_path / "mnist.npz", x_train=np.asfortranarray(x))
    assert np.array_equal(data.load("mnist", tmp_path).x_train, unit(x)[:10])


def test_no_more_than_the_limit_is_read(tmp_path):
    # Nor the checksum of what lies behind it, which is damaged.
    x = colour(400, 64, 64)
    np.savez(tmp_path / "celeba.npz", x_train=x, x_valid=x[:1], x_test=x[:1])
    content = bytearray((tmp_path / "celeba.npz").read_bytes())
    content[content.index(x[399].tobytes())] ^= 255
    (tmp_path / "celeba.npz").write_bytes(content)
    tracemalloc.start()
    try:
        dataset = data.load("celeba", tmp_path, limit=3)
        assert tracemalloc.get_traced_memory()[1] < 2 * 2**20  # of 5 MB
    finally:
        tracemalloc.stop()
    assert np.array_equal(dataset.x_train, (x[:3] / 255).astype("float32"))
    with pytest.raises(ValueError, match="Bad CRC-32"):
        data.load("celeba", tmp_path)


@pytest.mark.parametrize("images", [60, 2**32 - 1])
def test_gz_bombs_are_not_unpacked(tmp_path, images):
    write_idx(tmp_path, grey(6), grey(3))
    header = struct.pack(">4B3I", 0, 0, 8, 3, images, 28, 28)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(header + bytes(MANY), 1))
    megabytes, text = peak(lambda: data.load("mnist", tmp_path))
    wanted = "Received: more" if images == 60 else "at most 94080000 bytes of data"
    assert wanted in text and path.name in text
    assert megabytes < 5


@pytest.mark.parametrize("file", ["data_batch_1.bin.gz", "chardata.mat.gz"])
def test_other_gz_files_have_a_bound_too(tmp_path, monkeypatch, file):
    monkeypatch.setattr(readers, "TIMES", 1)
    monkeypatch.setattr(matlab, "MOST_BYTES", 2**20)
    write_cifar(tmp_path, *CIFAR)
    (tmp_path / file.removesuffix(".gz")).unlink(missing_ok=True)
    (tmp_path / file).write_bytes(gzip.compress(bytes(MANY), 1))
    name = "cifar10" if "batch" in file else "omniglot"
    _, text = peak(lambda: data.load(name, tmp_path))
    assert "must hold at most" in text and file in text


@pytest.mark.parametrize("label", [-1, 10**12])
def test_labels_that_are_none_are_refused(tmp_path, label):
    write_npz(tmp_path / "mnist.npz", y_test=np.array([0, label, 1]))
    with pytest.raises(ValueError, match=f"from 0 to 999,999. Received: .*{label}"):
        data.load("mnist", tmp_path)


# CIFAR-10


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
        (lambda b: b[:-1], "records of 3073 bytes.*Received: 6145 bytes"),
        (lambda b: b + b"x", "Received: 6147 bytes"),
        (lambda b: b"", "Received: 0 bytes"),
        (lambda b: b"\x0a" + b[1:], "labels from 0 to 9. Received: 10"),
        (lambda b: b[:1] + b, "Received: 6147 bytes"),  # CIFAR-100 has two labels
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
