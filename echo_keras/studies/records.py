"""Run records: one small JSON file for each training, from which tables are made.

A record of schema 2 has these keys:

| key | |
| --- | --- |
| `schema` | 2 |
| `study` | the study's name |
| `config` | everything that was chosen: data set, method, seed, protocol |
| `data` | source, description, checksum, numbers of examples, `validation`: on what `val_` logs were computed |
| `versions`, `device` | what it ran on |
| `parts` | what each part of a resumed training ran on: `from_epoch`, `backend`, `device`, `threads`; results of other backends or numbers of threads differ by more than rounding |
| `parameters`, `dense_parameters` | trainable weights: those that autoregressive masks leave, and all |
| `seconds` | of training |
| `test` | from each way of evaluating ("bank", "batch") to distortion and, of models with a channel, rate and neg_elbo in nats per example, with their standard errors; the same in `training_mode` and of the `training_set`; `rate_by_dimension`: see `evaluated` |
| `measures` | from the name of each other measure to what it gave |
| `best` | where a study asks for it: `log`, the `epoch` that has the lowest value of it, and `test`, as above, of the model then |
| `history` | Keras's logs of each epoch, with its seconds |

Records that were made before `training_mode`, `training_set`, `rate_by_dimension` and
`validation` were kept lack these keys; their validation images were test images. Those
before `parts` lack this key. Those without a `precision` in their configuration, read
as float32, are of before there was a choice.
"""  # noqa: E501

import importlib.metadata
import json
import math
import pathlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from echo_keras.layers import MaskedDense
from echo_keras.layers.backend import device_name
from echo_keras.model import find_layers

SCHEMA = 2
Record = dict[str, Any]


def make(
    study: str,
    config: Mapping[str, Any],
    data: Mapping[str, Any],
    model: keras.Model,
    history: Sequence[Mapping[str, float]] = (),
    test: Mapping[str, Mapping[str, float]] | None = None,
    measures: Mapping[str, Any] | None = None,
    parts: Sequence[Mapping[str, Any]] = (),
    best: Mapping[str, Any] | None = None,
) -> Record:
    """The record of a run; see the module for what it holds.

    Args:
        study: Name of the study.
        config: Everything that decides the run's numbers, given the data.
        data: With `checksum` and `description`.
        model: The trained model, whose weights are counted.
        history: Logs of each epoch; `seconds` are added up.
        test: From each way of evaluating to its metrics.
        measures: What else was measured.
        parts: As `training.parts` gives them.
        best: Of the epoch that was lowest in a log.

    Returns:
        A dict that JSON can hold.

    Raises:
        ValueError: a measure is none that JSON can hold.

    Example:

    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> record = make("mine", {"seed": 0}, {"checksum": "0"}, model)
    >>> record["schema"], record["parameters"]
    (2, 8)
    """
    dense = sum(math.prod(w.shape) for w in model.trainable_weights)
    masked = find_layers(model, MaskedDense)
    masked = sum(layer.count_params() - layer.effective_params for layer in masked)
    return {
        "schema": SCHEMA,
        "study": study,
        "config": dict(config),
        "data": dict(data),
        **environment(),
        "parts": [dict(part) for part in parts],
        "parameters": dense - masked,
        "dense_parameters": dense,
        "seconds": round(sum(logs.get("seconds", 0.0) for logs in history), 1),
        "test": dict(test or {}),
        "measures": {k: _held(k, v) for k, v in (measures or {}).items()},
        **({"best": dict(best)} if best else {}),
        "history": list(history),
    }


def _held(name: str, value: Any) -> Any:
    """What a measure returned, as a record holds it."""

    def number(found):
        if isinstance(found, np.generic):
            return found.item()
        raise TypeError(type(found).__name__)

    try:
        return json.loads(json.dumps(value, default=number))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"measures[{name!r}] must return numbers, texts, None, or lists and dicts "
            f"of them. Received: {error}"
        ) from error


def environment() -> dict[str, Any]:
    """Versions and device of this process.

    Example:

    >>> sorted(environment())
    ['device', 'versions']
    """
    backend = keras.backend.backend()
    versions = {"python": platform.python_version(), "backend": backend}
    for package in ("keras", backend, "numpy", "echo-keras"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": versions,
        "device": device_name() or f"CPU ({platform.machine()})",
    }


def read(folder: str | pathlib.Path) -> list[Record]:
    """All records in a folder, sorted by file name.

    Raises:
        ValueError: a file is not a record of this schema.
    """
    return [load(path) for path in sorted(pathlib.Path(folder).glob("*.json"))]


def load(path: pathlib.Path) -> Record:
    """The record in a file; see `read`."""
    try:
        record = json.loads(path.read_text())
        found = record["schema"]
        if found == SCHEMA:
            _check(record)
            record["config"].setdefault("precision", "float32")
    except (ValueError, KeyError, TypeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else f"damage ({error})"
        raise ValueError(
            f"{path.name} must hold a run record. Received: {what}. Move it elsewhere, "
            "or delete it to run again."
        ) from error
    if found != SCHEMA:
        raise ValueError(
            f"{path.name} must hold a run record of schema {SCHEMA}. Received: "
            f"schema={found}. Delete it to run again."
        )
    return record


def _check(record: Record) -> None:
    """Raises for a record that no table can be made of."""
    for key in ("config", "data", "test", "measures"):
        if not isinstance(record[key], dict):
            raise ValueError(f"{key} is a {type(record[key]).__name__}")
    record["study"], record["data"]["checksum"], record["data"]["description"]
    text = _text_in(record["test"])
    if text is not None:
        raise ValueError(f"{text!r} in the place of a number")


def _text_in(numbers: Any) -> str | None:
    """A text among numbers, which nothing can be made of."""
    if isinstance(numbers, dict | list):
        inner = numbers.values() if isinstance(numbers, dict) else numbers
        return next((text for x in inner if (text := _text_in(x)) is not None), None)
    return numbers if isinstance(numbers, str) else None


def get(record: Mapping[str, Any], path: str | Sequence[str]) -> Any:
    """What stands in a record under dotted keys; None where a key is missing.

    Keys that hold a dot themselves are given as a sequence. A part of the path that is
    an integer counts in a list, from the end if negative.

    Example:

    >>> get({"test": {"bank": {"rate": 2.5}}, "history": [1, 9]}, "test.bank.rate")
    2.5
    >>> get({"history": [{"tc": 1.0}, {"tc": 3.0}]}, "history.-1.tc")
    3.0
    """
    value = record
    for key in path.split(".") if isinstance(path, str) else path:
        try:
            value = value[int(key) if isinstance(value, list) else key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def group(records: Iterable[Record], keys: Sequence[str]) -> list[list[Record]]:
    """Records that agree in some keys of their configurations, group by group.

    Groups and records come in the order of first appearance; a key that a
    configuration lacks counts as None.

    Example:

    >>> runs = [{"config": {"epochs": n}} for n in (2, 9, 2)]
    >>> [len(same) for same in group(runs, ["epochs"])]
    [2, 1]
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        shared = json.dumps([record["config"].get(key) for key in keys])
        groups.setdefault(shared, []).append(record)
    return list(groups.values())


def provenance(runs: Sequence[Record]) -> str:
    """On which data and devices runs were made, for the line under a table."""
    described = sorted({run["data"]["description"] for run in runs})
    devices = sorted({f"{r['device']}, {r['versions']['backend']}" for r in runs})
    return f"Data: {'; '.join(described)}. Device: {' and '.join(devices)}."
