"""Objectives that match the codes' marginal to a prior and leave the rate free."""

import math
from collections.abc import Sequence

import keras

from echo_keras.layers import (
    DeterministicBottleneck,
    GaussianBottleneck,
    InputNoise,
    Logistic,
    MMDPenalty,
    VariancePenalty,
    arguments,
)
from echo_keras.layers.mmd_penalty import WAE_SCALES

from ..autoencoders import autoencoder
from ..model import RateDistortionModel
from ..networks import Decoder, Encoder

# The InfoMax paper's priors, all of variance 1.
PRIORS = ("normal", "logistic")
UNIT_LOGISTIC = math.sqrt(3) / math.pi
VARIANTS = ("paper", "published_code")
WAE_ERROR_WEIGHT = 0.05  # of the squared error, in the code of Tolstikhin et al.


def wae(
    encoder: Encoder,
    decoder: Decoder,
    latent_dim: int,
    weight: float = 10.0,
    noise_variance: float | None = None,
    estimator: str = "unbiased",
    penalties: Sequence[keras.layers.Layer] = (),
    prior: keras.layers.Layer | None = None,
) -> RateDistortionModel:
    """Wasserstein autoencoder: `C + lambda MMD^2[q(z), p(z)]`.

    The kernel is the inverse multiquadric with C = 2 `latent_dim`. With noise of fixed
    variance on the code it is the constrained WAE, the same as the Bounded Information
    Rate VAE: what the code carries is at most `GaussianSample.capacity`.

    Args:
        encoder, decoder, latent_dim, penalties: See `echo_keras.objectives`.
        weight: Float >= 0, `lambda`.
        noise_variance: Float > 0, or None for a deterministic encoder.
        estimator: See `MMDPenalty`; WAE leaves out pairs of an example with itself.
        prior: Layer with `sample(n)`, p(z); N(0, I) if None. See `Marginal`.

    Returns:
        A `RateDistortionModel`; the penalty is the layer "mmd".

    Example:

    >>> model = wae(encoder, decoder, 16, noise_variance=0.25)
    >>> model.get_layer("bottleneck").channel.capacity_bits()
    16.0

    References:
        Tolstikhin et al., Wasserstein Auto-Encoders (2018), Sec. 3 and 4; Variance
        Constrained Autoencoding, Eq. 2 and 3, App. B.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    penalty = MMDPenalty(
        weight, kernel="imq", estimator=estimator, prior=prior, name="mmd"
    )
    bottleneck = _with_fixed_noise(latent_dim, noise_variance)
    penalties = [penalty, *arguments.layers("penalties", penalties)]
    return autoencoder(encoder, bottleneck, decoder, penalties)


def vcae(
    encoder: Encoder,
    decoder: Decoder,
    latent_dim: int,
    weight: float = 1.0,
    noise_variance: float | None = None,
    variance: float | None = None,
    penalties: Sequence[keras.layers.Layer] = (),
) -> RateDistortionModel:
    """Variance-constrained autoencoder: `C + lambda |sum_j Var(z_j) - v|`.

    Args:
        encoder, decoder, latent_dim, penalties: See `echo_keras.objectives`.
        weight: Float >= 0, `lambda`.
        noise_variance: Float > 0, or None for a deterministic encoder.
        variance: Float >= 0, v; `latent_dim` if None.

    Returns:
        A `RateDistortionModel`; the penalty is the layer "variance".

    Example:

    >>> model = vcae(encoder, decoder, 16, noise_variance=0.05)
    >>> model.get_layer("variance").target
    16.0

    References:
        Variance Constrained Autoencoding, Eq. 6 and 7, Algorithm 1.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    penalty = VariancePenalty(weight, variance=variance, name="variance")
    bottleneck = _with_fixed_noise(latent_dim, noise_variance)
    penalties = [penalty, *arguments.layers("penalties", penalties)]
    return autoencoder(encoder, bottleneck, decoder, penalties)


def vim(
    encoder: Encoder,
    decoder: Decoder,
    latent_dim: int,
    weight: float = 10.0,
    prior: str | keras.layers.Layer = "normal",
    input_noise: float | None = None,
    kernel: str = "imq",
    squared: bool = True,
    variant: str = "paper",
) -> RateDistortionModel:
    """Variational InfoMax autoencoder: `C + lambda MMD^2[q(z), p(z)]`.

    There is no penalty on the information that the encoder lets through; the prior's
    entropy bounds what the code can carry. The encoder is random because its input is.

    Args:
        encoder, decoder, latent_dim: See `echo_keras.objectives`.
        weight: Float >= 0, `lambda`.
        prior: "normal" or "logistic", both of variance 1 in each dimension; or a layer
            with `sample(n)`.
        input_noise: Float >= 0, bound of the noise on the encoder's input in training;
            see `InputNoise`. The distortion compares with the image as it is. None for
            the paper's .01, or the published code's .02.
        kernel: "imq", that of Wasserstein autoencoders, or "rbf"; see `MMDPenalty`.
        squared: If False the term is MMD, as in the paper's Eq. 13, instead of the
            square that Wasserstein autoencoders minimize.
        variant: "paper", or "published_code": what the code of Wasserstein
            autoencoders does, whose settings the paper takes over. It weighs the
            squared error by .05, which is here `lambda / .05` beside an error of
            weight 1, sums the kernel over seven scales, and its noise has a standard
            deviation of .01, cut at .02. (It also moves the encoder's codes to the
            prior's moments first: `training.pretrain_encoder`.)

    Returns:
        A `RateDistortionModel`; the penalty is the layer "mmd".

    Raises:
        ValueError: the prior, the kernel or the variant is unknown.

    Example:

    >>> vim(encoder, decoder, 2, prior="logistic").get_layer("mmd").prior.name
    'logistic'

    References:
        The Variational InfoMax Autoencoder, Eq. 7, Sec. 3.2 and App.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    if not isinstance(prior, keras.layers.Layer):
        arguments.choice("prior", prior, PRIORS)
        logistic = Logistic(UNIT_LOGISTIC, name="logistic")
        prior = logistic if prior == "logistic" else None
    arguments.choice("variant", variant, VARIANTS)
    weight = arguments.number("weight", weight, low=0)
    published = variant == "published_code"
    if input_noise is None:
        input_noise = 0.02 if published else 0.01
    penalty = MMDPenalty(
        weight / WAE_ERROR_WEIGHT if published else weight,
        kernel=kernel,
        estimator="unbiased",
        scales=WAE_SCALES if published else (1.0,),
        squared=squared,
        prior=prior,
        name="mmd",
    )
    return autoencoder(
        encoder,
        DeterministicBottleneck(latent_dim, name="bottleneck"),
        decoder,
        [penalty],
        input_noise=InputNoise(input_noise, name="input_noise"),
    )


def _with_fixed_noise(
    latent_dim: int, noise_variance: float | None
) -> keras.layers.Layer:
    """The bottleneck whose rate no objective weighs: bounded by its noise alone."""
    if noise_variance is None:
        return DeterministicBottleneck(latent_dim, name="bottleneck")
    return GaussianBottleneck(
        latent_dim, noise_variance=noise_variance, beta=0.0, name="bottleneck"
    )
