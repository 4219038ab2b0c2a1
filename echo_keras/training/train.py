"""One call that trains a model by the papers' protocol, and resumes it."""

import contextlib
import errno
import importlib.util
import os
import pathlib
import sys
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


def train(
    build: Callable[[], keras.Model],
    x: np.ndarray | keras.utils.PyDataset,
    directory: str | os.PathLike,
    epochs: int = 200,
    batch_size: int = 100,
    learning_rate: float = 3e-4,
    schedule: str | Sequence[tuple[float, float]] = "paper",
    loss: keras.losses.Loss | None = None,
    optimizer: Callable[..., keras.optimizers.Optimizer] = keras.optimizers.Adam,
    seed: int = 0,
    binarize: bool = False,
    validation: np.ndarray | None = None,
    tensorboard: bool = False,
    verbose: int | None = None,
    save_seconds: float = 0.0,
    best: str | None = None,
    measure: Callable[[keras.Model], Any] | None = None,
    measure_every: int = 10,
    force_resume: bool = False,
) -> tuple[keras.Model, list[dict]]:
    """Trains a model by the Echo paper's protocol; goes on where it was interrupted.

    Adam, checkpoints into `directory` (see `Checkpoint`), `log.csv` beside them, and
    XLA where Keras thinks it pays (on accelerators). Called again with the same
    arguments after an interruption, it goes on from the checkpoint and ends with the
    same model up to rounding: order of the data, noise and optimizer all continue.
    Digests of model, loss, optimizer and data are kept there and compared, and the
    checkpoint before the last one is kept too, in case the last one is damaged. Where
    an older version kept no digests, model, loss and optimizer are compared with those
    of the checkpoint, and a line says that the data are not.

    Args:
        build: Function without arguments that returns an uncompiled Keras model.
        x: Training images in [0, 1], shape (n, ...), also the targets. Or batches: any
            `keras.utils.PyDataset` of finite length, such as `Batches` with labels y.
            One of your own must itself know the epoch at which a resumed run begins.
        directory: Folder for checkpoint and logs; made if missing.
        epochs, batch_size: Ints >= 1.
        learning_rate, schedule: See `learning_rates`.
        loss: The distortion; `losses.Bernoulli()` if None.
        optimizer: Function from the learning-rate schedule to a Keras optimizer.
        seed: Int >= 0 for initialisation, order of the data and noise.
        binarize: See `Batches`; only for an array x.
        validation: Images on which `val_` logs are computed after every epoch, in one
            random order: terms that compare a batch with a prior, as `MMDPenalty`
            does, need batches of independent examples, and files may be sorted.
        tensorboard: If True, writes TensorBoard logs into `directory`/tensorboard.
        verbose: As in `fit`; a bar on a terminal, a line per epoch elsewhere if None.
        save_seconds: Float, see `Checkpoint`: short epochs need not all be saved.
        best: See `Checkpoint`: keeps the model of the lowest of a log too.
        measure, measure_every: See `Checkpoint`: what else the logs of every so many
            epochs hold.
        force_resume: If True, goes on with the model, loss and optimizer of the
            checkpoint even where those given here, or the data or the backend, are
            others; a line says what differs.

    Returns:
        The trained model and its history, a list with a dict of logs for each epoch.

    Raises:
        FloatingPointError: a term of the loss became NaN or infinite.
        ValueError: an argument is out of range, or `build` returns no model.
        RunFolderError: a ValueError; the checkpoint in `directory` belongs to other
            arguments, another model, loss, optimizer, data or backend, files there
            are damaged, or another process trains there.
        UnwritableFolderError: an OSError; `directory` cannot be written to, or the disk
            is full.
        ImportError: TensorBoard logs are asked for and it is not installed.
    """
    epochs = check.integer("epochs", epochs)
    batch_size = check.integer("batch_size", batch_size)
    learning_rate = check.number("learning_rate", learning_rate, above=0)
    seed = check.seed(seed, optional=False)
    binarize = check.flag("binarize", binarize)
    tensorboard = check.flag("tensorboard", tensorboard)
    force_resume = check.flag("force_resume", force_resume)
    verbose = check.integer("verbose", verbose, 0, 2, optional=True)
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
                return model, read_history(directory, done)[:done]
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
        # The log before the checkpoint: what a kill leaves over is cut off above.
        callbacks = [StopOnNaN(), log, checkpoint]
        if isinstance(batches, Epochs):
            begin = keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: batches.begin(epoch)
            )
            callbacks.insert(0, begin)
        if tensorboard:
            callbacks.append(keras.callbacks.TensorBoard(directory / "tensorboard"))
        if verbose is None:
            verbose = 1 if sys.stdout.isatty() else 2
        held_out = None
        if validation is not None:
            order = np.random.RandomState(seed).permutation(len(validation))
            held_out = (validation[order], validation[order])
        # Keras leaves the file open when training ends by an exception.
        stack.callback(lambda: log.csv_file and log.csv_file.close())
        try:
            model.fit(
                batches,
                initial_epoch=done,
                epochs=epochs,
                shuffle=False,
                callbacks=callbacks,
                validation_data=held_out,
                validation_batch_size=batch_size,
                verbose=verbose,
            )
        except KeyboardInterrupt:
            print(
                f"\nInterrupted in epoch {len(history) + 1} of {epochs}. Call again "
                f"with the same arguments to go on from the last checkpoint in "
                f"{directory}."
            )
            raise
        (directory / PREVIOUS).unlink(missing_ok=True)
    return model, history


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
