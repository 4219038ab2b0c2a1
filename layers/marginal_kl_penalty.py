"""Divergence of the aggregate posterior from a prior, by a discriminator.

Term B of the bounded information bottleneck (BIB-AE paper, Eq. 27 and 28).
"""

from typing import Any

import keras
from keras import ops

from .arguments import restored
from .density_ratio_penalty import DensityRatioPenalty
from .marginals import StandardNormal
from .typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class MarginalKLPenalty(DensityRatioPenalty):
    r"""KL of the aggregate posterior from a prior, KL[q(z) || p(z)]: term B.

    A discriminator tells the codes of a batch from as many draws from the prior; see
    `DensityRatioPenalty` for the two terms of the loss. With a negative weight the
    encoder maximizes the divergence, as in the information I(X; Z) = A - B.

    Args:
        weight: Float, any sign.
        discriminator: See `DensityRatioPenalty`; six hidden layers of 1,000 if None.
        prior: Layer with `sample(n)`; the standard normal if None. See `Marginal`.
        seed: Int or None, for the draws from the standard normal.

    Inputs:
        z, shape (batch, d).

    Output:
        z.

    Raises:
        ValueError: weight is not finite, or the discriminator's output is neither
            (batch, 1) nor (batch, 2).

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import dense_discriminator
    >>> layer = MarginalKLPenalty(discriminator=dense_discriminator((16,)), seed=0)
    >>> z = layer(np.random.default_rng(0).normal(size=(64, 2)))
    >>> len(layer.losses)
    2

    References:
        BIB-AE paper, Eq. 12, 32 and 33; Makhzani et al., Adversarial Autoencoders
        (2015).
    """

    signed = True

    def __init__(
        self,
        weight: float = 1.0,
        discriminator: keras.layers.Layer | None = None,
        prior: keras.layers.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            weight=weight, discriminator=discriminator, seed=seed, **kwargs
        )
        if prior is None:
            prior = StandardNormal(seed=seed, dtype="float32")
        self.prior = restored(prior)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        if not self.prior.built:
            self.prior.build(tuple(input_shape))

    def reference(self, z: Tensor) -> Tensor:
        """Draws from the prior, as many as there are codes."""
        return ops.cast(self.prior.sample(ops.shape(z)[0]), z.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "prior": keras.saving.serialize_keras_object(self.prior),
        }
