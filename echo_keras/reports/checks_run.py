"""Checks of a trained model's numbers: against log n, in training, over epochs."""

import math
from typing import Any

import numpy as np
from scipy import stats

from echo_keras.layers import EchoSample
from echo_keras.metrics.batching import with_standard_error

from .finding import Finding
from .subject import NotApplicable, Subject, repeats

GAP = 0.01  # of the -ELBO, between training mode and inference
LEAST_GAP = 0.1  # nats
REPEATS = 5  # evaluations with noise of their own
EPOCHS = 6  # the least that say something of noise between epochs
NOISE = 0.02  # of the validation's value, from epoch to epoch
RISE = 0.05  # of it, that the last epoch may be above the best
LOGS = ("val_neg_elbo", "val_loss", "val_distortion")


def rate_above_log_n(subject: Subject) -> Finding | None:
    """A rate that n examples cannot have as information."""
    given, whole = subject.x_train, subject.whole_train
    if given is None:
        given, whole = subject.x, subject.whole_x
    rate = float(subject.rates(given).mean())
    n = len(repeats(whole))
    if rate <= math.log(n):
        return None
    echo = any(isinstance(c, EchoSample) for c in subject.channels)
    return Finding(
        "rate_above_log_n",
        "warning" if echo else "note",
        f"The rate is {rate:.4g} nats, above log n = {math.log(n):.4g} of n = {n} "
        f"distinct examples: no code tells more of them than that, so that of these "
        f"examples it is only an upper bound on I(X; Z).",
        "Call it an upper bound, or the information of the population they are drawn "
        "from if q(z) has a density; for less of it raise beta, or train on more data.",
        {"rate": rate, "log_n": math.log(n), "n": n},
    )


def training_inference_gap(subject: Subject) -> Finding | None:
    """A model that is another one in training than at inference."""
    gaps, numbers = [], {}
    inference, training = subject.terms, subject.draw_terms(training=True)
    whole = [[a for a in pair if a is not None] for pair in (inference, training)]
    level = abs(float(sum(whole[0]).mean()))
    parts = [("rate", *(pair[0] for pair in (inference, training)))]
    parts += [("distortion", *(pair[1] for pair in (inference, training)))]
    parts += [("neg_elbo", *map(sum, whole))]
    for name, at_inference, in_training in parts:
        if at_inference is None:
            continue
        # Of the same examples, so that what they differ by among each other drops out.
        found = with_standard_error(name, in_training - at_inference)
        numbers[name], numbers[f"{name}_se"] = found[name], found[f"{name}_se"]
        limit = max(_z(subject) * found[f"{name}_se"], GAP * level, LEAST_GAP)
        if abs(found[name]) > limit:
            gaps.append(f"{name} by {found[name]:+.3g} +- {found[f'{name}_se']:.2g}")
    if not gaps:
        return None
    return Finding(
        "training_inference_gap",
        "warning",
        f"In training mode, on the same {subject.n} examples, other values than at "
        f"inference: {', '.join(gaps)} nats.",
        "Look for what differs between the two: Dropout, BatchNormalization, "
        "EchoBottleneck(parametrization='standardized'), echoes of a small batch or a "
        "bank that is stale. Report the values at inference.",
        numbers,
    )


def unstable_validation(subject: Subject) -> Finding | None:
    """Validation that jumps between epochs, or that ends far above its best value.

    Without a history: an evaluation that its own noise moves by more than its standard
    error over examples.
    """
    if subject.logs is not None:
        return _of_history(subject)
    drawn = [subject.terms, *(subject.draw_terms() for _ in range(REPEATS - 1))]
    totals = [sum(a for a in pair if a is not None) for pair in drawn]
    means = [float(total.mean()) for total in totals]
    noise = float(np.std(means, ddof=1))
    found = with_standard_error("neg_elbo", totals[0])
    error = found["neg_elbo_se"]
    # Of independent noise at each example this cannot be, but for chance.
    limit = error * math.sqrt(
        stats.chi2.isf(subject.error_rate, REPEATS - 1) / (REPEATS - 1)
    )
    if not noise > max(limit, 1e-3 * abs(found["neg_elbo"])):
        return None
    return Finding(
        "unstable_validation",
        "warning",
        f"{REPEATS} evaluations of the same {subject.n} examples give -ELBOs with a "
        f"standard deviation of {noise:.3g} nats, where the standard error over "
        f"examples is {error:.3g}: their noise is not independent.",
        "Evaluate with more samples (metrics.evaluate(samples=10)) and look for noise "
        "that a whole batch shares.",
        {"deviation": noise, "standard_error": error},
    )


def _of_history(subject: Subject) -> Finding | None:
    name, values = _validation(subject.logs)
    bad = np.flatnonzero(~np.isfinite(values))
    numbers: dict[str, Any] = {"log": name, "epochs": len(values)}
    if len(bad):
        found = f"{name} is NaN or infinite in {len(bad)} of {len(values)} epochs"
        found += f", first in epoch {bad[0] + 1}"
        return _unstable(found, numbers)
    if len(values) < EPOCHS:
        raise NotApplicable(
            f"a history of {EPOCHS} epochs is needed: it has {len(values)}"
        )
    late = values[len(values) // 2 :]
    epochs = np.arange(len(late))
    line = np.polyval(np.polyfit(epochs, late, 1), epochs)
    noise = float((late - line).std(ddof=min(2, len(late) - 1)))
    level = abs(float(np.median(late)))
    best = int(np.argmin(values))
    rise = float(values[-1] - values[best])
    numbers |= {"noise": noise, "rise": rise, "best_epoch": best + 1}
    if noise > NOISE * level:
        return _unstable(
            f"In the later half of {len(values)} epochs {name} leaves a straight line "
            f"by {noise:.3g} nats (standard deviation), {noise / level:.1%} of its "
            f"value",
            numbers,
        )
    if rise > RISE * abs(float(values[best])):
        return _unstable(
            f"{name} ends {rise:.3g} nats above its best value, that of epoch "
            f"{best + 1} of {len(values)}",
            numbers,
        )
    return None


def _unstable(evidence, numbers):
    return Finding(
        "unstable_validation",
        "warning",
        f"{evidence}.",
        "Lower the learning rate or cut it at the end, keep the best epoch "
        "(training.train(best='val_neg_elbo') or EarlyStopping), and validate on more "
        "examples.",
        numbers,
    )


def _validation(logs):
    """The name and values of the log that validation is judged by."""
    for name in LOGS:
        if name in logs:
            return name, np.array(logs[name])
    raise NotApplicable(f"the history has none of {', '.join(LOGS)}")


def _z(subject):
    """Standard errors that chance exceeds with the error rate, to either side."""
    return float(stats.norm.isf(subject.error_rate / 2))
