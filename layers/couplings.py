"""Flows that are as fast in both directions, and chains of flows.

`Coupling`, `Permutation`, `Scale` and `Shift` are links; `Chain` puts
them, or the flows of flows.py, one after another.
"""

import random

import keras
import numpy as np
from keras import ops

from .flows import Flow, bounded, check_hidden

ORDERS = ("reverse", "swap", "random")


def check_data(layer, z):
    """z as a float64 array (n, d) for `adapt`, checked; builds the layer if needed."""
    z = np.asarray(z, "float64")
    if z.ndim != 2 or len(z) < 2 or not z.shape[1] or not np.isfinite(z).all():
        raise ValueError(
            f"{type(layer).__name__} adapts to data of shape (n, d), n >= 2, without "
            f"NaN or infinity; received shape {z.shape} and "
            f"{int((~np.isfinite(z)).sum())} values that are not finite."
        )
    if not layer.built:
        layer.build(z.shape)
    if z.shape[1] != layer.d:
        raise ValueError(
            f"{type(layer).__name__} was built for {layer.d} dimensions and cannot "
            f"adapt to data of shape {z.shape}."
        )
    return z


@keras.saving.register_keras_serializable(package="echo_keras")
class Coupling(Flow):
    r"""Affine coupling of RealNVP: fast in both directions.

    The first \(k = \lceil d/2 \rceil\) dimensions pass unchanged, and a dense network
    makes of them how the others are scaled and shifted: \(y_{\le k} = x_{\le k}\),
    \(y_{>k} = x_{>k} \exp(a(x_{\le k})) + m(x_{\le k})\), with |a| < 3 by a tanh. The
    network's last layer starts at zero, so that an untrained layer is the identity.

    What passes here has to be changed by another coupling: see `Permutation`.

    Args:
        hidden: Ints, the units of each hidden layer.
        activation: Keras activation of the hidden layers.

    Inputs:
        x, shape (batch, d) with d >= 2; or `[x, context]` with a context of shape
        (batch, c), which the network sees too.

    Output:
        y, shape (batch, d). `transform` and `inverse` return log-determinants too.

    Raises:
        ValueError: hidden is not as above, d is 1, or the inputs have other shapes
            than the layer was built for.

    Example:

    >>> import numpy as np
    >>> flow = Coupling(hidden=(8, 8))
    >>> y, log_det = flow.transform(np.ones((5, 3)))
    >>> flow.kept, tuple(y.shape), tuple(log_det.shape)
    (2, (5, 3), (5,))

    References:
        Dinh et al. 2017, Density estimation using Real NVP, Sec. 3.2. VCAE paper,
        App. B, Table 5.
    """

    def __init__(self, hidden=(256, 256, 256), activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.units_per_hidden = check_hidden("hidden", hidden)
        self.activation = keras.activations.get(activation)

    def build(self, input_shape):
        super().build(input_shape)
        if self.d < 2:
            raise ValueError(
                f"Coupling needs at least 2 dimensions, one to pass and one to change; "
                f"received shape {input_shape}."
            )
        self.kept = (self.d + 1) // 2
        self.hidden = [
            keras.layers.Dense(
                units, activation=self.activation, dtype="float32", name=f"hidden_{i}"
            )
            for i, units in enumerate(self.units_per_hidden)
        ]
        self.output_layer = keras.layers.Dense(
            2 * (self.d - self.kept),
            kernel_initializer="zeros",
            dtype="float32",
            name="output",
        )
        units = self.kept + (self.context_d or 0)
        for layer in (*self.hidden, self.output_layer):
            layer.build((None, units))
            units = layer.units

    def shift_and_log_scale(self, kept, context=None):
        """m and a, (batch, d - k) each, for the dimensions that change."""
        h = kept if context is None else ops.concatenate([kept, context], axis=1)
        for layer in (*self.hidden, self.output_layer):
            h = layer(h)
        shift, log_scale = ops.split(h, 2, axis=1)
        return shift, bounded(log_scale)

    def transform(self, x, context=None):
        """(y, log|det dy/dx|), shapes (batch, d) and (batch,)."""
        x, context = self.prepare(x, context)
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        shift, log_scale = self.shift_and_log_scale(kept, context)
        changed = changed * ops.exp(log_scale) + shift
        return ops.concatenate([kept, changed], axis=1), ops.sum(log_scale, axis=1)

    def inverse(self, y, context=None):
        """(x, log|det dx/dy|), shapes (batch, d) and (batch,)."""
        y, context = self.prepare(y, context)
        kept, changed = y[:, : self.kept], y[:, self.kept :]
        shift, log_scale = self.shift_and_log_scale(kept, context)
        changed = (changed - shift) * ops.exp(-log_scale)
        return ops.concatenate([kept, changed], axis=1), -ops.sum(log_scale, axis=1)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden": list(self.units_per_hidden),
            "activation": keras.activations.serialize(self.activation),
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class Permutation(Flow):
    r"""Reorders the dimensions: \(y_i = x_{order(i)}\); the log-determinant is 0.

    It stands between the links of a chain, so that each meets the dimensions in
    another order.

    Args:
        order: "reverse"; "swap": the last \(\lfloor d/2 \rfloor\) dimensions, which a
            `Coupling` changes, come first; "random"; or the d indices themselves.
        seed: Int or None, for the random order alone; drawn and kept in the config if
            None. Weights saved with one order refuse to load into another.

    Inputs:
        x, shape (batch, d).

    Output:
        y, shape (batch, d). `transform` and `inverse` return log-determinants too.

    Raises:
        ValueError: order is not as above, or has not d indices; the inputs have
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

    def __init__(self, order="reverse", seed=None, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(order, str):
            order = self._check_indices(order)
        elif order not in ORDERS:
            raise ValueError(
                f"order must be 'reverse', 'swap', 'random' or a list of indices; "
                f"received {order!r}."
            )
        self.order = order
        if order == "random" and seed is None:
            # Drawn here so that get_config knows it: a copy permutes alike.
            seed = random.randrange(2**31)
        self.seed = seed

    @staticmethod
    def _check_indices(order):
        indices = np.asarray(order)
        found = sorted(indices.tolist()) if indices.ndim == 1 else None
        if not found or found != list(range(len(found))):
            raise ValueError(
                f"order must hold each of the indices from 0 to d - 1 once; received "
                f"{order!r}."
            )
        return tuple(int(i) for i in indices)

    def build(self, input_shape):
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
                f"Permutation has {len(indices)} indices and needs as many dimensions; "
                f"received shape {input_shape}."
            )
        self.indices = indices.astype("int32")

    def transform(self, x, context=None):
        """(y, 0), shapes (batch, d) and (batch,)."""
        x, _ = self.prepare(x, context)
        return ops.take(x, self.indices, axis=1), ops.zeros_like(x[:, 0])

    def inverse(self, y, context=None):
        """(x, 0), shapes (batch, d) and (batch,)."""
        y, _ = self.prepare(y, context)
        back = np.argsort(self.indices).astype("int32")
        return ops.take(y, back, axis=1), ops.zeros_like(y[:, 0])

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["order"] = self.indices

    def load_own_variables(self, store):
        weights = {name: store[name] for name in store.keys() if name != "order"}
        super().load_own_variables(weights)
        order = store["order"][()] if "order" in store.keys() else self.indices
        if not np.array_equal(order, self.indices):
            raise ValueError(
                f"The saved weights of {self.name} belong to another permutation; give "
                f"the layer the order and the seed it was saved with, where it has "
                f"{self.order} and {self.seed}."
            )

    def get_config(self):
        order = self.order if isinstance(self.order, str) else list(self.order)
        return {**super().get_config(), "order": order, "seed": self.seed}


@keras.saving.register_keras_serializable(package="echo_keras")
class Scale(Flow):
    r"""Scales each dimension by a trained factor: \(y = x \exp(s)\).

    s starts at zero, the identity; `adapt` starts it from data.

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
        VCAE paper, App. B, Table 5.
    """

    takes_context = False

    def build(self, input_shape):
        super().build(input_shape)
        self.log_scale = self.add_weight(
            name="log_scale",
            shape=(self.d,),
            initializer="zeros",
            dtype="float32",
            autocast=False,
        )

    def transform(self, x, context=None):
        """(y, log|det dy/dx|), shapes (batch, d) and (batch,)."""
        x, _ = self.prepare(x, context)
        log_det = ops.zeros_like(x[:, 0]) + ops.sum(self.log_scale)
        return x * ops.exp(self.log_scale), log_det

    def inverse(self, y, context=None):
        """(x, log|det dx/dy|), shapes (batch, d) and (batch,)."""
        y, _ = self.prepare(y, context)
        log_det = ops.zeros_like(y[:, 0]) - ops.sum(self.log_scale)
        return y * ops.exp(-self.log_scale), log_det

    def adapt(self, z):
        """Sets the scale so that `inverse` brings data z to variance 1.

        Args:
            z: Array (n, d), n >= 2.

        Raises:
            ValueError: z has another shape, is not finite, or a dimension is constant.
        """
        z = check_data(self, z)
        constant = np.flatnonzero(z.min(axis=0) == z.max(axis=0))
        if len(constant):
            raise ValueError(
                f"Dimensions {constant.tolist()} of the data are constant and have no "
                f"density: leave them out, or add noise to the data."
            )
        self.log_scale.assign(np.log(z.std(axis=0)))


@keras.saving.register_keras_serializable(package="echo_keras")
class Shift(Flow):
    r"""Shifts each dimension by a trained number: \(y = x + b\).

    b starts at zero, the identity; `adapt` starts it from data. The log-determinant
    is 0.

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
        VCAE paper, App. B, Table 5.
    """

    takes_context = False

    def build(self, input_shape):
        super().build(input_shape)
        self.shift = self.add_weight(
            name="shift",
            shape=(self.d,),
            initializer="zeros",
            dtype="float32",
            autocast=False,
        )

    def transform(self, x, context=None):
        """(y, 0), shapes (batch, d) and (batch,)."""
        x, _ = self.prepare(x, context)
        return x + self.shift, ops.zeros_like(x[:, 0])

    def inverse(self, y, context=None):
        """(x, 0), shapes (batch, d) and (batch,)."""
        y, _ = self.prepare(y, context)
        return y - self.shift, ops.zeros_like(y[:, 0])

    def adapt(self, z):
        """Sets the shift so that `inverse` brings data z to mean 0.

        Args:
            z: Array (n, d), n >= 2.

        Raises:
            ValueError: z has another shape or is not finite.
        """
        z = check_data(self, z)
        self.shift.assign(z.mean(axis=0))


@keras.saving.register_keras_serializable(package="echo_keras")
class Chain(Flow):
    r"""Applies flows one after another: \(y = f_m(\dots f_1(x))\).

    `inverse` undoes them from the last to the first. Log-determinants add up. A
    context goes to those flows that take one.

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
    >>> flow = Chain([Scale(), Shift()])
    >>> flow.adapt(np.array([[1.0], [5.0]]))
    >>> x, log_det = flow.inverse(np.array([[3.0]]))
    >>> print(ops.convert_to_numpy(x), ops.convert_to_numpy(log_det).round(3))
    [[0.]] [-0.693]

    References:
        VCAE paper, Sec. 4, Eq. 8: the chain \(f_1, \dots, f_m\).
    """

    def __init__(self, flows, **kwargs):
        super().__init__(**kwargs)
        links = [
            # Dicts as `get_config` writes them.
            keras.saving.deserialize_keras_object(f) if isinstance(f, dict) else f
            for f in (flows if isinstance(flows, (list, tuple)) else ())
        ]
        if not links or not all(isinstance(link, Flow) for link in links):
            raise ValueError(
                f"flows must be a list of at least one Flow; received {flows!r}."
            )
        if len(set(map(id, links))) < len(links):
            raise ValueError(
                "flows must be different layers: a saved model would not keep that two "
                "of them share their weights."
            )
        self.flows = links

    @property
    def takes_context(self):
        """Whether any of the flows does."""
        return any(flow.takes_context for flow in self.flows)

    def build(self, input_shape):
        super().build(input_shape)
        shape = (None, self.d)
        pair = shape if self.context_d is None else [shape, (None, self.context_d)]
        for flow in self.flows:
            if not flow.built:
                flow.build(pair if flow.takes_context else shape)

    def transform(self, x, context=None):
        """All flows from the first to the last: (y, log|det dy/dx|)."""
        x, context = self.prepare(x, context)
        log_det = ops.zeros_like(x[:, 0])
        for flow in self.flows:
            x, more = flow.transform(x, context if flow.takes_context else None)
            log_det = log_det + more
        return x, log_det

    def inverse(self, y, context=None):
        """All inverses from the last to the first: (x, log|det dx/dy|)."""
        y, context = self.prepare(y, context)
        log_det = ops.zeros_like(y[:, 0])
        for flow in reversed(self.flows):
            y, more = flow.inverse(y, context if flow.takes_context else None)
            log_det = log_det + more
        return y, log_det

    def adapt(self, z):
        """Adapts the flows that have an `adapt`, each to what reaches it from data z.

        Args:
            z: Array (n, d), n >= 2.

        Raises:
            ValueError: z has another shape, is not finite, or has a constant dimension
                where a `Scale` meets it.
        """
        z = check_data(self, z)
        able = [hasattr(flow, "adapt") for flow in self.flows]
        first = able.index(True) if any(able) else len(able)
        for flow in reversed(self.flows[first:]):
            if hasattr(flow, "adapt"):
                flow.adapt(z)
            z = ops.convert_to_numpy(flow.inverse(z)[0])

    def get_config(self):
        flows = [keras.saving.serialize_keras_object(flow) for flow in self.flows]
        return {**super().get_config(), "flows": flows}
