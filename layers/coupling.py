"""Affine coupling, a flow that is as fast in both directions."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from . import arguments
from .flow import Flow, bound_log_scale
from .symbolic import symbolic
from .typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class Coupling(Flow):
    """Affine coupling of RealNVP: fast in both directions.

    The first `k = ceil(d/2)` dimensions pass unchanged; a dense network
    maps them to the scales and shifts of the others: `y_(<= k) = x_(<= k)`,
    `y_(>k) = x_(>k) exp(a(x_(<= k))) + m(x_(<= k))`, with |a| < 3 by a tanh. The
    network's last layer starts at zero, so that an untrained layer is the identity.

    Dimensions that pass here must be changed by another coupling: see `Permutation`.

    Args:
        hidden: Ints, the units of each hidden layer.
        activation: Keras activation of the hidden layers.

    Inputs:
        x, shape (batch, d) with d >= 2; or `[x, context]` with a context of shape
        (batch, c), which the network sees too.

    Output:
        y, shape (batch, d). `transform` and `inverse` return log-determinants too.

    Raises:
        ValueError: hidden is not as above, d is 1, or the inputs have other shapes
            than the layer was built for.

    Example:

    >>> import numpy as np
    >>> flow = Coupling(hidden=(8, 8))
    >>> y, log_det = flow.transform(np.ones((5, 3)))
    >>> flow.kept, tuple(y.shape), tuple(log_det.shape)
    (2, (5, 3), (5,))

    References:
        Dinh et al. 2017, Density estimation using Real NVP, Sec. 3.2. VCAE paper,
        App. B, Table 5.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (256, 256, 256),
        activation: str | Callable = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units_per_hidden = arguments.integers("hidden", hidden)
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        if self.d < 2:
            raise ValueError(
                f"Coupling needs at least 2 dimensions, one to pass and one to change. "
                f"Received: input_shape={input_shape}"
            )
        self.kept = (self.d + 1) // 2
        self.hidden = [
            keras.layers.Dense(
                units, activation=self.activation, dtype="float32", name=f"hidden_{i}"
            )
            for i, units in enumerate(self.units_per_hidden)
        ]
        self.output_layer = keras.layers.Dense(
            2 * (self.d - self.kept),
            kernel_initializer="zeros",
            dtype="float32",
            name="output",
        )
        units = self.kept + (self.context_d or 0)
        for layer in (*self.hidden, self.output_layer):
            layer.build((None, units))
            units = layer.units

    def shift_and_log_scale(
        self, kept: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """m and a, (batch, d - k) each, for the dimensions that change."""
        h = kept if context is None else ops.concatenate([kept, context], axis=1)
        for layer in (*self.hidden, self.output_layer):
            h = layer(h)
        shift, log_scale = ops.split(h, 2, axis=1)
        return shift, bound_log_scale(log_scale)

    @symbolic
    def transform(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(y, log|det dy/dx|), shapes (batch, d) and (batch,)."""
        x, context = self.prepare(x, context)
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        shift, log_scale = self.shift_and_log_scale(kept, context)
        changed = changed * ops.exp(log_scale) + shift
        return ops.concatenate([kept, changed], axis=1), ops.sum(log_scale, axis=1)

    @symbolic
    def inverse(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(x, log|det dx/dy|), shapes (batch, d) and (batch,)."""
        y, context = self.prepare(y, context)
        kept, changed = y[:, : self.kept], y[:, self.kept :]
        shift, log_scale = self.shift_and_log_scale(kept, context)
        changed = (changed - shift) * ops.exp(-log_scale)
        return ops.concatenate([kept, changed], axis=1), -ops.sum(log_scale, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden": list(self.units_per_hidden),
            "activation": keras.activations.serialize(self.activation),
        }
