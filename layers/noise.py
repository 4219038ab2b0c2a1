"""Noise on what an encoder sees, which makes a deterministic encoder random."""

import math

import keras
from keras import ops

from .channel import Seeded


@keras.saving.register_keras_serializable(package="echo_keras")
class InputNoise(Seeded):
    r"""Adds Gaussian noise that is cut off at a bound, in training only.

    Each value receives noise of standard deviation `bound` / 2, drawn again where it
    exceeds two standard deviations: \(|\nu| \le\) `bound`. Put it in front of an
    encoder without noise of its own, and q(z|x) is random without a density to measure
    or a parameter to learn. At inference inputs pass as they are.

    Args:
        bound: Float >= 0.
        seed: Int or None. The state of the generator is saved with the weights, so
            that a resumed run continues its noise.

    Inputs:
        x, any shape.

    Output:
        x with noise, of the same shape and dtype.

    Raises:
        ValueError: bound is negative or not finite.

    Example:

    >>> import numpy as np
    >>> x = InputNoise(0.01, seed=0)(np.ones((5, 3)), training=True)
    >>> bool(0.0 < np.abs(ops.convert_to_numpy(x) - 1.0).max() < 0.0101)
    True

    References:
        The Variational InfoMax Autoencoder, App. ("pixel-wise Gaussian noise truncated
        at 0.01"; that the bound is two standard deviations is our reading).
    """

    def __init__(self, bound=0.01, seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        if not 0 <= bound < math.inf:
            raise ValueError(f"bound must be a finite number >= 0; received {bound}.")
        self.bound = float(bound)

    def build(self, input_shape):
        pass

    def call(self, inputs, training=False):
        if not training or self.bound == 0.0:
            return inputs
        noise = keras.random.truncated_normal(
            ops.shape(inputs),
            stddev=self.bound / 2,
            dtype="float32",
            seed=self.seed_generator,
        )
        # On PyTorch four values in a million lie beyond.
        noise = ops.clip(noise, -self.bound, self.bound)
        return inputs + ops.cast(noise, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "bound": self.bound}
