"""Images that are looked up by their generative factors."""

import math
from collections.abc import Callable, Mapping

import keras
import numpy as np

from echo_keras._epochs import Epochs
from echo_keras._files import sha256
from echo_keras.layers import arguments


class FactorDataset:
    """Images that are looked up by row number or by factor.

    Rows are in the published order: the last factor changes fastest.

    Attributes:
        name: one of `names()`.
        factor_names: tuple of str.
        factor_sizes: tuple of int, how many values each factor has.
        image_shape: `(height, width, channels)`.
        source: where the images come from; no paths.
        description: one line for people, with every caveat.
        checksum: SHA-256 (hex) of what the images are made from, and of the rows
            kept where not all of them are.

    Example:

    >>> from echo_keras.data import factors
    >>> dataset = factors.load("shapes3d_rendered")
    >>> dataset.factor_names[-2:], dataset.factor_sizes[-2:], len(dataset)
    (('shape', 'orientation'), (4, 15), 480000)
    >>> rows = dataset.sample_given(4, 3, n=2, rng=np.random.RandomState(0))
    >>> dataset.factors(rows)[:, 4]
    array([3, 3])
    >>> dataset.images(rows).shape
    (2, 64, 64, 3)
    """

    def __init__(
        self,
        name: str,
        sizes: Mapping[str, int],
        image_shape: tuple[int, int, int],
        read: Callable[[np.ndarray], np.ndarray],
        source: str,
        description: str,
        checksum: str,
        kept: np.ndarray | None = None,
    ) -> None:
        # `sizes` is a dict from factor to size, `read` a function from positions in
        # the whole grid of factors, int64 (n,), to images (n, height, width, channels),
        # bool or uint8; `kept` holds the positions that are rows, None for all.
        self.name = name
        self.factor_names = tuple(sizes)
        self.factor_sizes = tuple(sizes.values())
        self.image_shape = tuple(image_shape)
        self.source = source
        self.description = description
        self.checksum = checksum
        if kept is not None:
            kept = np.asarray(kept, "<i8")
            self.checksum = sha256(checksum.encode(), kept)
        self._sizes, self._read, self._kept = sizes, read, kept
        self._by_value = {}

    def __len__(self) -> int:
        return math.prod(self.factor_sizes) if self._kept is None else len(self._kept)

    def __repr__(self) -> str:
        return f"<FactorDataset {self.name}: {len(self)} images; {self.source}>"

    def factors(self, rows: np.ndarray) -> np.ndarray:
        """Returns factor indices, int64 of shape `(n, factors)`.

        Args:
            rows: integers from 0 to `len(dataset) - 1`, shape `(n,)`.

        Raises:
            ValueError: `rows` has another shape or type, or numbers out of range.
        """
        position = self._position(rows)
        return np.stack(np.unravel_index(position, self.factor_sizes), axis=1)

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Returns images, float32 in [0, 1] of shape `(n, height, width, channels)`.

        Args:
            rows: integers from 0 to `len(dataset) - 1`, shape `(n,)`.

        Raises:
            ValueError: `rows` has another shape or type, or numbers out of range.
        """
        images = self._read(self._position(rows))
        if images.dtype == bool:
            return images.astype(np.float32)
        return images / np.float32(255)

    def sample(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Draws `n` rows uniformly, with replacement, from a `RandomState`."""
        return rng.randint(len(self), size=n)

    def sample_given(
        self, factor: int, value: int, n: int, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draws rows uniformly, with replacement, among those with a factor's value.

        Args:
            factor: integer, which of `factor_names`.
            value: integer, the factor's index.
            n: integer, how many rows.
            rng: a `np.random.RandomState`.

        Returns:
            Integers of shape `(n,)`.

        Raises:
            ValueError: there is no such factor, or no row has that value.
        """
        if not 0 <= factor < len(self.factor_sizes):
            raise ValueError(
                f"factor must be a column from 0 to {len(self.factor_sizes) - 1} "
                f"({', '.join(self.factor_names)}). Received: factor={factor!r}"
            )
        if factor not in self._by_value:
            column = self._column(factor)
            order = np.argsort(column, kind="stable")
            starts = np.arange(self.factor_sizes[factor] + 1)
            self._by_value[factor] = order, np.searchsorted(column[order], starts)
        order, starts = self._by_value[factor]
        if not 0 <= value < len(starts) - 1 or starts[value] == starts[value + 1]:
            (found,) = np.nonzero(np.diff(starts))
            raise ValueError(
                f"value must be one of {self.factor_names[factor]} that occurs in "
                f"{self.name} ({ranges(found)}). Received: value={value!r}"
            )
        return order[rng.randint(starts[value], starts[value + 1], size=n)]

    def batches(
        self, batch_size: int, steps: int, seed: int = 0, epoch: int = 0
    ) -> keras.utils.PyDataset:
        """Batches (x, x) of images drawn uniformly, with replacement.

        They depend on the seed and the epoch's number alone; `fit` moves them on.

        Args:
            batch_size: integer >= 1.
            steps: integer >= 1, batches in an epoch.
            seed: integer in [0, 2^32 - 1].
            epoch: integer >= 0, the first epoch.

        Returns:
            A `keras.utils.PyDataset`.

        Raises:
            ValueError: a number is out of range.
        """
        batch_size = arguments.integer("batch_size", batch_size)
        steps = arguments.integer("steps", steps)
        seed = arguments.seed(seed, optional=False)
        epoch = arguments.integer("epoch", epoch, low=0)
        return _Batches(self, batch_size, steps, seed, epoch)

    def subset(self, n: int, seed: int = 0) -> "FactorDataset":
        """Returns a `FactorDataset` of `n` rows drawn without replacement."""
        n = arguments.integer("n", n, high=len(self))
        seed = arguments.seed(seed, optional=False)
        rows = np.random.RandomState(seed).permutation(len(self))[:n]
        note = f"{n} of its {len(self)} images (seed {seed})"
        return self.keep(np.sort(rows), self.name, note)

    def total_correlation(self) -> float:
        """Total correlation of the factors, in nats, over all rows.

        The factors' entropies summed, less the logarithm of the number of images.
        """
        total = -math.log(len(self))
        for factor, size in enumerate(self.factor_sizes):
            share = np.bincount(self._column(factor), minlength=size) / len(self)
            share = share[share > 0]
            total -= float(share @ np.log(share))
        # With all combinations there it is zero, which rounding would not show.
        return 0.0 if self._kept is None else max(0.0, total)

    def keep(self, rows: np.ndarray, name: str, note: str) -> "FactorDataset":
        """The data set of some rows, in increasing order."""
        return FactorDataset(
            name,
            self._sizes,
            self.image_shape,
            self._read,
            self.source,
            f"{self.description}; {note}",
            self.checksum,
            self._position(rows),
        )

    def _position(self, rows):
        """Positions of rows in the grid of all combinations of factors."""
        rows = np.asarray(rows)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise ValueError(
                f"rows must be integers of shape (n,). Received: {rows.dtype} of shape "
                f"{rows.shape}"
            )
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise ValueError(
                f"rows must be numbers from 0 to {len(self) - 1}, as {self.name} has "
                f"{len(self)} images. Received: {rows.min()} to {rows.max()}"
            )
        rows = rows.astype(np.int64)
        return rows if self._kept is None else self._kept[rows]

    def _column(self, factor):
        return self.factors(np.arange(len(self)))[:, factor]


class _Batches(Epochs):
    """See `FactorDataset.batches`."""

    def __init__(
        self, dataset: FactorDataset, batch_size: int, steps: int, seed: int, epoch: int
    ) -> None:
        self.dataset, self.batch_size, self.steps = dataset, batch_size, steps
        self.seed = seed
        super().__init__(epoch)

    def __len__(self) -> int:
        return self.steps

    def order(self, epoch: int) -> np.ndarray:
        rng = np.random.RandomState([self.seed, epoch])
        rows = self.dataset.sample(self.steps * self.batch_size, rng)
        return rows.reshape(self.steps, self.batch_size)

    def batch(
        self, index: int, epoch: int, order: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        x = self.dataset.images(order[index])
        return x, x


def ranges(values: np.ndarray) -> str:
    """Increasing integers as text, such as '0 to 3, 7'."""
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    texts = [f"{v[0]}" if len(v) == 1 else f"{v[0]} to {v[-1]}" for v in runs]
    return ", ".join(texts)
