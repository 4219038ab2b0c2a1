"""Base class of stochastic maps to z: beta, the rate and the seed of the noise."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

from . import arguments
from .base import LossTerm, Seeded, batch_mean, batch_weights
from .beta import BetaRange, BetaRule, TargetRateL1
from .channel_inputs import first_mask, mask_beside_beta
from .context import setting
from .numerics import unmasked, unmasked_positions
from .replicas import replica_mean
from .symbolic import MethodCalls
from .typing import Shape, Tensor, Tensors

_collecting = contextvars.ContextVar("collecting", default=None)
_given_beta = contextvars.ContextVar("given_beta", default=None)

ECHOES_FROM = ("bank", "batch")


class Draw(NamedTuple):
    """A code of each example, and what it costs.

    Attributes:
        z: The codes, what the channel's call returns.
        rate: The rate of each example, (batch,), nats; None in a bottleneck
            without noise, which has none.
        log_ratio: log q(z|x) - log m(z) at this z, (batch,), nats: the weights of
            importance sampling. None where q(z|x) has no density.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import GaussianBottleneck
    >>> layer = GaussianBottleneck(2)
    >>> z = layer(np.ones((5, 3)))  # the layer is built
    >>> z, rate, log_ratio = layer.draw(np.ones((5, 3)))
    >>> tuple(z.shape), tuple(rate.shape), tuple(log_ratio.shape)
    ((5, 2), (5,), (5,))
    """

    z: Tensor
    rate: Tensor | None
    log_ratio: Tensor | None


class _Draws(list):
    """The pairs that `collect_draws` yields; `channels` has the channel of each."""

    def __init__(self):
        super().__init__()
        self.channels = []


def check_echoes_from(echoes_from: str) -> None:
    """Raises a ValueError unless it is one of ECHOES_FROM."""
    arguments.choice("echoes_from", echoes_from, ECHOES_FROM)


@contextlib.contextmanager
def collect_draws(
    echoes_from: str = "bank",
) -> Iterator[list[tuple[Tensor, Tensor | None]]]:
    """Inside, a channel only draws: each call lists its rates and changes nothing.

    A call of a channel returns `draw(inputs, echoes_from).z`. No loss is added, and
    `last_rate`, beta, an Echo bank, codebooks and the components of a `VampPrior`
    stay as they are, whatever `training` is. (Other layers, such as batch
    normalization, follow `training` as usual: call the model with training=False.)

    The context is read where Python runs `call`, hence while a function is traced.
    A compiled function must therefore open it inside itself, and return the rates:

        @tf.function
        def rates(x):
            with collect_draws() as draws:
                model(x, training=False)
            return [rate for rate, _ in draws]

    On JAX the function under `jax.jit` calls `model.stateless_call` instead. What
    was compiled outside of the context, `model.predict` for one, does not notice it.

    Args:
        echoes_from: Where an `EchoSample` takes its echoes: "bank", the rows
            remembered from training; or "batch", the other examples of the batch, as
            the Echo paper evaluates. Other channels have no use for it.

    Yields:
        A list to which each call of a channel appends `(rate, log_ratio)`, two tensors
        (batch,) in nats; log_ratio is None where q(z|x) has no density. See `Draw`.

    Raises:
        ValueError: echoes_from is neither "bank" nor "batch".

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import GaussianBottleneck
    >>> layer = GaussianBottleneck(2)
    >>> with collect_draws() as draws:
    ...     z = layer(np.ones((5, 3)))
    >>> [(tuple(rate.shape), tuple(log_ratio.shape)) for rate, log_ratio in draws]
    [((5,), (5,))]
    """
    check_echoes_from(echoes_from)
    draws = _Draws()
    with setting(_collecting, (draws, echoes_from)):
        yield draws


def given_beta(beta: Tensor | None) -> contextlib.AbstractContextManager[None]:
    """Inside, a channel has the beta of its call, in float32; None changes nothing."""
    beta = _given_beta.get() if beta is None else ops.cast(beta, "float32")
    return setting(_given_beta, beta)


def is_collecting() -> bool:
    """Whether a `collect_draws` is open, in which no layer may change its state."""
    return _collecting.get() is not None


class Channel(Seeded, MethodCalls, LossTerm):
    """Base class of the layers that turn an encoder's output into a code z.

    A subclass gives `draw(inputs, echoes_from)`, a pure sample of the channel.

    A channel adds `beta R` to the model's loss, where the rate R is in
    nats per example, averaged over the batch. Two scalars of its state are meant
    to be read and changed from outside:

    - `beta`: the weight on the rate, a non-trainable weight, so that a callback
      can change it in mid-training: `channel.beta.assign(0.5)`. (On JAX, `fit`
      holds the weights itself between batches: change beta between epochs, or
      call `model.jax_state_sync()` first.) With a rule, the beta of the last
      training call.
    - `last_rate`: the mean rate of the last batch, without beta, summed over the
      calls of a channel that a model calls more than once. This is what
      `echo_keras.RateDistortionModel` logs. (A weight rather than a metric:
      Keras cannot update a layer's own metric on every backend.)

    To have beta follow the training inside `fit` and on every backend, give a rule
    in place of the number: `TargetRate`, which holds the rate at a target (GECO);
    `BetaSchedule`, linear KL annealing; or `TargetRateL1`, which replaces the rate by
    its distance from a target. A rule changes beta in calls with training=True alone;
    its state is saved with the weights. (On several devices it sees the mean rate of
    all.)

    A channel whose rate is a sum over dimensions may take `free_bits`, lambda, against
    posterior collapse: what is added to the loss is then

    `beta sum_j max(lambda, R_j)`

    with R_j the batch mean of what dimension j adds to the rate. A dimension below
    lambda gains nothing by giving up the little that it carries. (lambda is in nats of
    each dimension, as in the paper, whatever the name says.) `last_rate`, the logs and
    rules for beta have the true rate R, so that a model's loss is no longer
    distortion + beta R. On several devices each one's share of the batch counts.

    Noise and rate are computed in float32 whatever the dtype policy; z has the
    policy's compute dtype.

    A mask (batch, positions), such as `keras.layers.Masking` makes, passes on with z,
    and masked positions have no rate. Sample weights that `fit` of a
    `RateDistortionModel` is given weigh the rate of each example. With
    `trainable = False` nothing that outlasts a call changes, beta and an Echo bank
    included; noise is drawn as before. Methods take symbolic tensors.

    Args:
        beta: Float >= 0, the initial weight on the rate; a `BetaRule`; or a
            `BetaRange`, with which beta comes with each call, (1, 1) or (batch, 1).
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

    References:
        Free bits: Kingma et al., Improved Variational Inference with Inverse
        Autoregressive Flow (2016), App. C.8.
    """

    free_bits = 0.0  # of a channel whose rate is a sum over dimensions
    has_memory = False  # of codes, of which a `BetaRange` has one for each level

    def __init__(
        self,
        beta: float | BetaRule | BetaRange = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        # No autocast: half precision loses accuracy in the rate.
        super().__init__(seed=seed, autocast=False, **kwargs)
        beta = arguments.restored(beta)
        self.beta_rule = beta if isinstance(beta, BetaRule) else None
        self.beta_range = beta if isinstance(beta, BetaRange) else None
        if self.beta_rule:
            beta = self.beta_rule.initial
        elif self.beta_range:
            beta = self.beta_range.middle
            if self.has_memory and not self.beta_range.levels:
                raise ValueError(
                    f"levels of the BetaRange must be given for {type(self).__name__}, "
                    f"which keeps a memory for each beta. Received: levels=None"
                )
        rule = ", a BetaRange, or a rule such as TargetRate or BetaSchedule"
        self.initial_beta = arguments.number("beta", beta, low=0, otherwise=rule)
        self.supports_masking = True

    def compute_mask(self, inputs: Tensors, previous_mask: Any) -> Tensor | None:
        return first_mask(previous_mask)

    def build(self, input_shape: Shape | list[Shape] | None = None) -> None:
        self.beta = self.add_state("beta", (), self.initial_beta)
        self.last_rate = self.add_state("last_rate", (), 0.0)
        if self.beta_rule:
            self.beta_state = {
                name: self.add_state(f"beta_{name}", (), value)
                for name, value in self.beta_rule.state.items()
            }

    def draw(self, inputs: Tensors, echoes_from: str = "bank") -> Draw:
        """A code of each example with its rate and log-ratio, and no side effect.

        No variable is assigned, the state of the seed generator aside, and nothing is
        added to the loss. The layer must have been built.

        Args:
            inputs: What the layer is called on.
            echoes_from: "bank" or "batch"; see `collect_draws`.

        Returns:
            A `Draw`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `draw`.")

    def call(
        self,
        inputs: Tensors,
        training: bool | None = False,
        mask: Tensors | None = None,
        method: str | None = None,
        beta: Tensor | None = None,
    ) -> Tensor:
        mask = first_mask(mask) if beta is None else mask_beside_beta(mask, inputs)
        if mask is not None:
            self.check_takes_mask()
        if method is None:
            self._check_beta(beta)
        with unmasked_positions(mask), given_beta(beta):
            if method is not None:
                return self.call_method(method, inputs)
            collecting = _collecting.get()
            if collecting is not None:
                draws, echoes_from = collecting
                z, rate, log_ratio = self.draw(inputs, echoes_from)
                draws.append((rate, log_ratio))
                draws.channels.append(self)
                return z
            draw = self._step(inputs, training)
            charged = self._charged(inputs) if self.free_bits else None
            self._add_rate(draw.rate, bool(training) and self.trainable, charged)
        return draw.z

    def _check_beta(self, beta):
        """Raises a ValueError unless beta comes with the call where it has to."""
        name = type(self).__name__
        if beta is None:
            if self.beta_range:
                raise ValueError(
                    f"{name} has a BetaRange and must be called with beta, what a "
                    f"BetaInput gives: {self.name}(inputs, beta=beta). Received: none"
                )
            return
        if self.beta_rule or (self.has_memory and not self.beta_range):
            raise ValueError(
                f"{name} must have a BetaRange to be called with beta. Received: "
                f"beta={self.beta_rule or self.initial_beta}"
            )
        shape, rows = tuple(beta.shape), 1 if self.has_memory else "batch"
        if shape[1:] != (1,) or (self.has_memory and shape[0] != 1):
            raise ValueError(
                f"beta must have the shape ({rows}, 1) in a call of {name}. Received: "
                f"{shape}"
            )

    memory_rows: int | None = None  # examples that a memory holds; None for any number

    def renew_memory(self, inputs: Tensors) -> None:
        """Makes the memory of a channel that has one anew, from inputs of the channel.

        With a `BetaRange` that of the level nearest to the layer's `beta`.

        Raises:
            ValueError: the channel keeps none, or the inputs are of no use for it.
        """
        raise ValueError(f"{type(self).__name__} keeps no memory of codes.")

    def take_memory(self, channel: "Channel") -> None:
        """Copies the memory of a like channel, that of the level of its `beta`."""

    def level(self) -> Tensor:
        """The level of the `BetaRange` nearest to the beta of this call: an int32.

        Outside of a call, as in `sample`, to the layer's own `beta`.
        """
        return self.beta_range.nearest(ops.reshape(self._beta_of_call(), (-1,))[0])

    def of_level(self, variable: keras.Variable) -> Tensor:
        """What is kept for the level of this call: of (levels, ...) one, a copy.

        Without a `BetaRange` the whole variable.
        """
        kept = ops.convert_to_tensor(variable)
        return (
            ops.take(kept, self.level(), axis=0) if self.beta_range else ops.copy(kept)
        )

    def set_of_level(self, variable: keras.Variable, value: Tensor) -> None:
        """Assigns it, and leaves that of the other levels."""
        if self.beta_range:
            kept = ops.convert_to_tensor(variable)
            here = ops.equal(ops.arange(kept.shape[0], dtype="int32"), self.level())
            shape = (-1, *[1] * (len(kept.shape) - 1))
            value = ops.where(ops.reshape(here, shape), value, kept)
        variable.assign(value)

    def log_beta(self) -> Tensor:
        """The logarithm of the same beta over the middle of the range: (..., 1)."""
        return ops.log(self._beta_of_call() / self.beta_range.middle)

    def _beta_of_call(self):
        beta = _given_beta.get()
        return ops.convert_to_tensor(self.beta) if beta is None else beta

    def check_takes_mask(self) -> None:
        """Raises a ValueError unless the rate is a sum over positions."""

    def _step(self, inputs: Tensors, training: bool | None) -> Draw:
        """`draw` with the side effects that a call of the layer has besides."""
        return self.draw(inputs)

    def _set_free_bits(self, free_bits):
        """Checks and keeps the argument of a channel that has it."""
        self.free_bits = arguments.number("free_bits", free_bits, low=0)
        if self.free_bits and self.beta_range:
            raise ValueError(
                f"free_bits must be 0 beside a BetaRange. Received: "
                f"free_bits={free_bits}"
            )
        if self.free_bits and isinstance(self.beta_rule, TargetRateL1):
            raise ValueError(
                f"free_bits must be 0 beside TargetRateL1, which charges for the "
                f"distance of the rate from its target. Received: free_bits={free_bits}"
            )

    def _charged(self, inputs):
        """What the loss has in the place of the rate: sum_j max(free_bits, R_j)."""
        parts = unmasked(self.rate_by_dimension(inputs))
        parts = ops.reshape(parts, (ops.shape(parts)[0], -1))
        weights = ops.expand_dims(batch_weights(parts[:, 0]), 1)
        # Means over the batch first: an example may lie below as long as others do not.
        means = ops.mean(ops.cast(weights, parts.dtype) * parts, axis=0)
        return ops.sum(ops.maximum(means, self.free_bits))

    def _add_rate(self, rate, learn, charged=None):
        """Adds beta x the batch mean of `rate`, (batch,), to the loss.

        Or beta x `charged`, a number; what is logged and what a rule sees is the rate.
        """
        if len(getattr(rate, "shape", "no tensor")) != 1:
            found = getattr(rate, "shape", rate)
            raise ValueError(
                f"The rate that {type(self).__name__}.draw gives must be one number of "
                f"each example, (batch,): a sum over the code. Received: {found!r}"
            )
        mean = batch_mean(rate)
        self.log(self.last_rate, mean)
        given = _given_beta.get()
        if given is not None:
            self.add_loss(batch_mean(ops.reshape(given, (-1,)) * rate))
            return
        rule = self.beta_rule
        if not rule:
            self.add_loss(self.beta * (mean if charged is None else charged))
            return
        # A rule sees one rate for each step, the sum over its calls: a later call
        # takes back what the one before has added.
        seen = self.of_step()
        if learn:
            mean = replica_mean(mean)
            charged = None if charged is None else replica_mean(charged)
        charged = (mean if charged is None else charged) + seen.get("charged", 0.0)
        mean = mean + seen.get("rate", 0.0)
        term = rule.term(self._next_beta(mean, seen) if learn else self.beta, charged)
        self.add_loss(term - seen.get("term", 0.0))
        seen["rate"], seen["charged"], seen["term"] = mean, charged, term

    def _next_beta(self, rate, seen):
        """The beta of this step, after its rule has seen the rate of the batch."""
        if "beta" not in seen:
            # Copies: PyTorch's backward pass must not find a variable changed.
            seen["beta"] = ops.copy(ops.convert_to_tensor(self.beta))
            seen["state"] = {
                name: ops.copy(ops.convert_to_tensor(v))
                for name, v in self.beta_state.items()
            }
        rate = ops.stop_gradient(rate)
        beta, state = self.beta_rule.update(seen["beta"], rate, **seen["state"])
        self.beta.assign(beta)
        for name, value in state.items():
            self.beta_state[name].assign(value)
        return beta

    def normal(self, shape: Shape) -> Tensor:
        """Standard normal noise, float32."""
        return keras.random.normal(shape, dtype="float32", seed=self.seed_generator)

    def uniform(self, shape: Shape) -> Tensor:
        """Noise uniform on [0, 1), float32."""
        return keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)

    def integers(self, shape: Shape, below: int | Tensor) -> Tensor:
        """Integers uniform on [0, below)."""
        return keras.random.randint(shape, 0, below, seed=self.seed_generator)

    def get_config(self) -> dict[str, Any]:
        beta = self.initial_beta
        if self.beta_rule or self.beta_range:
            beta = self.beta_rule or self.beta_range
            beta = keras.saving.serialize_keras_object(beta)
        return {**super().get_config(), "beta": beta}
