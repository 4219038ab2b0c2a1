"""Memories of channels, made anew by the weights as they are now."""

from typing import Any

import keras
from keras import ops, tree

from echo_keras.layers import Channel, arguments
from echo_keras.layers.backend import no_gradients
from echo_keras.layers.bottleneck import Bottleneck
from echo_keras.layers.numerics import unmasked_positions

from ._graph import before


def renew_memories(model: keras.Model, x: Any, batch_size: int = 100) -> None:
    """Fills the banks of Echo channels, and counts codewords, by today's encoder.

    The rows of a bank are some batches behind the weights that a training ends with,
    and belong to others once weights are changed by hand. A `VectorQuantizer` has its
    frequencies from a moving average; those of `x` are exact.

    Args:
        model: Functional Keras model with `EchoSample`, `VectorQuantizer`, or their
            bottlenecks among its layers, not within other models.
        x: Examples in random order, as the model takes them. A bank takes the first
            `bank_size` of them.
        batch_size: Int >= 1, of the encoder's pass.

    Raises:
        ValueError: there are no examples, or the model has no channel with a memory
            among its layers, or one with a `BetaRange` (see `MultiRateModel.at`).

    Example:

    >>> import numpy as np
    >>> from echo_keras import autoencoder
    >>> from echo_keras.layers import EchoBottleneck
    >>> from echo_keras.networks import dense_decoder, dense_encoder
    >>> bottleneck = EchoBottleneck(2)
    >>> model = autoencoder(dense_encoder((8,)), bottleneck, dense_decoder(2, (8,)))
    >>> renew_memories(model, np.ones((150, 8), "float32"))
    >>> float(bottleneck.channel.bank_rows.value)
    150.0
    """
    arguments.layer("model", model, kind=keras.Model)
    batch_size = arguments.integer("batch_size", batch_size)
    for each in tree.flatten(x):
        arguments.array("x", each, finite=False)
    found = []
    for layer in model.layers:
        channel = layer.channel if isinstance(layer, Bottleneck) else layer
        if isinstance(channel, Channel) and channel.has_memory:
            found.append((layer, channel))
    if not found or any(channel.beta_range for _, channel in found):
        raise ValueError(
            f"model must have a channel with a memory and a number for beta among its "
            f"layers. Received: {[channel.beta_range for _, channel in found]}"
        )
    for layer, channel in found:
        inputs, mask = _received(layer, model, x, channel.memory_rows, batch_size)
        with unmasked_positions(mask):
            if isinstance(layer, Bottleneck):
                inputs = layer.encode(inputs)
            channel.renew_memory(inputs)


def _received(layer, model, x, rows, batch_size):
    """A layer's inputs for the first examples of x, and their mask."""
    encoder = before(model, layer)
    x = tree.map_structure(lambda a: a[:rows], x)
    parts = []
    for start in range(0, len(tree.flatten(x)[0]), batch_size):
        batch = slice(start, start + batch_size)
        with no_gradients():
            part = tree.map_structure(lambda a, b=batch: a[b], x)
            parts.append(encoder(part, training=False))
    found = tree.map_structure(lambda *p: ops.concatenate(p), *parts)
    return found["inputs"], found["mask"]
