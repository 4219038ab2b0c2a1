"""The Gaussian channel of variational autoencoders."""

import math

import keras
from keras import ops

from .channel import Channel, pair_shape, sum_over_code
from .marginals import StandardNormal


@keras.saving.register_keras_serializable(package="echo_keras")
class GaussianSample(Channel):
    r"""Gaussian channel: \(z = \mu(x) + \sigma(x)\, N(0, I)\).

    The rate is the upper bound \(R = E\,KL[q(z|x) \,\|\, m(z)] \ge I(X; Z)\), which
    is loose by \(KL[q(z) \,\|\, m(z)]\) (Echo paper, Eq. 6). With the standard normal
    marginal it has the closed form
    \(\tfrac12 \sum_j (\mu_j^2 + \sigma_j^2 - \log \sigma_j^2 - 1)\). A marginal
    without a `kl` method gives the one-sample Monte Carlo estimate
    \(\log q(z|x) - \log m(z)\) instead.

    The layer adds noise in training and at inference alike; for a noiseless code
    use the mean, which is the layer's input.

    Args:
        marginal: Layer with `log_prob(z)` -> (batch,), `sample(n)` and optionally
            `kl(mean, log_var)` -> (batch,); the standard normal if None.
        noise_variance: Float > 0 or None. With a float the layer takes the mean
            alone and every dimension has this variance.
        beta: Float >= 0, weight on the rate; see `Channel`.
        seed: Int or None; see `Channel`.

    Inputs:
        `[mean, log_var]`, two tensors of the same shape (batch, ...); or `mean`
        alone if `noise_variance` is given. The first axis is the batch and all
        others are noise dimensions.

    Output:
        z, the shape of `mean`.

    Raises:
        ValueError: the number or the shapes of the inputs are not as above, or
            noise_variance is not positive.

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
        self, marginal=None, noise_variance=None, beta=1.0, seed=None, **kwargs
    ):
        super().__init__(beta=beta, seed=seed, **kwargs)
        if noise_variance is not None and not 0 < noise_variance < math.inf:
            raise ValueError(
                f"noise_variance must be a finite number > 0, or None to take "
                f"[mean, log_var]; received {noise_variance}."
            )
        self.noise_variance = noise_variance
        if isinstance(marginal, dict):  # as `get_config` writes it
            marginal = keras.saving.deserialize_keras_object(marginal)
        self.marginal = StandardNormal() if marginal is None else marginal

    def build(self, input_shape):
        super().build(input_shape)
        if self.noise_variance is None:
            shape = pair_shape(self, "[mean, log_var]", input_shape)
        elif input_shape and isinstance(input_shape[0], (list, tuple)):
            raise ValueError(
                f"GaussianSample with a fixed noise_variance takes the mean alone; "
                f"received {len(input_shape)} inputs."
            )
        else:
            shape = tuple(input_shape)
        if not self.marginal.built:
            self.marginal.build(shape)

    def call(self, inputs):
        z, rate = self._draw(inputs)
        self.add_rate(rate)
        return ops.cast(z, self.compute_dtype)

    def rate(self, inputs):
        """The KL divergence of each example in nats, shape (batch,).

        With a marginal that has no closed form, estimated with one sample of z.
        """
        return self._draw(inputs)[1]

    def sample(self, n):
        """Draws n codes from the marginal m(z), for generation: (n, ...)."""
        return self.marginal.sample(n)

    def _draw(self, inputs):
        """A sample of z and the rate (batch,) that goes with it."""
        if self.noise_variance is None:
            mean, log_var = (ops.cast(x, "float32") for x in inputs)
        else:
            mean = ops.cast(inputs, "float32")
            log_var = ops.full_like(mean, math.log(self.noise_variance))
        noise = self.normal(ops.shape(mean))
        z = mean + ops.exp(0.5 * log_var) * noise
        if hasattr(self.marginal, "kl"):
            return z, self.marginal.kl(mean, log_var)
        log_q = -0.5 * (math.log(2 * math.pi) + log_var + ops.square(noise))
        return z, sum_over_code(log_q) - self.marginal.log_prob(z)

    def get_config(self):
        return {
            **super().get_config(),
            "marginal": keras.saving.serialize_keras_object(self.marginal),
            "noise_variance": self.noise_variance,
        }
