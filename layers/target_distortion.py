"""The least rate at which reconstructions are as good as is asked for."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .base import batch_mean
from .beta import TargetRate
from .channel import is_collecting
from .penalty import Penalty
from .replicas import replica_mean
from .typing import Shape, Tensor, Tensors


@keras.saving.register_keras_serializable(package="echo_keras")
class TargetDistortion(Penalty):
    r"""Holds the distortion at a target: a Lagrange multiplier on it (GECO).

    To minimise the rate subject to `D <= D^*` is to find the saddle point of
    `R + lambda (D - D^*)`. The layer stands behind the decoder, of a model whose
    distortion is compiled with weight 1 and whose channels have beta 1. To the loss
    R + D it adds `(lambda - 1) D`, and each training call moves lambda:

    `log lambda <- log lambda + eta clip((D_mean - D*) / D*, -1, 1)`

    where `D_mean` is the moving average of the batches' distortions, which starts at
    the target. lambda is the weight of the layer, logged under its name; where it comes
    to rest, 1 / lambda is the beta at which a model has this distortion. A target that
    is out of reach takes lambda to its highest value.

    Args:
        distortion: Float > 0, the target `D^*` in nats per example.
        loss: Loss that gives nats of each example, the one that is compiled, such as
            `echo_keras.losses.Bernoulli()`.
        step_size: Float > 0, eta, the largest change of log lambda in a call.
        initial: Float in [low, high], lambda before the first training call.
        smoothing: Float in [0, 1), the share of the old average kept at each call.
        low, high: Floats, 0 < low < high, the bounds of lambda.

    Inputs:
        `[x, x_hat]`: the data, and what the decoder makes of its code.

    Output:
        x_hat, of its own dtype.

    Sample weights (batch,) weigh the distortion here as in the compiled loss. Weights
    of the data's shape do not reach the layer: `RateDistortionModel` refuses them.

    Raises:
        ValueError: an argument is out of range, or loss does not give one number of
            each example.

    Example:

    >>> import numpy as np
    >>> from echo_keras.losses import SquaredError
    >>> layer = TargetDistortion(4.0, SquaredError(), step_size=0.1, smoothing=0.0)
    >>> x_hat = layer([np.zeros((5, 2)), np.ones((5, 2))], training=True)  # D = 2
    >>> round(float(layer.weight.value), 4)  # exp(0.1 (2 - 4) / 4)
    0.9512
    >>> round(float(layer.losses[0]), 4)  # (lambda - 1) D
    -0.0975

    References:
        Rezende & Viola, Taming VAEs (2018), Sec. 2 and Algorithm 1; Echo paper, Sec. 4,
        on targets for the distortion.
    """

    def __init__(
        self,
        distortion: float,
        loss: keras.losses.Loss,
        step_size: float = 0.01,
        initial: float = 1.0,
        smoothing: float = 0.9,
        low: float = 1e-4,
        high: float = 1e4,
        **kwargs: Any,
    ) -> None:
        distortion = arguments.number("distortion", distortion, above=0)
        # The control loop is that of a target rate.
        rule = TargetRate(distortion, step_size, initial, smoothing, low, high)
        # No autocast: half precision would round the data, and the model's output.
        super().__init__(weight=initial, autocast=False, **kwargs)
        self.distortion, self.rule = distortion, rule
        self.loss = arguments.restored(loss)
        own = type(self.loss).__module__.split(".")[0] != "keras"
        if not (isinstance(self.loss, keras.losses.Loss) and own):
            raise ValueError(
                "loss must be one that gives nats of each example, such as "
                "echo_keras.losses.Bernoulli(); those of Keras are means over the last "
                f"axis. Received: loss={loss!r}"
            )

    def build(self, input_shape: list[Shape]) -> None:
        super().build(input_shape)
        self.average = self.add_state("average", (), self.distortion)

    @property
    def logs(self) -> dict[str, keras.Variable]:
        """What `RateDistortionModel` logs: lambda."""
        return {self.name: self.weight}

    def penalty(self, inputs: Tensors) -> Tensor:
        """The distortion of each example in nats, (batch,)."""
        x, x_hat = inputs
        nats = self.loss.call(x, x_hat)
        if len(nats.shape) != 1:
            raise ValueError(
                "loss must give one number of each example, (batch,). Received: "
                f"loss={self.loss!r}, which gives the shape {tuple(nats.shape)}"
            )
        return nats

    def call(
        self,
        inputs: Tensors,
        training: bool | None = None,
        mask: Tensors | None = None,
        method: str | None = None,
    ) -> Tensor:
        if method is not None:
            return self.call_method(method, inputs)
        self.check_no_mask(mask)
        value = batch_mean(self.penalty(inputs))
        self.log(self.last_value, value)
        # As a channel's rule: it sees one distortion for each step, the sum over its
        # calls, and a later call takes back what the one before has added.
        seen = self.of_step()
        value = value + seen.get("value", 0.0)
        learns = training and self.trainable and not is_collecting()
        weight = self._next_weight(value, seen) if learns else self.weight
        term = (weight - 1.0) * value
        self.add_loss(term - seen.get("term", 0.0))
        seen["value"], seen["term"] = value, term
        return inputs[1]

    def _next_weight(self, value, seen):
        """lambda after it has seen the distortion of the batch."""
        if "before" not in seen:
            # Copies: PyTorch's backward pass must not find a variable changed.
            seen["before"] = [
                ops.copy(ops.convert_to_tensor(v)) for v in (self.weight, self.average)
            ]
        before, average = seen["before"]
        value = replica_mean(ops.stop_gradient(value))
        weight, state = self.rule.update(before, value, average)
        self.weight.assign(weight)
        self.average.assign(state["average"])
        return weight

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        return input_shape[1]

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), **self.rule.get_config()}
        del config["weight"], config["rate"]
        loss = keras.saving.serialize_keras_object(self.loss)
        return {**config, "distortion": self.distortion, "loss": loss}
