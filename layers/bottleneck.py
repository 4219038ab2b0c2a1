"""Heads and channel in one layer: the one line that a user's model needs."""

import math

import keras
from keras import ops

from .channel import Draw
from .echo import EchoSample
from .gaussian import GaussianSample
from .numerics import log_softplus
from .quantizer import VectorQuantizer, take_codewords
from .typing import Tensors


@keras.saving.register_keras_serializable(package="echo_keras")
def tanh16(x):
    """tanh(x / 16): bounded by 1, linear over a wider range than tanh.

    The activation of f in the Echo paper, App. B.

    Example:

    >>> round(float(tanh16(ops.convert_to_tensor(8.0))), 3)  # tanh 0.5
    0.462
    """
    return ops.tanh(x / 16.0)


class Bottleneck(keras.layers.Layer):
    """Dense heads on an encoder's features, then a channel.

    Base class; `channel` is the sub-layer that draws z and adds the rate, None in a
    bottleneck without noise.
    """

    channel_class = None

    def __init__(
        self, units, name=None, trainable=True, dtype=None, **channel_arguments
    ):
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        if units < 1 or units != int(units):
            raise ValueError(
                f"units, the number of code dimensions, must be an integer >= 1; "
                f"received {units}."
            )
        self.units = units
        self.channel = None
        if self.channel_class is not None:
            self.channel = self.channel_class(
                dtype=self.dtype_policy, name="channel", **channel_arguments
            )
        elif channel_arguments:
            raise ValueError(
                f"{type(self).__name__} has no channel, and takes no "
                f"{', '.join(channel_arguments)}."
            )

    def build(self, input_shape):
        for head in self.heads:
            head.build(input_shape)
        if self.channel is not None:
            codes = [(*input_shape[:-1], head.units) for head in self.heads]
            self.channel.build(codes)

    def head(self, name, units=None, **arguments):
        return keras.layers.Dense(
            units or self.units, dtype=self.dtype_policy, name=name, **arguments
        )

    def encode(self, features):
        """The channel's two inputs, float32: the code before noise is added."""
        return [ops.cast(head(features), "float32") for head in self.heads]

    def code(self, features):
        """What z would be without noise, float32 (batch, ..., units)."""
        raise NotImplementedError(f"{type(self).__name__} must define `code`.")

    def call(self, features, training=False):
        return self.channel(self.encode(features), training=training)

    def draw(self, features: Tensors, echoes_from: str = "bank") -> Draw:
        """A code of each example, its rate and log-ratio; see `Channel.draw`."""
        return self.channel.draw(self.encode(features), echoes_from)

    def rate(self, features):
        """Rate of each example in nats, shape (batch,); see the channel's `rate`."""
        return self.channel.rate(self.encode(features))

    def rate_by_dimension(self, features):
        """Parts of the rate, (batch, units); see the channel's `rate_by_dimension`."""
        return self.channel.rate_by_dimension(self.encode(features))

    def log_prob(self, z, features):
        """log q(z|x) of given codes in nats, (batch,), where there is a density."""
        raise ValueError(
            f"{type(self).__name__} gives no density q(z|x); GaussianBottleneck does."
        )

    def sample(self, n):
        """Draws n codes, (n, units), from the marginal; see the channel's `sample`."""
        return self.channel.sample(n)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        channel = {} if self.channel is None else self.channel.get_config()
        for key in ("name", "trainable", "dtype"):
            channel.pop(key, None)
        return {**super().get_config(), "units": self.units, **channel}


