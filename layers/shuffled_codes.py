"""Draws from the marginals of codes, by shuffling them over the batch."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .base import Seeded, are_weighted, batch_weights
from .replicas import gathered, same_noise
from .typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class ShuffledCodes(Seeded):
    """Draws from `prod_g q(z_g)`, the marginals of a batch's codes, for a decoder.

    Each sub-vector is shuffled over the batch with a permutation of its own. Of
    quantized codes these are draws from the codebook's own law, each group of codewords
    by its frequency and with the dither, as `VectorQuantizer.sample` gives them, while
    the codebook still moves. No gradient leads back to the codes. With sample weights
    an example is among the shuffled ones in proportion to its weight.

    Args:
        groups: Int >= 1, into how many sub-vectors of equal width a code is cut; None
            for one for each dimension.
        seed: Int or None, of the shuffles.
        synchronized: If True, codes are shuffled over the batch of all devices; if
            False, over each device's share. See `EchoSample`.

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
        self,
        groups: int | None = None,
        seed: int | None = None,
        synchronized: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.groups = arguments.integer("groups", groups, optional=True)
        self.synchronized = arguments.flag("synchronized", synchronized)

    def build(self, input_shape: Shape) -> None:
        groups = self.groups or input_shape[-1]
        if len(input_shape) != 2 or input_shape[1] is None or input_shape[1] % groups:
            raise ValueError(
                f"ShuffledCodes takes codes of shape (batch, d), d a multiple of "
                f"groups={groups}. Received: input_shape={tuple(input_shape)}"
            )
        self.width = input_shape[1] // groups
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={1: input_shape[1]})

    def call(self, z: Tensor) -> Tensor:
        groups = z.shape[1] // self.width
        return shuffled(
            ops.stop_gradient(z), groups, self.seed_generator, self.synchronized
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "groups": self.groups,
            "synchronized": self.synchronized,
        }


def shuffled(
    z: Tensor, groups: int, seed: keras.random.SeedGenerator, synchronized: bool
) -> Tensor:
    """Codes (batch, d), each group of dimensions shuffled over the batch by itself.

    Of weighted examples as many, in proportion to their weights, are shuffled.
    """
    rows = ops.cast(z, "float32")
    rows, weights, start = gathered(synchronized, rows, batch_weights(rows[:, 0]))
    n = ops.shape(rows)[0]
    with same_noise(synchronized):
        keys = keras.random.uniform((n, groups), dtype="float32", seed=seed)
        if are_weighted():
            u = keras.random.uniform((1,), dtype="float32", seed=seed)
            rows = ops.take(rows, _resampled(weights, u), axis=0)
    # This replica's part of it.
    order = ops.argsort(keys, axis=0)[start : start + ops.shape(z)[0]]
    order = ops.repeat(order, z.shape[1] // groups, axis=1)
    return ops.cast(ops.take_along_axis(rows, order, axis=0), z.dtype)


def _resampled(weights, u):
    """Indices of as many rows, each one's expected number in proportion to its weight.

    Systematic: evenly spaced points on the line of cumulated weights, shifted by u,
    (1,), uniform on [0, 1). Equal weights give every row once.
    """
    n = ops.shape(weights)[0]
    edges = ops.cumsum(weights)
    spacing = edges[-1] / ops.cast(n, "float32")
    points = (ops.cast(ops.arange(n), "float32") + u) * spacing
    index = ops.searchsorted(edges, points, side="right")
    # Rounding may lead beyond the last row that counts.
    return ops.minimum(index, ops.searchsorted(edges, edges[-1:], side="left"))
