r"""Objectives of autoencoders: functions from networks to a trainable model.

Each takes an encoder (inputs to features, or a function that makes one), a decoder
(codes to outputs, or a function from the number of code dimensions to one) and the
number of code dimensions, and returns a `RateDistortionModel`, not yet compiled.
`penalties` are more layers that codes pass, such as a `TotalCorrelationPenalty`.

All are choices among four terms of the information bottleneck
\(I(X; Z) - \beta\, I(Z; X)\), each a part of the model:

| term | | what it is here |
| --- | --- | --- |
| A | \(E\, KL[q(z\|x) \,\|\, p(z)]\) | the rate of a channel, with the weight `beta` |
| B | \(KL[q(z) \,\|\, p(z)]\) | `MarginalKLPenalty`, or `MMDPenalty` in its place |
| C | \(-E \log p(x\|z)\) | the loss that the model is compiled with |
| D | \(KL[p_D(x) \,\|\, p(x)]\) | `GANPenalty` |

| function | loss | equation in the BIB-AE paper |
| --- | --- | --- |
| `vae`, `echo` | A + C | 30, and 31 with beta |
| `aae` | B + C | 32 |
| `info_vae` | A - B + C, or A + MMD + C | 33 |
| `gan` | D, or D + C | 24, 25 |
| `vae_gan` | A + C + D | 34 |
| `bib_ae` | A - B + C + D | 26 to 29 |
| `wae`, `vim` | MMD + C | 32, with MMD for B |
| `shannon_ae` | \(R_Q\) + C, of a quantised code | 35 |
| `generative_compression` | \(R_Q\) + C + D, with dither | 36 |
| `vcae` | \(\lambda\, \|\sum_j Var(z_j) - v\|\) + C | |

The paper weighs C and D by its \(\beta\); here A and B are weighed by `beta` instead,
which is its reciprocal.

References:
    Voloshynovskiy et al., Information Bottleneck through Variational Glasses (2019),
    the BIB-AE paper.
"""

import math

import keras

from echo_keras.layers import (
    DeterministicBottleneck,
    EchoBottleneck,
    GANPenalty,
    GaussianBottleneck,
    InputNoise,
    Logistic,
    MarginalKLPenalty,
    MMDPenalty,
    PriorSamples,
    QuantizedBottleneck,
    VariancePenalty,
)

from . import networks
from .model import RateDistortionModel, autoencoder

# The InfoMax paper's priors, all of variance 1.
PRIORS = ("normal", "logistic")
UNIT_LOGISTIC = math.sqrt(3) / math.pi
# What term D compares with the data.
IMAGES = ("reconstructions", "samples", "both")


def vae(
    encoder,
    decoder,
    latent_dim,
    beta=1.0,
    penalties=(),
    pseudo_inputs=None,
    **bottleneck_arguments,
):
    r"""VAE and beta-VAE: \(C + \beta\, E\,KL[q(z|x) \,\|\, m(z)]\).

    With a flow, `flow=IAFBlock(...), context=True, context_units=latent_dim`, it is a VAE
    with an inverse autoregressive flow.

    Args:
        encoder, decoder, latent_dim, penalties: See the module.
        beta: Float >= 0, or a rule; see `GaussianSample`.
        pseudo_inputs: `PseudoInputs` of a `VampPrior`, or None.
        **bottleneck_arguments: As `GaussianBottleneck` takes them: marginal, flow, ...

    Returns:
        A `RateDistortionModel` with the layers "encoder", "bottleneck" and "decoder".

    Example:

    >>> model = vae(*tiny_networks(), 2, beta=0.2)
    >>> float(model.get_layer("bottleneck").channel.initial_beta)
    0.2

    References:
        Kingma & Welling (2014); Higgins et al. (2017); the InfoMax paper, Eq. 2.
    """
    bottleneck = GaussianBottleneck(
        latent_dim, beta=beta, name="bottleneck", **bottleneck_arguments
    )
    return autoencoder(encoder, bottleneck, decoder, penalties, pseudo_inputs)


