"""Objectives of compression: the rate is the length of a quantized code."""

import keras

from echo_keras.layers import (
    BetaRule,
    QuantizedBottleneck,
    ShuffledCodes,
    arguments,
)

from ..autoencoders import autoencoder
from ..model import RateDistortionModel
from ..networks import Decoder, Encoder
from .adversarial import with_gan_penalty


def shannon_ae(
    encoder: Encoder,
    decoder: Decoder,
    latent_dim: int,
    codewords: int,
    beta: float | BetaRule = 0.0,
    groups: int = 1,
    update: str = "ema",
    commitment: float = 0.25,
    temperature: float | None = None,
    dead_code_threshold: int | None = 100,
    initializer: keras.initializers.Initializer | None = None,
    length_weight: float = 0.0,
) -> RateDistortionModel:
    """Compression: `beta R_Q + C`, a deterministic code of finite rate.

    Args:
        encoder, decoder, latent_dim: See `echo_keras.objectives`.
        codewords: Int, codewords of each group of dimensions.
        beta: Float >= 0, or a rule: weight of the rate, which has a gradient only with
            a `temperature`; else the number of codewords bounds it, and a
            `length_weight` lowers it.
        groups, update, commitment, temperature, dead_code_threshold, initializer,
            length_weight: See `VectorQuantizer`. The last weighs the length of codes
            where codewords are chosen.

    Returns:
        A `RateDistortionModel`; its rate is the length of the code in nats, which
        `echo_keras.codec` writes to files.

    Example:

    >>> model = shannon_ae(encoder, decoder, 4, codewords=8, groups=2)
    >>> model.get_layer("bottleneck").channel.codewords
    8

    References:
        BIB-AE paper, Eq. 35.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    bottleneck = QuantizedBottleneck(
        latent_dim,
        codewords,
        beta=beta,
        groups=groups,
        update=update,
        commitment=commitment,
        temperature=temperature,
        length_weight=length_weight,
        dead_code_threshold=dead_code_threshold,
        initializer=initializer,
        name="bottleneck",
    )
    return autoencoder(encoder, bottleneck, decoder)


def generative_compression(
    encoder: Encoder,
    decoder: Decoder,
    latent_dim: int,
    codewords: int,
    beta: float | BetaRule = 0.0,
    dither: float = 0.1,
    groups: int = 1,
    update: str = "ema",
    commitment: float = 0.25,
    temperature: float | None = None,
    dead_code_threshold: int | None = 100,
    initializer: keras.initializers.Initializer | None = None,
    images: str = "reconstructions",
    weight: float = 1.0,
    discriminator: keras.layers.Layer | None = None,
    form: str = "non_saturating",
    logits: bool = False,
    length_weight: float = 0.0,
) -> RateDistortionModel:
    """Generative compression: `beta R_Q + C + D`, noise added to the codewords.

    Args:
        encoder, decoder, latent_dim, codewords, beta: As for `shannon_ae`.
        dither: Float >= 0, half the width of the noise; see `VectorQuantizer`.
        groups, update, commitment, temperature, dead_code_threshold, initializer,
            length_weight: See `VectorQuantizer`.
        images: What is compared with the data; see `vae_gan`. "samples" are decoded
            draws from the codebook's own law, each group of codewords by its frequency
            and with the dither; see `ShuffledCodes`.
        weight, discriminator, form, logits: Of D; see `GANPenalty`.

    Returns:
        A `RateDistortionModel`; D is the layer "gan_penalty".

    Raises:
        ValueError: images is unknown.

    Example:

    >>> from echo_keras.layers import conv_discriminator
    >>> from echo_keras.networks import dense_decoder, dense_encoder
    >>> model = generative_compression(
    ...     dense_encoder((8, 8, 1), (4,)),
    ...     dense_decoder(2, (8, 8, 1), (4,)),
    ...     2,
    ...     codewords=8,
    ...     discriminator=conv_discriminator((4,)),
    ... )
    >>> model.get_layer("bottleneck").channel.dither
    0.1

    References:
        BIB-AE paper, Eq. 36 and footnote 10.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    bottleneck = QuantizedBottleneck(
        latent_dim,
        codewords,
        beta=beta,
        dither=dither,
        groups=groups,
        update=update,
        commitment=commitment,
        temperature=temperature,
        length_weight=length_weight,
        dead_code_threshold=dead_code_threshold,
        initializer=initializer,
        name="bottleneck",
    )
    settings = weight, discriminator, form, logits, ShuffledCodes(groups)
    return with_gan_penalty(encoder, bottleneck, decoder, [], images, *settings)
