"""A gate on pre-activations that depends on beta."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .channel_inputs import first_mask
from .typing import Shape, Tensor, Tensors

SPEED = 5.0


@keras.saving.register_keras_serializable(package="echo_keras")
class RateGate(keras.layers.Layer):
    """Scales the units of a layer by how much the rate costs.

    `h_i <- 2 sigmoid(5 (a_i log beta + b_i)) h_i`, with two weights for each unit that
    are 0 at first, so that the layer before is what it was. (With the factor an
    optimizer whose steps are of one size, as Adam's are, moves them fast enough.)
    Between a linear layer and its activation it lets a network of one size be another
    one at each beta.

    Args:
        axis: Int, which axis the units are on.
        beta: Float > 0, for a gate that stands still; or None.

    Inputs:
        `[h, beta]`: h (batch, ...), and beta > 0, (1, 1) or (batch, 1). If `beta` is
        given, h alone.

    Output:
        Tensor of the shape of h.

    Raises:
        ValueError: the inputs are not two, or the number of units is not known.

    Example:

    >>> gate = RateGate()
    >>> h = gate([ops.ones((3, 2)), ops.ones((1, 1))])
    >>> _ = gate.a.assign([0.2, -0.2])
    >>> [round(float(g), 3) for g in gate.scale(ops.full((1, 1), 3.0))[0]]
    [1.5, 0.5]

    References:
        Bae et al., Multi-Rate VAE (ICLR 2023), whose units are scaled by a bounded
        function of a log beta + b; 2 sigmoid, which begins at 1, and the factor are
        ours.
    """

    def __init__(
        self, axis: int = -1, beta: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.axis = arguments.integer("axis", axis, low=-100, high=100)
        self.beta = arguments.number("beta", beta, above=0, optional=True)
        self.supports_masking = True

    def compute_mask(self, inputs: Tensors, previous_mask: Any) -> Tensor | None:
        return first_mask(previous_mask)

    def build(self, input_shape: Shape | list[Shape]) -> None:
        if self.beta is not None:
            input_shape = [input_shape, (1, 1)]
        pair = isinstance(input_shape, (list, tuple)) and len(input_shape) == 2
        if not pair or not all(isinstance(s, (list, tuple)) for s in input_shape):
            raise ValueError(
                f"The inputs of RateGate must be [h, beta]. Received: "
                f"input_shape={input_shape}"
            )
        shape, beta = (tuple(s) for s in input_shape)
        inside = -len(shape) < self.axis < len(shape) and self.axis % len(shape)
        if not inside or shape[self.axis] is None or beta[1:] != (1,):
            raise ValueError(
                f"The inputs of RateGate must be h (batch, ...), with a known number "
                f"of units on axis {self.axis}, and beta (batch, 1). Received: shapes "
                f"{shape} and {beta}"
            )
        self.units = shape[self.axis]
        for name in ("a", "b"):
            weight = self.add_weight(
                name=name, shape=(self.units,), initializer="zeros", autocast=False
            )
            setattr(self, name, weight)

    def scale(self, beta: Tensor) -> Tensor:
        """The factor of each unit at each beta: (rows, 1) -> (rows, units)."""
        return 2.0 * ops.sigmoid(SPEED * (self.a * ops.log(beta) + self.b))

    def call(self, inputs: Tensors) -> Tensor:
        if self.beta is None:
            h, beta = inputs
        else:
            h, beta = inputs, ops.full((1, 1), self.beta)
        scale = ops.cast(self.scale(ops.cast(beta, "float32")), self.compute_dtype)
        shape = [1] * len(h.shape)
        shape[self.axis] = self.units
        scale = ops.reshape(scale, (-1, *shape[1:]))
        return ops.cast(h, self.compute_dtype) * scale

    def compute_output_shape(self, input_shape: Shape | list[Shape]) -> Shape:
        return tuple(input_shape[0] if self.beta is None else input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "beta": self.beta}