def echo(encoder, decoder, latent_dim, beta=1.0, penalties=(), **bottleneck_arguments):
    r"""Echo autoencoder: \(C + \beta\, I(X; Z)\), with the information exact.

    The channel's rate is A - B for the marginal that the channel itself has, so that no
    prior is chosen and nothing is bounded.

    Args:
        encoder, decoder, latent_dim, penalties: See the module.
        beta: Float >= 0, or a rule; see `EchoSample`.
        **bottleneck_arguments: As `EchoBottleneck` takes them, such as d_max.

    Returns:
        A `RateDistortionModel` with the layers "encoder", "bottleneck" and "decoder".

    Example:

    >>> echo(*tiny_networks(), 2, d_max=7).get_layer("bottleneck").latent_dim
    2

    References:
        Echo paper, Eq. 8; BIB-AE paper, Eq. 11.
    """
    bottleneck = EchoBottleneck(
        latent_dim, beta=beta, name="bottleneck", **bottleneck_arguments
    )
    return autoencoder(encoder, bottleneck, decoder, penalties)


def info_vae(
    encoder, decoder, latent_dim, divergence=None, beta=1.0, **bottleneck_arguments
):
    r"""InfoVAE: A, a divergence of q(z) from the prior, and C.

    Args:
        encoder, decoder, latent_dim: See the module.
        divergence: Layer that codes pass. `MarginalKLPenalty(-1.0)` gives the
            information A - B (Eq. 33); `MMDPenalty()`, the default, is what the Echo
            paper has under the name.
        beta: Float >= 0, weight of A; at 0 information is free.
        **bottleneck_arguments: As `GaussianBottleneck` takes them: marginal, flow, ...

    Returns:
        A `RateDistortionModel`.

    Example:

    >>> info_vae(*tiny_networks(), 2, MMDPenalty(50.0, name="mmd")).get_layer("mmd").kernel
    'rbf'

    References:
        Zhao et al., InfoVAE (2019); BIB-AE paper, Eq. 33; the InfoMax paper, Sec. 2.3;
        Echo paper, Sec. 4.
    """
    if divergence is None:
        divergence = MMDPenalty(name="mmd")
    return vae(encoder, decoder, latent_dim, beta, [divergence], **bottleneck_arguments)


def aae(
    encoder,
    decoder,
    latent_dim,
    weight=1.0,
    discriminator=None,
    prior=None,
    stochastic=False,
):
    r"""Adversarial autoencoder: \(C + \lambda\, KL[q(z) \,\|\, p(z)]\), terms B and C.

    Args:
        encoder, decoder, latent_dim: See the module.
        weight: Float >= 0, \(\lambda\).
        discriminator, prior: See `MarginalKLPenalty`.
        stochastic: If True, the encoder gives mean and variance of a Gaussian, whose
            rate has no weight; else it is deterministic.

    Returns:
        A `RateDistortionModel`; the term is the layer "marginal_kl".

    Example:

    >>> from echo_keras.layers import dense_discriminator
    >>> model = aae(*tiny_networks(), 2, discriminator=dense_discriminator((8,)))
    >>> type(model.get_layer("bottleneck")).__name__
    'DeterministicBottleneck'

    References:
        Makhzani et al., Adversarial Autoencoders (2015); BIB-AE paper, Eq. 32.
    """
    bottleneck = DeterministicBottleneck(latent_dim, name="bottleneck")
    if stochastic:
        bottleneck = GaussianBottleneck(latent_dim, beta=0.0, name="bottleneck")
    divergence = MarginalKLPenalty(weight, discriminator, prior, name="marginal_kl")
    return autoencoder(encoder, bottleneck, decoder, [divergence])


def gan(decoder, latent_dim, image_shape, prior=None, **divergence_arguments):
    """Generative adversarial network: D of images decoded from the prior.

    Compiled with `losses.ZeroLoss()` it is the original GAN. Compiled with a likelihood,
    it has the term C of Eq. 25 as well: of each image given the code that happened to
    be drawn for it.

    Args:
        decoder: Keras model from codes to images, or a function from `latent_dim` to one.
        latent_dim: Int, number of code dimensions.
        image_shape: (height, width, channels).
        prior: Layer with `sample(n)`; the standard normal if None.
        **divergence_arguments: As `GANPenalty` takes them: weight, discriminator,
            generator_loss, logits.

    Returns:
        A `RateDistortionModel` from images, of which there are as many generated, to
        generated images; the term is the layer "gan_penalty".

    Example:

    >>> from echo_keras.layers import conv_discriminator
    >>> decoder = networks.wae_decoder(2, (8, 8, 1), filters=2)
    >>> gan(decoder, 2, (8, 8, 1), discriminator=conv_discriminator((4,))).output_shape
    (None, 8, 8, 1)

    References:
        Goodfellow et al., Generative Adversarial Nets (2014); BIB-AE paper, Eq. 20 to
        25.
    """
    inputs = keras.Input(image_shape)
    z = PriorSamples(latent_dim, prior, name="prior")(inputs)
    if not isinstance(decoder, keras.Model):
        decoder = decoder(latent_dim)
    divergence = GANPenalty(name="gan_penalty", **divergence_arguments)
    return RateDistortionModel(inputs, divergence([inputs, decoder(z)]))


