"""A flow made of flows."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from .arguments import restored
from .flow import Flow
from .symbolic import symbolic
from .typing import Shape, Tensor


@keras.saving.register_keras_serializable(package="echo_keras")
class Chain(Flow):
    """Applies flows one after another: `y = f_m(… f_1(x))`.

    `inverse` undoes them from the last to the first. Log-determinants add up. The
    context goes to the flows that take one.

    Args:
        flows: List of at least one `Flow`, each another layer. A chain may stand in a
            chain.

    Inputs:
        x, shape (batch, d); or `[x, context]` with a context of shape (batch, c).

    Output:
        y, shape (batch, d). `transform` and `inverse` return log-determinants too.

    Raises:
        ValueError: flows is not as above, the inputs have another shape than the layer
            was built for, or no flow takes the context.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import Scale, Shift
    >>> flow = Chain([Scale(), Shift()])
    >>> flow.adapt(np.array([[1.0], [5.0]]))
    >>> x, log_det = flow.inverse(np.array([[3.0]]))
    >>> print(ops.convert_to_numpy(x), ops.convert_to_numpy(log_det).round(3))
    [[0.]] [-0.693]

    References:
        VCAE paper, Sec. 4, Eq. 8: the chain `f_1, ..., f_m`.
    """

    def __init__(self, flows: Sequence[Flow], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        links = [restored(f) for f in flows] if isinstance(flows, (list, tuple)) else ()
        if not links or not all(isinstance(link, Flow) for link in links):
            raise ValueError(
                f"flows must be a list of at least one Flow. Received: flows={flows!r}"
            )
        if len(set(map(id, links))) < len(links):
            raise ValueError(
                f"flows must be different layers: a saved model does not keep that "
                f"two of them share their weights. Received: flows={flows!r}"
            )
        self.flows = links

    @property
    def takes_context(self) -> bool:
        """Whether any of the flows does."""
        return any(flow.takes_context for flow in self.flows)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        shape = (None, self.d)
        pair = shape if self.context_d is None else [shape, (None, self.context_d)]
        for flow in self.flows:
            if not flow.built:
                flow.build(pair if flow.takes_context else shape)

    @symbolic
    def transform(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """All flows from the first to the last: (y, log|det dy/dx|)."""
        x, context = self.prepare(x, context)
        log_det = ops.zeros_like(x[:, 0])
        for flow in self.flows:
            x, more = flow.transform(x, context if flow.takes_context else None)
            log_det = log_det + more
        return x, log_det

    @symbolic
    def inverse(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """All inverses from the last to the first: (x, log|det dx/dy|)."""
        y, context = self.prepare(y, context)
        log_det = ops.zeros_like(y[:, 0])
        for flow in reversed(self.flows):
            y, more = flow.inverse(y, context if flow.takes_context else None)
            log_det = log_det + more
        return y, log_det

    def adapt(self, z: np.ndarray) -> None:
        """Adapts the flows that have an `adapt`, each to the image of data z there.

        Args:
            z: Array (n, d), n >= 2.

        Raises:
            ValueError: z has another shape, is not finite, or has a constant dimension
                where a `Scale` meets it.
        """
        z = self.check_data(z)
        able = [hasattr(flow, "adapt") for flow in self.flows]
        first = able.index(True) if any(able) else len(able)
        for flow in reversed(self.flows[first:]):
            if hasattr(flow, "adapt"):
                flow.adapt(z)
            z = ops.convert_to_numpy(flow.inverse(z)[0])

    def get_config(self) -> dict[str, Any]:
        flows = [keras.saving.serialize_keras_object(flow) for flow in self.flows]
        return {**super().get_config(), "flows": flows}
