"""The functional model that logs rate and distortion, and what assembles one."""

import keras
from keras import ops

from echo_keras.layers import Channel, Penalty, PixelCNN, PriorSamples
from echo_keras.layers.backend import replicas_in_sync

from .networks import conv_decoder, conv_encoder


@keras.saving.register_keras_serializable(package="echo_keras")
class RateDistortionModel(keras.Model):
    r"""A functional Keras model that logs rate, distortion and -ELBO in nats.

    The compiled loss is the distortion \(D = -E \log p(x|z)\); channels add
    \(\beta R\) and penalties their weighted value by `add_loss`. Keras logs only the
    sum of all these. This model logs them apart, in `fit`, `evaluate` and with the
    prefix `val_`, as means over examples:

    - `rate`: the sum over all channels, without beta.
    - `distortion`: the compiled loss.
    - `neg_elbo`: rate + distortion, whatever beta is.
    - each `Penalty` under its layer's name, without its weight; and of penalties
      with a discriminator the discriminator's cross-entropy, "<name>_discriminator_loss".

    So `loss` = `distortion` + beta `rate` for one channel and no penalties. Layers
    of the library train as well under a plain `keras.Model`.

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

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.rate_tracker = keras.metrics.Mean(name="rate")
        self.distortion_tracker = keras.metrics.Mean(name="distortion")
        self.neg_elbo_tracker = keras.metrics.Mean(name="neg_elbo")
        self.penalty_trackers = [
            keras.metrics.Mean(name=name)
            for layer in self._terms(Penalty)
            for name in layer.logs
        ]

    def _terms(self, kind):
        """All layers of a kind, those of nested models and layers too."""
        layers_ = self._flatten_layers(include_self=False)
        return [layer for layer in layers_ if isinstance(layer, kind)]

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        if self._compile_loss is None:
            raise ValueError(
                "RateDistortionModel must be compiled with a loss, which is the "
                "distortion: echo_keras.losses.Bernoulli(), for example."
            )
        # As in keras.Model, but with the distortion in our hands on the way.
        distortion = self._compile_loss(y, y_pred, sample_weight)
        loss = distortion
        for added in self.losses:
            loss = loss + self._aggregate_additional_loss(added)
        # Keras scales losses by 1 / replicas; what is logged is per example.
        distortion = distortion * replicas_in_sync()
        rate = sum((layer.last_rate.value for layer in self._terms(Channel)), 0.0)
        logs = [
            (self.rate_tracker, rate),
            (self.distortion_tracker, distortion),
            (self.neg_elbo_tracker, rate + distortion),
        ]
        penalties = [x for layer in self._terms(Penalty) for x in layer.logs.values()]
        logs += zip(self.penalty_trackers, penalties, strict=True)
        count = ops.cast(ops.shape(y_pred)[0], "float32")
        for tracker, value in logs:
            tracker.update_state(ops.convert_to_tensor(value), sample_weight=count)
        return loss


def autoencoder(
    encoder,
    bottleneck,
    decoder,
    penalties=(),
    pseudo_inputs=None,
    input_noise=None,
    gan_penalty=None,
    generated=False,
):
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
            also sees decoded draws from the standard normal, or from that prior.

    Returns:
        The model, with the given models and layers as its layers.

    Raises:
        ValueError: a `PixelCNN`, which needs the image that it decodes, has a
            gan_penalty.

    Example:

    >>> from echo_keras.layers import EchoBottleneck
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
            raise ValueError("A PixelCNN decoder takes no gan_penalty.")
        return RateDistortionModel(inputs, decoder([inputs, z]))
    outputs = decoder(z)
    if gan_penalty is not None:
        images = [outputs]
        if generated:
            prior = None if generated is True else generated
            images.append(decoder(PriorSamples(z.shape[-1], prior)(inputs)))
        outputs = gan_penalty([inputs, *images])
    return RateDistortionModel(inputs, outputs)


def conv_autoencoder(
    bottleneck, input_shape=(28, 28, 1), pseudo_inputs=None, penalty=None, flow=None
):
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