def vae_gan(
    encoder,
    decoder,
    latent_dim,
    beta=1.0,
    images="both",
    bottleneck=None,
    **divergence_arguments,
):
    """VAE/GAN: terms A, C and D.

    Args:
        encoder, decoder, latent_dim: See the module.
        beta: Float >= 0, weight of A.
        images: What is compared with the data: "reconstructions", "samples" from the
            prior, or "both".
        bottleneck: Layer from features to codes; `GaussianBottleneck(latent_dim)` if None.
        **divergence_arguments: As `GANPenalty` takes them: weight, discriminator,
            generator_loss, logits.

    Returns:
        A `RateDistortionModel`; D is the layer "gan_penalty".

    Raises:
        ValueError: images is unknown.

    Example:

    >>> from echo_keras.layers import conv_discriminator
    >>> model = vae_gan(
    ...     networks.dense_encoder((8, 8, 1), (4,)),
    ...     networks.dense_decoder(2, (8, 8, 1), (4,)),
    ...     2,
    ...     discriminator=conv_discriminator((4,)),
    ... )
    >>> model.get_layer("gan_penalty").against
    'all'

    References:
        Larsen et al., Autoencoding beyond Pixels (2016), with its metric left out;
        BIB-AE paper, Eq. 34 and footnote 8.
    """
    if bottleneck is None:
        bottleneck = GaussianBottleneck(latent_dim, beta=beta, name="bottleneck")
    return _with_gan_penalty(
        encoder, bottleneck, decoder, [], images, divergence_arguments
    )


def bib_ae(
    encoder,
    decoder,
    latent_dim,
    beta=1.0,
    code_discriminator=None,
    images="both",
    **divergence_arguments,
):
    r"""Bounded information bottleneck autoencoder: \(\beta (A - B) + C + D\).

    Args:
        encoder, decoder, latent_dim: See the module.
        beta: Float >= 0, weight of A and of -B.
        code_discriminator: The discriminator of B; see `MarginalKLPenalty`.
        images: As for `vae_gan`.
        **divergence_arguments: As `GANPenalty` takes them: weight, discriminator,
            generator_loss, logits.

    Returns:
        A `RateDistortionModel`; B is the layer "marginal_kl", D "gan_penalty".

    Example:

    >>> from echo_keras.layers import conv_discriminator, dense_discriminator
    >>> model = bib_ae(
    ...     networks.dense_encoder((8, 8, 1), (4,)),
    ...     networks.dense_decoder(2, (8, 8, 1), (4,)),
    ...     2,
    ...     code_discriminator=dense_discriminator((8,)),
    ...     discriminator=conv_discriminator((4,)),
    ... )
    >>> model.get_layer("marginal_kl").initial_weight
    -1.0

    References:
        BIB-AE paper, Eq. 26 to 29.
    """
    divergence = MarginalKLPenalty(-beta, code_discriminator, name="marginal_kl")
    bottleneck = GaussianBottleneck(latent_dim, beta=beta, name="bottleneck")
    return _with_gan_penalty(
        encoder, bottleneck, decoder, [divergence], images, divergence_arguments
    )


def shannon_ae(
    encoder, decoder, latent_dim, codewords, beta=0.0, **quantizer_arguments
):
    r"""Compression: \(\beta R_Q + C\), a deterministic code of finite rate.

    Args:
        encoder, decoder, latent_dim: See the module.
        codewords: Int, codewords of each group of dimensions.
        beta: Float >= 0, weight of the rate, which has a gradient only with a
            `temperature`; else the number of codewords bounds it.
        **quantizer_arguments: As `VectorQuantizer` takes them: groups, commitment,
            update, temperature, ...

    Returns:
        A `RateDistortionModel`; its rate is the length of the code in nats, which
        `echo_keras.codec` writes to files.

    Example:

    >>> model = shannon_ae(*tiny_networks(), 4, codewords=8, groups=2)
    >>> model.get_layer("bottleneck").channel.codewords
    8

    References:
        BIB-AE paper, Eq. 35.
    """
    bottleneck = QuantizedBottleneck(
        latent_dim, codewords, beta=beta, name="bottleneck", **quantizer_arguments
    )
    return autoencoder(encoder, bottleneck, decoder)


