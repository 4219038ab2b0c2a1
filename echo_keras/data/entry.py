"""What the table of data sets is made of."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from .checks import check_images

HEAD = 1000  # images that tell what a file holds


@dataclasses.dataclass
class Raw:
    """What a source holds, before it is split and binarized."""

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


@dataclasses.dataclass(frozen=True)
class Files:
    """Files that hold a data set, and what reads them.

    Args:
        names: the files, all of which must be there, plain or gzipped; a name that
            ends in / is a folder.
        read: called as `read(entry, paths, limit)`; no more than the first `limit`
            training images are wanted, all if None. It returns a `Raw`.
    """

    names: tuple[str, ...]
    read: Callable[["Entry", list[pathlib.Path], int | None], Raw]

    def __str__(self) -> str:
        names = ", ".join(self.names)
        return names if len(self.names) == 1 else f"all of {names}"


class Download(Protocol):
    """A source that needs no `data_dir`."""

    url: str  # where it fetches from

    def is_local(self) -> bool:
        """Whether it is on this machine already."""

    def read(self, name: str, entry: "Entry", limit: int | None) -> Raw:
        """Fetches it where it is not, and reads it."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A data set: all that `load` knows of it.

    Args:
        title: for people.
        files: where it may lie in `data_dir`, in the order in which they are tried.
        downloads: where it comes from without `data_dir`, in order.
        embedded: function without arguments that returns it as a `Raw`, where it
            needs neither.
        shape: (height, width, channels) of an image.
        validation: k, to take the last k-th of the training images for validation.
        binary: whether the published pixels are binary, and are not sampled again.
        binarize: the treatment when the caller names none, one of BINARIZE.
        seed: of the Bernoulli samples, where they are the same for everybody.
        partial: whether no more than `limit` training images are read.
        counts: published numbers of training and test images.
        fingerprint: checksum of all the published pixels, in order.
        heads: first 16 digits of the checksum of the first `HEAD` published images, by
            part: "training", "validation", "test". A file that begins like another
            data set, or like another part, is refused.
        folder: where to look too: its archive unpacks to it.
        hint: what else to say where the files are missing.
    """

    title: str
    files: tuple[Files, ...] = ()
    downloads: tuple[Download, ...] = ()
    embedded: Callable[[], Raw] | None = None
    shape: tuple[int, int, int] = (28, 28, 1)
    validation: int | None = None
    binary: bool = False
    binarize: str = "none"
    seed: int | None = None
    partial: bool = False
    counts: tuple[int, int] | None = None
    fingerprint: str | None = None
    heads: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folder: str | None = None
    hint: str = ""

    def images(self, x: Any, what: str) -> np.ndarray:
        """Returns images as float32 in [0, 1], or says what is wrong with `what`."""
        x = np.asarray(x)
        if self.binary and x.dtype == np.uint8 and x.size and x.max() == 1:
            x = x.astype(bool)  # binary data are written as 0, 1 too
        x = check_images(x, what, self.shape)
        if self.binary and not np.isin(x, (0, 1)).all():
            raise ValueError(
                f"{what} must hold binary pixels. Received: grey ones. Load 'mnist' "
                "with binarize='static', or fetch the published binary files."
            )
        return x
