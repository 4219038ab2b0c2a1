r"""How many nats pass a layer of a trained network.

A deterministic layer has no finite rate: its features could carry any number of nats.
`RateProbe` asks instead how few suffice. It puts a channel behind the layer, leaves
all else as it is, and trains the channel alone to carry less and less, until the loss
of the task has risen by a tolerance.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from echo_keras.layers import (
    Channel,
    EchoSample,
    GaussianBottleneck,
    GaussianSample,
    arguments,
)
from echo_keras.layers.bottleneck import Bottleneck
from echo_keras.metrics.batching import map_batches
from echo_keras.metrics.forward import forward_pass
from echo_keras.model import find_layers

WIDEST = 1024  # features, beyond which heads of as many units are slow
START = 4.0  # log of signal by noise of each dimension before training
# Of beta, in units of the tolerance per nat.
LOWEST, FACTOR, STEPS = 1e-3, 2.0, 24
CLOSED = 0.01  # nats above the least that the channel can have: nothing passes


@dataclasses.dataclass(frozen=True)
class ProbeReading:
    """What a probe has read.

    Attributes:
        layer: The layer's name.
        rate: Nats per example that passed where the loss had risen by the tolerance:
            an upper bound on what must pass.
        rate_se: Its standard error over examples.
        loss_without: The loss of the network as it is.
        limit: The loss at which the rate was read, `loss_without` and the tolerance; or
            the loss of a channel that lets nothing through, if that is less.
        score_without: What `score` gave for the network as it is, or None.
        score: What it gave with the channel of the lowest rate within the limit.
        path: A dict for each beta, in order: `beta`, `rate`, `rate_se`, `loss`,
            `score`. Together they are the layer's curve of loss against rate.
    """

    layer: str
    rate: float
    rate_se: float
    loss_without: float
    limit: float
    score_without: float | None
    score: float | None
    path: list[dict[str, Any]]


class RateProbe:
    r"""A channel in a trained network, to read how many nats pass a layer.

    Behind the layer's features h stand

    `h -> whitening -> channel -> linear map -> whitening undone -> rest of the network`

    of which the channel, that is its heads, and the linear map are trained; both begin
    as the identity. The whitening is that of the features of the training examples, so
    that a channel with a standard normal marginal fits any layer. The network itself,
    a frozen copy of it in inference mode, stays as it is.

    The loss is that of the task plus beta times the rate. Beta rises by factors of two
    from a thousandth of the tolerance per nat; each training goes on from the one
    before, until the loss exceeds that of the network by more than the tolerance, also
    after twice the epochs, or nothing passes any more. The rate is read between the
    last two, linearly: what drawing one of two channels by a coin attains. A rule that
    held the loss at the limit by moving beta, in one training, would save epochs; but
    its reading would depend on whether the loop has settled, which is not known of a
    network that nobody has probed yet. The path also is the whole curve.

    The reading bounds from above what must pass: another channel, or longer training,
    may do with less. With a Gaussian channel it is a bound on I(X; Z) besides.

    Args:
        model: Trained functional or sequential Keras model of one output, without
            channels of its own. It is not changed.
        layer: Name of one of its layers, which is called once and which everything on
            the way from inputs to output passes.
        tolerance: Float > 0, by how much the mean loss may rise.
        channel: A bottleneck of `echo_keras.layers`, such as `EchoBottleneck(16)`,
            which is to be used for one probe alone; None for a `GaussianBottleneck`
            with as many units as the features have dimensions in which they vary. One
            with fewer units keeps the leading principal components.
        loss: Loss of the task; that which the model was compiled with if None.
        score: Function of targets and outputs, arrays (n, ...), to a number, such as
            the accuracy; or None.
        learning_rate: Float > 0, Adam's at the first epoch of each beta. It falls to
            nearly 0 at the last: what Adam's steps of one size do to an output that was
            right would be taken for what the noise does.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    >>> network.compile(loss="mse")
    >>> x = np.random.default_rng(0).normal(size=(100, 8)).astype("float32")
    >>> probe = RateProbe(network, network.layers[0].name, tolerance=0.1)
    >>> reading = probe.fit(x, network.predict(x, verbose=0))
    >>> reading.path[0]["loss"] < reading.limit, reading.rate > 0
    (True, True)

    References:
        Tishby & Zaslavsky, Deep Learning and the Information Bottleneck Principle
        (2015), on layers in the plane of rate and loss; Echo paper, Sec. 2 and 6.
    """

    def __init__(
        self,
        model: keras.Model,
        layer: str,
        tolerance: float,
        channel: Bottleneck | None = None,
        loss: Any = None,
        score: Callable[[np.ndarray, np.ndarray], float] | None = None,
        learning_rate: float = 0.01,
    ) -> None:
        arguments.layer("model", model, kind=keras.Model)
        self.layer = arguments.text("layer", layer)
        self.tolerance = arguments.number("tolerance", tolerance, above=0)
        arguments.layer("channel", channel, kind=Bottleneck, optional=True)
        noise = getattr(channel, "channel", None)
        if channel is not None and not isinstance(noise, GaussianSample | EchoSample):
            raise ValueError(
                "channel must be a GaussianBottleneck or an EchoBottleneck. Received: "
                f"channel={channel!r}"
            )
        self.channel = channel
        loss = getattr(model, "loss", None) if loss is None else loss
        try:
            self.loss = keras.losses.get(loss)
        except ValueError as error:
            raise ValueError(
                f"loss must be a Keras loss. Received: {loss!r}"
            ) from error
        if not callable(self.loss):
            raise ValueError(
                "loss must be given, or the model compiled with one. Received: "
                f"loss={loss!r}"
            )
        self.score = arguments.function("score", score, optional=True)
        self.learning_rate = arguments.number("learning_rate", learning_rate, above=0)
        self.front, self.back = _cut(model, self.layer)

    def fit(
        self,
        x: Any,
        y: Any,
        validation: tuple[Any, Any] | None = None,
        epochs: int = 5,
        batch_size: int = 100,
    ) -> ProbeReading:
        """Trains the channel and reads the rate.

        Args:
            x: Inputs, array (n, ...) or a list of arrays.
            y: Targets of the task's loss, array (n, ...). With the network's own
                outputs as targets the question is what must pass for the outputs to
                stay, and the channel has nothing to overfit to, as it has with labels.
            validation: Pair of inputs and targets that loss and rate are measured on;
                None measures on x and y.
            epochs: Int >= 1, for each beta. With too few the channel lags behind beta,
                and the reading is too high: some hundred steps for each are wanted.
            batch_size: Int >= 1.

        Raises:
            ValueError: arrays are not as above; the features do not vary; or the loss
                exceeds the limit even where the channel lets most through.
        """
        epochs = arguments.integer("epochs", epochs)
        batch_size = arguments.integer("batch_size", batch_size)
        y = arguments.array("y", y)
        pair = (x, y) if validation is None else validation
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(
                "validation must be a pair of inputs and targets, or None. Received: "
                f"{type(validation).__name__}"
            )
        features = self._features(x)
        held_out = features if validation is None else self._features(pair[0])
        targets = arguments.array("validation's targets", pair[1])
        for name, a, b in (("y", features, y), ("validation", held_out, targets)):
            if len(a) != len(b):
                raise ValueError(
                    f"{name} must have as many targets as inputs, {len(a)}. Received: "
                    f"{len(b)}"
                )
        probed = self._probed(features)
        noise = self.channel.channel
        outputs = map_batches(lambda h: self.back(h, training=False), held_out)
        without, score_without = self._measured(targets, outputs)
        limit = without + self.tolerance
        floor = CLOSED
        if isinstance(noise, EchoSample):
            floor += noise.min_rate
        path: list[dict[str, Any]] = []
        beta = LOWEST * self.tolerance
        falling = keras.callbacks.LearningRateScheduler(
            lambda epoch: self.learning_rate * (1 - epoch / epochs) ** 2
        )
        how = {"epochs": epochs, "callbacks": [falling], "verbose": 0}
        for _ in range(STEPS):
            noise.beta.assign(beta)
            before = probed.get_weights()
            for _ in range(2):  # it may need more epochs to follow a higher beta
                probed.fit(features, y, batch_size, **how)
                found = self._at(probed, held_out, targets)
                if found["loss"] <= limit:
                    break
            path.append({"beta": beta, **found})
            if found["loss"] > limit or found["rate"] <= floor:
                break
            beta *= FACTOR
        if path[-1]["loss"] > limit and len(path) == 1:
            raise ValueError(
                f"tolerance must be more than what the loss rises by where the channel "
                f"lets {path[0]['rate']:.1f} nats pass, "
                f"{path[0]['loss'] - without:.3g}. Received: tolerance="
                f"{self.tolerance}. More units or epochs may help."
            )
        if path[-1]["loss"] > limit:
            probed.set_weights(before)
        rate, error, limit = _read(path, limit)
        inside = [step for step in path if step["loss"] <= limit]
        score = inside[-1]["score"] if inside else None
        given = without, limit, score_without, score
        return ProbeReading(self.layer, rate, error, *given, path)

    def _features(self, x):
        """The layer's output for inputs."""
        return map_batches(lambda batch: self.front(batch, training=False), x)

    def _probed(self, features):
        """From features to outputs, with the channel between, compiled."""
        mean, to_white, from_white = _whitening(features, self.channel)
        if self.channel is None:
            self.channel = GaussianBottleneck(to_white.shape[1], name="probe")
        units, width = self.channel.units, features.shape[-1]
        inputs = keras.Input(features.shape[1:])
        whiten = keras.layers.Dense(units, trainable=False, name="whiten")
        linear = keras.layers.Dense(units, name="linear")
        restore = keras.layers.Dense(width, trainable=False, name="restore")
        outputs = restore(linear(self.channel(whiten(inputs))))
        whiten.set_weights([to_white, -mean @ to_white])
        restore.set_weights([from_white, mean])
        linear.set_weights([np.eye(units), np.zeros(units)])
        signal, *others = self.channel.heads
        signal.kernel.assign(np.eye(units))
        for head in others[:1]:
            scale = 1 if isinstance(self.channel.channel, EchoSample) else 2
            head.kernel.assign(np.zeros((units, units)))
            head.bias.assign(np.full(units, -START * scale))
        model = keras.Model(inputs, self.back(outputs, training=False))
        model.compile(keras.optimizers.Adam(self.learning_rate), loss=self.loss)
        return model

    def _at(self, model, features, targets):
        """Rate and loss of examples, and the score, at the present weights."""
        run = forward_pass(model, distortion=False)

        def of_batch(h):
            found = run(h)
            return {"output": found.output, "rate": found.rate}

        found = map_batches(of_batch, features)
        rate = found["rate"].astype("float64")
        loss, score = self._measured(targets, found["output"])
        error = float(rate.std(ddof=1) / len(rate) ** 0.5) if len(rate) > 1 else 0.0
        numbers = {"rate": float(rate.mean()), "rate_se": error}
        return {**numbers, "loss": loss, "score": score}

    def _measured(self, targets, outputs):
        """The mean loss, and the score or None."""
        loss = float(np.mean(ops.convert_to_numpy(self.loss(targets, outputs))))
        score = None if self.score is None else float(self.score(targets, outputs))
        return loss, score


