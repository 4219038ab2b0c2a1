"""One model for every rate: its layers are gated by beta, which training draws."""

from typing import Any

import keras
import numpy as np

from echo_keras.layers import (
    BetaInput,
    BetaRange,
    Channel,
    PseudoInputs,
    arguments,
)

from ._rebuild import AtBeta, WithGates, is_functional
from .memories import renew_memories
from .model import RateDistortionModel, find_layers

LEVELS = 13  # of channels with a memory, unless told: six to a decade from .1 to 10


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
        model = AtBeta(beta).rebuilt(self, RateDistortionModel)
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
    if not is_functional(model):
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
    return WithGates(beta_input).rebuilt(model, MultiRateModel)
