"""Spectral normalization: a layer that cannot stretch its inputs."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .typing import Shape, Tensor

TINY = 1e-30
LINEAR = ("Dense", "Conv1D", "Conv2D", "Conv3D")


@keras.saving.register_keras_serializable(package="echo_keras")
class SpectralNormalization(keras.layers.Layer):
    """A dense or convolutional layer whose kernel is divided by its spectral norm.

    The kernel, as a matrix with a column for each output channel, is used as
    `W / sigma`, where `sigma = v^T W u` is the largest singular value. Its
    singular vectors come from power iteration, `u ~ (W^T W)^(2^k) u` and
    `v ~ W u`, which goes on from the u that the last training step left.
    Gradients pass through `sigma`, with u and v taken for constants.

    Training and inference divide by the same number, and the weight itself stays as the
    optimizer leaves it; `keras.layers.SpectralNormalization` overwrites it while it
    trains, which JAX cannot do, and divides by nothing at inference. One iteration at
    each step, as usual, falls behind by a tenth to a fifth: gradients push down the
    singular value that it follows, and others overtake it. Hence the power
    `2^k`, by k squarings.

    Args:
        layer: A Keras Dense, Conv1D, Conv2D or Conv3D, whose bias is not divided.
        squarings: Int >= 1, k; 6 of them are 64 iterations at each call.

    Inputs, output:
        As of the layer.

    Raises:
        ValueError: layer is none of these, or squarings is not an integer >= 1.

    Example:

    >>> import numpy as np
    >>> layer = SpectralNormalization(keras.layers.Dense(2, use_bias=False))
    >>> layer.build((None, 2))
    >>> layer.layer.set_weights([np.diag([1.0, 4.0])])
    >>> ops.convert_to_numpy(layer(np.ones((1, 2)))).round(3).tolist()
    [[0.25, 1.0]]

    References:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks
        (2018), Sec. 2.1 and Algorithm 1.
    """

    def __init__(
        self, layer: keras.layers.Layer, squarings: int = 6, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.layer = arguments.restored(layer)
        if not isinstance(self.layer, tuple(getattr(keras.layers, x) for x in LINEAR)):
            raise ValueError(
                f"layer must be one of {', '.join(LINEAR)}. Received: layer={layer!r}"
            )
        self.squarings = arguments.integer("squarings", squarings)

    def build(self, input_shape: Shape) -> None:
        if not self.layer.built:
            self.layer.build(input_shape)
        self.direction = self.add_weight(
            name="direction",
            shape=(self.layer.kernel.shape[-1],),
            initializer=keras.initializers.RandomNormal(seed=0),
            dtype="float32",
            autocast=False,
            trainable=False,
        )

    def spectral_norm(self) -> tuple[Tensor, Tensor]:
        """The kernel's largest singular value, and u after this call's iteration."""
        kernel = ops.cast(ops.convert_to_tensor(self.layer.kernel), "float32")
        kernel = ops.reshape(kernel, (-1, kernel.shape[-1]))
        fixed, u = ops.stop_gradient(kernel), ops.convert_to_tensor(self.direction)
        power = ops.matmul(ops.transpose(fixed), fixed)
        for _ in range(self.squarings):
            power = power / ops.maximum(ops.trace(power), TINY)
            power = ops.matmul(power, power)
        u = _unit(ops.sum(power * u, axis=1))
        # By sums, since GPUs may round products of matrices to 10 bits.
        v = _unit(ops.sum(fixed * u, axis=1))
        return ops.sum(v[:, None] * kernel * u), u

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        sigma, u = self.spectral_norm()
        # A kernel of zeros has no direction: it keeps the last one, and its gradient.
        nonzero = sigma > 0
        if training and self.trainable:
            u = ops.where(nonzero, u, ops.convert_to_tensor(self.direction))
            self.direction.assign(u)
        sigma = ops.where(nonzero, sigma, 1.0)
        # W (x / sigma) is (W / sigma) x, and leaves the layer as it is.
        return self.layer(ops.divide(inputs, ops.cast(sigma, inputs.dtype)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "layer": keras.saving.serialize_keras_object(self.layer),
            "squarings": self.squarings,
        }


def _unit(x):
    return x / ops.maximum(ops.norm(x), TINY)
