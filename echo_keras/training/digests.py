"""Digests of what a training is made of: model, loss, optimizer and data."""

import hashlib
import json
from typing import Any

import keras
import numpy as np

from echo_keras._epochs import Epochs
from echo_keras._files import sha256

from .batches import Batches

# Numbered by Keras, drawn where none is given, or of the process and not the object.
LEFT_OUT = ("name", "seed", "module", "build_config", "compile_config")
LEFT_OUT += ("shared_object_id",)
REFERENCES = ("keras_history", "input_layers", "output_layers")


def digests(
    model: keras.Model,
    loss: Any,
    optimizer: keras.optimizers.Optimizer,
    *data: np.ndarray | keras.utils.PyDataset | None,
) -> dict[str, str | None]:
    """What tells one training from another; None where nothing can be told.

    The data are x and the validation images.
    """
    return {
        "model": of_model(model),
        "loss": of_config(loss),
        "optimizer": of_config(optimizer),
        **dict(zip(("data", "validation"), map(of_data, data), strict=False)),
    }


def of_model(model: keras.Model) -> str:
    """Digest of a model's configuration and of the shapes of its weights."""
    shapes = [list(weight.shape) for weight in model.weights]
    return _digest([of_config(model), shapes])


def of_config(thing: Any) -> str:
    """Digest of a configuration: the same for what is built alike, however named."""
    try:
        config = keras.saving.serialize_keras_object(thing)
    except Exception:  # a class of somebody's own without a configuration
        config = type(thing).__qualname__
    names: dict[str, int] = {}
    _number(config, names)
    return _digest(_plain(config, names))


def of_data(x: np.ndarray | keras.utils.PyDataset | None) -> str | None:
    """Digest of arrays, or of the first and last batch of data sets drawn by seed."""
    drawn = None
    if x is None:
        return None
    if isinstance(x, Batches):
        arrays, drawn = [x.x, x.y], [x.batch_size, x.seed, x.binarize]
    elif isinstance(x, Epochs):
        order = x.order(0)
        arrays = [a for i in (0, len(x) - 1) for a in x.batch(i, 0, order)]
    elif isinstance(x, keras.utils.PyDataset):
        return None  # to read one may move it on
    else:
        arrays = [x]
    arrays = [None if a is None else np.asarray(a) for a in arrays]
    shapes = [None if a is None else [list(a.shape), a.dtype.name] for a in arrays]
    # As bytes, which bfloat16 is only then.
    numbers = [None if a is None else _bytes(a) for a in arrays]
    return _digest([shapes, sha256(*numbers), drawn])


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view("uint8")


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=lambda x: type(x).__qualname__)
    return hashlib.sha256(text.encode()).hexdigest()


def _number(config: Any, names: dict[str, int]) -> None:
    """Numbers the layers' names in the order in which they come."""
    if isinstance(config, dict):
        if isinstance(config.get("name"), str):
            names.setdefault(config["name"], len(names))
        for value in config.values():
            _number(value, names)
    elif isinstance(config, list | tuple):
        for value in config:
            _number(value, names)


def _plain(config: Any, names: dict[str, int] | None) -> Any:
    """A configuration without what differs between two that are built alike."""
    if isinstance(config, dict):
        if config.get("class_name") == "__lambda__":
            return "a lambda"  # its bytes hold the lines that it stands in
        return {
            key: _plain(value, names) if key not in REFERENCES else _refer(value, names)
            for key, value in config.items()
            if key not in LEFT_OUT
        }
    if isinstance(config, list | tuple):
        return [_plain(value, names) for value in config]
    if isinstance(config, float):
        return float(f"{config:.6g}")  # one that was computed may differ in rounding
    return config


def _refer(value: Any, names: dict[str, int]) -> Any:
    if isinstance(value, dict):
        return {key: _refer(inner, names) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_refer(inner, names) for inner in value]
    return names.get(value, value)
