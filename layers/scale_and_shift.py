"""Flows of one trained number per dimension: the scale and the shift of ActNorm."""

import keras
import numpy as np
from keras import ops

from .flow import Flow
from .symbolic import symbolic
from .typing import Shape, Tensor


class ElementwiseFlow(Flow):
    """Base class: a flow with one trained number for each dimension, at first zero.

    A subclass defines `apply_parameter(x, parameter)`, whose inverse has the negative
    parameter; it is the identity at zero.
    """

    takes_context = False
    parameter_name: str

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.parameter = self.add_weight(
            name=self.parameter_name,
            shape=(self.d,),
            initializer="zeros",
            dtype="float32",
            autocast=False,
        )

    def apply_parameter(self, x: Tensor, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log|det dy/dx|), shapes (batch, d) and (batch,)."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `apply_parameter`."
        )

    @symbolic
    def transform(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(y, log|det dy/dx|), shapes (batch, d) and (batch,)."""
        x, _ = self.prepare(x, context)
        return self.apply_parameter(x, ops.convert_to_tensor(self.parameter))

    @symbolic
    def inverse(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(x, log|det dx/dy|), shapes (batch, d) and (batch,)."""
        y, _ = self.prepare(y, context)
        return self.apply_parameter(y, -ops.convert_to_tensor(self.parameter))


@keras.saving.register_keras_serializable(package="echo_keras")
class Scale(ElementwiseFlow):
    """Scales each dimension by a trained factor: `y = x exp(s)`.

    s, `log_scale`, starts at zero, the identity. `adapt` is ActNorm's data-dependent
    initialization.

    Inputs:
        x, shape (batch, d).

    Output:
        y, shape (batch, d). `transform` and `inverse` return log-determinants too.

    Raises:
        ValueError: the inputs have another shape than the layer was built for, or
            there is a context.

    Example:

    >>> import numpy as np
    >>> flow = Scale()
    >>> flow.adapt(np.array([[0.0], [4.0]]))  # of standard deviation 2
    >>> y, log_det = flow.transform(np.ones((1, 1)))
    >>> print(ops.convert_to_numpy(y), ops.convert_to_numpy(log_det).round(3))
    [[2.]] [0.693]

    References:
        VCAE paper, App. B, Table 5. Kingma & Dhariwal, Glow (2018), Sec. 3.1 (ActNorm).
    """

    parameter_name = "log_scale"

    @property
    def log_scale(self) -> keras.Variable:
        """s, shape (d,)."""
        return self.parameter

    def apply_parameter(self, x: Tensor, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """(x exp(s), the sum of s), shapes (batch, d) and (batch,)."""
        return x * ops.exp(parameter), ops.zeros_like(x[:, 0]) + ops.sum(parameter)

    def adapt(self, z: np.ndarray) -> None:
        """ActNorm's initialization: `inverse` brings data z to variance 1.

        Args:
            z: Array (n, d), n >= 2.

        Raises:
            ValueError: z has another shape, is not finite, or a dimension is constant.
        """
        z = self.check_data(z)
        constant = np.flatnonzero(z.min(axis=0) == z.max(axis=0))
        if len(constant):
            raise ValueError(
                f"Data must vary in every dimension, or they have no density: leave "
                f"out constant ones, or add noise. Received: dimensions "
                f"{constant.tolist()} constant"
            )
        self.parameter.assign(np.log(z.std(axis=0)))


@keras.saving.register_keras_serializable(package="echo_keras")
class Shift(ElementwiseFlow):
    """Shifts each dimension by a trained number: `y = x + b`.

    b, `shift`, starts at zero, the identity. `adapt` is ActNorm's data-dependent
    initialization. The log-determinant is 0.

    Inputs:
        x, shape (batch, d).

    Output:
        y, shape (batch, d). `transform` and `inverse` return log-determinants too.

    Raises:
        ValueError: the inputs have another shape than the layer was built for, or
            there is a context.

    Example:

    >>> import numpy as np
    >>> flow = Shift()
    >>> flow.adapt(np.array([[1.0], [3.0]]))
    >>> ops.convert_to_numpy(flow.transform(np.zeros((1, 1)))[0]).tolist()
    [[2.0]]

    References:
        As `Scale`.
    """

    parameter_name = "shift"

    @property
    def shift(self) -> keras.Variable:
        """b, shape (d,)."""
        return self.parameter

    def apply_parameter(self, x: Tensor, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """(x + b, 0), shapes (batch, d) and (batch,)."""
        return x + parameter, ops.zeros_like(x[:, 0])

    def adapt(self, z: np.ndarray) -> None:
        """ActNorm's initialization: `inverse` brings data z to mean 0.

        Args:
            z: Array (n, d), n >= 2.

        Raises:
            ValueError: z has another shape or is not finite.
        """
        z = self.check_data(z)
        self.parameter.assign(z.mean(axis=0))
