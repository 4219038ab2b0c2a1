"""Echo noise as a function of the batch: bound on the scale, and the sums."""

import functools
import math
from collections.abc import Callable

import numpy as np
from keras import ops
from scipy import optimize

from . import arguments
from .backend import compiled_on_cpu
from .numerics import matvec, matvec_transposed, outer
from .typing import Tensor


def max_scale(
    d_max: int, max_magnitude: float = 1.0, precision: float = 2.0**-23
) -> float:
    """The largest noise scale r for which the series may be cut off at d_max echoes.

    Solves `M r^(d_max) / (1 - r) =` `precision`, the bound on the sum of the
    echoes left out (Echo paper, App. B).

    Args:
        d_max: Int >= 1, number of echoes that are summed.
        max_magnitude: Float > 0, the bound M on |f|.
        precision: Float > 0, largest error allowed in a coordinate of the noise.

    Returns:
        r, a float in (0, 1).

    Raises:
        ValueError: an argument is out of range, or r would be too close to 0 or 1 for
            a float.

    Example:

    >>> round(max_scale(99), 4)
    0.8359
    """
    d_max = arguments.integer("d_max", d_max)
    max_magnitude = arguments.number("max_magnitude", max_magnitude, above=0)
    precision = arguments.number("precision", precision, above=0)
    log_bound = math.log(precision) - math.log(max_magnitude)

    # In u = log r the excess rises from -inf to +inf, so there is one root.
    def excess(u):
        return d_max * u - math.log(-math.expm1(u)) - log_bound

    low, high = -700.0, -1e-12
    if not excess(low) < 0 < excess(high):
        raise ValueError(
            f"d_max, max_magnitude and precision must give an r between 0 and 1 - "
            f"1e-12; for every r the remainder of the series is "
            f"{'larger' if excess(low) >= 0 else 'smaller'} than precision. "
            f"Received: d_max={d_max}, max_magnitude={max_magnitude}, "
            f"precision={precision}"
        )
    return math.exp(optimize.brentq(excess, low, high, xtol=1e-15))


def ring_noise(f: Tensor, s: Tensor, depth: int) -> Tensor:
    """Echo noise of every row of a ring from at least `depth` rows that follow it.

    Row k receives `sum_(l >= 1) (prod_(l'=1)^(l-1) S_(k+l')) f_(k+l)`, the
    indices taken modulo the number of rows. The sum over a window of 2n rows is made
    of the sums over two windows of n rows, so that the work is O(n d log depth) and
    the memory O(n d), or O(n d^3 log depth) and O(n d^2 log depth) for matrices. The
    number of echoes is `depth`, rounded up to a power of two.

    The noise is linear in f, and its gradient is the transposed map, of the same cost.
    As `n_k = f_(k+1) + S_(k+1) n_(k+1)` for an endless sum, the gradient of S is
    that of f times the noise. What this leaves out, and the self-echoes after
    wrap-around, are below the precision for which `max_scale` gives r.

    Matrices attenuate the echoes after the second by matrix products, for which
    TensorFlow and JAX use TF32 on a GPU unless they are configured otherwise.

    Args:
        f: Tensor (rows, ...).
        s: Tensor of the shape of f, at most `max_scale(depth, M)`; or, for f of shape
            (rows, d), matrices (rows, d, d) of at most that infinity norm.
        depth: Int >= 1, at most rows - 1 for the echoes to be other rows.

    Returns:
        Noise, the shape of f.
    """
    matrices = len(s.shape) > len(f.shape)
    forward, backward = _ring_maps(depth, matrices)

    @ops.custom_gradient
    def noise(f, s):
        noise, scales = forward(f, s)

        def grad(*args, upstream=None):
            return backward(args[0] if upstream is None else upstream, noise, scales)

        return noise, grad

    return noise(f, s)


