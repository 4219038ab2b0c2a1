"""The papers' training protocol on Keras's own `fit`: schedules, resume, logs."""

import importlib.util
import json
import math
import os
import pathlib
import sys
import time

import keras
import numpy as np

SCHEDULES = ("paper", "as_run", "constant")


@keras.saving.register_keras_serializable(package="echo_keras")
class HalfwaySchedule(keras.optimizers.schedules.LearningRateSchedule):
    r"""Constant for the first half of training, then linear.

    - "paper": falls to 0, as the Echo paper says (Sec. 5.1, App. E).
    - "as_run": drops to a hundredth and *rises* to 99 hundredths, epoch by epoch,
      as the published code does at 200 epochs.
    - "constant": stays.

    Args:
        learning_rate: Float > 0, the rate in the first half.
        epochs: Int >= 1.
        steps_per_epoch: Int >= 1.
        schedule: One of the above.

    Raises:
        ValueError: the schedule is unknown or a number is out of range.

    Example:

    >>> rate = HalfwaySchedule(3e-4, epochs=200, steps_per_epoch=500)
    >>> [round(float(rate(500 * epoch)), 6) for epoch in (0, 100, 150, 200)]
    [0.0003, 0.0003, 0.00015, 0.0]
    """

    def __init__(self, learning_rate, epochs, steps_per_epoch, schedule="paper"):
        if schedule not in SCHEDULES:
            raise ValueError(
                f"schedule must be one of {', '.join(SCHEDULES)}; received "
                f"{schedule!r}."
            )
        if not (learning_rate > 0 and epochs >= 1 and steps_per_epoch >= 1):
            raise ValueError(
                "learning_rate, epochs and steps_per_epoch must be positive; received "
                f"{learning_rate}, {epochs} and {steps_per_epoch}."
            )
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.schedule = schedule

    def __call__(self, step):
        ops = keras.ops
        epoch = ops.cast(step, "float32") / self.steps_per_epoch
        first, second = self.epochs - self.epochs // 2, max(1, self.epochs // 2)
        past = ops.maximum(epoch - first, 0.0)
        if self.schedule == "paper":
            factor = ops.maximum(1.0 - past / second, 0.0)
        elif self.schedule == "as_run":
            rising = 0.01 + 0.98 * ops.floor(past) / max(1, second - 1)
            factor = ops.where(epoch < first, 1.0, rising)
        else:
            factor = 1.0
        return self.learning_rate * factor

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "schedule": self.schedule,
        }


@keras.saving.register_keras_serializable(package="echo_keras")
class _DiscriminatorMap(keras.optimizers.OptimizerMap):
    """Maps the weights of discriminators to an optimizer of their own."""

    def __call__(self, variable):
        discriminators, others = (
            self._optimizer_map["discriminators"],
            self.default_optimizer,
        )
        return (
            discriminators if getattr(variable, "is_discriminator", False) else others
        )


def learning_rates(learning_rate, epochs, steps_per_epoch, schedule="paper"):
    """A schedule for an optimizer, by name or by its steps.

    Args:
        learning_rate: Float > 0, the rate at the start.
        epochs, steps_per_epoch: Ints >= 1.
        schedule: A name of `HalfwaySchedule`; or pairs (epoch, factor) in order: from
            the end of that epoch on the rate is `learning_rate` x factor. Epochs may be
            fractions.

    Returns:
        A Keras schedule.

    Example:

    >>> rate = learning_rates(1e-3, 100, 600, [(30, 0.5), (50, 0.1)])
    >>> [round(float(rate(600 * epoch)), 6) for epoch in (29, 31, 51)]
    [0.001, 0.0005, 0.0001]

    References:
        Variance Constrained Autoencoding, App. B.3.1.
    """
    if isinstance(schedule, str):
        return HalfwaySchedule(learning_rate, epochs, steps_per_epoch, schedule)
    ends, factors = zip(*schedule, strict=True)
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [max(1, round(end * steps_per_epoch)) for end in ends],
        [learning_rate, *(learning_rate * factor for factor in factors)],
    )


