"""Rate, distortion, -ELBO and likelihood of a trained model on held-out data."""

import math
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from echo_keras.layers import EchoSample, arguments
from echo_keras.losses import CategoricalNLL, Distortion, SquaredError, ZeroLoss
from echo_keras.model import find_layers, target_of

from .batching import (
    check_finite,
    check_numbers,
    count,
    default_batch_size,
    is_arrays,
    map_batches,
    with_standard_error,
)
from .forward import forward_pass

ECHOES = ("bank", "batch")


def evaluate(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    samples: int = 1,
    echoes: str = "bank",
    batch_size: int | None = None,
    bits: bool = False,
    training: bool = False,
    training_set: bool = False,
) -> dict[str, float]:
    """Means over examples, each with its standard error.

    What the rate says of the information I(X; Z) depends on the channel:

    - Gaussian: an upper bound, under the channel's marginal.
    - Echo: I(X; Z) of the population that the examples are drawn from, whenever q(z)
      has a density. Otherwise (few distinct inputs, codes that fill no volume) only an
      upper bound: on n distinct examples no information exceeds
      `H(X) <= log n`. `training_set=True` gives log n beside the rate.
    - Noise of fixed variance: an upper bound, and so is the channel's `capacity`.
    - Without a channel a continuous code has no finite rate, so that none is given.

    Args:
        model: A `RateDistortionModel`, compiled with a loss of `echo_keras.losses`.
        x: Inputs: an array (n, ...), a list or dict of arrays; or batches, anything
            iterable that gives inputs, or pairs of inputs and targets: a Keras
            `PyDataset`, a `tf.data.Dataset`, a PyTorch `DataLoader`. Batches need not
            fit into memory.
        y: Targets (n, ...) of arrays x; None if they are the inputs. Batches bring
            their own.
        samples: Int >= 1, codes drawn for each example. Distortions are averaged over
            them, so that more samples give the same expectation less noisily.
        echoes: Where Echo noise comes from: "bank", rows of the training data; or
            "batch", the other examples of the batch, as the Echo paper evaluates.
            Arrays are then cut into batches in a fixed random order, because echoes
            must be independent draws from the data and files may be sorted: Binary
            MNIST's test file is, by digit, and in file order zeros would hear but
            zeros. Without effect on other channels.
        batch_size: Int >= 1. None for 100, the Echo paper's, where echoes come from the
            batch, else for `default_batch_size`; and for batches, which have their own.
        bits: If True, bits per example instead of nats.
        training: If True the model runs as in training: echoes, and the statistics of
            layers that normalize by them, come from the batch, and dropout and
            `InputNoise` act. Nothing is updated. Against the result at inference this
            shows whether the two are one model.
        training_set: If True, x is what the model was trained on, or a part of it, and
            `log_n` is given.

    Returns:
        A dict with `distortion`; where the model has a channel `rate` and their sum
        `neg_elbo`; and the standard error of each as `rate_se` and so on: the spread
        over examples divided by sqrt(n). Besides `capacity`, if all channels have
        noise of fixed variance below 1: what they can carry, summed over their calls,
        as long as the variance of a code, summed over its d dimensions, is at most d
        (see `GaussianSample.capacity`). And `log_n` of a training set: the log of the
        number of distinct inputs in x. The keys end in `_bits` if bits is True.

    Raises:
        ValueError: an argument is out of range, there is no example, inputs are not
            finite or targets not what the loss is a loss of (pixels in [0, 1] for
            `Bernoulli`), a model of several inputs gets no targets, one has several
            outputs, batches have sample weights or targets beside them, or the model's
            loss does not give one number for each example.

    Warns:
        UserWarning: the rate of an Echo channel exceeds log n of a training set.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> model.compile(loss=losses.Bernoulli())
    >>> result = evaluate(model, np.ones((20, 8)), samples=3)
    >>> sorted(result)  # doctest: +NORMALIZE_WHITESPACE
    ['distortion', 'distortion_se', 'neg_elbo', 'neg_elbo_se', 'rate', 'rate_se']
    """
    bits, training = arguments.flag("bits", bits), arguments.flag("training", training)
    training_set = arguments.flag("training_set", training_set)
    terms = _terms(model, x, y, samples, echoes, batch_size, training, training_set)
    keys, capacity = terms.pop("key", None), terms.pop("capacity", None)
    if "rate" in terms:
        terms["neg_elbo"] = terms["rate"] + terms["distortion"]
    unit, suffix = (math.log(2), "_bits") if bits else (1.0, "")
    result = {}
    for name, values in terms.items():
        result |= with_standard_error(f"{name}{suffix}", values / unit)
    if capacity is not None:
        result[f"capacity{suffix}"] = float(capacity[0]) / unit
    if training_set:
        n = len(np.unique(keys))
        result[f"log_n{suffix}"] = math.log(n) / unit
        if find_layers(model, EchoSample):
            _warn_above_log_n(terms["rate"].mean(), n)
    return result


