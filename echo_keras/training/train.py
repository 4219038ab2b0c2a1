"""One call that trains a model by the papers' protocol, and resumes it."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from echo_keras.layers import arguments as check

from .open_run import opened


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
    verbose = check.integer("verbose", verbose, 0, 2, optional=True)
    run = opened(
        build,
        x,
        directory,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule,
        loss=loss,
        optimizer=optimizer,
        seed=seed,
        binarize=binarize,
        validation=validation,
        tensorboard=tensorboard,
        save_seconds=save_seconds,
        best=best,
        measure=measure,
        measure_every=measure_every,
        force_resume=force_resume,
    )
    if verbose is None:
        verbose = 1 if sys.stdout.isatty() else 2
    with run as run:
        held_out = run.validation
        try:
            if run.done < run.epochs:
                run.model.fit(
                    run.batches,
                    initial_epoch=run.done,
                    epochs=run.epochs,
                    shuffle=False,
                    callbacks=run.callbacks,
                    validation_data=None if held_out is None else (held_out, held_out),
                    validation_batch_size=batch_size,
                    verbose=verbose,
                )
        except KeyboardInterrupt:
            print(
                f"\nInterrupted in epoch {len(run.history) + 1} of {run.epochs}. Call "
                f"again with the same arguments to go on from the last checkpoint in "
                f"{run.directory}."
            )
            raise
    return run.model, run.history
