"""Binary images of 8 x 8 pixels, made up so that their law is known in every number.

An image is drawn from coarse to fine. Each of its four blocks of 4 x 4 pixels, one in
each corner, is light or dark with equal probability and independently of the others;
each quarter of a block, 2 x 2 pixels, is as its block but with probability
`OTHER_QUARTER`, and each pixel as its quarter but with probability `OTHER_PIXEL`. So a
code can say what is where, 4 log 2 = 2.8 nats, how it looks in detail, 8.0 nats more,
and which pixels are noise, 12.7 nats.

A block has but 65,536 values: the entropy H of an image is a sum over them, and `H - D`
is a lower bound of a code's information, not an estimate of one.
"""

import math

import numpy as np

from echo_keras.layers import arguments

OTHER_QUARTER, OTHER_PIXEL = 0.2, 0.05


def log_prob(x: np.ndarray) -> np.ndarray:
    """The exact log-probability of images, in nats.

    Args:
        x: Images (n, 8, 8, 1) of 0 and 1.

    Returns:
        NumPy float64 (n,): a sum over the four blocks.

    Raises:
        ValueError: x is not as above.

    Example:

    >>> round(float(log_prob(np.zeros((1, 8, 8, 1)))[0]), 3)
    -9.61
    """
    x = arguments.array("x", x, "(n, 8, 8, 1)", (4,))
    if x.shape[1:] != (8, 8, 1) or not np.isin(x, (0, 1)).all():
        raise ValueError(
            f"x must be images (n, 8, 8, 1) of 0 and 1. Received: shape {x.shape}, "
            f"values from {x.min(initial=0):g} to {x.max(initial=0):g}"
        )
    # Light pixels of the quarters, by block.
    light = x.reshape(-1, 2, 2, 2, 2, 2, 2).sum(axis=(3, 6), dtype="float64")
    light = light.transpose(0, 1, 3, 2, 4).reshape(-1, 4)
    return _log_prob_of_blocks(light).reshape(-1, 4).sum(axis=1)


def entropy() -> float:
    """The entropy H of an image, in nats, exact.

    Example:

    >>> round(entropy(), 3)
    22.454
    """
    # A block's probability follows from the numbers of its quarters' light pixels.
    light = np.stack(np.meshgrid(*[np.arange(5)] * 4), axis=-1).reshape(-1, 4)
    many = np.array([1, 4, 6, 4, 1])[light].prod(axis=1)
    log_p = _log_prob_of_blocks(light.astype("float64"))
    return float(-4 * np.sum(many * np.exp(log_p) * log_p))


def _log_prob_of_blocks(light: np.ndarray) -> np.ndarray:
    """Of blocks, from the numbers of light pixels of their quarters, (n, 4)."""
    same, other = math.log1p(-OTHER_PIXEL), math.log(OTHER_PIXEL)
    of_light = light * same + (4 - light) * other
    of_dark = light * other + (4 - light) * same
    same, other = math.log1p(-OTHER_QUARTER), math.log(OTHER_QUARTER)
    blocks = [
        np.logaddexp(same + a, other + b).sum(axis=1)
        for a, b in ((of_light, of_dark), (of_dark, of_light))
    ]
    return np.logaddexp(*blocks) - math.log(2)


def draw(n: int, seed: int = 0) -> np.ndarray:
    """Independent images: NumPy float32 (n, 8, 8, 1), 0 or 1.

    Args:
        n: Int >= 1.
        seed: Int in [0, 2^32 - 1].

    Example:

    >>> x = draw(1000, seed=1)
    >>> x.shape, bool(abs(-log_prob(x).mean() - entropy()) < 0.5)
    ((1000, 8, 8, 1), True)
    """
    n = arguments.integer("n", n)
    random = np.random.RandomState(arguments.seed(seed, optional=False))
    x = random.random_sample((n, 2, 2)) < 0.5
    for other in (OTHER_QUARTER, OTHER_PIXEL):
        x = x.repeat(2, axis=1).repeat(2, axis=2)
        x = x ^ (random.random_sample(x.shape) < other)
    return x[..., None].astype("float32")
