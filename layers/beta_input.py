"""Beta as an input: one model is trained at many weights on the rate."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .base import Seeded
from .beta import BetaRange
from .channel import is_collecting
from .replicas import same_noise
from .typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class BetaInput(Seeded):
    """Gives the beta of each example: drawn in training, one number at inference.

    In training log beta is uniform, between log low and log high or on the levels of a
    `BetaRange`. At inference every example has the beta that the layer's weight `beta`
    holds, `layer.beta.assign(0.5)`, and in training too if `trainable` is False. What
    the layer gives goes to `RateGate` layers and to the channel, `channel(inputs,
    beta=beta)`.

    Args:
        betas: `BetaRange`, or None for that from 0.1 to 10.
        per: "batch", one beta for all examples of a batch, which channels with a memory
            (`EchoSample`, `VectorQuantizer`) need; or "example", one for each.
        warmup: Int >= 0, training batches in which the upper end of the range rises
            from its lower end. A high beta at the beginning has the code give up
            dimensions that a low one never gets back: choose a quarter of the training.
        seed: Int or None; the state of the generator is saved with the weights.

    Inputs:
        Tensor (batch, ...), of which the number of examples alone counts.

    Output:
        beta, float32, (1, 1) or (batch, 1).

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> import numpy as np
    >>> layer = BetaInput(BetaRange(0.1, 10.0, levels=3), seed=0)
    >>> layer.betas.values.round(3).tolist()
    [0.1, 1.0, 10.0]
    >>> float(layer(ops.ones((5, 2)))[0, 0])  # at inference
    1.0
    >>> beta = float(layer(ops.ones((5, 2)), training=True)[0, 0])
    >>> bool(np.isclose(beta, layer.betas.values).any())
    True

    References:
        Bae et al., Multi-Rate VAE: Train Once, Get the Full Rate-Distortion Curve
        (ICLR 2023).
    """

    def __init__(
        self,
        betas: BetaRange | None = None,
        per: str = "batch",
        warmup: int = 0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, autocast=False, **kwargs)
        betas = arguments.restored(betas)
        betas = BetaRange() if betas is None else betas
        if not isinstance(betas, BetaRange):
            raise ValueError(
                f"betas must be a BetaRange or None. Received: betas={betas!r}"
            )
        self.betas = betas
        self.per = arguments.choice("per", per, ("batch", "example"))
        self.warmup = arguments.integer("warmup", warmup, 0, 2**24)

    def build(self, input_shape: Shape) -> None:
        self.beta = self.add_weight(
            name="beta",
            shape=(),
            initializer=keras.initializers.Constant(self.betas.middle),
            dtype="float32",
            autocast=False,
            trainable=False,
        )
        self.seen = self.add_weight(
            name="seen",
            shape=(),
            initializer="zeros",
            dtype="float32",
            autocast=False,
            trainable=False,
        )

    def call(self, inputs: Tensor, training: bool | None = False) -> Tensor:
        rows = 1 if self.per == "batch" else ops.shape(inputs)[0]
        if not training or not self.trainable or is_collecting():
            return self.beta * ops.ones((rows, 1), dtype="float32")
        with same_noise(self.per == "batch"):
            u = keras.random.uniform(
                (rows, 1), dtype="float32", seed=self.seed_generator
            )
        if self.warmup:
            seen = ops.minimum(self.seen + 1.0, float(self.warmup))
            self.seen.assign(seen)
            u = u * seen / self.warmup
        return self.betas.at(u)

    def compute_output_spec(
        self, inputs: Tensor, training: bool | None = False
    ) -> keras.KerasTensor:
        rows = 1 if self.per == "batch" else inputs.shape[0]
        return keras.KerasTensor((rows, 1), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        betas = keras.saving.serialize_keras_object(self.betas)
        return {
            **super().get_config(),
            "betas": betas,
            "per": self.per,
            "warmup": self.warmup,
        }
