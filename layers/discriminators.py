"""Penalties that learn a density ratio: a discriminator trained in the same backward pass."""

import keras
from keras import ops

from .base import Seeded
from .penalty import Penalty


def dense_discriminator(hidden=(1000,) * 6, slope=0.2):
    """The discriminator of FactorVAE: dense layers with leaky ReLU, two logits.

    Args:
        hidden: Units of each hidden layer.
        slope: Float, of the leaky ReLU below 0.

    Returns:
        An unbuilt Keras model from (batch, d) to (batch, 2).

    Example:

    >>> discriminator = dense_discriminator((8, 8))
    >>> discriminator.build((None, 3)); discriminator.output_shape, discriminator.count_params()
    ((None, 2), 122)

    References:
        Kim & Mnih, Disentangling by Factorising (2018), App. A; Variance Constrained
        Autoencoding, App. B.5.
    """
    layers = []
    for units in hidden:
        layers += [keras.layers.Dense(units), keras.layers.LeakyReLU(slope)]
    return keras.Sequential([*layers, keras.layers.Dense(2)], name="discriminator")


class DensityRatioPenalty(Seeded, Penalty):
    r"""Base class: a divergence estimated by a discriminator that the layer owns and trains.

    A discriminator that tells samples z of q from samples z' of p learns
    \(\ell(z) = \log q(z) / p(z)\), so that the mean of \(\ell\) over q estimates
    KL[q || p]. This layer adds two terms to the loss, and they train side by side in
    Keras's own `fit`, in one backward pass:

    - `weight` x the mean of \(\ell(z)\), with the discriminator's weights stopped: what the
      encoder minimises. `last_value` is the bare mean.
    - the discriminator's cross-entropy
      \(\tfrac12 E\log(1 + e^{-\ell(z)}) + \tfrac12 E\log(1 + e^{\ell(z')})\) with z
      and z' stopped: what the discriminator minimises. `last_discriminator_loss` is its value,
      log 2 = 0.693 for a discriminator that can tell nothing.

    Under Adam the scale of a loss does not matter, so `weight` does not change how
    fast the discriminator learns. A rate of its own it gets from
    `echo_keras.training.with_discriminator_optimizer`.

    A subclass defines `reference(inputs)`, samples of p as many as the inputs.

    Args:
        weight: Float >= 0, weight of the estimate; see `Penalty`.
        discriminator: Keras layer or model from z to \(\ell\), shape (batch, 1), or to two
            logits, shape (batch, 2), of which \(\ell\) is the first less the second;
            `dense_discriminator()` if None.
        seed: Int or None, of the samples of p.

    Raises:
        ValueError: weight is negative or not finite, or the discriminator's output is
            neither (batch, 1) nor (batch, 2).

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

    def __init__(self, weight=1.0, discriminator=None, seed=None, **kwargs):
        super().__init__(weight=weight, seed=seed, **kwargs)
        if isinstance(discriminator, dict):  # as `get_config` writes it
            discriminator = keras.saving.deserialize_keras_object(discriminator)
        self.discriminator = (
            dense_discriminator() if discriminator is None else discriminator
        )

    def build(self, input_shape):
        super().build(input_shape)
        self.last_discriminator_loss = self.add_state(
            "last_discriminator_loss", (), 0.0
        )
        if not self.discriminator.built:
            self.discriminator.build(input_shape)
        outputs = tuple(self.discriminator.compute_output_shape(input_shape))
        if len(outputs) != 2 or outputs[1] not in (1, 2):
            raise ValueError(
                f"discriminator must give one log-ratio, shape (batch, 1), or two logits, "
                f"shape (batch, 2); received one whose output is {outputs}."
            )
        for weight in self.discriminator.trainable_weights:
            weight.is_discriminator = True  # for optimizers that tell them apart

    @property
    def logs(self):
        name = f"{self.name}_discriminator_loss"
        return {**super().logs, name: self.last_discriminator_loss}

    def reference(self, inputs):
        raise NotImplementedError(f"{type(self).__name__} must define `reference`.")

    def penalty(self, inputs):
        """Estimate of log q(z) / p(z) for each example, shape (batch,), nats."""
        # Stopped weights: the encoder alone moves along this term's gradient.
        weights = [ops.stop_gradient(w) for w in self.discriminator.trainable_variables]
        state = [
            ops.convert_to_tensor(v) for v in self.discriminator.non_trainable_variables
        ]
        logits, _ = self.discriminator.stateless_call(weights, state, inputs)
        return log_ratio(logits)

    def discriminator_loss(self, inputs):
        """The discriminator's cross-entropy, a scalar, nats."""
        inputs, reference = (
            ops.stop_gradient(x) for x in (inputs, self.reference(inputs))
        )
        ratio = log_ratio(self.discriminator(ops.concatenate([inputs, reference])))
        of_inputs, of_reference = ops.split(ratio, 2)
        return 0.5 * ops.mean(ops.softplus(-of_inputs) + ops.softplus(of_reference))

    def call(self, inputs):
        loss = self.discriminator_loss(inputs)
        self.last_discriminator_loss.assign(loss)
        self.add_loss(loss)
        return super().call(inputs)

    def get_config(self):
        return {
            **super().get_config(),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
        }


def log_ratio(logits):
    """What a discriminator's output says, as float32 of shape (batch,)."""
    logits = ops.cast(logits, "float32")
    if logits.shape[-1] == 2:
        return logits[:, 0] - logits[:, 1]
    return logits[:, 0]


@keras.saving.register_keras_serializable(package="echo_keras")
class TotalCorrelationPenalty(DensityRatioPenalty):
    r"""Total correlation of the code, estimated by a discriminator: FactorVAE's term.

    $$TC(Z) = KL\big[q(z) \,\|\, \prod_j q(z_j)\big]$$

    The discriminator tells codes from codes whose dimensions have been shuffled over the
    batch, each by itself, and so have independent dimensions with the same
    marginals. See `DensityRatioPenalty` for the two terms of the loss.

    Args:
        weight: Float >= 0, the weight gamma of the total correlation.
        discriminator: See `DensityRatioPenalty`; six hidden layers of 1,000 if None.
        seed: Int or None, of the shuffles.

    Inputs:
        z, shape (batch, d).

    Output:
        z.

    Raises:
        ValueError: an argument is not as above, or z is not of shape (batch, d) with
            d known.

    Example:

    >>> import numpy as np
    >>> layer = TotalCorrelationPenalty(weight=20.0, discriminator=dense_discriminator((16,)), seed=0)
    >>> z = layer(np.random.default_rng(0).normal(size=(64, 10)))
    >>> len(layer.losses), len(layer.trainable_weights)
    (2, 4)

    References:
        Kim & Mnih, Disentangling by Factorising (2018), Sec. 3 and Algorithms 1, 2;
        Echo paper, Sec. 5.3 (gamma) and App. C; Variance Constrained Autoencoding,
        Sec. 6.4 and App. B.5.
    """

    def build(self, input_shape):
        if len(input_shape) != 2 or input_shape[1] is None:
            raise ValueError(
                f"TotalCorrelationPenalty takes codes of shape (batch, d) with d "
                f"known; received shape {tuple(input_shape)}."
            )
        super().build(input_shape)

    def reference(self, z):
        """Codes with each dimension shuffled over the batch."""
        keys = keras.random.uniform(
            ops.shape(z), dtype="float32", seed=self.seed_generator
        )
        return ops.take_along_axis(z, ops.argsort(keys, axis=0), axis=0)
