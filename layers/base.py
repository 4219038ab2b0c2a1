"""Base classes of layers with state that outlasts a call."""

import contextvars
import weakref
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras import ops

from . import arguments
from .backend import current_step, stateless_scope, with_as_many_rows
from .context import setting
from .replicas import SeedGenerator
from .typing import Shape, Tensor

_weights = contextvars.ContextVar("example_weights", default=None)


def loss_dtype() -> str:
    """The type of terms of a loss: float32, or float64 by `keras.config.set_floatx`."""
    return "float64" if keras.config.floatx() == "float64" else "float32"


def example_weights(weights: Tensor | None) -> AbstractContextManager[None]:
    """Inside, what channels and penalties add to the loss is weighted by example.

    `RateDistortionModel` opens it with the sample weights of a batch, so that rates
    and penalties are weighted as Keras weighs the compiled loss.

    Args:
        weights: Tensor (batch,), or None for 1.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import GaussianSample
    >>> channel = GaussianSample()
    >>> with example_weights(ops.convert_to_tensor([2.0, 0.0, 0.0, 0.0])):
    ...     z = channel([np.ones((4, 2)), np.zeros((4, 2))])
    >>> float(channel.losses[0])  # 2 / 4 of one nat
    0.5
    """
    return setting(_weights, weights)


def are_weighted() -> bool:
    """Whether examples have weights, as inside of `example_weights`."""
    return _weights.get() is not None


def batch_weights(values: Tensor, batches: int = 1) -> Tensor:
    """The weight of each of `values`, (batch,): 1 but inside `example_weights`.

    Args:
        values: Tensor (batch,); or (batches x batch,), of several batches of the same
            examples, one after the other, as images of a GAN.
        batches: Int >= 1.

    Raises:
        ValueError: there are not as many values as weights. (In a graph of TensorFlow,
            which does not know their number, its own error with this sentence.)
    """
    weights = _weights.get()
    if weights is None:
        return ops.ones_like(values)
    weights = ops.tile(ops.cast(weights, values.dtype), (batches,))
    return with_as_many_rows(
        weights,
        values,
        "sample_weight must be one number for each row that a layer receives. "
        "Positions that a model folds into the batch, as reshape(x, (-1, d)) does, "
        "have none: keep them as an axis, (batch, positions, d).",
    )


def batch_mean(values: Tensor, batches: int = 1) -> Tensor:
    """The mean over examples of values times weights, of values (batch,) or of one.

    Of several batches of the same examples, see `batch_weights`.
    """
    weights = _weights.get()
    if weights is not None:
        every = batch_weights(values, batches) if len(values.shape) else weights
        values = ops.cast(every, values.dtype) * values
    return ops.mean(values)


class Seeded(keras.layers.Layer):
    """Base class: a seed generator whose state is saved with the weights.

    Keras saves a layer's weights but not the state of its generator, so that a
    resumed run would repeat its noise. And Keras draws the same on all replicas.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed = arguments.seed(seed)
        self.seed_generator = SeedGenerator(seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}

    def save_own_variables(self, store: dict[str, Any]) -> None:
        super().save_own_variables(store)
        store["seed_state"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: dict[str, Any]) -> None:
        weights = {name: store[name] for name in store.keys() if name != "seed_state"}
        super().load_own_variables(weights)
        if "seed_state" in store.keys():
            self.seed_generator.state.assign(store["seed_state"][()])


class LossTerm(keras.layers.Layer):
    """Base class: terms of the loss, and state that is saved but not trained."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # By the step that a call belongs to; gone when the step is.
        self._of_step: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

    def of_step(self) -> dict[str, Any]:
        """What the calls of the present step share: those of one call of a model."""
        step = current_step()
        return {} if step is None else self._of_step.setdefault(step, {})

    def add_loss(self, loss: Tensor) -> None:
        """As in Keras, in float64 where that is Keras's own type."""
        super().add_loss(ops.cast(loss, loss_dtype()))

    def log(self, variable: keras.Variable, value: Tensor) -> None:
        """Assigns to a variable the sum of the values of this step's calls."""
        seen = self.of_step()
        total = seen.get(variable.name, 0.0) + ops.stop_gradient(value)
        seen[variable.name] = total
        variable.assign(total)

    def _clear_losses(self) -> None:
        # In a stateless call, JAX's way, Keras forgets a layer's terms at each of its
        # calls, the second of a step included, and knows them by the identity of
        # tensors alone, which Python gives again to what other layers add.
        scope = stateless_scope()
        if scope is None:
            super()._clear_losses()
            return
        if scope not in self._of_step:
            self._of_step[scope] = {}
            self._losses.clear()
            self._loss_ids.clear()
        for layer in self._layers:
            layer._clear_losses()

    def add_state(self, name: str, shape: Shape, value: float) -> keras.Variable:
        """A float32 weight that neither the optimizer nor autocasting touches.

        Each replica of a `tf.distribute` strategy updates its own copy, and the
        first one's is read and saved. They are equal where a layer is `synchronized`.
        """
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=keras.initializers.Constant(value),
            dtype="float32",
            autocast=False,
            trainable=False,
        )