def generative_compression(
    encoder,
    decoder,
    latent_dim,
    codewords,
    beta=0.0,
    dither=0.1,
    quantizer_arguments=None,
    images="reconstructions",
    **divergence_arguments,
):
    r"""Generative compression: \(\beta R_Q + C + D\), noise added to the codewords.

    Args:
        encoder, decoder, latent_dim, codewords, beta: As for `shannon_ae`.
        dither: Float >= 0, half the width of the noise; see `VectorQuantizer`.
        quantizer_arguments: Dict of other arguments of `VectorQuantizer`, or None.
        images: What is compared with the data; see `vae_gan`. "samples" are decoded
            draws from N(0, I), which the codewords do not follow of themselves.
        **divergence_arguments: As `GANPenalty` takes them: weight, discriminator,
            generator_loss, logits.

    Returns:
        A `RateDistortionModel`; D is the layer "gan_penalty".

    Example:

    >>> from echo_keras.layers import conv_discriminator
    >>> model = generative_compression(
    ...     networks.dense_encoder((8, 8, 1), (4,)),
    ...     networks.dense_decoder(2, (8, 8, 1), (4,)),
    ...     2,
    ...     codewords=8,
    ...     discriminator=conv_discriminator((4,)),
    ... )
    >>> model.get_layer("bottleneck").channel.dither
    0.1

    References:
        BIB-AE paper, Eq. 36 and footnote 10.
    """
    bottleneck = QuantizedBottleneck(
        latent_dim,
        codewords,
        beta=beta,
        dither=dither,
        name="bottleneck",
        **(quantizer_arguments or {}),
    )
    return _with_gan_penalty(
        encoder, bottleneck, decoder, [], images, divergence_arguments
    )


def _with_gan_penalty(encoder, bottleneck, decoder, penalties, images, arguments):
    if images not in IMAGES:
        raise ValueError(
            f"images must be one of {', '.join(IMAGES)}; received {images!r}."
        )
    against = "others" if images == "samples" else "all"
    return autoencoder(
        encoder,
        bottleneck,
        decoder,
        penalties,
        gan_penalty=GANPenalty(against=against, name="gan_penalty", **arguments),
        generated=images != "reconstructions",
    )


def information_bottleneck(encoder, bottleneck, classes):
    r"""Supervised bottleneck: \(H(C|Z) + \beta\, I(X; Z)\), to be learnt with labels.

    Args:
        encoder: Keras model from inputs to features.
        bottleneck: Layer from features to codes, whose `beta` is the reciprocal of the
            paper's: `EchoBottleneck`, whose rate is I(X; Z), or `GaussianBottleneck`,
            whose rate bounds it.
        classes: Int >= 2, number of classes.

    Returns:
        A `RateDistortionModel` from inputs to logits, for the loss
        `losses.CategoricalNLL()`: `distortion` is the bound on H(C|Z), and H(C) less it a
        bound on I(Z; C).

    Example:

    >>> encoder, _ = networks()
    >>> model = information_bottleneck(encoder, EchoBottleneck(2, d_max=7), 10)
    >>> model.output_shape
    (None, 10)

    References:
        Tishby et al. (1999); Alemi et al., Deep Variational Information Bottleneck
        (2017); BIB-AE paper, Eq. 1 to 9; Echo paper, Sec. 6.
    """
    decoder = keras.Sequential(
        [
            keras.layers.Input((bottleneck.latent_dim,)),
            keras.layers.Dense(classes, dtype="float32"),
        ],
        name="decoder",
    )
    return autoencoder(encoder, bottleneck, decoder)


