"""Callbacks of a training that may be killed at any time and goes on where it was."""

import math
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from echo_keras._files import replacing, write_json
from echo_keras.layers import arguments

from .run_folder import BEST, CHECKPOINT, HISTORY, PREVIOUS


class StopOnNaN(keras.callbacks.Callback):
    """Stops with a sentence that names the epoch and the terms that went bad.

    `keras.callbacks.TerminateOnNaN` ends `fit` as if it were done, and names no term.

    Raises:
        FloatingPointError: a logged value is NaN or infinite. The last checkpoint
            stays as it was.
    """

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        if not math.isfinite(float(logs.get("loss", 0.0))):
            raise bad_terms(self.epoch, batch, logs)


def bad_terms(epoch: int, batch: int, logs: Mapping[str, Any]) -> FloatingPointError:
    """The error of a batch whose loss is not finite, which names the terms."""
    terms = [name for name in logs if name not in ("loss", "neg_elbo")]
    bad = {name: float(logs[name]) for name in terms}
    bad = {name: x for name, x in bad.items() if not math.isfinite(x)}
    bad = bad or {"loss": float(logs["loss"])}
    return FloatingPointError(
        f"Training stopped in epoch {epoch + 1}, batch {batch + 1}: "
        + " and ".join(f"{name} is {value}" for name, value in bad.items())
        + ". A smaller learning rate, or data checked for NaN, may help."
    )


class Checkpoint(keras.callbacks.Callback):
    """Saves model and history after an epoch, each by an atomic replacement.

    The model after the first, the last and those that end `seconds` or more after it
    was saved before: after all, if that is 0. `keras.callbacks.BackupAndRestore` counts
    epochs or batches, not seconds, keeps no history, and restores weights alone,
    into a model that must be built and compiled by the same code. The model that was
    saved before stays as `previous.keras`.

    Args:
        directory: Folder for `checkpoint.keras` and `history.json`.
        history: List to which a dict of logs is appended for each epoch.
        seconds: Float >= 0.
        best: Name of a log, such as "val_neg_elbo": the model of the epoch that has the
            lowest of all is kept, and saved as `best.keras` before the model itself is.
        measure: Function of the model whose result, something that JSON can hold, is
            added to the logs of an epoch as `measured`; its time is not the epoch's.
        measure_every: Int >= 1, after how many epochs.

    Raises:
        ValueError: an epoch has no log of the name `best`.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        history: list[dict],
        seconds: float = 0.0,
        best: str | None = None,
        measure: Callable[[keras.Model], Any] | None = None,
        measure_every: int = 1,
    ) -> None:
        super().__init__()
        self.measure = arguments.function("measure", measure, optional=True)
        self.measure_every = arguments.integer("measure_every", measure_every)
        self.best = arguments.text("best", best, optional=True)
        self.seconds = arguments.number("seconds", seconds, low=0)
        self.saved, self.lowest = -math.inf, None
        self.path = arguments.path("directory", directory) / CHECKPOINT
        self.history_path = self.path.with_name(HISTORY)
        self.history = history

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = {name: float(value) for name, value in logs.items()}
        logs["seconds"] = round(time.monotonic() - self.began, 2)
        if self.measure is not None and (epoch + 1) % self.measure_every == 0:
            logs["measured"] = self.measure(self.model)
        self.history.append(logs)
        if self.best is not None and best_epoch(self.history, self.best) == epoch + 1:
            self.lowest = self._values()
        write_json(self.history_path, self.history)
        last = epoch + 1 == (self.params or {}).get("epochs")
        if not last and time.monotonic() < self.saved + self.seconds:
            return
        self.saved = time.monotonic()
        # Before the checkpoint: epochs that are repeated are compared again.
        if self.lowest is not None:
            now, self.lowest = self._values(self.lowest), None
            with replacing(self.path.with_name(BEST), ".part.keras") as part:
                self.model.save(part)
            self._values(now)
        with replacing(self.path, ".part.keras") as part:
            self.model.save(part)
            if self.path.exists():
                _keep(self.path, self.path.with_name(PREVIOUS))

    def _values(self, new: list[np.ndarray] | None = None) -> list[np.ndarray]:
        """Copies of the values of all variables, which are then set to new ones."""
        variables = [*self.model.variables, *self.model.optimizer.variables]
        values = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]
        for variable, value in zip(variables, new or [], strict=bool(new)):
            variable.assign(value)
        return values


def best_epoch(history: Sequence[Mapping[str, float]], log: str) -> int:
    """The first epoch, counted from 1, that has the lowest value of a log.

    Args:
        history: Dicts of logs, one for each epoch, as `train` returns them.
        log: Name of the log.

    Raises:
        ValueError: there is no epoch, or one without a log of this name.

    Example:

    >>> best_epoch([{"loss": 3.0}, {"loss": 1.0}, {"loss": 2.0}], "loss")
    2
    """
    listed = isinstance(history, (list, tuple)) and len(history)
    if not listed or not all(isinstance(logs, Mapping) for logs in history):
        raise ValueError(
            f"history must be a list of dicts of logs. Received: {history!r:.50}"
        )
    if missing := [n for n, logs in enumerate(history, 1) if log not in logs]:
        known = ", ".join(map(str, history[missing[0] - 1]))
        raise ValueError(
            f"best must be the name of a log of every epoch, one of {known}. "
            f"Received: best={log!r}"
        )
    values = [math.inf if math.isnan(logs[log]) else logs[log] for logs in history]
    return 1 + values.index(min(values))


def _keep(path: pathlib.Path, other: pathlib.Path) -> None:
    """Gives a file a second name, under which it stays when it is replaced."""
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:  # a file system without them
        os.replace(path, other)


def csv_log(path: pathlib.Path, done: int) -> keras.callbacks.CSVLogger:
    """A CSVLogger that goes on after `done` epochs, rows of a broken one removed."""
    if done and path.exists():
        lines = path.read_bytes().splitlines(keepends=True)[: done + 1]
        with replacing(path) as part:
            part.write_bytes(b"".join(lines))
    return keras.callbacks.CSVLogger(path, append=done > 0)
