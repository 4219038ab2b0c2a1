"""Draws from the marginals of codes, by shuffling them over the batch."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .base import Seeded
from .typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class ShuffledCodes(Seeded):
    r"""Draws from \(\prod_g q(z_g)\), the marginals of a batch's codes, for a decoder.

    Each sub-vector is shuffled over the batch with a permutation of its own. Of
    quantized codes these are draws from the codebook's own law, each group of codewords
    by its frequency and with the dither, as `VectorQuantizer.sample` gives them, while
    the codebook still moves. No gradient leads back to the codes.

    Args:
        groups: Int >= 1, into how many sub-vectors of equal width a code is cut; None
            for one for each dimension.
        seed: Int or None, of the shuffles.

    Inputs, output:
        z, shape (batch, d).

    Raises:
        ValueError: groups is not an integer >= 1, or does not divide d.

    Example:

    >>> import numpy as np
    >>> z = np.arange(12.0).reshape(3, 4)
    >>> shuffled = ops.convert_to_numpy(ShuffledCodes(groups=2, seed=0)(z))
    >>> np.sort(shuffled, axis=0).tolist() == z.tolist()
    True

    References:
        BIB-AE paper, Eq. 36 and footnote 10.
    """

    def __init__(
        self, groups: int | None = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.groups = arguments.integer("groups", groups, optional=True)

    def build(self, input_shape: Shape) -> None:
        groups = self.groups or input_shape[-1]
        if len(input_shape) != 2 or input_shape[1] is None or input_shape[1] % groups:
            raise ValueError(
                f"ShuffledCodes takes codes of shape (batch, d), d a multiple of "
                f"groups={groups}. Received: input_shape={tuple(input_shape)}"
            )
        self.width = input_shape[1] // groups

    def call(self, z: Tensor) -> Tensor:
        groups = z.shape[1] // self.width
        return shuffled(ops.stop_gradient(z), groups, self.seed_generator)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups}


def shuffled(z: Tensor, groups: int, seed: keras.random.SeedGenerator) -> Tensor:
    """Codes (batch, d), each group of dimensions shuffled over the batch by itself."""
    shape = (ops.shape(z)[0], groups)
    order = ops.argsort(keras.random.uniform(shape, dtype="float32", seed=seed), axis=0)
    order = ops.repeat(order, z.shape[1] // groups, axis=1)
    return ops.take_along_axis(z, order, axis=0)
