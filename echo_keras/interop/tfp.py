"""Trained marginals and posteriors as TensorFlow Probability distributions.

Needs `pip install 'echo-keras[tfp]'` and Keras's TensorFlow backend.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from echo_keras import layers
from echo_keras.layers import (
    Logistic,
    MAFMarginal,
    StandardNormal,
    VampPrior,
    arguments,
)
from echo_keras.layers.typing import Tensor, Tensors

if TYPE_CHECKING:
    import tensorflow_probability as tfp


def distribution(marginal: keras.layers.Layer) -> "tfp.distributions.Distribution":
    r"""The marginal m(z) as a `tfp.distributions.Distribution`.

    | marginal | distribution |
    | --- | --- |
    | StandardNormal | MultivariateNormalDiag |
    | Logistic | Independent Logistic |
    | VampPrior | MixtureSameFamily of MultivariateNormalDiag |
    | MAFMarginal | TransformedDistribution of its base by MaskedAutoregressiveFlow |

    (Where a code has several axes, MultivariateNormalDiag is an Independent Normal.)
    A VampPrior's components are copied as they stand; a flow keeps using the layer's
    own networks and follows them if they are trained on.

    Args:
        marginal: A built layer of one of these classes.

    Returns:
        A distribution with the code's shape as its event shape.

    Raises:
        ValueError: the layer is none of these, is not built or, for a VampPrior, was
            never called or is of the published code, which is not a density.
        ImportError: TensorFlow Probability or tf-keras is missing.
        RuntimeError: Keras does not run on TensorFlow.

    Example:

    >>> from echo_keras.layers import StandardNormal
    >>> marginal = StandardNormal()
    >>> marginal.build((None, 2))
    >>> m = distribution(marginal)
    >>> round(float(m.log_prob([0.0, 0.0])), 3), tuple(m.sample(5).shape)
    (-1.838, (5, 2))
    """
    makers = {
        StandardNormal: _standard_normal,
        Logistic: _logistic,
        VampPrior: _vamp_prior,
        MAFMarginal: _maf_marginal,
    }
    maker = makers.get(type(marginal))
    if maker is None:
        known = ", ".join(cls.__name__ for cls in makers)
        hint = ""
        if isinstance(marginal, layers.Channel):
            hint = ", a channel: see `posterior`, or pass its marginal"
        raise ValueError(
            f"marginal must be one of {known}. Received: "
            f"marginal={type(marginal).__name__}{hint}"
        )
    tfp = _import_tfp()
    if not marginal.built:
        raise ValueError(
            f"marginal must be built, to know the shape of its codes: call it, or the "
            f"model it stands in, on data first. Received: marginal="
            f"{type(marginal).__name__}, not built"
        )
    return maker(tfp, marginal)


def posterior(
    channel: layers.GaussianSample, inputs: Tensors
) -> "tfp.distributions.Distribution":
    r"""The posterior q(z|x) of a Gaussian channel as a distribution.

    Args:
        channel: A `GaussianSample` without a flow.
        inputs: What the channel is called on: `[mean, log_var]`, each (batch, ...),
            or the mean alone with a fixed noise_variance.

    Returns:
        A MultivariateNormalDiag with batch shape (batch,); an Independent Normal
        where a code has several axes.

    Raises:
        ValueError: the channel is another one, or has a flow, or the inputs are not
            as above.
        ImportError: TensorFlow Probability or tf-keras is missing.
        RuntimeError: Keras does not run on TensorFlow.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import GaussianSample
    >>> q = posterior(GaussianSample(), [np.ones((5, 2)), np.zeros((5, 2))])
    >>> tuple(q.batch_shape), q.mean().numpy()[0].tolist()
    ((5,), [1.0, 1.0])
    """
    if isinstance(channel, layers.EchoSample | layers.EchoBottleneck):
        raise ValueError(
            f"channel must be a GaussianSample. Received: channel="
            f"{type(channel).__name__}, whose noise is made of data: it has a rate "
            f"but no density q(z|x)"
        )
    if not isinstance(channel, layers.GaussianSample):
        raise ValueError(
            f"channel must be a GaussianSample. Received: "
            f"channel={type(channel).__name__}"
        )
    if channel.flow is not None:
        raise ValueError(
            f"channel must be a GaussianSample without a flow. Received: one with "
            f"flow={type(channel.flow).__name__}"
        )
    tfp = _import_tfp()
    several = isinstance(inputs, (list, tuple))
    if channel.noise_variance is None and not (several and len(inputs) >= 2):
        raise ValueError(
            f"inputs must be [mean, log_var]. Received: inputs={inputs!r:.100}"
        )
    for x in inputs if several else [inputs]:
        if not ops.is_tensor(x):
            arguments.array("inputs", x, finite=False)
    if channel.noise_variance is None:
        mean, log_var = (ops.cast(x, "float32") for x in inputs[:2])
        if mean.shape != log_var.shape or len(mean.shape) < 2:
            raise ValueError(
                f"inputs must be [mean, log_var], both of one shape (batch, ...). "
                f"Received: shapes {mean.shape} and {log_var.shape}"
            )
        scale = ops.exp(0.5 * log_var)
    else:
        mean = ops.cast(inputs, "float32")
        scale = ops.full_like(mean, channel.noise_variance**0.5)
    return _diagonal(tfp, mean, scale, len(mean.shape) - 1)


def _import_tfp() -> ModuleType:
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise RuntimeError(
            f"Keras must run on TensorFlow for TensorFlow Probability: set "
            f"KERAS_BACKEND=tensorflow before Keras is imported. Received: "
            f"backend={backend}"
        )
    try:
        import tensorflow_probability as tfp
        import tf_keras  # noqa: F401  TensorFlow Probability fails late without it
    except ImportError as error:
        raise ImportError(
            "echo_keras.interop.tfp needs TensorFlow Probability and tf-keras: "
            "pip install 'echo-keras[tfp]'."
        ) from error
    return tfp


def _diagonal(tfp: ModuleType, mean: Tensor, scale: Tensor, rank: int) -> Any:
    """A Gaussian whose last `rank` axes are the event."""
    if rank == 1:
        return tfp.distributions.MultivariateNormalDiag(mean, scale)
    return tfp.distributions.Independent(tfp.distributions.Normal(mean, scale), rank)


def _standard_normal(tfp: ModuleType, marginal: keras.layers.Layer) -> Any:
    shape = marginal.code_shape
    return _diagonal(tfp, ops.zeros(shape), ops.ones(shape), len(shape))


def _logistic(tfp: ModuleType, marginal: keras.layers.Layer) -> Any:
    shape = marginal.code_shape
    each = tfp.distributions.Logistic(ops.zeros(shape), marginal.scale)
    return tfp.distributions.Independent(each, len(shape))


def _vamp_prior(tfp: ModuleType, marginal: keras.layers.Layer) -> Any:
    if marginal.variant == "published_code":
        raise ValueError(
            "marginal must be a density: the published VampPrior averages "
            "log-densities, and is none. Received: variant='published_code'"
        )
    mean, log_var = (ops.convert_to_tensor(x) for x in marginal.components.numpy())
    if not ops.all(ops.isfinite(mean)):
        raise ValueError(
            "marginal must know its components: call the model on data first. "
            "Received: a VampPrior that was never called"
        )
    logits = ops.zeros(mean.shape[:1])
    if marginal.learned_weights:
        # A tensor: Probability would freeze a Keras variable without a word.
        logits = ops.convert_to_tensor(marginal.logits.numpy())
    return tfp.distributions.MixtureSameFamily(
        tfp.distributions.Categorical(logits=logits),
        _diagonal(tfp, mean, ops.exp(0.5 * log_var), len(marginal.code_shape)),
    )


def _maf_marginal(tfp: ModuleType, marginal: keras.layers.Layer) -> Any:
    flow = marginal.flow

    def bijector(step: int) -> Any:
        # z = u exp(log_scale) + shift, where our networks give u = z exp(a) + m.
        def shift_and_log_scale(z, **kwargs):
            m, a = flow.shift_and_log_scale(step, ops.reshape(z, (-1, flow.d)))
            shape = ops.shape(z)
            return ops.reshape(-m * ops.exp(-a), shape), ops.reshape(-a, shape)

        return tfp.bijectors.MaskedAutoregressiveFlow(
            shift_and_log_scale_fn=shift_and_log_scale
        )

    # A chain runs from its last link to its first, as sampling does.
    chain = tfp.bijectors.Chain([bijector(step) for step in range(flow.steps)])
    return tfp.distributions.TransformedDistribution(distribution(marginal.base), chain)
