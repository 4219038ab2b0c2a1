"""Objectives that weigh the rate of a channel, term A."""

from collections.abc import Sequence

import keras

from echo_keras.layers import (
    BetaRule,
    EchoBottleneck,
    GaussianBottleneck,
    MMDPenalty,
    PseudoInputs,
    arguments,
)

from ..autoencoders import autoencoder
from ..model import RateDistortionModel
from ..networks import Decoder, Encoder


def vae(
    encoder: Encoder,
    decoder: Decoder,
    latent_dim: int,
    beta: float | BetaRule = 1.0,
    penalties: Sequence[keras.layers.Layer] = (),
    pseudo_inputs: PseudoInputs | None = None,
    marginal: keras.layers.Layer | None = None,
    flow: keras.layers.Layer | None = None,
    context: bool = False,
    context_units: int | None = None,
    variance_activation: str = "exp",
    seed: int | None = None,
    free_bits: float = 0.0,
) -> RateDistortionModel:
    """VAE and beta-VAE: `C + beta E KL[q(z|x) || m(z)]`.

    With a flow, `flow=IAFBlock(...), context=True, context_units=latent_dim`, it is a
    VAE with an inverse autoregressive flow.

    Args:
        encoder, decoder, latent_dim, penalties: See `echo_keras.objectives`.
        beta: Float >= 0, or a rule; see `GaussianSample`.
        pseudo_inputs: `PseudoInputs` of a `VampPrior`, or None.
        marginal: Layer, m(z); the standard normal if None.
        flow, context, context_units, variance_activation, seed, free_bits: See
            `GaussianBottleneck`.

    Returns:
        A `RateDistortionModel` with the layers "encoder", "bottleneck" and "decoder".

    Example:

    >>> model = vae(encoder, decoder, 2, beta=0.2)
    >>> float(model.get_layer("bottleneck").channel.initial_beta)
    0.2

    References:
        Kingma & Welling (2014); Higgins et al. (2017); the InfoMax paper, Eq. 2.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    bottleneck = GaussianBottleneck(
        latent_dim,
        beta=beta,
        marginal=marginal,
        flow=flow,
        context=context,
        context_units=context_units,
        variance_activation=variance_activation,
        seed=seed,
        free_bits=free_bits,
        name="bottleneck",
    )
    return autoencoder(encoder, bottleneck, decoder, penalties, pseudo_inputs)


def echo(
    encoder: Encoder,
    decoder: Decoder,
    latent_dim: int,
    beta: float | BetaRule = 1.0,
    penalties: Sequence[keras.layers.Layer] = (),
    d_max: int = 99,
    sampling: str = "cyclic",
    parametrization: str = "scaled",
    scale: str = "diagonal",
    bank_size: int | None = None,
    seed: int | None = None,
    max_magnitude: float | None = None,
    free_bits: float = 0.0,
    multiplicative: bool = False,
) -> RateDistortionModel:
    """Echo autoencoder: `C + beta I(X; Z)`, without a prior.

    The channel's rate is A - B for the marginal that the channel itself has, whenever
    this has a density; else it is an upper bound (see `metrics.evaluate`).

    Args:
        encoder, decoder, latent_dim, penalties: See `echo_keras.objectives`.
        beta: Float >= 0, or a rule; see `EchoSample`.
        d_max, sampling, parametrization, scale, bank_size, seed, max_magnitude,
            free_bits, multiplicative: See `EchoBottleneck` and `EchoSample`.

    Returns:
        A `RateDistortionModel` with the layers "encoder", "bottleneck" and "decoder".

    Example:

    >>> echo(encoder, decoder, 2, d_max=7).get_layer("bottleneck").units
    2

    References:
        Echo paper, Eq. 8; BIB-AE paper, Eq. 11.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    bottleneck = EchoBottleneck(
        latent_dim,
        beta=beta,
        d_max=d_max,
        sampling=sampling,
        parametrization=parametrization,
        scale=scale,
        bank_size=bank_size,
        max_magnitude=max_magnitude,
        seed=seed,
        free_bits=free_bits,
        multiplicative=multiplicative,
        name="bottleneck",
    )
    return autoencoder(encoder, bottleneck, decoder, penalties)


def info_vae(
    encoder: Encoder,
    decoder: Decoder,
    latent_dim: int,
    divergence: keras.layers.Layer | None = None,
    beta: float | BetaRule = 1.0,
    marginal: keras.layers.Layer | None = None,
    flow: keras.layers.Layer | None = None,
    variance_activation: str = "exp",
    seed: int | None = None,
    free_bits: float = 0.0,
) -> RateDistortionModel:
    """InfoVAE: A, a divergence of q(z) from the prior, and C.

    Args:
        encoder, decoder, latent_dim: See `echo_keras.objectives`.
        divergence: Layer that codes pass. `MarginalKLPenalty(-1.0)` gives the
            information A - B (Eq. 33); `MMDPenalty()`, the default, is what the Echo
            paper has under the name.
        beta: Float >= 0, weight of A; at 0 information is free.
        marginal, flow, variance_activation, seed, free_bits: As for `vae`.

    Returns:
        A `RateDistortionModel`.

    Example:

    >>> model = info_vae(encoder, decoder, 2, MMDPenalty(50.0, name="mmd"))
    >>> model.get_layer("mmd").kernel
    'rbf'

    References:
        Zhao et al., InfoVAE (2019); BIB-AE paper, Eq. 33; the InfoMax paper, Sec. 2.3;
        Echo paper, Sec. 4.
    """
    divergence = arguments.layer("divergence", divergence, optional=True)
    if divergence is None:
        divergence = MMDPenalty(name="mmd")
    return vae(
        encoder,
        decoder,
        latent_dim,
        beta,
        [divergence],
        marginal=marginal,
        flow=flow,
        variance_activation=variance_activation,
        seed=seed,
        free_bits=free_bits,
    )


def information_bottleneck(
    encoder: Encoder, bottleneck: keras.layers.Layer, classes: int
) -> RateDistortionModel:
    """Supervised bottleneck: `H(C|Z) + beta I(X; Z)`, trained with labels.

    Args:
        encoder: See `echo_keras.objectives`.
        bottleneck: Layer from features to codes, whose `beta` is the reciprocal of the
            paper's: `EchoBottleneck`, whose rate is I(X; Z) if q(z) has a density, or
            `GaussianBottleneck`, whose rate bounds it.
        classes: Int >= 2, number of classes.

    Returns:
        A `RateDistortionModel` from inputs to logits, for the loss
        `losses.CategoricalNLL()`: `distortion` is the bound on H(C|Z), and H(C) less it
        a bound on I(Z; C).

    Example:

    >>> bottleneck = EchoBottleneck(2, d_max=7)
    >>> information_bottleneck(encoder, bottleneck, 10).output_shape
    (None, 10)

    References:
        Tishby et al. (1999); Alemi et al., Deep Variational Information Bottleneck
        (2017); BIB-AE paper, Eq. 1 to 9; Echo paper, Sec. 6.
    """
    arguments.layer("bottleneck", bottleneck, ("units",))
    classes = arguments.integer("classes", classes, low=2)
    decoder = keras.Sequential(
        [
            keras.layers.Input((bottleneck.units,)),
            keras.layers.Dense(classes, dtype="float32"),
        ],
        name="decoder",
    )
    return autoencoder(encoder, bottleneck, decoder)
