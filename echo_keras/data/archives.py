"""Zipped files and archives, unpacked no further than a bound.

A few kilobytes can unpack to many gigabytes: what a header announces is compared with
what may be there before any of it is read.
"""

import contextlib
import gzip
import math
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from echo_keras._files import Damaged, check_keys, damaged

TIMES = 2  # as many images as published are the most that a file may hold


def most_values(counts: tuple[int, int] | None, shape: tuple[int, ...]) -> int | None:
    """The most pixels that an array of images may have; None where none are known."""
    return None if counts is None else TIMES * max(counts) * math.prod(shape)


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A file to read from, unzipped on the way where its name ends in .gz."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(path, "a complete gzip file", f"damage ({error})") from error


def read_bytes(path: pathlib.Path, most: int) -> bytearray:
    """The content of a file, unzipped, where it has no more than `most` bytes.

    Raises:
        ValueError: it has more, or is no complete gzip file.
    """
    with opened(path) as file:
        content = read_up_to(file, most + 1)
    if len(content) > most:
        raise damaged(path, f"at most {most} bytes", "more")
    return content


def read_up_to(file: BinaryIO, size: int) -> bytearray:
    """The next bytes, fewer where the file ends: no memory is taken for what is not."""
    content = bytearray()
    while len(content) < size:
        part = file.read(min(size - len(content), 2**24))
        if not part:
            break
        content += part
    return content


def read_npz(
    path: pathlib.Path,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    most: int | None = None,
    rows: dict[str, int | None] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, ...]]]:
    """Arrays of an .npz archive by key; pickles in it are never loaded.

    Args:
        path: The archive.
        needed: Keys that it must have.
        optional: Keys that it may have.
        most: The most values that an array may have, any number if None.
        rows: Of the arrays of these keys, no more than so many rows are read.

    Returns:
        The arrays, and the shapes that they have in the file.

    Raises:
        ValueError: the file is damaged, has pickles or lacks one of the `needed` keys.
    """
    arrays, shapes, limits = {}, {}, rows or {}
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist()]
            keys = [name.removesuffix(".npy") for name in names]
            for key in (*needed, *optional):
                if keys.count(key) > 1:
                    raise damaged(path, f"one array {key}", keys.count(key))
                if key in keys:
                    member = archive.infolist()[keys.index(key)]
                    about = f"{path}, {key},", member.file_size, most, limits.get(key)
                    with archive.open(member) as file:
                        arrays[key], shapes[key] = _read_npy(file, *about)
    except Damaged:
        raise
    except Exception as error:  # zip, zlib and NumPy each have errors of their own
        raise damaged(path, "a readable .npz archive", f"damage ({error})") from error
    check_keys(path, keys, needed)
    return arrays, shapes


def npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether it lies column by column, and dtype of the array that follows."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # of any other, NumPy reads a header of up to 4 GB
        raise ValueError(f"version {version} of the .npy format is for other arrays")
    return np.lib.format.read_array_header_1_0(file)


def _read_npy(file, what, size, most, rows):
    shape, fortran, dtype = npy_header(file)
    if dtype.kind not in "biufUS":
        found = f"{dtype}, and pickles are never loaded" * dtype.hasobject or dtype
        raise damaged(what, "a plain array of numbers or texts", found)
    size -= file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size:
        found = f"{size} for the shape {shape} of {dtype}"
        raise damaged(what, "as many bytes as its header says", found)
    read = shape
    if rows is not None and shape and not fortran:
        read = (min(rows, shape[0]), *shape[1:])
    size = math.prod(read) * dtype.itemsize
    if most is not None and size > 8 * most:  # of float64
        found = f"{dtype} of shape {shape}"
        raise damaged(what, f"at most {8 * most} bytes", found)
    content = read_up_to(file, size)
    if len(content) != size:
        raise EOFError(f"{len(content)} bytes are there for the shape {shape}")
    if read == shape and file.read(1):  # reads on to the checksum
        raise EOFError(f"more bytes are there than for the shape {shape}")
    array = np.frombuffer(content, dtype)
    return array.reshape(read, order="F" if fortran else "C"), shape
