"""Readers of the files that data sets are published in."""

import dataclasses
import math
import pathlib

import numpy as np

from echo_keras._files import damaged, find_file

from .archives import TIMES, most_values, opened, read_bytes, read_npz, read_up_to
from .checks import check_labels
from .entry import Entry, Raw
from .matlab import read_matrices


@dataclasses.dataclass(frozen=True)
class Npz:
    """Reads an .npz archive with the keys `x_train` and `x_test`.

    Args:
        needed: other keys that it must have.
        optional: those that it may have, of `x_valid`, `y_train` and `y_test`.
        note: what to tell of it.
        counts: its numbers of training and test images, where they are not those of
            the published data set.
    """

    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ("y_train", "y_test")
    note: str | None = None
    counts: tuple[int, int] | None = None

    def __call__(
        self, entry: Entry, paths: list[pathlib.Path], limit: int | None
    ) -> Raw:
        (path,) = paths
        needed = ("x_train", "x_test", *self.needed)
        most = most_values(self.counts or entry.counts, entry.shape)
        arrays, shapes = read_npz(
            path, needed, self.optional, most, rows={"x_train": limit}
        )
        n_train = None
        if limit is not None and shapes["x_train"]:
            n_train = shapes["x_train"][0]
        x = {
            key: entry.images(arrays[key], f"{path}, {key}")
            for key in ("x_train", "x_test", "x_valid")
            if key in arrays
        }
        y = {
            key: check_labels(arrays.get(key), len(x[f"x{key[1:]}"]), f"{path}, {key}")
            for key in ("y_train", "y_test")
        }
        return Raw(
            **x,
            **y,
            source=f"{path.name} in data_dir",
            notes=[self.note] if self.note else [],
            counts=self.counts,
            n_train=n_train,
        )


def read_idx_files(entry: Entry, paths: list[pathlib.Path], limit: int | None) -> Raw:
    """MNIST's format: two files of images, and of labels where they lie beside."""
    labels = [
        find_file(paths[0].parent, f"{part}-labels-idx1-ubyte")
        for part in ("train", "t10k")
    ]
    most = most_values(entry.counts, entry.shape)
    x = [entry.images(_read_idx(path, 3, most), str(path)) for path in paths]
    y = [
        check_labels(_read_idx(path, 1, most), len(images), str(path)) if path else None
        for path, images in zip(labels, x, strict=True)
    ]
    source = f"{paths[0].name} and {paths[1].name} in data_dir"
    return Raw(*x, source, y_train=y[0], y_test=y[1])


def _read_idx(path: pathlib.Path, ndim: int, most: int | None) -> np.ndarray:
    # Header: 0, 0, 8 for unsigned bytes, the number of axes, then their lengths.
    length = 4 + 4 * ndim
    with opened(path) as file:
        header = file.read(length)
        if header[:4] != bytes([0, 0, 8, ndim]) or len(header) < length:
            begin = header[:4].hex(" ") or "nothing"
            raise damaged(
                path,
                f"an idx file of unsigned bytes with {ndim} axes",
                f"{len(header)} bytes that begin with {begin}",
            )
        shape = tuple(int(n) for n in np.frombuffer(header, ">u4", ndim, 4))
        size = math.prod(shape)
        expected = f"{size} bytes of data for the shape {shape} in its header"
        if most is not None and size > most:
            raise damaged(path, f"at most {most} bytes of data", f"the shape {shape}")
        content = read_up_to(file, size)
        if len(content) < size:
            raise damaged(path, expected, len(content))
        if file.read(1):  # which reads a zipped file's checksum too
            raise damaged(path, expected, "more")
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_amat_files(entry: Entry, paths: list[pathlib.Path], limit: int | None) -> Raw:
    """Three files of text: training, validation and test images."""
    x_train, x_valid, x_test = (
        entry.images(read_amat(path).astype(bool), str(path)) for path in paths
    )
    source = "binarized_mnist_{train,valid,test}.amat in data_dir"
    return Raw(x_train, x_test, source, x_valid=x_valid)


def read_amat(path: pathlib.Path) -> np.ndarray:
    """Reads lines of 784 digits, 0 or 1, with white space between them."""
    # A digit and a space for each pixel, or two at the end of a line.
    content = read_bytes(path, TIMES * 50_000 * (2 * 784 + 2))
    expected = "lines of 784 digits, 0 or 1, with spaces between"
    text = np.frombuffer(content.rstrip() + b"\n", np.uint8)
    digit = (text == ord("0")) | (text == ord("1"))
    if not np.isin(text[~digit], list(b" \t\r\n")).all():
        raise damaged(path, expected, "other characters")
    if (digit[1:] & digit[:-1]).any():
        raise damaged(path, expected, "numbers of several digits")
    ends = np.cumsum(digit)[text == ord("\n")]
    per_line = np.diff(ends, prepend=0)
    wrong = np.flatnonzero(per_line != 784)
    if len(wrong):
        raise damaged(path, expected, f"{per_line[wrong[0]]} in line {wrong[0] + 1}")
    return (text[digit] == ord("1")).reshape(-1, 28, 28)


def read_chardata(entry: Entry, paths: list[pathlib.Path], limit: int | None) -> Raw:
    """Omniglot as a MATLAB file of 28x28 images."""
    (path,) = paths
    counts = 24_345, 8_070
    most = TIMES * counts[0]
    images = []
    for key, x in read_matrices(path, ("data", "testdata"), 784, most).items():
        # A column holds one image, column by column.
        x = x.T.reshape(-1, 28, 28).transpose(0, 2, 1)
        images.append(entry.images(x, f"{path}, {key}"))
    return Raw(
        *images,
        f"{path.name} in data_dir",
        notes=["28x28 as split by Burda et al."],
        counts=counts,
    )


def read_cifar_files(entry: Entry, paths: list[pathlib.Path], limit: int | None) -> Raw:
    """CIFAR-10's binary version: five files of training images and one for test."""
    splits = []
    for part in (paths[:-1], paths[-1:]):
        records = np.concatenate([_read_cifar(path) for path in part])
        planes = records[:, 1:].reshape(-1, 3, 32, 32)
        x = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
        x = entry.images(x, " and ".join(map(str, part)))
        splits.append((x, records[:, 0].astype(np.int64)))
    (x_train, y_train), (x_test, y_test) = splits
    source = "data_batch_{1,2,3,4,5}.bin and test_batch.bin in data_dir"
    return Raw(x_train, x_test, source, y_train=y_train, y_test=y_test)


def _read_cifar(path: pathlib.Path) -> np.ndarray:
    """Reads records of a label and 3072 pixels: rows of red, of green and of blue."""
    content = read_bytes(path, TIMES * 10_000 * 3073)
    expected = "records of 3073 bytes, a label and 3x32x32 pixels"
    if not content or len(content) % 3073:
        raise damaged(path, expected, f"{len(content)} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    if records[:, 0].max() > 9:
        raise damaged(path, "labels from 0 to 9", f"{records[:, 0].max()}")
    return records
