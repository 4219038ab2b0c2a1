"""How good generated images are: Parzen windows and nearest neighbours.

None of these numbers says everything. A Parzen window is a poor likelihood; see
`parzen_log_likelihood`. For Frechet distances see `frechet.fid`.
"""

import math
import warnings
from typing import Any

import numpy as np
import scipy.special
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors

from echo_keras.layers import arguments

from .batching import with_standard_error

# Twenty to the decade. A greater bandwidth is never the best for pixels in [0, 1].
BANDWIDTHS = np.geomspace(0.01, 1.0, 41)


LARGEST = 1e100  # of a pixel: its square is a float64


def parzen_log_likelihood(
    samples: np.ndarray,
    x: np.ndarray,
    bandwidth: float | None = None,
    validation: np.ndarray | None = None,
) -> dict[str, float]:
    """Log-density of images under a Gaussian Parzen window on generated samples.

    `log p(x) = log 1/n sum_i N(x; s_i, h^2 I)`

    with the n samples `s_i` and the bandwidth h, averaged over the images. It is a
    poor estimate of a model's likelihood in as many dimensions as images have: far
    too low with as many samples as one can draw, it may rank models wrongly, and it
    rates the centres of k-means above the data themselves (Theis et al.). It is a
    density even where pixels are binary and the likelihood a probability. It is here
    because papers report it.

    Args:
        samples: Generated images (n, ...), n >= 1.
        x: Images (m, ...) of the same shape, m >= 1.
        bandwidth: Float > 0, h, in the units of a pixel; None for the one among
            `BANDWIDTHS`, 41 from 0.01 to 1 on a logarithmic scale, with the highest
            mean on `validation`.
        validation: Images (l, ...) that are not in x; None if bandwidth is given.

    Returns:
        A dict with `log_likelihood_parzen`, the mean over x in nats;
        `log_likelihood_parzen_se`, its standard error, the spread over x divided by
        sqrt(m) (NaN for one image), which leaves out the choice of samples; and
        `parzen_bandwidth`.

    Raises:
        ValueError: the shapes do not fit, there is NaN or infinity, bandwidth is out
            of range, or not one of bandwidth and validation is given.

    Warns:
        UserWarning: the best bandwidth is the first or the last one tried.

    Example:

    >>> result = parzen_log_likelihood(np.zeros((1, 2)), np.ones((3, 2)), bandwidth=1)
    >>> round(result["log_likelihood_parzen"], 4)  # -1 - log(2 pi)
    -2.8379

    References:
        Goodfellow et al., Generative Adversarial Nets (2014), Sec. 5; Theis, van den
        Oord & Bethge, A Note on the Evaluation of Generative Models (2016); The
        Variational InfoMax Autoencoder, Table 1, which does not say how its NLL of
        generated samples is computed.
    """
    shape = np.shape(samples)[1:]
    samples = _rows(samples, "samples")
    x = _rows(x, "x", shape)
    if (bandwidth is None) == (validation is None):
        raise ValueError(
            "Either bandwidth or validation, images to choose it by, must be given. "
            f"Received: {'neither' if bandwidth is None else 'both'}"
        )
    if bandwidth is None:
        validation = _rows(validation, "validation", shape)
        means = _parzen(samples, validation, BANDWIDTHS).mean(axis=0)
        best = int(np.argmax(means))
        bandwidth = BANDWIDTHS[best]
        if best in (0, len(BANDWIDTHS) - 1):
            warnings.warn(
                f"the best bandwidth, {bandwidth:g}, is at the end of those tried: the "
                "validation images are among the samples, or pixels are not in [0, 1].",
                stacklevel=2,
            )
    else:
        bandwidth = arguments.number("bandwidth", bandwidth, above=0)
    values = _parzen(samples, x, np.array([bandwidth], "float64"))[:, 0]
    return {
        **with_standard_error("log_likelihood_parzen", values),
        "parzen_bandwidth": float(bandwidth),
    }


def _rows(images, name, shape=None):
    """Images as float64 (n, pixels)."""
    images = arguments.array(name, images, "(n, ...)", range(2, 33), finite=False)
    if shape is not None and images.shape[1:] != shape:
        raise ValueError(
            f"{name} must have shape (n, ...) with {shape} after n, as what they are "
            f"compared with. Received: {images.shape}"
        )
    images = images.reshape(len(images), -1).astype("float64")
    if not np.isfinite(images).all():
        raise ValueError(f"{name} must be finite. Received: NaN or infinity")
    largest = float(np.abs(images).max())
    if largest > LARGEST:
        raise ValueError(
            f"{name} must be at most {LARGEST:g}, for their squares to be finite. "
            f"Received: {largest:g}"
        )
    return images


def _parzen(samples, x, bandwidths):
    """Log-density of each row of x for each bandwidth, (m, bandwidths)."""

    def log_sums(squared, start):
        # One bandwidth after the other: each makes copies of the distances.
        columns = [
            scipy.special.logsumexp(squared / (-2.0 * h**2), axis=1) for h in bandwidths
        ]
        return np.stack(columns, axis=1)

    chunks = pairwise_distances_chunked(
        x, samples, reduce_func=log_sums, squared=True, working_memory=64
    )
    n, d = samples.shape
    normalizer = math.log(n) + 0.5 * d * np.log(2.0 * math.pi * bandwidths**2)
    return np.concatenate(list(chunks)) - normalizer


def nearest_neighbours(
    images: Any, others: Any, n: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar of other images, in Euclidean distance of pixels.

    For generated images and those of training, to show that a model does not copy:
    a copy is at distance 0. Distances in pixels do not see a copy that is shifted.

    Args:
        images: Array (m, ...), m >= 1.
        others: Array (l, ...) of images of the same shape, l >= n.
        n: Int >= 1, how many neighbours of each image.

    Returns:
        (indices, distances): ints (m, n), rows of `others`, the nearest first, and
        floats (m, n), `|x - x'|_2` over all pixels.

    Raises:
        ValueError: the shapes do not fit, there is NaN or infinity, or n is out of
            range.

    Example:

    >>> indices, distances = nearest_neighbours([[0.0], [0.9]], [[1.0], [0.0], [3.0]])
    >>> indices.tolist(), distances.round(6).tolist()
    ([[1], [0]], [[0.0], [0.1]])

    References:
        Variance Constrained Autoencoding, App. C.3.
    """
    shape = np.shape(others)[1:]
    others = _rows(others, "others")
    images = _rows(images, "images", shape)
    n = arguments.integer("n", n)
    if n > len(others):
        raise ValueError(
            f"n must be at most the {len(others)} other images. Received: n={n}"
        )
    search = NearestNeighbors(n_neighbors=int(n), algorithm="brute").fit(others)
    indices = search.kneighbors(images, return_distance=False)
    # Scikit-learn's own come from squares and products: 1e-7 where it should be 0.
    distances = [
        np.linalg.norm(images - others[column], axis=1) for column in indices.T
    ]
    return indices, np.stack(distances, axis=1)
