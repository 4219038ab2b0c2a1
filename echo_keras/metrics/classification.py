r"""Classifiers with a bottleneck: accuracy, calibration, and information in nats.

For models of `objectives.information_bottleneck`, which are learned with labels by
`training.train(build, LabelledBatches(...), ..., loss=losses.CategoricalNLL())`. A class
is told from a random code; where several codes are drawn for an image, their
probabilities are averaged (`predictive`).

References:
    Voloshynovskiy et al., Information Bottleneck through Variational Glasses (2019),
    the BIB-AE paper, Sec. 2.1 and App. A; Alemi et al., Deep Variational Information
    Bottleneck (2017).
"""

import math

import numpy as np
from keras import ops
from scipy.special import log_softmax, logsumexp

from echo_keras import training
from echo_keras.layers import collect_draws
from echo_keras.layers.backend import no_gradients


class LabelledBatches(training.Batches):
    """Shuffled batches (x, y) that depend on the seed and the epoch's number alone.

    Args:
        x: Array (n, ...), values in [0, 1].
        y: Ints (n,), classes.
        batch_size: Int >= 1; the last batch may be smaller.
        seed: Int >= 0.

    Raises:
        ValueError: there is not one class for each example.

    Example:

    >>> batches = LabelledBatches(np.zeros((5, 2)), np.arange(5), batch_size=4, seed=0)
    >>> x, y = batches[0]
    >>> x.shape, y.shape
    ((4, 2), (4,))
    """

    def __init__(self, x, y, batch_size, seed):
        self.y = np.asarray(y)
        if self.y.shape != (len(x),):
            raise ValueError(
                f"expected a class for each of {len(x)} examples, shape ({len(x)},); "
                f"found shape {self.y.shape}."
            )
        super().__init__(x, batch_size, seed)

    def __getitem__(self, index):
        _, order = self.epoch
        here = order[index * self.batch_size :][: self.batch_size]
        return self.x[here], self.y[here]


def forward(model, x, samples=1, batch_size=500):
    """The rate of each example, and the logits of each of its codes.

    Args:
        model: Model from inputs to logits, such as `objectives.information_bottleneck`
            returns. Echo noise comes from its bank.
        x: Inputs, shape (n, ...).
        samples: Int >= 1, codes drawn for each example.
        batch_size: Int >= 1.

    Returns:
        Rates, float64 (n,), nats, averaged over codes where the channel draws them too;
        and logits, float32 (samples, n, classes).

    Raises:
        ValueError: an argument is out of range, or there is no example.

    Example:

    >>> from echo_keras import objectives
    >>> from echo_keras.layers import GaussianBottleneck
    >>> encoder, _ = objectives.tiny_networks()
    >>> model = objectives.information_bottleneck(encoder, GaussianBottleneck(2), 10)
    >>> rate, logits = forward(model, np.ones((5, 8)), samples=3)
    >>> rate.shape, logits.shape
    ((5,), (3, 5, 10))
    """
    if samples < 1 or batch_size < 1 or not len(x):
        raise ValueError(
            f"expected at least one example, samples >= 1 and batch_size >= 1; found "
            f"{len(x)}, {samples} and {batch_size}."
        )
    rate, logits = np.zeros(len(x)), []
    for start in range(0, len(x), batch_size):
        here = slice(start, start + batch_size)
        batch, of_batch = ops.convert_to_tensor(x[here], "float32"), []
        for _ in range(samples):
            with no_gradients(), collect_draws() as draws:
                output = model(batch, training=False)
            rate[here] += sum(ops.convert_to_numpy(rate) for rate, _ in draws) / samples
            of_batch.append(ops.convert_to_numpy(output))
        logits.append(np.stack(of_batch))
    return rate, np.concatenate(logits, axis=1)


def predictive(logits):
    r"""Log-probabilities of classes, \(\log \frac1K \sum_k p(c|z_k)\), float64.

    Args:
        logits: Of K codes for each example, (K, n, classes).

    Returns:
        Array (n, classes), itself logits.

    Example:

    >>> both = np.log([[[0.9, 0.1]], [[0.5, 0.5]]])
    >>> np.exp(predictive(both)).round(6).tolist()
    [[0.7, 0.3]]
    """
    each = log_softmax(np.asarray(logits, "float64"), axis=-1)
    return logsumexp(each, axis=0) - math.log(len(each))


