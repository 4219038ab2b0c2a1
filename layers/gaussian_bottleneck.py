"""Dense heads and a Gaussian channel."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .beta import BetaRange, BetaRule
from .bottleneck import Bottleneck
from .gaussian import GaussianSample
from .numerics import log_softplus
from .symbolic import symbolic
from .typing import Shape, Tensor, Tensors


@keras.saving.register_keras_serializable(package="echo_keras")
class GaussianBottleneck(Bottleneck):
    """Dense heads for mean and log-variance, then `GaussianSample`.

    With a fixed noise variance there is a head for the mean alone. With a `VampPrior`
    as marginal the heads are applied to the encoder's features of the pseudo-inputs
    as well. With `context=True` the flow's context is the features, or with
    `context_units` what a third head makes of them.

    Args:
        units: Int >= 1, number of latent dimensions.
        variance_activation: What the second head v gives: "exp",
            `sigma^2 = e^v`, so that v is the log-variance; or "softplus",
            `sigma^2 = log(1 + e^v)`, which grows no faster than v.
        context_units: Int >= 1 or None: size of the flow's context, from a head of its
            own as in Kingma et al. (2016). Beside `context=True` only.
        marginal, noise_variance, beta, seed, flow, context, free_bits: See
            `GaussianSample`.
        name, trainable, dtype: As in every Keras layer.

    Inputs:
        Features, shape (batch, ..., channels); or `[features, pseudo_features]`, the
        second (K, ..., channels).

    Output:
        z, shape (batch, ..., units).

    Raises:
        ValueError: units is not an integer >= 1, variance_activation is unknown, or
            is "softplus" beside a fixed variance, there are context_units without a
            context, or the inputs are not as above.

    Example:

    >>> import numpy as np
    >>> z = GaussianBottleneck(32)(np.ones((10, 256)))
    >>> tuple(z.shape)
    (10, 32)

    References:
        Fixing a Broken ELBO, App. F.1 (softplus). Variance Constrained Autoencoding,
        App. B (VAE + IAF, whose context has as many units as the code).
    """

    noise_by_beta = 1.0  # log_var, as of a linear model

    def __init__(
        self,
        units: int,
        variance_activation: str = "exp",
        context_units: int | None = None,
        *,
        marginal: keras.layers.Layer | None = None,
        noise_variance: float | None = None,
        beta: float | BetaRule | BetaRange = 1.0,
        seed: int | None = None,
        flow: keras.layers.Layer | None = None,
        context: bool = False,
        free_bits: float = 0.0,
        name: str | None = None,
        trainable: bool = True,
        dtype: keras.DTypePolicy | str | None = None,
    ) -> None:
        super().__init__(units, name=name, trainable=trainable, dtype=dtype)
        arguments.choice(
            "variance_activation", variance_activation, ("exp", "softplus")
        )
        self.channel = GaussianSample(
            marginal=marginal,
            noise_variance=noise_variance,
            beta=beta,
            seed=seed,
            flow=flow,
            context=context,
            free_bits=free_bits,
            dtype=self.dtype_policy,
            name="channel",
        )
        self.variance_activation = variance_activation
        self.heads = [self.head("mean")]
        if self.channel.noise_variance is None:
            self.heads.append(self.head("log_var"))
        elif variance_activation != "exp":
            raise ValueError(
                f"variance_activation must be 'exp' with a fixed noise_variance, where "
                f"no head gives the variance. "
                f"Received: variance_activation={variance_activation!r}"
            )
        context_units = arguments.integer("context_units", context_units, optional=True)
        self.context_units = context_units
        self.context_head = None
        if context_units is not None:
            if not self.channel.context:
                raise ValueError(
                    f"context_units must be None without context=True. "
                    f"Received: context_units={context_units}"
                )
            self.context_head = self.head("context", context_units)

    def build(self, input_shape: Shape | list[Shape]) -> None:
        is_list = input_shape and isinstance(input_shape[0], (list, tuple))
        shapes = [tuple(s) for s in (input_shape if is_list else [input_shape])]
        if len(shapes) > 2:
            raise ValueError(
                f"The input of GaussianBottleneck must be features or "
                f"[features, pseudo_features]. Received: {len(shapes)} inputs"
            )
        for head in self.heads:
            head.build(shapes[0])
        self.build_slope()
        context = shapes[:1] if self.channel.context else []
        if self.context_head is not None:
            self.context_head.build(shapes[0])
            context = [(*shapes[0][:-1], self.context_units)]
        code, *pseudo = [(*s[:-1], self.units) for s in shapes]
        if self.channel.noise_variance is not None:
            self.channel.build([code, *pseudo] if pseudo else code)
            return
        self.channel.build([code, code, *context, *pseudo, *pseudo])

    @symbolic
    def encode(self, features: Tensors) -> Tensors:
        """The channel's inputs, float32: mean, log_var, context, and the marginal's.

        With a fixed noise variance the mean alone, not in a list.
        """
        is_list = isinstance(features, (list, tuple))
        features, *pseudo = features if is_list else [features]
        if self.channel.noise_variance is not None:
            return super().encode(features)[0]
        inputs = self._moments(features)
        if self.channel.context:
            head = self.context_head
            context = features if head is None else head(features)
            inputs.append(ops.cast(context, "float32"))
        for others in pseudo:
            inputs += self._moments(others)
        return inputs

    def _moments(self, features):
        """[mean, log_var], float32, of an encoder's features."""
        mean, log_var = super().encode(features)
        if self.variance_activation == "softplus":
            log_var = log_softplus(log_var)
        return [mean, log_var]

    @symbolic
    def code(self, features: Tensors) -> Tensor:
        """The noiseless code: the mean, through the flow if there is one."""
        inputs = self.encode(features)
        if self.channel.noise_variance is not None:
            inputs = [inputs]
        if self.channel.flow is None:
            return inputs[0]
        context = inputs[2] if self.channel.context else None
        return self.channel.flow.transform(inputs[0], context=context)[0]

    @symbolic
    def log_prob(self, z: Tensor, features: Tensors) -> Tensor:
        """log q(z|x) of given codes in nats, (batch,); see the channel's `log_prob`."""
        return self.channel.log_prob(z, self.encode(features))

    def compute_output_shape(self, input_shape: Shape | list[Shape]) -> Shape:
        if isinstance(input_shape[0], (list, tuple)):
            input_shape = input_shape[0]
        return super().compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "variance_activation": self.variance_activation,
            "context_units": self.context_units,
        }
