"""Matrices of MATLAB 5 files, read with every tag and size checked.

`scipy.io.loadmat` reads out of bounds where a tag is damaged, and takes the process
with it. Here no byte is believed: a length is compared with what is left before
anything is read or unpacked.
"""

import math
import pathlib
import struct
import zlib
from collections.abc import Collection

import numpy as np

from echo_keras._files import Damaged, check_keys, damaged

from .archives import read_bytes

_MATRIX, _COMPRESSED = 14, 15  # types of elements
# Types of numbers, by their codes in a tag, and by the class of a matrix.
_STORED = dict(zip((1, 2, 3, 4, 5, 6, 7, 9, 12, 13), "bBhHiIfdqQ", strict=True))
_CLASSES = dict(zip(range(6, 16), "dfbBhHiIqQ", strict=True))
_COMPLEX = 0x800  # among the flags of a matrix
MOST_BYTES = 2**29  # of a file
_HEAD = 1024  # bytes in which flags, shape and name of a matrix stand, and more


def read_matrices(
    path: pathlib.Path, names: Collection[str], rows: int, columns: int
) -> dict[str, np.ndarray]:
    """Real matrices of a file, by name, in the number type that they have in MATLAB.

    Args:
        path: The file, gzipped or not.
        names: Of the matrices that it must have; others are passed over, unread.
        rows: Of each matrix.
        columns: The most that one may have: no more is unpacked.

    Raises:
        ValueError: the file is damaged, or a matrix is missing or of another kind.
    """
    content = memoryview(read_bytes(path, MOST_BYTES))
    found = {}
    try:
        for name, *matrix in _matrices(content, names, 8 * rows * columns + _HEAD):
            if name in found:
                raise ValueError(f"it has {name} twice")
            found[name] = matrix
        check_keys(path, list(found), names)
        for name in names:
            shape = found[name][0]
            if len(shape) != 2 or shape[0] != rows or not 0 < shape[1] <= columns:
                expected = f"{name} of shape ({rows}, n), 0 < n <= {columns}"
                raise damaged(path, expected, f"{shape}")
        return {name: _numbers(*found[name]) for name in names}
    except Damaged:
        raise
    except (ValueError, struct.error, zlib.error) as error:
        raise damaged(path, "a readable .mat file", f"damage ({error})") from error


def _matrices(content, names, most):
    """Name, shape and so on of all matrices, those in `names` unpacked as a whole."""
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:128]))
    if order is None or struct.unpack(order + "H", content[124:126]) != (0x100,):
        raise ValueError("its header is not that of a MATLAB 5 file")
    begin = 128
    while begin < len(content):
        kind, part, begin = _element(content, begin, order)
        if kind == _COMPRESSED:
            kind, part = _unpacked(part, order, names, most)
        yield _matrix(kind, part, order)


def _element(content, begin, order):
    """Type and content of the element at a place, and where the next one begins."""
    kind, size = struct.unpack_from(order + "II", content, begin)
    if kind >> 16:  # a small one: size and type in four bytes, content in four
        kind, size, start, end = kind & 0xFFFF, kind >> 16, begin + 4, begin + 8
        if size > 4:
            raise ValueError(f"a small element has {size} bytes")
    else:
        start = begin + 8
        # All but compressed ones are padded to eight bytes.
        end = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
    if start + size > len(content):
        left = len(content) - start
        raise ValueError(f"an element of {size} bytes begins where {left} are left")
    return kind, content[start : start + size], end


def _unpacked(part, order, names, most):
    """The compressed element: whole if it is wanted, else its first bytes."""
    content = zlib.decompressobj().decompress(part, _HEAD)
    kind, size = struct.unpack_from(order + "II", content)
    if _matrix(kind, memoryview(content)[8:], order)[0] in names:
        if size > most:
            raise ValueError(f"a matrix has {size} bytes, more than {most}")
        reader = zlib.decompressobj()
        content = reader.decompress(part, size + 9)
        if len(content) != size + 8 or not reader.eof:
            raise ValueError(f"a matrix unpacks to other than its {size} bytes")
    return kind, memoryview(content)[8:]


def _matrix(kind, part, order):
    """Name, shape, number type and byte order of a matrix, and what follows there."""
    if kind != _MATRIX:
        raise ValueError(f"an element is of type {kind}, and no matrix")
    kind, flags, begin = _element(part, 0, order)
    (flags,) = struct.unpack_from(order + "I", flags)
    dims_kind, dims, begin = _element(part, begin, order)
    name_kind, name, begin = _element(part, begin, order)
    if (kind, dims_kind, name_kind) != (6, 5, 1) or len(dims) % 4:
        raise ValueError("a matrix does not begin with its flags, shape and name")
    shape = struct.unpack(f"{order}{len(dims) // 4}i", dims)
    number = None if flags & _COMPLEX else _CLASSES.get(flags & 0xFF)
    return bytes(name).decode("latin-1"), shape, number, order, part[begin:]


def _numbers(shape, number, order, part):
    """The matrix; MATLAB keeps numbers in the smallest type that holds them."""
    kind, numbers, _ = _element(part, 0, order)
    if number is None or kind not in _STORED:
        raise ValueError(f"a matrix is not of real numbers, or of type {kind}")
    stored = np.dtype(order + _STORED[kind])
    if len(numbers) != math.prod(shape) * stored.itemsize:
        raise ValueError(f"{len(numbers)} bytes are there for the shape {shape}")
    return (
        np.frombuffer(numbers, stored)
        .reshape(shape, order="F")
        .astype(number, copy=False)
    )
