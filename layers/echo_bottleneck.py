"""Dense heads and an Echo channel."""

import math
from typing import Any

import keras
from keras import ops

from . import arguments
from .beta import BetaRange, BetaRule
from .bottleneck import Bottleneck
from .channel import Draw
from .echo import EchoSample
from .scaled_dense import ScaledDense
from .standardize import Standardize
from .symbolic import symbolic
from .typing import Shape, Tensor

PARAMETRIZATIONS = ("scaled", "standardized", "paper", "published_code")
# Of f = tanh(head / width) and log s = log-sigmoid(head).
TANH_WIDTHS = {"paper": 16.0, "published_code": 64.0}


@keras.saving.register_keras_serializable(package="echo_keras")
class EchoBottleneck(Bottleneck):
    r"""Dense heads for f and log s, then `EchoSample`.

    Four parametrizations, for a diagonal S with the same number of trainable weights,
    2 (features + 1) units:

    - "scaled": f is the output of a `ScaledDense`, which starts at unit scale whatever
      the scale of the features is, clipped at +-10. log s is the linear output of its
      head, which starts at half of its bound. Both clips let gradients that lead back
      inside pass. The decoder receives z as it is: training and inference are the same
      model, at any batch size.
    - "standardized": f is the tanh of its head, and z is brought to mean 0 and
      variance 1 in each dimension by batch normalization without weights, which leaves
      the rate as it is. It learns fastest in the first thousand steps. But training
      and inference are two models: in training the statistics of the batch add noise
      that inference lacks, the more the smaller the batch and the more precise the
      code. (A batch of one example is divided by the running statistics.)
    - "paper": f = tanh(head / 16), log s = log-sigmoid(head), and z as it comes
      (Echo paper, App. B). A model so parametrized stays at its lowest rate for
      many epochs: the sigmoid saturates there, and the decoder learns slowly
      because z is small, a few hundredths at initialization.
    - "published_code": the same with tanh(head / 64), as in the paper's code.

    With scale="triangular" a third head gives what lies below the diagonal of S.

    Args:
        units: Int >= 1, number of latent dimensions.
        parametrization: "scaled", "standardized", "paper" or "published_code".
        max_magnitude: Float > 0, see `EchoSample`; None for 10 with "scaled", else 1.
        d_max, sampling, multiplicative, bank_size, beta, seed, scale,
            synchronized, free_bits: See `EchoSample`.
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
        Echo paper (Brekelmans et al. 2019), App. B and E. "scaled" and "standardized"
        are additions of this library; the published code has a linear f clipped at 10
        among its configurations.
    """

    noise_by_beta = 0.5  # log s, half of a log-variance

    def __init__(
        self,
        units: int,
        parametrization: str = "scaled",
        *,
        d_max: int = 99,
        max_magnitude: float | None = None,
        sampling: str = "cyclic",
        multiplicative: bool = False,
        bank_size: int | None = None,
        beta: float | BetaRule | BetaRange = 1.0,
        seed: int | None = None,
        scale: str = "diagonal",
        synchronized: bool = True,
        free_bits: float = 0.0,
        name: str | None = None,
        trainable: bool = True,
        dtype: keras.DTypePolicy | str | None = None,
    ) -> None:
        super().__init__(units, name=name, trainable=trainable, dtype=dtype)
        self.parametrization = arguments.choice(
            "parametrization", parametrization, PARAMETRIZATIONS
        )
        linear = parametrization == "scaled"
        if parametrization == "standardized" and isinstance(
            arguments.restored(beta), BetaRange
        ):
            raise ValueError(
                "parametrization must not be 'standardized' with a BetaRange: its "
                "statistics would be those of all betas together. Received: "
                f"parametrization={parametrization!r}"
            )
        if max_magnitude is None:
            max_magnitude = 10.0 if linear else 1.0
        self.channel = EchoSample(
            d_max=d_max,
            max_magnitude=max_magnitude,
            sampling=sampling,
            multiplicative=multiplicative,
            bank_size=bank_size,
            beta=beta,
            seed=seed,
            scale=scale,
            synchronized=synchronized,
            free_bits=free_bits,
            dtype=self.dtype_policy,
            name="channel",
        )
        # A linear log s starts at half of its bound r, as the sigmoid does.
        bias = 0.0 if parametrization in TANH_WIDTHS else math.log(0.5)
        self.heads = [
            self.head("f", kind=ScaledDense, synchronized=synchronized)
            if linear
            else self.head("f"),
            self.head("log_s", bias_initializer=keras.initializers.Constant(bias)),
        ]
        if self.channel.scale == "triangular":
            entries = self.units * (self.units - 1) // 2
            self.heads.append(self.head("lower", entries))
        self.standardize = None
        if parametrization == "standardized":
            self.standardize = Standardize(
                synchronized, dtype=self.dtype_policy, name="standardize"
            )

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        if self.standardize is not None:
            self.standardize.build((*input_shape[:-1], self.units))

    @symbolic
    def encode(self, features: Tensor) -> list[Tensor]:
        """[f, log s / r], and `lower` of a triangular S, float32."""
        f, log_s, *lower = super().encode(features)
        if self.parametrization in TANH_WIDTHS:
            f = f / TANH_WIDTHS[self.parametrization]
            log_s = ops.log_sigmoid(log_s)
        return [f if self.parametrization == "scaled" else ops.tanh(f), log_s, *lower]

    @symbolic
    def code(self, features: Tensor) -> Tensor:
        """The mean code E[z|x], standardized if z is; see `EchoSample.mean`."""
        return self._as_z(self.channel.mean(self.encode(features)))

    @symbolic
    def signal(self, features: Tensor) -> Tensor:
        """f(x), z without noise, standardized if z is; see `EchoSample.code`."""
        return self._as_z(self.channel.code(self.encode(features)[0]))

    def _draw_code(self, features, training, mask, beta=None):
        z = super()._draw_code(features, training, mask, beta)
        if self.standardize is None:
            return z
        return self.standardize(z, training=training, mask=mask)

    @symbolic
    def draw(self, features: Tensor, echoes_from: str = "bank") -> Draw:
        draw = super().draw(features, echoes_from)
        return draw._replace(z=self._as_z(draw.z))

    def sample(self, n: int) -> Tensor:
        return self._as_z(super().sample(n))

    def _as_z(self, z):
        return z if self.standardize is None else self.standardize(z)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "parametrization": self.parametrization}
