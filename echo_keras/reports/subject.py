"""A model and its data, and what several checks and sections need of them, once."""

import collections
import contextlib
import functools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from echo_keras import metrics
from echo_keras._graph import called_on, inputs_of
from echo_keras.layers import (
    Channel,
    EchoSample,
    GaussianSample,
    StandardNormal,
    arguments,
)
from echo_keras.layers.bottleneck import Bottleneck
from echo_keras.metrics.batching import count
from echo_keras.metrics.forward import forward_pass
from echo_keras.model import find_layers


class NotApplicable(ValueError):
    """Says why a check has nothing to look at."""


@contextlib.contextmanager
def own_noise(model: keras.Model, seed: int) -> Iterator[None]:
    """Inside, the model's generators begin from a seed; afterwards as if nothing was.

    What is drawn is then the same in every process, and the model is left as it was.
    """
    states = [v for v in model.variables if v.name == "seed_generator_state"]
    before = [np.array(ops.convert_to_numpy(v)) for v in states]
    for i, (state, old) in enumerate(zip(states, before, strict=True)):
        new = np.zeros_like(old)
        new[0] = (seed + i) % arguments.SEED_MAX
        state.assign(new)
    try:
        yield
    finally:
        for state, old in zip(states, before, strict=True):
            state.assign(old)