def with_discriminator_optimizer(optimizer, discriminators=None):
    """Two optimizers in one: the discriminators of density-ratio penalties have their own.

    Args:
        optimizer: Keras optimizer for all other weights.
        discriminators: Keras optimizer for the discriminators' weights; if None, Adam with the
            settings of FactorVAE's discriminator: 1e-4, beta_1 = .5, beta_2 = .9.

    Returns:
        A `keras.optimizers.MultiOptimizer`, which `compile` takes and `.keras` files
        keep, with the state of both.

    Example:

    >>> optimizer = with_discriminator_optimizer(keras.optimizers.Adam(1e-3))
    >>> [round(float(part.learning_rate), 4) for part in optimizer.optimizers]
    [0.0001, 0.001]

    References:
        Kim & Mnih, Disentangling by Factorising (2018), App. A.
    """
    if discriminators is None:
        discriminators = keras.optimizers.Adam(1e-4, beta_1=0.5, beta_2=0.9)
    parts = _DiscriminatorMap(optimizer, {"discriminators": discriminators})
    return keras.optimizers.MultiOptimizer(parts)


@keras.saving.register_keras_serializable(package="echo_keras")
class NormalizedAdam(keras.optimizers.Adam):
    r"""Adam on normalized gradients: \(g / |g|\), for each weight tensor by itself.

    Adam forgets a scale that all gradients share; here a step whose gradients are
    unusually large weighs no more than the others either.

    Args:
        As `keras.optimizers.Adam`.

    Example:

    >>> optimizer = NormalizedAdam(0.1, beta_1=0.0)
    >>> weight = keras.Variable([1.0, 1.0])
    >>> optimizer.apply([keras.ops.array([3e4, 4e4])], [weight])
    >>> [round(float(x), 2) for x in optimizer.variables[-2].value]  # of norm 1
    [0.6, 0.8]

    References:
        Yu et al., Normalized Gradient with Adaptive Stepsize Method for Deep Neural
        Network Training (2017), Sec. 3; Fixing a Broken ELBO, App. F.4.
    """

    def apply(self, grads, trainable_variables=None):
        grads = [None if g is None else g / (_norm(g) + 1e-12) for g in grads]
        return super().apply(grads, trainable_variables)


def _norm(x):
    return keras.ops.sqrt(keras.ops.sum(keras.ops.square(x)))


class Batches(keras.utils.PyDataset):
    """Shuffled batches (x, x) that depend on the seed and the epoch's number alone.

    So an epoch is the same in a resumed run as in an uninterrupted one. Keras does
    not tell a data set its epoch: hand `callback` to `fit`, and `shuffle=False`.

    Args:
        x: Array (n, ...), values in [0, 1].
        batch_size: Int >= 1; the last batch may be smaller.
        seed: Int >= 0.
        binarize: If True, pixels are Bernoulli samples drawn afresh every epoch.

    Example:

    >>> batches = Batches(np.zeros((10, 2)), batch_size=4, seed=0)
    >>> len(batches), batches[2][0].shape
    (3, (2, 2))
    """

    def __init__(self, x, batch_size, seed, binarize=False):
        super().__init__()
        self.x, self.batch_size, self.seed = x, batch_size, seed
        self.binarize = binarize
        self.callback = keras.callbacks.LambdaCallback(on_epoch_begin=self._begin)
        self._begin(0)

    def _begin(self, epoch, logs=None):
        # One assignment: a prefetching thread may read while the epoch changes.
        order = np.random.RandomState([self.seed, epoch]).permutation(len(self.x))
        self.epoch = epoch, order

    def __len__(self):
        return math.ceil(len(self.x) / self.batch_size)

    def __getitem__(self, index):
        epoch, order = self.epoch
        start = index * self.batch_size
        x = self.x[order[start : start + self.batch_size]]
        if self.binarize:
            noise = np.random.RandomState([self.seed, epoch, index])
            x = (noise.random_sample(x.shape) < x).astype("float32")
        return x, x


class StopOnNaN(keras.callbacks.Callback):
    """Stops with a sentence that names the epoch and the terms that went bad.

    Raises:
        FloatingPointError: a logged value is NaN or infinite. The last checkpoint
            stays as it was.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
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
    was saved before: after all, if that is 0.
    """

    def __init__(self, directory, history, seconds=0.0):
        super().__init__()
        self.seconds, self.saved = seconds, -math.inf
        self.path = pathlib.Path(directory) / "checkpoint.keras"
        self.history_path = self.path.with_name("history.json")
        self.history = history

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        logs = {name: float(value) for name, value in logs.items()}
        logs["seconds"] = round(time.monotonic() - self.began, 2)
        self.history.append(logs)
        write_json(self.history_path, self.history)
        last = epoch + 1 == (self.params or {}).get("epochs")
        if not last and time.monotonic() < self.saved + self.seconds:
            return
        self.saved = time.monotonic()
        part = self.path.with_name("part.keras")
        self.model.save(part)
        os.replace(part, self.path)


