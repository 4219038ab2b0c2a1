"""Objectives with discriminators: of codes, term B, and of images, term D."""

from collections.abc import Sequence

import keras

from echo_keras.layers import (
    BetaRule,
    DeterministicBottleneck,
    GANPenalty,
    GaussianBottleneck,
    MarginalKLPenalty,
    PriorSamples,
    arguments,
)

from ..autoencoders import autoencoder, made
from ..model import RateDistortionModel
from ..networks import Decoder, Encoder

# What term D compares with the data.
IMAGES = ("reconstructions", "samples", "both")


def aae(
    encoder: Encoder,
    decoder: Decoder,
    latent_dim: int,
    weight: float = 1.0,
    discriminator: keras.layers.Layer | None = None,
    prior: keras.layers.Layer | None = None,
    stochastic: bool = False,
    form: str = "kl",
) -> RateDistortionModel:
    """Adversarial autoencoder: `C + lambda KL[q(z) || p(z)]`, terms B and C.

    A discriminator that learns as fast as the encoder wins, and codes stay far from the
    prior. Adam at 1e-3 for the autoencoder and 2e-4 for the discriminator, both with
    beta_1 = .5, learns both; see `training.with_discriminator_optimizer`.

    Args:
        encoder, decoder, latent_dim: See `echo_keras.objectives`.
        weight: Float >= 0, `lambda`.
        discriminator, prior: See `MarginalKLPenalty`.
        stochastic: If True, the encoder gives mean and variance of a Gaussian, whose
            rate has no weight; else it is deterministic, or, with noise beside its
            inputs, implicit: `dense_encoder(shape, noise=16)`, `f([x, e])`.
        form: "kl", or "non_saturating" for the loss of the paper of 2015; see
            `MarginalKLPenalty`.

    Returns:
        A `RateDistortionModel`; the term is the layer "marginal_kl".

    Example:

    >>> from echo_keras.layers import dense_discriminator
    >>> model = aae(encoder, decoder, 2, discriminator=dense_discriminator((8,)))
    >>> type(model.get_layer("bottleneck")).__name__
    'DeterministicBottleneck'

    References:
        Makhzani et al., Adversarial Autoencoders (2015); BIB-AE paper, Eq. 32.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    bottleneck = DeterministicBottleneck(latent_dim, name="bottleneck")
    if arguments.flag("stochastic", stochastic):
        bottleneck = GaussianBottleneck(latent_dim, beta=0.0, name="bottleneck")
    divergence = MarginalKLPenalty(
        weight, discriminator, prior, form=form, name="marginal_kl"
    )
    return autoencoder(encoder, bottleneck, decoder, [divergence])


def gan(
    decoder: Decoder,
    latent_dim: int,
    image_shape: Sequence[int],
    prior: keras.layers.Layer | None = None,
    weight: float = 1.0,
    discriminator: keras.layers.Layer | None = None,
    form: str = "non_saturating",
    logits: bool = False,
) -> RateDistortionModel:
    """Generative adversarial network: D of images decoded from the prior.

    Compiled with `losses.ZeroLoss()` it is the original GAN. Compiled with a likelihood
    it has the term C of Eq. 25 as well: of each image given the code that happened to
    be drawn for it.

    Against a convolutional discriminator a dense decoder collapses to one image. With
    `networks.wae_decoder` and Adam at 5e-4 with beta_1 = .5 for both it learns.

    Args:
        decoder, latent_dim: See `echo_keras.objectives`.
        image_shape: (height, width, channels).
        prior: Layer with `sample(n)`; the standard normal if None.
        weight, discriminator, form, logits: See `GANPenalty`.

    Returns:
        A `RateDistortionModel` from images, of which there are as many generated, to
        generated images; the term is the layer "gan_penalty".

    Example:

    >>> from echo_keras.layers import conv_discriminator
    >>> from echo_keras.networks import wae_decoder
    >>> decoder = wae_decoder(2, (8, 8, 1), filters=2)
    >>> gan(decoder, 2, (8, 8, 1), discriminator=conv_discriminator((4,))).output_shape
    (None, 8, 8, 1)

    References:
        Goodfellow et al., Generative Adversarial Nets (2014); BIB-AE paper, Eq. 20 to
        25.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    inputs = keras.Input(arguments.integers("image_shape", image_shape))
    z = PriorSamples(latent_dim, prior, name="prior")(inputs)
    decoder = made("decoder", decoder, latent_dim)
    penalty = GANPenalty(weight, discriminator, form, logits, name="gan_penalty")
    return RateDistortionModel(inputs, penalty([inputs, decoder(z)]))


