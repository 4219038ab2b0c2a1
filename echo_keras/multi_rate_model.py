"""One model for every rate: its layers are gated by beta, which training draws."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from echo_keras.layers import (
    BetaInput,
    BetaRange,
    Channel,
    PseudoInputs,
    RateGate,
    arguments,
)
from echo_keras.layers.bottleneck import Bottleneck

from .memories import renew_memories
from .model import RateDistortionModel, find_layers

LEVELS = 13  # of channels with a memory, unless told: six to a decade from .1 to 10
# Layers whose units are gated, before their activation.
GATED = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


@keras.saving.register_keras_serializable(package="echo_keras")
class MultiRateModel(RateDistortionModel):
    """A functional model with a `BetaInput`: one set of weights for all betas.

    `multi_rate` makes one of a model of one beta; or write it, with `RateGate` layers
    where the network should depend on beta. Training draws beta; its logs are means
    over the betas that were drawn. `evaluate`, `predict` and `val_` logs are of the
    model at the beta that `set_beta` chooses, at first the middle of the range.

    Args:
        inputs, outputs: As for `keras.Model`.

    Raises:
        ValueError: the model has no `BetaInput`, or several.

    Example: see `multi_rate`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = find_layers(self, BetaInput)
        if len(found) != 1:
            raise ValueError(
                f"A MultiRateModel must have one BetaInput. Received: {len(found)}"
            )
        self.beta_input = found[0]

    @property
    def betas(self) -> BetaRange:
        """The betas that training draws from."""
        return self.beta_input.betas

    def set_beta(self, beta: float) -> None:
        """Chooses the beta of `evaluate` and `predict`.

        Raises:
            ValueError: beta is out of range, or between the levels of a channel with a
                memory.
        """
        beta = self._checked(beta, between=False)
        for layer in (self.beta_input, *self._ranged()):
            layer.beta.assign(beta)

    def at(self, beta: float, x: Any = None) -> RateDistortionModel:
        """The model of one beta: a copy, without a beta that is drawn or handed on.

        It is an autoencoder like any, whose gates stand still: it is saved, measured,
        trained on and used for compression as one that was trained at this beta alone.

        Args:
            beta: Float in the range of `betas`. If channels have a memory, one of
                the levels, unless x is given.
            x: Examples in random order, with which the bank of an Echo channel and the
                frequencies of codewords are made anew for this beta; or None for those
                of the level.

        Raises:
            ValueError: beta is not as above.
        """
        beta = self._checked(beta, between=x is not None)
        model = _AtBeta(beta).rebuilt(self, RateDistortionModel)
        if x is not None:
            renew_memories(model, x)
        return model

    def _ranged(self):
        return [c for c in find_layers(self, Channel) if c.beta_range]

    def _checked(self, beta, between):
        betas = self.betas
        # Levels are rounded to float32 on their way.
        beta = arguments.number(
            "beta", beta, low=betas.low * (1 - 1e-6), high=betas.high * (1 + 1e-6)
        )
        if between or not any(channel.has_memory for channel in self._ranged()):
            return beta
        near = betas.values[np.argmin(np.abs(np.log(betas.values / beta)))]
        if not np.isclose(near, beta, rtol=1e-4):
            levels = ", ".join(f"{value:.3g}" for value in betas.values)
            raise ValueError(
                f"beta must be one of the levels {levels}, at which the channel has a "
                f"memory, or x be given to `at`, from which one is made. Received: "
                f"beta={beta:g}"
            )
        return float(near)


