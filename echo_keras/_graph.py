"""Parts of models: from the inputs to a layer inside, and on from it to the outputs."""

import keras
from keras import ops, tree

from echo_keras.layers import Channel, GANPenalty, arguments
from echo_keras.layers.bottleneck import Bottleneck, called_on
from echo_keras.layers.penalty import Penalty
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


def after(model: keras.Model, layer: keras.layers.Layer) -> keras.Model:
    """From what a layer hands on to a model's raw outputs, past penalties on the code.

    A `GANPenalty` at the end hands images on, and looks at the inputs too: the images
    are the output.

    Raises:
        ValueError: outputs depend on the inputs other than through one call of the
            layer.
    """
    last = model.layers[-1]
    outputs = last.input[1] if isinstance(last, GANPenalty) else model.outputs
    if isinstance(outputs, list) and len(outputs) == 1:
        (outputs,) = outputs
    starts = [layer.output]
    for penalty in model.layers:
        if isinstance(penalty, Penalty) and penalty.input is starts[-1]:
            starts.append(penalty.output)
    # What is decoded need not be what was penalized.
    for start in reversed(starts):
        try:
            return keras.Model(start, outputs, name="decoder_part")
        except ValueError as failure:
            error = failure
    raise ValueError(
        f"model must have outputs that depend on its inputs through one call of the "
        f"layer {layer.name!r} alone. Received: a model in which something passes it by"
    ) from error


def decoder_of(model: keras.Model) -> keras.Model:
    """From codes to a model's one raw output.

    Of a model without bottlenecks and channels, as a GAN is, the layer "decoder".

    Raises:
        ValueError: the model has several bottlenecks and channels, or none and no such
            layer; several outputs; or as `after`.
    """
    arguments.layer("model", model, kind=keras.Model)
    found = [x for x in model.layers if isinstance(x, Bottleneck | Channel)]
    named = [x for x in model.layers if x.name == "decoder"]
    if named and not found:
        return named[0]
    if len(found) != 1:
        raise ValueError(
            "model must have one bottleneck or channel among its layers, or none and a "
            f'layer "decoder". Received: a model with {len(found)}'
        )
    decoder = after(model, found[0])
    if len(decoder.outputs) != 1:
        raise ValueError(
            f"model must have one output. Received: {len(decoder.outputs)} outputs"
        )
    return decoder
