"""Dense heads and an Echo channel."""

import math
from typing import Any

import keras
from keras import ops

from .beta import BetaRule
from .bottleneck import Bottleneck
from .channel import Draw
from .echo import EchoSample
from .typing import Shape, Tensor

PARAMETRIZATIONS = ("standardized", "paper")


@keras.saving.register_keras_serializable(package="echo_keras")
def tanh16(x: Tensor) -> Tensor:
    """tanh(x / 16): bounded by 1, linear over a wider range than tanh.

    The activation of f in the Echo paper, App. B.

    Example:

    >>> round(float(tanh16(ops.convert_to_tensor(8.0))), 3)  # tanh 0.5
    0.462
    """
    return ops.tanh(x / 16.0)


@keras.saving.register_keras_serializable(package="echo_keras")
class EchoBottleneck(Bottleneck):
    r"""Dense heads for f and log s, then `EchoSample`.

    Two parametrizations, for a diagonal S with the same number of trainable weights,
    2 (features + 1) units:

    - "standardized": f is the tanh of its head. log s is the linear output of its
      head, clipped to its bound by `EchoSample`, whose clip lets gradients that
      lead back inside pass. z is brought to mean 0 and variance 1 in each
      dimension by batch normalisation without weights, which is invertible and
      leaves the rate as it is.
    - "paper": f = tanh(head / 16), log s = log-sigmoid(head), and z as it comes
      (Echo paper, App. B). A model so parametrized stays at its lowest rate for
      many epochs: the sigmoid saturates there, and the decoder learns slowly
      because z is small, a few hundredths at initialization.

    With scale="triangular" a third head gives what lies below the diagonal of S.

    Args:
        units: Int >= 1, number of latent dimensions.
        parametrization: "standardized" or "paper".
        d_max, max_magnitude, sampling, multiplicative, bank_size, beta, seed, scale:
            See `EchoSample`.
        name, trainable, dtype: As in every Keras layer.

    Inputs:
        Features, shape (batch, ..., channels).

    Output:
        z, shape (batch, ..., units).

    Raises:
        ValueError: units is not an integer >= 1, or parametrization is unknown.

    Example:

    >>> import numpy as np
    >>> z = EchoBottleneck(32, d_max=99)(np.ones((100, 256)), training=True)
    >>> tuple(z.shape)
    (100, 32)

    References:
        Echo paper (Brekelmans et al. 2019), App. B and E.
    """

    def __init__(
        self,
        units: int,
        parametrization: str = "standardized",
        *,
        d_max: int = 99,
        max_magnitude: float = 1.0,
        sampling: str = "cyclic",
        multiplicative: bool = False,
        bank_size: int | None = None,
        beta: float | BetaRule = 1.0,
        seed: int | None = None,
        scale: str = "diagonal",
        name: str | None = None,
        trainable: bool = True,
        dtype: keras.DTypePolicy | str | None = None,
    ) -> None:
        super().__init__(units, name=name, trainable=trainable, dtype=dtype)
        if parametrization not in PARAMETRIZATIONS:
            raise ValueError(
                f"parametrization must be one of {', '.join(PARAMETRIZATIONS)}. "
                f"Received: parametrization={parametrization!r}"
            )
        self.parametrization = parametrization
        self.channel = EchoSample(
            d_max=d_max,
            max_magnitude=max_magnitude,
            sampling=sampling,
            multiplicative=multiplicative,
            bank_size=bank_size,
            beta=beta,
            seed=seed,
            scale=scale,
            dtype=self.dtype_policy,
            name="channel",
        )
        standardized = parametrization == "standardized"
        # The standardized s starts at half of its bound r, as the sigmoid does.
        bias = math.log(0.5) if standardized else 0.0
        self.heads = [
            self.head("f"),
            self.head("log_s", bias_initializer=keras.initializers.Constant(bias)),
        ]
        if self.channel.scale == "triangular":
            entries = units * (units - 1) // 2
            self.heads.append(self.head("lower", entries))
        self.standardize = None
        if standardized:
            # A short memory: the scale of f changes fast in the first epoch.
            self.standardize = keras.layers.BatchNormalization(
                momentum=0.9,
                center=False,
                scale=False,
                dtype=self.dtype_policy,
                name="standardize",
            )

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        if self.standardize is not None:
            self.standardize.build((*input_shape[:-1], self.units))

    def encode(self, features: Tensor) -> list[Tensor]:
        """[f, log s / r], and `lower` of a triangular S, float32."""
        f, log_s, *lower = super().encode(features)
        if self.standardize is None:
            return [tanh16(f), ops.log_sigmoid(log_s), *lower]
        return [ops.tanh(f), log_s, *lower]

    def code(self, features: Tensor) -> Tensor:
        """The noiseless code: f(x), standardized as z is."""
        f = self.channel.code(self.encode(features)[0])
        return f if self.standardize is None else self.standardize(f)

    def call(self, features: Tensor, training: bool | None = False) -> Tensor:
        z = super().call(features, training=training)
        if self.standardize is None:
            return z
        return self.standardize(z, training=training)

    def draw(self, features: Tensor, echoes_from: str = "bank") -> Draw:
        draw = super().draw(features, echoes_from)
        if self.standardize is None:
            return draw
        return draw._replace(z=self.standardize(draw.z))

    def sample(self, n: int) -> Tensor:
        z = super().sample(n)
        return z if self.standardize is None else self.standardize(z)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "parametrization": self.parametrization}
