"""The rate of each latent dimension of a trained model."""

from typing import Any

import keras
import numpy as np
from keras import ops

from echo_keras.layers import Channel, GaussianSample, StandardNormal, arguments
from echo_keras.layers.bottleneck import Bottleneck
from echo_keras.layers.numerics import unmasked_positions
from echo_keras.model import find_layers

from .._graph import before, calls
from .batching import check_finite, map_batches, of_inputs


def rate_by_dimension(
    model: keras.Model, x: Any, batch_size: int | None = None
) -> np.ndarray | None:
    """What each latent dimension adds to the rate, a mean over examples.

    Args:
        model: A functional Keras model, such as a `RateDistortionModel`.
        x: Inputs: an array (n, ...), or a list or dict of arrays.
        batch_size: Int >= 1; see `map_batches`.

    Returns:
        Array (d,) in nats, in the order of the dimensions, or of a quantizer's groups,
        whose sum is the rate. None where the rate is no sum over dimensions: the model
        is not functional, or has not just one channel, a bottleneck or a channel among
        its own layers that it calls once, or the channel does not tell (a flow, a
        marginal other than the standard normal).

    Raises:
        ValueError: as `map_batches`.

    Example:

    >>> from echo_keras import objectives
    >>> model = objectives.vae(encoder, decoder, 2)
    >>> rate_by_dimension(model, np.ones((20, 8))).shape
    (2,)
    """
    arguments.layer("model", model, kind=keras.Model)
    channels = [c for c in model.layers if isinstance(c, Bottleneck | Channel)]
    if not getattr(model, "inputs", None):  # subclassed: nobody knows its graph
        return None
    if len(channels) != 1 or len(find_layers(model, Channel)) != 1:
        return None
    (layer,) = channels
    if len(calls(model, layer)) != 1:
        return None
    (channel,) = find_layers(model, Channel)
    if not _adds_up(channel):
        return None
    encoder = before(model, layer)

    def of_batch(x):
        check_finite("x", x)
        found = encoder(x, training=False)
        with unmasked_positions(found["mask"]):
            parts = layer.rate_by_dimension(found["inputs"])
        return ops.reshape(parts, (ops.shape(parts)[0], -1))

    return map_batches(of_inputs(of_batch, x), x, batch_size).mean(
        axis=0, dtype="float64"
    )


def _adds_up(channel):
    if isinstance(channel, GaussianSample):
        return channel.flow is None and isinstance(channel.marginal, StandardNormal)
    return hasattr(channel, "rate_by_dimension")
