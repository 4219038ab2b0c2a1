"""Layers that add a weighted term to the loss and remember its bare value."""

import math

import keras
from keras import ops


class LossTerm(keras.layers.Layer):
    """Base class: state that Keras saves but neither trains nor casts."""

    def add_state(self, name, shape, value):
        """A float32 weight that neither the optimizer nor autocasting touches.

        Each replica of a `tf.distribute` strategy updates its own copy, and the
        first one's is read and saved. To aggregate instead would make the replicas
        wait for each other inside `call`, where Keras then mixes up their losses.
        """
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=keras.initializers.Constant(value),
            dtype="float32",
            autocast=False,
            trainable=False,
        )

    def check_weight(self, name, value):
        """Returns `value` as a float, or raises a ValueError that names it."""
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be a finite number >= 0; received {value}.")
        return float(value)


class Penalty(LossTerm):
    """Base class of the layers that penalise what passes through them.

    The output is the input. The loss grows by `weight` x the mean of
    `penalty(inputs)`, which a subclass gives in nats per example, as one number or
    of shape (batch,). As in a channel, two scalars can be reached from outside:
    `weight`, a variable that a callback can change (`layer.weight.assign(2.0)`),
    and `last_value`, the bare term of the last batch, which
    `echo_keras.RateDistortionModel` logs under the layer's name.

    Args:
        weight: Float >= 0, the initial weight of the term. A subclass may set the class
            attribute `signed`, and then takes negative ones as well.

    Raises:
        ValueError: weight is negative or not finite.

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

    def __init__(self, weight=1.0, **kwargs):
        super().__init__(**kwargs)
        size = abs(weight) if self.signed else weight
        self.initial_weight = math.copysign(self.check_weight("weight", size), weight)

    def build(self, input_shape=None):
        self.weight = self.add_state("weight", (), self.initial_weight)
        self.last_value = self.add_state("last_value", (), 0.0)

    @property
    def logs(self):
        """What `RateDistortionModel` logs: names and variables."""
        return {self.name: self.last_value}

    def penalty(self, inputs):
        raise NotImplementedError(f"{type(self).__name__} must define `penalty`.")

    def call(self, inputs):
        value = ops.mean(ops.cast(self.penalty(inputs), "float32"))
        self.last_value.assign(value)
        self.add_loss(self.weight * value)
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "weight": self.initial_weight}
