"""A mixture of Gaussians at given places as a marginal."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from . import arguments
from .marginals import Marginal
from .numerics import scaled_distances
from .symbolic import symbolic
from .typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class GaussianMixture(Marginal):
    """A mixture of Gaussians at given means: `m(z) = sum_k w_k N(z; mu_k, s^2 I)`.

    For codes in clusters whose places are known beforehand. A small s makes it a
    codebook: codes that follow it are near one of the means, and the number of the mean
    is a code of `-sum_k w_k log w_k` nats. (A mixture that is learned is a
    `VampPrior`.)

    Args:
        means: Array (K, d), the places `mu_k`.
        scale: Float > 0, s, or one for each component.
        weights: Floats > 0 of sum 1, or None for 1 / K each.
        seed: Int or None, for `sample`.

    Inputs:
        z, shape (batch, d). Calling the layer gives `log_prob(z)`.

    Raises:
        ValueError: the means are no finite array (K, d), scale or weights are not
            positive or not as many as the means, the weights do not add up to 1, or
            codes do not have d dimensions.

    Example:

    >>> import numpy as np
    >>> marginal = GaussianMixture([[-3.0, 0.0], [3.0, 0.0]], scale=0.1, seed=0)
    >>> log_m = marginal(np.array([[3.0, 0.0]]))
    >>> round(float(log_m[0]), 3)  # -log 2 - log 2 pi .01
    2.074
    >>> abs(ops.convert_to_numpy(marginal.sample(5))).round()[:, 0].tolist()
    [3.0, 3.0, 3.0, 3.0, 3.0]

    References:
        BIB-AE paper, Sec. 3 and Fig. 4, where codes are drawn to given centroids.
        Makhzani et al., Adversarial Autoencoders (2015), Sec. 2.3.
    """

    def __init__(
        self,
        means: Sequence[Sequence[float]],
        scale: float | Sequence[float] = 1.0,
        weights: Sequence[float] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        found = arguments.array("means", means, "(K, d)", (2,)).astype("float64")
        self.means = found.tolist()
        components = len(found)
        self.scale = scale
        if np.ndim(scale):
            self.scale = arguments.numbers_list("scale", scale, above=0)
            _check_count("scale", self.scale, components)
        else:
            self.scale = arguments.number("scale", scale, above=0)
        self.component_weights = None
        if weights is not None:
            self.component_weights = arguments.numbers_list("weights", weights, above=0)
            _check_count("weights", self.component_weights, components)
            if not math.isclose(sum(self.component_weights), 1, rel_tol=1e-5):
                raise ValueError(
                    f"weights must add up to 1. Received: weights={weights}, of sum "
                    f"{sum(self.component_weights):g}"
                )

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self._check(input_shape)

    def _check(self, shape):
        """Raises a ValueError unless codes have as many dimensions as the means."""
        if len(shape) != 2 or shape[1] != len(self.means[0]):
            raise ValueError(
                f"Codes of this GaussianMixture must have the shape (batch, "
                f"{len(self.means[0])}), as its means have. Received: {tuple(shape)}"
            )

    def _parts(self):
        """Means and log-variances (K, d), log-weights (K,)."""
        means = np.array(self.means, "float32")
        scale = np.broadcast_to(np.asarray(self.scale, "float64"), len(means))
        log_var = np.broadcast_to(2 * np.log(scale)[:, None], means.shape)
        weights = self.component_weights or [1 / len(means)] * len(means)
        return [
            ops.convert_to_tensor(x, dtype="float32")
            for x in (means, log_var, np.log(weights))
        ]

    @symbolic
    def log_prob(self, z: Tensor) -> Tensor:
        """log m(z) in nats, (batch, d) -> (batch,)."""
        z = ops.cast(z, "float32")
        self._check(z.shape)
        means, log_var, log_weights = self._parts()
        log_scale = ops.sum(log_var + math.log(2 * math.pi), axis=1)
        distances = scaled_distances(z, means, log_var)
        log_n = -0.5 * (distances + log_scale)
        return ops.logsumexp(log_n + log_weights, axis=1)

    def sample(self, n: int) -> Tensor:
        """Draws n codes: (n, d)."""
        shape = (arguments.sample_size(n), len(self.means[0]))
        means, log_var, log_weights = self._parts()
        seed = self.seed_generator
        k = keras.random.categorical(ops.expand_dims(log_weights, 0), n, seed=seed)[0]
        noise = keras.random.normal(shape, dtype="float32", seed=seed)
        spread = ops.exp(0.5 * ops.take(log_var, k, axis=0))
        z = ops.take(means, k, axis=0) + spread * noise
        return ops.cast(z, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "means": self.means,
            "scale": self.scale,
            "weights": self.component_weights,
        }


def _check_count(name, values, components):
    if len(values) != components:
        raise ValueError(
            f"{name} must be one for each of {components} means. Received: "
            f"{len(values)}"
        )