def classification_metrics(logits, y, bins=15):
    r"""How good a classifier's probabilities are.

    Args:
        logits: Of classes, (n, classes); those of several codes go through
            `predictive` first.
        y: Ints (n,), classes in [0, classes - 1].
        bins: Int >= 1, of `calibration_error`.

    Returns:
        A dict of floats: `accuracy`, in [0, 1]; `negative_log_likelihood`, the mean of
        \(-\log p(c)\) in nats; the standard error of each over examples, `accuracy_se`
        and `negative_log_likelihood_se`; and `calibration_error`.

    Raises:
        ValueError: shapes do not fit, there is no example, a logit is NaN, a class is
            out of range, or bins < 1.

    Example:

    >>> found = measures(np.log([[0.8, 0.2], [0.8, 0.2]]), [0, 1])
    >>> found["accuracy"], round(found["negative_log_likelihood"], 4)  # -log .16 / 2
    (0.5, 0.9163)
    """
    logits, y = _checked(logits, y)
    right = logits.argmax(axis=1) == y
    likelihood = -log_softmax(logits, axis=1)[np.arange(len(y)), y]
    return {
        **_with_error("accuracy", right),
        **_with_error("negative_log_likelihood", likelihood),
        "calibration_error": calibration_error(logits, y, bins),
    }


def calibration_error(logits, y, bins=15):
    r"""Expected calibration error: how far confidence is from accuracy.

    $$\sum_b \frac{n_b}{n}\, |\text{accuracy}_b - \text{confidence}_b|$$

    over bins of equal width, \((\frac{b-1}B, \frac bB]\), of the confidence, which is
    the probability of the likeliest class. Noise alone makes it positive, the more so
    the more bins there are.

    Args:
        logits, y: As for `measures`.
        bins: Int >= 1, B.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: as `measures`.

    Example:

    >>> round(calibration_error(np.log([[0.8, 0.2], [0.8, 0.2]]), [0, 1]), 6)
    0.3

    References:
        Guo et al., On Calibration of Modern Neural Networks (2017), Eq. 3.
    """
    logits, y = _checked(logits, y)
    if bins < 1 or bins != int(bins):
        raise ValueError(f"bins must be an integer >= 1; received {bins}.")
    right = logits.argmax(axis=1) == y
    confidence = np.exp(log_softmax(logits, axis=1).max(axis=1))
    edges = np.arange(1, bins) / bins
    of_bin = np.digitize(confidence, edges, right=True)
    # n_b times the difference of two means over a bin: the sum of differences there.
    gaps = np.bincount(of_bin, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(y))


def information_plane(model, x, y, samples=1, batch_size=500):
    r"""What a code keeps of the inputs and what it tells of their classes, in nats.

    \(I(X; Z)\) is the model's rate: the information itself for an Echo channel, and an
    upper bound for a Gaussian one. \(I(Z; C)\) is bounded from below by

    $$H(C) - H_\theta(C|Z) = -E \log p(c) + E \log p_\theta(c|z)$$

    with p(c) the frequencies of classes in y. It is negative for predictions that are
    worse than these.

    Args:
        model, x: As for `forward`.
        y: Ints (n,), classes.
        samples: Int >= 1, codes drawn for each example, over which \(\log p(c|z)\), not
            p, is averaged: more of them give the same expectation less noisily.
        batch_size: Int >= 1.

    Returns:
        A dict of floats: `rate`, I(X; Z); `label_information`, the bound on I(Z; C);
        `distortion`, \(H_\theta(C|Z)\); `label_entropy`, H(C); and the standard error
        of each as `rate_se` and so on, the spread over examples divided by sqrt(n).

    Raises:
        ValueError: as `forward` and `measures`.

    Example:

    >>> from echo_keras import objectives
    >>> from echo_keras.layers import EchoBottleneck
    >>> encoder, _ = objectives.tiny_networks()
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
        **_with_error("rate", rate),
        **_with_error("label_information", surprise - distortion),
        **_with_error("distortion", distortion),
        **_with_error("label_entropy", surprise),
    }


def _with_error(name, values):
    """The mean and its standard error, NaN for one example."""
    spread = np.std(values, ddof=1) if len(values) > 1 else math.nan
    return {
        name: float(np.mean(values)),
        f"{name}_se": float(spread / math.sqrt(len(values))),
    }


def _checked(logits, y):
    logits, y = np.asarray(logits, "float64"), np.asarray(y)
    if logits.ndim != 2 or not len(logits) or y.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits of shape (n, classes), n >= 1, and classes of shape "
            f"(n,); found {logits.shape} and {y.shape}."
        )
    if np.isnan(logits).any():
        raise ValueError("expected logits that are numbers, found NaN.")
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= logits.shape[1]:
        raise ValueError(
            f"expected classes, integers from 0 to {logits.shape[1] - 1}; found "
            f"{y.dtype} from {y.min()} to {y.max()}."
        )
    return logits, y
