"""Numerics that several layers share: functions of float32 tensors."""

import contextvars
import math
from contextlib import AbstractContextManager

import keras
from keras import ops

from .context import setting
from .typing import Tensor

_mask = contextvars.ContextVar("mask", default=None)


def unmasked_positions(mask: Tensor | None) -> AbstractContextManager[None]:
    """Inside, `sum_over_latent` leaves out what a mask (batch, positions) excludes.

    Without a mask, None, that of a layer around this one stays.
    """
    return setting(_mask, _mask.get() if mask is None else mask)


def unmasked(x: Tensor) -> Tensor:
    """x, (batch, positions, ...), with 0 at the positions that a mask excludes."""
    mask = _mask.get()
    if mask is None:
        return x
    if len(mask.shape) > len(x.shape):
        raise ValueError(
            f"A mask must have the shape of the code's first axes. Received: a mask of "
            f"shape {tuple(mask.shape)} for a code of shape {tuple(x.shape)}"
        )
    axes = tuple(range(len(mask.shape), len(x.shape)))
    return ops.where(ops.expand_dims(ops.cast(mask, "bool"), axes), x, 0.0)


def sum_over_latent(per_dimension: Tensor) -> Tensor:
    """Sums all axes but the first: (batch, ...) -> (batch,)."""
    axes = tuple(range(1, len(per_dimension.shape)))
    return ops.sum(unmasked(per_dimension), axis=axes)


def usable_rows(x: Tensor) -> Tensor:
    """Which rows are finite, and of a position that no mask excludes: 1.0 or 0.0.

    Args:
        x: Tensor (batch, ..., d).

    Returns:
        Float32 tensor (batch, ...).
    """
    return unmasked(ops.cast(ops.all(ops.isfinite(x), axis=-1), "float32"))


def mean_of_rows(x: Tensor, weights: Tensor) -> Tensor:
    """The mean (d,) of the rows of x, (n, d), by their weights, (n,); 0 of none.

    A row of weight 0 may be NaN or infinite.
    """
    column, total = ops.expand_dims(weights, 1), ops.sum(weights)
    kept = column * ops.where(column > 0, x, 0.0)
    return ops.sum(kept, axis=0) / ops.where(total > 0, total, 1.0)


def log_normal(noise: Tensor, log_var: Tensor) -> Tensor:
    """log N(z; mean, exp(log_var)) at z = mean + exp(log_var / 2) noise, (batch,)."""
    return -0.5 * sum_over_latent(math.log(2 * math.pi) + log_var + ops.square(noise))


def log_softplus(x: Tensor) -> Tensor:
    """`log log (1 + e^x)`, finite wherever x is, and so is its gradient.

    Far below 0 it is x, where the softplus itself is too small for float32.

    Example:

    >>> [round(float(log_softplus(ops.convert_to_tensor(x))), 3) for x in (-1e4, 0.0)]
    [-10000.0, -0.367]
    """
    # Each branch sees values at which it is finite: a gradient of NaN times 0 is NaN.
    far = x < -10.0
    below, above = ops.where(far, x, -10.0), ops.where(far, -10.0, x)
    # log(1 + u) = u - u^2 / 2 + ...
    return ops.where(far, below - 0.5 * ops.exp(below), ops.log(ops.softplus(above)))


def project(x: Tensor, low: float, high: float) -> Tensor:
    """Clips x to [low, high]; a gradient that leads back inside still passes.

    An ordinary clip has gradient zero outside, so that a value which once left
    the range never returns. Here the gradient is zero only where a descent step
    would lead further out.
    """

    @ops.custom_gradient
    def clip(x):
        inside = ops.clip(x, low, high)
        excess = x - inside  # its sign says which bound is broken

        def grad(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            return ops.where(excess * upstream < 0, 0.0, upstream)

        return inside, grad

    return clip(x)


def matvec(matrices: Tensor, x: Tensor) -> Tensor:
    """Each matrix (rows, d, d) times its vector (rows, d).

    Not by `matmul`, which rounds to 10 bits on a GPU (TF32) unless told otherwise.
    """
    return ops.sum(matrices * ops.expand_dims(x, 1), axis=2)


def matvec_transposed(matrices: Tensor, x: Tensor) -> Tensor:
    """The transpose of each matrix (rows, d, d) times its vector (rows, d)."""
    return ops.sum(matrices * ops.expand_dims(x, 2), axis=1)


def outer(x: Tensor, y: Tensor) -> Tensor:
    """The outer product of each pair of vectors (rows, d): (rows, d, d)."""
    return ops.expand_dims(x, 2) * ops.expand_dims(y, 1)


def scaled_distances(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Squared distances `sum_j (z_ij - mu_kj)^2 / sigma_kj^2`, (n, K).

    The differences are taken before they are squared. To expand the square into
    matrix products would be faster, but the products are large and nearly cancel:
    for 750 components of width 0.3 in 32 dimensions log m(z) was then off by up to
    2e-4 nats in float32, at width 0.03 by 1e-2, against 1e-5 here. And on GPUs
    TensorFlow and JAX multiply matrices in TF32 unless told otherwise, which has 10
    bits: off by 0.15 and 15 nats.

    Time is O(n K d). Memory is O(n K) and not O(n K d): dimensions are summed some
    at a time, and the backward pass takes the differences again.

    Args:
        z: Tensor (n, d), float32.
        mean, log_var: Tensors (K, d), float32.

    Returns:
        Tensor (n, K).
    """

    def distances(z, mean, log_var):
        difference = ops.expand_dims(z, 1) - ops.expand_dims(mean, 0)
        return ops.sum(difference * (difference * ops.exp(-log_var)), axis=2)

    distances = keras.remat(distances)
    d = z.shape[1]
    width = max(8, math.ceil(d / 64))
    total = 0.0
    for i in range(0, d, width):
        total = total + distances(*(x[:, i : i + width] for x in (z, mean, log_var)))
    return total
