"""The base classes of the invertible layers."""

import random
from typing import Any

import keras
import numpy as np
from keras import ops

from . import arguments
from .arguments import shape_list
from .symbolic import MethodCalls
from .typing import Shape, Tensor, Tensors

# |log-scale| of a step stays below this, a factor of 20: a step can be inverted in
# float32, and nothing overflows early in training.
MAX_LOG_SCALE = 3.0


def bound_log_scale(log_scale: Tensor) -> Tensor:
    """The log-scale, kept smoothly within MAX_LOG_SCALE."""
    return MAX_LOG_SCALE * ops.tanh(log_scale / MAX_LOG_SCALE)


def split_shapes(layer: keras.layers.Layer, input_shape: Shape) -> tuple:
    """(d, c) from the shape of x, (batch, d), or of [x, context]; c is None for x."""
    shapes = shape_list(input_shape)
    if len(shapes) > 2 or any(len(s) != 2 or not s[1] for s in shapes):
        raise ValueError(
            f"{type(layer).__name__} takes x of shape (batch, d), or [x, context] with "
            f"a context of shape (batch, c). Received: input_shape={input_shape}"
        )
    return shapes[0][1], shapes[1][1] if len(shapes) == 2 else None


class Flow(MethodCalls):
    """Base class of the invertible layers.

    A subclass defines two methods on float32 tensors, each of which returns the
    mapped tensor and the log-determinant of its own Jacobian, shape (batch,):

    - `transform(x, context=None)` -> `(y, log |det dy/dx|)`
    - `inverse(y, context=None)` -> `(x, log |det dx/dy|)`

    Each begins with `x, context = self.prepare(x, context)`. Both compute in float32
    whatever the dtype policy, and so do the weights. Calling the layer gives y alone
    in the policy's compute dtype, so that a flow stands in a model like any layer.
    (The method is not named `forward`: PyTorch gives that name to the call itself.)
    A subclass that has no use for a context sets `takes_context = False`.

    Inputs:
        x, shape (batch, d); or `[x, context]` with a context of shape (batch, c).

    Output:
        y, shape (batch, d).

    Raises:
        ValueError: the inputs have other shapes, or a context is missing or not
            expected.

    Example:

    >>> import math
    >>> import numpy as np
    >>> class Double(Flow):
    ...     def transform(self, x, context=None):
    ...         x, _ = self.prepare(x, context)
    ...         return 2.0 * x, ops.full_like(x[:, 0], self.d * math.log(2.0))
    ...     def inverse(self, y, context=None):
    ...         y, _ = self.prepare(y, context)
    ...         return 0.5 * y, ops.full_like(y[:, 0], -self.d * math.log(2.0))
    >>> y, log_det = Double().transform(np.ones((5, 3)))
    >>> tuple(y.shape), tuple(log_det.shape)
    ((5, 3), (5,))
    """

    takes_context = True

    def __init__(self, **kwargs: Any) -> None:
        # Inputs come as they are: half precision would cost densities their digits.
        super().__init__(autocast=False, **kwargs)

    def build(self, input_shape: Shape) -> None:
        self.d, self.context_d = split_shapes(self, input_shape)
        if self.context_d is not None and not self.takes_context:
            raise ValueError(
                f"{type(self).__name__} takes x alone, without a context. Received: "
                f"input_shape={input_shape}"
            )

    def transform(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(y, log|det dy/dx|), shapes (batch, d) and (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} must define `transform`.")

    def inverse(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(x, log|det dx/dy|), shapes (batch, d) and (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} must define `inverse`.")

    def prepare(
        self, x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The inputs in float32, checked; builds the layer if it is not built."""
        x = ops.cast(x, "float32")
        context = None if context is None else ops.cast(context, "float32")
        shape, *others = [tuple(t.shape) for t in (x, context) if t is not None]
        if not self.built:
            self.build([shape, *others] if others else shape)
        expected = [d for d in (self.d, self.context_d) if d is not None]
        if [s[1:] for s in (shape, *others)] != [(d,) for d in expected]:
            with_context = "without a context"
            if self.context_d is not None:
                with_context = f"and a context of shape (batch, {self.context_d})"
            received = f"shapes {shape} and {others[0]}" if others else f"shape {shape}"
            raise ValueError(
                f"{type(self).__name__} was built for x of shape (batch, {self.d}) "
                f"{with_context}. Received: {received}"
            )
        return x, context

    def call(self, inputs: Tensors, method: str | None = None) -> Tensor:
        if method is not None:
            return self.call_method(method, inputs)
        x, context = inputs if isinstance(inputs, (list, tuple)) else (inputs, None)
        return ops.cast(self.transform(x, context)[0], self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return shape_list(input_shape)[0]

    def check_data(self, z: np.ndarray) -> np.ndarray:
        """Data for an `adapt` as float64 (n, d), checked; builds the layer."""
        z = np.asarray(z, "float64")
        if z.ndim != 2 or len(z) < 2 or not z.shape[1] or not np.isfinite(z).all():
            raise ValueError(
                f"{type(self).__name__} adapts to data of shape (n, d), n >= 2, "
                f"without NaN or infinity. Received: shape {z.shape} with "
                f"{int((~np.isfinite(z)).sum())} values that are not finite"
            )
        if not self.built:
            self.build(z.shape)
        if z.shape[1] != self.d:
            raise ValueError(
                f"{type(self).__name__} was built for {self.d} dimensions and cannot "
                f"adapt to others. Received: shape {z.shape}"
            )
        return z


class OrderedFlow(Flow):
    """Base class: a flow with orders of the dimensions, which may be random.

    `build` sets `orders`, an int32 array. It is saved with the weights, and weights
    saved with other orders refuse to load.

    Args:
        is_random: Bool, whether the orders are drawn.
        seed: Int or None, what they are drawn from; drawn and kept in the config if
            None.
    """

    def __init__(self, is_random: bool, seed: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        seed = arguments.seed(seed)
        if is_random and seed is None:
            # Drawn here so that get_config knows it: a copy permutes alike.
            seed = random.randrange(2**31)
        self.seed = seed

    def save_own_variables(self, store: dict[str, Any]) -> None:
        super().save_own_variables(store)
        store["orders"] = self.orders

    def load_own_variables(self, store: dict[str, Any]) -> None:
        weights = {name: store[name] for name in store.keys() if name != "orders"}
        super().load_own_variables(weights)
        orders = store["orders"][()] if "orders" in store.keys() else self.orders
        if not np.array_equal(orders, self.orders):
            raise ValueError(
                f"{self.name} must have the order and the seed that its weights were "
                f"saved with, which belong to another permutation. Received: "
                f"seed={self.seed}"
            )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
