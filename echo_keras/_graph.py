"""Parts of models: from the inputs to what a layer inside receives."""

import keras
from keras import ops, tree

from echo_keras.layers import Channel
from echo_keras.layers.bottleneck import Bottleneck, called_on
from echo_keras.layers.typing import Shape, Tensor, Tensors


class _Mask(keras.layers.Layer):
    """The mask of its input as a tensor; if there is none, one that keeps all."""

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return ops.ones(ops.shape(x)[:1], "bool") if mask is None else mask

    def compute_mask(self, x: Tensor, previous_mask: Tensor | None) -> None:
        return None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[:1]


def inputs_of(model: keras.Model) -> Tensors:
    """The symbolic inputs of a model, in its own structure.

    Raises:
        ValueError: the model is subclassed, or a `Sequential` one that has not been
            called: nobody knows its graph.
    """
    if not getattr(model, "inputs", None):
        raise ValueError(
            "model must be a functional Keras model, or a Sequential one that has been "
            f"called, whose layers' inputs are known. Received: {model!r}"
        )
    # `input` of a Sequential model is known only where another model calls it.
    sequential = isinstance(model, keras.Sequential)
    return model.inputs[0] if sequential else model.input


def before(model: keras.Model, layer: Bottleneck | Channel) -> keras.Model:
    """From a model's inputs to what a layer is called on, without beta: `inputs`.

    Beside it the `mask`, (batch,) or (batch, positions), for `unmasked_positions`.
    """
    given = called_on(layer)
    mask = _Mask()(tree.flatten(given)[0])
    return keras.Model(inputs_of(model), {"inputs": given, "mask": mask})
