"""The functional model that logs rate and distortion, and what assembles one."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import keras
from keras import ops, tree

from echo_keras.layers import (
    Channel,
    GANPenalty,
    Penalty,
    PixelCNN,
    PriorSamples,
    PseudoInputs,
    ShuffledCodes,
)
from echo_keras.layers.backend import replicas_in_sync
from echo_keras.layers.typing import Tensor

from .networks import conv_decoder, conv_encoder

AnyLayer = TypeVar("AnyLayer", bound=keras.layers.Layer)


def find_layers(model: keras.Model, kind: type[AnyLayer]) -> list[AnyLayer]:
    """All layers of a kind, those inside of nested models and of layers too.

    Example:

    >>> from echo_keras.layers import GaussianBottleneck
    >>> model = conv_autoencoder(GaussianBottleneck(2))
    >>> [channel.name for channel in find_layers(model, Channel)]
    ['channel']
    """
    # Keras has no public way to the layers inside of a layer.
    layers = model._flatten_layers(include_self=False)
    return [layer for layer in layers if isinstance(layer, kind)]


@keras.saving.register_keras_serializable(package="echo_keras")
class RateDistortionModel(keras.Model):
    r"""A functional Keras model that logs rate, distortion and -ELBO in nats.

    The compiled loss is the distortion \(D = -E \log p(x|z)\); channels add
    \(\beta R\) and penalties their weighted value by `add_loss`. Keras logs only the
    sum of all these. This model logs them apart, in `fit`, `evaluate` and with the
    prefix `val_`, as means over examples:

    - `distortion`: the compiled loss.
    - `rate`: the sum over all channels, without beta. For what it says of I(X; Z),
      see `metrics.evaluate`.
    - `neg_elbo`: rate + distortion, whatever beta is.
    - each `Penalty` under its layer's name, without its weight; and the cross-entropy
      of a penalty's discriminator as "<name>_discriminator_loss".

    So `loss` = `distortion` + beta `rate` for one channel and no penalties. A model
    without a channel has a code without noise, and no finite rate: `rate` and
    `neg_elbo` are then not among its logs. To `ModelCheckpoint` and `EarlyStopping`
    smaller is better in all of these. Layers of the library train as well under a
    plain `keras.Model`.

    Args:
        inputs, outputs: As for `keras.Model`; one output.

    Raises:
        ValueError: in `fit` or `evaluate`, if the model was compiled without a loss.

    Example:

    >>> import numpy as np, keras
    >>> from echo_keras.layers import EchoBottleneck
    >>> from echo_keras.losses import Bernoulli
    >>> inputs = keras.Input((8,))
    >>> logits = keras.layers.Dense(8)(EchoBottleneck(2)(inputs))
    >>> model = RateDistortionModel(inputs, logits)
    >>> model.compile("adam", loss=Bernoulli())
    >>> log = model.evaluate(np.ones((5, 8)), np.ones((5, 8)), verbose=0,
    ...                      return_dict=True)
    >>> sorted(log)
    ['distortion', 'loss', 'neg_elbo', 'rate']

    References:
        Echo paper, Eq. 8; Fixing a Broken ELBO, Sec. 2.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.distortion_tracker = keras.metrics.Mean(name="distortion")
        self.rate_tracker = self.neg_elbo_tracker = None
        if find_layers(self, Channel):
            self.rate_tracker = keras.metrics.Mean(name="rate")
            self.neg_elbo_tracker = keras.metrics.Mean(name="neg_elbo")
        self.penalty_trackers = [
            keras.metrics.Mean(name=name)
            for layer in find_layers(self, Penalty)
            for name in layer.logs
        ]

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As in Keras, whose callbacks learn that a smaller rate or error is better."""
        # Keras finds this out for what was compiled, not for a model's own trackers.
        trackers = [self.distortion_tracker, self.rate_tracker, self.neg_elbo_tracker]
        trackers = filter(None, [*trackers, *self.penalty_trackers])
        ours = {tracker.name for tracker in trackers}
        call = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs)
        callbacks = call.arguments.get("callbacks")
        for callback in tree.flatten(getattr(callbacks, "callbacks", callbacks)):
            monitored = getattr(callback, "monitor", "").removeprefix("val_")
            if monitored in ours and callback.mode == "auto":
                callback.mode = "min"
        return super().fit(*args, **kwargs)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        if self.loss is None:
            raise ValueError(
                "RateDistortionModel must be compiled with a loss, the distortion, "
                "such as echo_keras.losses.Bernoulli(). Received: loss=None"
            )
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        # TensorFlow's strategies scale each term by 1 / replicas, that of the loss and
        # those of layers; what is logged is per example.
        added = sum((ops.sum(term) for term in self.losses), 0.0)
        distortion = loss * replicas_in_sync() - added
        logs = [(self.distortion_tracker, distortion)]
        if self.rate_tracker is not None:
            channels = find_layers(self, Channel)
            rate = sum((layer.last_rate.value for layer in channels), 0.0)
            logs.append((self.rate_tracker, rate))
            logs.append((self.neg_elbo_tracker, rate + distortion))
        penalties = [
            value
            for layer in find_layers(self, Penalty)
            for value in layer.logs.values()
        ]
        logs += zip(self.penalty_trackers, penalties, strict=True)
        count = ops.cast(ops.shape(y_pred)[0], "float32")
        for tracker, value in logs:
            tracker.update_state(ops.convert_to_tensor(value), sample_weight=count)
        return loss


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
        ValueError: a `PixelCNN`, which needs the image that it decodes, has a
            gan_penalty.

    Example:

    >>> from echo_keras.layers import EchoBottleneck
    >>> from echo_keras.networks import factor_decoder, factor_encoder
    >>> model = autoencoder(factor_encoder(), EchoBottleneck(10), factor_decoder(10))
    >>> model.output_shape
    (None, 64, 64, 1)
    """
    if not isinstance(encoder, keras.Model):
        encoder = encoder()
    inputs = keras.Input(encoder.input_shape[1:])
    features = encoder(inputs if input_noise is None else input_noise(inputs))
    if pseudo_inputs is not None:
        features = [features, encoder(pseudo_inputs(inputs))]
    z = bottleneck(features)
    for penalty in penalties:
        z = penalty(z)
    if not isinstance(decoder, keras.layers.Layer):
        decoder = decoder(z.shape[-1])
    if isinstance(decoder, PixelCNN):
        if gan_penalty is not None:
            raise ValueError(
                f"gan_penalty must be None beside a PixelCNN, which needs the image "
                f"that it decodes. Received: gan_penalty={gan_penalty!r}"
            )
        return RateDistortionModel(inputs, decoder([inputs, z]))
    outputs = decoder(z)
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
    return autoencoder(
        conv_encoder(input_shape),
        bottleneck,
        lambda latent_dim: conv_decoder(latent_dim, input_shape[-1], flow),
        [] if penalty is None else [penalty],
        pseudo_inputs,
    )
