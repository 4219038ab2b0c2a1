"""Layers that pass their input on and add a weighted term to the loss."""

import math
from typing import Any

import keras
from keras import ops

from . import arguments
from .base import LossTerm, batch_mean
from .channel_inputs import first_mask
from .symbolic import MethodCalls
from .typing import Shape, Tensor, Tensors


class Penalty(MethodCalls, LossTerm):
    """Base class of the layers that penalize their inputs.

    The output is the input. The loss grows by `weight` x the mean of
    `penalty(inputs)`, which a subclass gives in nats per example, as one number or
    of shape (batch,). As in a channel, two scalars can be reached from outside:
    `weight`, a variable that a callback can change (`layer.weight.assign(2.0)`),
    and `last_value`, the bare term of the last batch, which
    `echo_keras.RateDistortionModel` logs under the layer's name; of a layer that a
    model calls more than once, the sum over its calls. Sample weights that `fit` is
    given weigh values of shape (batch,); a penalty of one number weighs its examples
    itself, by `batch_weights`.

    Args:
        weight: Float >= 0, the initial weight of the term. A subclass may set the class
            attribute `signed`, and then takes negative ones as well.

    Raises:
        ValueError: weight is negative or not finite; or the inputs have a mask, which
            a penalty has no use for.

    Example:

    >>> import numpy as np
    >>> class PowerPenalty(Penalty):
    ...     def penalty(self, z):
    ...         return ops.sum(ops.square(z), axis=-1)
    >>> layer = PowerPenalty(weight=0.5)
    >>> z = layer(np.ones((3, 4)))
    >>> float(layer.last_value.value), float(layer.losses[0])
    (4.0, 2.0)
    """

    signed = False

    def __init__(self, weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        low = -math.inf if self.signed else 0.0
        self.initial_weight = arguments.number("weight", weight, low)

    def build(self, input_shape: Shape | None = None) -> None:
        self.weight = self.add_state("weight", (), self.initial_weight)
        self.last_value = self.add_state("last_value", (), 0.0)

    @property
    def logs(self) -> dict[str, keras.Variable]:
        """What `RateDistortionModel` logs: names and variables."""
        return {self.name: self.last_value}

    def penalty(self, inputs: Tensor) -> Tensor:
        """The bare term in nats: a scalar, or one number for each example."""
        raise NotImplementedError(f"{type(self).__name__} must define `penalty`.")

    def call(
        self,
        inputs: Tensors,
        mask: Tensors | None = None,
        method: str | None = None,
    ) -> Tensor:
        if method is not None:
            return self.call_method(method, inputs)
        self.check_no_mask(mask)
        return self.add_terms(inputs)

    def check_no_mask(self, mask: Tensors | None) -> None:
        """Raises a ValueError if the inputs have one."""
        if first_mask(mask) is not None:
            raise ValueError(
                f"The inputs of {type(self).__name__} must have no mask: it compares "
                f"whole codes. Received: inputs with a mask"
            )

    def add_terms(self, inputs: Tensors) -> Tensor:
        """Adds the penalty to the loss; returns what the layer's call returns."""
        value = batch_mean(ops.cast(self.penalty(inputs), "float32"))
        self.log(self.last_value, value)
        self.add_loss(self.weight * value)
        return inputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight": self.initial_weight}