def vae_gan(
    encoder: Encoder,
    decoder: Decoder,
    latent_dim: int,
    beta: float | BetaRule = 1.0,
    images: str = "both",
    bottleneck: keras.layers.Layer | None = None,
    weight: float = 1.0,
    discriminator: keras.layers.Layer | None = None,
    form: str = "non_saturating",
    logits: bool = False,
) -> RateDistortionModel:
    """VAE/GAN: terms A, C and D.

    Args:
        encoder, decoder, latent_dim: See `echo_keras.objectives`.
        beta: Float >= 0, or a rule: weight of A, unless a `bottleneck` is given.
        images: What is compared with the data: "reconstructions", "samples" from the
            prior, or "both".
        bottleneck: Layer from features to codes; `GaussianBottleneck(latent_dim)` if
            None.
        weight, discriminator, form, logits: See `GANPenalty`.

    Returns:
        A `RateDistortionModel`; D is the layer "gan_penalty".

    Raises:
        ValueError: images is unknown.

    Example:

    >>> from echo_keras.layers import conv_discriminator
    >>> from echo_keras.networks import dense_decoder, dense_encoder
    >>> model = vae_gan(
    ...     dense_encoder((8, 8, 1), (4,)),
    ...     dense_decoder(2, (8, 8, 1), (4,)),
    ...     2,
    ...     discriminator=conv_discriminator((4,)),
    ... )
    >>> model.get_layer("gan_penalty").against
    'all'

    References:
        Larsen et al., Autoencoding beyond Pixels (2016), with its metric left out;
        BIB-AE paper, Eq. 34 and footnote 8.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    if bottleneck is None:
        bottleneck = GaussianBottleneck(latent_dim, beta=beta, name="bottleneck")
    settings = weight, discriminator, form, logits
    return with_gan_penalty(encoder, bottleneck, decoder, [], images, *settings)


def bib_ae(
    encoder: Encoder,
    decoder: Decoder,
    latent_dim: int,
    beta: float = 1.0,
    code_discriminator: keras.layers.Layer | None = None,
    images: str = "both",
    weight: float = 1.0,
    discriminator: keras.layers.Layer | None = None,
    form: str = "non_saturating",
    logits: bool = False,
) -> RateDistortionModel:
    """Bounded information bottleneck autoencoder: `beta (A - B) + C + D`.

    Args:
        encoder, decoder, latent_dim: See `echo_keras.objectives`.
        beta: Float >= 0, weight of A and of -B.
        code_discriminator: The discriminator of B; see `MarginalKLPenalty`.
        images: As for `vae_gan`.
        weight, discriminator, form, logits: Of D; see `GANPenalty`.

    Returns:
        A `RateDistortionModel`; B is the layer "marginal_kl", D "gan_penalty".

    Raises:
        ValueError: images is unknown.

    Example:

    >>> from echo_keras.layers import conv_discriminator, dense_discriminator
    >>> from echo_keras.networks import dense_decoder, dense_encoder
    >>> model = bib_ae(
    ...     dense_encoder((8, 8, 1), (4,)),
    ...     dense_decoder(2, (8, 8, 1), (4,)),
    ...     2,
    ...     code_discriminator=dense_discriminator((8,)),
    ...     discriminator=conv_discriminator((4,)),
    ... )
    >>> model.get_layer("marginal_kl").initial_weight
    -1.0

    References:
        BIB-AE paper, Eq. 26 to 29.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    beta = arguments.number("beta", beta, low=0)
    divergence = MarginalKLPenalty(-beta, code_discriminator, name="marginal_kl")
    bottleneck = GaussianBottleneck(latent_dim, beta=beta, name="bottleneck")
    settings = weight, discriminator, form, logits
    return with_gan_penalty(
        encoder, bottleneck, decoder, [divergence], images, *settings
    )


def with_gan_penalty(
    encoder: Encoder,
    bottleneck: keras.layers.Layer,
    decoder: Decoder,
    penalties: Sequence[keras.layers.Layer],
    images: str,
    weight: float,
    discriminator: keras.layers.Layer | None,
    form: str,
    logits: bool,
    samples: keras.layers.Layer | None = None,
) -> RateDistortionModel:
    """An autoencoder with term D on the named images, as `vae_gan` describes them.

    `samples` is what `autoencoder` takes as `generated`, the standard normal if None.
    """
    arguments.choice("images", images, IMAGES)
    penalty = GANPenalty(
        weight,
        discriminator,
        form,
        logits,
        against="others" if images == "samples" else "all",
        name="gan_penalty",
    )
    return autoencoder(
        encoder,
        bottleneck,
        decoder,
        penalties,
        gan_penalty=penalty,
        generated=images != "reconstructions" and (samples or True),
    )
