"""Shuffled batches of arrays, another order in every epoch."""

import math

import numpy as np

from echo_keras._epochs import Epochs
from echo_keras.layers import arguments


class Batches(Epochs):
    """Shuffled batches that depend on the seed and the epoch's number alone.

    `fit` moves them on from epoch to epoch, and an epoch is the same in a resumed run
    as in an uninterrupted one. For the same order of batches too, hand `fit`
    `shuffle=False`, and leave its `steps_per_epoch` out.

    Args:
        x: Array (n, ...); values in [0, 1] where they are binarized.
        batch_size: Int >= 1; the last batch may be smaller.
        seed: Int in [0, 2^32 - 1].
        y: Targets, array (n, ...), such as labels; the inputs themselves if None.
        binarize: If True, inputs are Bernoulli samples drawn afresh in every epoch.
        epoch: Int >= 0, the first epoch.

    Raises:
        ValueError: a number is out of range, or y has not one row for each of x.

    Example:

    >>> batches = Batches(np.zeros((10, 2)), batch_size=4, seed=0, y=np.arange(10))
    >>> x, y = batches[2]
    >>> len(batches), x.shape, y.shape
    (3, (2, 2), (2,))
    """

    def __init__(
        self,
        x: np.ndarray,
        batch_size: int,
        seed: int,
        y: np.ndarray | None = None,
        binarize: bool = False,
        epoch: int = 0,
    ) -> None:
        self.x, self.y = arguments.array("x", x, finite=False), y
        self.binarize = arguments.flag("binarize", binarize)
        self.batch_size = arguments.integer("batch_size", batch_size)
        self.seed = arguments.seed(seed, optional=False)
        if y is not None:
            self.y = np.asarray(y)
            if self.y.shape[:1] != (len(x),):
                raise ValueError(
                    f"y must have one row for each of the {len(x)} rows of x. "
                    f"Received: y of shape {self.y.shape}"
                )
        super().__init__(arguments.integer("epoch", epoch, low=0))

    def __len__(self) -> int:
        return math.ceil(len(self.x) / self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        return np.random.RandomState([self.seed, epoch]).permutation(len(self.x))

    def batch(
        self, index: int, epoch: int, order: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = order[index * self.batch_size :][: self.batch_size]
        x = self.x[rows]
        if self.binarize:
            # Of the epoch's number: a resumed training goes on with the same noise.
            noise = np.random.RandomState([self.seed, epoch, index])
            x = (noise.random_sample(x.shape) < x).astype("float32")
        return x, x if self.y is None else self.y[rows]
