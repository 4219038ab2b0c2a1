"""The differential entropy of codes, from distances between them."""

import math

import numpy as np
from scipy import spatial, special

from echo_keras.layers import arguments


def differential_entropy(z: np.ndarray, neighbours: int = 3) -> tuple[float, float]:
    """The entropy of the law that codes are drawn from, by nearest neighbours.

    The estimate of Kozachenko and Leonenko,

    `h = psi(n) - psi(k) + log V_d + d / n sum_i log r_i`,

    with r_i the distance of a code to its k-th neighbour and V_d the volume of the unit
    ball. Of q(z), as `metrics.encode` draws it, it is what the Variational InfoMax
    Autoencoder's capacity is bounded by: compare it with that of the prior, 1/2 d
    log(2 pi e) of the standard normal. It needs no density. In d dimensions its bias
    falls only as about n^(-1/d): with dozens of dimensions and thousands of codes
    compare two numbers of one n and d rather than trust either.

    Args:
        z: Codes (n, ...), n > neighbours, all different.
        neighbours: Int >= 1, k. More have less variance and more bias.

    Returns:
        (h, standard error) in nats; the error counts the spread of log r alone, and
        is a little too small, since neighbours share distances.

    Raises:
        ValueError: z is not as above: a law with repeated codes has no density.

    Example:

    >>> z = np.random.default_rng(0).normal(size=(2000, 2))
    >>> h, error = differential_entropy(z)
    >>> bool(abs(h - np.log(2 * np.pi * np.e)) < 4 * error)  # N(0, I), 2 dimensions
    True

    References:
        Kozachenko & Leonenko, Sample estimate of the entropy of a random vector (1987);
        The Variational InfoMax Autoencoder, Sec. 3.2 and 5.1.
    """
    neighbours = arguments.integer("neighbours", neighbours)
    z = arguments.array("z", z, "(n, ...)").astype("float64")
    z = z.reshape(len(z), -1)
    n, d = z.shape
    if n <= neighbours or d < 1:
        raise ValueError(
            f"z must have more than neighbours={neighbours} codes of one dimension or "
            f"more. Received: shape {z.shape}"
        )
    # A code is its own first neighbour.
    distances = spatial.cKDTree(z).query(z, neighbours + 1)[0][:, -1]
    if not distances.all():
        raise ValueError(
            f"z must have codes that differ: a law that repeats them has no density. "
            f"Received: {np.sum(distances == 0)} of {n} codes with {neighbours} equal "
            f"ones"
        )
    log_volume = 0.5 * d * math.log(math.pi) - special.gammaln(0.5 * d + 1)
    of_each = d * np.log(distances)
    constant = special.digamma(n) - special.digamma(neighbours) + log_volume
    error = of_each.std(ddof=1) / math.sqrt(n)
    return float(constant + of_each.mean()), float(error)
