"""What every stochastic map to z shares: beta, its rate and its noise's seed."""

import contextlib
import contextvars

import keras
from keras import ops

from .beta import BetaRule
from .terms import LossTerm

_collected = contextvars.ContextVar("collected", default=None)


@contextlib.contextmanager
def collect_rates(sampled=False):
    """Collects the rate of each example from every channel called inside.

    Args:
        sampled: If True, what is collected is log q(z|x) - log m(z) at the very z
            that the channel drew, even where the rate has a closed form: the
            weights of importance sampling. What channels add to the loss stays the
            same. (Functions that Keras has already traced do not notice: call the
            model itself inside, rather than `predict`.)

    Yields:
        A list to which each call of a channel appends a tensor (batch,), nats.

    Raises:
        ValueError: sampled is True, and a channel without a density q(z|x) is
            called inside.

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
    token = _collected.set((rates, sampled))
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
      call `model.jax_state_sync()` first.) With a rule, the beta of the last
      training call.
    - `last_rate`: the mean rate of the last batch, without beta. This is what
      `echo_keras.RateDistortionModel` logs. (A weight rather than a metric:
      Keras cannot update a layer's own metric on every backend.)

    To have beta follow the training inside `fit` and on every backend, give a rule
    in place of the number: `TargetRate`, which holds the rate at a target, or
    `BetaSchedule`, a linear warm-up; or `TargetRateL1`, for the distance from a target
    in the place of the rate. A rule moves beta at each call with
    training=True and nowhere else; what it has to remember is saved with the
    weights. (Under `tf.distribute` each replica's beta follows its own share of
    the batch.)

    Noise and rate are computed in float32 whatever the dtype policy; z has the
    policy's compute dtype.

    Args:
        beta: Float >= 0, the initial weight on the rate; or a `BetaRule`.
        seed: Int or None. With an int, two layers draw the same noise. The state
            of the generator is saved with the weights, so that a resumed run
            continues its noise rather than repeating it.

    Raises:
        ValueError: beta is negative, not finite, or neither a number nor a rule.

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
        if isinstance(beta, dict):  # as `get_config` writes it
            beta = keras.saving.deserialize_keras_object(beta)
        self.beta_rule = beta if isinstance(beta, BetaRule) else None
        if self.beta_rule:
            beta = self.beta_rule.initial
        elif not hasattr(beta, "__float__"):
            raise ValueError(
                f"beta must be a number or a rule such as TargetRate or BetaSchedule; "
                f"received {beta!r}."
            )
        self.initial_beta = self.check_weight("beta", beta)

    def build(self, input_shape=None):
        self.beta = self.add_state("beta", (), self.initial_beta)
        self.last_rate = self.add_state("last_rate", (), 0.0)
        if self.beta_rule:
            self.beta_state = {
                name: self.add_state(f"beta_{name}", (), value)
                for name, value in self.beta_rule.state.items()
            }

    def add_rate(self, rate, training=None, log_ratio=None):
        """Adds beta x the batch mean of `rate` to the loss.

        Args:
            rate: Tensor (batch,), nats.
            training: What `call` received. Where it is True, beta follows its rule.
            log_ratio: Tensor (batch,), log q(z|x) - log m(z) at the z that is
                returned, for `collect_rates(sampled=True)`; None if there is no
                density.

        Raises:
            ValueError: beta has a rule, and `training` was left out; or a sampled
                rate is asked for, and there is no log_ratio.
        """
        if _collected.get() is not None:
            rates, sampled = _collected.get()
            if sampled and log_ratio is None:
                raise ValueError(
                    f"{type(self).__name__} gives no density q(z|x), so that there is "
                    f"no sampled rate and no importance weighting. Its rate is "
                    f"collected with sampled=False."
                )
            rates.append(log_ratio if sampled else rate)
        mean = ops.mean(rate)
        self.last_rate.assign(mean)
        beta = self._next_beta(mean, training)
        rule = self.beta_rule
        self.add_loss(rule.term(beta, mean) if rule else beta * mean)

    def _next_beta(self, rate, training):
        """The beta of this call, after its rule has seen the rate of the batch."""
        if not self.beta_rule:
            return self.beta
        if training is None:
            raise ValueError(
                f"beta follows a rule, which must know when {type(self).__name__} is "
                f"trained: call add_rate(rate, training=True or False)."
            )
        if not training:
            return self.beta
        state = {name: ops.convert_to_tensor(v) for name, v in self.beta_state.items()}
        beta, state = self.beta_rule.update(
            ops.convert_to_tensor(self.beta), ops.stop_gradient(rate), **state
        )
        self.beta.assign(beta)
        for name, value in state.items():
            self.beta_state[name].assign(value)
        # Not the variable: PyTorch's backward pass must not find it changed.
        return beta

    def normal(self, shape):
        return keras.random.normal(shape, dtype="float32", seed=self.seed_generator)

    def uniform(self, shape):
        return keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)

    def integers(self, shape, below):
        return keras.random.randint(shape, 0, below, seed=self.seed_generator)

    def get_config(self):
        beta = self.initial_beta
        if self.beta_rule:
            beta = keras.saving.serialize_keras_object(self.beta_rule)
        return {**super().get_config(), "beta": beta}


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
