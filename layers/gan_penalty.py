"""Divergence of the data from a model's images, by a discriminator.

Term D of the bounded information bottleneck (BIB-AE paper, Eq. 27 and 28).
"""

from typing import Any

import keras
from keras import ops

from . import arguments
from .arguments import shape_list
from .base import batch_mean
from .density_ratio_penalty import DensityRatioPenalty
from .discriminators import conv_discriminator
from .typing import Shape, Tensor, Tensors

FORMS = ("js", "non_saturating", "reverse_kl", "forward_kl", "wasserstein")
AGAINST = ("all", "others")


@keras.saving.register_keras_serializable(package="echo_keras")
class GANPenalty(DensityRatioPenalty):
    r"""Divergence of the data from the images of a model: term D, by a discriminator.

    A discriminator tells data from the decoder's images (reconstructions, decoded draws
    from the prior, or both) and learns `l(x) = log p_D(x) / p(x)`. The decoder
    minimizes a function of `l` at its own images `x_hat`, through frozen
    discriminator weights. With an exact `l` its gradient is that of

    | form | the decoder's term | divergence |
    | --- | --- | --- |
    | `"js"` | `-E log(1 + e^(l(x_hat)))` | 2 JS, the original GAN |
    | `"non_saturating"` | `E log(1 + e^(-l(x_hat)))` | KL[p \|\| p_D] - 2 JS |
    | `"reverse_kl"` | `-E l(x_hat)` | KL[p \|\| p_D] |
    | `"forward_kl"` | `-E e^(l(x_hat))` | KL[p_D \|\| p], the paper's D |
    | `"wasserstein"` | `-E l(x_hat)` | Wasserstein's distance, times K |

    In the last one `l` is no log-ratio but a critic, which maximizes
    `E l(x) - E l(x_hat)`. It needs a discriminator with a Lipschitz
    constant, K, such as `conv_discriminator`; others diverge. `last_value` is this
    difference for a critic, and otherwise the mean of `l` over the data, the
    estimate of KL[p_D || p] in nats, whatever the decoder minimizes.

    JS saturates: where the discriminator is sure, its gradient vanishes. The forward
    KL covers all data, but few images carry its exponential weights; the reverse KL
    and the non-saturating form seek modes.

    Args:
        weight: Float >= 0, weight of the decoder's term.
        discriminator: Keras layer or model from images to one log-ratio or two logits,
            see `DensityRatioPenalty`; `conv_discriminator()` if None.
        form: One of the above.
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
        BIB-AE paper, Eq. 18, 25 and 34, and Sec. 4.2 on the forms; Goodfellow et al.,
        Generative Adversarial Nets (2014), Sec. 3; Nowozin et al., f-GAN (2016);
        Arjovsky et al., Wasserstein GAN (2017).
    """

    def __init__(
        self,
        weight: float = 1.0,
        discriminator: keras.layers.Layer | None = None,
        form: str = "non_saturating",
        logits: bool = False,
        against: str = "all",
        **kwargs: Any,
    ) -> None:
        discriminator = conv_discriminator() if discriminator is None else discriminator
        super().__init__(weight=weight, discriminator=discriminator, **kwargs)
        self.form = arguments.choice("form", form, FORMS)
        self.logits = arguments.flag("logits", logits)
        self.against = arguments.choice("against", against, AGAINST)

    def build(self, input_shape: Shape) -> None:
        shapes = shape_list(input_shape)
        least = 2 if self.against == "all" else 3
        if len(shapes) < least or any(s[1:] != shapes[0][1:] for s in shapes):
            raise ValueError(
                f"GANPenalty takes x and at least {least - 1} outputs of the decoder, "
                f"all of one shape. Received: input_shape={input_shape}"
            )
        super().build(shapes[0])

    def add_terms(self, inputs: Tensors) -> Tensor:
        x, first, *others = inputs
        images = [first, *others] if self.against == "all" else others
        images = [ops.sigmoid(i) if self.logits else i for i in images]
        drawn = ops.concatenate([ops.cast(i, x.dtype) for i in images])
        # One pass: a second would change a discriminator's state under PyTorch's first.
        both = ops.stop_gradient(ops.concatenate([x, drawn]))
        ratio, n = self.log_ratio(both), ops.shape(x)[0]
        of_data, of_drawn = ratio[:n], ratio[n:]
        # Data and images weigh the same, however many there are of each.
        if self.form == "wasserstein":
            value = batch_mean(of_data) - batch_mean(of_drawn, len(images))
            loss = -value
        else:
            value = batch_mean(of_data)
            loss = batch_mean(ops.softplus(-of_data))
            of_drawn = batch_mean(ops.softplus(of_drawn), len(images))
            loss = 0.5 * (loss + of_drawn)
        self.add_discriminator_loss(loss)
        self.log(self.last_value, value)
        term = self.decoder_term(self.penalty(drawn))
        self.add_loss(self.weight * batch_mean(term, len(images)))
        return first

    def decoder_term(self, ratio: Tensor) -> Tensor:
        """What the decoder minimizes at images of such log-ratios, (batch,)."""
        if self.form == "js":
            return -ops.softplus(ratio)
        if self.form == "non_saturating":
            return ops.softplus(-ratio)
        if self.form == "forward_kl":
            return -ops.exp(ratio)
        return -ratio

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape[1])

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["seed"]  # nothing is drawn here
        return {
            **config,
            "form": self.form,
            "logits": self.logits,
            "against": self.against,
        }
