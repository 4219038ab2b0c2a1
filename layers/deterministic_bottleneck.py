"""A dense head without a channel."""

import keras
from keras import ops

from .bottleneck import Bottleneck
from .channel import Draw
from .symbolic import symbolic
from .typing import Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class DeterministicBottleneck(Bottleneck):
    """A dense head alone: a deterministic code.

    A deterministic continuous code has no finite rate, and this layer reports none.
    Such models are regularized by a penalty on the code, or by noise on the input
    (`InputNoise`).

    Args:
        units: Int >= 1, number of latent dimensions.
        name, trainable, dtype: As in every Keras layer.

    Inputs:
        Features, shape (batch, ..., channels).

    Output:
        z, shape (batch, ..., units).

    Raises:
        ValueError: units is not an integer >= 1; in `rate`, `log_prob` and `sample`,
            which a code without noise and marginal does not have.

    Example:

    >>> import numpy as np
    >>> z = DeterministicBottleneck(32)(np.ones((10, 256)))
    >>> tuple(z.shape)
    (10, 32)

    References:
        Variance Constrained Autoencoding, Sec. 6.2 (dVCAE, WAE).
    """

    def __init__(
        self,
        units: int,
        name: str | None = None,
        trainable: bool = True,
        dtype: keras.DTypePolicy | str | None = None,
    ) -> None:
        super().__init__(units, name=name, trainable=trainable, dtype=dtype)
        self.heads = [self.head("code")]

    @symbolic
    def code(self, features: Tensor) -> Tensor:
        """z, float32."""
        return self.encode(features)[0]

    def _draw_code(self, features, training, mask, beta=None):
        if beta is not None:
            raise ValueError(
                f"A code without noise has no rate, and no beta to weigh it. Received: "
                f"beta of shape {tuple(beta.shape)}"
            )
        return ops.cast(self.code(features), self.compute_dtype)

    def draw(self, features: Tensor, echoes_from: str = "bank") -> Draw:
        """z alone: a code without noise has neither a rate nor a log-ratio."""
        return Draw(ops.cast(self.code(features), self.compute_dtype), None, None)

    def rate(self, features: Tensor) -> Tensor:
        raise ValueError("A code without noise has no finite rate.")

    rate_by_dimension = rate

    def sample(self, n: int) -> Tensor:
        raise ValueError(
            "A code without noise has no marginal to draw from. Fit one to the codes "
            "with echo_keras.latent_flow.fit_latent_flow."
        )
