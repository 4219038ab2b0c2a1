"""What `load` returns: images, and where they came from."""

import dataclasses
import functools

import numpy as np

from echo_keras._files import sha256
from echo_keras.layers import arguments

from .pixels import TREATMENTS


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
    binarize: str
    description: str

    @functools.cached_property
    def checksum(self) -> str:
        """SHA-256 (hex) of the float32 bytes of `x_train`, `x_valid` and `x_test`.

        One after the other, as they stand here.
        """
        splits = self.x_train, self.x_valid, self.x_test
        return sha256(*(None if x is None else np.asarray(x, "<f4") for x in splits))

    def first(self, n: int) -> "Dataset":
        """The data set with its first `n` training images, which are views of these.

        It is that of `load(limit=n)`, checksum and description included.

        Raises:
            ValueError: `n` is no integer, or not in [1, training images].

        Example:

        >>> from echo_keras import data
        >>> data.load("digits").first(100).x_train.shape
        (100, 28, 28, 1)
        """
        n = arguments.integer("n", n, high=len(self.x_train))
        return self.cut(n, len(self.x_train))

    def hold_out(self, n: int, seed: int = 0) -> "Dataset":
        """The data set with `n` of its training images as its validation images.

        For one that has none, such as `digits`. The others keep their order.

        Args:
            n: Int in [1, training images - 1].
            seed: Int in [0, 2^32 - 1], of the draw.

        Raises:
            ValueError: `n` or `seed` is out of range, or there are validation images
                already.

        Example:

        >>> from echo_keras import data
        >>> held = data.load("digits").hold_out(100)
        >>> len(held.x_train), len(held.x_valid), held.description.split("; ")[1]
        (1197, 100, '100 of 1297 training images held out with seed 0')
        """
        if self.x_valid is not None:
            raise ValueError(
                f"x_valid must be None where images are to be held out. Received: "
                f"{len(self.x_valid)} validation images of {self.name}"
            )
        whole = len(self.x_train)
        n = arguments.integer("n", n, high=whole - 1)
        seed = arguments.seed(seed, optional=False)
        order = np.random.RandomState(seed).permutation(whole)
        valid, train = np.sort(order[:n]), np.sort(order[n:])
        return dataclasses.replace(
            self,
            x_train=self.x_train[train],
            x_valid=self.x_train[valid],
            y_train=None if self.y_train is None else self.y_train[train],
            description=self._described(
                f"{n} of {whole} training images held out with seed {seed}"
            ),
        )

    def cut(self, n: int, whole: int) -> "Dataset":
        """As `first`, where x_train may hold but a part of `whole` images already."""
        if n == whole:
            return self
        return dataclasses.replace(
            self,
            x_train=self.x_train[:n],
            y_train=None if self.y_train is None else self.y_train[:n],
            description=self._described(f"first {n} of {whole} training images"),
        )

    def _described(self, note: str) -> str:
        """The description with a note; the treatment of the pixels is named last."""
        treatment = f"; {TREATMENTS.get(self.binarize)}"
        told = self.description.removesuffix(treatment)
        return f"{told}; {note}{self.description[len(told) :]}"
