"""A constraint on the summed variance of the code."""

import math
from typing import Any

import keras
from keras import ops

from . import arguments
from .base import batch_weights
from .channel_inputs import check_built
from .penalty import Penalty
from .replicas import gathered
from .typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class VariancePenalty(Penalty):
    r"""Distance of the code's summed variance from a target.

    `|sum_j Var(z_j) - v|`

    with the variances of the batch, divided by n as in the paper's algorithm: a code
    that meets the constraint in batches of n has variance v n / (n - 1). It bounds
    the rate of a channel with fixed noise and leaves the shape of q(z) free.

    Args:
        weight: Float >= 0, the paper's lambda.
        variance: Float >= 0 or None, the target v; the number of latent dimensions if
            None, the summed variance of a standard normal.
        synchronized: If True, the variances of the batch of all devices; if False, of
            each device's share, which are smaller. See `EchoSample`.

    Inputs:
        z, shape (batch, ...). All axes but the first are latent dimensions.

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

    def __init__(
        self,
        weight: float = 1.0,
        variance: float | None = None,
        synchronized: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(weight=weight, **kwargs)
        self.variance = arguments.number("variance", variance, low=0, optional=True)
        self.synchronized = arguments.flag("synchronized", synchronized)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.target = self.variance
        if self.variance is None:
            if None in tuple(input_shape)[1:]:
                raise ValueError(
                    f"VariancePenalty must have a variance, or know every axis but the "
                    f"batch. Received: input_shape={tuple(input_shape)}"
                )
            self.target = float(math.prod(input_shape[1:]))

    def penalty(self, z: Tensor) -> Tensor:
        """The distance, a scalar."""
        check_built(self)
        z = ops.reshape(ops.cast(z, "float32"), (ops.shape(z)[0], -1))
        weights = batch_weights(z[:, 0])
        z, weights, _ = gathered(self.synchronized, z, weights)
        share = ops.expand_dims(weights / ops.maximum(ops.sum(weights), 1e-30), 1)
        mean = ops.sum(share * z, axis=0)
        return ops.abs(ops.sum(share * ops.square(z - mean)) - self.target)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "variance": self.variance,
            "synchronized": self.synchronized,
        }
