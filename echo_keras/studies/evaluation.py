"""What every run of a study is validated and tested on."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from echo_keras import metrics

TRAINING_EXAMPLES = 10_000
VALIDATION_EXAMPLES = 2000


def evaluated(
    model: keras.Model,
    x_test: np.ndarray,
    x_train: np.ndarray | None = None,
    *,
    echoes: Sequence[str] = ("bank",),
    samples: int = 1,
    batch_size: int | None = None,
    training_mode: bool = True,
) -> dict[str, Any]:
    """Rate, distortion and -ELBO of test and training data, as a record holds them.

    Args:
        model: See `metrics.evaluate`.
        x_test: Test examples, (n, ...).
        x_train: Training examples, (m, ...), of which up to 10,000 are evaluated,
            evenly from all over the file; None for none.
        echoes: Ways to evaluate, of `metrics.ECHOES`.
        samples: Int >= 1, codes of each example.
        batch_size: Int >= 1, as in training.
        training_mode: If False, test examples are not evaluated in that mode.

    Returns:
        A dict of what `metrics.evaluate` gives, under each of `echoes` and under
        `training_mode`, of test examples in the mode of training, and `training_set`,
        of training examples, with their number `examples` and `log_n`. And
        `rate_by_dimension`, a list of means over test examples in nats, where the rate
        is a sum over dimensions.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> model.compile(loss=losses.Bernoulli())
    >>> x = np.ones((20, 8))
    >>> found = evaluated(model, x, x)
    >>> list(found), len(found["rate_by_dimension"])
    (['bank', 'training_mode', 'training_set', 'rate_by_dimension'], 2)
    """
    size: dict[str, Any] = {"samples": samples, "batch_size": batch_size}
    found: dict[str, Any] = {
        way: metrics.evaluate(model, x_test, echoes=way, **size) for way in echoes
    }
    if training_mode:
        found["training_mode"] = metrics.evaluate(model, x_test, training=True, **size)
    if x_train is not None:
        seen = metrics.evenly_spaced(x_train, TRAINING_EXAMPLES)
        with warnings.catch_warnings():
            # The record has log n beside the rate.
            warnings.filterwarnings("ignore", "The rate, .* is above log n")
            result = metrics.evaluate(
                model, seen, echoes=echoes[0], training_set=True, **size
            )
        found["training_set"] = {**result, "examples": len(seen)}
    by_dimension = metrics.rate_by_dimension(model, x_test, batch_size)
    if by_dimension is not None:
        found["rate_by_dimension"] = [round(float(rate), 6) for rate in by_dimension]
    return found


def validation(dataset: Any) -> tuple[np.ndarray | None, str]:
    """Validation images of a data set for the logs of a training, and what they are.

    They are those that the data set itself sets apart, never test images. A data set
    without any has none: `Dataset.hold_out`, in the `transform` of a study, takes them
    out of its training images.

    Returns:
        At most 2,000 images, and no more than are trained on, or the logs would take
        longer than training, in random order, as files may be sorted, which is the
        same for all runs; or None. And a sentence for the record.

    Example:

    >>> from echo_keras import data
    >>> validation(data.load("digits").hold_out(100))[1]
    '100 of 100 validation images, drawn with seed 0'
    """
    x = getattr(dataset, "x_valid", None)
    if x is None:
        return None, "none, for the data set has no validation images"
    order = np.random.RandomState(0).permutation(len(x))
    order = order[: min(VALIDATION_EXAMPLES, len(dataset.x_train))]
    said = f"{len(order):,} of {len(x):,} validation images, drawn with seed 0"
    return x[order], said
