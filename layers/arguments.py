"""Arguments of layers: checked, or restored from a configuration."""

from collections.abc import Sequence
from typing import Any

import keras

from .typing import Shape


def check_integer(name: str, value: int) -> int:
    """`value` as an int, or a ValueError that names it unless it is one >= 1."""
    if value < 1 or value != int(value):
        raise ValueError(f"{name} must be an integer >= 1. Received: {name}={value}")
    return int(value)


def check_hidden(name: str, units: Sequence[int]) -> tuple[int, ...]:
    """`units` as a tuple of ints >= 1, or a ValueError that names the argument."""
    values = tuple(units) if isinstance(units, (list, tuple)) else ()
    if not values or any(u < 1 or u != int(u) for u in values):
        raise ValueError(
            f"{name} must be a list of integers >= 1, the units of each hidden layer. "
            f"Received: {name}={units!r}"
        )
    return tuple(int(u) for u in values)


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """`value`, or a ValueError that names it unless it is one of the choices."""
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {listed}. Received: {name}={value!r}")
    return value


def shape_list(input_shape: Shape | Sequence[Shape]) -> list[tuple]:
    """The shapes of a layer's inputs, of which there may be one or several."""
    several = input_shape and isinstance(input_shape[0], (list, tuple))
    return [tuple(s) for s in input_shape] if several else [tuple(input_shape)]


def restored(layer: Any) -> Any:
    """A layer as it is, or made of the dict that `get_config` wrote for it."""
    if isinstance(layer, dict):
        return keras.saving.deserialize_keras_object(layer)
    return layer
