"""Many runs of one architecture in one compiled program, on JAX."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from echo_keras.layers import arguments as check

from .batches import Batches
from .callbacks import bad_terms
from .open_run import OpenRun, opened

Result = tuple[keras.Model, list[dict]] | FloatingPointError


def train_side_by_side(
    builds: Sequence[Callable[[], keras.Model]],
    x: np.ndarray,
    directories: Sequence[str | os.PathLike],
    seeds: Sequence[int],
    epochs: int = 200,
    batch_size: int = 100,
    learning_rate: float = 3e-4,
    schedule: str | Sequence[tuple[float, float]] = "paper",
    loss: keras.losses.Loss | None = None,
    optimizer: Callable[..., keras.optimizers.Optimizer] = keras.optimizers.Adam,
    binarize: bool = False,
    validation: np.ndarray | None = None,
    verbose: bool = True,
    save_seconds: float = 60.0,
    best: str | None = None,
    measure: Sequence[Callable[[keras.Model], Any]] | None = None,
    measure_every: int = 10,
    force_resume: bool = False,
) -> list[Result]:
    """Trains runs that differ in seed or beta at once, each as `train` would alone.

    The step of one model is mapped over the values of all (`jax.vmap`), an epoch is
    one call (`lax.scan`), and the data stay on the device: what a GPU needs to be busy
    with small networks. Each run has the folder, the batches, the noise and the logs
    that `train` gives it, so that its numbers are the same up to rounding, and either
    goes on with what the other began.

    Args:
        builds: Functions without arguments, one for each run, that return uncompiled
            Keras models: of one architecture, with any values of their weights and
            any beta.
        x: Training images, (n, ...), of all runs.
        directories: A folder for each run.
        seeds: An int >= 0 for each run.
        epochs, batch_size, learning_rate, schedule, loss, optimizer: See `train`.
        binarize, validation, best, measure_every, force_resume: See `train`.
        measure: None, or for each run what `train` has under this name.
        verbose: If True, prints a line for each epoch.
        save_seconds: Float, after how many seconds all runs are saved.

    Returns:
        For each run the trained model and its history; or, where a term of its loss
        became NaN or infinite, the FloatingPointError that says which: the others
        went on.

    Raises:
        ValueError: the backend is not JAX, the lists differ in length, the models are
            not of one architecture, or as `train`.
        RunFolderError: as `train`.

    Example:

    >>> import tempfile
    >>> from echo_keras import objectives
    >>> x, folder = np.eye(8, dtype="float32"), tempfile.mkdtemp()
    >>> if keras.backend.backend() == "jax":
    ...     builds = [lambda: objectives.vae(encoder, decoder, 2)] * 2
    ...     folders = [f"{folder}/{seed}" for seed in (0, 1)]
    ...     runs = train_side_by_side(
    ...         builds, x, folders, seeds=(0, 1), epochs=3, verbose=False)
    ...     assert [len(history) for model, history in runs] == [3, 3]
    """
    if keras.backend.backend() != "jax":
        raise ValueError(
            "Runs train side by side on JAX: set KERAS_BACKEND=jax. Received: "
            f"{keras.backend.backend()}"
        )
    measure = [None] * len(seeds) if measure is None else measure
    lists = {"builds": builds, "directories": directories, "measure": measure}
    for name, value in lists.items():
        if not isinstance(value, list | tuple) or len(value) != len(seeds) or not value:
            raise ValueError(
                f"{name} must be a list of one for each of the {len(seeds)} seeds. "
                f"Received: {name}={value!r:.100}"
            )
    verbose = check.flag("verbose", verbose)
    if isinstance(x, keras.utils.PyDataset):
        raise ValueError(f"x must be an array for runs side by side. Received: x={x!r}")
    x = check.array("x", x, finite=False)
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(
                opened(
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
                    tensorboard=False,
                    save_seconds=save_seconds,
                    best=best,
                    measure=measured,
                    measure_every=measure_every,
                    force_resume=force_resume,
                )
            )
            for build, directory, seed, measured in zip(
                builds, directories, seeds, measure, strict=True
            )
        ]
        lists = [
            keras.callbacks.CallbackList(
                run.callbacks, model=run.model, epochs=run.epochs, add_history=False
            )
            for run in runs
        ]
        failed: dict[int, FloatingPointError] = {}

        def unfinished() -> list[int]:
            left = (i for i, run in enumerate(runs) if run.done < run.epochs)
            return [i for i in left if i not in failed]

        _check_programs([runs[i].model for i in unfinished()], x[:batch_size])
        for i in unfinished():
            lists[i].on_train_begin()
        while left := unfinished():
            # A kill leaves some saved later than others: the last catch up.
            done = min(runs[i].done for i in left)
            until = min((runs[i].done for i in left if runs[i].done > done), default=0)
            group = {i: (runs[i], lists[i]) for i in left if runs[i].done == done}
            failed |= _train(group, x, until or runs[left[0]].epochs, verbose)
    return [failed.get(i, (run.model, run.history)) for i, run in enumerate(runs)]


def _train(
    group: dict[int, tuple[OpenRun, keras.callbacks.CallbackList]],
    x: np.ndarray,
    until: int,
    verbose: bool,
) -> dict[int, FloatingPointError]:
    """Trains runs of as many epochs up to another, or to the first that goes bad.

    Returns:
        The errors of those that did, by their numbers in the group.
    """
    runs, lists = zip(*group.values(), strict=True)
    program = Program([run.model for run in runs], x)
    for epoch in range(runs[0].done, until):
        for each in lists:
            each.on_epoch_begin(epoch)
        began = time.monotonic()
        logs = program.train([run.batches for run in runs], epoch)
        bad = {}
        for i, of in zip(group, logs, strict=True):
            (steps,) = np.nonzero(~np.isfinite(of["loss"]))
            if len(steps):
                at = {name: values[steps[0]] for name, values in of.items()}
                bad[i] = bad_terms(epoch, steps[0], at)
        if bad:
            return bad  # the models are still those of the epoch before
        logs = [{name: float(values[-1]) for name, values in of.items()} for of in logs]
        if runs[0].validation is not None:
            size = runs[0].batches.batch_size
            found = program.test([run.validation for run in runs], size)
            for ours, of in zip(logs, found, strict=True):
                ours |= {f"val_{name}": float(v[-1]) for name, v in of.items()}
        program.write()
        seconds = time.monotonic() - began
        if verbose:
            print(_line(epoch, runs[0].epochs, seconds, logs), flush=True)
        for run, each, of in zip(runs, lists, logs, strict=True):
            for callback in run.callbacks:
                callback.began = time.monotonic() - seconds / len(runs)
            each.on_epoch_end(epoch, of)
            run.done = epoch + 1
        if any("measured" in run.history[-1] for run in runs):
            program.read()  # whose noise has moved on
    for run, each in zip(runs, lists, strict=True):
        if run.done == run.epochs:
            run.model.optimizer.finalize_variable_values(run.model.trainable_weights)
            each.on_train_end()
    return {}


def _line(epoch, epochs, seconds, logs):
    name = "neg_elbo" if "neg_elbo" in logs[0] else "loss"
    name = f"val_{name}" if f"val_{name}" in logs[0] else name
    values = " ".join(f"{of[name]:.4f}" for of in logs)
    return f"Epoch {epoch + 1}/{epochs} - {seconds:.1f}s - {name}: {values}"


class Program:
    """A compiled epoch of many models: the values of each variable are one array."""

    def __init__(self, models: Sequence[keras.Model], x: np.ndarray) -> None:
        import jax

        self.models, self.x = models, jax.numpy.asarray(x)
        for model in models:
            model.reset_metrics()
        self.blank = self.read()
        unrolled = _loops_are_slow(models[0])
        self._train = _epoch(models[0].train_step, unrolled)
        self._test = _epoch(models[0].test_step, unrolled)
        self._split = jax.jit(
            lambda state: [
                [[a[i] for a in of] for of in state] for i in range(len(models))
            ]
        )

    def train(self, batches: Sequence[Batches], epoch: int) -> list[dict]:
        """Trains an epoch; returns each model's running logs, arrays (steps,)."""
        first, orders = batches[0], [b.order(epoch) for b in batches]
        if first.binarize:
            feed = [
                np.concatenate(
                    [b.batch(i, epoch, order)[0] for i in range(len(b))]
                ).astype(bool)
                for b, order in zip(batches, orders, strict=True)
            ]
        else:
            feed = [order.astype("int32") for order in orders]
        # The memory of what goes in is used for what comes out.
        state = [*self.state, [b.copy() for b in self.blank]]
        logs, state = self._over(self._train, state, feed, first.batch_size)
        self.state = state[:3]
        return logs

    def test(self, x: Sequence[np.ndarray], batch_size: int) -> list[dict]:
        """Evaluates each model on images of its own, as `evaluate` does; the same."""
        *state, optimizer = self.state
        state = [*state, [b.copy() for b in self.blank]]
        logs, state = self._over(self._test, state, x, batch_size)
        self.state = [*state[:2], optimizer]
        return logs

    def read(self) -> list:
        """Takes the models' values; returns those of their metrics."""
        import jax

        *self.state, metrics = (
            [jax.numpy.stack(values) for values in zip(*of, strict=True)]
            for of in zip(*map(_values, self.models), strict=True)
        )
        return metrics

    def write(self) -> None:
        """Gives the models their values."""
        for model, values in zip(self.models, self._split(self.state), strict=True):
            for variables, new in zip(_variables(model)[:3], values, strict=True):
                for variable, value in zip(variables, new, strict=True):
                    variable.assign(value)

    def _over(self, function, state, feed, batch_size):
        """Whole batches in one call, and then the rest; logs by model."""
        feed = np.stack(feed, 1)  # (n, models, ...)
        whole = len(feed) // batch_size * batch_size
        parts = []
        for rows, size in ((feed[:whole], batch_size), (feed[whole:], 0)):
            if len(rows):
                steps = rows.reshape(-1, size or len(rows), *rows.shape[1:])
                state, logs = function(state, self.x, np.swapaxes(steps, 1, 2))
                parts.append({name: np.asarray(v) for name, v in logs.items()})
        logs = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        models = range(len(self.models))
        return [{name: v[:, i] for name, v in logs.items()} for i in models], state


