"""FactorVAE's penalty on dependent latent dimensions."""

from typing import Any

import keras

from . import arguments
from .density_ratio_penalty import DensityRatioPenalty
from .shuffled_codes import shuffled
from .typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class TotalCorrelationPenalty(DensityRatioPenalty):
    r"""Total correlation of the code, estimated by a discriminator: FactorVAE's term.

    `TC(Z) = KL[q(z) || prod_j q(z_j)]`

    The discriminator tells codes from codes whose dimensions were shuffled over the
    batch, each with a permutation of its own: these have the same marginals and are
    independent. See `DensityRatioPenalty` for the two terms of the loss.

    Args:
        weight: Float >= 0, the weight gamma of the total correlation.
        discriminator: See `DensityRatioPenalty`; six hidden layers of 1,000 if None.
        seed: Int or None, of the shuffles.
        synchronized: If True, codes are shuffled over the batch of all devices; if
            False, over each device's share. See `EchoSample`.

    Inputs:
        z, shape (batch, d).

    Output:
        z.

    Raises:
        ValueError: an argument is not as above, or z is not of shape (batch, d) with
            d known.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import dense_discriminator
    >>> layer = TotalCorrelationPenalty(20.0, dense_discriminator((16,)), seed=0)
    >>> z = layer(np.random.default_rng(0).normal(size=(64, 10)))
    >>> len(layer.losses), len(layer.trainable_weights)
    (2, 4)

    References:
        Kim & Mnih, Disentangling by Factorising (2018), Sec. 3 and Algorithms 1, 2;
        Echo paper, Sec. 5.3 (gamma) and App. C; Variance Constrained Autoencoding,
        Sec. 6.4 and App. B.5.
    """

    def __init__(
        self,
        weight: float = 1.0,
        discriminator: keras.layers.Layer | None = None,
        seed: int | None = None,
        synchronized: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            weight=weight, discriminator=discriminator, seed=seed, **kwargs
        )
        self.synchronized = arguments.flag("synchronized", synchronized)

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != 2 or input_shape[1] is None:
            raise ValueError(
                f"TotalCorrelationPenalty takes codes of shape (batch, d), d known. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        super().build(input_shape)
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={1: input_shape[1]})

    def reference(self, z: Tensor) -> Tensor:
        """Codes with each dimension shuffled over the batch, by sample weights."""
        return shuffled(z, z.shape[1], self.seed_generator, self.synchronized)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "synchronized": self.synchronized}
