"""Checks of arguments, the same for every class and function of the library.

Each returns the argument as what it is used as, or raises a ValueError that says what
it must be, then what came. NumPy's scalars are numbers; a bool is none, and neither is
a string. The names come first, as errors put them.
"""

import math
import numbers
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from .typing import Shape

SEED_MAX = 2**32 - 1  # of `np.random.RandomState`
COUNT_MAX = 2**31 - 1  # beyond it Keras and NumPy overflow
STEPS_MAX = 1000  # of flows, each of which is several networks
NUMBER_MAX = float(np.finfo("float32").max)  # beyond it float32 is infinite


def integer(
    name: str,
    value: Any,
    low: int = 1,
    high: int = COUNT_MAX,
    optional: bool = False,
) -> Any:
    """An int in [low, high], or None where that is an option.

    >>> integer("units", "3")
    Traceback (most recent call last):
    ...
    ValueError: units must be an integer >= 1. Received: units='3'
    """
    if optional and value is None:
        return None
    valid = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not valid or not low <= value <= high:
        above = valid and value > high
        wanted = (
            f">= {low}" if high == COUNT_MAX and not above else f"in [{low}, {high}]"
        )
        raise _wrong(name, f"an integer {wanted}", value, optional)
    return int(value)


def seed(value: Any, name: str = "seed", optional: bool = True) -> Any:
    """An int in [0, 2^32 - 1], or None where nothing has to be repeatable."""
    return integer(name, value, 0, SEED_MAX, optional)


def sample_size(n: Any) -> Any:
    """The n of `sample(n)`: an int >= 1, or a tensor, the size of some batch."""
    return n if ops.is_tensor(n) else integer("n", n)


def integers(
    name: str, values: Any, low: int = 1, length: int | None = None
) -> tuple[int, ...]:
    """A tuple of at least one int >= low, or of so many.

    >>> integers("hidden", [64, 0])
    Traceback (most recent call last):
    ...
    ValueError: hidden must be a list of integers >= 1. Received: hidden=[64, 0]
    """
    try:
        found = tuple(integer(name, v, low) for v in _elements(values))
    except ValueError:
        found = ()
    if not found or len(found) != (length or len(found)):
        some = "a list of" if length is None else length
        raise _wrong(name, f"{some} integers >= {low}", values)
    return found


def number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    optional: bool = False,
    otherwise: str = "",
) -> Any:
    """A finite float within bounds, or None where that is an option.

    Args:
        name, value: The argument.
        low, high, above, below: The bounds, of which the last two are not reached.
        optional: Whether it may be None.
        otherwise: What else it may be, for the error: ", or 'learned'".

    >>> number("decay", 1, low=0, below=1)
    Traceback (most recent call last):
    ...
    ValueError: decay must be a number in [0, 1). Received: decay=1
    """
    if optional and value is None:
        return None
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value.item()
    valid = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if valid and abs(value) <= NUMBER_MAX and low <= value <= high:
        if above < value < below:
            return float(value)
    left, right = max(low, above), min(high, below)
    if right < math.inf:
        opening, closing = "(" if left == above else "[", ")" if right == below else "]"
        wanted = f"a number in {opening}{left:g}, {right:g}{closing}"
    elif left > -math.inf:
        wanted = f"a finite number {'>' if left == above else '>='} {left:g}"
    else:
        wanted = "a finite number"
    raise _wrong(name, wanted + otherwise, value, optional)


def numbers_list(name: str, values: Any, **bounds: float) -> list[float]:
    """A list of at least one number, each within the bounds of `number`."""
    found = [number(name, v, **bounds) for v in _elements(values)]
    if not found:
        raise _wrong(name, "a list of at least one number", values)
    return found


def flag(name: str, value: Any) -> bool:
    """True or False: a text such as "False" is neither.

    >>> flag("mean_only", "False")
    Traceback (most recent call last):
    ...
    ValueError: mean_only must be True or False. Received: mean_only='False'
    """
    if not isinstance(value, (bool, np.bool_)):
        raise _wrong(name, "True or False", value)
    return bool(value)


def choice(
    name: str, value: Any, choices: Sequence[str], optional: bool = False
) -> Any:
    """One of some texts, or None where that is an option."""
    if optional and value is None:
        return None
    if not isinstance(value, str) or value not in choices:
        raise _wrong(name, f"one of {', '.join(choices)}", value, optional)
    return value


