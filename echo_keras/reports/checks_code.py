"""Checks of the code: what it tells, whether dimensions depend, what it looks like."""

import keras
import numpy as np
from keras import ops
from scipy import stats
from sklearn.metrics import pairwise_distances

from echo_keras import metrics
from echo_keras.layers import (
    EchoSample,
    GaussianSample,
    MMDPenalty,
    StandardNormal,
    VectorQuantizer,
)
from echo_keras.layers.backend import no_gradients
from echo_keras.metrics.dependence import independent_law
from echo_keras.model import find_layers

from .finding import Finding
from .subject import NotApplicable, Subject

COLLAPSED = 0.1  # nats above the lowest rate, of the whole code
INACTIVE = 0.01  # nats above the lowest rate, of a dimension
SIGNAL = 0.1  # share of a dimension's variance that an inactive one does not reach
DEPENDENT = 0.1  # nats of total correlation that are worth a word
PERMUTATIONS = 999
PAIRED = 500  # codes and draws from the prior that are compared


def posterior_collapse(subject: Subject) -> Finding | None:
    """A code that tells next to nothing of the input."""
    rate, floor = float(subject.rate.mean()), subject.floor
    if rate - floor >= COLLAPSED:
        return None
    above = f"the lowest rate of its channel, {floor:.3g} nats" if floor else "0"
    return Finding(
        "posterior_collapse",
        "error",
        f"The rate is {rate:.4g} nats per example, less than {COLLAPSED:g} above "
        f"{above}: the code tells nothing of the input, and the decoder gives the same "
        f"for all.",
        "Lower beta, warm it up (BetaSchedule), or hold a rate (TargetRate); of an "
        "autoregressive decoder make the receptive field smaller.",
        {"rate": rate, "lowest_rate": floor},
    )


def inactive_dimensions(subject: Subject) -> Finding | None:
    """Latent dimensions that tell nothing, beside others that do."""
    rates = subject.rate_by_dimension
    if rates is not None:
        active = rates - subject.floor / len(rates) >= INACTIVE
        how = f"less than {INACTIVE:g} nats above their lowest rate"
    else:
        # The signal is what two draws of the same examples share.
        pair = subject.codes, subject.draw_codes()
        first, second = (z - z.mean(axis=0) for z in pair)
        spread = np.sqrt((first**2).mean(axis=0) * (second**2).mean(axis=0))
        share = (first * second).mean(axis=0) / np.maximum(spread, 1e-30)
        active = share >= SIGNAL
        how = f"less than {SIGNAL:.0%} of their variance from the input"
    idle = np.flatnonzero(~active)
    if not len(idle) or not active.any():
        return None  # all of them: posterior_collapse says so
    names = ", ".join(f"z{i + 1}" for i in idle[:12])
    names += f" and {len(idle) - 12} more" if len(idle) > 12 else ""
    return Finding(
        "inactive_dimensions",
        "note",
        f"{len(idle)} of {len(active)} latent dimensions are inactive, with {how}: "
        f"{names}.",
        "Nothing has to be done: a channel leaves out what does not pay. Fewer "
        "dimensions train faster; a smaller beta or KL annealing uses more of them.",
        {"inactive": [int(i) for i in idle], "dimensions": len(active)},
    )


def _rows_of_bank(channel):
    """How many rows the bank of an Echo channel holds."""
    return float(np.max(ops.convert_to_numpy(channel.bank_rows)))


def total_correlation(subject: Subject) -> Finding | None:
    """Dimensions of the code that are not independent."""
    if any(isinstance(c, VectorQuantizer) for c in subject.channels):
        raise NotApplicable("a quantized code takes few values, not a density's")
    z, channels = subject.codes, subject.channels
    if channels and all(getattr(c, "multiplicative", False) for c in channels):
        z = np.log(np.maximum(z, np.finfo("float32").tiny))
    z = z[:, np.ptp(z, axis=0) > 1e-6 * np.abs(z).max(axis=0)]
    n, d = z.shape
    if d < 2:
        raise NotApplicable("the code has less than two dimensions that vary")
    # Echo's noise is made of the bank, whose rows are a sample as the codes are.
    rows = [_rows_of_bank(c) for c in channels if isinstance(c, EchoSample)]
    known = int(1 / (1 / n + sum(1 / r for r in rows if r)))
    if known <= 2 * d:
        raise NotApplicable(f"{d} dimensions need more than {known} examples")
    found = metrics.total_correlation(z)
    # For independent dimensions. A gamma law of these moments is close to its own, of
    # two dimensions too, where that is one of chi-square.
    expected, deviation = independent_law(known, d)
    shape = (expected / deviation) ** 2
    limit = stats.gamma.isf(subject.error_rate, shape, scale=expected / shape)
    if found <= max(limit, expected + DEPENDENT):
        return None
    i, j = np.unravel_index(
        np.argmax(np.abs(np.corrcoef(z.T)) - np.eye(d)), (d, d)
    )  # the pair that says most
    pair = float(np.corrcoef(z[:, i], z[:, j])[0, 1])
    return Finding(
        "total_correlation",
        "note",
        f"The total correlation of the code is {found:.3g} nats, where {n} codes of "
        f"independent dimensions give {expected:.2g} and with probability "
        f"{1 - subject.error_rate:.0%} at most {limit:.2g}; the strongest correlation "
        f"of two dimensions is {pair:.2f}.",
        "A prior of independent dimensions cannot match this code: sample by "
        "latent_flow.fit_latent_flow or a FlowMarginal; for independent dimensions add "
        "a TotalCorrelationPenalty.",
        {"total_correlation": found, "expected": expected, "limit": float(limit)},
    )


