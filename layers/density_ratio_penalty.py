"""The base class of the penalties that train a discriminator."""

from typing import Any

import keras
from keras import ops

from . import arguments
from .base import Seeded, batch_mean, batch_weights
from .discriminators import dense_discriminator
from .penalty import Penalty
from .symbolic import symbolic
from .typing import Shape, Tensor


class DensityRatioPenalty(Seeded, Penalty):
    """Base class: a divergence, estimated by a discriminator that the layer trains.

    A discriminator that tells samples z of q from samples z' of p learns
    `l(z) = log q(z) / p(z)`, so that the mean of `l` over q estimates
    KL[q || p]. The layer adds two terms to the loss, which Keras's own `fit` trains
    in one backward pass:

    - `weight` x the mean of `l(z)`, which the encoder minimizes through frozen
      discriminator weights. `last_value` is the bare mean.
    - the discriminator's cross-entropy on `stop_gradient(z)` and `stop_gradient(z')`,
      `1/2 E log(1 + e^(-l(z))) + 1/2 E log(1 + e^(l(z')))`, which
      the discriminator minimizes. `last_discriminator_loss` is its value, log 2 = 0.693
      at chance.

    With sample weights both are multiplied by their mean over the batch, as Keras's
    losses are, and q is the law of examples that count by their weights.

    Adam does not depend on the scale of a loss, so `weight` does not change how fast
    the discriminator learns. `echo_keras.training.with_discriminator_optimizer` gives
    the discriminator an optimizer of its own.

    A subclass defines `reference(inputs)`, as many samples of p as there are inputs,
    and may define `encoder_term(ratio)`, what the encoder minimizes instead of the mean
    of the log-ratio.

    Args:
        weight: Float >= 0, weight of the estimate; see `Penalty`.
        discriminator: Keras layer or model from z to `l`, shape (batch, 1), or to
            two logits, shape (batch, 2), of which `l` is the first less the
            second; `dense_discriminator()` if None.
        seed: Int or None, of the samples of p.

    Raises:
        ValueError: weight is negative or not finite, or the discriminator does not take
            the inputs, or its output is neither (batch, 1) nor (batch, 2).

    Example:

    >>> class KLToNormal(DensityRatioPenalty):
    ...     def reference(self, z):
    ...         return keras.random.normal(ops.shape(z), seed=self.seed_generator)
    >>> layer = KLToNormal(weight=0.1, discriminator=dense_discriminator((16,)), seed=0)
    >>> z = layer(ops.ones((64, 2)))
    >>> [tuple(loss.shape) for loss in layer.losses]
    [(), ()]

    References:
        Sugiyama, Suzuki & Kanamori, Density-ratio matching under the Bregman
        divergence (2012); Kim & Mnih, Disentangling by Factorising (2018), Sec. 3.
    """

    def __init__(
        self,
        weight: float = 1.0,
        discriminator: keras.layers.Layer | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(weight=weight, seed=seed, **kwargs)
        if discriminator is None:
            discriminator = dense_discriminator()
        self.discriminator = arguments.layer("discriminator", discriminator)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.last_discriminator_loss = self.add_state(
            "last_discriminator_loss", (), 0.0
        )
        if not self.discriminator.built:
            try:
                self.discriminator.build(input_shape)
            except ValueError as error:
                text = str(error).splitlines()[0]
                raise ValueError(
                    f"discriminator must take inputs of the shape "
                    f"{tuple(input_shape)}. Received: one that does not ({text})"
                ) from None
        outputs = tuple(self.discriminator.compute_output_shape(input_shape))
        if len(outputs) != 2 or outputs[1] not in (1, 2):
            raise ValueError(
                f"discriminator must give one log-ratio, shape (batch, 1), or two "
                f"logits, shape (batch, 2). Received: output shape {outputs}"
            )
        for weight in self.discriminator.trainable_weights:
            weight.is_discriminator = True  # for with_discriminator_optimizer

    @property
    def logs(self) -> dict[str, keras.Variable]:
        """What `RateDistortionModel` logs: names and variables."""
        name = f"{self.name}_discriminator_loss"
        return {**super().logs, name: self.last_discriminator_loss}

    def reference(self, inputs: Tensor) -> Tensor:
        """Samples of p, of the shape of the inputs."""
        raise NotImplementedError(f"{type(self).__name__} must define `reference`.")

    def penalty(self, inputs: Tensor) -> Tensor:
        """Estimate of log q(z) / p(z) for each example, shape (batch,), nats."""
        # Frozen weights: only the encoder gets this term's gradient.
        weights = [ops.stop_gradient(w) for w in self.discriminator.trainable_variables]
        state = [
            ops.convert_to_tensor(v) for v in self.discriminator.non_trainable_variables
        ]
        logits, _ = self.discriminator.stateless_call(weights, state, inputs)
        return self._from_logits(logits)

    @symbolic
    def log_ratio(self, x: Tensor) -> Tensor:
        """The discriminator's log q(x) / p(x), float32 (batch,), nats."""
        return self._from_logits(self.discriminator(x))

    def _from_logits(self, logits: Tensor) -> Tensor:
        logits = ops.cast(logits, "float32")
        if logits.shape[-1] == 2:
            return logits[:, 0] - logits[:, 1]
        return logits[:, 0]

    def discriminator_loss(self, inputs: Tensor) -> Tensor:
        """The discriminator's cross-entropy, a scalar, nats."""
        inputs, reference = (
            ops.stop_gradient(x) for x in (inputs, self.reference(inputs))
        )
        ratio = self.log_ratio(ops.concatenate([inputs, reference]))
        of_inputs, of_reference = ops.split(ratio, 2)
        # Samples of p weigh as much as all examples do: the ratio is one of laws.
        weight = ops.mean(batch_weights(of_inputs))
        of_inputs = batch_mean(ops.softplus(-of_inputs))
        return 0.5 * (of_inputs + weight * ops.mean(ops.softplus(of_reference)))

    def add_discriminator_loss(self, loss: Tensor) -> None:
        """Adds the discriminator's own term to the loss, and keeps its value."""
        self.log(self.last_discriminator_loss, loss)
        self.add_loss(loss)

    def encoder_term(self, ratio: Tensor) -> Tensor:
        """What the encoder minimizes at inputs of such log-ratios, (batch,)."""
        return ratio

    def add_terms(self, inputs: Tensor) -> Tensor:
        self.add_discriminator_loss(self.discriminator_loss(inputs))
        ratio = self.penalty(inputs)
        self.log(self.last_value, batch_mean(ratio))
        self.add_loss(self.weight * batch_mean(self.encoder_term(ratio)))
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
        }
