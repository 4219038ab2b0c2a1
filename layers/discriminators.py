"""Discriminators: networks that learn a density ratio."""

from collections.abc import Sequence

import keras
from keras import layers

from . import arguments
from .spectral_normalization import SpectralNormalization


def dense_discriminator(
    hidden: Sequence[int] = (1000,) * 6, slope: float = 0.2
) -> keras.Sequential:
    """The discriminator of FactorVAE: dense layers with leaky ReLU, two logits.

    Args:
        hidden: Units of each hidden layer.
        slope: Float, of the leaky ReLU below 0.

    Returns:
        An unbuilt Keras model from (batch, d) to (batch, 2).

    Example:

    >>> discriminator = dense_discriminator((8, 8))
    >>> discriminator.build((None, 3))
    >>> discriminator.output_shape, discriminator.count_params()
    ((None, 2), 122)

    References:
        Kim & Mnih, Disentangling by Factorising (2018), App. A; Variance Constrained
        Autoencoding, App. B.5.
    """
    slope = arguments.number("slope", slope, low=0)
    stack = []
    for units in arguments.integers("hidden", hidden):
        stack += [layers.Dense(units), layers.LeakyReLU(slope)]
    return keras.Sequential([*stack, layers.Dense(2)], name="discriminator")


def conv_discriminator(
    filters: Sequence[int] = (32, 64, 128), kernel: int = 4, slope: float = 0.2
) -> keras.Sequential:
    """A discriminator of images: strided convolutions under spectral normalization.

    Each kernel is divided by its largest singular value, so that no window is
    stretched. A pixel is in (kernel / 2)^2 windows, four by default, so that each
    convolution stretches an image at most by kernel / 2, and the log-ratio has a
    Lipschitz constant. This is the only regularization: without it a discriminator of
    images soon classifies all of them correctly, and its gradient vanishes.

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
    slope = arguments.number("slope", slope, low=0)
    kernel = arguments.integer("kernel", kernel)
    stack = []
    for count in arguments.integers("filters", filters):
        convolution = layers.Conv2D(
            count, kernel, strides=2, padding="same", data_format="channels_last"
        )
        stack += [SpectralNormalization(convolution), layers.LeakyReLU(slope)]
    dense = SpectralNormalization(layers.Dense(1))
    return keras.Sequential(
        [*stack, layers.Flatten("channels_last"), dense], name="discriminator"
    )
