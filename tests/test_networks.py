"""Tests of the Echo paper's networks and of those of Wasserstein autoencoders."""

import keras
import numpy as np
import pytest
from keras import layers
from tools import array, normal

from echo_keras import networks
from echo_keras.autoencoders import conv_autoencoder
from echo_keras.layers import (
    EchoBottleneck,
    GaussianBottleneck,
    PixelCNN,
    conv_discriminator,
)
from echo_keras.model import RateDistortionModel

# The paper's networks


# Weights and biases of each layer of App. E, by hand.
ENCODER = [832, 25_632, 51_264, 102_464, 803_072]
DECODER = [100_416, 102_464, 102_464, 51_232, 25_632, 16_416, 513]
HEADS = 2 * (256 + 1) * 32


def counts(model):
    found = [sum(int(np.prod(w.shape)) for w in x.weights) for x in model.layers]
    return [n for n in found if n]


def test_parameters_of_each_layer():
    assert counts(networks.conv_encoder()) == ENCODER
    assert counts(networks.conv_decoder()) == DECODER
    assert sum(ENCODER) + HEADS + sum(DECODER) == 1_398_849


def test_shapes_of_each_layer():
    def sizes(model):
        shapes = [x.output.shape[1:] for x in model.layers if x.weights]
        return [(s[0], s[-1]) for s in shapes]

    encoder, decoder = networks.conv_encoder(), networks.conv_decoder()
    assert sizes(encoder) == [(28, 32), (14, 32), (14, 64), (7, 64), (1, 256)]
    assert sizes(decoder) == [
        *((7, 64), (7, 64), (14, 64), (14, 32), (28, 32), (28, 32), (28, 1)),
    ]
    assert encoder.output_shape == (None, 256)
    assert decoder.output_shape == (None, 28, 28, 1)
    assert (encoder.name, decoder.name) == ("encoder", "decoder")


@pytest.mark.core
@pytest.mark.parametrize(
    "bottleneck",
    [
        EchoBottleneck(32),
        EchoBottleneck(32, parametrization="paper"),
        GaussianBottleneck(32),
    ],
    ids=["echo", "echo as in the paper", "gaussian"],
)
def test_autoencoder_has_the_papers_parameters(bottleneck):
    model = conv_autoencoder(bottleneck)
    assert type(model) is RateDistortionModel
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert trainable == 1_398_849
    assert [x.name for x in model.layers][1::2] == ["encoder", "decoder"]
    assert model.layers[2] is bottleneck
    assert model.output_shape == (None, 28, 28, 1)


BUILT = {
    "conv_encoder": networks.conv_encoder,
    "conv_encoder, gated": lambda: networks.conv_encoder(gated=True),
    "conv_decoder": lambda: networks.conv_decoder(2),
    "factor_encoder": networks.factor_encoder,
    "factor_decoder": lambda: networks.factor_decoder(3),
    "wae_encoder": lambda: networks.wae_encoder((8, 8, 1), filters=2),
    "wae_decoder": lambda: networks.wae_decoder(2, (8, 8, 1), 2),
    "dense_encoder": lambda: networks.dense_encoder((4, 3, 2)),
    "PixelCNN": lambda: keras.Sequential(
        [keras.Input((8, 8, 1)), PixelCNN(4, name="decoder")]
    ),
    "conv_discriminator": lambda: keras.Sequential(
        [keras.Input((8, 8, 1)), conv_discriminator((4,))]
    ),
}


@pytest.mark.parametrize("name", BUILT)
def test_images_have_their_channels_last_whatever_keras_is_set_to(name):
    usual = BUILT[name]()
    keras.config.set_image_data_format("channels_first")
    try:
        other = BUILT[name]()
    finally:
        keras.config.set_image_data_format("channels_last")
    assert other.output_shape == usual.output_shape
    assert other.count_params() == usual.count_params()
    other.set_weights(usual.get_weights())
    x = normal(2, *usual.input_shape[1:])
    np.testing.assert_allclose(array(other(x)), array(usual(x)), rtol=1e-5, atol=1e-6)


def test_autoencoder_in_colour():
    model = conv_autoencoder(GaussianBottleneck(3), (28, 28, 3))
    assert model.output_shape == (None, 28, 28, 3)


@pytest.mark.core
def test_logits_are_float32_in_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    decoder = networks.conv_decoder(2)
    assert decoder.output.dtype == "float32"
    assert decoder.layers[-2].compute_dtype == "bfloat16"


@pytest.mark.parametrize("size", [(24, 28), (28, 24)])
def test_images_too_small_raise(size):
    with pytest.raises(ValueError, match=r"at least 25 x 25 .* Received: input_shape="):
        networks.conv_encoder((*size, 1))
    assert networks.conv_encoder((25, 25, 1)).output_shape == (None, 256)


# The networks of Wasserstein autoencoders


@pytest.mark.core
@pytest.mark.parametrize(
    ("shape", "features", "maps"),
    [((28, 28, 1), 2 * 2 * 32, 7), ((32, 32, 3), 2 * 2 * 32, 4), ((64, 64, 3), 512, 8)],
)
def test_wae_networks_fit_their_images(shape, features, maps):
    encoder = networks.wae_encoder(shape, filters=4)
    decoder = networks.wae_decoder(5, shape, filters=4)
    assert encoder.output_shape == (None, features)
    assert decoder.output_shape == (None, *shape)
    (reshape,) = [x for x in decoder.layers if isinstance(x, layers.Reshape)]
    assert reshape.target_shape == (maps, maps, 32)


def test_wae_networks_have_the_weights_of_the_paper_at_28x28():
    # Kernels, and a scale and a shift for each batch-normalised map.
    sizes = [1, 128, 256, 512, 1024]
    steps = zip(sizes, sizes[1:], strict=False)
    expected = sum(16 * a * b + 2 * b for a, b in steps)
    encoder = networks.wae_encoder()
    assert trainable(encoder) == expected
    decoder = networks.wae_decoder(16)
    expected = 17 * 7 * 7 * 1024
    expected += 16 * (1024 * 512 + 512 * 256 + 256) + 2 * (512 + 256) + 1
    assert trainable(decoder) == expected


def test_wae_networks_have_wider_kernels_and_a_third_step_for_colour():
    decoder = networks.wae_decoder(64, (64, 64, 3))
    expected = 65 * 8 * 8 * 1024 + 2 * (512 + 256 + 128) + 3
    expected += 25 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3)
    assert trainable(decoder) == expected
    kernels = [
        x.kernel_size for x in networks.wae_encoder((64, 64, 3), 2).layers[1:-1:3]
    ]
    assert kernels == [(5, 5)] * 4


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parametrize(("shape", "divisor"), [((30, 28, 1), 4), ((28, 28, 3), 8)])
def test_wae_decoder_refuses_sizes_that_it_cannot_reach(shape, divisor):
    with pytest.raises(ValueError, match=f"multiples of {divisor}. Received:"):
        networks.wae_decoder(2, shape, filters=2)


def test_dense_networks_have_the_units_they_are_given():
    encoder = networks.dense_encoder((4, 2, 1), (7, 5))
    decoder = networks.dense_decoder(3, (4, 2, 1), (7, 5))
    assert trainable(encoder) == 9 * 7 + 8 * 5
    implicit = networks.dense_encoder((4, 2, 1), (7, 5), noise=3)
    assert trainable(implicit) == 12 * 7 + 8 * 5
    assert trainable(decoder) == 4 * 7 + 8 * 5 + 6 * 8
    assert decoder.output_shape == (None, 4, 2, 1)
