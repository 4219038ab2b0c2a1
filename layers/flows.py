"""Normalizing flows of masked autoregressive networks: posteriors and marginals.

Both flows consist of the same steps. A step changes each dimension by an amount
that depends on the dimensions before it, so that one direction takes a single pass
through its network and the other takes one pass per dimension. `IAFBlock` samples
in the fast direction, `MAFBlock` measures densities in it. couplings.py has the
flows that are as fast in both directions, and chains of flows.
"""

import random

import keras
import numpy as np
from keras import ops

from .backend import repeat
from .marginals import Marginal, StandardNormal

# |log-scale| of a step stays below this, a factor of 20: a step can be inverted in
# float32, and nothing overflows early in training.
MAX_LOG_SCALE = 3.0


def split_shapes(layer, input_shape):
    """(d, c) from the shape of x, (batch, d), or of [x, context]; c is None for x."""
    is_pair = input_shape and isinstance(input_shape[0], (list, tuple))
    shapes = [tuple(s) for s in input_shape] if is_pair else [tuple(input_shape)]
    if len(shapes) > 2 or any(len(s) != 2 or not s[1] for s in shapes):
        raise ValueError(
            f"{type(layer).__name__} takes x of shape (batch, d), or [x, context] with "
            f"a context of shape (batch, c); received shape {input_shape}."
        )
    return shapes[0][1], shapes[1][1] if is_pair and len(shapes) == 2 else None


def check_hidden(name, units):
    """`units` as a tuple of ints >= 1, or a ValueError that names the argument."""
    values = tuple(units) if isinstance(units, (list, tuple)) else ()
    if not values or any(u < 1 or u != int(u) for u in values):
        raise ValueError(
            f"{name} must be a list of integers >= 1, the units of each hidden layer; "
            f"received {units!r}."
        )
    return tuple(int(u) for u in values)


def bounded(log_scale):
    """The log-scale, kept smoothly within MAX_LOG_SCALE."""
    return MAX_LOG_SCALE * ops.tanh(log_scale / MAX_LOG_SCALE)


