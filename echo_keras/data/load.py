"""Image data sets as the papers treat them: one call, `load`, and no surprises.

Every data set comes back as float32 images in [0, 1], with a sentence on where they
came from and a checksum for the run record. What is missing, damaged or out of range
raises one sentence that says what was expected, what was found and what to do; no other
data set is ever put in its place.
"""

import difflib
import os
import pathlib

from echo_keras._files import check_folder, find_files, sha256
from echo_keras.layers import arguments

from .checks import check_limit
from .dataset import Dataset
from .downloads import download
from .entry import HEAD, Entry, Raw
from .pixels import BINARIZE, TREATMENTS
from .pixels import binarize as binarized
from .registry import DATASETS


def names() -> tuple[str, ...]:
    """Returns the names that `load` knows.

    >>> "digits" in names() and "celeba" in names()
    True
    """
    return tuple(DATASETS)


def load(
    name: str,
    data_dir: str | os.PathLike | None = None,
    binarize: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Loads a data set, split and treated as in the papers.

    | name | training / validation / test | pixels by default |
    | --- | --- | --- |
    | `digits` | 1,297 / - / 500 | Bernoulli samples, fixed for good |
    | `blocks` | 10,000 / - / 10,000 | binary as drawn, 8x8 |
    | `binary_mnist` | 50,000 / 10,000 / 10,000 | binary as published |
    | `mnist`, `fashion_mnist` | 50,000 / 10,000 / 10,000 | grey |
    | `omniglot` | as its source splits it | grey |
    | `cifar10` | 50,000 / - / 10,000 | colour, 32x32 |
    | `celeba` | 162,770 / 19,867 / 19,962 | colour, 64x64 |
    | `omniglot_alphabets` | 19,280 / - / 13,180 | grey |

    Images are 28x28 where nothing else is said. The validation images of `mnist` and
    `fashion_mnist` are the last sixth of the published training set; a paper that
    trains on all 60,000 has a fifth more, and `description` says so. In
    `omniglot_alphabets` the 30 alphabets of Lake's background set are for training and
    the other 20 for test. What else belongs to a data set stands in its entry of
    `data.DATASETS`, to which a program may add its own.

    `digits` is embedded in scikit-learn, `blocks` drawn from a law that is known (see
    `data.blocks`); neither looks at `data_dir`. The others are read from `data_dir`
    where it is given: first `<name>.npz` (keys `x_train`, `x_test`, for `binary_mnist`
    also `x_valid`, and optional `y_train`, `y_test`, or for `celeba` `x_valid`), then
    the authors' own files, in `data_dir/<name>` and then in `data_dir`:

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

    Without `data_dir` they are downloaded, once: by Keras (`mnist`, `fashion_mnist`,
    `cifar10`, `binary_mnist`), else by TensorFlow Datasets. A copy that either of them
    has on this machine is read without a network.

    Args:
        name: one of `names()`.
        data_dir: folder with the data set's files, or `None`.
        binarize: `None` for the default above, or one of
            `"none"` (grey), `"threshold"` (pixel > 0.5),
            `"static"` (each pixel sampled once, Bernoulli), or
            `"dynamic"` (training images stay grey, for `training.Batches` to sample
            afresh in every epoch; validation and test images are sampled once).
            Colour images are not binarized.
        limit: keep only the first `limit` training images. All those of `celeba` take
            8 GB, and no more than `limit` of them are decoded; its validation and
            test images always come whole, 1 GB each.
        seed: integer in [0, 2^32 - 1] of the Bernoulli samples drawn here. It has
            no effect on `digits` and `blocks`, which are the same for everybody, and
            on `binary_mnist`.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: an unknown `name` or `binarize`, a `limit` or `seed` out of
            range, or a file that is damaged or holds something else, such as another
            published data set, or its test images for training.
        FileNotFoundError: `data_dir` does not hold the data set.
        ConnectionError: it would have to be downloaded, but cannot be.
        ImportError: it comes from TensorFlow Datasets, which is not installed.

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
    entry = _entry(name)
    how = _binarize_option(name, entry, binarize)
    seed = arguments.seed(seed, optional=False)
    limit = arguments.integer("limit", limit, optional=True)

    # All of the others are read: they are small, and validation images come last.
    read_limit = limit if entry.partial else None
    if entry.embedded is not None:
        raw = entry.embedded()
    elif data_dir is not None:
        raw = _read_data_dir(name, entry, data_dir, read_limit)
    else:
        raw = download(name, entry, read_limit)
    _check_parts(name, entry, raw)
    notes = [entry.title, *raw.notes, *_compare_with_published(name, entry, raw)]

    x_train, x_valid, y_train = raw.x_train, raw.x_valid, raw.y_train
    if entry.validation:
        n = len(x_train) - len(x_train) // entry.validation
        x_train, x_valid = x_train[:n], x_train[n:]
        if len(x_valid):
            whole = n + len(x_valid)
            notes.append(
                f"{n} of {whole} training images, the last {whole - n} kept for "
                "validation"
            )
        else:
            x_valid = None
        y_train = y_train if y_train is None else y_train[:n]
    whole = raw.n_train or len(x_train)
    check_limit(name, limit, whole)

    splits = [x_train if limit is None else x_train[:limit], x_valid, raw.x_test]
    if not entry.binary and how != "none":
        used = seed if entry.seed is None else entry.seed
        splits = binarized(how, used, splits)
    if not entry.binary and entry.shape[-1] == 1:
        notes.append(TREATMENTS[how])
    dataset = Dataset(
        name=name,
        x_train=splits[0],
        x_valid=splits[1],
        x_test=splits[2],
        y_train=y_train,
        y_test=raw.y_test,
        source=raw.source,
        binarize=how,
        description="; ".join(notes),
    )
    return dataset if limit is None else dataset.cut(limit, whole)


def _entry(name: str) -> Entry:
    if isinstance(name, str) and name in DATASETS:
        return DATASETS[name]
    close = difflib.get_close_matches(str(name).lower(), DATASETS, n=1)
    hint = f". Did you mean {close[0]!r}?" if close else ""
    if str(name).startswith(("dsprites", "shapes3d")):
        hint = ". Images with known factors are in echo_keras.data.factors."
    raise ValueError(
        f"name must be one of {', '.join(DATASETS)}. Received: name={name!r}{hint}"
    )


def _binarize_option(name: str, entry: Entry, binarize: str | None) -> str:
    wanted = None
    if not (binarize is None or isinstance(binarize, str) and binarize in BINARIZE):
        wanted = f"None or one of {', '.join(BINARIZE)}"
    elif entry.binary and binarize not in (None, "static"):
        wanted = f"None or 'static' for {name}, which is already binary"
    elif entry.shape[-1] > 1 and binarize not in (None, "none"):
        wanted = f"None or 'none' for {name}, which is in colour"
    if wanted:
        raise ValueError(f"binarize must be {wanted}. Received: binarize={binarize!r}")
    return entry.binarize if binarize is None else binarize


def _compare_with_published(name: str, entry: Entry, raw: Raw) -> list[str]:
    """Returns notes on how the files differ from the published ones."""
    notes = []
    counts = raw.counts or entry.counts
    found = raw.n_train or len(raw.x_train), len(raw.x_test)
    if counts is not None and found != counts:
        notes.append(
            f"{found[0]} training and {found[1]} test images, published "
            f"{counts[0]} and {counts[1]}"
        )
    if entry.fingerprint is None or not raw.published_order:
        return notes
    if sha256(raw.x_train, raw.x_valid, raw.x_test) == entry.fingerprint:
        return notes
    return notes or ["pixels differ from the published ones"]


def _check_parts(name: str, entry: Entry, raw: Raw) -> None:
    """Raises ValueError where a part begins like that of another, or like another.

    MNIST and Fashion-MNIST publish files of the same names, and any pixels can stand in
    an .npz archive.
    """
    known = {
        head: (other, part)
        for other, of_other in DATASETS.items()
        for part, head in of_other.heads.items()
    }
    parts = {"training": raw.x_train, "validation": raw.x_valid, "test": raw.x_test}
    for part, x in parts.items():
        if x is None or len(x) < HEAD:
            continue
        other, found = known.get(sha256(x[:HEAD])[:16], (name, part))
        if (other, found) != (name, part):
            do = f"Load {other!r}, put the files of {name} into data_dir/{name}"
            if other == name:
                do = "Put each part where it belongs"
            raise ValueError(
                f"{raw.source} must hold {entry.title}, as {part} images its {part} "
                f"images. Received: the {found} images of {DATASETS[other].title}. "
                f"{do}, or give data of your own an entry in "
                f"echo_keras.data.DATASETS."
            )


def _read_data_dir(
    name: str, entry: Entry, data_dir: str | os.PathLike, limit: int | None
) -> Raw:
    data_dir: pathlib.Path = check_folder(data_dir, name)
    # A folder of its own first: some data sets share their file names.
    folders = [data_dir / name, data_dir]
    if entry.folder:
        folders = [f for top in folders for f in (top / entry.folder, top)]
    for folder in folders:
        for files in entry.files:
            paths = find_files([folder], files.names)
            if paths:
                return files.read(entry, paths, limit)
    raise FileNotFoundError(
        f"data_dir must hold {name}: {', or '.join(map(str, entry.files))} (authors' "
        f"files plain or .gz), in {' or in '.join(map(str, folders))}. Received: none "
        f"of these. {entry.hint}Put the files there, or leave data_dir out to download "
        "them."
    )