def multi_rate(
    model: keras.Model,
    low: float = 0.1,
    high: float = 10.0,
    levels: int | None = None,
    per: str = "batch",
    warmup: int = 0,
    seed: int | None = None,
) -> MultiRateModel:
    """A model of every rate, from a functional one of one rate.

    Behind every dense and every convolutional layer of the model and of models within
    it, before the activation, stands a `RateGate`; each channel has a `BetaRange`, and
    a `BetaInput` gives both the beta of a batch. A bottleneck with a Gaussian or an
    Echo channel also learns, for each dimension, how fast its noise grows with beta,
    from what a linear model has: variances proportional to beta. All gates begin at 1:
    in the middle of the range the new model begins as the one it is made of, with its
    weights.

    Args:
        model: Functional Keras model with at least one channel or bottleneck, such as
            `autoencoder` and `objectives` make. It is not changed. What it was compiled
            with, the new one is compiled with.
        low, high: Floats, 0 < low < high, the betas between which training draws, log
            beta uniformly.
        levels: Int >= 2, so many betas in place of all between; None for 13 if a
            channel keeps a memory for each (`EchoSample`, `VectorQuantizer`), else for
            all.
        per: "batch", or "example" for a beta of each; see `BetaInput`.
        warmup: Int >= 0, training batches in which the range widens from its lower end;
            see `BetaInput`. A quarter of a training is a good choice.
        seed: Int or None, of the betas.

    Raises:
        ValueError: the model is not functional, has no channel, has one whose beta
            follows a rule, has batch normalization, whose statistics at inference
            would be those of all betas together, or pseudo-inputs beside a beta of
            each example.

    Example:

    >>> from echo_keras import autoencoder
    >>> from echo_keras.layers import EchoBottleneck
    >>> from echo_keras.losses import Bernoulli
    >>> from echo_keras.networks import dense_decoder, dense_encoder
    >>> x = np.random.default_rng(0).integers(0, 2, (200, 8)).astype("float32")
    >>> one = autoencoder(
    ...     dense_encoder((8,)), EchoBottleneck(2), dense_decoder(2, (8,)))
    >>> model = multi_rate(one)
    >>> model.compile("adam", loss=Bernoulli())
    >>> log = model.fit(x, batch_size=100, epochs=15, verbose=0)
    >>> cheap, dear = model.at(0.1), model.at(10.0)
    >>> rates = [m.evaluate(x, verbose=0, return_dict=True)["rate"]
    ...          for m in (cheap, dear)]
    >>> rates[0] > rates[1]
    True

    References:
        Bae et al., Multi-Rate VAE: Train Once, Get the Full Rate-Distortion Curve
        (ICLR 2023).
    """
    arguments.layer("model", model, kind=keras.Model)
    if not _is_functional(model):
        raise ValueError(
            f"model must be functional. Received: model={model!r}, a "
            f"{type(model).__name__}"
        )
    channels = find_layers(model, Channel)
    if not channels or any(c.beta_rule or c.beta_range for c in channels):
        raise ValueError(
            f"model must have a channel, and numbers for the beta of all. Received: "
            f"{[c.beta_rule or c.beta_range or c.initial_beta for c in channels]}"
        )
    if find_layers(model, keras.layers.BatchNormalization):
        raise ValueError(
            "model must have no BatchNormalization, whose statistics at inference "
            "would be those of all betas together. Received: a model with one"
        )
    if per == "example" and find_layers(model, PseudoInputs):
        raise ValueError(
            "per must be 'batch' for a model with PseudoInputs, which belong to all "
            "examples of a batch. Received: per='example'"
        )
    if levels is None and any(channel.has_memory for channel in channels):
        levels = LEVELS
    beta_input = BetaInput(BetaRange(low, high, levels), per, warmup, seed)
    return _WithGates(beta_input).rebuilt(model, MultiRateModel)


