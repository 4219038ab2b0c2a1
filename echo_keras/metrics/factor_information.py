"""Scores of disentanglement by mutual information: MIG and modularity."""

import numpy as np
from sklearn.metrics import mutual_info_score

from echo_keras.layers import arguments

from .factor_codes import FactorData, Represent, draw_varied


def mig(
    represent: Represent,
    dataset: FactorData,
    *,
    points: int = 10_000,
    bins: int = 20,
    batch_size: int | None = None,
    seed: int = 0,
) -> float:
    """Mutual information gap: is each factor in one dimension only?

    `MIG = 1/k sum_i (I(v_i; z_(1)) - I(v_i; z_(2))) / H(v_i)`

    where (1) and (2) are the dimensions with the most information about factor
    `v_i`, in nats, each cut into `bins` of equal width between its least and
    greatest value; 0 takes the place of the second where there is but one. Shift
    and scale of a dimension make no difference. Information from a sample is too
    high by about (bins - 1)(values - 1) / 2 points nats in a dimension without any.

    A factor of more than `bins` values that one dimension has on a uniform scale
    scores below 1, for values share bins; 20 bins of 40 values give 0.81.

    Args:
        represent, dataset, batch_size, seed: See `metrics.disentanglement`.
        points: Int >= 2, images that are encoded.
        bins: Int >= 1.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: See `metrics.disentanglement`.

    Example:

    >>> from echo_keras.metrics import FactorGrid
    >>> flat = lambda images: images[:, 0, 0]  # the code is the factors
    >>> round(mig(flat, FactorGrid(3, 4)), 2)
    1.0

    References:
        Chen, Li, Grosse & Duvenaud, Isolating Sources of Disentanglement in
        Variational Autoencoders (2018), Sec. 4.1, there with I(v; z) from samples of
        q(z|x) rather than from a histogram of means.
    """
    bins = arguments.integer("bins", bins)
    rng = np.random.RandomState(arguments.seed(seed, optional=False))
    codes, factors = draw_varied(represent, dataset, points, batch_size, rng)
    entropy = [mutual_info_score(values, values) for values in factors.T]
    gap = gap_to_second(_mutual_information(codes, factors, bins))
    return float(np.mean(gap / entropy))


def modularity(
    represent: Represent,
    dataset: FactorData,
    *,
    points: int = 10_000,
    bins: int = 20,
    batch_size: int | None = None,
    seed: int = 0,
) -> float:
    r"""Modularity: does each dimension tell of one factor only?

    $$1 - \frac1d \sum_{j=1}^d \frac{\sum_{i \ne i_j} I(v_i; z_j)^2}
        {(k - 1)\, I(v_{i_j}; z_j)^2}$$

    where `i_j` is the factor about which dimension j has the most information,
    computed as in `mig`. A factor in many dimensions costs nothing. A dimension
    without any information, such as a constant, counts 0. One of pure noise has a
    little from sampling, the most about the factor with the most values, and so
    counts something between 0 and 1 that means nothing. With one factor, every
    dimension with information counts 1.

    Args:
        represent, dataset, batch_size, seed: See `metrics.disentanglement`.
        points: Int >= 2, images that are encoded.
        bins: Int >= 1.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: See `metrics.disentanglement`.

    Example:

    >>> from echo_keras.metrics import FactorGrid
    >>> flat = lambda images: images[:, 0, 0]  # the code is the factors
    >>> round(modularity(flat, FactorGrid(3, 4)), 2)
    1.0

    References:
        Ridgeway & Mozer, Learning Deep Disentangled Embeddings with the F-Statistic
        Loss (2018), Sec. 3.
    """
    bins = arguments.integer("bins", bins)
    rng = np.random.RandomState(arguments.seed(seed, optional=False))
    codes, factors = draw_varied(represent, dataset, points, batch_size, rng)
    squared = _mutual_information(codes, factors, bins) ** 2
    most, others = squared.max(axis=0), max(len(squared) - 1, 1)
    informed = most > 0
    off = (squared.sum(axis=0) - most) / np.where(informed, most * others, 1.0)
    return float(np.mean(np.where(informed, 1.0 - off, 0.0)))


def _mutual_information(codes, factors, bins):
    """Between each factor and each binned dimension, in nats: (k, d)."""
    low, width = codes.min(axis=0), np.ptp(codes, axis=0)
    place = (codes - low) / np.where(width > 0, width, 1.0)
    # The last bin has its upper edge.
    binned = np.minimum((place * bins).astype("int64"), bins - 1)
    return np.array([[mutual_info_score(v, z) for z in binned.T] for v in factors.T])


def gap_to_second(values):
    """The highest of each row less the second highest, or less 0 if there is none."""
    values = np.sort(np.pad(values, ((0, 0), (1, 0))), axis=1)
    return values[:, -1] - values[:, -2]
