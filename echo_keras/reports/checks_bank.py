"""Checks of an Echo channel's bank, from which its noise comes at inference."""

import math

import numpy as np
from keras import ops
from scipy import stats

from echo_keras import metrics
from echo_keras.layers import EchoSample
from echo_keras.layers.bottleneck import Bottleneck

from .finding import Finding
from .subject import NotApplicable, Subject, repeats

MOVED = 0.25  # standard deviations that a mean may differ from that of today's rows
LOG_S = 0.4  # a standard deviation of log s below which it counts as this one
SPREAD = 1.25  # factor between the two standard deviations
REPEATED = 0.02  # share of the bank that one row may have


def empty_bank(subject: Subject) -> Finding | None:
    """A bank without rows: at inference there is no noise."""
    empty = [c.name for c in subject.echoes if not len(_rows(c))]
    if not empty:
        return None
    return Finding(
        "empty_bank",
        "error",
        f"The bank of {', '.join(empty)} holds no row: at inference the channel adds "
        f"no noise, z = f(x), and the rate that it logs is not that of this code.",
        "Train the model, or load its weights after training rather than before.",
        {"channels": empty},
    )


def poisoned_bank(subject: Subject) -> Finding | None:
    """A bank with NaN, with rows that are all alike, or one again and again."""
    given = subject.whole_x if subject.whole_train is None else subject.whole_train
    given = repeats(given)
    for channel in subject.echoes:
        rows = _rows(channel)
        if not len(rows):
            continue
        bad = int((~np.isfinite(rows).all(axis=1)).sum())
        _, counts = np.unique(rows, axis=0, return_counts=True)
        top = int(counts.max())
        # Examples may repeat as well, and then rows do.
        share, allowed = top / len(rows), max(REPEATED, 5.0 * given[0] / sum(given))
        numbers = {"rows": len(rows), "not_finite": bad, "most_frequent": top}
        if bad:
            wrong = f"{bad} of {len(rows)} rows hold NaN or infinity"
        elif share > allowed and len(counts) == 1 and len(rows) > 1:
            wrong = (
                f"all of its {len(rows)} rows are the same, so that noise is a number"
            )
        elif share > allowed and top > 1:
            wrong = f"one row stands there {top} times among {len(rows)}"
        else:
            continue
        return Finding(
            "poisoned_bank",
            "error",
            f"The bank of {channel.name} is damaged: {wrong}. Every prediction and "
            f"every draw from q(z) contains it.",
            "Find the training batches that do it (padding, blank images, NaN), give "
            "them sample weight 0, and run an epoch: new rows replace the old.",
            numbers,
        )
    return None


def stale_bank(subject: Subject) -> Finding | None:
    """Rows of another law than those which today's encoder gives."""
    if len(subject.echoes) != 1:
        raise NotApplicable("the model has several Echo channels")
    (channel,) = subject.echoes
    bank = _rows(channel)
    if len(bank) < 50 or not np.isfinite(bank).all():
        raise NotApplicable(
            f"the bank has less than 50 rows, or some that are not finite: {len(bank)}"
        )
    layer, encoder = subject.layer, subject.encoder

    def rows(x):
        found = encoder(x, training=False)
        found = layer.encode(found) if isinstance(layer, Bottleneck) else found
        return ops.concatenate(channel._bounded(found), axis=1)

    given = subject.x if subject.x_train is None else subject.x_train
    today = metrics.map_batches(rows, given, subject.batch_size)
    d = 2 * channel.dims  # f and log s
    bank, today = (a[:, :d].astype("float64") for a in (bank, today))
    # A column that hardly varies may move: f beside the others, s by a few percent.
    spread, of_f = today.std(axis=0), channel.dims
    least = np.repeat([0.1 * spread[:of_f].max() + 1e-6, LOG_S], of_f)
    spread = np.maximum(spread, least)
    gap = (bank.mean(axis=0) - today.mean(axis=0)) / spread
    error = math.sqrt(1 / len(bank) + 1 / len(today))
    factor = np.maximum(bank.std(axis=0), least) / spread
    factor = np.maximum(factor, 1 / factor)
    # Both the size and the statistics, of all columns at once (Bonferroni).
    z = stats.norm.isf(subject.error_rate / (4 * d))
    moved = np.abs(gap) > max(MOVED, z * error)
    kurtosis = np.maximum(stats.kurtosis(today, axis=0), 0.0)
    of_spread = z * error * np.sqrt((2.0 + kurtosis) / 4.0)
    moved |= np.log(factor) > np.maximum(math.log(SPREAD), of_spread)
    if not moved.any():
        return None
    worst = int(np.argmax(np.where(moved, np.abs(gap) + np.log(factor), 0.0)))
    what = "f" if worst < channel.dims else "log s"
    name = f"{what}{worst % channel.dims + 1}"
    few = "x_train" if subject.x_train is not None else "x"
    return Finding(
        "stale_bank",
        "warning",
        f"{moved.sum()} of {d} columns of the bank of {channel.name} do not have the "
        f"law that the encoder gives on {few}: of {name} the means differ by "
        f"{abs(gap[worst]):.2g} standard deviations and the spreads by a factor of "
        f"{factor[worst]:.2g}.",
        "Fill it with rows of these weights: echo_keras.renew_memories(model, x), of "
        "training data in random order. Sorted batches, a frozen channel and weights "
        "that were changed by hand leave such a bank.",
        {"columns": int(moved.sum()), "gap": gap.tolist(), "factor": factor.tolist()},
    )


def _rows(channel: EchoSample) -> np.ndarray:
    """The rows that the bank holds."""
    bank, count = map(ops.convert_to_numpy, channel._memory())
    return bank[: int(count)]
