"""Marginals m(z): what a rate is measured against and generation draws from."""

import math

import keras
from keras import ops

from .channel import Seeded, sum_over_code


@keras.saving.register_keras_serializable(package="echo_keras")
class StandardNormal(Seeded):
    r"""The marginal N(0, I), which has no weights.

    Any layer with `log_prob` and `sample` can stand in its place; `kl` is
    optional, for marginals that know their divergence from a diagonal Gaussian in
    closed form.

    Args:
        seed: Int or None, for `sample`.

    Inputs:
        z, shape (batch, ...). Calling the layer gives `log_prob(z)`.

    Example:

    >>> import numpy as np
    >>> marginal = StandardNormal()
    >>> marginal.log_prob(np.zeros((1, 2))).shape == (1,)  # -log(2 pi) nats
    True
    """

    def build(self, input_shape):
        self.code_shape = tuple(input_shape)[1:]

    def call(self, z):
        return self.log_prob(z)

    def log_prob(self, z):
        """log m(z) in nats, (batch, ...) -> (batch,)."""
        z = ops.cast(z, "float32")
        return -0.5 * sum_over_code(ops.square(z) + math.log(2 * math.pi))

    def kl(self, mean, log_var):
        """KL[N(mean, exp(log_var)) || m] in nats, (batch, ...) -> (batch,)."""
        return 0.5 * sum_over_code(ops.square(mean) + ops.exp(log_var) - log_var - 1.0)

    def sample(self, n):
        """Draws n codes: (n, ...). The layer must have been built."""
        return keras.random.normal((n, *self.code_shape), seed=self.seed_generator)
