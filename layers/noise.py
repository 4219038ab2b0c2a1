"""Noise on an encoder's inputs, and beside them."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .base import Seeded
from .typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class InputNoise(Seeded):
    """Adds truncated Gaussian noise to its inputs, in training only.

    Each value receives noise of standard deviation `bound` / 2, truncated at two
    standard deviations: `|nu| <=` `bound`. In front of a deterministic encoder it
    makes q(z|x) stochastic, without a density and without parameters. At inference
    inputs pass unchanged.

    Args:
        bound: Float >= 0.
        seed: Int or None. The state of the generator is saved with the weights, so
            that a resumed run continues its noise.

    Inputs:
        x, any shape.

    Output:
        x with noise, of the same shape, in the layer's compute dtype.

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

    def __init__(
        self, bound: float = 0.01, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.bound = arguments.number("bound", bound, low=0)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        pass

    def call(self, inputs: Tensor, training: bool | None = False) -> Tensor:
        # Integers, which Keras leaves as they are, have no room for noise.
        inputs = ops.cast(inputs, self.compute_dtype)
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

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bound": self.bound}


@keras.saving.register_keras_serializable(package="echo_keras")
class AppendNoise(Seeded):
    """Appends channels of N(0, 1) noise to its inputs: [x, e].

    In front of the layers of an encoder it makes the encoder implicit,
    `z = f([x, e])`: q(z|x) is whatever law f makes of the noise, with any number of
    modes, and has no density to compute. There is then no rate, and only objectives
    that need none can train it, such as `aae` and `wae`. Noise is drawn in training
    and at inference.

    Args:
        units: Int >= 1, channels of noise.
        seed: Int or None. The state of the generator is saved with the weights.

    Inputs:
        x, shape (batch, ..., channels).

    Output:
        [x, e], shape (batch, ..., channels + units), in the layer's compute dtype.

    Raises:
        ValueError: units is not an integer >= 1.

    Example:

    >>> import numpy as np
    >>> tuple(AppendNoise(3, seed=0)(np.ones((5, 8))).shape)
    (5, 11)

    References:
        BIB-AE paper, Sec. 3, form (iii) of a stochastic encoder. Makhzani et al.,
        Adversarial Autoencoders (2015), Sec. 2, "universal approximator posterior".
    """

    def __init__(self, units: int, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.units = arguments.integer("units", units)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        pass

    def call(self, inputs: Tensor) -> Tensor:
        inputs = ops.cast(inputs, self.compute_dtype)  # as above
        shape = (*ops.shape(inputs)[:-1], self.units)
        noise = keras.random.normal(shape, dtype="float32", seed=self.seed_generator)
        return ops.concatenate([inputs, ops.cast(noise, inputs.dtype)], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        *rest, channels = input_shape
        return (*rest, None if channels is None else channels + self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
