r"""What scores of disentanglement take: data whose factors are known, and codes."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from keras import ops

from echo_keras.layers import arguments

from .batching import map_batches

Represent = Callable[[np.ndarray], Any]


class FactorData(Protocol):
    """Images (n, h, w, c) and their k factors of variation, by the numbers of rows."""

    factor_sizes: tuple[int, ...]

    def __len__(self) -> int: ...

    def factors(self, rows: Any) -> np.ndarray:
        """The factors' values, ints (n, k)."""

    def images(self, rows: Any) -> np.ndarray:
        """The images, float32 (n, h, w, c)."""

    def sample(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Draws n rows uniformly, with replacement."""

    def sample_given(
        self, factor: int, value: int, n: int, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draws n of the rows where a factor has some value."""


class FactorGrid:
    """Every combination of some factors, once; the image is the factors themselves.

    The smallest data set that the scores take, to try them on codes that are known.

    Args:
        *factor_sizes: Ints, the number of values of each factor.

    Example:

    >>> grid = FactorGrid(3, 4)
    >>> len(grid), grid.factors([0, 1, 11]).tolist(), grid.images([11]).shape
    (12, [[0, 0], [0, 1], [2, 3]], (1, 1, 1, 2))
    """

    def __init__(self, *factor_sizes: int) -> None:
        self.factor_sizes = arguments.integers("factor_sizes", factor_sizes)

    def __len__(self) -> int:
        return int(np.prod(self.factor_sizes))

    def factors(self, rows: Any) -> np.ndarray:
        """The factors' values, ints (n, k)."""
        return np.stack(np.unravel_index(rows, self.factor_sizes), axis=1)

    def images(self, rows: Any) -> np.ndarray:
        """The same as float32, (n, 1, 1, k)."""
        return self.factors(rows).astype("float32")[:, None, None, :]

    def sample(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Draws n rows uniformly, with replacement."""
        return rng.randint(len(self), size=n)

    def sample_given(
        self, factor: int, value: int, n: int, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draws n of the rows where a factor has some value."""
        factors = self.factors(self.sample(n, rng))
        factors[:, factor] = value
        return np.ravel_multi_index(factors.T, self.factor_sizes)


def draw(
    represent: Represent,
    dataset: FactorData,
    points: int,
    batch_size: int | None,
    rng: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (n, d) and factors (n, k) of n rows drawn uniformly."""
    arguments.function("represent", represent)
    if not all(hasattr(dataset, name) for name in ("sample", "factors", "images")):
        raise ValueError(
            f"dataset must be one with known factors, as those of echo_keras.data."
            f"factors. Received: dataset={dataset!r:.100}"
        )
    rows = dataset.sample(points, rng)
    return encode_rows(represent, dataset, rows, batch_size), dataset.factors(rows)


def draw_varied(
    represent: Represent,
    dataset: FactorData,
    points: int,
    batch_size: int | None,
    rng: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
    """The same, with every factor varying: one value is nothing to predict."""
    points = arguments.integer("points", points, low=2)
    codes, factors = draw(represent, dataset, points, batch_size, rng)
    fixed = np.flatnonzero(np.ptp(factors, axis=0) == 0)
    if len(fixed):
        raise ValueError(
            f"Every factor must vary among {points} points. Received: one value of "
            f"factor {', '.join(map(str, fixed))}"
        )
    return codes, factors


def encode_rows(
    represent: Represent, dataset: FactorData, rows: np.ndarray, batch_size: int | None
) -> np.ndarray:
    """Codes float64 (n, d) of some rows, encoded `batch_size` at a time."""

    def encode(rows):
        codes = ops.convert_to_numpy(represent(dataset.images(rows)))
        if codes.ndim != 2 or len(codes) != len(rows) or not codes.shape[1]:
            raise ValueError(
                f"represent must give codes of shape ({len(rows)}, d), d >= 1. "
                f"Received: {codes.shape}"
            )
        return codes.astype("float64")

    codes = map_batches(encode, rows, batch_size)
    if not np.isfinite(codes).all():
        raise ValueError("represent must give finite codes. Received: NaN or infinity")
    return codes
