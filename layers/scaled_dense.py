"""A dense layer whose output starts at unit scale, whatever scale features have."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .base import LossTerm
from .channel import is_collecting
from .numerics import mean_of_rows, unmasked_positions
from .replicas import gathered
from .standardize import weights_of_rows
from .typing import Shape, Tensor

MEMORY = 1000.0  # examples


@keras.saving.register_keras_serializable(package="echo_keras")
class ScaledDense(keras.layers.Dense):
    r"""Dense layer of centred features, with a gain that the first batch sets.

    `y = g (W (h - m) + b)`

    An encoder may start with features of a few thousandths, most of it a mean that all
    examples share. In an Echo channel nothing pulls such an f up, since the noise
    shrinks and grows with it, and Adam's steps on W move all examples together. Here m
    is the running mean of the features over about the last 1,000 examples. The number
    g gives W (h - m) a mean square of 1 over the first training batch, about its mean,
    or about 0 if it has one example. From then on g stays as it is: a scale, as an
    initializer's is, and no normalization. (To follow the features would let them
    drift: their scale grows twentyfold in the first ten steps of a deep encoder if
    nothing holds it.)

    Training and inference use the same m and g, whatever the batch size, so that an
    output depends on no other example beyond its share of m. Both are non-trainable
    weights, moved in calls with training=True alone. Before any, m = 0 and g = 1.
    Examples count by their sample weights.

    Args:
        units: Int >= 1, size of the output.
        synchronized: If True, the mean and the first batch are those of all devices;
            see `EchoSample`.
        **kwargs: Further arguments of `keras.layers.Dense`.

    Inputs:
        Features h, (batch, ..., channels). Each position counts as an example.

    Output:
        Tensor (batch, ..., units).

    Example:

    >>> import numpy as np
    >>> h = 5 + np.random.default_rng(0).normal(size=(1000, 8)) / 100
    >>> y = ops.convert_to_numpy(ScaledDense(4)(h, training=True))
    >>> bool(abs(y.mean()) < 1e-3), round(float(np.square(y).mean()), 3)
    (True, 1.0)

    References:
        An addition of this library. As activation normalization in flows has it
        (Kingma & Dhariwal, Glow, 2018, Sec. 3.1), data set a scale once.
    """

    add_state = LossTerm.add_state

    def __init__(self, units: int, synchronized: bool = True, **kwargs: Any) -> None:
        super().__init__(arguments.integer("units", units), **kwargs)
        self.synchronized = arguments.flag("synchronized", synchronized)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.mean = self.add_state("mean", (input_shape[-1],), 0.0)
        self.seen = self.add_state("seen", (), 0.0)
        self.gain = self.add_state("gain", (), 0.0)  # 0 until it is set

    def call(
        self,
        inputs: Tensor,
        training: bool | None = False,
        mask: Tensor | None = None,
    ) -> Tensor:
        h = ops.cast(inputs, "float32")
        # Copies: PyTorch's backward pass must not find a variable changed.
        mean, gain = (
            ops.copy(ops.convert_to_tensor(v)) for v in (self.mean, self.gain)
        )
        if training and self.trainable:
            with unmasked_positions(mask):
                mean, gain = self._follow(ops.stop_gradient(h), mean, gain)
        y = super().call(ops.cast(h - mean, self.compute_dtype))
        return ops.cast(ops.where(gain > 0, gain, 1.0), y.dtype) * y

    def _follow(self, h, mean, gain):
        """The mean and gain after a batch, assigned unless draws are collected."""
        weights = weights_of_rows(h)
        h = ops.reshape(h, (-1, h.shape[-1]))
        h, weights, _ = gathered(self.synchronized, h, weights)
        h = ops.where(ops.expand_dims(weights > 0, 1), h, 0.0)
        count = ops.sum(ops.cast(weights > 0, "float32"))
        of_batch = mean_of_rows(h, weights)
        kernel = ops.stop_gradient(ops.cast(self.kernel, "float32"))
        centre = ops.where(count > 1, of_batch, 0.0)
        square = self._mean_square(ops.matmul(h - centre, kernel), weights)
        # A batch of equal examples, which differ by rounding alone, sets nothing.
        whole = self._mean_square(ops.matmul(h, kernel), weights)
        differ = square > 1e-10 * whole
        first = ops.where(differ, ops.rsqrt(ops.maximum(square, 1e-30)), 0.0)
        gain = ops.where(gain > 0, gain, first)
        seen = ops.minimum(self.seen + count, MEMORY)
        share = ops.minimum(count / ops.maximum(seen, 1.0), 1.0)
        mean = mean + share * (of_batch - mean)
        if not is_collecting():
            self.gain.assign(gain)
            self.mean.assign(mean)
            self.seen.assign(seen)
        return mean, gain

    @staticmethod
    def _mean_square(y, weights):
        return ops.mean(mean_of_rows(ops.square(y), weights))

    # Dense saves its kernel and bias alone.
    def save_own_variables(self, store: dict[str, Any]) -> None:
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: dict[str, Any]) -> None:
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "synchronized": self.synchronized}
