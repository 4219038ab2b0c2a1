"""Methods of layers on symbolic tensors, from which functional models are made."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from .typing import Tensors


def symbolic(method: Callable) -> Callable:
    """Lets a method of a `MethodCalls` layer take symbolic tensors.

    `keras.Model(x, layer.rate(h))` is then a model like any: the method stands in its
    graph as a call of the layer, which is saved with it once.

    Example:

    >>> from echo_keras.layers import GaussianBottleneck
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, GaussianBottleneck(2).rate(x))
    >>> model.output_shape
    (None,)
    """

    @functools.wraps(method)
    def on_any_tensors(self, *args, **kwargs):
        tensors = tree.flatten((args, kwargs))
        if not any(isinstance(x, keras.KerasTensor) for x in tensors):
            return method(self, *args, **kwargs)
        if kwargs:
            raise ValueError(
                f"{method.__name__} must be called on symbolic tensors without other "
                f"arguments. Received: {', '.join(kwargs)}"
            )
        args = [x for x in args if x is not None]  # an argument left out
        if len(args) == 1:
            return self(args[0], method=method.__name__)
        if not self.built:
            raise ValueError(
                f"{type(self).__name__} must be called on its inputs before "
                f"{method.__name__} is on symbolic tensors."
            )
        return self(args, method=f"*{method.__name__}")

    return on_any_tensors


def dense(x: Any) -> Any:
    """A symbolic tensor, without the word that it is sparse; all else as it is.

    Keras takes a number for a sparse tensor, and so `0.5 * h` for one.
    """
    if isinstance(x, keras.KerasTensor) and x.sparse:
        return keras.KerasTensor(x.shape, x.dtype, name=x.name)
    return x


class MethodCalls(keras.layers.Layer):
    """Base class: layers whose call can be that of one of their methods.

    `call(inputs, ..., method=None)` of a subclass begins with `if method is not None:
    return self.call_method(method, inputs)`.
    """

    def call_method(self, method: str, inputs: Tensors) -> Any:
        """What a method returns; "*name" takes several arguments, in a list."""
        if method.startswith("*"):
            return getattr(self, method[1:])(*inputs)
        return getattr(self, method)(inputs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree.map_structure(dense, (args, kwargs))
        if kwargs.get("method") is None:
            kwargs.pop("method", None)
            return super().compute_output_spec(*args, **kwargs)
        return keras.Operation.compute_output_spec(self, *args, **kwargs)