class Subject:
    """A model with at most so many examples of its data, and what is measured of them.

    Each measurement is made once. One that cannot be made raises a ValueError.
    """

    def __init__(
        self,
        model: keras.Model,
        x: Any,
        x_train: Any = None,
        y: Any = None,
        history: Any = None,
        error_rate: float = 0.01,
        examples: int = 1000,
        seed: int = 0,
        batch_size: int | None = None,
    ) -> None:
        self.model = arguments.layer("model", model, kind=keras.Model)
        count(x)
        for name, given in (("x", x), ("x_train", x_train), ("y", y)):
            for each in [] if given is None else tree.flatten(given):
                arguments.array(name, each, finite=False)
        if x_train is not None:
            count(x_train)
            if len(tree.flatten(x_train)) != len(tree.flatten(x)):
                raise ValueError(
                    "x_train must have as many arrays as x. Received: "
                    f"{len(tree.flatten(x_train))} and {len(tree.flatten(x))}"
                )
        if y is not None and count(y) != count(x):
            raise ValueError(
                f"y must have as many examples as x, {count(x)}. Received: {count(y)}"
            )
        self.error_rate = arguments.number("error_rate", error_rate, above=0, below=1)
        examples = arguments.integer("examples", examples, low=2)
        self.seed = arguments.seed(seed, optional=False)
        self.batch_size = arguments.integer("batch_size", batch_size, optional=True)
        self.logs = None if history is None else logs_of(history)
        self.whole_x, self.whole_train = x, x_train
        self.x, self.y = _some(x, examples), None if y is None else _some(y, examples)
        self.x_train = None if x_train is None else _some(x_train, examples)

    @property
    def n(self) -> int:
        return count(self.x)

    @functools.cached_property
    def targets(self) -> np.ndarray:
        """What the outputs are compared with: y, or of an autoencoder x."""
        y = self.x if self.y is None else self.y
        if tree.is_nested(y):
            raise NotApplicable("the model has several targets")
        return np.asarray(ops.convert_to_numpy(y))

    @functools.cached_property
    def channels(self) -> list[Channel]:
        return find_layers(self.model, Channel)

    @functools.cached_property
    def echoes(self) -> list[EchoSample]:
        """The Echo channels that were built; NotApplicable where there is none."""
        found = [c for c in self.channels if isinstance(c, EchoSample) and c.built]
        if not found:
            raise NotApplicable("the model has no Echo channel")
        return found

    @functools.cached_property
    def outputs(self) -> np.ndarray:
        """The raw outputs of a model of one output, as float64."""
        run = forward_pass(self.model, distortion=False)
        found = metrics.map_batches(lambda x: run(x).output, self.x, self.batch_size)
        if tree.is_nested(found):
            raise NotApplicable("the model has several outputs")
        return found.astype("float64")

    def rates(self, x: Any) -> np.ndarray:
        """The rate of each example in nats, whatever the model's loss is."""
        if not self.channels:
            raise NotApplicable("the model has no channel, and so no finite rate")
        run = forward_pass(self.model, distortion=False)
        found = metrics.map_batches(lambda x: run(x).rate, x, self.batch_size)
        if not np.isfinite(found).all():
            raise ValueError("rates must be finite. Received: NaN or infinity")
        return found.astype("float64")

    @functools.cached_property
    def rate(self) -> np.ndarray:
        return self.rates(self.x)

    @functools.cached_property
    def terms(self) -> tuple[np.ndarray | None, np.ndarray]:
        """Rate and distortion of each example, at inference."""
        return self.draw_terms()

    def draw_terms(
        self, training: bool = False
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """Rate and distortion of each example, with noise of its own at each call."""
        return metrics.per_example(
            self.model,
            self.x,
            self.y,
            batch_size=self.batch_size,
            training=training,
        )

    @functools.cached_property
    def floor(self) -> float:
        """The rate of a code that tells nothing: the lowest that channels reach."""
        return sum(lowest_rate(channel) for channel in self.channels)

    @functools.cached_property
    def layer(self) -> Bottleneck | Channel:
        """The one bottleneck or channel of a functional model."""
        layers = getattr(self.model, "layers", [])
        found = [c for c in layers if isinstance(c, Bottleneck | Channel)]
        if len(found) != 1 or not getattr(self.model, "inputs", None):
            raise NotApplicable(
                "the model must be functional, with one bottleneck or channel among "
                f"its layers: it has {len(found)}"
            )
        return found[0]

    @functools.cached_property
    def encoder(self) -> keras.Model:
        """From inputs to what the bottleneck receives."""
        return keras.Model(inputs_of(self.model), called_on(self.model, self.layer))

    def draw_codes(self) -> np.ndarray:
        """A noisy code of each example, (n, d), afresh at each call."""
        if getattr(self.layer, "channel", self.layer) is None:
            z = metrics.encode(self.model, self.x, False, batch_size=self.batch_size)
        else:
            z = metrics.map_batches(self._draw, self.x, self.batch_size)
        z = z.reshape(len(z), -1).astype("float64")
        if not np.isfinite(z).all():
            raise ValueError("codes must be finite. Received: NaN or infinity")
        return z

    def _draw(self, x):
        return self.layer.draw(self.encoder(x, training=False)).z

    @functools.cached_property
    def codes(self) -> np.ndarray:
        return self.draw_codes()

    @functools.cached_property
    def rate_by_dimension(self) -> np.ndarray | None:
        return metrics.rate_by_dimension(self.model, self.x, self.batch_size)


def _some(x: Any, n: int) -> Any:
    """Evenly from all over the file, the same rows of each array."""
    x = tree.map_structure(
        lambda a: ops.convert_to_numpy(a) if ops.is_tensor(a) else np.asarray(a), x
    )
    return tree.map_structure(lambda a: metrics.evenly_spaced(a, n), x)


def logs_of(history: Any) -> dict[str, list[Any]]:
    """What `fit` or `training.train` returned, as a list of values for each log."""
    history = getattr(history, "history", history)
    are_logs = isinstance(history, list | tuple) and len(history)
    if are_logs and all(isinstance(logs, dict) for logs in history):
        # Not what `train` measured beside the logs.
        names = [k for k, v in history[0].items() if not isinstance(v, dict)]
        history = {name: [logs.get(name) for logs in history] for name in names}
    if not isinstance(history, dict) or not history:
        raise ValueError(
            "history must be what fit returns, its dict of lists, or a list of dicts, "
            f"one for each epoch. Received: history={history!r:.100}"
        )
    return {
        name: arguments.array(f"history[{name!r}]", values, "(epochs,)", (1,), False)
        .astype("float64")
        .tolist()
        for name, values in history.items()
    }


def lowest_rate(channel: Channel) -> float:
    """The rate in nats at which a channel's code tells nothing of the input."""
    if isinstance(channel, EchoSample):
        return channel.min_rate
    variance = getattr(channel, "noise_variance", None)
    if isinstance(channel, GaussianSample) and variance and channel.dims:
        if channel.flow is None and isinstance(channel.marginal, StandardNormal):
            return 0.5 * channel.dims * (variance - math.log(variance) - 1.0)
    return 0.0


def repeats(x: Any) -> list[int]:
    """How often each different example is there, the most frequent first."""
    arrays = [np.asarray(a) for a in tree.flatten(x)]
    rows = (b"".join(a[i].tobytes() for a in arrays) for i in range(len(arrays[0])))
    return sorted(collections.Counter(rows).values(), reverse=True)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without warnings of what a finding says better: log n, values that are alike."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The rate")
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