def _cut(model: keras.Model, name: str) -> tuple[keras.Model, keras.Model]:
    """A frozen copy of a network in two parts, the first up to a layer's output."""
    known = [layer.name for layer in model.layers]
    if name not in known:
        raise ValueError(
            f"layer must be one of {', '.join(known)}. Received: layer={name!r}"
        )
    if find_layers(model, Channel):
        raise ValueError(
            "model must have no channel of its own, which a rate would count as well. "
            f"Received: {model!r}"
        )
    if not isinstance(getattr(model, "inputs", None), list | tuple):
        raise ValueError(
            f"model must be functional or sequential. Received: {type(model).__name__}"
        )
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.trainable = False
    try:
        h = copy.get_layer(name).output
        if not isinstance(h, keras.KerasTensor) or len(copy.outputs) != 1:
            raise ValueError("a layer or a model of several outputs")
        inputs = copy.inputs if len(copy.inputs) > 1 else copy.inputs[0]
        (outputs,), before = copy.outputs, h
        if h is outputs:  # of the last layer
            before = keras.Input(h.shape[1:])
            outputs = keras.layers.Identity()(before)
        return keras.Model(inputs, h), keras.Model(before, outputs)
    except (ValueError, AttributeError) as error:
        raise ValueError(
            "layer must be called once, have one output, and be passed by everything "
            f"on the way from the inputs to the one output of the model. Received: "
            f"layer={name!r} ({str(error).splitlines()[0]})"
        ) from error


