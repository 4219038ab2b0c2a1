"""Rate, distortion, -ELBO and likelihood of a trained model on held-out images."""

import contextlib
import math

import keras
import numpy as np
from keras import ops

from echo_keras.layers import collect_rates, echoes_from_batch

ECHOES = ("bank", "batch")


def evaluate(model, x, samples=1, echoes="bank", batch_size=100, bits=False):
    r"""Means over examples, each with its standard error.

    Args:
        model: A `RateDistortionModel`, compiled with a loss of `echo_keras.losses`.
        x: Images, shape (n, ...), which are also the targets.
        samples: Int >= 1, codes drawn for each image. Distortions are averaged over
            them, so that more samples give the same expectation less noisily.
        echoes: Where Echo noise comes from: "bank", rows of the training data; or
            "batch", the other images of the batch, as the Echo paper evaluates.
            Batches are then drawn in a fixed random order, because echoes must be
            independent draws from the data and files may be sorted: Binary MNIST's
            test file is, by digit, and in file order zeros would hear but zeros.
            Without effect on other channels.
        batch_size: Int >= 1.
        bits: If True, bits per example instead of nats.

    Returns:
        A dict with `rate`, `distortion`, `neg_elbo`, and the standard error of each
        as `rate_se` and so on: the spread over images divided by sqrt(n). The keys
        end in `_bits` if bits is True.

    Raises:
        ValueError: an argument is out of range, or the model's loss does not give
            one number for each example.

    Example:

    >>> from echo_keras import losses, models
    >>> from echo_keras.layers import GaussianBottleneck
    >>> inputs = keras.Input((8,))
    >>> logits = keras.layers.Dense(8)(GaussianBottleneck(2)(inputs))
    >>> model = models.RateDistortionModel(inputs, logits)
    >>> model.compile(loss=losses.Bernoulli())
    >>> result = evaluate(model, np.ones((20, 8)), samples=3)
    >>> sorted(result)  # doctest: +NORMALIZE_WHITESPACE
    ['distortion', 'distortion_se', 'neg_elbo', 'neg_elbo_se', 'rate', 'rate_se']
    """
    if samples < 1 or batch_size < 1:
        raise ValueError(
            f"samples and batch_size must be >= 1; received {samples} and {batch_size}."
        )
    if echoes not in ECHOES:
        raise ValueError(
            f"echoes must be one of {', '.join(ECHOES)}; received {echoes!r}."
        )
    rate, distortion = per_example(model, x, samples, echoes, batch_size)
    unit, suffix = (math.log(2), "_bits") if bits else (1.0, "")
    result = {}
    for name, values in (
        ("rate", rate),
        ("distortion", distortion),
        ("neg_elbo", rate + distortion),
    ):
        values = values / unit
        result[name + suffix] = float(values.mean())
        result[f"{name}_se{suffix}"] = _standard_error(values)
    return result


def per_example(model, x, samples=1, echoes="bank", batch_size=100):
    """Rate and distortion of each image in nats: two float64 arrays (n,).

    Both are averages over `samples` codes for each image; see `evaluate`.
    """
    total = np.zeros((2, len(x)))
    order = np.arange(len(x))
    if echoes == "batch":
        order = np.random.RandomState(0).permutation(len(x))
    with echoes_from_batch() if echoes == "batch" else contextlib.nullcontext():
        for start in range(0, len(x), batch_size):
            here = order[start : start + batch_size]
            batch = ops.convert_to_tensor(x[here], "float32")
            for _ in range(samples):
                rates, distortion = _step(model, batch)
                total[0, here] += sum(rates)
                total[1, here] += distortion
    rate, distortion = total / samples
    return rate, distortion


def importance_weighted(model, x, samples=100, batch_size=100):
    r"""Importance-weighted estimate of log p(x), a lower bound in expectation.

    $$\log \hat p(x) = \log \frac1K \sum_{k=1}^K
        p(x|z_k)\, \frac{m(z_k)}{q(z_k|x)}, \quad z_k \sim q(z|x)$$

    With K = 1 its mean is the ELBO at beta 1; in expectation it grows with K, towards
    log p(x). The K codes of an image are drawn one after the other, so that memory
    does not depend on K; each costs a pass through the whole model.

    Args:
        model: A `RateDistortionModel`, compiled with a loss of `echo_keras.losses`
            that is a likelihood (`SquaredError` is none). Every channel needs a
            density q(z|x); Echo has none.
        x: Images, shape (n, ...), which are also the targets.
        samples: Int >= 1, K.
        batch_size: Int >= 1.

    Returns:
        A dict with `log_likelihood_iw{K}`, the mean over images in nats, and its
        standard error `log_likelihood_iw{K}_se`, the spread over images divided by
        sqrt(n). (The bias, of the bound against log p(x), is not in it.)

    Raises:
        ValueError: an argument is out of range, the model's loss does not give one
            number for each example, or a channel has no density.

    Example:

    >>> from echo_keras import losses, models
    >>> from echo_keras.layers import GaussianBottleneck
    >>> inputs = keras.Input((8,))
    >>> logits = keras.layers.Dense(8)(GaussianBottleneck(2)(inputs))
    >>> model = models.RateDistortionModel(inputs, logits)
    >>> model.compile(loss=losses.Bernoulli())
    >>> sorted(importance_weighted(model, np.ones((20, 8)), samples=5))
    ['log_likelihood_iw5', 'log_likelihood_iw5_se']

    References:
        Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders (2016), Eq. 8.
    """
    if samples < 1 or batch_size < 1:
        raise ValueError(
            f"samples and batch_size must be >= 1; received {samples} and {batch_size}."
        )
    values = per_example_likelihood(model, x, samples, batch_size)
    name = f"log_likelihood_iw{samples}"
    return {name: float(values.mean()), f"{name}_se": _standard_error(values)}


def per_example_likelihood(model, x, samples=100, batch_size=100):
    """The estimate of log p(x) for each image, float64 (n,); `importance_weighted`."""
    total = np.full(len(x), -np.inf)
    for start in range(0, len(x), batch_size):
        here = slice(start, start + batch_size)
        batch = ops.convert_to_tensor(x[here], "float32")
        for _ in range(samples):
            log_ratios, distortion = _step(model, batch, sampled=True)
            log_weight = -(sum(log_ratios) + distortion.astype("float64"))
            total[here] = np.logaddexp(total[here], log_weight)
    return total - math.log(samples)


def _standard_error(values):
    """Of the mean over images; NaN for one image."""
    spread = values.std(ddof=1) if len(values) > 1 else math.nan
    return float(spread / math.sqrt(len(values)))


def _step(model, batch, sampled=False):
    # No graph is traced: what the contexts say holds for this very call.
    with no_gradients(), collect_rates(sampled) as rates:
        output = model(batch, training=False)
        if isinstance(model.loss, keras.losses.Loss):
            distortion = model.loss.call(batch, output)
            given = f"shape {tuple(distortion.shape)}"
        else:  # the name of a loss, a function, or a model that was not compiled
            distortion, given = None, "none"
    if distortion is None or len(distortion.shape) != 1:
        raise ValueError(
            f"The model's loss must give one number for each example, as those of "
            f"echo_keras.losses do; {model.loss!r} gives {given}."
        )
    return [ops.convert_to_numpy(r) for r in rates], ops.convert_to_numpy(distortion)


def no_gradients():
    """A context in which PyTorch records no gradients; the others never do here."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()
    return contextlib.nullcontext()