def _warn_above_log_n(rate, n):
    if rate > math.log(n):
        warnings.warn(
            f"The rate, {rate:.2f} nats, is above log n = {math.log(n):.2f} of these "
            f"n = {n} distinct examples, of which no code tells more than log n. For "
            f"them alone it is only an upper bound; it is I(X; Z) of the population "
            f"that they are drawn from, whenever q(z) has a density.",
            stacklevel=3,
        )


def per_example(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    samples: int = 1,
    echoes: str = "bank",
    batch_size: int | None = None,
    training: bool = False,
) -> tuple[np.ndarray | None, np.ndarray]:
    """Rate and distortion of each example in nats, averaged over codes.

    Args:
        model, x, y, samples, echoes, batch_size, training: See `evaluate`.

    Returns:
        Two float64 arrays (n,), in the order of x or of its batches. Without a channel
        the rate is None.

    Raises:
        ValueError: as `evaluate`.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> model.compile(loss=losses.Bernoulli())
    >>> rate, distortion = per_example(model, np.ones((20, 8)))
    >>> rate.shape, distortion.shape
    ((20,), (20,))
    """
    training = arguments.flag("training", training)
    terms = _terms(model, x, y, samples, echoes, batch_size, training)
    return terms.get("rate"), terms["distortion"]


def _terms(model, x, y, samples, echoes, batch_size, training=False, keys=False):
    """Distortion of each example; rate and capacity, if known; key, if asked for."""
    samples = arguments.integer("samples", samples)
    arguments.choice("echoes", echoes, ECHOES)
    echoes = "batch" if training else echoes
    order = None
    if echoes == "batch" and is_arrays(x):
        order = np.random.RandomState(0).permutation(count(x))
        batch_size = 100 if batch_size is None else batch_size
    run = forward_pass(model, echoes, training=training)

    def means(x, y):
        drawn = [run(x, y) for _ in range(samples)]
        terms = {"distortion": [found.distortion for found in drawn]}
        if drawn[0].rate is not None:
            terms["rate"] = [found.rate for found in drawn]
        terms = {
            name: sum(map(_float64, term)) / samples for name, term in terms.items()
        }
        if drawn[0].capacity is not None:
            terms["capacity"] = _float64(drawn[0].capacity)
        return {**terms, "key": _keys(x)} if keys else terms

    return _map_pairs(model, means, x, y, batch_size, order)


def _keys(x):
    """A number for each example of a batch: the same where examples are."""
    arrays = [ops.convert_to_numpy(a) for a in tree.flatten(x)]
    rows = [[row.tobytes() for row in a] for a in arrays]
    return np.array([hash(row) for row in zip(*rows, strict=True)])


