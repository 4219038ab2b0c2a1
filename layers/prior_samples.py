"""Draws from a prior as a layer."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .base import Seeded
from .marginals import StandardNormal
from .typing import Shape, Tensor, Tensors


@keras.saving.register_keras_serializable(package="echo_keras")
class PriorSamples(Seeded):
    """Draws from a prior, one for each example of the inputs, for a decoder.

    Args:
        units: Int >= 1, number of latent dimensions.
        prior: Layer with `sample(n)`; the standard normal if None. See `Marginal`.
        seed: Int or None, for the draws from the standard normal.

    Inputs:
        Tensor (batch, ...), of which only the size of the batch matters.

    Output:
        z, shape (batch, units).

    Raises:
        ValueError: units is not an integer >= 1.

    Example:

    >>> import numpy as np
    >>> tuple(PriorSamples(3, seed=0)(np.zeros((5, 28, 28, 1))).shape)
    (5, 3)

    References:
        BIB-AE paper, Sec. 2.3.
    """

    def __init__(
        self,
        units: int,
        prior: keras.layers.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.units = arguments.integer("units", units)
        prior = arguments.layer("prior", prior, ("sample",), optional=True)
        self.prior = StandardNormal(seed=seed) if prior is None else prior

    def build(self, input_shape: Shape) -> None:
        if not self.prior.built:
            self.prior.build((None, self.units))

    def call(self, inputs: Tensors) -> Tensor:
        return ops.cast(self.prior.sample(ops.shape(inputs)[0]), self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "prior": keras.saving.serialize_keras_object(self.prior),
        }
