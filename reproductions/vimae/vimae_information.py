"""Entropies of codes, and what they carry (VIM, Sec. 3.2 and 5.1).

The paper's capacity is the supremum of I(X; Z) over models whose codes have the law
p(z), and h(q(z)) stands for it. The encoder's noise, of the channel or of the input,
bounds what a code carries: I(X; Z) = h(q(z)) - E h(q(z|x)), and with codes of the
prior's law h(p(z)) - E h(q(z|x)), here called the capacity.
"""

import math

import numpy as np
from scipy import special, stats

from echo_keras import metrics
from echo_keras.layers import InputNoise
from echo_keras.objectives import UNIT_LOGISTIC

CODES = 5000
IMAGES, DRAWS = 50, 100  # of which h(q(z|x)) is measured


def prior_entropy(config):
    """Of the method's prior, nats."""
    logistic = config["method"] == "vimae-l"
    law = stats.logistic(scale=UNIT_LOGISTIC) if logistic else stats.norm()
    return config["latent_dim"] * float(law.entropy())


def information(run, prior_codes):
    """Entropies of q(z), of q(z|x) and of the prior, and what follows, in nats.

    h(q(z)) is of nearest neighbours, whose bias in some dimensions is not small: that
    of as many codes from the prior is beside it.
    """
    x = metrics.evenly_spaced(run.dataset.x_test, CODES)
    marginal, error = metrics.differential_entropy(metrics.encode(run.model, x))
    drawn, _ = metrics.differential_entropy(prior_codes(run.config, len(x)))
    given, given_error = conditional_entropy(run.model, x)
    prior = prior_entropy(run.config)
    return {
        "entropy": marginal,
        "entropy_se": error,
        "prior": prior,
        "prior_by_neighbours": drawn,
        "conditional": given,
        "conditional_se": given_error,
        "information": marginal - given,
        "capacity": prior - given,
    }


def conditional_entropy(model, x, images=IMAGES, draws=DRAWS):
    """E h(q(z|x)) and its standard error over images, codes taken to be Gaussian.

    The noise is the channel's; without one that of the input as in training, so small
    that what the encoder makes of it is nearly Gaussian.
    """
    x = metrics.evenly_spaced(x, images)
    noise = [layer for layer in model.layers if isinstance(layer, InputNoise)]
    codes = []
    for seed in range(draws):
        moved = np.asarray(noise[0](x, training=True)) if noise else x
        codes.append(metrics.encode(model, moved, seed=seed))
    codes = np.array(codes).transpose(1, 0, 2).astype("float64")
    n, d = len(codes[0]), codes.shape[-1]
    centred = codes - codes.mean(axis=1, keepdims=True)
    _, log_det = np.linalg.slogdet(np.swapaxes(centred, 1, 2) @ centred)
    # Of a Wishart matrix of n - 1 degrees log det is off by this, whatever the law's.
    log_det -= np.sum(special.digamma((n - 1 - np.arange(d)) / 2)) + d * math.log(2)
    found = 0.5 * (d * math.log(2 * math.pi * math.e) + log_det)
    return float(found.mean()), float(found.std(ddof=1) / math.sqrt(len(found)))
