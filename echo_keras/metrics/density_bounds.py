"""The lower bound of a code's information, split by a density of the data."""

import math
from typing import Any

from echo_keras.layers import arguments


def density_bounds(
    distortion: Any, cross_entropy: Any, entropy: float | None = None
) -> tuple[Any, Any]:
    """U and S, into which a density q(x) splits the lower bound: `U - S = H - D`.

    `U = E log d(x|z) / q(x) = C - D` and `S = KL[p*(x) || q(x)] = C - H`, with the
    cross entropy `C = -E log q(x)` of data under q. U says how many nats the decoder
    gains by seeing the code, beyond what q knows without one, and S what q lacks. H,
    which is seldom known, is in S alone: U - S is a lower bound of I(X; Z), and U
    exceeds it by S.

    q may be any density of the data: that of the model itself, `-log p(x)` as
    `importance_weighted` estimates it, or of another model.

    Args:
        distortion: D, a number or an array, nats per example.
        cross_entropy: C, of the same shape, nats per example.
        entropy: H, a number; None if it is not known.

    Returns:
        (U, S), each of the shape of distortion; S is None without an entropy.

    Raises:
        ValueError: the shapes differ, entropy is no number, or a value is not finite.

    Example:

    >>> u, s = density_bounds(distortion=62.0, cross_entropy=83.0, entropy=81.0)
    >>> float(u), float(s), float(u - s) == 81.0 - 62.0
    (21.0, 2.0, True)

    References:
        Fixing a Broken ELBO, App. C.1, Eq. 12-15.
    """
    d, c = (
        arguments.array(name, v, axes=range(33)).astype("float64")
        for name, v in (("distortion", distortion), ("cross_entropy", cross_entropy))
    )
    if d.shape != c.shape:
        raise ValueError(
            f"distortion and cross_entropy must have one shape. Received: shapes "
            f"{d.shape} and {c.shape}"
        )
    entropy = arguments.number("entropy", entropy, optional=True)
    return c - d, None if entropy is None else c - entropy


def expected_divergence(entropy: float, examples: int) -> float:
    """What S of a density of the data should be on n examples: `H - log n`, or 0.

    The law of a finite sample lies `KL[p^(x) || p*(x)]` from that of the data. A
    density that comes closer to the sample than the truth does has learned its
    accidents: the value is a target for S against overfitting, with which
    `objectives.EntropyTargetModel` trains.

    Args:
        entropy: H >= 0 of the data, nats per example.
        examples: Int >= 1, n, each of which was seen once.

    Returns:
        Nats per example; 0 if there are more examples than e^H.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> round(expected_divergence(10.0, 1000), 3)  # 10 - log 1000
    3.092

    References:
        Fixing a Broken ELBO, App. C.1, Eq. 16.
    """
    entropy = arguments.number("entropy", entropy, low=0)
    examples = arguments.integer("examples", examples)
    return max(entropy - math.log(examples), 0.0)
