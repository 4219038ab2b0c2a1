"""Classifiers with a bottleneck: accuracy, calibration, and information in nats.

For models of `objectives.information_bottleneck`, which are learned with labels by
`training.train(build, training.Batches(x, batch_size, seed, y=labels), ...,
loss=losses.CategoricalNLL())`. A class is told from a random code; where several codes
are drawn for an image, their probabilities are averaged (`predictive`).

References:
    Voloshynovskiy et al., Information Bottleneck through Variational Glasses (2019),
    the BIB-AE paper, Sec. 2.1 and App. A; Alemi et al., Deep Variational Information
    Bottleneck (2017).
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.special import log_softmax, logsumexp

from echo_keras.layers import arguments

from .batching import check_finite, check_numbers, map_batches, with_standard_error
from .forward import forward_pass


def forward(
    model: keras.Model, x: Any, samples: int = 1, batch_size: int | None = None
) -> tuple[np.ndarray | None, np.ndarray]:
    """The rate of each example, and the logits of each of its codes.

    Args:
        model: Model from inputs to logits, such as `objectives.information_bottleneck`
            returns. Echo noise comes from its bank.
        x: Inputs: an array (n, ...), a list or dict of arrays, or batches of inputs;
            see `map_batches`.
        samples: Int >= 1, codes drawn for each example.
        batch_size: Int >= 1; see `map_batches`.

    Returns:
        Rates, float64 (n,), nats, averaged over codes where the channel draws them too,
        or None without a channel; and logits, float32 (samples, n, classes).

    Raises:
        ValueError: an argument is out of range, or there is no example.

    Example:

    >>> from echo_keras import objectives
    >>> from echo_keras.layers import GaussianBottleneck
    >>> model = objectives.information_bottleneck(encoder, GaussianBottleneck(2), 10)
    >>> rate, logits = forward(model, np.ones((5, 8)), samples=3)
    >>> rate.shape, logits.shape
    ((5,), (3, 5, 10))
    """
    samples = arguments.integer("samples", samples)
    run = forward_pass(model, distortion=False)

    def of_batch(x):
        check_finite("x", x)
        drawn = [run(x) for _ in range(samples)]
        logits = [ops.convert_to_numpy(d.output) for d in drawn]
        found = {"logits": np.stack(logits, axis=1)}
        if drawn[0].rate is not None:
            rates = [ops.convert_to_numpy(d.rate).astype("float64") for d in drawn]
            found["rate"] = np.mean(rates, axis=0)
        return found

    found = check_numbers("logits and rate", map_batches(of_batch, x, batch_size))
    return found.get("rate"), found["logits"].swapaxes(0, 1)


def predictive(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities of classes, `log 1/K sum_k p(c|z_k)`, float64.

    Args:
        logits: Of K codes for each example, (K, n, classes).

    Returns:
        Array (n, classes), itself logits.

    Example:

    >>> both = np.log([[[0.9, 0.1]], [[0.5, 0.5]]])
    >>> np.exp(predictive(both)).round(6).tolist()
    [[0.7, 0.3]]
    """
    logits = arguments.array("logits", logits, "(samples, n, classes)", (3,))
    each = log_softmax(np.asarray(logits, "float64"), axis=-1)
    return logsumexp(each, axis=0) - math.log(len(each))


def classification_metrics(
    logits: np.ndarray, y: np.ndarray, bins: int = 15
) -> dict[str, float]:
    """How good a classifier's probabilities are.

    Args:
        logits: Of classes, (n, classes); those of several codes go through
            `predictive` first.
        y: Ints (n,), classes in [0, classes - 1].
        bins: Int >= 1, of `calibration_error`.

    Returns:
        A dict of floats: `accuracy`, in [0, 1]; `negative_log_likelihood`, the mean of
        `-log p(c)` in nats; the standard error of each over examples, `accuracy_se`
        and `negative_log_likelihood_se`; and `calibration_error`.

    Raises:
        ValueError: shapes do not fit, there is no example, a logit is NaN, a class is
            out of range, or bins < 1.

    Example:

    >>> found = classification_metrics(np.log([[0.8, 0.2], [0.8, 0.2]]), [0, 1])
    >>> found["accuracy"], round(found["negative_log_likelihood"], 4)  # -log .16 / 2
    (0.5, 0.9163)
    """
    logits, y = _checked(logits, y)
    right = logits.argmax(axis=1) == y
    likelihood = -log_softmax(logits, axis=1)[np.arange(len(y)), y]
    return {
        **with_standard_error("accuracy", right),
        **with_standard_error("negative_log_likelihood", likelihood),
        "calibration_error": calibration_error(logits, y, bins),
    }


