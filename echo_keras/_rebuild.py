"""Graphs of models anew, with gates for beta or at one beta."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from echo_keras.layers import BetaInput, Channel, RateGate
from echo_keras.layers.bottleneck import Bottleneck

from ._graph import inputs_of

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


class Rebuild:
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


class WithGates(Rebuild):
    """A model of one beta with gates, and with beta for its channels."""

    def __init__(self, beta_input):
        super().__init__()
        self.beta_input, self.beta = beta_input, None

    def rebuilt(self, model, kind):
        inputs = tree.map_structure(_like, inputs_of(model))
        self.beta = self.beta_input(tree.flatten(inputs)[0])
        return self.finished(model, kind(inputs, self.graph(model, inputs)))

    def call(self, op, *args, **kwargs):
        if not isinstance(op, keras.layers.Layer):
            return op(*args, **kwargs)
        if is_functional(op):
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


class AtBeta(Rebuild):
    """A multi-rate model at one beta."""

    def __init__(self, beta):
        super().__init__()
        self.beta = beta
        self.betas: list[Any] = []  # tensors that are beta

    def rebuilt(self, model, kind):
        inputs = tree.map_structure(_like, inputs_of(model))
        return self.finished(model, kind(inputs, self.graph(model, inputs)))

    def call(self, op, *args, **kwargs):
        if isinstance(op, BetaInput):
            beta = self.called(op, args, kwargs, trainable=False)
            self.made[id(op)].beta.assign(self.beta)
            self.betas.append(beta)
            return beta
        if not isinstance(op, keras.layers.Layer):
            return op(*args, **kwargs)
        if is_functional(op):
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


def is_functional(layer: keras.layers.Layer) -> bool:
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
