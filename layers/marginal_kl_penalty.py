"""Divergence of the aggregate posterior from a prior, by a discriminator.

Term B of the bounded information bottleneck (BIB-AE paper, Eq. 27 and 28).
"""

from typing import Any

import keras
from keras import ops

from . import arguments
from .density_ratio_penalty import DensityRatioPenalty
from .marginals import StandardNormal
from .typing import Shape, Tensor

FORMS = ("kl", "non_saturating")


@keras.saving.register_keras_serializable(package="echo_keras")
class MarginalKLPenalty(DensityRatioPenalty):
    """KL of the aggregate posterior from a prior, KL[q(z) || p(z)]: term B.

    A discriminator tells the codes of a batch from as many draws from the prior; see
    `DensityRatioPenalty` for the two terms of the loss. With `l(z) = log q(z) / p(z)`
    the encoder's is

    - "kl": `E l(z)`, the divergence itself. With a negative weight the encoder
      maximizes it, as in the information I(X; Z) = A - B.
    - "non_saturating": `E log(1 + e^(l(z)))`, the cross-entropy of codes that
      pass for draws from the prior: the loss of adversarial autoencoders. Its gradient
      is bounded where the discriminator is sure.

    `last_value` is the mean of `l` in either.

    Args:
        weight: Float; of any sign for "kl", else >= 0.
        discriminator: See `DensityRatioPenalty`; six hidden layers of 1,000 if None.
        prior: Layer with `sample(n)`; the standard normal if None. See `Marginal`.
        seed: Int or None, for the draws from the standard normal.
        form: "kl" or "non_saturating".

    Inputs:
        z, shape (batch, d).

    Output:
        z.

    Raises:
        ValueError: weight or form is not as above, or the discriminator's output is
            neither (batch, 1) nor (batch, 2).

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import dense_discriminator
    >>> layer = MarginalKLPenalty(discriminator=dense_discriminator((16,)), seed=0)
    >>> z = layer(np.random.default_rng(0).normal(size=(64, 2)))
    >>> len(layer.losses)
    2

    References:
        BIB-AE paper, Eq. 12, 32 and 33; Makhzani et al., Adversarial Autoencoders
        (2015), Sec. 2.
    """

    signed = True

    def __init__(
        self,
        weight: float = 1.0,
        discriminator: keras.layers.Layer | None = None,
        prior: keras.layers.Layer | None = None,
        seed: int | None = None,
        form: str = "kl",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            weight=weight, discriminator=discriminator, seed=seed, **kwargs
        )
        self.form = arguments.choice("form", form, FORMS)
        if weight < 0 and form != "kl":
            raise ValueError(
                f"weight must be a number >= 0 unless form is 'kl'. Received: "
                f"weight={weight}, form={form!r}"
            )
        prior = arguments.layer("prior", prior, ("sample",), optional=True)
        if prior is None:
            prior = StandardNormal(seed=seed, dtype="float32")
        self.prior = prior

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        if not self.prior.built:
            self.prior.build(tuple(input_shape))

    def reference(self, z: Tensor) -> Tensor:
        """Draws from the prior, as many as there are codes."""
        return ops.cast(self.prior.sample(ops.shape(z)[0]), z.dtype)

    def encoder_term(self, ratio: Tensor) -> Tensor:
        """What the encoder minimizes at codes of such log-ratios, (batch,)."""
        return ratio if self.form == "kl" else ops.softplus(ratio)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "form": self.form,
            "prior": keras.saving.serialize_keras_object(self.prior),
        }
