"""A run's folder, opened: its model at the checkpoint, or new, and its callbacks."""

import contextlib
import dataclasses
import errno
import importlib.util
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from echo_keras import losses
from echo_keras._epochs import Epochs
from echo_keras.layers import arguments as check

from .batches import Batches
from .callbacks import Checkpoint, StopOnNaN, csv_log
from .job import Job
from .lock import locked
from .run_folder import (
    PREVIOUS,
    UnwritableFolderError,
    has_checkpoint,
    looks_finished,
    read_history,
    repair,
)
from .schedules import learning_rates

FULL = {errno.ENOSPC, errno.EIO, errno.EFBIG, getattr(errno, "EDQUOT", None)} - {None}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


@dataclasses.dataclass
class OpenRun:
    """A run that this process may train.

    Attributes:
        directory: Its folder.
        model: The compiled model, as it was after `done` epochs.
        history: A dict of logs for each of these epochs, which `callbacks` add to.
        done, epochs: Epochs that it has, and that it shall have.
        batches: What an epoch is made of.
        validation: Images in the order in which they are evaluated, or None.
        callbacks: What writes its logs and checkpoints.
    """

    directory: pathlib.Path
    model: keras.Model
    history: list[dict]
    done: int
    epochs: int
    batches: keras.utils.PyDataset
    validation: np.ndarray | None
    callbacks: list[keras.callbacks.Callback]


@contextlib.contextmanager
def opened(
    build: Callable[[], keras.Model],
    x: np.ndarray | keras.utils.PyDataset,
    directory: str | os.PathLike,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    schedule: str | Sequence[tuple[float, float]],
    loss: keras.losses.Loss | None,
    optimizer: Callable[..., keras.optimizers.Optimizer],
    seed: int,
    binarize: bool,
    validation: np.ndarray | None,
    tensorboard: bool,
    save_seconds: float,
    best: str | None,
    measure: Callable[[keras.Model], Any] | None,
    measure_every: int,
    force_resume: bool,
) -> Iterator[OpenRun]:
    """Opens the folder of a run; the arguments are those of `train`."""
    epochs = check.integer("epochs", epochs)
    batch_size = check.integer("batch_size", batch_size)
    learning_rate = check.number("learning_rate", learning_rate, above=0)
    seed = check.seed(seed, optional=False)
    binarize = check.flag("binarize", binarize)
    tensorboard = check.flag("tensorboard", tensorboard)
    force_resume = check.flag("force_resume", force_resume)
    check.function("build", build), check.function("optimizer", optimizer)
    check.path("directory", directory), check.text("best", best, optional=True)
    check.function("measure", measure, optional=True)
    measure_every = check.integer("measure_every", measure_every)
    if loss is not None and not isinstance(loss, keras.losses.Loss):
        raise ValueError(
            f"loss must be one of echo_keras.losses, or None for Bernoulli. "
            f"Received: loss={loss!r:.100}"
        )
    if validation is not None:
        validation = check.array("validation", validation)
    if validation is None and str(best).startswith("val_"):
        raise ValueError(
            f"validation must be images where best is a log of them. Received: "
            f"validation=None, best={best!r}"
        )
    batches = x
    if not isinstance(x, keras.utils.PyDataset):
        x = check.array("x", x, finite=False)
        if loss is None or isinstance(loss, losses.Distortion):
            (loss or losses.Bernoulli()).check_data(x)
        batches = Batches(x, batch_size, seed, binarize=binarize)
    elif binarize:
        raise ValueError(
            "binarize must be False where x are batches, which draw their own. "
            f"Received: binarize={binarize}"
        )
    steps = batches.num_batches
    if steps is None:
        raise ValueError(
            "x must be batches of finite length. Received: x with num_batches=None"
        )
    rate = learning_rates(learning_rate, epochs, steps, schedule)
    arguments = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        # Lists, as JSON gives them back.
        "schedule": schedule if isinstance(schedule, str) else [*map(list, schedule)],
        "seed": seed,
        "binarize": binarize,
        "images": len(x) if batches is not x else steps,
    }
    if tensorboard and not importlib.util.find_spec("tensorboard"):
        raise ImportError(
            "TensorBoard logs need a package that is not installed: "
            "pip install 'echo-keras[tensorboard]'."
        )

    def made() -> tuple[keras.Model, Any, keras.optimizers.Optimizer]:
        keras.utils.set_random_seed(seed)
        model = build()
        if not isinstance(model, keras.Model):
            raise ValueError(f"build must return a keras.Model. Received: {model!r}")
        return model, loss or losses.Bernoulli(), optimizer(rate)

    directory = pathlib.Path(directory)
    job = Job(directory, arguments, made, batches, validation, force_resume)
    with _explained(directory), contextlib.ExitStack() as stack:
        if looks_finished(directory, epochs):  # as many as like may read it at once
            model, done = job.resumed()
            if done == epochs:
                history = read_history(directory, done)[:done]
                yield OpenRun(
                    directory, model, history, done, epochs, batches, None, []
                )
                return
        directory.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(directory))
        repair(directory)
        if has_checkpoint(directory):
            model, done = job.resumed()
        else:
            model, done = job.begun(), 0
        history = read_history(directory, done)[:done] if done else []
        job.note_part(done)
        checkpoint = Checkpoint(
            directory, history, save_seconds, best, measure, measure_every
        )
        log = csv_log(directory / "log.csv", done)
        # Keras leaves the file open when training ends by an exception.
        stack.callback(lambda: log.csv_file and log.csv_file.close())
        # The log before the checkpoint: what a kill leaves over is cut off above.
        callbacks = [StopOnNaN(), log, checkpoint]
        if isinstance(batches, Epochs):
            begin = keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: batches.begin(epoch)
            )
            callbacks.insert(0, begin)
        if tensorboard:
            callbacks.append(keras.callbacks.TensorBoard(directory / "tensorboard"))
        if validation is not None:
            order = np.random.RandomState(seed).permutation(len(validation))
            validation = validation[order]
        yield OpenRun(
            directory, model, history, done, epochs, batches, validation, callbacks
        )
        (directory / PREVIOUS).unlink(missing_ok=True)


@contextlib.contextmanager
def _explained(directory: pathlib.Path) -> Iterator[None]:
    """Says of a full disk or a folder that cannot be written to how to go on."""
    try:
        yield
    except OSError as error:
        # HDF5 has the number in its text alone.
        full = error.errno in FULL or "No space left" in str(error)
        closed = error.errno in CLOSED and str(directory) in str(error.filename)
        if not full and not closed:
            raise
        reason = error.strerror or str(error).splitlines()[0]
        raise UnwritableFolderError(
            "directory must be a folder that can be written to. Received: "
            f"{directory} ({reason}). The last checkpoint stays as it was: make room "
            "or correct the folder, and call again with the same arguments to go on."
        ) from error
