"""Flows of masked autoregressive networks, fast in one direction.

A step changes each dimension by an amount that depends on the dimensions before it,
so that one direction takes a single pass through its network and the other takes one
pass per dimension. `IAFBlock` samples in the fast direction, `MAFBlock` measures
densities in it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from . import arguments
from .backend import repeat
from .flow import OrderedFlow, bound_log_scale
from .made import MADE
from .symbolic import symbolic
from .typing import Shape, Tensor


class AutoregressiveFlow(OrderedFlow):
    """Base class: a chain of steps, each with a MADE of its own.

    `parallel` takes one pass through each network, `sequential` is its inverse and
    takes d. A subclass says which of them is `transform`.
    """

    def __init__(
        self,
        steps: int = 4,
        hidden: Sequence[int] = (640, 640, 640),
        mean_only: bool = True,
        permutation: str = "reverse",
        activation: str | Callable = "relu",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        arguments.choice("permutation", permutation, ("reverse", "random"))
        super().__init__(permutation == "random", seed, **kwargs)
        self.steps = arguments.integer("steps", steps, high=arguments.STEPS_MAX)
        self.units_per_hidden = arguments.integers("hidden", hidden)
        self.mean_only = arguments.flag("mean_only", mean_only)
        self.permutation = permutation
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.orders = self._draw_orders()
        self.networks = [
            MADE(
                self.units_per_hidden,
                outputs_per_dim=1 if self.mean_only else 2,
                activation=self.activation,
                order=order,
                dtype="float32",
                name=f"step_{i}",
            )
            for i, order in enumerate(self.orders)
        ]
        for network in self.networks:
            network.build(input_shape)

    def _draw_orders(self):
        """The order of the dimensions in each step, int32 (steps, d)."""
        orders = np.tile(np.arange(self.d, dtype="int32"), (self.steps, 1))
        if self.permutation == "reverse":
            orders[1::2] = orders[1::2, ::-1]
        else:
            generator = np.random.RandomState(self.seed)
            for order in orders[1:]:
                generator.shuffle(order)
        return orders

    def shift_and_log_scale(
        self, step: int, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """m and a, (batch, d) each, by which a step maps x to x exp(a) + m."""
        network = self.networks[step]
        outputs = network(x if context is None else [x, context])
        shift = outputs[..., 0]
        if self.mean_only:
            return shift, ops.zeros_like(shift)
        return shift, bound_log_scale(outputs[..., 1])

    def parallel(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """All steps, one pass each: (y, log|det dy/dx|)."""
        x, context = self.prepare(x, context)
        log_det = ops.zeros_like(x[:, 0])
        for step in range(self.steps):
            shift, log_scale = self.shift_and_log_scale(step, x, context)
            x = x * ops.exp(log_scale) + shift
            log_det = log_det + ops.sum(log_scale, axis=-1)
        return x, log_det

    def sequential(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The inverse of `parallel`, d passes for each step: (x, log|det dx/dy|)."""
        y, context = self.prepare(y, context)
        log_det = ops.zeros_like(y[:, 0])
        for step in reversed(range(self.steps)):
            y, log_scale = self._solve(step, y, context)
            log_det = log_det - ops.sum(log_scale, axis=-1)
        return y, log_det

    def _solve(self, step, y, context):
        """x and the log-scale with y = x exp(a(x)) + m(x), one dimension at a time."""
        degrees = self.networks[step].degrees

        def solve_one(k, state):
            x, _ = state
            # Right for the dimensions up to the k-th, whose inputs are solved; after
            # the last pass for all.
            shift, log_scale = self.shift_and_log_scale(step, x, context)
            solved = (y - shift) * ops.exp(-log_scale)
            return ops.where(ops.equal(degrees, k + 1), solved, x), log_scale

        start = ops.zeros_like(y)
        return repeat(self.d, solve_one, (start, start))

    @property
    def effective_params(self) -> int:
        """The number of weights that matter: kernel entries left, and biases."""
        return sum(network.effective_params for network in self.networks)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "steps": self.steps,
            "hidden": list(self.units_per_hidden),
            "mean_only": self.mean_only,
            "permutation": self.permutation,
            "activation": keras.activations.serialize(self.activation),
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class IAFBlock(AutoregressiveFlow):
    """Inverse autoregressive flow: fast to sample from, for encoders.

    Each step shifts every dimension by the output of a masked network (`MADE`) of
    those before it, `y_i = x_i + m_i(x_(<i))`, or also scales it,
    `y_i = x_i exp(a_i(x_(<i))) + m_i(x_(<i))` with |a| < 3 by a tanh. The first
    step takes the dimensions in their order, the others in reverse or random order;
    outputs keep the order of the inputs. An untrained block is the identity.

    `transform` takes one pass through each network. `inverse` takes d of them; it is
    needed for the density of codes that the block did not draw itself.

    With the default arguments and 32 dimensions there are 3,448,448 weights, of which
    the masks leave 1,781,008 (`effective_params`). The counts in the Echo paper's
    Table 1 are met by half of the kernels and no biases, 1,720,320.

    Args:
        steps: Int >= 1.
        hidden: Ints, the units of each hidden layer of each step's network, each at
            least d - 1 (d with a context).
        mean_only: Bool; without scales the volume, and so the log-determinant, does
            not change.
        permutation: "reverse": every second step runs in reverse order; or
            "random": every step after the first has an order of its own.
        activation: Keras activation of the hidden layers.
        seed: Int or None, for the random orders alone; drawn and kept in the config
            if None. Weights saved with one set of orders refuse to load into another.

    Inputs:
        x, shape (batch, d); or `[x, context]` with a context of shape (batch, c),
        which every network sees.

    Output:
        y, shape (batch, d). `transform` and `inverse` return log-determinants too.

    Raises:
        ValueError: an argument is not as above; the inputs have other shapes, or a
            context is missing or not expected.

    Example:

    >>> import numpy as np
    >>> flow = IAFBlock(steps=2, hidden=(8, 8))
    >>> y, log_det = flow.transform(np.ones((5, 3)))
    >>> x, minus_log_det = flow.inverse(y)
    >>> tuple(y.shape), tuple(log_det.shape)
    ((5, 3), (5,))

    References:
        Kingma et al. 2016, Improved variational inference with inverse autoregressive
        flow. Echo paper, App. E, and Fixing a Broken ELBO, App. F: four mean-only steps
        with three hidden layers of 640.
    """

    @symbolic
    def transform(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One pass for each step: (y, log|det dy/dx|), (batch, d) and (batch,)."""
        return self.parallel(x, context)

    @symbolic
    def inverse(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """d passes for each step: (x, log|det dx/dy|), (batch, d) and (batch,)."""
        return self.sequential(y, context)


@keras.saving.register_keras_serializable(package="echo_keras")
class MAFBlock(AutoregressiveFlow):
    """Masked autoregressive flow: fast to measure densities with, for marginals.

    The twin of `IAFBlock`, with the directions exchanged: `inverse`, from data to base,
    takes one pass through each network, `u_i = z_i exp(a_i(z_(<i))) + m_i(z_(<i))`, and
    `transform`, from base to data, takes d of them. With the same weights, `transform`
    is what `IAFBlock.inverse` is. For the density itself see `MAFMarginal`.

    Args:
        steps, hidden, mean_only, permutation, activation, seed: As for `IAFBlock`.

    Inputs:
        u, shape (batch, d); or `[u, context]` with a context of shape (batch, c).

    Output:
        z, shape (batch, d). `transform` and `inverse` return log-determinants too.

    Raises:
        ValueError: as for `IAFBlock`.

    Example:

    >>> import numpy as np
    >>> flow = MAFBlock(steps=2, hidden=(8, 8), mean_only=False)
    >>> u, log_det = flow.inverse(np.ones((5, 3)))
    >>> tuple(u.shape), tuple(log_det.shape)
    ((5, 3), (5,))

    References:
        Papamakarios et al. 2017, Masked autoregressive flow for density estimation,
        Sec. 3. VCAE paper, App. B, Table 5.
    """

    @symbolic
    def transform(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """d passes for each step: (z, log|det dz/du|), (batch, d) and (batch,)."""
        return self.sequential(x, context)

    @symbolic
    def inverse(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One pass for each step: (u, log|det du/dz|), (batch, d) and (batch,)."""
        return self.parallel(y, context)