def _whitening(
    features: np.ndarray, channel: Bottleneck | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, the map to a variance of 1 or less in principal directions, and back."""
    width = features.shape[-1]
    if features.dtype.kind != "f" and features.dtype.name != "bfloat16":
        raise ValueError(
            f"layer must give real numbers. Received: features of {features.dtype}"
        )
    if channel is None and width > WIDEST:
        raise ValueError(
            f"channel must be given for a layer of more than {WIDEST:,} features, such "
            f"as GaussianBottleneck(256). Received: channel=None, {width:,} features"
        )
    rows = features.reshape(-1, width).astype("float64")
    mean = rows.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(rows.T).reshape(width, width))
    variances, axes = variances[::-1], axes[:, ::-1]
    varying = int(np.sum(variances > 1e-7 * max(variances[0], 1e-30)))
    if not varying or not variances[0] > 0:
        raise ValueError(
            "layer must give features that vary over x. Received: constant features"
        )
    units = varying if channel is None else channel.units
    used = min(units, varying)
    to_white, from_white = np.zeros((width, units)), np.zeros((units, width))
    # Directions that hardly vary over x may do so elsewhere: their scale has a floor.
    scale = np.sqrt(np.maximum(variances[:used], 1e-3 * variances[0]))
    to_white[:, :used] = axes[:, :used] / scale
    from_white[:used] = (axes[:, :used] * scale).T
    return mean, to_white, from_white


def _read(path: Sequence[dict[str, Any]], limit: float) -> tuple[float, float, float]:
    """Rate and its error where the loss reaches the limit, and the loss there."""
    last = path[-1]
    if last["loss"] <= limit:
        return last["rate"], last["rate_se"], last["loss"]
    before = path[-2]
    share = (limit - before["loss"]) / (last["loss"] - before["loss"])
    rate, error = (
        before[key] + share * (last[key] - before[key]) for key in ("rate", "rate_se")
    )
    return rate, error, limit
