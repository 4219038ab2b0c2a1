"""The papers' encoders and decoders, as functions that return Keras models."""

import functools
import math
from collections.abc import Callable, Sequence

import keras
from keras import layers

from echo_keras.layers import (
    AppendNoise,
    GatedConv2D,
    GatedConv2DTranspose,
    arguments,
)

# What models are assembled from: a network, or a function that makes one. A decoder's
# takes the latent dimension; a decoder may be a layer, such as `PixelCNN`.
Encoder = keras.Model | Callable[[], keras.Model]
Decoder = layers.Layer | Callable[[int], layers.Layer]

# Images are (height, width, channels), whatever keras.config says of other networks.
LAST = {"data_format": "channels_last"}


def conv_encoder(
    input_shape: Sequence[int] = (28, 28, 1),
    gated: bool = False,
    name: str = "encoder",
) -> keras.Model:
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
    input_shape = arguments.integers("input_shape", input_shape, length=3)
    gated = arguments.flag("gated", gated)
    if min(input_shape[:2]) < 25:
        raise ValueError(
            f"input_shape must be at least 25 x 25 pixels for conv_encoder. Received: "
            f"input_shape={tuple(input_shape)}"
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
        x = convolution(filters, kernel, strides=strides, padding=padding, **LAST)(x)
    return keras.Model(inputs, layers.Flatten(**LAST)(x), name=name)


def _with_relu(convolution):
    return functools.partial(convolution, activation="relu")


def conv_decoder(
    latent_dim: int = 32,
    channels: int = 1,
    flow: layers.Layer | None = None,
    gated: bool = False,
    name: str = "decoder",
) -> keras.Model:
    """The Echo paper's transposed-convolutional decoder (App. E), to logits.

    Args:
        latent_dim: Int >= 1, number of code dimensions.
        channels: Int, channels of the image.
        flow: Layer that codes pass first, such as an `IAFBlock`, or None.
        gated: If True, the layers are linearly gated and the last kernel is 5 wide
            instead of 4, as in Fixing a Broken ELBO (App. F.2).

    Returns:
        A Keras model from codes (batch, latent_dim) to logits (batch, 28, 28,
        channels).

    Example:

    >>> conv_decoder(32).output_shape
    (None, 28, 28, 1)
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    channels = arguments.integer("channels", channels)
    flow = arguments.layer("flow", flow, optional=True)
    gated = arguments.flag("gated", gated)
    inputs = keras.Input((latent_dim,))
    x = inputs if flow is None else flow(inputs)
    x = layers.Reshape((1, 1, latent_dim))(x)
    transposed = GatedConv2DTranspose if gated else _with_relu(layers.Conv2DTranspose)
    for filters, kernel, strides, padding in (
        (64, 7, 1, "valid"),
        (64, 5, 1, "same"),
        (64, 5, 2, "same"),
        (32, 5, 1, "same"),
        (32, 5, 2, "same"),
        (32, 4, 1, "same"),
    ):
        x = transposed(filters, kernel, strides=strides, padding=padding, **LAST)(x)
    x = layers.Conv2D(channels, 5 if gated else 4, padding="same", **LAST)(x)
    logits = layers.Activation("linear", dtype="float32")(x)
    return keras.Model(inputs, logits, name=name)


def factor_encoder(
    input_shape: Sequence[int] = (64, 64, 1),
    kernels: Sequence[int] = (4, 4, 2, 2),
    activation: str | None = "relu",
    name: str = "encoder",
) -> keras.Model:
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
    input_shape = arguments.integers("input_shape", input_shape, length=3)
    kernels = arguments.integers("kernels", kernels, length=4)
    x = inputs = keras.Input(input_shape)
    for filters, kernel in zip((32, 32, 64, 64), kernels, strict=True):
        x = layers.Conv2D(
            filters, kernel, strides=2, padding="same", activation="relu", **LAST
        )(x)
    x = layers.Dense(256, activation=activation)(layers.Flatten(**LAST)(x))
    return keras.Model(inputs, x, name=name)


def factor_decoder(
    latent_dim: int = 10, channels: int = 1, name: str = "decoder"
) -> keras.Model:
    """The decoder of the disentanglement papers, to logits of 64 x 64 pixels.

    Two dense layers and four transposed convolutions with kernel 4 and stride 2.

    Args:
        latent_dim: Int >= 1, number of code dimensions.
        channels: Int, channels of the image.

    Returns:
        A Keras model from codes (batch, latent_dim) to logits (batch, 64, 64,
        channels).

    Example:

    >>> factor_decoder(10).output_shape
    (None, 64, 64, 1)

    References:
        As `factor_encoder`.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    channels = arguments.integer("channels", channels)
    x = inputs = keras.Input((latent_dim,))
    x = layers.Dense(256, activation="relu")(x)
    x = layers.Dense(1024, activation="relu")(x)
    x = layers.Reshape((4, 4, 64))(x)
    for filters in (64, 32, 32):
        x = layers.Conv2DTranspose(
            filters, 4, strides=2, padding="same", activation="relu", **LAST
        )(x)
    x = layers.Conv2DTranspose(channels, 4, strides=2, padding="same", **LAST)(x)
    logits = layers.Activation("linear", dtype="float32")(x)
    return keras.Model(inputs, logits, name=name)


def wae_encoder(
    input_shape: Sequence[int] = (28, 28, 1),
    filters: int = 128,
    kernel: int | None = None,
    name: str = "encoder",
) -> keras.Model:
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
    input_shape = arguments.integers("input_shape", input_shape, length=3)
    filters = arguments.integer("filters", filters)
    kernel = arguments.integer("kernel", kernel, optional=True)
    kernel = kernel or _wae_kernel(input_shape[-1])
    x = inputs = keras.Input(input_shape)
    for factor in (1, 2, 4, 8):
        x = layers.Conv2D(
            factor * filters, kernel, strides=2, padding="same", use_bias=False, **LAST
        )(x)
        x = _normalised_relu(x)
    return keras.Model(inputs, layers.Flatten(**LAST)(x), name=name)


def wae_decoder(
    latent_dim: int,
    output_shape: Sequence[int] = (28, 28, 1),
    filters: int = 128,
    kernel: int | None = None,
    name: str = "decoder",
) -> keras.Model:
    """The decoder of Wasserstein autoencoders, to pixels without an activation.

    A dense layer to 8 x `filters` maps; transposed convolutions of stride 2 with half
    of the filters each, batch normalisation and ReLU: two for grey images, three for
    colour; and one of stride 1 to the pixels.

    Args:
        latent_dim: Int >= 1, number of code dimensions.
        output_shape: (height, width, channels); height and width a multiple of 4 for
            grey images, of 8 for colour.
        filters, kernel: As for `wae_encoder`.

    Returns:
        A Keras model from codes (batch, latent_dim) to images, for a `SquaredError`
        loss.

    Raises:
        ValueError: height or width is not such a multiple.

    Example:

    >>> wae_decoder(16, filters=16).output_shape
    (None, 28, 28, 1)

    References:
        As `wae_encoder`. The papers have networks for 28 x 28 and 64 x 64; at 32 x 32
        the dense layer's maps are 4 x 4.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    output_shape = arguments.integers("output_shape", output_shape, length=3)
    filters = arguments.integer("filters", filters)
    height, width, channels = output_shape
    kernel = arguments.integer("kernel", kernel, optional=True)
    kernel = kernel or _wae_kernel(channels)
    doublings = 2 if channels == 1 else 3
    if height % 2**doublings or width % 2**doublings:
        raise ValueError(
            f"output_shape must have a height and a width that are multiples of "
            f"{2**doublings}. Received: output_shape={tuple(output_shape)}"
        )
    small = height // 2**doublings, width // 2**doublings
    inputs = keras.Input((latent_dim,))
    x = layers.Dense(small[0] * small[1] * 8 * filters)(inputs)
    x = layers.Reshape((*small, 8 * filters))(x)
    for step in range(doublings):
        x = layers.Conv2DTranspose(
            *(4 * filters // 2**step, kernel),
            strides=2,
            padding="same",
            use_bias=False,
            **LAST,
        )(x)
        x = _normalised_relu(x)
    x = layers.Conv2DTranspose(channels, kernel, padding="same", **LAST)(x)
    outputs = layers.Activation("linear", dtype="float32")(x)
    return keras.Model(inputs, outputs, name=name)


def _wae_kernel(channels: int) -> int:
    return 4 if channels == 1 else 5


def _normalised_relu(x):
    # A short memory: the papers' smallest data set has three batches an epoch.
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def dense_encoder(
    input_shape: Sequence[int],
    hidden: Sequence[int] = (256, 256, 256),
    name: str = "encoder",
    noise: int = 0,
) -> keras.Model:
    """Dense layers with ReLU on flattened inputs, up to the heads.

    Args:
        input_shape: Shape of an example.
        hidden: Ints, the units of each layer.
        noise: Int >= 0, dimensions of noise beside the inputs; see `AppendNoise`. With
            a `DeterministicBottleneck` the encoder is then the implicit `f([x, e])`.

    Returns:
        A Keras model from examples to features (batch, hidden[-1]).

    Example:

    >>> dense_encoder((28, 28, 1)).output_shape
    (None, 256)

    References:
        The Variational InfoMax Autoencoder, Sec. 5.1; the BIB-AE paper, Sec. 3.
    """
    input_shape = arguments.integers("input_shape", input_shape)
    hidden = arguments.integers("hidden", hidden)
    x = inputs = keras.Input(input_shape)
    if len(input_shape) > 1:
        x = layers.Flatten(**LAST)(x)
    noise = arguments.integer("noise", noise, low=0)
    if noise:
        x = AppendNoise(noise)(x)
    for units in hidden:
        x = layers.Dense(units, activation="relu")(x)
    return keras.Model(inputs, x, name=name)


def dense_decoder(
    latent_dim: int,
    output_shape: Sequence[int],
    hidden: Sequence[int] = (256, 256, 256),
    name: str = "decoder",
) -> keras.Model:
    """Dense layers with ReLU from a code, and one without activation to the output.

    Args:
        latent_dim: Int >= 1, number of code dimensions.
        output_shape: Shape of an example.
        hidden: Ints, the units of each layer.

    Returns:
        A Keras model from codes (batch, latent_dim) to (batch, *output_shape).

    Example:

    >>> dense_decoder(2, (28, 28, 1)).output_shape
    (None, 28, 28, 1)

    References:
        As `dense_encoder`.
    """
    latent_dim = arguments.integer("latent_dim", latent_dim)
    output_shape = arguments.integers("output_shape", output_shape)
    hidden = arguments.integers("hidden", hidden)
    x = inputs = keras.Input((latent_dim,))
    for units in hidden:
        x = layers.Dense(units, activation="relu")(x)
    x = layers.Dense(math.prod(output_shape))(x)
    x = layers.Reshape(output_shape)(x)
    outputs = layers.Activation("linear", dtype="float32")(x)
    return keras.Model(inputs, outputs, name=name)