def calibration_error(logits: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: how far confidence is from accuracy.

    `sum_b n_b / n |accuracy_b - confidence_b|`

    over bins of equal width, `((b - 1) / B, b / B]`, of the confidence, which is
    the probability of the likeliest class. Noise alone makes it positive, the more so
    the more bins there are.

    Args:
        logits, y: As for `classification_metrics`.
        bins: Int >= 1, B.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: as `classification_metrics`.

    Example:

    >>> round(calibration_error(np.log([[0.8, 0.2], [0.8, 0.2]]), [0, 1]), 6)
    0.3

    References:
        Guo et al., On Calibration of Modern Neural Networks (2017), Eq. 3.
    """
    logits, y = _checked(logits, y)
    bins = arguments.integer("bins", bins)
    right = logits.argmax(axis=1) == y
    confidence = np.exp(log_softmax(logits, axis=1).max(axis=1))
    edges = np.arange(1, bins) / bins
    of_bin = np.digitize(confidence, edges, right=True)
    # n_b times the difference of two means over a bin: the sum of differences there.
    gaps = np.bincount(of_bin, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(y))


def information_plane(
    model: keras.Model,
    x: Any,
    y: np.ndarray,
    samples: int = 1,
    batch_size: int | None = None,
) -> dict[str, float]:
    """What a code keeps of the inputs and what it tells of their classes, in nats.

    `I(X; Z)` is the model's rate: for an Echo channel the information itself whenever
    q(z) has a density, otherwise and for a Gaussian channel an upper bound.
    `I(Z; C)` is bounded from below by

    `H(C) - H_model(C|Z) = -E log p(c) + E log p_model(c|z)`

    with p(c) the frequencies of classes in y. It is negative for predictions that are
    worse than these.

    Args:
        model, x: As for `forward`.
        y: Ints (n,), classes.
        samples: Int >= 1, codes drawn for each example, over which `log p(c|z)`, not
            p, is averaged: more of them give the same expectation less noisily.
        batch_size: Int >= 1; see `map_batches`.

    Returns:
        A dict of floats: `rate`, I(X; Z), where there is a channel;
        `label_information`, the bound on I(Z; C); `distortion`, `H_theta(C|Z)`;
        `label_entropy`, H(C); and the standard error of each as `rate_se` and so on,
        the spread over examples divided by sqrt(n).

    Raises:
        ValueError: as `forward` and `classification_metrics`.

    Example:

    >>> from echo_keras import objectives
    >>> from echo_keras.layers import EchoBottleneck
    >>> model = objectives.information_bottleneck(encoder, EchoBottleneck(2), 2)
    >>> found = information_plane(model, np.ones((6, 8)), [0, 0, 0, 1, 1, 1])
    >>> round(found["label_entropy"], 4)  # log 2
    0.6931

    References:
        BIB-AE paper, Eq. 4, 6 and 43.
    """
    rate, logits = forward(model, x, samples, batch_size)
    _, y = _checked(logits[0], y)
    log_p = log_softmax(logits.astype("float64"), axis=-1)
    distortion = -log_p[:, np.arange(len(y)), y].mean(axis=0)
    surprise = -np.log(np.bincount(y) / len(y))[y]
    return {
        **({} if rate is None else with_standard_error("rate", rate)),
        **with_standard_error("label_information", surprise - distortion),
        **with_standard_error("distortion", distortion),
        **with_standard_error("label_entropy", surprise),
    }


def _checked(logits, y):
    logits = arguments.array("logits", logits, "(n, classes)", finite=False)
    logits, y = logits.astype("float64"), np.asarray(y)
    if logits.ndim != 2 or not len(logits) or y.shape != logits.shape[:1]:
        raise ValueError(
            f"logits must have shape (n, classes), n >= 1, and classes shape (n,). "
            f"Received: {logits.shape} and {y.shape}"
        )
    if np.isnan(logits).any() or not np.isfinite(logits.max(axis=1)).all():
        raise ValueError(
            "logits must be numbers, the largest of each example finite. Received: NaN "
            "or infinity"
        )
    if y.dtype.kind not in "iu":
        raise ValueError(
            f"classes must be integers from 0 to {logits.shape[1] - 1}. Received: "
            f"dtype {y.dtype}"
        )
    if y.min() < 0 or y.max() >= logits.shape[1]:
        raise ValueError(
            f"classes must be integers from 0 to {logits.shape[1] - 1}. Received: "
            f"{y.dtype} from {y.min()} to {y.max()}"
        )
    return logits, y
