"""Sources that need no files of the user's: Keras's downloads, TensorFlow Datasets."""

import dataclasses
import os
import pathlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np

from .checks import check_labels, check_limit
from .entry import Entry, Files, Raw

_SECONDS = 5.0  # to find out whether there is a network


def download(name: str, entry: Entry, limit: int | None) -> Raw:
    """Reads the first of the downloads that is here already, or that can be fetched.

    Raises:
        ConnectionError: it must be downloaded, and cannot be.
        ImportError: it would come from TensorFlow Datasets, which is not installed.
    """
    for source in entry.downloads:
        if source.is_local():
            return source.read(name, entry, limit)
    failures = {}
    for source in entry.downloads:
        # Without a network, the libraries would try for minutes before they give up.
        host, failure = _probe(source.url, _SECONDS / len(entry.downloads))
        if failure is None:
            return source.read(name, entry, limit)
        failures[host] = failure
    hosts = " or ".join(failures)
    raise ConnectionError(
        f"{name} is not on this machine yet and must be downloaded from {hosts}. "
        f"Received: no connection ({failure}). Connect to the network or pass data_dir."
    ) from failure


def _probe(url: str, seconds: float) -> tuple[str | None, OSError | None]:
    """The host that `url` leads to, and why it cannot be reached, if it cannot."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy:
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=seconds).close()
    except OSError as error:
        return parts.hostname, error
    return parts.hostname, None


def _cache() -> pathlib.Path:
    """The folder in which Keras keeps its downloads."""
    return pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def _fetch(what: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:  # Keras raises bare Exceptions, NumPy and zip their own
        raise ConnectionError(
            f"{what} must be readable or downloadable by Keras. Received: "
            f"{' '.join(str(error).split())}. Try again, delete Keras's copy of it in "
            f"{_cache() / 'datasets'}, or pass data_dir."
        ) from error


@dataclasses.dataclass(frozen=True)
class KerasDataset:
    """One of `keras.datasets`.

    Args:
        name: of the module.
        files: what it keeps in Keras's folder `datasets`.
        url: where it fetches them from.
    """

    name: str
    files: tuple[str, ...]
    url: str

    def is_local(self) -> bool:
        return all((_cache() / "datasets" / file).exists() for file in self.files)

    def read(self, name: str, entry: Entry, limit: int | None) -> Raw:
        import keras

        what = f"keras.datasets.{self.name}"
        module = getattr(keras.datasets, self.name)
        (x_train, y_train), (x_test, y_test) = _fetch(what, module.load_data)
        arrays = {}
        for split, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
            images = entry.images(x, f"{what}, x_{split}")
            labels = check_labels(y.ravel(), len(images), f"{what}, y_{split}")
            arrays |= {f"x_{split}": images, f"y_{split}": labels}
        return Raw(**arrays, source=f"{what}, the published images")


@dataclasses.dataclass(frozen=True)
class KerasFiles:
    """Published files that `keras.utils.get_file` fetches.

    Args:
        files: those, and what reads them.
        url: of the folder that they are in.
        hashes: SHA-256 of each.
    """

    files: Files
    url: str
    hashes: tuple[str, ...]

    def is_local(self) -> bool:
        return all((_cache() / "datasets" / name).exists() for name in self.files.names)

    def read(self, name: str, entry: Entry, limit: int | None) -> Raw:
        import keras

        paths = []
        for file, sha256 in zip(self.files.names, self.hashes, strict=True):
            paths.append(
                _fetch(
                    file,
                    lambda file=file, sha256=sha256: keras.utils.get_file(
                        file, f"{self.url}/{file}", file_hash=sha256
                    ),
                )
            )
        raw = self.files.read(entry, [pathlib.Path(path) for path in paths], limit)
        raw.source = f"{self.files.names[0]} and others, fetched by Keras"
        return raw


@dataclasses.dataclass(frozen=True)
class TensorFlowDataset:
    """One of TensorFlow Datasets, in its own order.

    Args:
        name: of the data set there.
        url: where it is fetched from.
        label: the feature that holds labels, where there are any.
        images: function from a batch of its images to those wanted; None to take
            them as they are.
        validation: whether it has a split of that name.
        note: what else to tell of it.
        counts: its numbers of training and test images, where they are not those of
            the published data set.
    """

    name: str
    url: str
    label: str = "label"
    images: Callable[[np.ndarray], np.ndarray] | None = None
    validation: bool = False
    note: str | None = None
    counts: tuple[int, int] | None = None

    def is_local(self) -> bool:
        try:
            import tensorflow_datasets as tfds
        except ImportError:
            return False
        return is_prepared(tfds.builder(self.name))

    def read(self, name: str, entry: Entry, limit: int | None) -> Raw:
        try:
            import tensorflow_datasets as tfds
        except ImportError as error:
            raise ImportError(
                f"{name} comes from TensorFlow Datasets, which cannot be imported "
                f"({error}): pip install tensorflow-datasets, or pass data_dir."
            ) from error
        builder = tfds.builder(self.name)
        if not is_prepared(builder):
            builder.download_and_prepare()

        def read(split: str, limit: int | None = None) -> tuple[np.ndarray, ...]:
            x, y, n = [], [], 0
            batches = builder.as_dataset(
                split=split, batch_size=1000, shuffle_files=False
            )
            for batch in tfds.as_numpy(batches):
                image = np.asarray(batch["image"])[
                    : None if limit is None else limit - n
                ]
                x.append(image if self.images is None else self.images(image))
                if self.label in batch:
                    y.append(np.asarray(batch[self.label]))
                n += len(image)
                if n == limit:
                    break
            # Checked as a whole: a batch alone could look scaled already.
            what = f"TensorFlow Datasets {self.name}, {split}"
            if not x:
                raise ValueError(
                    f"{what} must hold images. Received: none. Delete TensorFlow "
                    "Datasets' copy and load again."
                )
            x = entry.images(np.concatenate(x), what)
            return x, check_labels(np.concatenate(y) if y else None, len(x), what)

        n_train = None
        if limit is not None:
            n_train = builder.info.splits["train"].num_examples
            check_limit(name, limit, n_train)
        x_train, y_train = read("train", limit)
        x_test, y_test = read("test")
        return Raw(
            x_train,
            x_test,
            f"TensorFlow Datasets {self.name}:{builder.info.version}",
            x_valid=read("validation")[0] if self.validation else None,
            y_train=y_train,
            y_test=y_test,
            notes=["in the order of TensorFlow Datasets", *filter(None, [self.note])],
            counts=self.counts,
            published_order=False,
            n_train=n_train,
        )


def is_prepared(builder: Any) -> bool:
    """Whether TensorFlow Datasets has a data set on this machine."""
    return os.path.exists(os.path.join(str(builder.data_dir), "dataset_info.json"))
