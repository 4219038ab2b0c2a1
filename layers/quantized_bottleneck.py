"""A dense head and a vector quantizer."""

import keras
from keras import ops

from .beta import BetaRange, BetaRule
from .bottleneck import Bottleneck
from .codebook import take_codewords
from .symbolic import symbolic
from .typing import Shape, Tensor
from .vector_quantizer import VectorQuantizer


@keras.saving.register_keras_serializable(package="echo_keras")
class QuantizedBottleneck(Bottleneck):
    """A dense head, then `VectorQuantizer`: a discrete code.

    Args:
        units: Int >= 1, number of latent dimensions.
        codewords: Int, codewords of each group of dimensions.
        groups, update, decay, commitment, temperature, length_weight, dither,
        dead_code_threshold, initializer, beta, seed, synchronized: See
            `VectorQuantizer`.
        name, trainable, dtype: As in every Keras layer.

    Inputs:
        Features, shape (batch, ..., channels).

    Output:
        z, shape (batch, ..., units).

    Raises:
        ValueError: units is not an integer >= 1, or as for `VectorQuantizer`.

    Example:

    >>> import numpy as np
    >>> z = QuantizedBottleneck(32, codewords=8, groups=16)(np.ones((10, 256)))
    >>> tuple(z.shape)
    (10, 32)

    References:
        BIB-AE paper, Sec. 4.2.
    """

    def __init__(
        self,
        units: int,
        codewords: int,
        *,
        groups: int = 1,
        update: str = "ema",
        decay: float = 0.99,
        commitment: float = 0.25,
        temperature: float | None = None,
        length_weight: float = 0.0,
        dither: float = 0.0,
        dead_code_threshold: int | None = 100,
        initializer: keras.initializers.Initializer | str | None = None,
        beta: float | BetaRule | BetaRange = 1.0,
        seed: int | None = None,
        synchronized: bool = True,
        name: str | None = None,
        trainable: bool = True,
        dtype: keras.DTypePolicy | str | None = None,
    ) -> None:
        super().__init__(units, name=name, trainable=trainable, dtype=dtype)
        self.channel = VectorQuantizer(
            codewords=codewords,
            groups=groups,
            update=update,
            decay=decay,
            commitment=commitment,
            temperature=temperature,
            length_weight=length_weight,
            dither=dither,
            dead_code_threshold=dead_code_threshold,
            initializer=initializer,
            beta=beta,
            seed=seed,
            synchronized=synchronized,
            dtype=self.dtype_policy,
            name="channel",
        )
        self.heads = [self.head("code")]

    def build(self, input_shape: Shape) -> None:
        (head,) = self.heads
        head.build(input_shape)
        self.channel.build((*input_shape[:-1], self.units))

    @symbolic
    def encode(self, features: Tensor) -> Tensor:
        """The code before quantization, float32."""
        return super().encode(features)[0]

    @symbolic
    def indices(self, features: Tensor) -> Tensor:
        """The numbers of the codewords, int32 (batch, ..., groups)."""
        return self.channel.indices(self.encode(features))

    @symbolic
    def code(self, features: Tensor) -> Tensor:
        """The codewords, without the dither, float32."""
        z = self.encode(features)
        index = ops.reshape(self.channel.indices(z), (-1, self.channel.groups))
        codewords = take_codewords(self.channel.codebook(), index)
        return ops.reshape(codewords, ops.shape(z))