def _loops_are_slow(model):
    """Whether it convolves on a CPU, where XLA has no fast kernel inside of loops.

    Nor has it one for kernels that differ by model, a convolution in groups.
    """
    import jax

    names = {type(layer).__name__ for layer in model._flatten_layers()}
    convolves = any("Conv" in name or "CNN" in name for name in names)
    return convolves and jax.default_backend() == "cpu"


def _epoch(step, unrolled):
    """An epoch of steps, each of all models; batches are images, or rows of x."""
    import jax

    def of_one(state, x, batch):
        images = x[batch] if batch.ndim == 1 else batch.astype(x.dtype)
        logs, state = step(tuple(state), (images, images))
        return [*map(list, state)], logs

    def of_all(state, x, batches):
        if not unrolled:
            return jax.vmap(of_one, (0, None, 0))(state, x, batches)
        found = [
            of_one(jax.tree.map(lambda a, i=i: a[i], state), x, batch)
            for i, batch in enumerate(batches)
        ]
        return jax.tree.map(lambda *values: jax.numpy.stack(values), *found)

    if not unrolled:
        return jax.jit(
            lambda state, x, feed: jax.lax.scan(
                lambda state, batches: of_all(state, x, batches), state, feed
            ),
            donate_argnums=0,
        )
    compiled = jax.jit(of_all, donate_argnums=0)

    def in_python(state, x, feed):
        logs = []
        for batches in feed:
            state, found = compiled(state, x, batches)
            logs.append(found)
        return state, jax.tree.map(lambda *values: np.stack(values), *logs)

    return in_python


def _variables(model):
    """In the order in which Keras's steps on JAX have them."""
    return [
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    ]


def _values(model):
    return [[v.value for v in of] for of in _variables(model)]


def _check_programs(models: Sequence[keras.Model], x: np.ndarray) -> None:
    """Raises a ValueError where steps differ in more than the values of variables.

    What Python holds, such as the order that a flow draws from a seed, is a constant
    of the compiled step.
    """
    import jax

    found = set()
    for model in models:
        lowered = jax.jit(model.train_step).lower(tuple(_values(model)), (x, x))
        found.add(lowered.as_text())
    if len(found) > 1:
        raise ValueError(
            "builds must make models whose compiled steps are one, and differ in the "
            "values of variables alone, such as weights and beta. Received: "
            f"{len(found)} steps of {len(models)} models. Train them one by one."
        )
