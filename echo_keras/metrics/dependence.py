"""Total correlation in nats: of samples, and of noise given what it is scaled by."""

import numpy as np
from scipy.special import digamma, polygamma

from echo_keras.layers import arguments


def total_correlation(samples: np.ndarray, variant: str | None = None) -> float:
    r"""Total correlation to second order, from the correlation matrix R of samples.

    `TC = -1/2 log |R|`

    is the divergence of a Gaussian of that covariance from independence,
    `KL[p(z) || prod_j p(z_j)]`. Samples that are not Gaussian may depend on
    each other in ways a covariance does not see; a value well above 0 still says
    that they are not independent. The Echo paper prints the formula without the
    1/2, as `-log |Sigma_diag^(-1) Sigma|`, which is twice the total correlation.

    Of n Gaussian samples of d independent dimensions the mean and the variance are,
    with m = n - 1 and the digamma function \(\psi\),

    $$E = \frac12 \sum_{j=1}^{d-1} \psi(\tfrac m2) - \psi(\tfrac{m-j}2), \qquad
      V = \frac14 \sum_{j=1}^{d-1} \psi'(\tfrac{m-j}2) - \psi'(\tfrac m2),$$

    which for n far above d^2 are d (d - 1) / 4n nats and d (d - 1) / 4n^2.

    Of a multiplicative channel, whose z is the exponential of a code, give log z: the
    total correlation is the same, and it is log z that may be near to a Gaussian.

    Args:
        samples: Array (n, ...), n > d; all axes but the first are dimensions, d in
            all.
        variant: None, or "paper" for the formula as the Echo paper prints it, without
            the 1/2.

    Returns:
        Float >= 0, in nats; infinity if one dimension is a linear function of others.

    Raises:
        ValueError: there are too few samples, a dimension is constant, the samples
            contain NaN or infinity, or variant is unknown.

    Example:

    >>> z = np.random.default_rng(0).normal(size=(10_000, 2))
    >>> z[:, 1] = 0.6 * z[:, 0] + 0.8 * z[:, 1]  # correlation 0.6
    >>> round(total_correlation(z), 2)  # -1/2 log(1 - 0.6^2)
    0.22

    References:
        Echo paper, App. C and Table 3.
    """
    arguments.choice("variant", variant, ("paper",), optional=True)
    z = arguments.array("samples", samples, "(n, d)", finite=False).astype("float64")
    if z.ndim < 2:
        raise ValueError(
            f"samples must be of shape (n, ...), with an axis of dimensions. "
            f"Received: shape {z.shape}"
        )
    z = z.reshape(len(z), -1) if len(z) else z
    n, d = z.shape[0], int(np.prod(z.shape[1:]))
    if n <= d:
        raise ValueError(
            f"samples must be more than dimensions, or the covariance is singular. "
            f"Received: {n} samples of {d} dimensions"
        )
    if not np.isfinite(z).all():
        raise ValueError("samples must be finite. Received: NaN or infinity")
    constant = np.flatnonzero(np.ptp(z, axis=0) == 0)
    if len(constant):
        raise ValueError(
            f"samples must vary in each dimension. Received: constant dimensions "
            f"{', '.join(map(str, constant))}"
        )
    # Standardized first: dimensions of very different scales cost no digits.
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    # Not from z.T @ z, which would square the condition number.
    roots = np.linalg.svd(z / np.sqrt(n), compute_uv=False)
    if roots[-1] < d * n * np.finfo("float64").eps:
        return float("inf")
    log_det = 2.0 * np.log(roots).sum()
    # |R| <= 1, but for rounding.
    return max(0.0, float(-log_det if variant == "paper" else -0.5 * log_det))


def independent_law(n: int, d: int) -> tuple[float, float]:
    """Mean and standard deviation of `total_correlation` of independent dimensions.

    |R| of n Gaussian samples is a product of independent beta variables, the shares of
    variance of each dimension that those before it, j of them, do not explain:
    Beta((m - j) / 2, j / 2) with m = n - 1.

    Args:
        n, d: Ints, samples and dimensions, n > d.

    Example:

    >>> [round(x, 4) for x in independent_law(1000, 20)]  # near 380 / 4000
    [0.0958, 0.0098]

    References:
        Anderson, An Introduction to Multivariate Statistical Analysis (2003), Sec. 9.3.
    """
    m, j = n - 1, np.arange(1, d)
    mean = 0.5 * np.sum(digamma(m / 2) - digamma((m - j) / 2))
    variance = 0.25 * np.sum(polygamma(1, (m - j) / 2) - polygamma(1, m / 2))
    return float(mean), float(np.sqrt(variance))


def conditional_total_correlation(noise: np.ndarray, scales: np.ndarray) -> float:
    r"""TC(Z|X) to second order, of a channel z = f(x) + S(x) e that scales its noise.

    `TC(Z|X) = mean over x of 1/2 log prod_j [S C S^T]_jj / |S C S^T|`

    where C is the covariance of the noise e, which is the same for every x. A diagonal
    S changes no correlation, so that TC(Z|X) is the total correlation of e; and Echo
    noise has the law of z, hence `TC(Z|X) = TC(Z)`. For any other S they differ by

    `TC(Z) - TC(Z|X) = sum_j I(X; Z_j) - I(X; Z)`,

    what the dimensions tell one by one beyond what they tell together.

    Args:
        noise: Array (n, d), n > d: draws of e. For an `EchoSample`, `sample(n)`.
        scales: Array (m, d), the diagonals of S(x) of m examples, or (m, d, d), as
            `EchoSample.noise_scale` returns them. None may be singular.

    Returns:
        Float >= 0, in nats; infinity if one dimension of the noise is a linear function
        of others.

    Raises:
        ValueError: the noise is none that `total_correlation` measures, or the shape of
            scales is another, or one is singular.

    Example:

    >>> e = np.random.default_rng(0).normal(size=(10_000, 2))  # independent
    >>> diagonal, mixing = np.ones((1, 2)), np.array([[[0.8, 0.0], [0.48, 0.64]]])
    >>> round(conditional_total_correlation(e, diagonal), 2)
    0.0
    >>> round(conditional_total_correlation(e, mixing), 2)  # -1/2 log(1 - .6^2)
    0.22

    References:
        Echo paper, App. C.
    """
    of_noise = total_correlation(noise)
    e = np.asarray(noise, "float64")
    scales = arguments.array("scales", scales, "(m, d) or (m, d, d)").astype("float64")
    d = e.shape[1]
    if e.ndim != 2 or scales.shape[1:] not in ((d,), (d, d)) or not len(scales):
        raise ValueError(
            "scales must be of shape (m, d) or (m, d, d), m >= 1, for noise of shape "
            f"(n, d). Received: shapes {scales.shape} and {e.shape}"
        )
    # In units of the noise's deviations, so that C is its correlation matrix.
    unit = e.std(axis=0)
    correlation = np.corrcoef(e, rowvar=False).reshape(d, d)
    if scales.ndim == 2:
        variances, log_det = scales**2, np.log(np.abs(scales)).sum(axis=1)
    else:
        mixed = scales * unit / unit[:, None]
        variances = np.einsum("mij,jk,mik->mi", mixed, correlation, mixed)
        log_det = np.linalg.slogdet(scales).logabsdet  # units cancel
    if not np.isfinite(log_det).all():
        raise ValueError("scales must not be singular. Received: a determinant of 0")
    added = 0.5 * np.log(variances).sum(axis=1) - log_det
    return max(0.0, float(of_noise + added.mean()))
