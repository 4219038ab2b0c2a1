"""Image data sets as the papers treat them: one call, `load`, and no surprises.

Every data set comes back as float32 images in [0, 1], `(n, 28, 28, 1)` in shape or
in colour `(n, 32, 32, 3)` (CIFAR-10) and `(n, 64, 64, 3)` (CelebA), with a sentence
on where they came from and a checksum for the run record. What is missing, damaged or
out of range raises one sentence that says what was expected, what was found and what
to do; no other data set is ever put in its place.
"""

import contextlib
import dataclasses
import difflib
import gzip
import hashlib
import io
import os
import pathlib
import socket
import types
import urllib.parse
import urllib.request
import zipfile
import zlib

import numpy as np

__all__ = [
    "BINARIZE",
    "DATASETS",
    "Dataset",
    "check_images",
    "load",
    "names",
]

BINARIZE = ("none", "static", "dynamic", "threshold")
_SEED_MAX = 2**32 - 1


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images for training, validation and test, and where they came from.

    Attributes:
        name: one of `names()`.
        x_train: float32 images in [0, 1], shape `(n, height, width, channels)`.
        x_test: as `x_train`.
        x_valid: as `x_train`, or `None` where there is no validation split.
        y_train: integer labels of shape `(n,)`, or `None`.
        y_test: as `y_train`.
        source: what was read, such as `"mnist.npz in data_dir"`; no paths.
        checksum: SHA-256 (hex) of the float32 bytes of `x_train`, `x_valid` and
            `x_test` as they stand here, one after the other.
        binarize: the treatment applied, one of `BINARIZE`.
        description: one line for people, with every caveat.
    """

    name: str
    x_train: np.ndarray = dataclasses.field(repr=False)
    x_test: np.ndarray = dataclasses.field(repr=False)
    x_valid: np.ndarray | None = dataclasses.field(repr=False)
    y_train: np.ndarray | None = dataclasses.field(repr=False)
    y_test: np.ndarray | None = dataclasses.field(repr=False)
    source: str
    checksum: str
    binarize: str
    description: str


@dataclasses.dataclass(frozen=True)
class _Spec:
    title: str
    binarize: str  # the treatment when the caller names none
    tfds: str | None = None
    url: str | None = None  # where TensorFlow Datasets fetches it from
    counts: tuple[int, int] | None = None  # published training and test images
    fingerprint: str | None = None  # checksum of all the published pixels
    shape: tuple[int, int, int] = (28, 28, 1)
    folder: str | None = None  # where to look too: its archive unpacks to it


DATASETS = types.MappingProxyType(
    {
        "digits": _Spec(
            "scikit-learn's handwritten digits, 8x8 resized bilinearly to 28x28",
            "static",
        ),
        "binary_mnist": _Spec(
            "MNIST as binarised by Larochelle and Murray",
            "static",
            "binarized_mnist",
            "http://www.cs.toronto.edu",
            (50_000, 10_000),
            "2314b6d2f2fc0d03107ed3dc5b5a0d03d71e4bade2788675bc2d6cc57650debe",
        ),
        "mnist": _Spec(
            "MNIST",
            "none",
            "mnist",
            "https://storage.googleapis.com",
            (60_000, 10_000),
            "d27fb91380ff036e93126fddb1fc6037e178683a6d3d702bd6655b27bcd0ac69",
        ),
        "omniglot": _Spec("Omniglot", "none", "omniglot", "https://github.com"),
        "fashion_mnist": _Spec(
            "Fashion-MNIST",
            "none",
            "fashion_mnist",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            (60_000, 10_000),
            "992edc8d4846acab64638421bbb1762a3f5c38e674dff7da66f0c45833851297",
        ),
        "cifar10": _Spec(
            "CIFAR-10",
            "none",
            "cifar10",
            "https://www.cs.toronto.edu",
            (50_000, 10_000),
            shape=(32, 32, 3),
            folder="cifar-10-batches-bin",
        ),
        "celeba": _Spec(
            "CelebA, aligned faces, centre crop of 140x140 resized bilinearly to 64x64",
            "none",
            "celeb_a",
            "https://drive.google.com",
            (162_770, 19_962),
            shape=(64, 64, 3),
        ),
        "omniglot_alphabets": _Spec(
            "area-averaged Omniglot, 30 alphabets for training and 20 for test",
            "none",
            "omniglot",
            "https://github.com",
            (19_280, 13_180),
            folder="omniglot",
        ),
    }
)


@dataclasses.dataclass
class _Raw:
    """What a source holds, before it is split and binarised."""

    x_train: np.ndarray
    x_test: np.ndarray
    source: str
    x_valid: np.ndarray | None = None
    y_train: np.ndarray | None = None
    y_test: np.ndarray | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    counts: tuple[int, int] | None = None
    published_order: bool = True
    n_train: int | None = None  # training images of the source, if not all were read


def names():
    """Returns the names that `load` knows, as a tuple.

    >>> print(*names())
    digits binary_mnist mnist omniglot fashion_mnist cifar10 celeba omniglot_alphabets
    """
    return tuple(DATASETS)


def load(name, data_dir=None, binarize=None, limit=None, seed=0):
    """Loads a data set, split and treated as in the papers.

    | name | training / validation / test | pixels by default |
    | --- | --- | --- |
    | `digits` | 1,297 / - / 500 | Bernoulli samples, fixed for good |
    | `binary_mnist` | 50,000 / 10,000 / 10,000 | binary as published |
    | `mnist`, `fashion_mnist` | 50,000 / 10,000 / 10,000 | grey |
    | `omniglot` | as its source splits it | grey |
    | `cifar10` | 50,000 / - / 10,000 | colour, 32x32 |
    | `celeba` | 162,770 / 19,867 / 19,962 | colour, 64x64 |
    | `omniglot_alphabets` | 19,280 / - / 13,180 | grey |

    The validation images of `mnist` and `fashion_mnist` are the last sixth of the
    published training set. The faces of `celeba` have no labels; their test images
    are CelebA's own, its last 19,962. In `omniglot_alphabets` the 30 alphabets of
    Lake's background set are for training and the other 20 for test; the labels are
    characters, 0 to 1622, without the rotated copies of the VIMAE paper. Files come in
    the order of the characters, and must name characters and alphabets, so that
    `chardata.mat` is no source.

    `digits` is embedded in scikit-learn and never looks at `data_dir`. The others are
    read from `data_dir` where it is given: first `<name>.npz` (keys `x_train`,
    `x_test`, for `binary_mnist` also `x_valid`, and optional `y_train`, `y_test`, or
    for `celeba` `x_valid`), then the authors' own files, in `data_dir/<name>` and then
    in `data_dir`:

    - `mnist`, `fashion_mnist`: MNIST's idx files, gzipped or not,
    - `binary_mnist`: `binarized_mnist_{train,valid,test}.amat`,
    - `omniglot`: `chardata.mat`,
    - `cifar10`: the binary version, `data_batch_{1,2,3,4,5}.bin` and `test_batch.bin`,
      also in a folder `cifar-10-batches-bin`; last, a part: `cifar10_10k.npz`,
    - `celeba`: `list_eval_partition.txt` beside the folder `img_align_celeba` or beside
      `img_align_celeba.zip`,
    - `omniglot_alphabets`: no file of its own, but `omniglot.npz` with the keys
      `y_train`, `y_test` (index of the alphabet), `c_train`, `c_test` (character) and
      `alphabet_names`; also in a folder `omniglot`.

    Without `data_dir` they come from TensorFlow Datasets, which downloads them once.

    Args:
        name: one of `names()`.
        data_dir: folder with the data set's files, or `None`.
        binarize: `None` for the default above, or one of
            `"none"` (grey), `"threshold"` (pixel > 0.5),
            `"static"` (each pixel sampled once, Bernoulli), or
            `"dynamic"` (training images stay grey, for `training.Batches` to sample
            afresh in every epoch; validation and test images are sampled once).
            Colour images are not binarised.
        limit: keep only the first `limit` training images. All those of `celeba` take
            8 GB, and no more than `limit` of them are decoded; its validation and
            test images always come whole, 1 GB each.
        seed: integer in [0, 2^32 - 1] of the Bernoulli samples drawn here. It has
            no effect on `digits`, which is the same data set for everybody, and
            on `binary_mnist`.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: an unknown `name` or `binarize`, a `limit` or `seed` out of
            range, or a file that is damaged or holds something else.
        FileNotFoundError: `data_dir` does not hold the data set.
        ImportError: neither `data_dir` nor TensorFlow Datasets is there.
        ConnectionError: TensorFlow Datasets would have to download, but cannot.

    References:
        Echo paper, Sec. 5 and App. E (28x28 pixels); VCAE paper, App. B.4 (`celeba`);
        VIMAE paper, Sec. 5 and Appendix (`cifar10`, `omniglot_alphabets`).

    Example:

    >>> digits = load("digits", limit=100)
    >>> digits.x_train.shape, digits.x_test.shape
    ((100, 28, 28, 1), (500, 28, 28, 1))
    >>> digits.binarize, digits.source
    ('static', 'scikit-learn load_digits')
    """
    spec = _spec(name)
    binarize = _binarize_option(name, binarize)
    _check_integer(seed, "seed", 0, _SEED_MAX)
    if limit is not None:
        _check_integer(limit, "limit", 1)

    # The others are small, and mnist needs them all to cut off validation images.
    read_limit = limit if name == "celeba" else None
    if name == "digits":
        raw, seed = _read_digits(), _DIGITS_SEED
    elif data_dir is not None:
        raw = _read_data_dir(name, pathlib.Path(data_dir).expanduser(), read_limit)
    else:
        raw = _read_tfds(name, read_limit)
    notes = [spec.title, *raw.notes, *_compare_with_published(name, raw)]

    x_train, x_valid, y_train = raw.x_train, raw.x_valid, raw.y_train
    if name in ("mnist", "fashion_mnist"):
        n = len(x_train) - len(x_train) // 6
        x_train, x_valid = x_train[:n], x_train[n:]
        x_valid = x_valid if len(x_valid) else None
        y_train = y_train if y_train is None else y_train[:n]
    if limit is not None:
        n_train = raw.n_train or len(x_train)
        _check_limit(name, limit, n_train)
        if limit < n_train:
            notes.append(f"first {limit} of {n_train} training images")
        x_train = x_train[:limit]
        y_train = y_train if y_train is None else y_train[:limit]

    # Published binary images are not sampled again.
    x_test = raw.x_test
    if name != "binary_mnist" and binarize != "none":
        x_train, x_valid, x_test = _binarize(binarize, seed, x_train, x_valid, x_test)
        notes.append(_TREATMENTS[binarize])
    return Dataset(
        name=name,
        x_train=x_train,
        x_test=x_test,
        x_valid=x_valid,
        y_train=y_train,
        y_test=raw.y_test,
        source=raw.source,
        checksum=_checksum(x_train, x_valid, x_test),
        binarize=binarize,
        description="; ".join(notes),
    )


def check_images(x, name="x", shape=None):
    """Returns images as float32 in [0, 1] with a channel axis, or says what is wrong.

    Args:
        x: array of shape `(n, height, width)` or `(n, height, width, channels)`,
            n >= 1: floats in [0, 1], booleans, or uint8 in 0..255, which is divided
            by 255.
        name: what to call `x` in an error.
        shape: the `(height, width, channels)` that each image must have, or `None`.

    Returns:
        A float32 array of shape `(n, height, width, channels)`.

    Raises:
        ValueError: another type or shape, no images, NaN, values outside [0, 1], or
            uint8 images without any value above 1, which are scaled already.

    Example:

    >>> check_images(np.full((2, 28, 28), 255, "uint8")).max()
    np.float32(1.0)
    >>> check_images(np.full((2, 28, 28), 255.0), "my images")
    Traceback (most recent call last):
    ...
    ValueError: my images: expected pixels in [0, 1], found values from 255 to 255; \
