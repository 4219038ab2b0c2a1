"""Measures of dependence from samples, in nats."""

import numpy as np


def total_correlation(samples, as_printed=False):
    r"""Total correlation to second order, from the correlation matrix R of samples.

    $$TC = -\tfrac12 \log |R|$$

    is the divergence of a Gaussian of that covariance from independence,
    \(KL[p(z) \,\|\, \prod_j p(z_j)]\). Samples that are not Gaussian may depend on
    each other in ways a covariance does not see; a value well above 0 still says
    that they are not independent. The Echo paper prints the formula without the
    1/2, as \(-\log |\Sigma_{diag}^{-1} \Sigma|\), which is twice the total correlation.

    n independent Gaussian samples of d independent dimensions give about
    d (d - 1) / 4n nats, with a standard deviation of sqrt(d (d - 1)) / 2n.

    Args:
        samples: Array (n, ...), n > d; all axes but the first are dimensions, d in
            all.
        as_printed: If True, the paper's formula: without the 1/2.

    Returns:
        Float >= 0, in nats; infinity if one dimension is a linear function of others.

    Raises:
        ValueError: there are too few samples, a dimension is constant, or the
            samples contain NaN or infinity.

    Example:

    >>> z = np.random.default_rng(0).normal(size=(10_000, 2))
    >>> z[:, 1] = 0.6 * z[:, 0] + 0.8 * z[:, 1]  # correlation 0.6
    >>> round(total_correlation(z), 2)  # -1/2 log(1 - 0.6^2)
    0.22

    References:
        Echo paper, App. C and Table 3.
    """
    z = np.asarray(samples, "float64")
    if z.ndim < 2:
        raise ValueError(
            f"samples must be of shape (n, ...), with an axis of dimensions; received "
            f"shape {z.shape}."
        )
    z = z.reshape(len(z), -1) if len(z) else z
    n, d = z.shape[0], int(np.prod(z.shape[1:]))
    if n <= d:
        raise ValueError(
            f"total_correlation needs more samples than dimensions, or the covariance "
            f"is singular; received {n} samples of {d} dimensions."
        )
    if not np.isfinite(z).all():
        raise ValueError("samples contain NaN or infinity.")
    constant = np.flatnonzero(np.ptp(z, axis=0) == 0)
    if len(constant):
        raise ValueError(
            f"A dimension that is constant has no correlations; constant here: "
            f"{', '.join(map(str, constant))}."
        )
    # Standardized first: dimensions of very different scales cost no digits.
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    # Not from z.T @ z, which would square the condition number.
    roots = np.linalg.svd(z / np.sqrt(n), compute_uv=False)
    if roots[-1] < d * n * np.finfo("float64").eps:
        return float("inf")
    log_det = 2.0 * np.log(roots).sum()
    # |R| <= 1, but for rounding.
    return max(0.0, float(-log_det if as_printed else -0.5 * log_det))