class _Rebuild:
    """The graph of a model anew, with each layer's call replaced by `self.call`."""

    def __init__(self):
        self.made = {}  # by the identity of the layer that it stands for

    def graph(self, model, inputs):
        """The outputs of a functional or sequential model's graph on new inputs."""
        # Keras has no public way to it in which a new input takes part.
        model = getattr(model, "_functional", model)
        return model._run_through_graph(inputs, call_fn=self.call)

    def finished(self, old, new):
        if old.compiled:
            new.compile_from_config(old.get_compile_config())
        return new

    def called(self, old, args, kwargs, **changes):
        """The outputs of a copy of a layer, other than in some of its configuration."""
        new = self.made.get(id(old))
        if new is None:
            new = type(old).from_config({**old.get_config(), **changes})
            # Which layers within it are frozen is not in its configuration.
            parts = (x._flatten_layers(include_self=False) for x in (old, new))
            for given, found in zip(*parts, strict=False):
                found.trainable = given.trainable
            self.made[id(old)] = new
            outputs = new(*args, **kwargs)
            self.copy_weights(old, new)
            return outputs
        return new(*args, **kwargs)

    def copy_weights(self, old, new):
        # In their order: the names of layers within layers may be others.
        for a, b in zip(_weights_of(old), _weights_of(new), strict=True):
            if a.shape == b.shape:  # memories have a level more or less
                # A copy: on JAX a training of the one would delete the other's as well.
                b.assign(np.array(ops.convert_to_numpy(a)))
        for layer in new._flatten_layers():
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()  # by which it divides is no weight


class _WithGates(_Rebuild):
    """A model of one beta with gates, and with beta for its channels."""

    def __init__(self, beta_input):
        super().__init__()
        self.beta_input, self.beta = beta_input, None

    def rebuilt(self, model, kind):
        inputs = tree.map_structure(_like, model.input)
        self.beta = self.beta_input(tree.flatten(inputs)[0])
        return self.finished(model, kind(inputs, self.graph(model, inputs)))

    def call(self, op, *args, **kwargs):
        if not isinstance(op, keras.layers.Layer):
            return op(*args, **kwargs)
        if _is_functional(op):
            return self.model_of(op)([*tree.flatten(args), self.beta], **kwargs)
        if _channel(op) is not None:
            kwargs["beta"] = self.beta
            betas = keras.saving.serialize_keras_object(self.beta_input.betas)
            return self.called(op, args, kwargs, beta=betas)
        if not isinstance(op, GATED):
            return self.called(op, args, kwargs)
        # A subclass may do something after the activation: its output is gated.
        plain = type(op) in GATED
        moved = dict.fromkeys(("activation", "activity_regularizer"))
        h = self.called(op, args, kwargs, **(moved if plain else {}))
        first = getattr(op, "data_format", None) == "channels_first"
        like = {"dtype": op.dtype_policy}
        gate = self.once(op, "gate", RateGate, axis=1 if first else -1, **like)
        h = gate([h, self.beta])
        linear = op.activation is keras.activations.linear
        if not plain or linear and op.activity_regularizer is None:
            return h
        like["activity_regularizer"] = op.activity_regularizer
        kind = keras.layers.Activation
        return self.once(op, "activation", kind, activation=op.activation, **like)(h)

    def once(self, op, name, kind, **given):
        """A layer that goes with another, made once however often that is called."""
        key = id(op), name
        if key not in self.made:
            self.made[key] = kind(name=f"{op.name}_{name}", **given)
        return self.made[key]

    def model_of(self, model):
        """A model within the model, with beta as its last input."""
        if id(model) not in self.made:
            outside, inputs = self.beta, [_like(x) for x in model.inputs]
            self.beta = keras.Input(batch_shape=outside.shape, name="beta")
            outputs = self.graph(model, inputs)
            inputs.append(self.beta)
            self.made[id(model)] = keras.Model(inputs, outputs, name=model.name)
            self.beta = outside
        return self.made[id(model)]

    def copy_weights(self, old, new):
        super().copy_weights(old, new)
        if _channel(old) is not None:
            channel, betas = _channel(new), self.beta_input.betas
            for beta in betas.values if channel.has_memory else []:
                channel.beta.assign(beta)
                channel.take_memory(_channel(old))
            channel.beta.assign(betas.middle)


