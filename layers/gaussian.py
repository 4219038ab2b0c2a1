"""The Gaussian channel of variational autoencoders."""

import math
from typing import Any

import keras
from keras import ops

from . import arguments
from .beta import BetaRange, BetaRule
from .channel import Channel, Draw
from .channel_inputs import check_inputs, pair_shape
from .marginals import DENSITY, Laplace, Logistic, SpikeAndSlab, StandardNormal
from .numerics import log_normal, unmasked
from .symbolic import symbolic
from .typing import Shape, Tensor, Tensors


@keras.saving.register_keras_serializable(package="echo_keras")
class GaussianSample(Channel):
    """Gaussian channel: `z = mu(x) + sigma(x) N(0, I)`, or a flow of it.

    The rate is the upper bound `R = E KL[q(z|x) || m(z)] >= I(X; Z)`, which
    is loose by `KL[q(z) || m(z)]` (Echo paper, Eq. 6). With the standard normal
    marginal it has the closed form
    `1/2 sum_j (mu_j^2 + sigma_j^2 - log sigma_j^2 - 1)`. With a marginal
    that has no `kl` method, or with a flow, it is the one-sample Monte Carlo estimate
    `log q(z|x) - log m(z)` instead, whose mean over noise is R and which can be
    negative for an example.

    With a flow, an invertible map T, the code is
    `z = T(z_0)` with `z_0 = mu(x) + sigma(x) N(0, I)`, so that
    `log q(z|x) = log q_0(z_0|x) - log|det dz / dz_0|`.

    The layer adds noise in training and at inference alike; for a noiseless code
    use the mean, which is the layer's input.

    Args:
        marginal: Layer with `log_prob(z)` -> (batch,), `sample(n)` and optionally
            `kl(mean, log_var)` -> (batch,); the standard normal if None. See
            `Marginal`.
        noise_variance: Float > 0 or None. With a float the layer takes the mean
            alone and every dimension has this variance.
        beta: Float >= 0, weight on the rate, or a rule that moves it; see `Channel`.
        seed: Int or None; see `Channel`.
        flow: Layer with `transform(z, context=None)` -> (z, log-determinant), such
            as `IAFBlock`, or None. For `log_prob` it needs `inverse` as well.
        context: If True, the flow receives a context, the third input.
        free_bits: Float >= 0, nats of each dimension that cost nothing; see `Channel`.
            Only with the standard normal marginal and without a flow.

    Inputs:
        `[mean, log_var]`, two tensors of the same shape (batch, ...); or `mean`
        alone if `noise_variance` is given. The first axis is the batch and all
        others are noise dimensions. Next comes the flow's context, if it has one.
        What follows is handed to the marginal, as `log_prob(z, *rest)`: for a
        `VampPrior` the mean and log_var of the pseudo-inputs, (K, ...).

    Output:
        z, the shape of `mean`.

    Raises:
        ValueError: the number or the shapes of the inputs are not as above,
            noise_variance is not positive, there is a context without a flow or
            beside a fixed variance, or there are free_bits where the rate is no sum
            over dimensions.

    Example:

    >>> import numpy as np
    >>> channel = GaussianSample(seed=0)
    >>> z = channel([np.ones((5, 2)), np.zeros((5, 2))])
    >>> tuple(z.shape), float(channel.last_rate.value)  # nats: 2 x 1/2
    ((5, 2), 1.0)

    References:
        Kingma & Welling, Auto-Encoding Variational Bayes, App. B.
    """

    def __init__(
        self,
        marginal: keras.layers.Layer | None = None,
        noise_variance: float | None = None,
        beta: float | BetaRule | BetaRange = 1.0,
        seed: int | None = None,
        flow: keras.layers.Layer | None = None,
        context: bool = False,
        free_bits: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(beta=beta, seed=seed, **kwargs)
        # None takes [mean, log_var].
        self.noise_variance = arguments.number(
            "noise_variance", noise_variance, above=0, optional=True
        )
        self.context = context = arguments.flag("context", context)
        marginal = arguments.layer("marginal", marginal, DENSITY, optional=True)
        if marginal is None:
            marginal = StandardNormal(dtype=self.dtype_policy)
        self.marginal = marginal
        self.flow = flow = arguments.layer("flow", flow, ("transform",), optional=True)
        if context and (flow is None or noise_variance is not None):
            raise ValueError(
                f"context=True needs a flow, and no fixed noise_variance. "
                f"Received: flow={flow}, noise_variance={noise_variance}"
            )
        self._set_free_bits(free_bits)
        if self.free_bits and (flow or not isinstance(marginal, StandardNormal)):
            raise ValueError(
                f"free_bits must be 0 with a flow, or with another marginal than the "
                f"standard normal: the rate is then no sum over dimensions. Received: "
                f"free_bits={free_bits}, marginal={type(marginal).__name__}, "
                f"flow={flow}"
            )

    def build(self, input_shape: Shape | list[Shape]) -> None:
        super().build(input_shape)
        if self.noise_variance is None:
            shape = pair_shape(self, "[mean, log_var]", input_shape[:2])
            rest = [tuple(s) for s in input_shape[2:]]
        elif input_shape and isinstance(input_shape[0], (list, tuple)):
            raise ValueError(
                f"With a fixed noise_variance the input of GaussianSample must be the "
                f"mean alone. Received: {len(input_shape)} inputs"
            )
        else:
            shape, rest = tuple(input_shape), []
        self.code_shape = shape[1:]
        self.dims = None if None in shape[1:] else math.prod(shape[1:])
        flow_shape = shape
        if self.context:
            if not rest:
                raise ValueError(
                    "The inputs of GaussianSample with a context must be "
                    "[mean, log_var, context]. Received: 2 inputs"
                )
            flow_shape = [shape, rest.pop(0)]
        if self.flow is not None and not self.flow.built:
            self.flow.build(flow_shape)
        # A marginal of another library may not say what it takes.
        takes = getattr(self.marginal, "takes", None)
        if rest and takes is not None and len(rest) != len(takes):
            raise ValueError(
                f"{type(self.marginal).__name__} takes {len(takes)} inputs besides z, "
                f"and GaussianSample must have as many for it. Received: {len(rest)}"
            )
        if not self.marginal.built:
            self.marginal.build(shape, *rest)

    def check_takes_mask(self) -> None:
        independent = StandardNormal, Logistic, Laplace, SpikeAndSlab
        by_position = isinstance(self.marginal, independent)
        if self.flow is not None or not by_position:
            raise ValueError(
                f"A mask leaves out positions of a rate that is a sum over them: "
                f"marginal must be one of "
                f"{', '.join(kind.__name__ for kind in independent)}, without a flow. "
                f"Received: marginal={type(self.marginal).__name__}, flow={self.flow}"
            )

    @symbolic
    def draw(self, inputs: Tensors, echoes_from: str = "bank") -> Draw:
        """z, its rate and log q(z|x) - log m(z) at this z, both (batch,) in nats.

        Args:
            inputs: What the layer is called on.
            echoes_from: For `EchoSample`; of no effect here.
        """
        mean, log_var, rest = self._moments(inputs)
        context = rest.pop(0) if self.context else None
        noise = self.normal(ops.shape(mean))
        z = mean + ops.exp(0.5 * log_var) * noise
        log_q = log_normal(noise, log_var)
        if self.flow is not None:
            z, log_det = self.flow.transform(z, context=context)
            log_q = log_q - log_det
        rate = log_ratio = log_q - self.marginal.log_prob(z, *rest)
        if self.flow is None and hasattr(self.marginal, "kl"):
            rate = self.marginal.kl(mean, log_var)
        return Draw(ops.cast(z, self.compute_dtype), rate, log_ratio)

    def _step(self, inputs, training):
        parameters = self._moments(inputs)[2][self.context :]
        if parameters and hasattr(self.marginal, "keep"):
            self.marginal.keep(*parameters)
        return self.draw(inputs)

    @symbolic
    def rate(self, inputs: Tensors) -> Tensor:
        """The rate of each example in nats, shape (batch,).

        The KL divergence where it has a closed form: the marginal has a `kl` method
        and there is no flow. Otherwise estimated with one sample of z.
        """
        if self.flow is None and hasattr(self.marginal, "kl"):
            mean, log_var, _ = self._moments(inputs)
            return self.marginal.kl(mean, log_var)
        return self.draw(inputs).rate

    @symbolic
    def rate_by_dimension(self, inputs: Tensors) -> Tensor:
        """What each dimension adds to the rate of each example: nats, (batch, ...).

        Raises:
            ValueError: there is a flow, or another marginal than the standard normal:
                the rate is then not a sum over dimensions.
        """
        if self.flow is not None or not isinstance(self.marginal, StandardNormal):
            raise ValueError(
                "The rate is a sum over dimensions only without a flow and with a "
                "standard normal marginal."
            )
        mean, log_var, _ = self._moments(inputs)
        return unmasked(0.5 * (ops.square(mean) + ops.exp(log_var) - log_var - 1.0))

    @symbolic
    def log_prob(self, z: Tensor, inputs: Tensors) -> Tensor:
        """log q(z|x) of codes that may come from anywhere: nats, (batch,).

        Args:
            z: Codes (batch, ...), one for each example of the inputs. A flow takes
                them back by its `inverse`.
            inputs: What the layer is called on.

        Raises:
            ValueError: z has another shape than the mean.
        """
        mean, log_var, rest = self._moments(inputs)
        context = rest.pop(0) if self.context else None
        z, log_det = ops.cast(z, "float32"), 0.0
        pair_shape(self, "z and mean", [tuple(z.shape), tuple(mean.shape)])
        if self.flow is not None:
            z, log_det = self.flow.inverse(z, context=context)
        return log_normal((z - mean) * ops.exp(-0.5 * log_var), log_var) + log_det

    def capacity(self, variance: float | None = None) -> float:
        """The most nats a code can carry through noise of fixed variance.

        `1/2 d log (v / d)/sigma^2` for d dimensions, noise variance
        `sigma^2` and a summed variance of z of at most v, noise included: no law of
        z has more entropy than the normal of variance v / d. An upper bound on I(X; Z)
        of every model whose code keeps to v, however its encoder looks.

        Args:
            variance: Float, v >= d sigma^2; d if None, the summed variance of a
                standard normal.

        Returns:
            Float, nats per example. `capacity_bits` gives bits.

        Raises:
            ValueError: the noise has no fixed variance, the layer is not built, or v is
                less than the noise alone has.

        Example:

        >>> channel = GaussianSample(noise_variance=0.25)
        >>> channel.build((None, 16))
        >>> channel.capacity_bits()
        16.0

        References:
            Variance Constrained Autoencoding, Sec. 4 (I_bits).
        """
        if self.noise_variance is None:
            raise ValueError(
                "Only a channel with a fixed noise_variance has a capacity that is "
                "known without data; this one learns its variances."
            )
        if not self.built or self.dims is None:
            raise ValueError(
                "The capacity depends on the number of latent dimensions: build the "
                "layer on a known shape first."
            )
        variance = self.dims if variance is None else variance
        if not self.dims * self.noise_variance <= variance < math.inf:
            raise ValueError(
                f"variance must be finite and at least that of the noise, "
                f"{self.dims} x {self.noise_variance}. Received: variance={variance}"
            )
        return 0.5 * self.dims * math.log(variance / self.dims / self.noise_variance)

    def capacity_bits(self, variance: float | None = None) -> float:
        """The capacity in bits; see `capacity`."""
        return self.capacity(variance) / math.log(2)

    def sample(self, n: int) -> Tensor:
        """Draws n codes from the marginal m(z), for generation: (n, ...)."""
        return ops.cast(self.marginal.sample(n), self.compute_dtype)

    def _moments(self, inputs):
        """Mean and log-variance in float32, and a list of the inputs that follow."""
        if self.noise_variance is None:
            mean, log_var, *rest = (ops.cast(x, "float32") for x in inputs)
            if self.built:
                check_inputs(self, [mean, log_var], [self.code_shape] * 2)
            return mean, log_var, rest
        mean = ops.cast(inputs, "float32")
        if self.built:
            check_inputs(self, mean, [self.code_shape])
        return mean, ops.full_like(mean, math.log(self.noise_variance)), []

    def get_config(self) -> dict[str, Any]:
        flow = self.flow
        return {
            **super().get_config(),
            "marginal": keras.saving.serialize_keras_object(self.marginal),
            "noise_variance": self.noise_variance,
            "flow": None if flow is None else keras.saving.serialize_keras_object(flow),
            "context": self.context,
            "free_bits": self.free_bits,
        }
