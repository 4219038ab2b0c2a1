r"""Objectives of autoencoders: functions from networks to a trainable model.

Each takes an encoder (inputs to features), a decoder (codes to outputs, or a function
from the number of code dimensions to one) and the number of code dimensions, and
returns a `RateDistortionModel`, not yet compiled. The loss it is compiled with is the
distortion D; the objective decides what is added to it:

| function | loss | code |
| --- | --- | --- |
| `vae` | \(D + \beta\, E\,KL[q(z\|x) \,\|\, m(z)]\) | Gaussian, or a flow of it |
| `info_vae` | \(D + \beta\, E\,KL + \lambda\, MMD^2[q(z), p(z)]\) | Gaussian |
| `wae` | \(D + \lambda\, MMD^2[q(z), p(z)]\) | plain, or fixed noise: cWAE |
| `vcae` | \(D + \lambda\, \|\sum_j Var z_j - v\|\) | fixed noise, or plain: dVCAE |
| `vim` | \(D + \lambda\, MMD^2[q(z), p(z)]\) | plain; the input has noise |
"""

import math

import keras

from echo_keras.layers import (
    DeterministicBottleneck,
    GaussianBottleneck,
    InputNoise,
    Logistic,
    MMDPenalty,
    VariancePenalty,
)

from . import models

# The InfoMax paper's priors, all of variance 1.
PRIORS = ("normal", "logistic")
UNIT_LOGISTIC = math.sqrt(3) / math.pi


def vae(encoder, decoder, units, beta=1.0, **bottleneck_arguments):
    r"""VAE and beta-VAE: \(D + \beta\, E\,KL[q(z|x) \,\|\, m(z)]\).

    With a flow, `flow=IAFBlock(...), context=True, context_units=units`, it is a VAE
    with an inverse autoregressive flow.

    Args:
        encoder, decoder, units: See the module.
        beta: Float >= 0, or a rule; see `GaussianSample`.
        **bottleneck_arguments: As `GaussianBottleneck` takes them.

    Returns:
        A `RateDistortionModel` with the layers "encoder", "bottleneck" and "decoder".

    Example:

    >>> model = vae(*networks(), 2, beta=0.2)
    >>> float(model.get_layer("bottleneck").channel.initial_beta)
    0.2

    References:
        Kingma & Welling (2014); Higgins et al. (2017); the InfoMax paper, Eq. 2.
    """
    bottleneck = GaussianBottleneck(
        units, beta=beta, name="bottleneck", **bottleneck_arguments
    )
    return models.autoencoder(encoder, bottleneck, decoder)


def info_vae(encoder, decoder, units, weight=999.0, beta=1.0, kernel="rbf"):
    r"""InfoVAE: \(D + \beta\, E\,KL[q(z|x) \| p(z)] + \lambda\, MMD^2[q(z), p(z)]\).

    Args:
        encoder, decoder, units: See the module.
        weight: Float >= 0, \(\lambda\).
        beta: Float >= 0; at 0 information is free.
        kernel: See `MMDPenalty`.

    Returns:
        A `RateDistortionModel`; the penalty is the layer "mmd".

    Example:

    >>> info_vae(*networks(), 2).get_layer("mmd").initial_weight
    999.0

    References:
        Zhao et al., InfoVAE (2019); the InfoMax paper, Sec. 2.3; Echo paper, Sec. 4.
    """
    bottleneck = GaussianBottleneck(units, beta=beta, name="bottleneck")
    penalty = MMDPenalty(weight, kernel=kernel, name="mmd")
    return models.autoencoder(encoder, bottleneck, decoder, [penalty])


def wae(
    encoder, decoder, units, weight=10.0, noise_variance=None, estimator="unbiased"
):
    r"""Wasserstein autoencoder: \(D + \lambda\, MMD^2[q(z), N(0, I)]\).

    The kernel is the inverse multiquadric with C = 2 `units`. With noise of fixed
    variance on the code it is the constrained WAE, the same as the Bounded Information
    Rate VAE: what the code carries is at most `GaussianSample.capacity`.

    Args:
        encoder, decoder, units: See the module.
        weight: Float >= 0, \(\lambda\).
        noise_variance: Float > 0, or None for a deterministic encoder.
        estimator: See `MMDPenalty`; WAE leaves out pairs of an example with itself.

    Returns:
        A `RateDistortionModel`; the penalty is the layer "mmd".

    Example:

    >>> model = wae(*networks(), 16, noise_variance=0.25)
    >>> model.get_layer("bottleneck").channel.capacity_bits()
    16.0

    References:
        Tolstikhin et al., Wasserstein Auto-Encoders (2018), Sec. 3 and 4; Variance
        Constrained Autoencoding, Eq. 2 and 3, App. B.
    """
    penalty = MMDPenalty(weight, kernel="imq", estimator=estimator, name="mmd")
    return models.autoencoder(
        encoder, _with_fixed_noise(units, noise_variance), decoder, [penalty]
    )


def vcae(encoder, decoder, units, weight=1.0, noise_variance=None, variance=None):
    r"""Variance-constrained autoencoder: \(D + \lambda\, |\sum_j Var(z_j) - v|\).

    Args:
        encoder, decoder, units: See the module.
        weight: Float >= 0, \(\lambda\).
        noise_variance: Float > 0, or None for a deterministic encoder.
        variance: Float >= 0, v; `units` if None.

    Returns:
        A `RateDistortionModel`; the penalty is the layer "variance".

    Example:

    >>> model = vcae(*networks(), 16, noise_variance=0.05)
    >>> model.get_layer("variance").target
    16.0

    References:
        Variance Constrained Autoencoding, Eq. 6 and 7, Algorithm 1.
    """
    penalty = VariancePenalty(weight, variance=variance, name="variance")
    return models.autoencoder(
        encoder, _with_fixed_noise(units, noise_variance), decoder, [penalty]
    )


def vim(encoder, decoder, units, weight=10.0, prior="normal", input_noise=0.01):
    r"""Variational InfoMax autoencoder: \(D + \lambda\, MMD^2[q(z), p(z)]\).

    There is no penalty on the information that the encoder lets through; the prior's
    entropy bounds what the code can carry. The encoder is random because its input is.

    Args:
        encoder, decoder, units: See the module.
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

    >>> vim(*networks(), 2, prior="logistic").get_layer("mmd").prior.name
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
    return models.autoencoder(
        encoder,
        DeterministicBottleneck(units, name="bottleneck"),
        decoder,
        [penalty],
        input_noise=InputNoise(input_noise, name="input_noise"),
    )


def _with_fixed_noise(units, noise_variance):
    """The bottleneck whose rate no objective weighs: bounded by its noise alone."""
    if noise_variance is None:
        return DeterministicBottleneck(units, name="bottleneck")
    return GaussianBottleneck(
        units, noise_variance=noise_variance, beta=0.0, name="bottleneck"
    )


def networks():
    """A small encoder and decoder of 8 numbers, for the examples of this module."""
    encoder = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(4)], name="encoder"
    )
    return encoder, lambda units: models.dense_decoder(units, (8,), (4,))
