"""Penalties on codes: layers that pass z on and add a term to the loss."""

import math

import keras
from keras import ops

from .marginals import StandardNormal
from .numerics import scaled_distances
from .penalty import Penalty

KERNELS = ("rbf", "imq")
ESTIMATORS = ("biased", "unbiased")


@keras.saving.register_keras_serializable(package="echo_keras")
class MMDPenalty(Penalty):
    r"""Maximum mean discrepancy between the codes of a batch and a prior, squared.

    $$MMD^2 = E\,k(z, z') + E\,k(y, y') - 2\,E\,k(z, y)$$

    for codes z, z' and draws y, y' from the prior, as many as the batch has
    examples and fresh at each call. With b the bandwidth, the kernel is

    - "rbf": \(\exp(-|x - y|^2 / 2 b^2)\), b = d / sqrt(2) by default. (The Echo
      paper has 32 / sqrt(2) for d = 32. So wide a kernel compares little beyond
      means and covariances.)
    - "imq": \(b^2 / (b^2 + |x - y|^2)\), b = sqrt(2 d) by default: C / (C + ...)
      with the C = 2 d of Wasserstein autoencoders.

    Computed in float32; time is O(batch^2 d). The value is a pure number of at most
    2, not in nats.

    Args:
        weight: Float >= 0, weight of the penalty; see `Penalty`.
        kernel: "rbf" or "imq".
        bandwidth: Float > 0 or None, b.
        estimator: "biased": the means over pairs z, z' (and y, y') include the pairs
            of an example with itself, n^2 of them. It is never negative, and at
            equal laws its mean is 2 (1 - E k) / n rather than 0. "unbiased": they
            are left out, n (n - 1) pairs remain, and the value may be negative; for
            a batch of one example, where there is no such pair, it is 0.
        prior: Layer with `sample(n)`; the standard normal if None. See `Marginal`.
        seed: Int or None, for the draws from the standard normal. (Another prior has
            a seed of its own.)

    Inputs:
        z, shape (batch, ...). All axes but the first are code dimensions and must be
        known.

    Output:
        z.

    Raises:
        ValueError: an argument is not as above, or an axis of the code is unknown.

    Example:

    >>> import numpy as np
    >>> layer = MMDPenalty(weight=10.0, estimator="unbiased", seed=0)
    >>> near = layer(np.random.default_rng(0).normal(size=(500, 2)))
    >>> at_home = float(layer.last_value.value)
    >>> far = layer(np.full((500, 2), 3.0))
    >>> abs(at_home) < 0.01 < float(layer.last_value.value)
    True

    References:
        Echo paper, Sec. 4 (InfoVAE, weight 999 on the biased estimate) and App. E;
        Gretton et al., A Kernel Two-Sample Test (2012), Lemma 6; Tolstikhin et al.,
        Wasserstein Auto-Encoders (2018), Sec. 4.
    """

    def __init__(
        self,
        weight=999.0,
        kernel="rbf",
        bandwidth=None,
        estimator="biased",
        prior=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(weight=weight, **kwargs)
        if kernel not in KERNELS:
            raise ValueError(
                f"kernel must be one of {', '.join(KERNELS)}; received {kernel!r}."
            )
        if estimator not in ESTIMATORS:
            raise ValueError(
                f"estimator must be one of {', '.join(ESTIMATORS)}; received "
                f"{estimator!r}."
            )
        if bandwidth is not None and not 0 < bandwidth < math.inf:
            raise ValueError(
                f"bandwidth must be a finite number > 0, or None for the default; "
                f"received {bandwidth}."
            )
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.estimator = estimator
        self.seed = seed
        if isinstance(prior, dict):  # as `get_config` writes it
            prior = keras.saving.deserialize_keras_object(prior)
        if prior is None:
            prior = StandardNormal(seed=seed, dtype="float32")
        self.prior = prior

    def build(self, input_shape):
        super().build(input_shape)
        shape = tuple(input_shape)
        if None in shape[1:]:
            raise ValueError(
                f"MMDPenalty needs to know every axis but the batch; received shape "
                f"{shape}."
            )
        self.dims = math.prod(shape[1:])
        if not self.prior.built:
            self.prior.build(shape)

    def penalty(self, z):
        """The estimate of MMD^2, a scalar."""
        n = ops.shape(z)[0]
        z, y = (
            ops.reshape(ops.cast(x, "float32"), (-1, self.dims))
            for x in (z, self.prior.sample(n))
        )
        zz, yy, zy = (
            ops.sum(self.similarity(*pair)) for pair in ((z, z), (y, y), (z, y))
        )
        n = ops.cast(n, "float32")
        within = zz + yy
        if self.estimator == "biased":
            return (within - 2.0 * zy) / n**2
        # Each example is similar to itself by 1.
        within = (within - 2.0 * n) / ops.maximum(n * (n - 1.0), 1.0)
        return ops.where(n > 1.0, within - 2.0 * zy / n**2, 0.0)

    def similarity(self, x, y):
        """The kernel of all pairs: (n, d) and (m, d) -> (n, m)."""
        squared = scaled_distances(x, y, ops.zeros_like(y))
        if self.kernel == "rbf":
            b = self.bandwidth or self.dims / math.sqrt(2)
            return ops.exp(-0.5 * squared / b**2)
        b = self.bandwidth or math.sqrt(2 * self.dims)
        return 1.0 / (1.0 + squared / b**2)

    def get_config(self):
        return {
            **super().get_config(),
            "kernel": self.kernel,
            "bandwidth": self.bandwidth,
            "estimator": self.estimator,
            "prior": keras.saving.serialize_keras_object(self.prior),
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class VariancePenalty(Penalty):
    r"""Distance of the code's summed variance from a target.

    $$\Big|\sum_j Var(z_j) - v\Big|$$

    with the variances of the batch (divided by n, as the paper's algorithm does; so
    the mean over batches of a code that meets the constraint in a batch of n has
    variance v n / (n - 1)). It bounds what a channel with fixed noise can carry, and
    leaves the shape of q(z) free.

    Args:
        weight: Float >= 0, the paper's lambda.
        variance: Float >= 0 or None, the target v; the number of code dimensions if
            None, the summed variance of a standard normal.

    Inputs:
        z, shape (batch, ...). All axes but the first are code dimensions.

    Output:
        z.

    Raises:
        ValueError: an argument is negative or not finite; or variance is None and an
            axis of the code is unknown.

    Example:

    >>> import numpy as np
    >>> layer = VariancePenalty(weight=2.0, variance=3.0)
    >>> z = layer(np.array([[0.0, 0.0], [2.0, 4.0]]))  # variances 1 and 4
    >>> float(layer.last_value.value), float(layer.losses[0])
    (2.0, 4.0)

    References:
        Variance Constrained Autoencoding, Sec. 4, Eq. 7 and Algorithm 1.
    """

    def __init__(self, weight=1.0, variance=None, **kwargs):
        super().__init__(weight=weight, **kwargs)
        if variance is not None:
            variance = self.check_weight("variance", variance)
        self.variance = variance

    def build(self, input_shape):
        super().build(input_shape)
        self.target = self.variance
        if self.variance is None:
            if None in tuple(input_shape)[1:]:
                raise ValueError(
                    f"VariancePenalty needs a variance, or to know every axis but the "
                    f"batch; received shape {tuple(input_shape)}."
                )
            self.target = float(math.prod(input_shape[1:]))

    def penalty(self, z):
        """The distance, a scalar."""
        variances = ops.var(ops.cast(z, "float32"), axis=0)
        return ops.abs(ops.sum(variances) - self.target)

    def get_config(self):
        return {**super().get_config(), "variance": self.variance}
