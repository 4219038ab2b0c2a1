"""Codes brought to mean 0 and variance 1 by the statistics of their batch."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .base import LossTerm, batch_weights
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
    except that examples count by their sample weights, and that a training batch with
    one example that counts, which has no deviation, is divided by the running
    statistics and leaves them as they are.

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
        self.synchronized = arguments.flag("synchronized", synchronized)
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
        if training and self.trainable:
            with unmasked_positions(mask):
                weights = weights_of_rows(x)
            rows = ops.reshape(x, (-1, x.shape[-1]))
            rows, weights, _ = gathered(self.synchronized, rows, weights)
            several = ops.sum(ops.cast(weights > 0, "float32")) > 1
            of_rows = mean_of_rows(rows, weights)
            of_batch = of_rows, mean_of_rows(ops.square(rows - of_rows), weights)
            if not is_collecting():
                for state, old, new in zip(
                    (self.mean, self.variance), (mean, variance), of_batch, strict=True
                ):
                    moved = MOMENTUM * old + (1 - MOMENTUM) * ops.stop_gradient(new)
                    state.assign(ops.where(several, moved, old))
            mean = ops.where(several, of_batch[0], mean)
            variance = ops.where(several, of_batch[1], variance)
        return ops.cast((x - mean) * ops.rsqrt(variance + EPSILON), z.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "synchronized": self.synchronized}


def weights_of_rows(x: Tensor) -> Tensor:
    """The weight of the example of each row, (rows,), of x, (batch, ..., d); float32.

    0 of rows that are not finite and of positions that a mask excludes.
    """
    usable = usable_rows(x)
    usable = ops.reshape(usable, (ops.shape(usable)[0], -1))
    weights = ops.expand_dims(batch_weights(usable[:, 0]), 1)
    return ops.reshape(usable * weights, (-1,))
