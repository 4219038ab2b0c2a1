"""Divergences of codes from a prior and of images from a model, learned by discriminators.

Terms B and D of the bounded information bottleneck (BIB-AE paper, Eq. 27 and 28).
"""

import keras
from keras import layers, ops

from .base import Seeded
from .discriminators import DensityRatioPenalty, log_ratio
from .marginals import StandardNormal

GENERATOR_LOSSES = ("non_saturating", "reverse_kl")
AGAINST = ("all", "others")


def conv_discriminator(filters=(32, 64, 128), kernel=4, slope=0.2):
    """A discriminator of images: strided convolutions under spectral normalisation.

    Each kernel is divided by an estimate of its largest singular value, so that the
    log-ratio changes at most as fast as the image, up to the leaky ReLUs. This is the
    only regularisation: without it a discriminator of images soon tells them all apart, and
    its gradient says nothing any more.

    Args:
        filters: Ints, of each convolution, all of stride 2.
        kernel: Int, width of the kernels.
        slope: Float, of the leaky ReLU below 0.

    Returns:
        An unbuilt Keras model from (batch, height, width, channels) to (batch, 1).

    Example:

    >>> discriminator = conv_discriminator((8,))
    >>> discriminator.build((None, 28, 28, 1)); discriminator.output_shape
    (None, 1)

    References:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks
        (2018).
    """
    stack = []
    for count in filters:
        convolution = layers.Conv2D(count, kernel, strides=2, padding="same")
        stack += [layers.SpectralNormalization(convolution), layers.LeakyReLU(slope)]
    dense = layers.SpectralNormalization(layers.Dense(1))
    return keras.Sequential([*stack, layers.Flatten(), dense], name="discriminator")


