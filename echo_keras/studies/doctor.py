"""What in a run's folder, or in that of a study, is whole, and what to do if not."""

import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from echo_keras.training import lock, run_folder

from . import records


class Finding(NamedTuple):
    """What was found of one file.

    Attributes:
        path: The file.
        wrong: Whether something has to be done.
        text: What it is, and what to do.
    """

    path: pathlib.Path
    wrong: bool
    text: str


def examine(folder: str | os.PathLike) -> list[Finding]:
    """What in a folder is whole and what is not. Nothing is changed.

    Args:
        folder: A folder that `training.train` was given, or one that a study's records
            and checkpoints are in.

    Returns:
        A `Finding` for each file.

    Raises:
        ValueError: the folder holds neither.

    Example:

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (pathlib.Path(folder) / "history.json").write_text("[{")
    ...     [(found.path.name, found.wrong) for found in examine(folder)]
    [('arguments.json', True), ('history.json', True), ('checkpoint.keras', False)]
    """
    folder = pathlib.Path(folder)
    names = run_folder.ARGUMENTS, run_folder.HISTORY, run_folder.CHECKPOINT
    if any((folder / name).exists() for name in names):
        return list(_of_run(folder))
    runs = sorted(path for path in folder.glob("checkpoints/*") if path.is_dir())
    found = [*_of_records(folder), *(f for run in runs for f in _of_run(run))]
    if not found:
        raise ValueError(
            f"folder must hold a training ({', '.join(names)}), or the records of a "
            f"study. Received: {folder}"
        )
    return found


def _of_records(folder: pathlib.Path) -> Iterator[Finding]:
    for path in sorted(folder.glob("*.json")):
        try:
            records.load(path)
            yield Finding(path, False, "a run record")
        except ValueError as error:
            yield Finding(path, True, str(error))


def _of_run(folder: pathlib.Path) -> Iterator[Finding]:
    epochs = done = 0
    path = folder / run_folder.ARGUMENTS
    try:
        arguments = run_folder.read_arguments(folder)
        epochs = arguments["epochs"]
        ran = [part["backend"] for part in arguments.get("parts", [])]
        text = f"{epochs} epochs" + f", on {', then '.join(ran)}" * bool(ran)
        yield Finding(path, False, text)
    except run_folder.RunFolderError as error:
        yield Finding(path, True, str(error))
    path = folder / run_folder.HISTORY
    begun = run_folder.has_checkpoint(folder)
    try:
        done = len(run_folder.read_history(folder, int(begun)))
        yield Finding(path, False, f"logs of {done} epochs")
    except run_folder.RunFolderError as error:
        if begun or path.exists():
            yield Finding(path, True, str(error))
    yield from _checkpoints(folder, done, epochs)
    yield from _left_over(folder)


def _checkpoints(folder: pathlib.Path, done: int, epochs: int) -> Iterator[Finding]:
    path, other = folder / run_folder.CHECKPOINT, folder / run_folder.PREVIOUS
    damage = run_folder.damage_of(path)
    if not run_folder.has_checkpoint(folder):
        yield Finding(path, False, "not there yet: the training begins anew")
    elif damage is None:
        go_on = "finished" if done >= epochs else "the same call goes on from it"
        yield Finding(path, False, f"whole; {go_on}")
    elif run_folder.damage_of(other) is None:
        text = f"{damage}; the same call goes on from {other.name}, which is whole"
        yield Finding(path, True, text)
    else:
        error = run_folder.wrong(path, "a whole checkpoint", damage)
        yield Finding(path, True, str(error))
    path = folder / run_folder.BEST
    if path.exists():
        damage = run_folder.damage_of(path)
        text = f"{damage}; only its test would be missing from the record"
        yield Finding(path, bool(damage), text if damage else "whole; the best epoch's")


def _left_over(folder: pathlib.Path) -> Iterator[Finding]:
    for path in sorted(run_folder.left_over(folder)):
        yield Finding(path, False, "left by a process that died; removed by the next")
    path = folder / lock.FILE
    if path.exists():
        yield Finding(path, False, lock.state(path))