def layer(
    name: str,
    value: Any,
    needs: Sequence[str] = (),
    kind: type = keras.layers.Layer,
    optional: bool = False,
) -> Any:
    """A layer, also as `get_config` wrote it, or None where that is an option.

    Args:
        name, value: The argument.
        needs: Methods that it must have.
        kind: The class that it must be of.
        optional: Whether it may be None.
    """
    if optional and value is None:
        return None
    value = restored(value)
    if not isinstance(value, kind) or not all(hasattr(value, n) for n in needs):
        described = kind.__name__ if kind is not keras.layers.Layer else "Keras layer"
        methods = f" with {' and '.join(needs)}" if needs else ""
        raise _wrong(name, f"a {described}{methods}", value, optional)
    return value


def layers(name: str, values: Any) -> list[keras.layers.Layer]:
    """A list of layers, which may be empty."""
    found = values if isinstance(values, (list, tuple)) else [None]
    if not all(isinstance(v, keras.layers.Layer) for v in found):
        raise _wrong(name, "a list of Keras layers", values)
    return list(found)


def path(
    name: str, value: Any, optional: bool = False, folder: bool | None = None
) -> Any:
    """A path, or None where that is an option.

    Args:
        name, value: The argument, a string or path.
        optional: Whether it may be None.
        folder: If True it is no path of a file, if False no path of a folder.
    """
    if optional and value is None:
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise _wrong(name, "a path", value, optional)
    found = pathlib.Path(value)
    kinds = ("a folder", "a file") if folder else ("a file", "a folder")
    if folder is not None and (found.is_file() if folder else found.is_dir()):
        raise ValueError(
            f"{name} must be the path of {kinds[0]}. Received: {name}={str(value)!r}, "
            f"which is {kinds[1]}"
        )
    return found


def mapping(name: str, value: Any, what: str) -> dict:
    """A dict of at least one thing."""
    if not isinstance(value, Mapping) or not value:
        raise _wrong(name, f"a dict of {what}, at least one", value)
    return dict(value)


def text(name: str, value: Any, optional: bool = False) -> Any:
    """A text, or None where that is an option."""
    if not isinstance(value, str) and not (optional and value is None):
        raise _wrong(name, "a text", value, optional)
    return value


def texts(name: str, values: Any) -> list[str]:
    """A list of at least one text."""
    found = values if isinstance(values, (list, tuple, set)) else ()
    if not found or not all(isinstance(v, str) for v in found):
        raise _wrong(name, "a list of texts", values)
    return list(found)


def function(name: str, value: Any, optional: bool = False) -> Any:
    """Something to call, or None where that is an option."""
    if not callable(value) and not (optional and value is None):
        raise _wrong(name, "a function", value, optional)
    return value


def array(
    name: str,
    value: Any,
    shape: str = "(n, ...)",
    axes: Sequence[int] = (),
    finite: bool = True,
) -> np.ndarray:
    """A NumPy array of real numbers with at least one element, bools among them.

    Args:
        name, value: The argument: an array, a tensor or a list.
        shape: What its shape must be, for the error.
        axes: The numbers of axes that it may have; all from 1 on if there are none.
        finite: Whether NaN and infinity are refused.
    """
    try:
        found = ops.convert_to_numpy(value) if ops.is_tensor(value) else value
        found = np.asarray(found)
    except (TypeError, ValueError):  # a list of rows of several lengths
        raise _wrong(name, f"an array of shape {shape}", value) from None
    # NumPy does not count bfloat16, of a model in half precision, as a float.
    if found.dtype.kind not in "fiub" and found.dtype.name != "bfloat16":
        raise _wrong(name, f"real numbers of shape {shape}", value)
    if not found.size or found.ndim not in (axes or range(1, 33)):
        raise ValueError(
            f"{name} must be an array of shape {shape}, of at least one number. "
            f"Received: shape {found.shape}"
        )
    if finite and not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite. Received: NaN or infinity")
    return found


def _elements(values):
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return list(values)
    return values if isinstance(values, (list, tuple)) else ()


def _wrong(name, wanted, value, optional=False):
    text = " ".join(repr(value).split())
    text = text if len(text) <= 100 else f"{text[:97]}..."
    wanted += ", or None" if optional else ""
    return ValueError(f"{name} must be {wanted}. Received: {name}={text}")


def shape_list(input_shape: Shape | Sequence[Shape]) -> list[tuple]:
    """The shapes of a layer's inputs, of which there may be one or several."""
    several = input_shape and isinstance(input_shape[0], (list, tuple))
    return [tuple(s) for s in input_shape] if several else [tuple(input_shape)]


def restored(layer: Any) -> Any:
    """A layer as it is, or made of the dict that `get_config` wrote for it."""
    if isinstance(layer, dict) and "class_name" in layer:
        return keras.saving.deserialize_keras_object(layer)
    return layer
