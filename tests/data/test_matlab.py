"""Tests of the reader of MATLAB files, against SciPy's."""

import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from echo_keras.data import matlab

NAMES = ("data", "testdata")


def matrices(columns=(5, 3), dtype="float64"):
    rng = np.random.RandomState(0)
    return {
        name: rng.randint(0, 100, (784, n)).astype(dtype)
        for name, n in zip(NAMES, columns, strict=True)
    }


def write(path, arrays, **options):
    scipy.io.savemat(path, arrays, **options)
    return path


def read(path, columns=10):
    return matlab.read_matrices(path, NAMES, 784, columns)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8", "int16", "uint64"])
def test_matrices_are_those_that_scipy_reads(tmp_path, compressed, dtype):
    # The published file has more beside them: names, targets, texts.
    others = {"target": np.eye(50), "names": np.array(["a", "bc"], object), "n": "text"}
    arrays = {**others, **matrices(dtype=dtype), "last": np.zeros((2, 3, 4))}
    path = write(tmp_path / "m.mat", arrays, do_compression=compressed)
    found, expected = read(path), scipy.io.loadmat(path)
    assert list(found) == list(NAMES)
    for name in NAMES:
        assert found[name].dtype == expected[name].dtype == dtype
        np.testing.assert_array_equal(found[name], expected[name])


def element(order, kind, content):
    padding = b"" if kind == 15 else bytes(-len(content) % 8)
    return struct.pack(order + "II", kind, len(content)) + content + padding


def matrix(order, name, array, stored, flags=6, shape=None):
    """A matrix of doubles that MATLAB keeps in a smaller type."""
    name = name.encode()
    small = struct.pack(order + "I", 1 | len(name) << 16) + name.ljust(4, b"\0")
    parts = [
        element(order, 6, struct.pack(order + "II", flags, 0)),
        element(order, 5, struct.pack(order + "2i", *(shape or array.shape))),
        small if len(name) <= 4 else element(order, 1, name),
        element(order, stored[0], array.astype(order + stored[1]).tobytes(order="F")),
    ]
    return element(order, 14, b"".join(parts))


def header(order):
    text = b"MATLAB 5.0 MAT-file".ljust(124)
    return text + struct.pack(order + "HH", 0x100, 0x4D49)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stored", [(2, "u1"), (4, "u2"), (3, "i2"), (9, "f8")])
def test_doubles_are_doubles_however_matlab_keeps_them(tmp_path, order, stored):
    arrays = matrices()
    content = header(order) + b"".join(
        matrix(order, name, array, stored) for name, array in arrays.items()
    )
    path = tmp_path / "m.mat"
    path.write_bytes(content)
    found = read(path)
    expected = scipy.io.loadmat(io.BytesIO(content), mat_dtype=True)
    for name, array in arrays.items():
        assert found[name].dtype == "float64"
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(expected[name], array)


def bad(content, begin=0):
    """A file with one more element, which is damaged."""
    good = b"".join(
        matrix("<", name, array, (9, "f8")) for name, array in matrices().items()
    )
    return header("<") + good[:begin] + content + good[begin:]


DOUBLE = (9, "f8")
TWO = np.zeros((784, 2))
DAMAGE = {
    "no header": (b"MATLAB", "its header is not"),
    "version 4": (bytes(200), "its header is not"),
    "type": (bad(element("<", 9, bytes(8))), "an element is of type 9"),
    "size": (
        bad(struct.pack("<II", 14, 2**31)),
        "2147483648 bytes begins where 50296 are",
    ),
    "half a tag": (bad(b"\x0e\0\0"), "damage"),
    "small": (bad(struct.pack("<HHI", 14, 9, 0)), "a small element has 9 bytes"),
    "twice": (bad(matrix("<", "data", TWO, DOUBLE)), "it has data twice"),
    "no flags": (
        bad(element("<", 14, element("<", 5, bytes(8)) * 3)),
        "does not begin with its flags",
    ),
    "zlib": (bad(element("<", 15, b"no zlib")), "Error -3"),
    "inner size": (
        header("<")
        + element("<", 15, zlib.compress(matrix("<", "data", TWO, DOUBLE) + b"more")),
        "unpacks to other than its",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_sentence(tmp_path, kind):
    content, sentence = DAMAGE[kind]
    path = tmp_path / "m.mat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as error:
        read(path)
    text = str(error.value)
    assert text.startswith(f"{path} must hold a readable .mat file. Received: damage")
    assert "\n" not in text


WRONG = {
    "code": ({"stored": (99, "f8")}, "of type 99"),
    "complex": ({"stored": DOUBLE, "flags": 6 | 0x800}, "not of real numbers"),
    "text": ({"stored": (4, "u2"), "flags": 4}, "not of real numbers"),
    "longer": ({"stored": DOUBLE, "shape": (784, 1)}, "12544 bytes are there for the"),
    "shorter": ({"stored": DOUBLE, "shape": (784, 9)}, "12544 bytes are there for the"),
    "rows": ({"stored": DOUBLE, "shape": (392, 4)}, r"\(784, n\), 0 < n <= 10.*\(392,"),
    "columns": ({"stored": DOUBLE, "shape": (784, 11)}, r"Received: \(784, 11\)"),
    "negative": ({"stored": DOUBLE, "shape": (784, -2)}, r"Received: \(784, -2\)"),
    "none": ({"stored": DOUBLE, "shape": (784, 0)}, r"Received: \(784, 0\)"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_matrix_that_is_not_as_it_says_is_one_sentence(tmp_path, kind):
    options, sentence = WRONG[kind]
    content = matrix("<", "data", TWO, **options)
    path = tmp_path / "m.mat"
    path.write_bytes(header("<") + content + matrix("<", "testdata", TWO, DOUBLE))
    with pytest.raises(ValueError, match=sentence) as error:
        read(path)
    assert str(error.value).endswith("Fetch or make the file again.")
