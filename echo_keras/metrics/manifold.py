r"""Novelty as the density of an image around the manifold of a decoder's images.

References:
    Pidhorskyi et al., Generative Probabilistic Novelty Detection with Adversarial
    Autoencoders (2018), Sec. 3; reference 18 of the BIB-AE paper, Sec. 4.3.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy import special, stats

from echo_keras.layers.backend import jacobian

from .._graph import decoder_of
from .batching import map_batches
from .codes import law, representation

# A direction in which images move less than this share of the most counts as that much.
SMALLEST = 1e-7
# The highest exponent of codes' density. That of few images may be any number, and then
# a code hardly outside of theirs has no density at all.
LARGEST = 8.0


def manifold_score(
    model: keras.Model, reference: Any, batch_size: int | None = None
) -> Callable[[Any], np.ndarray]:
    r"""The function from images to `-log p(x)` on the decoder's linearized manifold.

    At the code z of an image, without noise, the decoder's image f(z) has the Jacobian
    `J = U S V^T`. Along the columns of U an image moves with its code; what
    is left of `x - f(z)` across them is w, of `k = m - d` dimensions for m pixels:

    `p(x) = p(z) / prod_j s_j * p(|w|) / area(|w|)`

    with the surface of a sphere in k dimensions,
    `area(r) = 2 pi^(k/2) r^(k-1) / Gamma(k/2)`. Fitted to training images are the
    density of codes, a generalized Gaussian (of an exponent of 8 at most) in each
    dimension, and that of `|w|^2`,
    a gamma density of its mean and variance: the squared length of Gaussian noise has
    one. (The paper has a histogram of `|w|`, which says nothing beyond its last bin.)

    For a linear decoder, codes with independent Gaussian dimensions and Gaussian noise
    across the manifold it is the exact density. What is dropped otherwise: curvature,
    directions of w, and that w and z may depend on each other.

    Args:
        model: An autoencoder with one bottleneck, compiled with a likelihood of
            `echo_keras.losses` or `SquaredError`, whose mean is f(z).
        reference: Training images, (n, ...), at least two that differ; see
            `map_batches`.
        batch_size: Int >= 1; see `map_batches`.

    Returns:
        A function from images to an array (n,) in nats, higher where an image is more
        novel. A direction in which the decoder hardly moves (less than 1e-7 of the
        one in which it moves most) counts as that much.

    Raises:
        ValueError: as `representation`, `images` and `map_batches`; an image does not
            have more pixels than its code has dimensions, or training images all have
            the same code in a dimension, or the same distance from the manifold.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.aae(encoder, decoder, 2)
    >>> model.compile(loss=losses.SquaredError())
    >>> x = np.random.RandomState(0).rand(50, 8)
    >>> score = manifold_score(model, x)
    >>> bool(score(x + 1).mean() > score(x).mean())
    True
    """
    around = _surroundings(model, batch_size)
    found = around(reference)
    codes, squares = found["z"], found["squares"]
    for what, values in (("codes", codes), ("distances", squares[:, None])):
        spread = values.std(axis=0)
        if not np.all(spread > 0):
            raise ValueError(
                f"reference must have {what} that differ in each dimension. Received: "
                f"standard deviations {spread.tolist()} over {len(values)} images"
            )
    laws = [_fitted(z) for z in codes.T]
    mean, variance = squares.mean(), squares.var()
    of_squares = stats.gamma(mean**2 / variance, scale=variance / mean)

    def score(x: Any) -> np.ndarray:
        found = around(x)
        squares, half = found["squares"], found["across"] / 2
        along = sum(law.logpdf(z) for law, z in zip(laws, found["z"].T, strict=True))
        # p(|w|) = 2 |w| p(|w|^2)
        length = of_squares.logpdf(squares) + (1 - half) * np.log(squares)
        of_sphere = special.gammaln(half) - half * math.log(math.pi)
        return -(along - found["log_volume"] + length + of_sphere)

    return score


def _fitted(z):
    """The most likely generalized Gaussian whose exponent is not above LARGEST."""
    found = stats.gennorm.fit(z)
    if found[0] > LARGEST:
        found = stats.gennorm.fit(z, f0=LARGEST)
    return stats.gennorm(*found)


def _surroundings(model, batch_size):
    """A function from images to codes and to where images are from the manifold."""
    mean, decoder = law(model).mean, decoder_of(model)
    encode = representation(model)

    def decoded(z):
        return ops.reshape(mean(decoder(z, training=False)), (z.shape[0], -1))

    def of_batch(x):
        z = encode(x)
        image, slopes = jacobian(decoded, ops.convert_to_tensor(z, "float32"))
        x, image, slopes = (
            ops.convert_to_numpy(a).astype("float64") for a in (x, image, slopes)
        )
        residual = x.reshape(len(x), -1) - image
        # Of J^T J = V S^2 V^T, which is small: U^T w = S^-1 V^T J^T w.
        values, vectors = np.linalg.eigh(np.swapaxes(slopes, 1, 2) @ slopes)
        values = np.maximum(values, SMALLEST**2 * values[:, -1:])
        values = np.maximum(values, np.finfo("float64").tiny)
        pulled = np.einsum("nmd,nm->nd", slopes, residual)
        pulled = np.einsum("ndk,nd->nk", vectors, pulled)
        whole = np.square(residual).sum(axis=1)
        within = (np.square(pulled) / values).sum(axis=1)
        across = slopes.shape[1] - slopes.shape[2]
        if across < 1:
            raise ValueError(
                f"Images must have more pixels than codes have dimensions. Received: "
                f"{slopes.shape[1]} pixels and {slopes.shape[2]} dimensions"
            )
        return {
            "z": z.astype("float64"),
            "log_volume": np.log(values).sum(axis=1) / 2,
            # Rounding must not leave less than nothing.
            "squares": np.maximum(whole - within, 1e-12 * whole + 1e-30),
            "across": np.full(len(x), across),
        }

    return lambda x: map_batches(of_batch, x, batch_size)
