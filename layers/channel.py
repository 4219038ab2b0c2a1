"""What every stochastic map to z shares: beta, its rate and its noise's seed."""

import contextlib
import contextvars

import keras
from keras import ops

from .terms import LossTerm

_collected = contextvars.ContextVar("collected", default=None)


@contextlib.contextmanager
def collect_rates():
    """Collects the rate of each example from every channel called inside.

    Yields:
        A list to which each call of a channel appends a tensor (batch,), nats.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import GaussianBottleneck
    >>> layer = GaussianBottleneck(2)
    >>> with collect_rates() as rates:
    ...     z = layer(np.ones((5, 3)))
    >>> len(rates), tuple(rates[0].shape)
    (1, (5,))
    """
    rates = []
    token = _collected.set(rates)
    try:
        yield rates
    finally:
        _collected.reset(token)


class Seeded(keras.layers.Layer):
    """Base class: a seed generator whose state is saved with the weights.

    Keras saves a layer's weights but not the state of its generator, so that a
    resumed run would repeat its noise.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["seed_state"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store):
        weights = {name: store[name] for name in store.keys() if name != "seed_state"}
        super().load_own_variables(weights)
        if "seed_state" in store.keys():
            self.seed_generator.state.assign(store["seed_state"][()])


class Channel(Seeded, LossTerm):
    r"""Base class of the layers that turn an encoder's output into a code z.

    A channel adds \(\beta \cdot R\) to the model's loss, where the rate R is in
    nats per example, averaged over the batch. Two scalars of its state are meant
    to be read and changed from outside:

    - `beta`: the weight on the rate, a non-trainable weight, so that a callback
      can change it in mid-training: `channel.beta.assign(0.5)`. (On JAX, `fit`
      holds the weights itself between batches: change beta between epochs, or
      call `model.jax_state_sync()` first.)
    - `last_rate`: the mean rate of the last batch, without beta. This is what
      `echo_keras.RateDistortionModel` logs. (A weight rather than a metric:
      Keras cannot update a layer's own metric on every backend.)

    Noise and rate are computed in float32 whatever the dtype policy; z has the
    policy's compute dtype.

    Args:
        beta: Float >= 0, the initial weight on the rate.
        seed: Int or None. With an int, two layers draw the same noise. The state
            of the generator is saved with the weights, so that a resumed run
            continues its noise rather than repeating it.

    Raises:
        ValueError: beta is negative or not finite.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import GaussianSample
    >>> channel = GaussianSample(beta=4.0)
    >>> z = channel([np.ones((5, 2)), np.zeros((5, 2))])
    >>> float(channel.last_rate.value), float(channel.losses[0])
    (1.0, 4.0)
    """

    def __init__(self, beta=1.0, seed=None, **kwargs):
        # Inputs come as they are: half precision would cost the rate its digits.
        super().__init__(seed=seed, autocast=False, **kwargs)
        self.initial_beta = self.check_weight("beta", beta)

    def build(self, input_shape=None):
        self.beta = self.add_state("beta", (), self.initial_beta)
        self.last_rate = self.add_state("last_rate", (), 0.0)

    def add_rate(self, rate):
        """Adds beta x the batch mean of `rate`, shape (batch,), to the loss."""
        if _collected.get() is not None:
            _collected.get().append(rate)
        mean = ops.mean(rate)
        self.last_rate.assign(mean)
        self.add_loss(self.beta * mean)

    def normal(self, shape):
        return keras.random.normal(shape, dtype="float32", seed=self.seed_generator)

    def uniform(self, shape):
        return keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)

    def integers(self, shape, below):
        return keras.random.randint(shape, 0, below, seed=self.seed_generator)

    def get_config(self):
        return {**super().get_config(), "beta": self.initial_beta}


def sum_over_code(per_dimension):
    """Sums all axes but the first: (batch, ...) -> (batch,)."""
    return ops.sum(per_dimension, axis=tuple(range(1, len(per_dimension.shape))))


def pair_shape(layer, names, input_shape):
    """The common shape of a pair of inputs, or a sentence on what was received."""
    name = type(layer).__name__
    is_pair = (
        isinstance(input_shape, (list, tuple))
        and len(input_shape) == 2
        and all(isinstance(shape, (list, tuple)) for shape in input_shape)
    )
    if not is_pair:
        raise ValueError(
            f"{name} takes a list of two tensors, {names}; received shape "
            f"{input_shape}."
        )
    first, second = (tuple(shape) for shape in input_shape)
    batches = {first[:1], second[:1]} - {(None,)}
    if first[1:] != second[1:] or len(batches) > 1:
        raise ValueError(
            f"{name} takes {names} of one shape; received {first} and {second}."
        )
    return first
