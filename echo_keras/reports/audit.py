"""What is wrong with a trained model: the checks, in one call."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from echo_keras.layers import arguments

from .checks_bank import empty_bank, poisoned_bank, stale_bank
from .checks_code import (
    inactive_dimensions,
    posterior_collapse,
    prior_mismatch,
    total_correlation,
)
from .checks_loss import (
    distortion_averaged,
    logits_for_probabilities,
    not_finite,
    pixels_out_of_range,
)
from .checks_run import (
    rate_above_log_n,
    training_inference_gap,
    unstable_validation,
)
from .finding import SEVERITIES, Audit
from .subject import Subject, own_noise, quietly

CHECKS = {
    check.__name__: check
    for check in (
        not_finite,
        distortion_averaged,
        pixels_out_of_range,
        logits_for_probabilities,
        posterior_collapse,
        inactive_dimensions,
        rate_above_log_n,
        training_inference_gap,
        empty_bank,
        poisoned_bank,
        stale_bank,
        total_correlation,
        prior_mismatch,
        unstable_validation,
    )
}


def audit(
    model: keras.Model,
    x: Any,
    x_train: Any = None,
    *,
    y: Any = None,
    history: Any = None,
    checks: Sequence[str] | None = None,
    error_rate: float = 0.01,
    examples: int = 1000,
    batch_size: int | None = None,
    seed: int = 0,
) -> Audit:
    """Looks for what goes wrong with autoencoders, and says what it found.

    | name | severity | what is found |
    | --- | --- | --- |
    | not_finite | error | NaN or infinity in weights or outputs |
    | distortion_averaged | error | a loss that is a mean over values, where the rate is a sum over dimensions |
    | pixels_out_of_range | error, warning | targets that the loss is no loss of; pixels from 0 to 255 |
    | logits_for_probabilities | error | outputs in [0, 1] where the loss takes logits, or the reverse |
    | posterior_collapse | error | a rate within 0.1 nats of the lowest that the channel has |
    | inactive_dimensions | note | some dimensions within 0.01 nats of their lowest rate |
    | rate_above_log_n | warning, note | a rate above the log of the number of distinct training examples |
    | training_inference_gap | warning | rate, distortion or -ELBO in training mode differ from those at inference |
    | empty_bank | error | an Echo channel without rows: no noise at inference |
    | poisoned_bank | error | NaN in the bank, one row for all, or one again and again |
    | stale_bank | warning | rows of another law than the encoder gives now |
    | total_correlation | note | dimensions of the code that are not independent |
    | prior_mismatch | warning | codes that are no draws from the prior |
    | unstable_validation | warning | validation that jumps, or ends above its best value; evaluations that differ |

    Sizes decide as well as statistics, so that more data do not find more: the limits
    stand in the evidence. Where nothing is wrong, a test finds something with a
    probability of at most `error_rate`: exactly in the permutation test of
    prior_mismatch, and for many examples in training_inference_gap (of each of its
    three values), stale_bank (over all columns), total_correlation and
    unstable_validation.

    The model is left as it was, its generators of noise included. What cannot be looked
    for is in `skipped`, with the reason.

    Args:
        model: Keras model, compiled; a `RateDistortionModel` or a plain one. Checks of
            codes need a functional one with one bottleneck or channel.
        x: Held-out inputs: an array (n, ...), or a list or dict of arrays.
        x_train: What the model was trained on, or None. For `rate_above_log_n` and the
            banks; x stands in for it.
        y: Targets (n, ...); None where they are x.
        history: What `fit` or `training.train` returned, or None.
        checks: Names of what to look for; None for all.
        error_rate: Float in (0, 1).
        examples: Int >= 2, the most examples that are used, evenly from all over x and
            x_train.
        batch_size: Int >= 1; see `metrics.map_batches`.
        seed: Int, of all noise.

    Returns:
        An `Audit`, which prints its findings, the most severe first.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.echo(encoder, decoder, 2, d_max=9)
    >>> model.compile(loss=losses.Bernoulli())
    >>> print(audit(model, np.ones((20, 8)), checks=["empty_bank"]))
    error: empty_bank
        The bank of channel holds no row: at inference the channel adds no noise, z
        = f(x), and the rate that it logs is not that of this code.
        Train the model, or load its weights after training rather than before.

    References:
        Broken ELBO paper, Sec. 2; Echo paper, Sec. 2 and App. C; Gretton et al., A
        Kernel Two-Sample Test (2012).
    """  # noqa: E501
    subject = Subject(
        model, x, x_train, y, history, error_rate, examples, seed, batch_size
    )
    wanted = list(CHECKS) if checks is None else arguments.texts("checks", checks)
    for name in wanted:
        arguments.choice("checks", name, tuple(CHECKS))
    return look_for(subject, wanted)


def look_for(subject: Subject, wanted: Sequence[str]) -> Audit:
    """The findings of some checks, each with noise of its own."""
    findings, clean, skipped = [], [], {}
    # What is damaged overflows here and there: findings say so.
    with quietly(), np.errstate(all="ignore"):
        for name in wanted:
            try:
                with own_noise(subject.model, subject.seed):
                    found = CHECKS[name](subject)
            except ValueError as error:
                skipped[name] = " ".join(str(error).split())
                continue
            if found is None:
                clean.append(name)
            else:
                findings.append(found)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Audit(tuple(findings), tuple(clean), skipped)
