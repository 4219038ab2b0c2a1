"""One call that trains a model by the papers' protocol, and resumes it."""

import importlib.util
import json
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import keras
import numpy as np

from echo_keras import losses
from echo_keras._epochs import Epochs
from echo_keras._files import write_json
from echo_keras.layers import arguments as check

from .batches import Batches
from .callbacks import Checkpoint, StopOnNaN, csv_log
from .schedules import learning_rates


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
) -> tuple[keras.Model, list[dict]]:
    """Trains a model by the Echo paper's protocol; goes on where it was interrupted.

    Adam, checkpoints into `directory` (see `Checkpoint`), `log.csv` beside them, and
    XLA where Keras thinks it pays (on accelerators). Called again with the same
    arguments after an interruption, it goes on from the checkpoint and ends with the
    same model up to rounding: order of the data, noise and optimizer all continue.

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

    Returns:
        The trained model and its history, a list with a dict of logs for each epoch.

    Raises:
        FloatingPointError: a term of the loss became NaN or infinite.
        ValueError: an argument is out of range, `build` returns no model, or the
            checkpoint in `directory` belongs to other arguments.
        ImportError: TensorBoard logs are asked for and it is not installed.
    """
    epochs = check.integer("epochs", epochs)
    batch_size = check.integer("batch_size", batch_size)
    seed = check.seed(seed, optional=False)
    binarize = check.flag("binarize", binarize)
    tensorboard = check.flag("tensorboard", tensorboard)
    verbose = check.integer("verbose", verbose, 0, 2, optional=True)
    check.function("build", build), check.function("optimizer", optimizer)
    check.path("directory", directory)
    if loss is not None and not isinstance(loss, keras.losses.Loss):
        raise ValueError(
            f"loss must be one of echo_keras.losses, or None for Bernoulli. "
            f"Received: loss={loss!r:.100}"
        )
    if validation is not None:
        validation = check.array("validation", validation)
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
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    checkpoint = Checkpoint(directory, [], save_seconds)
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
    arguments_path = directory / "arguments.json"

    if checkpoint.path.exists():
        before = json.loads(arguments_path.read_text())
        changed = [name for name in arguments if arguments[name] != before[name]]
        if changed:
            raise ValueError(
                f"The checkpoint in {directory.name} was made with another "
                f"{', '.join(changed)}: use another folder, or remove it."
            )
        model = keras.saving.load_model(checkpoint.path)
        # The number of finished epochs is in the optimizer's step count.
        done = int(model.optimizer.iterations) // steps
        checkpoint.history += json.loads(checkpoint.history_path.read_text())[:done]
    else:
        write_json(arguments_path, arguments)
        keras.utils.set_random_seed(seed)
        model = build()
        if not isinstance(model, keras.Model):
            raise ValueError(f"build must return a keras.Model. Received: {model!r}")
        model.compile(optimizer(rate), loss=loss or losses.Bernoulli())
        if model.built:  # or TensorFlow traces the first step twice
            model.optimizer.build(model.trainable_variables)
        done = 0
    log = csv_log(directory / "log.csv", done)
    # The log before the checkpoint: what a kill leaves over is cut off above.
    callbacks = [StopOnNaN(), log, checkpoint]
    if isinstance(batches, Epochs):
        begin = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: batches.begin(epoch)
        )
        callbacks.insert(0, begin)
    if tensorboard:
        if not importlib.util.find_spec("tensorboard"):
            raise ImportError(
                "TensorBoard logs need a package that is not installed: "
                "pip install 'echo-keras[tensorboard]'."
            )
        callbacks.append(keras.callbacks.TensorBoard(directory / "tensorboard"))
    if verbose is None:
        verbose = 1 if sys.stdout.isatty() else 2
    held_out = None
    if validation is not None:
        order = np.random.RandomState(seed).permutation(len(validation))
        held_out = (validation[order], validation[order])
    if done < epochs:
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
        finally:  # Keras leaves the file open when training ends by an exception
            if log.csv_file:
                log.csv_file.close()
    return model, checkpoint.history