def prior_mismatch(subject: Subject) -> Finding | None:
    """An aggregate posterior that is not the law which generation draws from."""
    prior = _prior(subject)
    n = min(PAIRED, subject.n)
    if n < 50:
        raise NotApplicable(f"a test needs at least 50 examples, and there are {n}")
    z = metrics.evenly_spaced(subject.codes, n)
    with no_gradients():
        drawn = ops.convert_to_numpy(ops.cast(prior.sample(n), "float32"))
    drawn = drawn.reshape(n, -1).astype("float64")
    found, p = _permutation_test(z, drawn, subject.seed)
    if p > subject.error_rate:
        return None
    mean, deviation = z.mean(axis=0), z.std(axis=0)
    gap = np.abs(mean - drawn.mean(axis=0)) / drawn.std(axis=0)
    worst = int(np.argmax(gap))
    return Finding(
        "prior_mismatch",
        "warning",
        f"The codes of {n} examples are not draws from {type(prior).__name__}: squared "
        f"MMD {found:.3g}, p = {p:.3g} in a permutation test at the level "
        f"{subject.error_rate:g}. Standard deviations go from "
        f"{deviation.min():.2g} to {deviation.max():.2g}, and the mean furthest away "
        f"is that of z{worst + 1}, {mean[worst]:.2g}.",
        "Images from the prior are then worse than reconstructions: draw from a law "
        "fitted to the codes (latent_flow.fit_latent_flow, metrics.match_gaussian), "
        "learn the marginal (FlowMarginal, VampPrior), or raise beta.",
        {
            "mmd": found,
            "p": p,
            "means": mean.tolist(),
            "deviations": deviation.tolist(),
        },
    )


def _prior(subject):
    """The layer that codes shall be draws from: a marginal, or an MMD penalty's."""
    penalties = find_layers(subject.model, MMDPenalty)
    if penalties and getattr(penalties[0], "prior", None) is not None:
        return penalties[0].prior
    channels = subject.channels
    if len(channels) == 1 and isinstance(channels[0], GaussianSample):
        if penalties or channels[0].noise_variance:
            # Fixed noise: the rate's marginal is the standard normal of VCAE and WAE.
            return _standard_normal(subject)
        return channels[0].marginal
    if channels and isinstance(channels[0], EchoSample) and not penalties:
        raise NotApplicable("an Echo channel draws from q(z) itself, and has no prior")
    if penalties:
        return _standard_normal(subject)
    raise NotApplicable("the model has no channel with a marginal that has samples")


def _standard_normal(subject: Subject) -> keras.layers.Layer:
    prior = StandardNormal(seed=subject.seed, dtype="float32")
    prior.build((None, subject.codes.shape[1]))
    return prior


def _permutation_test(z, y, seed):
    """The squared MMD of n and n samples, and the share of permutations above it.

    Where both have one law, p <= a comes with a probability of at most a.
    """
    n, d = z.shape
    both = np.concatenate([z, y])
    # The kernel of `metrics.aggregate_posterior`, at the scale of what is compared.
    squared = pairwise_distances(both, metric="sqeuclidean")
    scale = max(float(np.median(squared)), 1e-30)
    kernel = 1.0 / (1.0 + squared / scale)
    np.fill_diagonal(kernel, 0.0)
    random = np.random.RandomState(seed)
    sign = np.repeat([1.0, -1.0], n)
    signs = np.stack([sign, *(random.permutation(sign) for _ in range(PERMUTATIONS))])
    # For signs s of the two samples s K s is the sum within less that between them.
    values = ((signs @ kernel) * signs).sum(axis=1)
    within = kernel.sum() + values  # 2 x the sums within
    between = kernel.sum() - values
    mmd = within / (2 * n * (n - 1)) - between / (2 * n * n)
    above = int((mmd[1:] >= mmd[0] - 1e-12).sum())
    return float(mmd[0]), (1 + above) / (1 + PERMUTATIONS)
