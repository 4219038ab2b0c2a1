"""One training on several devices: other noise on each, statistics of all."""

import contextvars
from contextlib import AbstractContextManager

import keras
from keras import ops

from .backend import gather, replicas
from .context import setting
from .typing import Tensor

STEP = 0x61C88647  # between the seeds of two replicas

_same_noise = contextvars.ContextVar("same_noise", default=False)


class SeedGenerator(keras.random.SeedGenerator):
    """Keras's generator, with other seeds on each replica.

    Keras's own gives all replicas the same noise. The state is the same on all, and
    the first replica's noise is that of a single device.
    """

    def next(self, ordered: bool = True) -> Tensor:
        seed = super().next(ordered)
        number, count = replicas()
        if count == 1 or _same_noise.get():
            return seed
        number = ops.cast(ops.convert_to_tensor([number, 0]), seed.dtype)
        return seed + number * ops.cast(STEP, seed.dtype)


def same_noise(synchronized: bool = True) -> AbstractContextManager[None]:
    """Inside, all replicas draw the same, if `synchronized`."""
    return setting(_same_noise, synchronized)


def gathered(synchronized: bool, *columns: Tensor) -> tuple[Tensor, ...]:
    """Float32 tensors with the rows of all replicas, and where this one's rows begin.

    Args:
        synchronized: If False, the rows are this replica's alone.
        columns: Tensors (rows,) or (rows, d).

    Returns:
        The tensors, and an int or an int32 scalar: the number of rows before one's own.
    """
    number, count = replicas()
    if not synchronized or count == 1:
        return *columns, 0
    flat = [x if len(x.shape) > 1 else ops.expand_dims(x, 1) for x in columns]
    owner = ops.cast(number, "float32") * ops.ones_like(flat[0][:, :1])
    width = 1 + sum(x.shape[1] for x in flat)  # which TensorFlow forgets
    rows = ops.reshape(gather(ops.concatenate([owner, *flat], axis=1)), (-1, width))
    start = ops.sum(ops.cast(rows[:, 0] < ops.cast(number, "float32"), "int32"))
    at, found = 1, []
    for x, matrix in zip(columns, flat, strict=True):
        width = matrix.shape[1]
        part = rows[:, at : at + width]
        found.append(part if len(x.shape) > 1 else part[:, 0])
        at += width
    return *found, start


def replica_mean(x: Tensor) -> Tensor:
    """The mean of a scalar over all replicas."""
    if replicas()[1] == 1:
        return x
    return ops.mean(gather(ops.reshape(x, (1, 1))))