divide by 255 if they are 8-bit images.
    """
    x = np.asarray(x)
    if not (x.dtype == np.uint8 or x.dtype == bool or x.dtype.kind == "f"):
        raise ValueError(
            f"{name}: expected floats in [0, 1], booleans or uint8 in 0..255, found "
            f"dtype {x.dtype}; convert the images first."
        )
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or (shape is not None and x.shape[1:] != tuple(shape)):
        wanted = "(n, height, width) or (n, height, width, channels)"
        if shape is not None:
            wanted = "(n, " + ", ".join(map(str, shape)) + ")"
        raise ValueError(
            f"{name}: expected images of shape {wanted}, found {x.shape}; reshape "
            "or resize them first."
        )
    if x.size == 0:
        raise ValueError(
            f"{name}: expected at least one image and one pixel, found shape "
            f"{x.shape}; check how the array was cut."
        )
    low, high = x.min(), x.max()
    if x.dtype == np.uint8:
        if high == 1:
            raise ValueError(
                f"{name}: expected uint8 pixels in 0..255, found none above 1; convert "
                "images that are scaled already to float32 or bool."
            )
        return x / np.float32(255)
    if np.isnan(low):  # min and max both hand NaN on
        raise ValueError(
            f"{name}: expected pixels in [0, 1], found NaN in "
            f"{int(np.isnan(x).any(axis=(1, 2, 3)).sum())} of {len(x)} images; remove "
            "or repair these images."
        )
    if low < 0 or high > 1:
        do = "divide by 255 if they are 8-bit images"
        if low < 0:
            do = "shift and scale them to [0, 1]"
        raise ValueError(
            f"{name}: expected pixels in [0, 1], found values from {low:g} to "
            f"{high:g}; {do}."
        )
    return x.astype(np.float32)


# Arguments


def _spec(name):
    if isinstance(name, str) and name in DATASETS:
        return DATASETS[name]
    close = difflib.get_close_matches(str(name).lower(), DATASETS, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    if str(name).startswith(("dsprites", "shapes3d")):
        hint = " Images with known factors are in echo_keras.factors."
    raise ValueError(
        f"name must be one of {', '.join(DATASETS)}, found {name!r}.{hint}"
    )


def _binarize_option(name, binarize):
    if binarize is not None and binarize not in BINARIZE:
        raise ValueError(
            f"binarize must be None or one of {', '.join(BINARIZE)}, found "
            f"{binarize!r}."
        )
    if name == "binary_mnist" and binarize not in (None, "static"):
        raise ValueError(
            "binary_mnist is already binary: binarize must be None or 'static', found "
            f"{binarize!r}; load 'mnist' for other treatments."
        )
    if DATASETS[name].shape[-1] > 1 and binarize not in (None, "none"):
        raise ValueError(
            f"{name} is in colour and is not binarised: binarize must be None or "
            f"'none', found {binarize!r}."
        )
    return DATASETS[name].binarize if binarize is None else binarize


def _check_integer(value, name, low, high=None):
    valid = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not valid or value < low or (high is not None and value > high):
        wanted = f"of at least {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"{name} must be an integer {wanted}, found {value!r}.")


def _check_limit(name, limit, n_train):
    if limit is not None and limit > n_train:
        raise ValueError(
            f"limit must be at most the {n_train} training images of {name!r}, found "
            f"{limit}; ask for fewer or leave limit out."
        )


# Pixels

_TREATMENTS = {
    "static": "binary, sampled once",
    "dynamic": "grey for training, to be sampled in every epoch; else sampled once",
    "threshold": "binary, thresholded at 0.5",
}


def _binarize(how, seed, x_train, x_valid, x_test):
    splits = []
    for split, x in enumerate((x_train, x_valid, x_test)):
        if x is None or (how == "dynamic" and split == 0):
            splits.append(x)
        elif how == "threshold":
            splits.append((x > 0.5).astype(np.float32))
        else:
            splits.append(_bernoulli(x, [seed, split]))
    return splits


def _bernoulli(x, seed):
    # RandomState and not Generator: NumPy promises never to change its streams.
    # In pieces, so that the float64 uniforms need little memory.
    random = np.random.RandomState(seed)
    out = np.empty_like(x)
    for i in range(0, len(x), 1000):
        piece = x[i : i + 1000]
        out[i : i + 1000] = random.random_sample(piece.shape) < piece
    return out


def _checksum(*arrays):
    digest = hashlib.sha256()
    for x in arrays:
        if x is not None:
            digest.update(np.ascontiguousarray(x, "<f4"))
    return digest.hexdigest()


def _resize(x, weights, total):
    # Weights and pixels are small integers, so float64 products and sums are exact
    # and every machine gets the same image.
    x = weights @ x.astype(np.float64) @ weights.T
    return (x / total).astype(np.float32)[..., None]


def _bilinear_8_to_28():
    # In fourteenths of an input pixel, output centre i lies at 4i - 5.
    at = np.clip(4 * np.arange(28) - 5, 0, 14 * 7)
    weights = np.maximum(0, 14 - abs(at[:, None] - 14 * np.arange(8)))
    return weights.astype(np.float64)


def _area_105_to_28():
    # In quarters of an input pixel, output pixel i covers [15i, 15i + 15].
    out, into = 15 * np.arange(28)[:, None], 4 * np.arange(105)
    weights = np.minimum(out + 15, into + 4) - np.maximum(out, into)
    return np.maximum(0, weights).astype(np.float64)


def _compare_with_published(name, raw):
    """Returns notes on how the files differ from the published ones."""
    spec = DATASETS[name]
    notes = []
    counts = raw.counts or spec.counts
    found = raw.n_train or len(raw.x_train), len(raw.x_test)
    if counts is not None and found != counts:
        notes.append(
            f"{found[0]} training and {found[1]} test images, published "
            f"{counts[0]} and {counts[1]}"
        )
    if spec.fingerprint is None or not raw.published_order:
        return notes
    fingerprint = _checksum(raw.x_train, raw.x_valid, raw.x_test)
    if fingerprint == spec.fingerprint:
        return notes
    # MNIST and Fashion-MNIST publish files of the same names.
    for other, other_spec in DATASETS.items():
        if fingerprint == other_spec.fingerprint:
            raise ValueError(
                f"{raw.source}: expected {spec.title}, found {other_spec.title}; load "
                f"{other!r} or put the files of {name} into data_dir/{name}."
            )
    return notes or ["pixels differ from the published ones"]


# Sources

_DIGITS_SEED = 1797


def _read_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = _resize(digits.images, _bilinear_8_to_28(), 16 * 14**2)
    order = np.random.RandomState(_DIGITS_SEED).permutation(len(x))
    train, test = order[:1297], order[1297:]
    return _Raw(
        x[train],
        x[test],
        "scikit-learn load_digits",
        y_train=digits.target[train],
        y_test=digits.target[test],
    )


def _read_data_dir(name, data_dir, limit):
    if not data_dir.is_dir():
        raise FileNotFoundError(
            f"data_dir must be a folder that holds {name}, found no folder at "
            f"{data_dir}; correct it, or leave data_dir out to use TensorFlow Datasets."
        )
    # A folder of its own first: some data sets share their file names.
    folders = [data_dir / name, data_dir]
    if DATASETS[name].folder:
        folders = [f for top in folders for f in (top / DATASETS[name].folder, top)]
    for folder in folders:
        for files, read in _SOURCES[name]:
            paths = [_find(folder, file) for file in files]
            if all(paths):
                return read(name, paths, limit)
    wanted = [
        files[0] if len(files) == 1 else f"all of {', '.join(files)}"
        for files, _ in _SOURCES[name]
    ]
    hint = ""
    if name == "omniglot_alphabets":
        hint = "chardata.mat, which names no alphabets, cannot replace it; "
    raise FileNotFoundError(
        f"{name}: expected {', or '.join(wanted)} (authors' files plain or .gz), in "
        f"{' or in '.join(map(str, folders))}, found none of these; {hint}put the "
        "files there, or leave data_dir out to use TensorFlow Datasets."
    )


def _find(folder, file):
    """The path of a file, plain or gzipped, or of a folder, whose name ends in /."""
    if file.endswith("/"):
        return folder / file if (folder / file).is_dir() else None
    archive = file.endswith((".npz", ".zip"))
    for path in (folder / file, folder / f"{file}.gz")[: 1 if archive else 2]:
        if path.is_file():
            return path
    return None


def _content(path):
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, "a complete gzip file", f"damage ({error})") from error


def _damaged(path, expected, found):
    return ValueError(
        f"{path}: expected {expected}, found {found}; fetch or make the file again."
    )


def _read_npz(name, paths, limit):
    (path,) = paths
    needed = ["x_train", "x_test"] + ["x_valid"] * (name == "binary_mnist")
    optional = ["x_valid"] if name == "celeba" else ["y_train", "y_test"]
    arrays = _npz_arrays(path, needed, optional)
    n_train = None
    if limit is not None and arrays["x_train"].ndim:
        n_train = len(arrays["x_train"])
        arrays["x_train"] = arrays["x_train"][:limit]
    raw = _Raw(
        _images(name, arrays["x_train"], f"{path}, x_train"),
        _images(name, arrays["x_test"], f"{path}, x_test"),
        f"{path.name} in data_dir",
        n_train=n_train,
    )
    if "x_valid" in arrays:
        raw.x_valid = _images(name, arrays["x_valid"], f"{path}, x_valid")
    raw.y_train = _labels(arrays.get("y_train"), len(raw.x_train), f"{path}, y_train")
    raw.y_test = _labels(arrays.get("y_test"), len(raw.x_test), f"{path}, y_test")
    if name == "omniglot":
        raw.notes.append("area-averaged Omniglot, not the chardata.mat of Burda et al.")
        raw.counts = (24_345, 8_115)
    return raw


def _npz_arrays(path, needed, optional=()):
    arrays = {}
    try:
        # np.load takes anything that is not a zip for a pickle, and says so.
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("not a complete zip archive")
        with np.load(path, allow_pickle=False) as file:
            keys = list(file)
            for key in (*needed, *optional):
                if key in keys:
                    arrays[key] = file[key]
    except Exception as error:  # zip, zlib and NumPy each have errors of their own
        if "allow_pickle" in str(error):
            raise _damaged(
                path, "plain arrays", "an object array, and pickles are never loaded"
            ) from error
        raise _damaged(path, "a readable .npz archive", f"damage ({error})") from error
    if not all(key in keys for key in needed):
        raise _damaged(path, f"the keys {', '.join(needed)}", ", ".join(keys) or "none")
    return arrays


def _images(name, x, what):
    if name != "binary_mnist":
        return check_images(x, what, DATASETS[name].shape)
    if x.dtype == np.uint8 and x.size and x.max() == 1:
        x = x.astype(bool)  # binary data are written as 0, 1 too
    x = check_images(x, what, DATASETS[name].shape)
    if not np.isin(x, (0, 1)).all():
        raise ValueError(
            f"{what}: expected binary pixels, found grey ones; load 'mnist' with "
            "binarize='static', or fetch the published binary files."
        )
    return x


def _labels(y, n, name):
    if y is None:
        return None
    if y.shape != (n,) or y.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: expected {n} integer labels, one for each image, found shape "
            f"{y.shape} and dtype {y.dtype}; make the file again."
        )
    return y.astype(np.int64)


def _read_idx_files(name, paths, limit):
    labels = [
        _find(paths[0].parent, f"{part}-labels-idx1-ubyte")
        for part in ("train", "t10k")
    ]
    x = [_images(name, _read_idx(path, 3), str(path)) for path in paths]
    y = [
        _labels(_read_idx(path, 1), len(images), str(path)) if path else None
        for path, images in zip(labels, x, strict=True)
    ]
    source = f"{paths[0].name} and {paths[1].name} in data_dir"
    return _Raw(*x, source, y_train=y[0], y_test=y[1])


def _read_idx(path, ndim):
    content = _content(path)
    # Header: 0, 0, 8 for unsigned bytes, the number of axes, then their lengths.
    header = 4 + 4 * ndim
    if content[:4] != bytes([0, 0, 8, ndim]) or len(content) < header:
        raise _damaged(
            path,
            f"an idx file of unsigned bytes with {ndim} axes",
            f"{len(content)} bytes that begin with {content[:4].hex(' ') or 'nothing'}",
        )
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", ndim, 4))
    size = int(np.prod(shape, dtype=object))
    if len(content) - header != size:
        raise _damaged(
            path,
            f"{size} bytes of data for the shape {shape} in its header",
            f"{len(content) - header}",
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _read_amat_files(name, paths, limit):
    x_train, x_valid, x_test = (
        _images(name, _read_amat(path).astype(bool), str(path)) for path in paths
    )
    source = "binarized_mnist_{train,valid,test}.amat in data_dir"
    return _Raw(x_train, x_test, source, x_valid=x_valid)


def _read_amat(path):
    """Reads lines of 784 digits, 0 or 1, with white space between them."""
    content = _content(path)
    expected = "lines of 784 digits, 0 or 1, with spaces between"
    text = np.frombuffer(content.rstrip() + b"\n", np.uint8)
    digit = (text == ord("0")) | (text == ord("1"))
    if not np.isin(text[~digit], list(b" \t\r\n")).all():
        raise _damaged(path, expected, "other characters")
    if (digit[1:] & digit[:-1]).any():
        raise _damaged(path, expected, "numbers of several digits")
    ends = np.cumsum(digit)[text == ord("\n")]
    per_line = np.diff(ends, prepend=0)
    wrong = np.flatnonzero(per_line != 784)
    if len(wrong):
        raise _damaged(path, expected, f"{per_line[wrong[0]]} in line {wrong[0] + 1}")
    return (text[digit] == ord("1")).reshape(-1, 28, 28)


def _read_chardata(name, paths, limit):
    import scipy.io

    (path,) = paths
    keys = ["data", "testdata"]
    file = io.BytesIO(_content(path))
    try:
        content = scipy.io.loadmat(file, variable_names=keys)
        found = [key for key, *_ in scipy.io.whosmat(file)]
    except Exception as error:  # SciPy raises whatever the bytes provoke
        raise _damaged(path, "a readable .mat file", f"damage ({error})") from error
    if not all(key in content for key in keys):
        raise _damaged(path, "the keys data, testdata", ", ".join(found) or "none")
    images = []
    for key in keys:
        x = content[key]
        if x.ndim != 2 or x.shape[0] != 784:
            raise _damaged(path, f"{key} of shape (784, n)", f"{x.shape}")
        # A column holds one image, column by column.
        x = x.T.reshape(-1, 28, 28).transpose(0, 2, 1)
        images.append(_images(name, x, f"{path}, {key}"))
    return _Raw(
        *images,
        f"{path.name} in data_dir",
        notes=["28x28 as split by Burda et al."],
        counts=(24_345, 8_070),
    )


def _read_cifar_files(name, paths, limit):
    splits = []
    for part in (paths[:-1], paths[-1:]):
        records = np.concatenate([_read_cifar(path) for path in part])
        planes = records[:, 1:].reshape(-1, 3, 32, 32)
        x = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
        x = _images(name, x, " and ".join(map(str, part)))
        splits.append((x, records[:, 0].astype(np.int64)))
    (x_train, y_train), (x_test, y_test) = splits
    source = "data_batch_{1,2,3,4,5}.bin and test_batch.bin in data_dir"
    return _Raw(x_train, x_test, source, y_train=y_train, y_test=y_test)


def _read_cifar(path):
    """Reads records of a label and 3072 pixels: rows of red, of green and of blue."""
    content = _content(path)
    expected = "records of 3073 bytes, a label and 3x32x32 pixels"
    if not content or len(content) % 3073:
        raise _damaged(path, expected, f"{len(content)} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    if records[:, 0].max() > 9:
        raise _damaged(path, "labels from 0 to 9", f"{records[:, 0].max()}")
    return records


def _read_celeba(name, paths, limit):
    partition, images = paths
    splits = _read_partition(partition)
    n_train = len(splits[0])
    _check_limit(name, limit, n_train)
    with contextlib.ExitStack() as stack:
        if images.is_dir():
            members = {file: images / file for file in os.listdir(images)}
            read = pathlib.Path.read_bytes
        else:
            try:
                archive = stack.enter_context(zipfile.ZipFile(images))
            except (zipfile.BadZipFile, OSError) as error:
                raise _damaged(
                    images, "a readable .zip archive", f"damage ({error})"
                ) from error
            members = {file.split("/")[-1]: file for file in archive.namelist()}
            read = archive.read
        # A list that was cut short would leave images out without a word.
        listed = {file for files in splits for file in files}
        unlisted = {file for file in members if file.endswith(".jpg")} - listed
        if unlisted:
            raise _damaged(partition, "a line for each image", f"no {min(unlisted)}")
        if listed - members.keys():
            missing = min(listed - members.keys())
            raise _damaged(images, f"the images in {partition.name}", f"no {missing}")

        def faces(files):
            # 8-bit until all are there: a quarter of the memory.
            x = np.empty((len(files), 64, 64, 3), np.uint8)
            for i, file in enumerate(files):
                x[i] = _read_face(images / file, lambda file=file: read(members[file]))
            return _images(name, x, str(images))

        x_train, x_valid, x_test = map(faces, (splits[0][:limit], *splits[1:]))
    source = f"{images.name} and {partition.name} in data_dir"
    return _Raw(x_train, x_test, source, x_valid=x_valid, n_train=n_train)


def _read_partition(path):
    """Reads lines of a file name and 0, 1 or 2: training, validation, test."""
    splits = [], [], []
    seen = set()
    lines = _content(path).decode("latin-1").rstrip().splitlines()
    for number, line in enumerate(lines, 1):
        file, split = line.split() if len(line.split()) == 2 else ("", "")
        if split not in ("0", "1", "2") or file in seen:
            raise _damaged(
                path,
                "lines of a file name, each name once, and 0, 1 or 2",
                f"{line[:40]!r} in line {number}",
            )
        seen.add(file)
        splits[int(split)].append(file)
    for split, files in enumerate(splits):
        if not files:
            raise _damaged(path, "images of the parts 0, 1 and 2", f"none of {split}")
    return splits


def _read_face(path, read):
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(read()), formats=["JPEG"])
        fits = image.mode == "RGB" and image.size == (178, 218)
        if fits:
            image.load()
    except Exception as error:  # Pillow raises whatever the bytes provoke
        raise _damaged(path, "a readable JPEG", f"damage ({error})") from error
    if not fits:
        found = f"{image.mode}, {image.width} wide and {image.height} high"
        raise _damaged(path, "an RGB image, 178 wide and 218 high", found)
    return _face(image)


def _face(image):
    from PIL import Image

    # Cropped first: with `box`, resizing would look at pixels beyond the crop.
    image = image.crop((19, 39, 159, 179))
    return np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))


# The alphabets of images_background in Lake's repository.
_BACKGROUND = (
    "Alphabet_of_the_Magi",
    "Anglo-Saxon_Futhorc",
    "Arcadian",
    "Armenian",
    "Asomtavruli_(Georgian)",
    "Balinese",
    "Bengali",
    "Blackfoot_(Canadian_Aboriginal_Syllabics)",
    "Braille",
    "Burmese_(Myanmar)",
    "Cyrillic",
    "Early_Aramaic",
    "Futurama",
    "Grantha",
    "Greek",
    "Gujarati",
    "Hebrew",
    "Inuktitut_(Canadian_Aboriginal_Syllabics)",
    "Japanese_(hiragana)",
    "Japanese_(katakana)",
    "Korean",
    "Latin",
    "Malay_(Jawi_-_Arabic)",
    "Mkhedruli_(Georgian)",
    "N_Ko",
    "Ojibwe_(Canadian_Aboriginal_Syllabics)",
    "Sanskrit",
    "Syriac_(Estrangelo)",
    "Tagalog",
    "Tifinagh",
)


def _read_omniglot_alphabets(name, paths, limit):
    (path,) = paths
    keys = [f"{kind}_{split}" for kind in "xyc" for split in ("train", "test")]
    arrays = _npz_arrays(path, [*keys, "alphabet_names"])
    parts = []
    for split in ("train", "test"):
        x = _images(name, arrays[f"x_{split}"], f"{path}, x_{split}")
        y, c = (
            _labels(arrays[key], len(x), f"{path}, {key}")
            for key in (f"y_{split}", f"c_{split}")
        )
        parts.append((x, y, c))
    x, alphabet, character = map(np.concatenate, zip(*parts, strict=True))

    alphabets = arrays["alphabet_names"].ravel().tolist()
    missing = [a for a in _BACKGROUND if a not in alphabets]
    if missing:
        raise _damaged(
            path, "Lake's background alphabets in alphabet_names", f"no {missing[0]}"
        )
    if alphabet.min() < 0 or alphabet.max() >= len(alphabets):
        raise _damaged(
            path,
            f"indices of the {len(alphabets)} alphabet_names in y_train and y_test",
            f"{alphabet.min()} to {alphabet.max()}",
        )
    # The file is split by drawer: bring those of a character together again.
    order = np.argsort(character, kind="stable")
    train = np.isin(alphabet[order], [alphabets.index(a) for a in _BACKGROUND])
    if train.all() or not train.any():
        raise _damaged(
            path, "background and other alphabets", "images of one kind only"
        )
    return _Raw(
        x[order[train]],
        x[order[~train]],
        f"{path.name} in data_dir",
        y_train=character[order[train]],
        y_test=character[order[~train]],
    )


_IDX = ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte"], _read_idx_files
_LIST = "list_eval_partition.txt"
# What to look for in a folder, in this order: all of these files, and their reader,
# which is called as read(name, paths, limit).
_SOURCES = {
    "binary_mnist": [
        (["binary_mnist.npz"], _read_npz),
        (
            [f"binarized_mnist_{part}.amat" for part in ("train", "valid", "test")],
            _read_amat_files,
        ),
    ],
    "mnist": [(["mnist.npz"], _read_npz), _IDX],
    "omniglot": [
        (["omniglot.npz"], _read_npz),
        (["chardata.mat"], _read_chardata),
    ],
    "fashion_mnist": [(["fashion_mnist.npz"], _read_npz), _IDX],
    "cifar10": [
        (["cifar10.npz"], _read_npz),
        (
            [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"],
            _read_cifar_files,
        ),
        (["cifar10_10k.npz"], _read_npz),  # a part, only where there is no whole
    ],
    "celeba": [
        (["celeba.npz"], _read_npz),
        ([_LIST, "img_align_celeba/"], _read_celeba),
        ([_LIST, "img_align_celeba.zip"], _read_celeba),
    ],
    "omniglot_alphabets": [(["omniglot.npz"], _read_omniglot_alphabets)],
}


def _read_tfds(name, limit):
    spec = DATASETS[name]
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"{name} comes from TensorFlow Datasets, which cannot be imported: "
            "pip install 'echo-keras[tfds]', or pass data_dir."
        ) from error
    builder = tfds.builder(spec.tfds)
    prepared = os.path.join(str(builder.data_dir), "dataset_info.json")
    if not os.path.exists(prepared):
        # Offline, TensorFlow Datasets would try for minutes before it gives up.
        _probe(name, spec.url)
        builder.download_and_prepare()

    def read(split, limit=None):
        x, y, n = [], [], 0
        batches = builder.as_dataset(split=split, batch_size=1000, shuffle_files=False)
        for batch in tfds.as_numpy(batches):
            image = np.asarray(batch["image"])
            if limit is not None:
                image = image[: limit - n]
            if spec.tfds == "omniglot":  # black ink on white, three equal channels
                ink = 255.0 - image[..., 0]
                image = _resize(ink, _area_105_to_28(), 15**2 * 255)
            if name == "celeba":
                image = np.stack([_face(Image.fromarray(face)) for face in image])
            x.append(image)
            label = batch.get("alphabet" if name == "omniglot" else "label")
            if label is not None:
                y.append(np.asarray(label))
            n += len(image)
            if n == limit:
                break
        # Checked as a whole: a batch alone could look scaled already.
        what = f"TensorFlow Datasets {spec.tfds}, {split}"
        if not x:
            raise ValueError(
                f"{what}: expected images, found none; delete TensorFlow Datasets' "
                "copy and load again."
            )
        x = _images(name, np.concatenate(x), what)
        return x, _labels(np.concatenate(y) if y else None, len(x), what)

    n_train = None
    if name == "celeba":
        from PIL import Image

        n_train = builder.info.splits["train"].num_examples
        _check_limit(name, limit, n_train)
    x_train, y_train = read("train", limit)
    x_test, y_test = read("test")
    raw = _Raw(
        x_train,
        x_test,
        f"TensorFlow Datasets {spec.tfds}:{builder.info.version}",
        y_train=y_train,
        y_test=y_test,
        notes=["in the order of TensorFlow Datasets"],
        published_order=False,
        n_train=n_train,
    )
    if name in ("binary_mnist", "celeba"):
        raw.x_valid, _ = read("validation")
    if name == "omniglot":
        raw.notes.append(
            "area-averaged Omniglot split by alphabet, not the chardata.mat of "
            "Burda et al."
        )
        raw.counts = (19_280, 13_180)
    return raw


def _probe(name, url):
    """Raises ConnectionError unless the way to `url` opens within five seconds."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy:
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=5).close()
    except OSError as error:
        raise ConnectionError(
            f"{name} is not on this machine yet and must be downloaded from "
            f"{parts.hostname}, which cannot be reached ({error}); connect to the "
            "network or pass data_dir."
        ) from error