def importance_weighted(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    samples: int = 100,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Importance-weighted estimate of log p(x), a lower bound in expectation.

    `log p_K(x) = log 1/K sum_k p(x|z_k) m(z_k) / q(z_k|x), z_k ~ q(z|x)`

    With K = 1 its mean is the ELBO at beta 1; in expectation it grows with K, towards
    log p(x). The K codes of an example are drawn one after the other, so that memory
    does not depend on K; each costs a pass through the whole model.

    Args:
        model: A `RateDistortionModel`, compiled with a loss of `echo_keras.losses`
            that is a likelihood; `SquaredError`, which lacks the constant of one, is
            refused, and of grey pixels `Bernoulli` is a cross-entropy. Every channel
            needs a density q(z|x); Echo has none.
        x, y, batch_size: See `evaluate`.
        samples: Int >= 1, K.

    Returns:
        A dict with `log_likelihood_iw{K}`, the mean over examples in nats, and its
        standard error `log_likelihood_iw{K}_se`, the spread over examples divided by
        sqrt(n). (The bias, of the bound against log p(x), is not in it.)

    Raises:
        ValueError: as `evaluate`; a channel has no density, or the loss is none.

    Example:

    >>> from echo_keras import losses, objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> model.compile(loss=losses.Bernoulli())
    >>> sorted(importance_weighted(model, np.ones((20, 8)), samples=5))
    ['log_likelihood_iw5', 'log_likelihood_iw5_se']

    References:
        Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders (2016), Eq. 8.
    """
    values = per_example_likelihood(model, x, y, samples=samples, batch_size=batch_size)
    return with_standard_error(f"log_likelihood_iw{samples}", values)


def per_example_likelihood(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    samples: int = 100,
    batch_size: int | None = None,
) -> np.ndarray:
    """The estimate of `importance_weighted` for each example, float64 (n,)."""
    samples = arguments.integer("samples", samples)
    run = forward_pass(model)
    if isinstance(model.loss, (SquaredError, ZeroLoss)):
        raise ValueError(
            f"model must be compiled with a likelihood, such as echo_keras.losses."
            f"Gaussian: a squared error lacks the constant of its density. Received: "
            f"loss={type(model.loss).__name__}"
        )

    def log_likelihood(x, y):
        total = -np.inf
        for _ in range(samples):
            found = run(x, y)
            if found.log_ratio is None:
                raise ValueError(
                    "Importance weighting needs a density q(z|x) of every channel. "
                    "Received: a model with a channel that has none, such as an Echo "
                    "channel; use evaluate."
                )
            log_weight = -(_float64(found.log_ratio) + _float64(found.distortion))
            with np.errstate(invalid="ignore"):  # NaN is told below
                total = np.logaddexp(total, log_weight)
        return total - math.log(samples)

    return _map_pairs(model, log_likelihood, x, y, batch_size)


def _map_pairs(model, function, x, y, batch_size=None, order=None):
    """What a function makes of batches of inputs and of targets, which may be None."""
    if not is_arrays(x):
        if y is not None:
            raise ValueError(
                "y must be None for data that come in batches, which bring their "
                "targets. Received: y beside batches"
            )
        data = x
    else:
        data = (x,) if y is None else (x, y)
        for arrays in data:
            count(arrays)
        # By the size of the inputs alone.
        batch_size = default_batch_size(x) if batch_size is None else batch_size

    def of_batch(batch):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
        if weights is not None:
            raise ValueError(
                "x must give inputs, or inputs and targets. Received: batches with "
                "sample weights, which are not used here"
            )
        check_finite("x", x), check_finite("y", y)
        check_targets(model, target_of(x, y))
        return function(x, y)

    found = map_batches(of_batch, data, batch_size, order)
    return check_numbers("rate and distortion", found)


def check_targets(model: keras.Model, y: Any) -> None:
    """Raises a ValueError where targets are not what the model's loss is a loss of."""
    if isinstance(model.loss, Distortion) and not tree.is_nested(y):
        y = ops.convert_to_numpy(y)
        model.loss.check_data(y)
        if isinstance(model.loss, CategoricalNLL) and y.max() >= model.output_shape[-1]:
            raise ValueError(
                f"classes must be integers from 0 to {model.output_shape[-1] - 1}. "
                f"Received: up to {y.max()}"
            )


def _float64(x):
    return ops.convert_to_numpy(x).astype("float64")
