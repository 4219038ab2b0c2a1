"""Codes brought to mean 0 and variance 1 by the statistics of their batch."""

from typing import Any

import keras
from keras import ops

from .base import LossTerm
from .channel import is_collecting
from .numerics import mean_of_rows, unmasked_positions, usable_rows
from .replicas import gathered
from .typing import Shape, Tensor

EPSILON = 1e-3
MOMENTUM = 0.9  # a short memory: the scale of f changes fast in the first epoch


@keras.saving.register_keras_serializable(package="echo_keras")
class Standardize(LossTerm):
    """Batch normalization without weights, for codes.

    As `keras.layers.BatchNormalization(center=False, scale=False)`, with momentum .9,
    except that a training batch of one example, which has no deviation, is divided by
    the running statistics and leaves them as they are.

    Args:
        synchronized: If True, statistics are those of the batch of all devices; see
            `EchoSample`.

    Inputs:
        z, (batch, ..., d).

    Output:
        The same shape.

    Example:

    >>> import numpy as np
    >>> z = np.array([[1.0], [3.0]])
    >>> np.round(ops.convert_to_numpy(Standardize()(z, training=True)), 2).tolist()
    [[-1.0], [1.0]]
    """

    def __init__(self, synchronized: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.synchronized = synchronized
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        self.mean = self.add_state("mean", (input_shape[-1],), 0.0)
        self.variance = self.add_state("variance", (input_shape[-1],), 1.0)

    def call(
        self, z: Tensor, training: bool | None = False, mask: Tensor | None = None
    ) -> Tensor:
        # Copies: PyTorch's backward pass must not find a variable changed.
        mean, variance = (
            ops.copy(ops.convert_to_tensor(v)) for v in (self.mean, self.variance)
        )
        x = ops.cast(z, "float32")
        if training and self.trainable and not is_collecting():
            with unmasked_positions(mask):
                usable = ops.reshape(usable_rows(x), (-1,))
            rows = ops.reshape(x, (-1, x.shape[-1]))
            rows, usable, _ = gathered(self.synchronized, rows, usable)
            several = ops.sum(usable) > 1
            of_rows = mean_of_rows(rows, usable)
            of_batch = of_rows, mean_of_rows(ops.square(rows - of_rows), usable)
            for state, old, new in zip(
                (self.mean, self.variance), (mean, variance), of_batch, strict=True
            ):
                moved = MOMENTUM * old + (1 - MOMENTUM) * ops.stop_gradient(new)
                state.assign(ops.where(several, moved, old))
            mean = ops.where(several, of_batch[0], mean)
            variance = ops.where(several, of_batch[1], variance)
        return ops.cast((x - mean) * ops.rsqrt(variance + EPSILON), z.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "synchronized": self.synchronized}