@keras.saving.register_keras_serializable(package="echo_keras")
class GaussianBottleneck(Bottleneck):
    r"""Dense heads for mean and log-variance, then `GaussianSample`.

    With a fixed noise variance there is a head for the mean alone. With a `VampPrior`
    as marginal the heads are applied to the encoder's features of the pseudo-inputs
    as well. With `context=True` the flow's context is the features, or with
    `context_units` what a third head makes of them.

    Args:
        units: Int >= 1, number of code dimensions.
        variance_activation: What the second head v gives: "exp",
            \(\sigma^2 = e^v\), so that v is the log-variance; or "softplus",
            \(\sigma^2 = \log(1 + e^v)\), which grows no faster than v.
        context_units: Int >= 1 or None: size of the flow's context, from a head of its
            own as in Kingma et al. (2016). Beside `context=True` only.
        **channel_arguments: What `GaussianSample` takes: marginal, noise_variance,
            beta, seed, flow, context.

    Inputs:
        Features, shape (batch, ..., channels); or `[features, pseudo_features]`, the
        second (K, ..., channels).

    Output:
        z, shape (batch, ..., units).

    Raises:
        ValueError: units is not an integer >= 1, variance_activation is unknown, or
            is "softplus" beside a fixed variance, there are context_units without a
            context, or the inputs are not as above.

    Example:

    >>> import numpy as np
    >>> z = GaussianBottleneck(32)(np.ones((10, 256)))
    >>> tuple(z.shape)
    (10, 32)

    References:
        Fixing a Broken ELBO, App. F.1 (softplus). Variance Constrained Autoencoding,
        App. B (VAE + IAF, whose context has as many units as the code).
    """

    channel_class = GaussianSample

    def __init__(self, units, variance_activation="exp", context_units=None, **kwargs):
        super().__init__(units, **kwargs)
        if variance_activation not in ("exp", "softplus"):
            raise ValueError(
                f"variance_activation must be 'exp' or 'softplus'; received "
                f"{variance_activation!r}."
            )
        self.variance_activation = variance_activation
        self.heads = [self.head("mean")]
        if self.channel.noise_variance is None:
            self.heads.append(self.head("log_var"))
        elif variance_activation != "exp":
            raise ValueError(
                "With a fixed noise_variance no head gives the variance: leave "
                "variance_activation='exp'."
            )
        self.context_units = context_units
        self.context_head = None
        if context_units is not None:
            if not self.channel.context or context_units < 1:
                raise ValueError(
                    f"context_units must be None, or an integer >= 1 beside "
                    f"context=True; received {context_units}."
                )
            self.context_head = self.head("context", context_units)

    def build(self, input_shape):
        is_list = input_shape and isinstance(input_shape[0], (list, tuple))
        shapes = [tuple(s) for s in (input_shape if is_list else [input_shape])]
        if len(shapes) > 2:
            raise ValueError(
                f"GaussianBottleneck takes features or [features, pseudo_features]; "
                f"received {len(shapes)} inputs."
            )
        for head in self.heads:
            head.build(shapes[0])
        context = shapes[:1] if self.channel.context else []
        if self.context_head is not None:
            self.context_head.build(shapes[0])
            context = [(*shapes[0][:-1], self.context_units)]
        code, *pseudo = [(*s[:-1], self.units) for s in shapes]
        if self.channel.noise_variance is not None:
            self.channel.build([code, *pseudo] if pseudo else code)
            return
        self.channel.build([code, code, *context, *pseudo, *pseudo])

    def encode(self, features):
        """The channel's inputs, float32: mean, log_var, context, those of the prior.

        With a fixed noise variance the mean alone, and no list.
        """
        is_list = isinstance(features, (list, tuple))
        features, *pseudo = features if is_list else [features]
        if self.channel.noise_variance is not None:
            return super().encode(features)[0]
        inputs = self._moments(features)
        if self.channel.context:
            head = self.context_head
            context = features if head is None else head(features)
            inputs.append(ops.cast(context, "float32"))
        for others in pseudo:
            inputs += self._moments(others)
        return inputs

    def _moments(self, features):
        """[mean, log_var], float32, of an encoder's features."""
        mean, log_var = super().encode(features)
        if self.variance_activation == "softplus":
            log_var = log_softplus(log_var)
        return [mean, log_var]

    def code(self, features):
        """What z would be without noise: the mean, through the flow if there is one."""
        inputs = self.encode(features)
        if self.channel.noise_variance is not None:
            inputs = [inputs]
        if self.channel.flow is None:
            return inputs[0]
        context = inputs[2] if self.channel.context else None
        return self.channel.flow.transform(inputs[0], context=context)[0]

    def log_prob(self, z, features):
        """log q(z|x) of given codes in nats, (batch,); see the channel's `log_prob`."""
        return self.channel.log_prob(z, self.encode(features))

    def compute_output_shape(self, input_shape):
        if isinstance(input_shape[0], (list, tuple)):
            input_shape = input_shape[0]
        return super().compute_output_shape(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "variance_activation": self.variance_activation,
            "context_units": self.context_units,
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class DeterministicBottleneck(Bottleneck):
    """A dense head alone: the code of an autoencoder without noise.

    A code without noise has no finite rate, and this layer reports none: I(X; Z) of
    real numbers is unbounded. What bounds such models is elsewhere: a penalty on the
    code, or noise on the input (`InputNoise`).

    Args:
        units: Int >= 1, number of code dimensions.

    Inputs:
        Features, shape (batch, ..., channels).

    Output:
        z, shape (batch, ..., units).

    Raises:
        ValueError: units is not an integer >= 1; in `rate`, `log_prob` and `sample`,
            which a code without noise and marginal does not have.

    Example:

    >>> import numpy as np
    >>> z = DeterministicBottleneck(32)(np.ones((10, 256)))
    >>> tuple(z.shape)
    (10, 32)

    References:
        Variance Constrained Autoencoding, Sec. 6.2 (dVCAE, WAE).
    """

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.heads = [self.head("code")]

    def code(self, features):
        """z, float32."""
        return self.encode(features)[0]

    def call(self, features, training=False):
        return ops.cast(self.code(features), self.compute_dtype)

    def draw(self, features: Tensors, echoes_from: str = "bank") -> Draw:
        """z alone: a code without noise has neither a rate nor a log-ratio."""
        return Draw(ops.cast(self.code(features), self.compute_dtype), None, None)

    def rate(self, features):
        raise ValueError("A code without noise has no finite rate.")

    rate_by_dimension = rate

    def sample(self, n):
        raise ValueError(
            "A code without noise has no marginal to draw from; fit one to the codes, "
            "with echo_keras.latent_flow.fit_latent_flow."
        )


@keras.saving.register_keras_serializable(package="echo_keras")
class QuantizedBottleneck(Bottleneck):
    r"""A dense head, then `VectorQuantizer`: a code of finitely many values.

    Args:
        units: Int >= 1, number of code dimensions.
        codewords: Int, codewords of each group of dimensions.
        **channel_arguments: What `VectorQuantizer` takes: groups, beta, dither, ...

    Inputs:
        Features, shape (batch, ..., channels).

    Output:
        z, shape (batch, ..., units).

    Raises:
        ValueError: units is not an integer >= 1, or as for `VectorQuantizer`.

    Example:

    >>> import numpy as np
    >>> z = QuantizedBottleneck(32, codewords=8, groups=16)(np.ones((10, 256)))
    >>> tuple(z.shape)
    (10, 32)

    References:
        BIB-AE paper, Sec. 4.2.
    """

    channel_class = VectorQuantizer

    def __init__(self, units, codewords, **kwargs):
        super().__init__(units, codewords=codewords, **kwargs)
        self.heads = [self.head("code")]

    def build(self, input_shape):
        (head,) = self.heads
        head.build(input_shape)
        self.channel.build((*input_shape[:-1], self.units))

    def encode(self, features):
        """The code before it is quantised, float32."""
        return super().encode(features)[0]

    def indices(self, features):
        """The numbers of the codewords, int32 (batch, ..., groups)."""
        return self.channel.indices(self.encode(features))

    def code(self, features):
        """The codewords, without the dither, float32."""
        z = self.encode(features)
        index = ops.reshape(self.channel.indices(z), (-1, self.channel.groups))
        codewords = take_codewords(self.channel.codebook(), index)
        return ops.reshape(codewords, ops.shape(z))


@keras.saving.register_keras_serializable(package="echo_keras")
class EchoBottleneck(Bottleneck):
    r"""Dense heads for f and log s, then `EchoSample`.

    Two parametrisations, for a diagonal S with the same number of trainable weights,
    2 (features + 1) units:

    - "standardized": f is the tanh of its head. log s is the linear output of its
      head, clipped to its bound by `EchoSample`, whose clip lets gradients that
      lead back inside pass. z is brought to mean 0 and variance 1 in each
      dimension by batch normalisation without weights, which is invertible and
      leaves the rate as it is.
    - "paper": f = tanh(head / 16), log s = log-sigmoid(head), and z as it comes
      (Echo paper, App. B). So parametrised a model sits at its lowest rate for
      many epochs: the sigmoid saturates there, and the decoder learns slowly
      because z is small, a few hundredths at initialisation.

    With scale="triangular" a third head gives what lies below the diagonal of S.

    Args:
        units: Int >= 1, number of code dimensions.
        parametrization: "standardized" or "paper".
        **channel_arguments: What `EchoSample` takes: d_max, sampling, beta, ...

    Inputs:
        Features, shape (batch, ..., channels).

    Output:
        z, shape (batch, ..., units).

    Raises:
        ValueError: units is not an integer >= 1, or parametrization is unknown.

    Example:

    >>> import numpy as np
    >>> z = EchoBottleneck(32, d_max=99)(np.ones((100, 256)), training=True)
    >>> tuple(z.shape)
    (100, 32)

    References:
        Echo paper (Brekelmans et al. 2019), App. B and E.
    """

    channel_class = EchoSample

    def __init__(self, units, parametrization="standardized", **kwargs):
        super().__init__(units, **kwargs)
        if parametrization not in ("standardized", "paper"):
            raise ValueError(
                f"parametrization must be 'standardized' or 'paper'; received "
                f"{parametrization!r}."
            )
        self.parametrization = parametrization
        self.as_in_paper = parametrization == "paper"
        # The standardized s starts at half of its bound r, as the sigmoid does.
        bias = 0.0 if self.as_in_paper else math.log(0.5)
        self.heads = [
            self.head("f"),
            self.head("log_s", bias_initializer=keras.initializers.Constant(bias)),
        ]
        if self.channel.scale == "triangular":
            entries = units * (units - 1) // 2
            self.heads.append(self.head("lower", entries))
        if not self.as_in_paper:
            # A short memory: the scale of f changes fast in the first epoch.
            self.standardize = keras.layers.BatchNormalization(
                momentum=0.9,
                center=False,
                scale=False,
                dtype=self.dtype_policy,
                name="standardize",
            )

    def build(self, input_shape):
        super().build(input_shape)
        if not self.as_in_paper:
            self.standardize.build((*input_shape[:-1], self.units))

    def encode(self, features):
        """[f, log s / r] and what S has besides, float32: the code before noise."""
        f, log_s, *lower = super().encode(features)
        if self.as_in_paper:
            return [tanh16(f), ops.log_sigmoid(log_s), *lower]
        return [ops.tanh(f), log_s, *lower]

    def code(self, features):
        """What z would be without noise: f(x), brought to the scale of z."""
        f = self.channel.code(self.encode(features)[0])
        return f if self.as_in_paper else self.standardize(f)

    def call(self, features, training=False):
        z = super().call(features, training=training)
        return z if self.as_in_paper else self.standardize(z, training=training)

    def draw(self, features: Tensors, echoes_from: str = "bank") -> Draw:
        draw = super().draw(features, echoes_from)
        return draw if self.as_in_paper else draw._replace(z=self.standardize(draw.z))

    def sample(self, n):
        z = super().sample(n)
        return z if self.as_in_paper else self.standardize(z)

    def get_config(self):
        return {**super().get_config(), "parametrization": self.parametrization}
