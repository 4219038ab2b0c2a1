"""Gated linear units: twice the outputs, one half of which gates the other."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .typing import Shape, Tensor


class Gated:
    """Mixin for Keras layers with `units` or `filters`: h = a sigmoid(b).

    The layer below has twice the outputs, a and then b along the axis of channels.
    """

    def call(self, inputs: Tensor) -> Tensor:
        return self.gate(super().call(inputs))

    def gate(self, x: Tensor) -> Tensor:
        """The first half of the channels, gated by the second."""
        a, b = ops.split(x, 2, axis=self.channel_axis)
        return a * ops.sigmoid(b)

    @property
    def channel_axis(self) -> int:
        """Where the channels are: 1 or -1."""
        return 1 if getattr(self, "data_format", None) == "channels_first" else -1

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = list(super().compute_output_shape(input_shape))
        if shape[self.channel_axis] is not None:
            shape[self.channel_axis] //= 2
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        outputs = "units" if "units" in config else "filters"
        return {**config, outputs: config[outputs] // 2}


@keras.saving.register_keras_serializable(package="echo_keras")
class GatedDense(Gated, keras.layers.Dense):
    """Linearly gated dense layer: `h = (W_1 x + b_1) sigma(W_2 x + b_2)`.

    `W_1` and `W_2` are the two halves of one kernel, (inputs, 2 units).

    Args:
        units: Int >= 1, size of the output.
        **kwargs: Further arguments of `keras.layers.Dense`.

    Inputs:
        Tensor (batch, ..., inputs).

    Output:
        Tensor (batch, ..., units).

    Raises:
        ValueError: units is not an integer >= 1.

    Example:

    >>> layer = GatedDense(3, kernel_initializer="zeros", bias_initializer="ones")
    >>> h = ops.convert_to_numpy(layer(ops.ones((1, 2))))
    >>> [round(float(x), 3) for x in h[0]]  # 1 sigmoid(1)
    [0.731, 0.731, 0.731]

    References:
        Fixing a Broken ELBO, App. F; Dauphin et al., Language Modeling with Gated
        Convolutional Networks (2017), Eq. 1.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(2 * arguments.integer("units", units), **kwargs)


@keras.saving.register_keras_serializable(package="echo_keras")
class GatedConv2D(Gated, keras.layers.Conv2D):
    """Linearly gated convolution: `h = (W_1 * x + b_1) sigma(W_2 * x + b_2)`.

    Args:
        filters: Int >= 1, channels of the output.
        kernel_size: Int or two.
        **kwargs: Further arguments of `keras.layers.Conv2D`.

    Inputs:
        Tensor (batch, height, width, channels), as for `keras.layers.Conv2D`.

    Output:
        Tensor (batch, new height, new width, filters).

    Raises:
        ValueError: as `keras.layers.Conv2D`.

    Example:

    >>> layer = GatedConv2D(8, 5, strides=2, padding="same")
    >>> tuple(layer(ops.ones((1, 28, 28, 1))).shape), layer.count_params()
    ((1, 14, 14, 8), 416)

    References:
        As `GatedDense`.
    """

    def __init__(
        self, filters: int, kernel_size: int | tuple[int, int], **kwargs: Any
    ) -> None:
        filters = arguments.integer("filters", filters)
        super().__init__(2 * filters, kernel_size, **kwargs)


@keras.saving.register_keras_serializable(package="echo_keras")
class GatedConv2DTranspose(Gated, keras.layers.Conv2DTranspose):
    """Linearly gated transposed convolution; see `GatedConv2D`.

    Args:
        filters: Int >= 1, channels of the output.
        kernel_size: Int or two.
        **kwargs: Further arguments of `keras.layers.Conv2DTranspose`.

    Inputs:
        Tensor (batch, height, width, channels).

    Output:
        Tensor (batch, new height, new width, filters).

    Raises:
        ValueError: as `keras.layers.Conv2DTranspose`.

    Example:

    >>> layer = GatedConv2DTranspose(8, 5, strides=2, padding="same")
    >>> tuple(layer(ops.ones((1, 7, 7, 1))).shape)
    (1, 14, 14, 8)

    References:
        As `GatedDense`.
    """

    def __init__(
        self, filters: int, kernel_size: int | tuple[int, int], **kwargs: Any
    ) -> None:
        filters = arguments.integer("filters", filters)
        super().__init__(2 * filters, kernel_size, **kwargs)
