"""Base class of bottlenecks: dense heads and a channel in one layer."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .channel import Channel, Draw, given_beta
from .channel_inputs import first_mask, mask_beside_beta
from .numerics import unmasked_positions
from .symbolic import MethodCalls, symbolic
from .typing import Shape, Tensor, Tensors


class Bottleneck(MethodCalls):
    """Dense heads on an encoder's features, then a channel.

    Base class. A subclass sets `heads`, a list of dense layers, and `channel`, the
    sub-layer that draws z and adds the rate; it stays None in a bottleneck without
    noise.
    """

    # Of the second head: how fast it grows with log beta where the code is optimal.
    noise_by_beta = 0.0

    def __init__(
        self,
        units: int,
        name: str | None = None,
        trainable: bool = True,
        dtype: keras.DTypePolicy | str | None = None,
    ) -> None:
        # No autocast: the heads do it, and beta is not to be rounded.
        super().__init__(name=name, trainable=trainable, dtype=dtype, autocast=False)
        self.units = arguments.integer("units", units)  # the latent dimension
        self.channel: Channel | None = None
        self.slope: keras.Variable | None = None
        self.supports_masking = True

    def compute_mask(self, inputs: Tensors, previous_mask: Any) -> Tensor | None:
        return first_mask(previous_mask)

    def build(self, input_shape: Shape) -> None:
        for head in self.heads:
            head.build(input_shape)
        if self.channel is not None:
            codes = [(*input_shape[:-1], head.units) for head in self.heads]
            self.channel.build(codes)
        self.build_slope()

    def build_slope(self) -> None:
        """Adds the weight `slope` where there is a `BetaRange` and a head for noise."""
        if len(self.heads) > 1 and self.noise_by_beta and self.channel.beta_range:
            self.slope = self.add_weight(
                name="slope",
                shape=(self.units,),
                initializer=keras.initializers.Constant(self.noise_by_beta),
                dtype="float32",
                autocast=False,
            )

    def head(
        self,
        name: str,
        units: int | None = None,
        kind: type[keras.layers.Dense] = keras.layers.Dense,
        **arguments: Any,
    ) -> keras.layers.Dense:
        """A dense layer of `units`, by default one for each latent dimension."""
        return kind(
            units or self.units, dtype=self.dtype_policy, name=name, **arguments
        )

    @symbolic
    def encode(self, features: Tensors) -> Tensors:
        """The channel's inputs, float32: the code before noise is added."""
        codes = [ops.cast(head(features), "float32") for head in self.heads]
        if self.slope is not None:
            ones = [1] * (len(codes[1].shape) - 1)  # beta is of examples
            log_beta = ops.reshape(self.channel.log_beta(), (-1, *ones))
            codes[1] = codes[1] + self.slope * log_beta
        return codes

    def code(self, features: Tensors) -> Tensor:
        """The mean code E[z|x], float32 (batch, ..., units)."""
        raise NotImplementedError(f"{type(self).__name__} must define `code`.")

    def call(
        self,
        features: Tensors,
        training: bool | None = False,
        mask: Tensors | None = None,
        method: str | None = None,
        beta: Tensor | None = None,
    ) -> Tensor:
        mask = first_mask(mask) if beta is None else mask_beside_beta(mask, features)
        # For the heads.
        with unmasked_positions(mask), given_beta(beta):
            if method is not None:
                return self.call_method(method, features)
            return self._draw_code(features, training, mask, beta)

    def _draw_code(self, features, training, mask, beta=None):
        """What the layer's call returns, with the channel's side effects."""
        inputs = self.encode(features)
        return self.channel(inputs, training=training, mask=mask, beta=beta)

    @symbolic
    def draw(self, features: Tensors, echoes_from: str = "bank") -> Draw:
        """A code of each example, its rate and log-ratio; see `Channel.draw`."""
        return self.channel.draw(self.encode(features), echoes_from)

    @symbolic
    def rate(self, features: Tensors) -> Tensor:
        """Rate of each example in nats, shape (batch,); see the channel's `rate`."""
        return self.channel.rate(self.encode(features))

    @symbolic
    def rate_by_dimension(self, features: Tensors) -> Tensor:
        """Parts of the rate, (batch, units); see the channel's `rate_by_dimension`."""
        return self.channel.rate_by_dimension(self.encode(features))

    def log_prob(self, z: Tensor, features: Tensors) -> Tensor:
        """log q(z|x) of given codes in nats, (batch,), where there is a density."""
        raise ValueError(
            f"{type(self).__name__} gives no density q(z|x); GaussianBottleneck does."
        )

    def sample(self, n: int) -> Tensor:
        """Draws n codes, (n, units), from the marginal; see the channel's `sample`."""
        return self.channel.sample(n)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        channel = {} if self.channel is None else self.channel.get_config()
        for key in ("name", "trainable", "dtype"):
            channel.pop(key, None)
        return {**super().get_config(), "units": self.units, **channel}


def bottleneck_of(model: keras.Model) -> Bottleneck:
    """The bottleneck of a model that has one among its layers.

    Raises:
        ValueError: it has none, or several.
    """
    arguments.layer("model", model, kind=keras.Model)
    found = [layer for layer in model.layers if isinstance(layer, Bottleneck)]
    if len(found) != 1:
        raise ValueError(
            "model must have one bottleneck of echo_keras.layers among its layers. "
            f"Received: {len(found)} bottlenecks"
        )
    return found[0]
