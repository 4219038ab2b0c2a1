"""Models assembled from an encoder, a bottleneck and a decoder."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from echo_keras.layers import (
    GANPenalty,
    PixelCNN,
    PriorSamples,
    PseudoInputs,
    ShuffledCodes,
    arguments,
)

from .model import RateDistortionModel
from .networks import conv_decoder, conv_encoder


def made(name: str, value: Any, *given: Any) -> keras.layers.Layer:
    """A network, or what a function makes of what is given; else a ValueError."""
    if not isinstance(value, keras.layers.Layer) and callable(value):
        return arguments.layer(f"What {name} makes", value(*given))
    if not isinstance(value, keras.layers.Layer):
        raise ValueError(
            f"{name} must be a Keras layer, or a function that makes one. "
            f"Received: {name}={value!r}"
        )
    return value


def autoencoder(
    encoder: keras.Model | Callable[[], keras.Model],
    bottleneck: keras.layers.Layer,
    decoder: keras.layers.Layer | Callable[[int], keras.layers.Layer],
    penalties: Sequence[keras.layers.Layer] = (),
    pseudo_inputs: PseudoInputs | None = None,
    input_noise: keras.layers.Layer | None = None,
    gan_penalty: GANPenalty | None = None,
    generated: bool | keras.layers.Layer = False,
) -> RateDistortionModel:
    """A `RateDistortionModel` of an encoder, a bottleneck, penalties and a decoder.

    An encoder of several inputs makes a conditional model: the first are the data, the
    others, such as labels, conditions. A decoder of as many inputs, the first of which
    are codes, receives the conditions too. The model has the encoder's inputs; `fit`
    and `evaluate` take `[x, condition]`, and x once more as the targets.

    Args:
        encoder: Keras model from inputs to features, or a function that makes one.
        bottleneck: Layer from features to codes, such as `EchoBottleneck(32)`.
        decoder: Keras model from codes to what the distortion compares, or a function
            that makes one for so many code dimensions; or a `PixelCNN`, which also
            receives the inputs.
        penalties: Layers that codes pass on their way to the decoder, in order.
        pseudo_inputs: `PseudoInputs` or None. The bottleneck then receives features
            of the inputs and of the pseudo-inputs, as a `VampPrior` needs them.
        input_noise: Layer that inputs pass on their way to the encoder alone, such as
            `InputNoise`, or None.
        gan_penalty: `GANPenalty` or None: it receives the inputs, the outputs
            and, if asked for, what the decoder makes of draws from the prior.
        generated: If True, or a prior, a layer with `sample(n)`, `gan_penalty`
            also sees decoded draws from the standard normal, or from that prior; if
            `ShuffledCodes`, decoded draws from the codes' own marginals.

    Returns:
        The model, with the given models and layers as its layers.

    Raises:
        ValueError: the decoder gives images of another size than the encoder takes; a
            `PixelCNN`, which needs the image that it decodes, has a
            gan_penalty; a conditional model has pseudo_inputs, a gan_penalty or a
            `PixelCNN`, or its decoder has another number of conditions.

    Example:

    >>> from echo_keras.layers import EchoBottleneck
    >>> from echo_keras.networks import factor_decoder, factor_encoder
    >>> model = autoencoder(factor_encoder(), EchoBottleneck(10), factor_decoder(10))
    >>> model.output_shape
    (None, 64, 64, 1)
    """
    encoder = arguments.layer("encoder", made("encoder", encoder), kind=keras.Model)
    arguments.layer("bottleneck", bottleneck)
    penalties = arguments.layers("penalties", penalties)
    arguments.layer("pseudo_inputs", pseudo_inputs, kind=PseudoInputs, optional=True)
    arguments.layer("input_noise", input_noise, optional=True)
    arguments.layer("gan_penalty", gan_penalty, kind=GANPenalty, optional=True)
    if not isinstance(generated, keras.layers.Layer):
        generated = arguments.flag("generated", generated)
    inputs, *conditions = (
        keras.Input(i.shape[1:], dtype=i.dtype) for i in encoder.inputs
    )
    for name, value in (("pseudo_inputs", pseudo_inputs), ("gan_penalty", gan_penalty)):
        if conditions and value is not None:
            raise ValueError(
                f"{name} must be None in a model with conditions. Received: "
                f"{name}={value!r}, and an encoder of {1 + len(conditions)} inputs"
            )
    noisy = inputs if input_noise is None else input_noise(inputs)
    features = encoder([noisy, *conditions] if conditions else noisy)
    if pseudo_inputs is not None:
        features = [features, encoder(pseudo_inputs(inputs))]
    z = bottleneck(features)
    for penalty in penalties:
        z = penalty(z)
    decoder = made("decoder", decoder, z.shape[-1])
    if conditions:
        _check_decoder(decoder, conditions)
        if len(decoder.inputs) > 1:
            z = [z, *conditions]
        return RateDistortionModel([inputs, *conditions], decoder(z))
    if isinstance(decoder, PixelCNN):
        if gan_penalty is not None:
            raise ValueError(
                f"gan_penalty must be None beside a PixelCNN, which needs the image "
                f"that it decodes. Received: gan_penalty={gan_penalty!r}"
            )
        return RateDistortionModel(inputs, decoder([inputs, z]))
    outputs = decoder(z)
    sizes = [tuple(each.shape)[1:-1] for each in (inputs, outputs)]
    if len(sizes[0]) == len(sizes[1]) == 2 and sizes[0] != sizes[1]:
        raise ValueError(
            f"decoder must give images of the size of the encoder's, {sizes[0]}. "
            f"Received: a decoder that gives {sizes[1]}"
        )
    if gan_penalty is not None:
        images = [outputs]
        if generated:
            if isinstance(generated, ShuffledCodes):
                drawn = generated(z)
            else:
                prior = None if generated is True else generated
                drawn = PriorSamples(z.shape[-1], prior)(inputs)
            images.append(decoder(drawn))
        outputs = gan_penalty([inputs, *images])
    return RateDistortionModel(inputs, outputs)


def _check_decoder(decoder, conditions):
    """Raises a ValueError for a decoder that a conditional model cannot have."""
    if isinstance(decoder, PixelCNN) or not isinstance(decoder, keras.Model):
        raise ValueError(
            "decoder must be a Keras model, and no PixelCNN, in a model with "
            f"conditions. Received: decoder={decoder!r}"
        )
    if len(decoder.inputs) not in (1, 1 + len(conditions)):
        raise ValueError(
            "decoder must be a model of codes, or of codes and the encoder's "
            f"conditions, {len(conditions)}. Received: a decoder of "
            f"{len(decoder.inputs)} inputs"
        )


def conv_autoencoder(
    bottleneck: keras.layers.Layer,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    pseudo_inputs: PseudoInputs | None = None,
    penalty: keras.layers.Layer | None = None,
    flow: keras.layers.Layer | None = None,
) -> RateDistortionModel:
    """The Echo paper's autoencoder (App. E) around any bottleneck.

    Args:
        bottleneck: Layer from features (batch, 256) to codes (batch, d), such as
            `EchoBottleneck(32)` or `GaussianBottleneck(32)`, with 1,398,849 trainable
            weights in all.
        input_shape: (28, 28, channels).
        pseudo_inputs: `PseudoInputs` or None. The bottleneck then receives features
            of the images and of the pseudo-inputs, as a `VampPrior` needs them.
        penalty: Layer that codes pass on their way to the decoder, such as an
            `MMDPenalty`, or None.
        flow: First layer of the decoder, or None.

    Returns:
        A `RateDistortionModel` from images to logits, with the layers "encoder",
        the bottleneck and "decoder".

    Example:

    >>> from echo_keras.layers import EchoBottleneck
    >>> conv_autoencoder(EchoBottleneck(32)).output_shape
    (None, 28, 28, 1)
    """
    input_shape = arguments.integers("input_shape", input_shape, length=3)
    return autoencoder(
        conv_encoder(input_shape),
        bottleneck,
        lambda latent_dim: conv_decoder(latent_dim, input_shape[-1], flow),
        [] if penalty is None else [penalty],
        pseudo_inputs,
    )
