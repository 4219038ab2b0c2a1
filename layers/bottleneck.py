"""Heads and channel in one layer: the one line that a user's model needs."""

import keras
from keras import ops

from .echo import EchoSample
from .gaussian import GaussianSample


@keras.saving.register_keras_serializable(package="echo_keras")
def tanh16(x):
    """tanh(x / 16): bounded by 1, linear over a wider range than tanh.

    The activation of f in the Echo paper, App. B.
    """
    return ops.tanh(x / 16.0)


class Bottleneck(keras.layers.Layer):
    """Two dense heads on an encoder's features, then a channel.

    Base class; `channel` is the sub-layer that draws z and adds the rate.
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
        self.channel = self.channel_class(
            dtype=self.dtype_policy, name="channel", **channel_arguments
        )

    def build(self, input_shape):
        for head in self.heads:
            head.build(input_shape)
        code = (*input_shape[:-1], self.units)
        self.channel.build([code, code])

    def head(self, name, **arguments):
        return keras.layers.Dense(
            self.units, dtype=self.dtype_policy, name=name, **arguments
        )

    def encode(self, features):
        """The channel's two inputs, float32: the code before noise is added."""
        return [ops.cast(head(features), "float32") for head in self.heads]

    def call(self, features, training=False):
        return self.channel(self.encode(features), training=training)

    def rate(self, features):
        """Rate of each example in nats, shape (batch,); see the channel's `rate`."""
        return self.channel.rate(self.encode(features))

    def sample(self, n):
        """Draws n codes, (n, units), from the marginal; see the channel's `sample`."""
        return self.channel.sample(n)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        channel = self.channel.get_config()
        for key in ("name", "trainable", "dtype"):
            del channel[key]
        return {**super().get_config(), "units": self.units, **channel}


@keras.saving.register_keras_serializable(package="echo_keras")
class GaussianBottleneck(Bottleneck):
    """Dense heads for mean and log-variance, then `GaussianSample`.

    Args:
        units: Int >= 1, number of code dimensions.
        **channel_arguments: What `GaussianSample` takes: marginal, beta, seed.

    Inputs:
        Features, shape (batch, ..., channels).

    Output:
        z, shape (batch, ..., units).

    Raises:
        ValueError: units is not an integer >= 1.

    Example:

    >>> import numpy as np
    >>> z = GaussianBottleneck(32)(np.ones((10, 256)))
    >>> tuple(z.shape)
    (10, 32)
    """

    channel_class = GaussianSample

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.heads = [self.head("mean"), self.head("log_var")]

    def get_config(self):
        config = super().get_config()
        del config["noise_variance"]  # both heads are there
        return config


@keras.saving.register_keras_serializable(package="echo_keras")
class EchoBottleneck(Bottleneck):
    r"""Dense heads for f and log s, then `EchoSample`.

    f = tanh(features W / 16) as in the paper. The two other choices differ from
    the paper by default, because as published an Echo model sits at its lowest
    rate for many epochs before it starts to learn:

    - The paper's sigmoid for s saturates there. Here log s is the head's linear
      output, clipped to its bound by `EchoSample`; the clip lets gradients that
      lead back inside pass.
    - The paper's z is small (a few hundredths at initialisation) and the decoder
      learns slowly from it. Here z is brought to mean 0 and variance 1 by batch
      normalisation without weights. This is invertible, so the rate is the same.

    `scale="log_sigmoid", standardize=False` gives the paper's parametrisation.
    The number of trainable weights is the same, 2 (features + 1) units.

    Args:
        units: Int >= 1, number of code dimensions.
        scale: Activation of the head of log s, "linear" or "log_sigmoid".
        standardize: If True, z has mean 0 and variance 1 in each dimension.
        **channel_arguments: What `EchoSample` takes: d_max, sampling, beta, ...

    Inputs:
        Features, shape (batch, ..., channels).

    Output:
        z, shape (batch, ..., units).

    Raises:
        ValueError: units is not an integer >= 1, or scale is unknown.

    Example:

    >>> import numpy as np
    >>> z = EchoBottleneck(32, d_max=99)(np.ones((100, 256)), training=True)
    >>> tuple(z.shape)
    (100, 32)

    References:
        Echo paper (Brekelmans et al. 2019), App. B and E.
    """

    channel_class = EchoSample

    def __init__(self, units, scale="linear", standardize=True, **kwargs):
        super().__init__(units, **kwargs)
        if scale not in ("linear", "log_sigmoid"):
            raise ValueError(
                f"scale must be 'linear' or 'log_sigmoid'; received {scale!r}."
            )
        self.scale = scale
        self.standardize = standardize
        # Half of the information of s = r: neither silent nor saturated.
        bias = -0.7 if scale == "linear" else 0.0
        self.heads = [
            self.head("f"),
            self.head("log_s", bias_initializer=keras.initializers.Constant(bias)),
        ]
        if standardize:
            self.normalization = keras.layers.BatchNormalization(
                center=False, scale=False, dtype=self.dtype_policy, name="z"
            )

    def build(self, input_shape):
        super().build(input_shape)
        if self.standardize:
            self.normalization.build((*input_shape[:-1], self.units))

    def encode(self, features):
        """[f, log s / r], each float32 (batch, ..., units): the code before noise."""
        f, log_s = super().encode(features)
        if self.scale == "log_sigmoid":
            log_s = ops.log_sigmoid(log_s)
        return [tanh16(f), log_s]

    def call(self, features, training=False):
        z = super().call(features, training=training)
        return self.normalization(z, training=training) if self.standardize else z

    def sample(self, n):
        z = super().sample(n)
        return self.normalization(z) if self.standardize else z

    def get_config(self):
        return {
            **super().get_config(),
            "scale": self.scale,
            "standardize": self.standardize,
        }
