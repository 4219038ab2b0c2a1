"""Maximum mean discrepancy between codes and a prior."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from . import arguments
from .base import batch_weights
from .channel_inputs import check_built
from .marginals import StandardNormal
from .numerics import scaled_distances
from .penalty import Penalty
from .replicas import gathered, same_noise
from .typing import Shape, Tensor

KERNELS = ("rbf", "imq")
ESTIMATORS = ("biased", "unbiased")
# Of the published code of Tolstikhin et al., on C = b^2.
WAE_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@keras.saving.register_keras_serializable(package="echo_keras")
class MMDPenalty(Penalty):
    """Maximum mean discrepancy between the codes of a batch and a prior.

    `MMD^2 = E k(z, z') + E k(y, y') - 2 E k(z, y)`

    for codes z, z' and draws y, y' from the prior, as many as the batch has
    examples and fresh at each call. With b the bandwidth, the kernel is

    - "rbf": `exp(-|x - y|^2 / 2 b^2)`, b = d / sqrt(2) by default. (The Echo
      paper has 32 / sqrt(2) for d = 32. So wide a kernel compares little beyond
      means and covariances.)
    - "imq": `b^2 / (b^2 + |x - y|^2)`, b = sqrt(2 d) by default: C / (C + ...)
      with the C = 2 d of Wasserstein autoencoders.

    With several `scales` it is the sum over s of such kernels with `b^2 s` in the
    place of `b^2`. Computed in float32; time is O(batch^2 d). The value is a pure
    number of at most 2 for each scale, not in nats.

    Args:
        weight: Float >= 0, weight of the penalty; see `Penalty`.
        kernel: "rbf" or "imq".
        bandwidth: Float > 0 or None, b.
        estimator: "biased": the means over pairs z, z' (and y, y') include the pairs
            of an example with itself, n^2 of them. It is never negative, and at
            equal laws its mean is 2 (1 - E k) / n rather than 0. "unbiased": they
            are left out, n (n - 1) pairs remain, and the value may be negative; for
            a batch of one example, where there is no such pair, it is 0.
        scales: Floats > 0, factors on b^2. The code of Wasserstein autoencoders sums
            over seven, `WAE_SCALES`.
        squared: If False the penalty is MMD, the root of the estimate, or 0 where this
            is negative. Near equal laws its gradient does not vanish.
        prior: Layer with `sample(n)`; the standard normal if None. See `Marginal`.
        seed: Int or None, for the draws from the standard normal. (Another prior has
            a seed of its own.)
        synchronized: If True, the codes are those of the batch of all devices; if
            False, of each device's share. See `EchoSample`.

    Inputs:
        z, shape (batch, ...). All axes but the first are latent dimensions and must be
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
        The Variational InfoMax Autoencoder, Eq. 13, for MMD that is not squared;
        Echo paper, Sec. 4 (InfoVAE, weight 999 on the biased estimate) and App. E;
        Gretton et al., A Kernel Two-Sample Test (2012), Lemma 6; Tolstikhin et al.,
        Wasserstein Auto-Encoders (2018), Sec. 4.
    """

    def __init__(
        self,
        weight: float = 999.0,
        kernel: str = "rbf",
        bandwidth: float | None = None,
        estimator: str = "biased",
        prior: keras.layers.Layer | None = None,
        seed: int | None = None,
        scales: Sequence[float] = (1.0,),
        squared: bool = True,
        synchronized: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(weight=weight, **kwargs)
        self.scales = arguments.numbers_list("scales", scales, above=0)
        self.squared = arguments.flag("squared", squared)
        self.synchronized = arguments.flag("synchronized", synchronized)
        self.bandwidth = arguments.number(
            "bandwidth", bandwidth, above=0, optional=True
        )
        self.kernel = arguments.choice("kernel", kernel, KERNELS)
        self.estimator = arguments.choice("estimator", estimator, ESTIMATORS)
        self.seed = arguments.seed(seed)
        prior = arguments.layer("prior", prior, ("sample",), optional=True)
        if prior is None:
            prior = StandardNormal(seed=seed, dtype="float32")
        self.prior = prior

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        shape = tuple(input_shape)
        if None in shape[1:]:
            raise ValueError(
                f"MMDPenalty must know every axis but the batch. Received: "
                f"input_shape={shape}"
            )
        self.dims = math.prod(shape[1:])
        if not self.prior.built:
            self.prior.build(shape)

    def penalty(self, z: Tensor) -> Tensor:
        """The estimate of MMD^2, or its root, a scalar."""
        check_built(self)
        estimate = self._estimate(z)
        if self.squared:
            return estimate
        # Both branches have a finite gradient everywhere.
        positive = estimate > 1e-12
        return ops.where(positive, ops.sqrt(ops.where(positive, estimate, 1.0)), 0.0)

    def _estimate(self, z):
        z = ops.reshape(ops.cast(z, "float32"), (-1, self.dims))
        z, weights, _ = gathered(self.synchronized, z, batch_weights(z[:, 0]))
        n = ops.shape(z)[0]
        with same_noise(self.synchronized):
            y = self.prior.sample(n)
        y = ops.reshape(ops.cast(y, "float32"), (-1, self.dims))
        n = ops.cast(n, "float32")
        # Of the codes, with mean 1.
        weights = weights * n / ops.maximum(ops.sum(weights), 1e-30)
        column = ops.expand_dims(weights, 1)
        zz = ops.sum(column * ops.expand_dims(weights, 0) * self.similarity(z, z))
        yy = ops.sum(self.similarity(y, y))
        zy = ops.sum(column * self.similarity(z, y))
        if self.estimator == "biased":
            return (zz + yy - 2.0 * zy) / n**2
        # Each example is similar to itself by 1, at each scale.
        alone, scales = ops.sum(ops.square(weights)), len(self.scales)
        zz = (zz - scales * alone) / ops.maximum(n**2 - alone, 1.0)
        yy = (yy - scales * n) / ops.maximum(n**2 - n, 1.0)
        return ops.where(n > 1.0, zz + yy - 2.0 * zy / n**2, 0.0)

    def similarity(self, x: Tensor, y: Tensor) -> Tensor:
        """The kernel of all pairs: (n, d) and (m, d) -> (n, m)."""
        squared = scaled_distances(x, y, ops.zeros_like(y))
        if self.kernel == "rbf":
            b = self.bandwidth or self.dims / math.sqrt(2)
            return sum(ops.exp(-0.5 * squared / (b**2 * s)) for s in self.scales)
        b = self.bandwidth or math.sqrt(2 * self.dims)
        return sum(1.0 / (1.0 + squared / (b**2 * s)) for s in self.scales)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel": self.kernel,
            "bandwidth": self.bandwidth,
            "estimator": self.estimator,
            "prior": keras.saving.serialize_keras_object(self.prior),
            "seed": self.seed,
            "scales": self.scales,
            "squared": self.squared,
            "synchronized": self.synchronized,
        }
