"""What layers of codes ask of their inputs: shapes, and masks of positions."""

from typing import Any

import keras
from keras import tree

from .typing import Shape, Tensor, Tensors

NUMBERS = {2: "two", 3: "three"}


def first_mask(mask: Tensors | None) -> Tensor | None:
    """The mask of a layer's inputs: that of the first which has one."""
    return next((m for m in tree.flatten(mask) if m is not None), None)


def mask_beside_beta(mask: Tensors | None, inputs: Tensors) -> Tensor | None:
    """The mask of inputs, which Keras leaves out where beta is an argument as well."""
    attached = [getattr(x, "_keras_mask", None) for x in tree.flatten(inputs)]
    return first_mask([mask, attached])


def check_built(layer: keras.layers.Layer) -> None:
    """Raises a ValueError unless a layer has been built, and knows its shapes."""
    if not layer.built:
        raise ValueError(
            f"{type(layer).__name__} is not built: call it, or its model, on data "
            f"first."
        )


def check_inputs(layer: keras.layers.Layer, inputs: Tensors, shapes: Any) -> None:
    """Raises a ValueError unless inputs have the shapes that a layer was built for.

    Args:
        layer: The layer.
        inputs: A tensor (batch, ...) or several.
        shapes: A tuple (...) for each, without the batch.
    """
    found = [tuple(x.shape) for x in tree.flatten(inputs)]
    # Not None, nor the symbol that it is in traces of JAX and of PyTorch's export.
    batches = {s[0] for s in found if s and isinstance(s[0], int)}
    fit = len(found) == len(shapes) and all(
        len(f) == len(s) + 1
        and all(None in (a, b) or a == b for a, b in zip(f[1:], s, strict=True))
        for f, s in zip(found, shapes, strict=True)
    )
    if not fit or len(batches) > 1:
        expected = ", ".join(str(("batch", *s)) for s in shapes).replace("'", "")
        raise ValueError(
            f"The inputs of this {type(layer).__name__} must have the shapes "
            f"{expected} that it was built for, of one batch. "
            f"Received: {', '.join(map(str, found))}"
        )


def check_number_of_inputs(
    name: str, names: str, input_shape: list[Shape], number: int
) -> None:
    """Raises a ValueError unless there are two, or three, inputs."""
    several = isinstance(input_shape, (list, tuple)) and len(input_shape) == number
    if not several or not all(isinstance(s, (list, tuple)) for s in input_shape):
        raise ValueError(
            f"The inputs of {name} must be a list of {NUMBERS[number]} "
            f"tensors, {names}. Received: input_shape={input_shape}"
        )


def pair_shape(
    layer: keras.layers.Layer, names: str, input_shape: list[Shape]
) -> tuple[int | None, ...]:
    """The common shape of a pair of inputs; raises a ValueError otherwise."""
    name = type(layer).__name__
    check_number_of_inputs(name, names, input_shape, 2)
    first, second = (tuple(shape) for shape in input_shape)
    batches = {first[:1], second[:1]} - {(None,)}
    if first[1:] != second[1:] or len(batches) > 1:
        raise ValueError(
            f"{names} must have the same shape in {name}. "
            f"Received: {first} and {second}"
        )
    return first