@keras.saving.register_keras_serializable(package="echo_keras")
class MarginalKLPenalty(DensityRatioPenalty):
    r"""Divergence of the aggregate posterior from a prior: KL[q(z) || p(z)], term B.

    A discriminator tells the codes of a batch from as many draws from the prior; see
    `DensityRatioPenalty` for the two terms of the loss. A negative weight makes the
    encoder seek a greater divergence, as the information I(X; Z) = A - B asks for.

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
        ValueError: weight is not finite, or the discriminator's output has another shape.

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

    def __init__(self, weight=1.0, discriminator=None, prior=None, seed=None, **kwargs):
        super().__init__(
            weight=weight, discriminator=discriminator, seed=seed, **kwargs
        )
        if isinstance(prior, dict):  # as `get_config` writes it
            prior = keras.saving.deserialize_keras_object(prior)
        if prior is None:
            prior = StandardNormal(seed=seed, dtype="float32")
        self.prior = prior

    def build(self, input_shape):
        super().build(input_shape)
        if not self.prior.built:
            self.prior.build(tuple(input_shape))

    def reference(self, z):
        """As many draws from the prior."""
        return ops.cast(self.prior.sample(ops.shape(z)[0]), z.dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "prior": keras.saving.serialize_keras_object(self.prior),
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class GANPenalty(DensityRatioPenalty):
    r"""Divergence of the data from the images of a model: KL[p_D(x) || p(x)], term D.

    A discriminator tells data from the decoder's images, reconstructions, decoded draws from
    the prior, or both, and learns \(\ell(x) = \log p_D(x) / p(x)\). Its mean over the
    data estimates the divergence, and is what `last_value` holds. But the data do not
    depend on the decoder; what the decoder minimises is a function of \(\ell\) at its
    own images, with the discriminator's weights stopped:

    - "non_saturating": \(E \log(1 + e^{-\ell(\hat x)})\), the generator's loss of GANs.
    - "reverse_kl": \(-E\, \ell(\hat x)\), the estimate of KL[p(x) || p_D(x)].

    Both are least where \(p = p_D\).

    Args:
        weight: Float >= 0, weight of the decoder's term.
        discriminator: Keras layer or model from images to one log-ratio or two logits, see
            `DensityRatioPenalty`; `conv_discriminator()` if None.
        generator_loss: "non_saturating" or "reverse_kl".
        logits: If True, images are logits, and the discriminator sees their sigmoid.
        against: "all" of the decoder's outputs, or "others" than the first, which then
            passes unseen: so a model can return reconstructions and be judged by what
            it generates.

    Inputs:
        `[x, image, ...]`: data, and one or more batches of the decoder's outputs, all
        of the shape of x.

    Output:
        The first of the decoder's outputs, as it came.

    Raises:
        ValueError: there is no image beside x, shapes differ, or an argument is not as
            above.

    Example:

    >>> import numpy as np
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
        weight=1.0,
        discriminator=None,
        generator_loss="non_saturating",
        logits=False,
        against="all",
        **kwargs,
    ):
        discriminator = conv_discriminator() if discriminator is None else discriminator
        super().__init__(weight=weight, discriminator=discriminator, **kwargs)
        if generator_loss not in GENERATOR_LOSSES:
            raise ValueError(
                f"generator_loss must be one of {', '.join(GENERATOR_LOSSES)}; "
                f"received {generator_loss!r}."
            )
        if against not in AGAINST:
            raise ValueError(
                f"against must be one of {', '.join(AGAINST)}; received {against!r}."
            )
        self.generator_loss = generator_loss
        self.logits = bool(logits)
        self.against = against

    def build(self, input_shape):
        shapes = [tuple(s) for s in input_shape] if _is_list(input_shape) else []
        least = 2 if self.against == "all" else 3
        if len(shapes) < least or any(s[1:] != shapes[0][1:] for s in shapes):
            raise ValueError(
                f"GANPenalty takes x and at least {least - 1} outputs of the "
                f"decoder, all of one shape; received {input_shape}."
            )
        super().build(shapes[0])

    def call(self, inputs):
        x, first, *others = inputs
        images = [first, *others] if self.against == "all" else others
        images = [ops.sigmoid(i) if self.logits else i for i in images]
        drawn = ops.concatenate([ops.cast(i, x.dtype) for i in images])
        # One pass: a second would change a discriminator's state under PyTorch's first.
        both = ops.stop_gradient(ops.concatenate([x, drawn]))
        ratio, n = log_ratio(self.discriminator(both)), ops.shape(x)[0]
        of_data, of_drawn = ratio[:n], ratio[n:]
        # Data and images weigh the same, however many there are of each.
        loss = ops.mean(ops.softplus(-of_data)) + ops.mean(ops.softplus(of_drawn))
        loss = 0.5 * loss
        self.last_discriminator_loss.assign(loss)
        self.add_loss(loss)
        self.last_value.assign(ops.mean(of_data))
        ratio = self.penalty(drawn)
        if self.generator_loss == "non_saturating":
            term = ops.softplus(-ratio)
        else:
            term = -ratio
        self.add_loss(self.weight * ops.mean(term))
        return first

    def log_ratio(self, x):
        """What the discriminator says of images, log p_D(x) / p(x): nats, (batch,).

        A score for novelty detection: low where an image is unlike the data.
        """
        return log_ratio(self.discriminator(x))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[1])

    def get_config(self):
        config = super().get_config()
        del config["seed"]  # nothing is drawn here
        return {
            **config,
            "generator_loss": self.generator_loss,
            "logits": self.logits,
            "against": self.against,
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class PriorSamples(Seeded):
    """Draws from a prior, as many as the inputs have examples: for a decoder to decode.

    Args:
        units: Int >= 1, number of code dimensions.
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

    def __init__(self, units, prior=None, seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        if units < 1 or units != int(units):
            raise ValueError(f"units must be an integer >= 1; received {units}.")
        self.units = int(units)
        if isinstance(prior, dict):  # as `get_config` writes it
            prior = keras.saving.deserialize_keras_object(prior)
        self.prior = StandardNormal(seed=seed) if prior is None else prior

    def build(self, input_shape):
        if not self.prior.built:
            self.prior.build((None, self.units))

    def call(self, inputs):
        return ops.cast(self.prior.sample(ops.shape(inputs)[0]), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "prior": keras.saving.serialize_keras_object(self.prior),
        }


def _is_list(input_shape):
    return bool(input_shape) and isinstance(input_shape[0], (list, tuple))
