"""Parts of models: from the inputs to a layer inside, and on from it to the outputs."""

from typing import Any

import keras
from keras import ops, tree

from echo_keras.layers import Channel, GANPenalty, arguments
from echo_keras.layers.bottleneck import Bottleneck
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


def calls(model: keras.Model, layer: keras.layers.Layer) -> list[Any]:
    """The nodes of a functional model's graph at which it calls a layer.

    Other models may call the layer too, and this one its methods: they do not count.
    `layer.input` and `layer.output` are those of the first call that there ever was.
    """
    inputs_of(model)
    # A Sequential model has its graph inside.
    by_depth = getattr(model, "_functional", model)._nodes_by_depth
    known = {id(node) for nodes in by_depth.values() for node in nodes}
    return [
        node
        for node in layer._inbound_nodes
        if id(node) in known and node.arguments.kwargs.get("method") is None
    ]


def call_of(model: keras.Model, layer: keras.layers.Layer) -> Any:
    """The one node at which a functional model calls a layer.

    Raises:
        ValueError: there is none, as for a layer inside of another, or several.
    """
    found = calls(model, layer)
    if len(found) != 1:
        raise ValueError(
            f"model must call its layer {layer.name!r} once. Received: a model that "
            f"calls it {len(found)} times"
        )
    return found[0]


def called_on(model: keras.Model, layer: Bottleneck | Channel) -> Tensors:
    """The tensors that a model calls a layer on.

    Without beta and without masks, which Keras counts among them.
    """
    given = tree.flatten(inputs_to(model, layer))
    channel = getattr(layer, "channel", layer)
    masks = [getattr(x, "_keras_mask", None) for x in given]
    given = [x for x in given if not any(x is mask for mask in masks)]
    if channel is not None and channel.beta_range:
        *given, _ = given
    return _one_or_several(given)


def inputs_to(model: keras.Model, layer: keras.layers.Layer) -> Tensors:
    """The tensor that a layer receives in a model, or several."""
    return _one_or_several(call_of(model, layer).input_tensors)


def output_of(model: keras.Model, layer: keras.layers.Layer) -> Tensors:
    """The tensor that a layer hands on in a model, or several."""
    return _one_or_several(call_of(model, layer).outputs)


def _one_or_several(tensors):
    return tensors[0] if len(tensors) == 1 else tensors


def before(model: keras.Model, layer: Bottleneck | Channel) -> keras.Model:
    """From a model's inputs to what a layer is called on, without beta: `inputs`.

    Beside it the `mask`, (batch,) or (batch, positions), for `unmasked_positions`.
    """
    given = called_on(model, layer)
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
    outputs = _raw_outputs(model)
    starts = [output_of(model, layer)]
    for penalty in model.layers:
        if isinstance(penalty, Penalty):
            for node in calls(model, penalty):
                if node.input_tensors[0] is starts[-1]:
                    starts.append(node.outputs[0])
    if outputs is starts[-1]:  # decoded by nothing
        code = keras.Input(batch_shape=outputs.shape, dtype=outputs.dtype)
        return keras.Model(code, keras.layers.Identity()(code), name="decoder_part")
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


def _raw_outputs(model):
    """The outputs, one or several; of a `GANPenalty` at the end the images."""
    last = model.layers[-1]
    if isinstance(last, GANPenalty) and calls(model, last):
        return inputs_to(model, last)[1]
    return _one_or_several(model.outputs)


def decoder_of(model: keras.Model) -> keras.Model:
    """From codes to a model's one raw output.

    Of a model without bottlenecks and channels, as a GAN is, the layer "decoder".

    Raises:
        ValueError: the model has several bottlenecks and channels, or one inside of
            another layer; or none, and no such layer that makes its output; several
            outputs; or as `after`.
    """
    arguments.layer("model", model, kind=keras.Model)
    found = [x for x in model.layers if isinstance(x, Bottleneck | Channel)]
    # Those inside of nested models too; `find_layers` stands a storey above.
    layers = model._flatten_layers(include_self=False)
    inside = any(isinstance(x, Bottleneck | Channel) for x in layers)
    named = [x for x in model.layers if x.name == "decoder"]
    if named and not inside and output_of(model, named[0]) is _raw_outputs(model):
        return named[0]
    if len(found) != 1:
        raise ValueError(
            "model must have one bottleneck or channel among its layers, or none at "
            'all and a layer "decoder" that makes its output. Received: a model with '
            f"{len(found)} among its layers"
        )
    decoder = after(model, found[0])
    if len(decoder.outputs) != 1:
        raise ValueError(
            f"model must have one output. Received: {len(decoder.outputs)} outputs"
        )
    return decoder
