"""Callbacks of a training that may be killed at any time and goes on where it was."""

import math
import os
import pathlib
import time

import keras

from echo_keras._files import replacing, write_json
from echo_keras.layers import arguments

from .run_folder import CHECKPOINT, HISTORY, PREVIOUS


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
        if math.isfinite(float(logs.get("loss", 0.0))):
            return
        terms = [name for name in logs if name not in ("loss", "neg_elbo")]
        bad = {name: float(logs[name]) for name in terms}
        bad = {name: x for name, x in bad.items() if not math.isfinite(x)}
        bad = bad or {"loss": float(logs["loss"])}
        raise FloatingPointError(
            f"Training stopped in epoch {self.epoch + 1}, batch {batch + 1}: "
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
    """

    def __init__(
        self, directory: str | os.PathLike, history: list[dict], seconds: float = 0.0
    ) -> None:
        super().__init__()
        self.seconds = arguments.number("seconds", seconds, low=0)
        self.saved = -math.inf
        self.path = arguments.path("directory", directory) / CHECKPOINT
        self.history_path = self.path.with_name(HISTORY)
        self.history = history

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = {name: float(value) for name, value in logs.items()}
        logs["seconds"] = round(time.monotonic() - self.began, 2)
        self.history.append(logs)
        write_json(self.history_path, self.history)
        last = epoch + 1 == (self.params or {}).get("epochs")
        if not last and time.monotonic() < self.saved + self.seconds:
            return
        self.saved = time.monotonic()
        with replacing(self.path, ".part.keras") as part:
            self.model.save(part)
            if self.path.exists():
                _keep(self.path, self.path.with_name(PREVIOUS))


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