class _AtBeta(_Rebuild):
    """A multi-rate model at one beta."""

    def __init__(self, beta):
        super().__init__()
        self.beta = beta
        self.betas: list[Any] = []  # tensors that are beta

    def rebuilt(self, model, kind):
        inputs = tree.map_structure(_like, model.input)
        return self.finished(model, kind(inputs, self.graph(model, inputs)))

    def call(self, op, *args, **kwargs):
        if isinstance(op, BetaInput):
            beta = self.called(op, args, kwargs, trainable=False)
            self.made[id(op)].beta.assign(self.beta)
            self.betas.append(beta)
            return beta
        if not isinstance(op, keras.layers.Layer):
            return op(*args, **kwargs)
        if _is_functional(op):
            return self.nested(op, tree.flatten(args), kwargs)
        if isinstance(op, RateGate) and op.beta is None and self.is_beta(args[0][1]):
            return self.called(op, [args[0][0]], kwargs, beta=self.beta)
        channel = _channel(op)
        if channel is not None and channel.beta_range:
            beta = kwargs.pop("beta", None)
            if not self.is_beta(beta) and kwargs.get("method") is None:
                raise ValueError(
                    f"beta must be what the BetaInput gives in the call of a channel. "
                    f"Received: another tensor in that of {op.name}"
                )
            return self.called(op, args, kwargs, beta=self.beta)
        return self.called(op, args, kwargs)

    def is_beta(self, x):
        return any(x is beta for beta in self.betas)

    def nested(self, model, given, kwargs):
        """A model within the model, without the inputs that are beta."""
        is_beta = [self.is_beta(x) for x in given]
        if all(is_beta):  # a function of beta alone
            is_beta = [False] * len(given)
        rest = [x for x, beta in zip(given, is_beta, strict=True) if not beta]
        if id(model) not in self.made:
            inputs = [_like(x) for x in model.inputs]
            inside = [x for x, beta in zip(inputs, is_beta, strict=True) if not beta]
            outside, self.betas = self.betas, []
            for n, beta in enumerate(is_beta):
                if beta:
                    inputs[n] = self.constant(inside[0])
            outputs = self.graph(model, inputs)
            self.made[id(model)] = keras.Model(_one(inside), outputs, name=model.name)
            self.betas = outside
        return self.made[id(model)](_one(rest), **kwargs)

    def constant(self, x):
        """Beta as a tensor, for layers which take it that this file does not know."""
        layer = BetaInput(trainable=False, name="beta")
        beta = layer(x)
        layer.beta.assign(self.beta)
        self.betas.append(beta)
        return beta

    def copy_weights(self, old, new):
        super().copy_weights(old, new)
        ranged, channel = _channel(old), _channel(new)
        if ranged is None or not ranged.beta_range:
            return
        if getattr(old, "slope", None) is not None:
            bias = new.heads[1].bias
            steps = np.log(self.beta / ranged.beta_range.middle)
            bias.assign(bias + steps * ops.cast(old.slope, bias.dtype))
        channel.beta.assign(self.beta)
        before = float(ops.convert_to_numpy(ranged.beta))  # of PyTorch a view else
        ranged.beta.assign(self.beta)
        channel.take_memory(ranged)
        ranged.beta.assign(before)


def _channel(layer):
    """The channel that a layer is or has; None if there is none."""
    channel = layer.channel if isinstance(layer, Bottleneck) else layer
    return channel if isinstance(channel, Channel) else None


def _is_functional(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a model with a graph."""
    sequential = isinstance(layer, keras.Sequential) and layer.built
    return sequential or (
        isinstance(layer, keras.Model) and hasattr(layer, "_run_through_graph")
    )


def _like(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name)


def _one(inputs: Sequence[Any]) -> Any:
    return inputs[0] if len(inputs) == 1 else list(inputs)


def _weights_of(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The variables of a layer but those that it has with a `BetaRange` alone."""
    channel = _channel(layer)
    added = [layer.slope] if isinstance(layer, Bottleneck) else []
    added += [getattr(channel, x, None) for x in ("level_frequencies", "level_steps")]
    return [v for v in layer.variables if not any(v is x for x in added)]