@keras.saving.register_keras_serializable(package="echo_keras")
class MaskedDense(keras.layers.Layer):
    r"""Dense layer that keeps only the connections its units' degrees allow.

    Input unit i reaches output unit j if \(degree_j \ge degree_i\), or, with
    `strict`, if \(degree_j > degree_i\) (MADE, Eq. 8 and 9). The kernel is multiplied
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
        ValueError: the inputs have not one unit for each degree.

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
        input_degrees,
        output_degrees,
        strict=False,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        # Arrays: Keras would wrap a list of several hundred numbers.
        self.input_degrees = np.array(input_degrees, "int32")
        self.output_degrees = np.array(output_degrees, "int32")
        self.strict = strict
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        before, after = self.input_degrees[:, None], self.output_degrees
        self.mask = np.array(after > before if strict else after >= before, "float32")

    def build(self, input_shape):
        units = len(self.input_degrees)
        if input_shape[-1] != units:
            raise ValueError(
                f"MaskedDense has {units} input degrees and needs as many inputs; "
                f"received shape {tuple(input_shape)}."
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=self.mask.shape,
            initializer=self.kernel_initializer,
        )
        self.bias = self.add_weight(
            name="bias", shape=self.mask.shape[1:], initializer="zeros"
        )

    def call(self, inputs):
        # A NumPy float32 mask would lift a half-precision kernel to float32.
        mask = ops.convert_to_tensor(self.mask, dtype=self.compute_dtype)
        return ops.matmul(inputs, self.kernel * mask) + self.bias

    @property
    def effective_params(self):
        """The number of weights that matter: kernel entries left, and biases."""
        return int(self.mask.sum()) + self.mask.shape[1]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], len(self.output_degrees))

    def get_config(self):
        return {
            **super().get_config(),
            "input_degrees": self.input_degrees.tolist(),
            "output_degrees": self.output_degrees.tolist(),
            "strict": self.strict,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class MADE(keras.layers.Layer):
    r"""Masked autoregressive network: output i depends on the inputs before i.

    Input number k in the order has degree k, from 1 to d. Hidden unit j has degree
    \(1 + (j \bmod (d - 1))\) and sees what has at most its own degree; an output sees
    hidden units of lower degrees alone. With a context the hidden degrees start at 0:
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
        units_per_hidden=(640, 640, 640),
        outputs_per_dim=1,
        activation="relu",
        order=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units_per_hidden = check_hidden("units_per_hidden", units_per_hidden)
        if outputs_per_dim < 1 or outputs_per_dim != int(outputs_per_dim):
            raise ValueError(
                f"outputs_per_dim must be an integer >= 1; received {outputs_per_dim}."
            )
        self.outputs_per_dim = int(outputs_per_dim)
        self.activation = keras.activations.get(activation)
        self.order = None if order is None else tuple(int(i) for i in order)

    def build(self, input_shape):
        d, context = split_shapes(self, input_shape)
        order = range(d) if self.order is None else self.order
        if sorted(order) != list(range(d)):
            raise ValueError(
                f"order must hold each of the {d} input indices once; received "
                f"{self.order}."
            )
        self.degrees = np.argsort(np.array(order)).astype("int32") + 1
        lowest = 1 if context is None else 0
        n = max(d - lowest, 1)
        if min(self.units_per_hidden) < n:
            raise ValueError(
                f"Each hidden layer needs at least {n} units for {d} dimensions; "
                f"received {self.units_per_hidden}."
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

    def call(self, inputs):
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
    def effective_params(self):
        """The number of weights that matter: kernel entries left, and biases."""
        masked = sum(x.effective_params for x in (*self.hidden, self.output_layer))
        context = self.context_layer
        return masked + (0 if context is None else context.count_params())

    def compute_output_shape(self, input_shape):
        d, _ = split_shapes(self, input_shape)
        batch = input_shape[0]
        batch = batch[0] if isinstance(batch, (list, tuple)) else batch
        return (batch, d, self.outputs_per_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "units_per_hidden": list(self.units_per_hidden),
            "outputs_per_dim": self.outputs_per_dim,
            "activation": keras.activations.serialize(self.activation),
            "order": None if self.order is None else list(self.order),
        }


class Flow(keras.layers.Layer):
    r"""Base class of the invertible layers.

    A subclass defines two methods on float32 tensors, each of which returns the
    mapped tensor and the log-determinant of its own Jacobian, shape (batch,):

    - `transform(x, context=None)` -> \((y, \log |\det dy/dx|)\)
    - `inverse(y, context=None)` -> \((x, \log |\det dx/dy|)\)

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

    def __init__(self, **kwargs):
        # Inputs come as they are: half precision would cost densities their digits.
        super().__init__(autocast=False, **kwargs)

    def build(self, input_shape):
        self.d, self.context_d = split_shapes(self, input_shape)
        if self.context_d is not None and not self.takes_context:
            raise ValueError(
                f"{type(self).__name__} takes no context; received shape {input_shape}."
            )

    def transform(self, x, context=None):
        raise NotImplementedError(f"{type(self).__name__} must define `transform`.")

    def inverse(self, y, context=None):
        raise NotImplementedError(f"{type(self).__name__} must define `inverse`.")

    def prepare(self, x, context):
        """The inputs in float32, checked; builds the layer if nobody has yet."""
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
            received = f"{shape} and {others[0]}" if others else f"{shape} alone"
            raise ValueError(
                f"{type(self).__name__} was built for x of shape (batch, {self.d}) "
                f"{with_context}; received {received}."
            )
        return x, context

    def call(self, inputs):
        is_pair = isinstance(inputs, (list, tuple))
        x, context = inputs if is_pair else (inputs, None)
        return ops.cast(self.transform(x, context)[0], self.compute_dtype)

    def compute_output_shape(self, input_shape):
        is_pair = isinstance(input_shape[0], (list, tuple))
        return tuple(input_shape[0] if is_pair else input_shape)


class AutoregressiveFlow(Flow):
    """Base class: a chain of steps, each with a MADE of its own.

    `parallel` takes one pass through each network, `sequential` is its inverse and
    takes d. A subclass says which of them is `transform`.
    """

    def __init__(
        self,
        steps=4,
        hidden=(640, 640, 640),
        mean_only=True,
        permutation="reverse",
        activation="relu",
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if steps < 1 or steps != int(steps):
            raise ValueError(f"steps must be an integer >= 1; received {steps}.")
        if permutation not in ("reverse", "random"):
            raise ValueError(
                f"permutation must be 'reverse' or 'random'; received {permutation!r}."
            )
        self.steps = int(steps)
        self.units_per_hidden = check_hidden("hidden", hidden)
        self.mean_only = mean_only
        self.permutation = permutation
        self.activation = keras.activations.get(activation)
        if permutation == "random" and seed is None:
            # Drawn here so that get_config knows it: a copy permutes alike.
            seed = random.randrange(2**31)
        self.seed = seed

    def build(self, input_shape):
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

    def shift_and_log_scale(self, step, x, context=None):
        """What step number `step` makes of x, each (batch, d): x exp(a) + m."""
        network = self.networks[step]
        outputs = network(x if context is None else [x, context])
        shift = outputs[..., 0]
        if self.mean_only:
            return shift, ops.zeros_like(shift)
        return shift, bounded(outputs[..., 1])

    def parallel(self, x, context=None):
        """All steps, one pass each: (y, log|det dy/dx|)."""
        x, context = self.prepare(x, context)
        log_det = ops.zeros_like(x[:, 0])
        for step in range(self.steps):
            shift, log_scale = self.shift_and_log_scale(step, x, context)
            x = x * ops.exp(log_scale) + shift
            log_det = log_det + ops.sum(log_scale, axis=-1)
        return x, log_det

    def sequential(self, y, context=None):
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
    def effective_params(self):
        """The number of weights that matter: kernel entries left, and biases."""
        return sum(network.effective_params for network in self.networks)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["orders"] = self.orders

    def load_own_variables(self, store):
        weights = {name: store[name] for name in store.keys() if name != "orders"}
        super().load_own_variables(weights)
        orders = store["orders"][()] if "orders" in store.keys() else self.orders
        if not np.array_equal(orders, self.orders):
            raise ValueError(
                f"The saved weights of {self.name} belong to other permutations; give "
                f"the layer the seed it was saved with, where it has {self.seed}."
            )

    def get_config(self):
        return {
            **super().get_config(),
            "steps": self.steps,
            "hidden": list(self.units_per_hidden),
            "mean_only": self.mean_only,
            "permutation": self.permutation,
            "activation": keras.activations.serialize(self.activation),
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class IAFBlock(AutoregressiveFlow):
    r"""Inverse autoregressive flow: fast to sample from, for encoders.

    Each step adds to every dimension what a masked network (`MADE`) makes of those
    before it, \(y_i = x_i + m_i(x_{<i})\), or also scales it,
    \(y_i = x_i \exp(a_i(x_{<i})) + m_i(x_{<i})\) with |a| < 3 by a tanh. The first
    step takes the dimensions in their order and the others in reverse or random
    ones; the dimensions stay in their places. An untrained block is the identity.

    `transform` takes one pass through each network. `inverse` takes d of them and
    serves tests and the densities of codes that the block did not draw itself.

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

    def transform(self, x, context=None):
        """One pass for each step: (y, log|det dy/dx|), (batch, d) and (batch,)."""
        return self.parallel(x, context)

    def inverse(self, y, context=None):
        """d passes for each step: (x, log|det dx/dy|), (batch, d) and (batch,)."""
        return self.sequential(y, context)


@keras.saving.register_keras_serializable(package="echo_keras")
class MAFBlock(AutoregressiveFlow):
    r"""Masked autoregressive flow: fast to measure densities with, for marginals.

    The twin of `IAFBlock`, with the directions exchanged: `inverse`, from data to
    base, takes one pass through each network, \(u_i = z_i \exp(a_i(z_{<i})) +
    m_i(z_{<i})\), and `transform`, from base to data, takes d of them. With the same
    weights, `transform` is what `IAFBlock.inverse` is. For the density itself see
    `MAFMarginal`.

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

    def transform(self, x, context=None):
        """d passes for each step: (z, log|det dz/du|), (batch, d) and (batch,)."""
        return self.sequential(x, context)

    def inverse(self, y, context=None):
        """One pass for each step: (u, log|det du/dz|), (batch, d) and (batch,)."""
        return self.parallel(y, context)


@keras.saving.register_keras_serializable(package="echo_keras")
class FlowMarginal(Marginal):
    r"""Learned marginal: a base distribution carried through a flow.

    \(\log m(z) = \log b(w) + \log |\det dw/dz|\) with w the image of z under the
    flow's `inverse`. It has no closed-form divergence from a Gaussian, so a channel
    falls back on the one-sample Monte Carlo rate. With an untrained flow, which is
    the identity, the marginal is its base.

    Args:
        flow: A `Flow` without a context: `transform` maps w to z, `inverse` z to w.
        base: Layer with `log_prob(w)` -> (batch,) and `sample(n)`; the standard normal
            if None.
        seed: Int or None, for the default base's samples.

    Inputs:
        z, shape (batch, d). Calling the layer gives `log_prob(z)`.

    Raises:
        ValueError: the code is not one-dimensional, or the flow was built for another
            shape.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import Scale
    >>> flow = Scale()
    >>> flow.adapt(np.array([[-3.0], [3.0]]))
    >>> marginal = FlowMarginal(flow)
    >>> log_m = marginal(np.zeros((1, 1)))  # of N(0, 3^2): -log 3 - 1/2 log 2 pi
    >>> print(ops.convert_to_numpy(log_m).round(3), tuple(marginal.sample(7).shape))
    [-2.018] (7, 1)

    References:
        VCAE paper, Sec. 4, Eq. 8.
    """

    def __init__(self, flow, base=None, seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        if isinstance(flow, dict):  # as `get_config` writes it
            flow = keras.saving.deserialize_keras_object(flow)
        self.flow = flow
        if isinstance(base, dict):
            base = keras.saving.deserialize_keras_object(base)
        if base is None:
            # Not in half precision: the flow carries each sample's digits on.
            base = StandardNormal(seed=seed, dtype="float32")
        self.base = base

    def build(self, input_shape):
        shape = tuple(input_shape)
        if len(shape) != 2 or not isinstance(shape[1], int):
            raise ValueError(
                f"{type(self).__name__} takes codes of shape (batch, d); received "
                f"shape {input_shape}."
            )
        for layer in (self.flow, self.base):
            if not layer.built:
                layer.build(shape)

    def log_prob(self, z):
        """log m(z) in nats, (batch, d) -> (batch,)."""
        w, log_det = self.flow.inverse(z)
        return self.base.log_prob(w) + log_det

    def sample(self, n):
        """Draws n codes, (n, d), by `flow.transform`. The layer must be built."""
        z, _ = self.flow.transform(self.base.sample(n))
        return ops.cast(z, self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "flow": keras.saving.serialize_keras_object(self.flow),
            "base": keras.saving.serialize_keras_object(self.base),
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class MAFMarginal(FlowMarginal):
    r"""Learned marginal: a base distribution carried through a `MAFBlock`.

    A `FlowMarginal` that makes its own flow: \(\log m(z) = \log b(u) + \log |\det
    du/dz|\) with u the image of z under the flow's parallel inverse. Drawing a code
    takes d passes per step.

    Args:
        steps, hidden, mean_only, permutation, activation: As for `IAFBlock`.
        base: Layer with `log_prob(u)` -> (batch,) and `sample(n)`; the standard normal
            if None.
        seed: Int or None, for the flow's random orders and for the default base's
            samples.

    Inputs:
        z, shape (batch, d). Calling the layer gives `log_prob(z)`.

    Raises:
        ValueError: the code is not one-dimensional, or as for `IAFBlock`.

    Example:

    >>> import numpy as np
    >>> from echo_keras.layers import GaussianSample
    >>> marginal = MAFMarginal(steps=2, hidden=(8, 8))
    >>> channel = GaussianSample(marginal)
    >>> z = channel([np.ones((5, 2)), np.zeros((5, 2))])
    >>> tuple(marginal.log_prob(z).shape), tuple(marginal.sample(7).shape)
    ((5,), (7, 2))

    References:
        Papamakarios et al. 2017. Echo paper, Table 1 (VAE-MAF) and App. E; Fixing a
        Broken ELBO, App. F.
    """

    def __init__(
        self,
        steps=4,
        hidden=(640, 640, 640),
        mean_only=True,
        permutation="reverse",
        activation="relu",
        base=None,
        seed=None,
        **kwargs,
    ):
        flow = MAFBlock(
            steps=steps,
            hidden=hidden,
            mean_only=mean_only,
            permutation=permutation,
            activation=activation,
            seed=seed,
            name="flow",
        )
        super().__init__(flow, base=base, seed=seed, **kwargs)

    @property
    def effective_params(self):
        """The number of the flow's weights that matter; see `IAFBlock`."""
        return self.flow.effective_params

    def get_config(self):
        flow = self.flow.get_config()  # whose seed is the one its orders came from
        for key in ("name", "trainable", "dtype"):
            del flow[key]
        config = super().get_config()
        del config["flow"]
        return {**config, **flow}
