"""What a run's folder holds, read with the question whether it is whole.

| file | what |
| --- | --- |
| `checkpoint.keras` | the model after the last epoch that was saved |
| `previous.keras` | the one before, until the run is finished |
| `best.keras` | the model of the epoch that `best` asked for |
| `history.json` | logs of every epoch |
| `arguments.json` | what `train` was called with, and `parts`: what it ran on |
| `log.csv` | the logs once more, for people |
| `lock.json` | host and process that train there now |
"""

import contextlib
import json
import os
import pathlib
import zipfile
from typing import Any

import keras

from echo_keras.layers import arguments
from echo_keras.layers.backend import cpu_threads, device_name

CHECKPOINT, PREVIOUS = "checkpoint.keras", "previous.keras"
BEST = "best.keras"
ARGUMENTS, HISTORY = "arguments.json", "history.json"
MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}  # of a .keras file
ARGUMENT_NAMES = (
    "epochs",
    "batch_size",
    "learning_rate",
    "schedule",
    "seed",
    "binarize",
    "images",
)
PART = "from_epoch", "backend"
START_AGAIN = "Put the file back, or delete the folder to start again."


class RunFolderError(ValueError):
    """A run's folder cannot be used; the sentence says why and what to do."""


class UnwritableFolderError(OSError):
    """A run's folder cannot be written to; the sentence says how to go on."""


def wrong(path: pathlib.Path, expected: str, found: object) -> RunFolderError:
    """The error for a file that holds something else."""
    return RunFolderError(
        f"{path} must hold {expected}. Received: {found}. {START_AGAIN}"
    )


def damage_of(path: pathlib.Path) -> str | None:
    """What is wrong with a checkpoint; None if it is whole.

    Its checksums are compared; no model is made of it.
    """
    if not path.exists():
        return "no such file"
    try:
        with zipfile.ZipFile(path) as archive:
            if missing := MEMBERS - set(archive.namelist()):
                return f"no {min(missing)} in it"
            if bad := archive.testzip():
                return f"damage in {bad}"
            json.loads(archive.read("config.json"))
    except Exception as error:  # zip, zlib and JSON each have errors of their own
        return f"damage ({error})"
    return None


def read_json(path: pathlib.Path, kind: type, expected: str) -> Any:
    """What a JSON file holds.

    Raises:
        RunFolderError: it is missing, damaged or holds no `kind`.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise wrong(path, expected, "no such file") from None
    except ValueError as error:
        raise wrong(path, expected, f"damage ({error})") from error
    if not isinstance(content, kind):
        raise wrong(path, expected, f"a {type(content).__name__}")
    return content


def read_history(directory: pathlib.Path, epochs: int = 0) -> list[dict]:
    """The logs of at least so many epochs; raises RunFolderError for fewer."""
    path = directory / HISTORY
    expected = f"a list of the logs of {epochs} epochs or more"
    history = read_json(path, list, expected)
    if len(history) < epochs or not all(isinstance(logs, dict) for logs in history):
        raise wrong(path, expected, f"{len(history)} entries")
    return history


def read_arguments(directory: pathlib.Path, needed: list[str] | None = None) -> dict:
    """What `train` was called with; raises RunFolderError where a key is missing."""
    path = directory / ARGUMENTS
    expected = "the arguments of the training"
    arguments = read_json(path, dict, expected)
    missing = [name for name in needed or ARGUMENT_NAMES if name not in arguments]
    if missing:
        found = f"none for {', '.join(missing)}, as an older version leaves it"
        raise wrong(path, expected, found)
    parts = arguments.get("parts", [])
    if not isinstance(arguments.get("digests", {}), dict) or not (
        isinstance(parts, list)
        and all(isinstance(p, dict) and {*PART} <= p.keys() for p in parts)
    ):
        raise wrong(path, expected, "digests or parts of another form")
    return arguments


def has_checkpoint(directory: pathlib.Path) -> bool:
    """Whether a training was begun there, and saved."""
    return any((directory / name).exists() for name in (CHECKPOINT, PREVIOUS))


def looks_finished(directory: pathlib.Path, epochs: int) -> bool:
    """Whether the logs of all epochs and a whole checkpoint are there.

    A kill may have come between the logs of the last epoch and its checkpoint.
    """
    with contextlib.suppress(RunFolderError):
        whole = damage_of(directory / CHECKPOINT) is None
        return whole and len(read_history(directory)) >= epochs
    return False


def load(directory: pathlib.Path, name: str = CHECKPOINT) -> keras.Model:
    """The model of the checkpoint, or of another file.

    Raises:
        RunFolderError: it is damaged, or Keras cannot load it here.
    """
    path = directory / name
    if damage := damage_of(path):
        raise wrong(path, "a whole checkpoint", damage)
    try:
        return keras.saving.load_model(path)
    except Exception as error:  # Keras raises whatever the configuration provokes
        (line, *_) = str(error).splitlines() or [repr(error)]
        raise RunFolderError(
            f"{path} must hold a model that can be loaded here. Received: "
            f"{type(error).__name__}: {line} Import what defines its classes, or "
            "delete the folder to start again."
        ) from error


def left_over(directory: pathlib.Path) -> list[pathlib.Path]:
    """Files that a process was writing when it was killed."""
    patterns = "*.part", "*.part.keras", "part.keras"
    return [path for pattern in patterns for path in directory.glob(pattern)]


def repair(directory: pathlib.Path) -> None:
    """Removes what killed processes left; the checkpoint before replaces a bad one."""
    for path in left_over(directory):
        path.unlink()
    path, previous = directory / CHECKPOINT, directory / PREVIOUS
    if previous.exists() and (damage := damage_of(path)) and not damage_of(previous):
        print(f"{path}: {damage}. Going on from {PREVIOUS}, the one saved before it.")
        os.replace(previous, path)


def parts(directory: str | os.PathLike) -> list[dict[str, Any]]:
    """What each part of a training ran on.

    Args:
        directory: The folder that `train` was given.

    Returns:
        A dict for each part, in order: `from_epoch`, the epochs that were done before;
        `backend`; `device`; `threads`, with which the backend computes on a CPU.
        None for trainings of older versions.

    Raises:
        RunFolderError: the folder holds no arguments of a training.
    """
    directory = arguments.path("directory", directory, folder=True)
    return read_arguments(directory, ["epochs"]).get("parts", [])


def this_part(done: int) -> dict[str, Any]:
    """What the part that begins now runs on."""
    return {
        "from_epoch": done,
        "backend": keras.backend.backend(),
        "device": device_name() or "CPU",
        "threads": cpu_threads(),
    }
