r"""Frechet distances of images by the features that some network computes.

Such a distance compares two moments of the features, and a model that copies its
training images has a good one; `nearest_neighbours` shows such copies.
"""

import numpy as np
import scipy.linalg

from echo_keras.data import check_images
from echo_keras.layers import arguments

from .features import Features, vectors


def frechet_distance(
    mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray
) -> float:
    r"""Frechet distance of two Gaussians, the square of their Wasserstein-2 distance.

    `|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2))`

    The trace is computed as the sum of the singular values of `A^(1/2) B^(1/2)`,
    with symmetric roots in which eigenvalues that rounding made negative are 0. So
    the result is real whatever the rank of A and B; the root of the product itself,
    which is not symmetric, may not exist if they are singular.

    Args:
        mean_a, mean_b: Arrays (k,).
        cov_a, cov_b: Arrays (k, k), symmetric without negative eigenvalues (up to
            1e-4 of the largest, which is left to rounding in float32).

    Returns:
        Float >= 0, computed in float64; the same if a and b change places, up to
        rounding.

    Raises:
        ValueError: the shapes do not fit, there is NaN or infinity, or a matrix is
            no covariance.

    Example:

    >>> frechet_distance([0.0, 3.0], np.eye(2), [4.0, 0.0], 4 * np.eye(2))
    27.0

    References:
        Dowson & Landau, The Frechet Distance between Multivariate Normal
        Distributions (1982).
    """
    mean_a, cov_a = _moments(mean_a, cov_a, "a")
    mean_b, cov_b = _moments(mean_b, cov_b, "b")
    if mean_a.shape != mean_b.shape:
        raise ValueError(
            f"mean_a and mean_b must have as many dimensions. Received: {len(mean_a)} "
            f"and {len(mean_b)}; use the same features for both."
        )
    roots = _root(cov_a, "cov_a") @ _root(cov_b, "cov_b")
    cross = scipy.linalg.svdvals(roots).sum()
    apart = np.sum((mean_a - mean_b) ** 2)
    # The second term is >= 0, but for rounding.
    return float(apart + max(0.0, np.trace(cov_a) + np.trace(cov_b) - 2 * cross))


def _moments(mean, covariance, name):
    mean, covariance = (
        arguments.array(f"{what}_{name}", x, finite=False).astype("float64")
        for what, x in (("mean", mean), ("cov", covariance))
    )
    if mean.ndim != 1 or not len(mean) or covariance.shape != 2 * mean.shape:
        raise ValueError(
            f"mean_{name} must have shape (k,), k >= 1, and cov_{name} shape (k, k). "
            f"Received: {mean.shape} and {covariance.shape}"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError(
            f"mean_{name} and cov_{name} must be finite. Received: NaN or infinity"
        )
    return mean, covariance


def _root(covariance, name):
    """The symmetric square root."""
    # Halved first, or the sum of two large numbers would overflow.
    symmetric = 0.5 * covariance + 0.5 * covariance.T
    skew = np.abs(symmetric - covariance).max()
    values, vectors = scipy.linalg.eigh(symmetric)
    tolerance = 1e-4 * np.abs(values).max()
    if skew > tolerance or values[0] < -tolerance:
        raise ValueError(
            f"{name} must be a covariance matrix, symmetric without negative "
            f"eigenvalues. Received: {skew:.3g} between it and its symmetric part, and "
            f"the eigenvalue {values[0]:.3g}"
        )
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def fid(
    features: Features,
    real: np.ndarray,
    generated: np.ndarray,
    batch_size: int | None = None,
) -> float:
    r"""Frechet distance of the features of two sets of images.

    The mean and covariance (divisor n - 1) of the features of each set are those of
    the Gaussians that `frechet_distance` compares.

    A FID means nothing without its features and its number of images. Values of
    different networks do not compare, which is why `fid_name` names the network. Nor
    do those of different numbers of images: fewer images give a larger value on
    average, even of samples of the data themselves. With n <= k images the covariance
    is singular, which the distance survives, but the value is then very much too
    large. Variance Constrained Autoencoding takes 10,000 test images and as many
    samples.

    Args:
        features: A Keras model or function from images, float32 (m, h, w, c), to
            vectors (m, k), such as `classifier_features` or `inception_features`
            makes. It gets one batch at a time, and must treat each image alone.
        real, generated: Images (n, h, w, c) in [0, 1], n >= 2, as
            `echo_keras.data.check_images` takes them; not necessarily as many.
        batch_size: Int >= 1; see `map_batches`.

    Returns:
        Float >= 0.

    Raises:
        ValueError: there are fewer than two images, they are no images or not of the
            same shape, or the features are not finite vectors.

    Example:

    >>> x = np.random.default_rng(0).random((50, 2, 2, 1))
    >>> flat = lambda images: images.reshape(len(images), -1)
    >>> round(fid(flat, x, x), 6), round(fid(flat, x / 2, x / 2 + 0.5), 6)
    (0.0, 1.0)

    References:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a
        Local Nash Equilibrium (2017); Variance Constrained Autoencoding, Sec. 6.3 and
        Table 2; The Variational InfoMax Autoencoder, Table 5.
    """
    real = check_images(real, "real")
    generated = check_images(generated, "generated", real.shape[1:])
    moments = []
    for name, images in (("real", real), ("generated", generated)):
        if len(images) < 2:
            raise ValueError(
                f"{name} must be at least 2 images, and some thousands for a good "
                f"covariance. Received: {len(images)}"
            )
        found = vectors(features, images, batch_size, "features")
        covariance = np.cov(found, rowvar=False)
        moments += [found.mean(axis=0), np.atleast_2d(covariance)]
    return frechet_distance(*moments)


def fid_name(features: Features) -> str:
    """The name of the distance by these features, "FID-<name>".

    Args:
        features: A Keras model or a named function.

    Raises:
        ValueError: it has no name.

    Example:

    >>> import keras
    >>> fid_name(keras.Sequential([keras.layers.Flatten()], name="pixels"))
    'FID-pixels'
    """
    name = getattr(features, "name", None) or getattr(features, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise ValueError(
            f"features must be a Keras model or a function made by def, which have a "
            f"name: a FID without that of its features compares with nothing. "
            f"Received: features={features!r}"
        )
    return f"FID-{name}"
