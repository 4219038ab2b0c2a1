"""Distortions: negative log-likelihoods on a decoder's raw output, in nats.

Each sums over every axis but the first and averages over the batch, so that the
value does not depend on how data are batched and adds up with a rate. (Keras's own
`BinaryCrossentropy` averages over pixels.)
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from echo_keras.layers import arguments
from echo_keras.layers.base import loss_dtype
from echo_keras.layers.typing import Shape, Tensor

Seed = int | keras.random.SeedGenerator | None


class Distortion(keras.losses.Loss):
    """Base class: nats per example, the mean over the batch.

    A subclass gives `per_element(y_true, y_pred)`, shape (batch, ...). If it is a
    likelihood p(x|z), it also gives `mean(y_pred)` and `sample(y_pred, seed)`: the
    loss alone knows what the decoder's raw output means.

    Weights (batch,) weigh examples, as in Keras: the mean over the batch of weight x
    nats. Weights of more axes, of the shape of the data or of its first axes, such as
    (batch, height, width) for images, weigh values before they are summed; so does the
    mask of y_pred, with 0 and 1. What has weight 0 may be anything, NaN included: that
    is the likelihood of the observed values of data with missing ones.

    Without a `dtype` it is computed in float32, whatever the layers' policy, or in
    float64 after `keras.config.set_floatx("float64")`.

    Inputs:
        - y_true: data, shape (batch, ...).
        - y_pred: the decoder's raw output, of the same shape unless a subclass says
          otherwise. `loss(y_true, y_pred)` is a scalar and
          `loss.call(y_true, y_pred)` has shape (batch,).

    Raises:
        ValueError: the shapes do not fit; in `mean` and `sample`, the loss is none of a
            law.
    """

    # Where the channels of y_pred are this many times those of y_true.
    outputs_per_value = 1
    # The least and the greatest value that data may have.
    support = (-math.inf, math.inf)
    # Below this no distortion of such data is.
    lowest = -math.inf

    def __init__(
        self,
        name: str | None = None,
        reduction: str = "sum_over_batch_size",
        dtype: str | None = None,
    ) -> None:
        super().__init__(
            name=name or type(self).__name__.lower(),
            reduction=reduction,
            dtype=dtype or loss_dtype(),
        )

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        of_values = None
        if sample_weight is not None:
            sample_weight = ops.cast(sample_weight, "float32")
            shape = tuple(sample_weight.shape)
            if len(shape) > 1 and shape[1:] != (1,):
                of_values, sample_weight = sample_weight, None
            else:
                sample_weight = ops.reshape(sample_weight, (-1,))
        nats = self._per_example(y_true, y_pred, of_values)
        if sample_weight is not None:
            nats = ops.where(sample_weight == 0, 0.0, nats)
        reduced = _Reduced(self.name, self.reduction, self.dtype)
        return reduced(nats, nats, sample_weight)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self._per_example(y_true, y_pred, None)

    def _per_example(self, y_true, y_pred, weights):
        """The sum over an example's values, those with a mask or weight 0 left out."""
        mask = getattr(y_pred, "_keras_mask", None)
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        self._check_shapes(y_true, y_pred)
        values = self.per_element(
            ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        )
        for name, each in (("The mask of y_pred", mask), ("sample_weight", weights)):
            if each is not None:
                each = _of_leading_axes(name, ops.cast(each, "float32"), values)
                # Not NaN x 0: what does not count may be anything.
                values = ops.where(each == 0, 0.0, each * values)
        axes = tuple(range(1, len(values.shape)))
        return ops.sum(values, axis=axes) if axes else values

    def _check_shapes(self, y_true, y_pred):
        expected = tuple(y_true.shape[:-1]) + (
            None
            if y_true.shape[-1] is None
            else y_true.shape[-1] * self.outputs_per_value,
        )
        found = tuple(y_pred.shape)
        if len(expected) != len(found) or any(
            None not in (e, f) and e != f for e, f in zip(expected, found, strict=True)
        ):
            raise ValueError(
                f"y_pred must have the shape {expected} for {type(self).__name__} of "
                f"data of shape {tuple(y_true.shape)}. Received: y_pred of shape "
                f"{found}"
            )

    def check_data(self, y_true: np.ndarray) -> None:
        """Raises a ValueError unless data are what the loss is a loss of.

        Finite numbers; of `Bernoulli` in [0, 1], of `CategoricalNLL` whole and >= 0.

        Args:
            y_true: Array (n, ...).
        """
        y_true = np.asarray(y_true)
        if y_true.dtype.kind not in "biuf":
            raise ValueError(
                f"The data of {type(self).__name__} must be numbers. "
                f"Received: dtype {y_true.dtype}"
            )
        if not y_true.size:
            raise ValueError(
                f"The data of {type(self).__name__} must not be empty. "
                f"Received: shape {y_true.shape}"
            )
        low, high = float(y_true.min()), float(y_true.max())
        if not -math.inf < low <= high < math.inf:
            raise ValueError(
                f"The data of {type(self).__name__} must be finite. "
                f"Received: NaN or infinity"
            )
        least, most = self.support
        if not least <= low <= high <= most:
            advice = " Divide pixels by 255." if most == 1 and high > 1 else ""
            raise ValueError(
                f"The data of {type(self).__name__} must be in [{least:g}, {most:g}]. "
                f"Received: values from {low:g} to {high:g}.{advice}"
            )

    def per_element(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The distortion of each value in nats, (batch, ...), of float32 tensors."""
        raise NotImplementedError(f"{type(self).__name__} must define `per_element`.")

    def mean(self, y_pred: Tensor) -> Tensor:
        """The mean of p(x|z), float32, in the data's units and of their shape.

        A Gaussian's mean may leave the data's range: whoever draws images cuts it.
        """
        raise self._no_likelihood()

    def sample(self, y_pred: Tensor, seed: Seed = None) -> Tensor:
        """Draws data from p(x|z), float32, of the shape of y_true.

        Args:
            y_pred: The decoder's raw output.
            seed: `keras.random.SeedGenerator`; an int, which draws the same data at
                every call; or None, for Keras's global generator.
        """
        raise self._no_likelihood()

    def _no_likelihood(self):
        return ValueError(
            f"loss must be a likelihood to have a mean and samples, such as "
            f"Bernoulli, Gaussian or Laplace. Received: loss={type(self).__name__}"
        )

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "reduction": self.reduction, "dtype": self.dtype}


class _Reduced(keras.losses.Loss):
    """Numbers of examples, weighted and reduced as Keras does, on replicas too."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return y_pred


def _of_leading_axes(name, weights, values):
    """Weights (batch, ...), shaped to go with values that may have more axes."""
    found, whole = tuple(weights.shape), tuple(values.shape)
    fit = len(found) <= len(whole) and all(
        None in (f, v) or f == v or f == 1 for f, v in zip(found, whole, strict=False)
    )
    if not fit:
        raise ValueError(
            f"{name} must have the shape (batch,), that of the data or of its first "
            f"axes, for data of shape {whole}. Received: shape {found}"
        )
    return ops.expand_dims(weights, tuple(range(len(found), len(whole))))


@keras.saving.register_keras_serializable(package="echo_keras")
class Bernoulli(Distortion):
    """Bernoulli: `-y log sigma(l) - (1 - y) log(1 - sigma(l))` for logits l.

    y may be any number in [0, 1]; grey pixels then stand for probabilities and the
    value is a cross-entropy. There is no cap on the nats of a pixel.

    Example:

    >>> import numpy as np
    >>> loss = Bernoulli()
    >>> round(float(loss(np.ones((3, 4)), np.zeros((3, 4)))), 3)  # 4 log 2
    2.773
    """

    support = (0.0, 1.0)
    lowest = 0.0

    def per_element(self, y_true: Tensor, logits: Tensor) -> Tensor:
        return ops.softplus(logits) - y_true * logits

    def mean(self, logits: Tensor) -> Tensor:
        """The probabilities of ones, of the shape of the logits."""
        return ops.sigmoid(ops.cast(logits, "float32"))

    def sample(self, logits: Tensor, seed: Seed = None) -> Tensor:
        """Draws zeros and ones, of the shape of the logits."""
        p = self.mean(logits)
        return ops.cast(_uniform(ops.shape(p), seed) < p, "float32")


@keras.saving.register_keras_serializable(package="echo_keras")
class Gaussian(Distortion):
    """Gaussian: `1/2 [(y - mu)^2 / sigma^2 + log sigma^2 + log 2pi]`.

    Args:
        variance: Float > 0, a fixed variance, with y_pred the mean; or "learned",
            with y_pred holding mean and log-variance side by side in the last
            axis, which is then twice as long as that of y_true.

    Raises:
        ValueError: variance is neither.

    Example:

    >>> import numpy as np
    >>> loss = Gaussian(variance="learned")
    >>> round(float(loss(np.zeros((3, 4)), np.zeros((3, 8)))), 3)  # 2 log 2 pi
    3.676
    """

    def __init__(
        self,
        variance: float | str = 1.0,
        name: str | None = None,
        reduction: str = "sum_over_batch_size",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        if not isinstance(variance, str) or variance != "learned":
            variance = arguments.number(
                "variance", variance, above=0, otherwise=", or 'learned'"
            )
        self.variance = variance
        self.outputs_per_value = 2 if variance == "learned" else 1

    def moments(self, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the data, each of their shape."""
        if self.variance == "learned":
            return ops.split(y_pred, 2, axis=-1)
        return y_pred, ops.full_like(y_pred, math.log(self.variance))

    def per_element(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        mean, log_var = self.moments(y_pred)
        error = ops.square(y_true - mean)
        return 0.5 * (error * ops.exp(-log_var) + log_var + math.log(2 * math.pi))

    def mean(self, y_pred: Tensor) -> Tensor:
        """The mean; with a learned variance the last axis is half as long."""
        return self.moments(ops.cast(y_pred, "float32"))[0]

    def sample(self, y_pred: Tensor, seed: Seed = None) -> Tensor:
        """Draws data; with a learned variance the last axis is half as long."""
        mean, log_var = self.moments(ops.cast(y_pred, "float32"))
        noise = keras.random.normal(ops.shape(mean), dtype="float32", seed=seed)
        return mean + ops.exp(0.5 * log_var) * noise

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "variance": self.variance}


@keras.saving.register_keras_serializable(package="echo_keras")
class Laplace(Distortion):
    """Laplace: `|y - mu| / b + log 2b`.

    Args:
        scale: Float > 0, b.

    Raises:
        ValueError: scale is not a finite number > 0.

    Example:

    >>> import numpy as np
    >>> round(float(Laplace(0.5)(np.ones((3, 4)), np.zeros((3, 4)))), 3)
    8.0
    """

    def __init__(
        self,
        scale: float = 1.0,
        name: str | None = None,
        reduction: str = "sum_over_batch_size",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.scale = arguments.number("scale", scale, above=0)

    def per_element(self, y_true: Tensor, mean: Tensor) -> Tensor:
        return ops.abs(y_true - mean) / self.scale + math.log(2 * self.scale)

    def mean(self, y_pred: Tensor) -> Tensor:
        """The mean, which is the decoder's output."""
        return ops.cast(y_pred, "float32")

    def sample(self, y_pred: Tensor, seed: Seed = None) -> Tensor:
        """Draws data, of the shape of the mean."""
        mean = ops.cast(y_pred, "float32")
        # The difference of two exponential variables; 1 - u is never 0. Both come of
        # one call: two with the same int would be the same numbers.
        first, second = -ops.log1p(-_uniform((2, *ops.shape(mean)), seed))
        return mean + self.scale * (first - second)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="echo_keras")
class SquaredError(Distortion):
    """Squared error `(y - mu)^2`, summed over values: a Gaussian of variance 1/2.

    It is `-log N(y; mu, 1/2)` in nats without its constant,
    `1/2 log pi = 0.572` for each value. So the `neg_elbo` of a model with this
    loss is that of `Gaussian(0.5)` less the constant: models of the same data compare,
    and pixels in [0, 1] are given far more noise than they have.

    Example:

    >>> import numpy as np
    >>> float(SquaredError()(np.ones((3, 4)), np.zeros((3, 4))))
    4.0
    """

    def per_element(self, y_true: Tensor, mean: Tensor) -> Tensor:
        return ops.square(y_true - mean)

    def mean(self, y_pred: Tensor) -> Tensor:
        """The mean, which is the decoder's output."""
        return ops.cast(y_pred, "float32")

    def sample(self, y_pred: Tensor, seed: Seed = None) -> Tensor:
        """Draws data of variance 1/2, of the shape of the mean."""
        return Gaussian(0.5).sample(y_pred, seed)


@keras.saving.register_keras_serializable(package="echo_keras")
class ZeroLoss(Distortion):
    """No distortion: 0 for every example, for models that other terms train alone.

    Args:
        logits: If True, outputs are logits of pixels, which `mean` turns into pixels.

    Example:

    >>> import numpy as np
    >>> float(ZeroLoss()(np.ones((3, 4)), np.zeros((3, 4))))
    0.0

    References:
        BIB-AE paper, Sec. 2.3 and 4.1: the original GAN has no term C.
    """

    def __init__(
        self,
        logits: bool = False,
        name: str | None = None,
        reduction: str = "sum_over_batch_size",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.logits = arguments.flag("logits", logits)

    def per_element(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ops.zeros_like(y_pred)

    def mean(self, y_pred: Tensor) -> Tensor:
        """The image of a GAN: the output, or its sigmoid."""
        y_pred = ops.cast(y_pred, "float32")
        return ops.sigmoid(y_pred) if self.logits else y_pred

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "logits": self.logits}


@keras.saving.register_keras_serializable(package="echo_keras")
class CategoricalNLL(Distortion):
    """Cross-entropy of class labels: `-log p(c|z)` for logits of the classes.

    Its mean bounds the conditional entropy H(C|Z) from above, so that H(C) less its
    mean bounds I(Z; C) from below.

    Inputs:
        y_true: Class numbers, ints, shape (batch,) or (batch, 1).
        y_pred: Logits, shape (batch, classes).

    Raises:
        ValueError: the shapes are others.

    Example:

    >>> import numpy as np
    >>> round(float(CategoricalNLL()(np.array([0, 3]), np.zeros((2, 4)))), 3)  # log 4
    1.386

    References:
        BIB-AE paper, Eq. 6 and 43.
    """

    support = (0.0, math.inf)
    lowest = 0.0

    def _check_shapes(self, y_true, y_pred):
        if len(y_pred.shape) != 2 or tuple(y_true.shape[1:]) not in ((), (1,)):
            raise ValueError(
                f"CategoricalNLL takes labels of shape (batch,) and logits of shape "
                f"(batch, classes). Received: y_true of shape {tuple(y_true.shape)}, "
                f"y_pred of shape {tuple(y_pred.shape)}"
            )

    def check_data(self, y_true: np.ndarray) -> None:
        super().check_data(y_true)
        if (np.asarray(y_true) % 1 != 0).any():
            raise ValueError(
                "The data of CategoricalNLL must be the numbers of classes. "
                "Received: numbers that are not whole"
            )

    def per_element(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        classes = y_pred.shape[-1]
        within = ops.clip(labels, 0, classes - 1)
        of_label = ops.one_hot(within, classes, dtype="float32")
        nats = ops.logsumexp(y_pred, axis=-1) - ops.sum(of_label * y_pred, axis=-1)
        # A class that does not exist has no probability.
        return ops.where(labels == within, nats, math.inf)

    def mean(self, y_pred: Tensor) -> Tensor:
        """The mean of one-hot labels: the probabilities of the classes."""
        return ops.softmax(ops.cast(y_pred, "float32"), axis=-1)

    def sample(self, y_pred: Tensor, seed: Seed = None) -> Tensor:
        """Draws class numbers, int32, shape (batch,)."""
        logits = ops.cast(y_pred, "float32")
        return keras.random.categorical(logits, 1, dtype="int32", seed=seed)[:, 0]


def _uniform(shape: Shape, seed: Seed) -> Tensor:
    """Numbers in [0, 1), float32."""
    return keras.random.uniform(shape, dtype="float32", seed=seed)
