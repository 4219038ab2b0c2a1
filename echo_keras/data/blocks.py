"""Binary images of 8 x 8 pixels, made up so that their law is known in every number.

An image is four blocks of 4 x 4 pixels, one in each corner, drawn independently: one of
16 patterns, all equally likely, of which each pixel is flipped with probability
`FLIP`. The patterns are the Walsh functions of 16 pixels, stripes and checks, any two
of which differ in 8. So a code can say two things: the patterns, 4 log 16 = 11.1 nats,
and the flipped pixels, 12.7 nats.

A block has but 65,536 values: the entropy H is a sum over all of them, and `H - D` is a
lower bound of a code's information, not an estimate of one.
"""

import math

import numpy as np

from echo_keras.layers import arguments

SIDE = 4  # of a block; an image is two blocks wide and high
PIXELS = SIDE**2
FLIP = 0.05


def patterns() -> np.ndarray:
    """The Walsh functions of 16 pixels: float32 (16, 4, 4), 0 or 1.

    Example:

    >>> patterns()[5].astype(int).tolist()
    [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]
    """
    place = np.arange(PIXELS)
    shared = place[:, None] & place
    odd = sum(shared >> bit for bit in range(4)) % 2
    return odd.reshape(-1, SIDE, SIDE).astype("float32")


def log_prob(x: np.ndarray) -> np.ndarray:
    """The exact log-probability of images, in nats.

    Args:
        x: Images (n, 8, 8, 1) of 0 and 1.

    Returns:
        NumPy float64 (n,): a sum over the four blocks.

    Raises:
        ValueError: x is not as above.

    Example:

    >>> image = np.tile(patterns()[5], (2, 2))[None, ..., None]
    >>> round(float(log_prob(image)[0]), 3)  # 4 (log 1/16 + 16 log 0.95), and little
    -14.373
    """
    x = arguments.array("x", x, "(n, 8, 8, 1)", (4,))
    if x.shape[1:] != (2 * SIDE, 2 * SIDE, 1) or not np.isin(x, (0, 1)).all():
        raise ValueError(
            f"x must be images (n, 8, 8, 1) of 0 and 1. Received: shape {x.shape}, "
            f"values from {x.min(initial=0):g} to {x.max(initial=0):g}"
        )
    rows = x.reshape(-1, 2, SIDE, 2, SIDE).swapaxes(2, 3)
    return _log_prob_of_blocks(rows.reshape(-1, PIXELS)).reshape(-1, 4).sum(axis=1)


def entropy() -> float:
    """The entropy H of an image, in nats, exact.

    Example:

    >>> round(entropy(), 3)
    23.777
    """
    place = np.arange(2**PIXELS)
    every = (place[:, None] >> np.arange(PIXELS)) & 1
    log_p = _log_prob_of_blocks(every)
    return float(-4 * np.sum(np.exp(log_p) * log_p))


def _log_prob_of_blocks(x: np.ndarray) -> np.ndarray:
    """Of blocks (n, 16): a mixture over the patterns."""
    known = patterns().reshape(PIXELS, PIXELS)
    x = np.asarray(x, "float64")
    flipped = x.sum(axis=1, keepdims=True) + known.sum(axis=1) - 2 * x @ known.T
    terms = flipped * math.log(FLIP) + (PIXELS - flipped) * math.log1p(-FLIP)
    return np.logaddexp.reduce(terms, axis=1) - math.log(PIXELS)


def draw(n: int, seed: int = 0) -> np.ndarray:
    """Independent images: NumPy float32 (n, 8, 8, 1), 0 or 1.

    Args:
        n: Int >= 1.
        seed: Int in [0, 2^32 - 1].

    Example:

    >>> x = draw(1000, seed=1)
    >>> x.shape, abs(-log_prob(x).mean() - entropy()) < 0.3
    ((1000, 8, 8, 1), True)
    """
    n = arguments.integer("n", n)
    random = np.random.RandomState(arguments.seed(seed, optional=False))
    chosen = patterns()[random.randint(PIXELS, size=(n, 2, 2))]
    flipped = random.random_sample(chosen.shape) < FLIP
    x = np.where(flipped, 1 - chosen, chosen).swapaxes(2, 3)
    return x.reshape(n, 2 * SIDE, 2 * SIDE, 1).astype("float32")