def wae(
    encoder,
    decoder,
    latent_dim,
    weight=10.0,
    noise_variance=None,
    estimator="unbiased",
    penalties=(),
):
    r"""Wasserstein autoencoder: \(C + \lambda\, MMD^2[q(z), N(0, I)]\).

    The kernel is the inverse multiquadric with C = 2 `latent_dim`. With noise of fixed
    variance on the code it is the constrained WAE, the same as the Bounded Information
    Rate VAE: what the code carries is at most `GaussianSample.capacity`.

    Args:
        encoder, decoder, latent_dim, penalties: See the module.
        weight: Float >= 0, \(\lambda\).
        noise_variance: Float > 0, or None for a deterministic encoder.
        estimator: See `MMDPenalty`; WAE leaves out pairs of an example with itself.

    Returns:
        A `RateDistortionModel`; the penalty is the layer "mmd".

    Example:

    >>> model = wae(*tiny_networks(), 16, noise_variance=0.25)
    >>> model.get_layer("bottleneck").channel.capacity_bits()
    16.0

    References:
        Tolstikhin et al., Wasserstein Auto-Encoders (2018), Sec. 3 and 4; Variance
        Constrained Autoencoding, Eq. 2 and 3, App. B.
    """
    penalty = MMDPenalty(weight, kernel="imq", estimator=estimator, name="mmd")
    bottleneck = _with_fixed_noise(latent_dim, noise_variance)
    return autoencoder(encoder, bottleneck, decoder, [penalty, *penalties])


def vcae(
    encoder,
    decoder,
    latent_dim,
    weight=1.0,
    noise_variance=None,
    variance=None,
    penalties=(),
):
    r"""Variance-constrained autoencoder: \(C + \lambda\, |\sum_j Var(z_j) - v|\).

    Args:
        encoder, decoder, latent_dim, penalties: See the module.
        weight: Float >= 0, \(\lambda\).
        noise_variance: Float > 0, or None for a deterministic encoder.
        variance: Float >= 0, v; `latent_dim` if None.

    Returns:
        A `RateDistortionModel`; the penalty is the layer "variance".

    Example:

    >>> model = vcae(*tiny_networks(), 16, noise_variance=0.05)
    >>> model.get_layer("variance").target
    16.0

    References:
        Variance Constrained Autoencoding, Eq. 6 and 7, Algorithm 1.
    """
    penalty = VariancePenalty(weight, variance=variance, name="variance")
    bottleneck = _with_fixed_noise(latent_dim, noise_variance)
    return autoencoder(encoder, bottleneck, decoder, [penalty, *penalties])


def vim(encoder, decoder, latent_dim, weight=10.0, prior="normal", input_noise=0.01):
    r"""Variational InfoMax autoencoder: \(C + \lambda\, MMD^2[q(z), p(z)]\).

    There is no penalty on the information that the encoder lets through; the prior's
    entropy bounds what the code can carry. The encoder is random because its input is.

    Args:
        encoder, decoder, latent_dim: See the module.
        weight: Float >= 0, \(\lambda\).
        prior: "normal" or "logistic", both of variance 1 in each dimension.
        input_noise: Float >= 0, bound of the noise on the encoder's input in training;
            see `InputNoise`. The distortion compares with the image as it is.

    Returns:
        A `RateDistortionModel`; the penalty is the layer "mmd", with the inverse
        multiquadric kernel of Wasserstein autoencoders.

    Raises:
        ValueError: the prior is unknown.

    Example:

    >>> vim(*tiny_networks(), 2, prior="logistic").get_layer("mmd").prior.name
    'logistic'

    References:
        The Variational InfoMax Autoencoder, Eq. 7, Sec. 3.2 and App.
    """
    if prior not in PRIORS:
        raise ValueError(
            f"prior must be one of {', '.join(PRIORS)}; received {prior!r}."
        )
    penalty = MMDPenalty(
        weight,
        kernel="imq",
        estimator="unbiased",
        prior=Logistic(UNIT_LOGISTIC, name="logistic") if prior == "logistic" else None,
        name="mmd",
    )
    return autoencoder(
        encoder,
        DeterministicBottleneck(latent_dim, name="bottleneck"),
        decoder,
        [penalty],
        input_noise=InputNoise(input_noise, name="input_noise"),
    )


def _with_fixed_noise(latent_dim, noise_variance):
    """The bottleneck whose rate no objective weighs: bounded by its noise alone."""
    if noise_variance is None:
        return DeterministicBottleneck(latent_dim, name="bottleneck")
    return GaussianBottleneck(
        latent_dim, noise_variance=noise_variance, beta=0.0, name="bottleneck"
    )


def tiny_networks():
    """A small encoder and decoder of 8 numbers, for the examples of this module."""
    encoder = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(4)], name="encoder"
    )
    return encoder, lambda latent_dim: networks.dense_decoder(latent_dim, (8,), (4,))
