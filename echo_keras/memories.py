"""Memories of channels, made anew by the weights as they are now."""

from typing import Any

import keras
from keras import tree

from echo_keras.layers import Channel, arguments
from echo_keras.layers.bottleneck import Bottleneck
from echo_keras.layers.channel import mask_beside_beta
from echo_keras.layers.numerics import unmasked_positions

from .metrics import map_batches


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
        ValueError: the model has no channel with a memory among its layers, or one with
            a `BetaRange` (see `MultiRateModel.at`).

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
        given = tree.map_structure(lambda a, n=channel.memory_rows: a[:n], x)
        found = map_batches(_what_receives(layer, model), given, batch_size)
        inputs, mask = found["inputs"], found.get("mask")
        with unmasked_positions(mask):
            if isinstance(layer, Bottleneck):
                inputs = layer.encode(inputs)
            channel.renew_memory(inputs)


def _what_receives(layer, model):
    """A function from a batch to a layer's inputs, and their mask if they have one."""
    features = keras.Model(model.input, layer.input)

    def of_batch(x):
        inputs = features(x, training=False)
        mask = mask_beside_beta(None, inputs)
        return {"inputs": inputs} | ({} if mask is None else {"mask": mask})

    return of_batch
