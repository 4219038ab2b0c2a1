"""Masked networks, in which an output depends on the inputs before it alone."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from . import arguments
from .arguments import shape_list
from .flow import split_shapes
from .typing import Shape, Tensor, Tensors


@keras.saving.register_keras_serializable(package="echo_keras")
class MaskedDense(keras.layers.Layer):
    """Dense layer that keeps only the connections its units' degrees allow.

    Input unit i reaches output unit j if `degree_j >= degree_i`, or, with
    `strict`, if `degree_j > degree_i` (MADE, Eq. 8 and 9). The kernel is multiplied
    by that mask of zeros and ones, which is a constant and not a weight.

    Args:
        input_degrees: Ints, one for each input unit.
        output_degrees: Ints, one for each output unit.
        strict: Bool; whether units of the same degree are disconnected.
        kernel_initializer: Keras initializer. The bias starts at zero.

    Inputs:
        Tensor (batch, len(input_degrees)).

    Output:
        Tensor (batch, len(output_degrees)).

    Raises:
        ValueError: the inputs do not have one unit for each degree.

    Example:

    >>> import numpy as np
    >>> layer = MaskedDense([1, 2], [1, 2], strict=True, kernel_initializer="ones")
    >>> y = layer(np.array([[3.0, 4.0]]))  # the first output sees nothing
    >>> ops.convert_to_numpy(y).tolist(), layer.effective_params
    ([[0.0, 3.0]], 3)

    References:
        Germain et al. 2015, MADE, Sec. 4.
    """

    def __init__(
        self,
        input_degrees: Sequence[int],
        output_degrees: Sequence[int],
        strict: bool = False,
        kernel_initializer: str | keras.Initializer = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # Arrays: Keras would wrap a list of several hundred numbers.
        self.input_degrees, self.output_degrees = (
            np.array(arguments.integers(name, degrees, low=0), "int32")
            for name, degrees in (
                ("input_degrees", input_degrees),
                ("output_degrees", output_degrees),
            )
        )
        self.strict = strict = arguments.flag("strict", strict)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        before, after = self.input_degrees[:, None], self.output_degrees
        self.mask = np.array(after > before if strict else after >= before, "float32")

    def build(self, input_shape: Shape) -> None:
        units = len(self.input_degrees)
        if input_shape[-1] != units:
            raise ValueError(
                f"MaskedDense must have one input for each of its {units} degrees. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: units})
        self.kernel = self.add_weight(
            name="kernel",
            shape=self.mask.shape,
            initializer=self.kernel_initializer,
        )
        self.bias = self.add_weight(
            name="bias", shape=self.mask.shape[1:], initializer="zeros"
        )

    def call(self, inputs: Tensor) -> Tensor:
        # A NumPy float32 mask would lift a half-precision kernel to float32.
        mask = ops.convert_to_tensor(self.mask, dtype=self.compute_dtype)
        return ops.matmul(inputs, self.kernel * mask) + self.bias

    @property
    def effective_params(self) -> int:
        """The number of weights that matter: kernel entries left, and biases."""
        return int(self.mask.sum()) + self.mask.shape[1]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], len(self.output_degrees))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_degrees": self.input_degrees.tolist(),
            "output_degrees": self.output_degrees.tolist(),
            "strict": self.strict,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class MADE(keras.layers.Layer):
    """Masked autoregressive network: output i depends on the inputs before i.

    The k-th input in the order has degree k, from 1 to d. Hidden unit j has degree
    `1 + (j mod (d - 1))` and sees units of at most its own degree; an output sees
    hidden units of lower degrees only. With a context the hidden degrees start at 0:
    those units see nothing but the context, without which the first output would be
    a constant.

    The context enters the first hidden layer through a dense layer without bias and
    without mask. The kernel and bias of the output layer start at zero, so that an
    untrained network returns zeros and a flow built on it starts at the identity.

    Args:
        units_per_hidden: Ints, the units of each hidden layer, each at least d - 1
            (d with a context), or some inputs would reach no output.
        outputs_per_dim: Int >= 1, numbers returned for each input dimension.
        activation: Keras activation of the hidden layers.
        order: The indices of the inputs in the sequence in which they come; as
            they stand if None.

    Inputs:
        x, shape (batch, d); or `[x, context]` with a context of shape (batch, c).

    Output:
        Tensor (batch, d, outputs_per_dim).

    Raises:
        ValueError: a hidden layer is too narrow, order is not a permutation, or the
            inputs have other shapes.

    Example:

    >>> import numpy as np
    >>> network = MADE((8, 8), outputs_per_dim=2)
    >>> tuple(network(np.ones((5, 3))).shape)
    (5, 3, 2)

    References:
        Germain et al. 2015, MADE, Sec. 4. Fixing a Broken ELBO, App. F: three
        hidden layers of 640.
    """

    def __init__(
        self,
        units_per_hidden: Sequence[int] = (640, 640, 640),
        outputs_per_dim: int = 1,
        activation: str | Callable = "relu",
        order: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units_per_hidden = arguments.integers("units_per_hidden", units_per_hidden)
        self.outputs_per_dim = arguments.integer("outputs_per_dim", outputs_per_dim)
        self.activation = keras.activations.get(activation)
        self.order = None if order is None else arguments.integers("order", order, 0)

    def build(self, input_shape: Shape) -> None:
        d, context = split_shapes(self, input_shape)
        order = range(d) if self.order is None else self.order
        if sorted(order) != list(range(d)):
            raise ValueError(
                f"order must hold each of the {d} input indices once. Received: "
                f"order={self.order}"
            )
        self.degrees = np.argsort(np.array(order)).astype("int32") + 1
        lowest = 1 if context is None else 0
        n = max(d - lowest, 1)
        if min(self.units_per_hidden) < n:
            raise ValueError(
                f"units_per_hidden must be at least {n} for {d} dimensions. Received: "
                f"units_per_hidden={self.units_per_hidden}"
            )
        hidden_degrees = [lowest + np.arange(u) % n for u in self.units_per_hidden]
        befores = [self.degrees, *hidden_degrees[:-1]]
        self.hidden = [
            MaskedDense(before, after, dtype=self.dtype_policy, name=f"hidden_{i}")
            for i, (before, after) in enumerate(
                zip(befores, hidden_degrees, strict=True)
            )
        ]
        self.output_layer = MaskedDense(
            hidden_degrees[-1],
            np.repeat(self.degrees, self.outputs_per_dim),
            strict=True,
            kernel_initializer="zeros",
            dtype=self.dtype_policy,
            name="output",
        )
        for layer in (*self.hidden, self.output_layer):
            layer.build((None, len(layer.input_degrees)))
        self.context_layer = None
        if context is not None:
            self.context_layer = keras.layers.Dense(
                self.units_per_hidden[0],
                use_bias=False,
                dtype=self.dtype_policy,
                name="context",
            )
            self.context_layer.build((None, context))

    def call(self, inputs: Tensors) -> Tensor:
        first, *others = self.hidden
        if self.context_layer is None:
            h = first(inputs)
        else:
            x, context = inputs
            h = first(x) + self.context_layer(context)
        for layer in others:
            h = layer(self.activation(h))
        outputs = self.output_layer(self.activation(h))
        return ops.reshape(outputs, (-1, len(self.degrees), self.outputs_per_dim))

    @property
    def effective_params(self) -> int:
        """The number of weights that matter: kernel entries left, and biases."""
        masked = sum(x.effective_params for x in (*self.hidden, self.output_layer))
        context = self.context_layer
        return masked + (0 if context is None else context.count_params())

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*shape_list(input_shape)[0], self.outputs_per_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units_per_hidden": list(self.units_per_hidden),
            "outputs_per_dim": self.outputs_per_dim,
            "activation": keras.activations.serialize(self.activation),
            "order": None if self.order is None else list(self.order),
        }
