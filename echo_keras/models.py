"""The functional model that logs rate and distortion, and the paper's networks."""

import functools
import math

import keras
from keras import layers, ops

from echo_keras.layers import (
    Channel,
    GatedConv2D,
    GatedConv2DTranspose,
    Penalty,
    PixelCNN,
    PriorSamples,
)


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
      with a critic the critic's cross-entropy, "<name>_critic_loss".

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


def replicas_in_sync():
    """Number of devices among which TensorFlow's strategy splits a batch, else 1."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def conv_encoder(input_shape=(28, 28, 1), gated=False, name="encoder"):
    """The Echo paper's convolutional encoder (App. E), up to the heads.

    Args:
        input_shape: (height, width, channels); height and width at least 25; up to
            28 the last convolution reduces them to 1 x 1, larger ones to more.
        gated: If True, the layers are linearly gated and images are first mapped from
            [0, 1] to [-1, 1], as in Fixing a Broken ELBO (App. F.1).

    Returns:
        A Keras model from images (batch, height, width, channels) to features
        (batch, n), n = 256 at 28x28.

    Raises:
        ValueError: the images are too small for the 7 x 7 convolution on a quarter
            of their size.

    Example:

    >>> conv_encoder().output_shape
    (None, 256)
    """
    if min(input_shape[:2]) < 25:
        raise ValueError(
            f"conv_encoder needs images of at least 25 x 25 pixels; received "
            f"{input_shape}."
        )
    x = inputs = keras.Input(input_shape)
    if gated:
        x = layers.Rescaling(2.0, -1.0)(x)
    convolution = GatedConv2D if gated else _with_relu(layers.Conv2D)
    for filters, kernel, strides, padding in (
        (32, 5, 1, "same"),
        (32, 5, 2, "same"),
        (64, 5, 1, "same"),
        (64, 5, 2, "same"),
        (256, 7, 1, "valid"),
    ):
        x = convolution(filters, kernel, strides=strides, padding=padding)(x)
    return keras.Model(inputs, layers.Flatten()(x), name=name)


def _with_relu(convolution):
    return functools.partial(convolution, activation="relu")


def conv_decoder(units=32, channels=1, flow=None, gated=False, name="decoder"):
    """The Echo paper's transposed-convolutional decoder (App. E), to logits.

    Args:
        units: Int, number of code dimensions.
        channels: Int, channels of the image.
        flow: Layer that codes pass first, such as an `IAFBlock`, or None.
        gated: If True, the layers are linearly gated and the last kernel is 5 wide
            instead of 4, as in Fixing a Broken ELBO (App. F.2).

    Returns:
        A Keras model from codes (batch, units) to logits (batch, 28, 28, channels).

    Example:

    >>> conv_decoder(32).output_shape
    (None, 28, 28, 1)
    """
    inputs = keras.Input((units,))
    x = inputs if flow is None else flow(inputs)
    x = layers.Reshape((1, 1, units))(x)
    transposed = GatedConv2DTranspose if gated else _with_relu(layers.Conv2DTranspose)
    for filters, kernel, strides, padding in (
        (64, 7, 1, "valid"),
        (64, 5, 1, "same"),
        (64, 5, 2, "same"),
        (32, 5, 1, "same"),
        (32, 5, 2, "same"),
        (32, 4, 1, "same"),
    ):
        x = transposed(filters, kernel, strides=strides, padding=padding)(x)
    x = layers.Conv2D(channels, 5 if gated else 4, padding="same")(x)
    logits = layers.Activation("linear", dtype="float32")(x)
    return keras.Model(inputs, logits, name=name)


def factor_encoder(
    input_shape=(64, 64, 1), kernels=(4, 4, 2, 2), activation="relu", name="encoder"
):
    """The encoder of the disentanglement papers, for images of 64 x 64, up to heads.

    Four convolutions of stride 2 with 32, 32, 64, 64 filters, and a dense layer.

    Args:
        input_shape: (height, width, channels).
        kernels: Widths of the four kernels: (4, 4, 2, 2) in Locatello et al. and so in
            the Echo paper, (4, 4, 4, 4) in Variance Constrained Autoencoding.
        activation: Of the dense layer; None in Variance Constrained Autoencoding.

    Returns:
        A Keras model from images to features (batch, 256).

    Example:

    >>> factor_encoder().count_params()
    304064

    References:
        Locatello et al., Challenging Common Assumptions (2019), App. G; Variance
        Constrained Autoencoding, Table 4.
    """
    x = inputs = keras.Input(input_shape)
    for filters, kernel in zip((32, 32, 64, 64), kernels, strict=True):
        x = layers.Conv2D(
            filters, kernel, strides=2, padding="same", activation="relu"
        )(x)
    x = layers.Dense(256, activation=activation)(layers.Flatten()(x))
    return keras.Model(inputs, x, name=name)


def factor_decoder(units=10, channels=1, name="decoder"):
    """The decoder of the disentanglement papers, to logits of 64 x 64 pixels.

    Two dense layers and four transposed convolutions with kernel 4 and stride 2.

    Args:
        units: Int, number of code dimensions.
        channels: Int, channels of the image.

    Returns:
        A Keras model from codes (batch, units) to logits (batch, 64, 64, channels).

    Example:

    >>> factor_decoder(10).output_shape
    (None, 64, 64, 1)

    References:
        As `factor_encoder`.
    """
    x = inputs = keras.Input((units,))
    x = layers.Dense(256, activation="relu")(x)
    x = layers.Dense(1024, activation="relu")(x)
    x = layers.Reshape((4, 4, 64))(x)
    for filters in (64, 32, 32):
        x = layers.Conv2DTranspose(
            filters, 4, strides=2, padding="same", activation="relu"
        )(x)
    x = layers.Conv2DTranspose(channels, 4, strides=2, padding="same")(x)
    logits = layers.Activation("linear", dtype="float32")(x)
    return keras.Model(inputs, logits, name=name)


def autoencoder(
    encoder,
    bottleneck,
    decoder,
    penalties=(),
    pseudo_inputs=None,
    input_noise=None,
    data_divergence=None,
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
        data_divergence: `DataDivergence` or None: it receives the inputs, the outputs
            and, if asked for, what the decoder makes of draws from the prior.
        generated: If True, or a prior, a layer with `sample(n)`, `data_divergence`
            also sees decoded draws from the standard normal, or from that prior.

    Returns:
        The model, with the given models and layers as its layers.

    Raises:
        ValueError: a `PixelCNN`, which needs the image that it decodes, has a
            data_divergence.

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
        if data_divergence is not None:
            raise ValueError("A PixelCNN decoder takes no data_divergence.")
        return RateDistortionModel(inputs, decoder([inputs, z]))
    outputs = decoder(z)
    if data_divergence is not None:
        images = [outputs]
        if generated:
            prior = None if generated is True else generated
            images.append(decoder(PriorSamples(z.shape[-1], prior)(inputs)))
        outputs = data_divergence([inputs, *images])
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
        lambda units: conv_decoder(units, input_shape[-1], flow),
        [] if penalty is None else [penalty],
        pseudo_inputs,
    )


def wae_encoder(input_shape=(28, 28, 1), filters=128, kernel=None, name="encoder"):
    """The convolutional encoder of Wasserstein autoencoders, up to the heads.

    Four convolutions of stride 2 with `filters` x 1, 2, 4 and 8, each with batch
    normalisation and then a ReLU.

    Args:
        input_shape: (height, width, channels).
        filters: Int >= 1, filters of the first convolution; 128 in the papers.
        kernel: Int, width of all kernels; 4 for grey images and 5 for colour if None.

    Returns:
        A Keras model from images to features (batch, n): n = 4,096 at 28 x 28 and 32 x
        32, 16,384 at 64 x 64, with the papers' filters.

    Example:

    >>> wae_encoder(filters=16).output_shape
    (None, 512)

    References:
        Variance Constrained Autoencoding, Table 4; The Variational InfoMax
        Autoencoder, App.; Tolstikhin et al., Wasserstein Auto-Encoders (2018), App. F.
    """
    kernel = kernel or _wae_kernel(input_shape[-1])
    x = inputs = keras.Input(input_shape)
    for times in (1, 2, 4, 8):
        x = layers.Conv2D(
            times * filters, kernel, strides=2, padding="same", use_bias=False
        )(x)
        x = _normalised_relu(x)
    return keras.Model(inputs, layers.Flatten()(x), name=name)


def wae_decoder(
    units, output_shape=(28, 28, 1), filters=128, kernel=None, name="decoder"
):
    """The decoder of Wasserstein autoencoders, to pixels without an activation.

    A dense layer to 8 x `filters` maps; transposed convolutions of stride 2 with half
    of the filters each, batch normalisation and ReLU: two for grey images, three for
    colour; and one of stride 1 to the pixels.

    Args:
        units: Int, number of code dimensions.
        output_shape: (height, width, channels); height and width a multiple of 4 for
            grey images, of 8 for colour.
        filters, kernel: As for `wae_encoder`.

    Returns:
        A Keras model from codes (batch, units) to images, for a `SquaredError` loss.

    Raises:
        ValueError: height or width is no such multiple.

    Example:

    >>> wae_decoder(16, filters=16).output_shape
    (None, 28, 28, 1)

    References:
        As `wae_encoder`. The papers have networks for 28 x 28 and 64 x 64; at 32 x 32
        the dense layer's maps are 4 x 4.
    """
    height, width, channels = output_shape
    kernel = kernel or _wae_kernel(channels)
    doublings = 2 if channels == 1 else 3
    if height % 2**doublings or width % 2**doublings:
        raise ValueError(
            f"wae_decoder needs a height and a width that {2**doublings} divides; "
            f"received {tuple(output_shape)}."
        )
    small = height // 2**doublings, width // 2**doublings
    inputs = keras.Input((units,))
    x = layers.Dense(small[0] * small[1] * 8 * filters)(inputs)
    x = layers.Reshape((*small, 8 * filters))(x)
    for step in range(doublings):
        x = layers.Conv2DTranspose(
            4 * filters // 2**step, kernel, strides=2, padding="same", use_bias=False
        )(x)
        x = _normalised_relu(x)
    x = layers.Conv2DTranspose(channels, kernel, padding="same")(x)
    outputs = layers.Activation("linear", dtype="float32")(x)
    return keras.Model(inputs, outputs, name=name)


def _wae_kernel(channels):
    return 4 if channels == 1 else 5


def _normalised_relu(x):
    # A short memory: the papers' smallest data set has three batches an epoch.
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def dense_encoder(input_shape, hidden=(256, 256, 256), name="encoder"):
    """Dense layers with ReLU on flattened inputs, up to the heads.

    Args:
        input_shape: Shape of an example.
        hidden: Ints, the units of each layer.

    Returns:
        A Keras model from examples to features (batch, hidden[-1]).

    Example:

    >>> dense_encoder((28, 28, 1)).output_shape
    (None, 256)

    References:
        The Variational InfoMax Autoencoder, Sec. 5.1.
    """
    x = inputs = keras.Input(input_shape)
    if len(input_shape) > 1:
        x = layers.Flatten()(x)
    for units in hidden:
        x = layers.Dense(units, activation="relu")(x)
    return keras.Model(inputs, x, name=name)


def dense_decoder(units, output_shape, hidden=(256, 256, 256), name="decoder"):
    """Dense layers with ReLU from a code, and one without activation to the output.

    Args:
        units: Int, number of code dimensions.
        output_shape: Shape of an example.
        hidden: Ints, the units of each layer.

    Returns:
        A Keras model from codes (batch, units) to (batch, *output_shape).

    Example:

    >>> dense_decoder(2, (28, 28, 1)).output_shape
    (None, 28, 28, 1)

    References:
        As `dense_encoder`.
    """
    x = inputs = keras.Input((units,))
    for width in hidden:
        x = layers.Dense(width, activation="relu")(x)
    x = layers.Dense(math.prod(output_shape))(x)
    x = layers.Reshape(output_shape)(x)
    outputs = layers.Activation("linear", dtype="float32")(x)
    return keras.Model(inputs, outputs, name=name)
