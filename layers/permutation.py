"""A flow that reorders the dimensions."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from . import arguments
from .flow import OrderedFlow
from .symbolic import symbolic
from .typing import Shape, Tensor

ORDERS = ("reverse", "swap", "random")


@keras.saving.register_keras_serializable(package="echo_keras")
class Permutation(OrderedFlow):
    """Reorders the dimensions: `y_i = x_(order(i))`; the log-determinant is 0.

    Between the couplings of a `Chain`, so that all dimensions are changed.

    Args:
        order: "reverse"; "swap": the last `floor(d/2)` dimensions, which a
            `Coupling` changes, come first; "random"; or the d indices themselves.
        seed: Int or None, for the random order alone; drawn and kept in the config if
            None. Weights saved with one order refuse to load into another.

    Inputs:
        x, shape (batch, d).

    Output:
        y, shape (batch, d). `transform` and `inverse` return log-determinants too.

    Raises:
        ValueError: order is not as above, or does not have d indices; the inputs have
            another shape than the layer was built for, or there is a context.

    Example:

    >>> import numpy as np
    >>> x = np.array([[10.0, 11.0, 12.0]])
    >>> for order in ("reverse", "swap", [1, 0, 2]):
    ...     print(ops.convert_to_numpy(Permutation(order).transform(x)[0]))
    [[12. 11. 10.]]
    [[12. 10. 11.]]
    [[11. 10. 12.]]

    References:
        VCAE paper, App. B, Table 5.
    """

    takes_context = False

    def __init__(
        self,
        order: str | Sequence[int] = "reverse",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(order, str):
            arguments.choice("order", order, ORDERS)
        else:
            order = self._check_indices(order)
        super().__init__(order == "random", seed, **kwargs)
        self.order = order

    @staticmethod
    def _check_indices(order):
        indices = arguments.integers("order", order, low=0)
        if sorted(indices) != list(range(len(indices))):
            raise ValueError(
                f"order must hold each of the indices from 0 to d - 1 once. Received: "
                f"order={order!r}"
            )
        return indices

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        if self.order == "reverse":
            indices = np.arange(self.d)[::-1]
        elif self.order == "swap":
            indices = np.roll(np.arange(self.d), self.d // 2)
        elif self.order == "random":
            indices = np.random.RandomState(self.seed).permutation(self.d)
        else:
            indices = np.array(self.order)
        if len(indices) != self.d:
            raise ValueError(
                f"Permutation must have one dimension for each of its {len(indices)} "
                f"indices. Received: input_shape={input_shape}"
            )
        self.orders = indices.astype("int32")

    @symbolic
    def transform(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(y, 0), shapes (batch, d) and (batch,)."""
        x, _ = self.prepare(x, context)
        return ops.take(x, self.orders, axis=1), ops.zeros_like(x[:, 0])

    @symbolic
    def inverse(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(x, 0), shapes (batch, d) and (batch,)."""
        y, _ = self.prepare(y, context)
        back = np.argsort(self.orders).astype("int32")
        return ops.take(y, back, axis=1), ops.zeros_like(y[:, 0])

    def get_config(self) -> dict[str, Any]:
        order = self.order if isinstance(self.order, str) else list(self.order)
        return {**super().get_config(), "order": order}