@functools.cache
def _ring_maps(depth: int, matrices: bool) -> tuple[Callable, Callable]:
    """The two halves of `ring_noise`: f, s to the noise, and its gradient.

    A chain of some sixty small operations, and therefore compiled in training.
    """
    if matrices:
        apply, transposed, compose, pair = matvec, matvec_transposed, ops.matmul, outer
    else:
        apply = transposed = compose = pair = ops.multiply
    steps = range((depth - 1).bit_length())

    def ahead(x, rows):
        return ops.roll(x, -rows, axis=0)

    def forward(f, s):
        window, scales = f, [s]  # the k-th scale attenuates what is 2^k rows ahead
        for k in steps:
            if k:
                scales.append(compose(scales[-1], ahead(scales[-1], 2 ** (k - 1))))
            window = window + apply(scales[k], ahead(window, 2**k))
        return ahead(window, 1), scales

    def backward(upstream, noise, scales):
        grad_f = ahead(upstream, -1)
        for k in reversed(steps):
            grad_f = grad_f + ahead(transposed(scales[k], grad_f), -(2**k))
        return grad_f, pair(grad_f, noise)

    return compiled_on_cpu(forward), compiled_on_cpu(backward)


def triangular_scale(log_s: Tensor, lower: Tensor, r: float) -> Tensor:
    """Lower triangular matrices S, no row of which sums to more than r.

    `S_jj = s_j, and S_jk = (r - s_j) l_jk / (1 + sum_(i < j) |l_ji|) for k < j`

    What the diagonal leaves of a row's share r is divided among its other entries.
    The absolute sum of each row is then at most r, and so is the largest change of a
    coordinate by S, whatever it is multiplied with: the remainder of the series is
    that of a diagonal S, for which `max_scale` gives r. Every S of norm below r can
    be written so, and no gradient vanishes for being out of bounds.

    Args:
        log_s: Tensor (rows, d), at most log r.
        lower: Tensor (rows, d (d - 1) / 2), any values: the rows of the matrix one
            after the other, in the order of `np.tril_indices(d, -1)`.
        r: Float in (0, 1).

    Returns:
        S, shape (rows, d, d). Its determinant is the product of s.
    """
    dims, entries = log_s.shape[1], lower.shape[1]
    place = np.full((dims, dims), entries)  # of the zero that the padding adds
    place[np.tril_indices(dims, -1)] = np.arange(entries)
    shares = ops.take(ops.pad(lower, ((0, 0), (0, 1))), place, axis=1)
    shares = shares / (1.0 + ops.sum(ops.abs(shares), axis=2, keepdims=True))
    s = ops.expand_dims(ops.exp(log_s), 2)
    return s * ops.eye(dims) + (r - s) * shares


def gathered_noise(f: Tensor, log_s: Tensor, index: Tensor) -> Tensor:
    """Echo noise from explicit indices: the paper's Eq. 3, term by term.

    Args:
        f, log_s: Tensors (rows, d).
        index: Ints (n, depth); row i of the result sums the echoes of the rows
            index[i, 0], index[i, 1], ... in this order.

    Returns:
        Noise, shape (n, d). Time and memory are O(n depth d).
    """
    f, log_s = ops.take(f, index, axis=0), ops.take(log_s, index, axis=0)
    # The l-th echo is attenuated by those before it, hence the shift by one.
    before = ops.pad(log_s[:, :-1], ((0, 0), (1, 0), (0, 0)))
    before = ops.cumsum(before, axis=1)
    return ops.sum(ops.exp(before) * f, axis=1)


def matrix_gathered_noise(f: Tensor, s: Tensor, index: Tensor, depth: int) -> Tensor:
    """`gathered_noise` for scales that are matrices, from the last echo to the first.

    Args:
        f: Tensor (rows, d).
        s: Tensor (rows, d, d).
        index: Ints (n, depth), as for `gathered_noise`.
        depth: Int >= 1.

    Returns:
        Noise, shape (n, d). Time and memory are O(n depth d^2).
    """
    noise = ops.take(f, index[:, depth - 1], axis=0)
    for lag in reversed(range(depth - 1)):
        heard = index[:, lag]
        noise = matvec(ops.take(s, heard, axis=0), noise)
        noise = noise + ops.take(f, heard, axis=0)
    return noise
