"""An encoder whose codes begin with the moments of the prior."""

import warnings

import keras
import numpy as np
from keras import ops

from echo_keras._graph import called_on, inputs_of
from echo_keras.layers import arguments
from echo_keras.layers.bottleneck import bottleneck_of
from echo_keras.layers.typing import Tensor


def pretrain_encoder(
    model: keras.Model,
    x: np.ndarray,
    steps: int = 200,
    batch_size: int = 1000,
    optimizer: keras.optimizers.Optimizer | None = None,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> float:
    """Moves the codes of an encoder to mean 0 and covariance I, before training.

    Minimizes `1/d ||mu||^2 + 1/d^2 ||Sigma - I||^2` of the mean and the
    covariance of a batch of codes of d dimensions, without noise. The decoder stays as
    it is. A penalty on the distance of q(z) from p(z) then begins near its least value,
    and so do the weights of a decoder that learns from these codes.

    Args:
        model: Model of one input, with one bottleneck of `echo_keras.layers`; it need
            not be compiled.
        x: Training images, shape (n, ...).
        steps: Int >= 1, at most so many batches.
        batch_size: Int >= 2; batches of different images, at most n.
        optimizer: Of these steps; Adam with a learning rate of 1e-3 if None.
        tolerance: Float >= 0; no more steps are made once the term is below it.
        seed: Int, of the choice of images.

    Returns:
        The term in the last batch.

    Raises:
        ValueError: an argument is out of range, or the model has not one bottleneck.

    Example:

    >>> from echo_keras import objectives
    >>> model = objectives.wae(encoder, decoder, 2)
    >>> adam = keras.optimizers.Adam(0.02)
    >>> pretrain_encoder(model, np.random.normal(size=(500, 8)), optimizer=adam) < 0.02
    True

    References:
        The code of Wasserstein autoencoders, `e_pretrain`, whose settings the
        Variational InfoMax Autoencoder takes over (App.). It compares with as many
        draws of the prior in the place of exact moments, and its tolerance is .1: that
        of d > 10 codes near 0 is below it from the start.
    """
    x = arguments.array("x", x)
    steps = arguments.integer("steps", steps)
    batch_size = arguments.integer("batch_size", batch_size, 2)
    tolerance = arguments.number("tolerance", tolerance, low=0)
    seed = arguments.seed(seed, optional=False)
    if not isinstance(optimizer, keras.optimizers.Optimizer | None):
        raise ValueError(
            f"optimizer must be a Keras optimizer or None. Received: {optimizer!r:.60}"
        )
    bottleneck = bottleneck_of(model)
    code = bottleneck.code(called_on(model, bottleneck))
    encoder = keras.Model(inputs_of(model), code)
    encoder.compile(optimizer or keras.optimizers.Adam(1e-3), loss=_moments_apart)
    generator, term = np.random.default_rng(seed), np.inf
    # Of which the loss has no use, but Keras asks for them.
    targets = np.zeros((min(batch_size, len(x)), *encoder.output.shape[1:]), "float32")
    with warnings.catch_warnings():
        # The weights of a channel's noise have no part in it.
        warnings.filterwarnings("ignore", "Gradients do not exist")
        for _ in range(steps):
            rows = generator.choice(len(x), len(targets), replace=False)
            term = float(encoder.train_on_batch(x[np.sort(rows)], targets))
            if term < tolerance:
                break
    return term


def _moments_apart(targets: Tensor, codes: Tensor) -> Tensor:
    """Mean squares of the codes' mean, and of their covariance less I."""
    mean = ops.mean(codes, axis=0)
    centred = codes - mean
    rows = ops.cast(ops.shape(codes)[0], codes.dtype)
    covariance = ops.matmul(ops.transpose(centred), centred) / (rows - 1.0)
    apart = covariance - ops.eye(codes.shape[-1], dtype=codes.dtype)
    return ops.mean(ops.square(mean)) + ops.mean(ops.square(apart))