def train(
    build,
    x,
    directory,
    epochs=200,
    batch_size=100,
    learning_rate=3e-4,
    schedule="paper",
    loss=None,
    optimizer=keras.optimizers.Adam,
    seed=0,
    binarize=False,
    validation=None,
    tensorboard=False,
    verbose=None,
    save_seconds=0.0,
):
    """Trains a model by the Echo paper's protocol; goes on where it was interrupted.

    Adam, checkpoints into `directory` (see `Checkpoint`), `log.csv` beside them, and
    XLA where Keras thinks it pays (on accelerators). Called again with the same
    arguments after an interruption, it goes on from the checkpoint and ends with the
    same model up to rounding: order of the data, noise and optimizer all continue.

    Args:
        build: Function without arguments that returns an uncompiled Keras model.
        x: Training images in [0, 1], shape (n, ...), also the targets. Or batches: a
            data set like `Batches`, with the `callback` that tells it the epoch.
        directory: Folder for checkpoint and logs; made if missing.
        epochs, batch_size: Ints >= 1.
        learning_rate, schedule: See `learning_rates`.
        loss: The distortion; `losses.Bernoulli()` if None.
        optimizer: Function from the learning-rate schedule to a Keras optimizer.
        seed: Int >= 0 for initialisation, order of the data and noise.
        binarize: See `Batches`.
        validation: Images on which `val_` logs are computed after every epoch.
        tensorboard: If True, writes TensorBoard logs into `directory`/tensorboard.
        verbose: As in `fit`; a bar on a terminal, a line per epoch elsewhere if None.
        save_seconds: Float, see `Checkpoint`: short epochs need not all be saved.

    Returns:
        The trained model and its history, a list with a dict of logs for each epoch.

    Raises:
        FloatingPointError: a term of the loss became NaN or infinite.
        ValueError: an argument is out of range, or the checkpoint in `directory`
            belongs to other arguments.
        ImportError: TensorBoard logs are asked for and it is not installed.
    """
    from echo_keras import losses

    if epochs < 1 or batch_size < 1:
        raise ValueError(
            f"epochs and batch_size must be >= 1; received {epochs} and {batch_size}."
        )
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    batches = x if hasattr(x, "callback") else Batches(x, batch_size, seed, binarize)
    rate = learning_rates(learning_rate, epochs, len(batches), schedule)
    checkpoint = Checkpoint(directory, [], save_seconds)
    arguments = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        # Lists, as JSON gives them back.
        "schedule": schedule if isinstance(schedule, str) else [*map(list, schedule)],
        "seed": seed,
        "binarize": binarize,
        "images": len(x),
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
        done = int(model.optimizer.iterations) // len(batches)
        checkpoint.history += json.loads(checkpoint.history_path.read_text())[:done]
    else:
        write_json(arguments_path, arguments)
        keras.utils.set_random_seed(seed)
        model = build()
        model.compile(optimizer(rate), loss=loss or losses.Bernoulli())
        if model.built:  # or TensorFlow traces the first step twice
            model.optimizer.build(model.trainable_variables)
        done = 0
    log = _csv_log(directory / "log.csv", done)
    # The log before the checkpoint: what a kill leaves over is cut off above.
    callbacks = [batches.callback, StopOnNaN(), log, checkpoint]
    if tensorboard:
        if not importlib.util.find_spec("tensorboard"):
            raise ImportError(
                "TensorBoard logs need a package that is not installed: "
                "pip install 'echo-keras[tensorboard]'."
            )
        callbacks.append(keras.callbacks.TensorBoard(directory / "tensorboard"))
    if verbose is None:
        verbose = 1 if sys.stdout.isatty() else 2
    held_out = None if validation is None else (validation, validation)
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


def _csv_log(path, done):
    """A CSVLogger that goes on after `done` epochs, rows of a broken one removed."""
    if done and path.exists():
        lines = path.read_bytes().splitlines(keepends=True)[: done + 1]
        path.write_bytes(b"".join(lines))
    return keras.callbacks.CSVLogger(path, append=done > 0)


def write_json(path, content):
    """Writes JSON by an atomic replacement, so that a kill leaves old or new."""
    path = pathlib.Path(path)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, path)
