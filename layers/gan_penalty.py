"""Divergence of the data from a model's images, by a discriminator.

Term D of the bounded information bottleneck (BIB-AE paper, Eq. 27 and 28).
"""

from typing import Any

import keras
from keras import ops

from .arguments import check_choice, shape_list
from .density_ratio_penalty import DensityRatioPenalty
from .discriminators import conv_discriminator
from .typing import Shape, Tensor, Tensors

GENERATOR_LOSSES = ("non_saturating", "reverse_kl")
AGAINST = ("all", "others")


@keras.saving.register_keras_serializable(package="echo_keras")
class GANPenalty(DensityRatioPenalty):
    r"""KL of the data from the images of a model, KL[p_D(x) || p(x)]: term D.

    A discriminator tells data from the decoder's images (reconstructions, decoded draws
    from the prior, or both) and learns \(\ell(x) = \log p_D(x) / p(x)\). Its mean over
    the data estimates the divergence; `last_value` holds it. The data do not depend on
    the decoder, which minimizes a function of \(\ell\) at its own images instead,
    through frozen discriminator weights:

    - "non_saturating": \(E \log(1 + e^{-\ell(\hat x)})\), the generator's loss of GANs.
    - "reverse_kl": \(-E\, \ell(\hat x)\), the estimate of KL[p(x) || p_D(x)].

    Both have their minimum at \(p = p_D\).

    Args:
        weight: Float >= 0, weight of the decoder's term.
        discriminator: Keras layer or model from images to one log-ratio or two logits,
            see `DensityRatioPenalty`; `conv_discriminator()` if None.
        generator_loss: "non_saturating" or "reverse_kl".
        logits: If True, images are logits, and the discriminator sees their sigmoid.
        against: "all" of the decoder's outputs, or "others" than the first, which the
            discriminator then does not see: a model can return reconstructions and be
            penalized for its samples.

    Inputs:
        `[x, image, ...]`: data, and one or more batches of the decoder's outputs, all
        of the shape of x.

    Output:
        The first of the decoder's outputs, unchanged.

    Raises:
        ValueError: there is no image beside x, shapes differ, or an argument is not as
            above.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import conv_discriminator
    >>> layer = GANPenalty(discriminator=conv_discriminator((4,)), logits=True)
    >>> x = np.random.default_rng(0).random((6, 8, 8, 1))
    >>> output = layer([x, np.zeros((6, 8, 8, 1))])
    >>> len(layer.losses)
    2

    References:
        BIB-AE paper, Eq. 18, 25 and 34; Goodfellow et al., Generative Adversarial Nets
        (2014), Sec. 3; Mohamed & Lakshminarayanan, Learning in Implicit Generative
        Models (2016).
    """

    def __init__(
        self,
        weight: float = 1.0,
        discriminator: keras.layers.Layer | None = None,
        generator_loss: str = "non_saturating",
        logits: bool = False,
        against: str = "all",
        **kwargs: Any,
    ) -> None:
        discriminator = conv_discriminator() if discriminator is None else discriminator
        super().__init__(weight=weight, discriminator=discriminator, **kwargs)
        self.generator_loss = check_choice(
            "generator_loss", generator_loss, GENERATOR_LOSSES
        )
        self.logits = bool(logits)
        self.against = check_choice("against", against, AGAINST)

    def build(self, input_shape: Shape) -> None:
        shapes = shape_list(input_shape)
        least = 2 if self.against == "all" else 3
        if len(shapes) < least or any(s[1:] != shapes[0][1:] for s in shapes):
            raise ValueError(
                f"GANPenalty takes x and at least {least - 1} outputs of the decoder, "
                f"all of one shape. Received: input_shape={input_shape}"
            )
        super().build(shapes[0])

    def call(self, inputs: Tensors) -> Tensor:
        x, first, *others = inputs
        images = [first, *others] if self.against == "all" else others
        images = [ops.sigmoid(i) if self.logits else i for i in images]
        drawn = ops.concatenate([ops.cast(i, x.dtype) for i in images])
        # One pass: a second would change a discriminator's state under PyTorch's first.
        both = ops.stop_gradient(ops.concatenate([x, drawn]))
        ratio, n = self.log_ratio(both), ops.shape(x)[0]
        of_data, of_drawn = ratio[:n], ratio[n:]
        # Data and images weigh the same, however many there are of each.
        loss = ops.mean(ops.softplus(-of_data)) + ops.mean(ops.softplus(of_drawn))
        self.add_discriminator_loss(0.5 * loss)
        self.last_value.assign(ops.mean(of_data))
        ratio = self.penalty(drawn)
        if self.generator_loss == "non_saturating":
            term = ops.softplus(-ratio)
        else:
            term = -ratio
        self.add_loss(self.weight * ops.mean(term))
        return first

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape[1])

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["seed"]  # nothing is drawn here
        return {
            **config,
            "generator_loss": self.generator_loss,
            "logits": self.logits,
            "against": self.against,
        }
