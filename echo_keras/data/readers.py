"""Readers of the files that data sets are published in."""

import dataclasses
import io
import pathlib

import numpy as np

from echo_keras._files import (
    check_keys,
    damaged,
    find_file,
    read_bytes,
    read_npz,
)

from .checks import check_labels
from .entry import Entry, Raw


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
        arrays = read_npz(path, needed, self.optional)
        n_train = None
        if limit is not None and arrays["x_train"].ndim:
            n_train = len(arrays["x_train"])
            arrays["x_train"] = arrays["x_train"][:limit]
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
    x = [entry.images(_read_idx(path, 3), str(path)) for path in paths]
    y = [
        check_labels(_read_idx(path, 1), len(images), str(path)) if path else None
        for path, images in zip(labels, x, strict=True)
    ]
    source = f"{paths[0].name} and {paths[1].name} in data_dir"
    return Raw(*x, source, y_train=y[0], y_test=y[1])


def _read_idx(path: pathlib.Path, ndim: int) -> np.ndarray:
    content = read_bytes(path)
    # Header: 0, 0, 8 for unsigned bytes, the number of axes, then their lengths.
    header = 4 + 4 * ndim
    if content[:4] != bytes([0, 0, 8, ndim]) or len(content) < header:
        raise damaged(
            path,
            f"an idx file of unsigned bytes with {ndim} axes",
            f"{len(content)} bytes that begin with {content[:4].hex(' ') or 'nothing'}",
        )
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", ndim, 4))
    size = int(np.prod(shape, dtype=object))
    if len(content) - header != size:
        raise damaged(
            path,
            f"{size} bytes of data for the shape {shape} in its header",
            f"{len(content) - header}",
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_amat_files(entry: Entry, paths: list[pathlib.Path], limit: int | None) -> Raw:
    """Three files of text: training, validation and test images."""
    x_train, x_valid, x_test = (
        entry.images(read_amat(path).astype(bool), str(path)) for path in paths
    )
    source = "binarized_mnist_{train,valid,test}.amat in data_dir"
    return Raw(x_train, x_test, source, x_valid=x_valid)


def read_amat(path: pathlib.Path) -> np.ndarray:
    """Reads lines of 784 digits, 0 or 1, with white space between them."""
    content = read_bytes(path)
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
    import scipy.io

    (path,) = paths
    keys = ["data", "testdata"]
    file = io.BytesIO(read_bytes(path))
    try:
        content = scipy.io.loadmat(file, variable_names=keys)
        found = [key for key, *_ in scipy.io.whosmat(file)]
    except Exception as error:  # SciPy raises whatever the bytes provoke
        raise damaged(path, "a readable .mat file", f"damage ({error})") from error
    check_keys(path, found, keys)
    images = []
    for key in keys:
        x = content[key]
        if x.ndim != 2 or x.shape[0] != 784:
            raise damaged(path, f"{key} of shape (784, n)", f"{x.shape}")
        # A column holds one image, column by column.
        x = x.T.reshape(-1, 28, 28).transpose(0, 2, 1)
        images.append(entry.images(x, f"{path}, {key}"))
    return Raw(
        *images,
        f"{path.name} in data_dir",
        notes=["28x28 as split by Burda et al."],
        counts=(24_345, 8_070),
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
    content = read_bytes(path)
    expected = "records of 3073 bytes, a label and 3x32x32 pixels"
    if not content or len(content) % 3073:
        raise damaged(path, expected, f"{len(content)} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    if records[:, 0].max() > 9:
        raise damaged(path, "labels from 0 to 9", f"{records[:, 0].max()}")
    return records
