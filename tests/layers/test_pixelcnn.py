"""Tests of the PixelCNN++ decoder: causality, exactness, cached sampling, counts."""

import itertools

import numpy as np
import pytest
from keras import ops
from tools import array, gradients

from echo_keras import losses
from echo_keras.layers import PixelCNN
from echo_keras.layers.pixelcnn import Pointwise, Window

# What the sums and the reach of windows are does not depend on the backend.
core = pytest.mark.core


def images(n, size=8, seed=0):
    pixels = np.random.RandomState(seed).random_sample((n, size, size, 1))
    return (pixels < 0.4).astype("float32")


def codes(n, d=3, seed=1):
    return np.random.RandomState(seed).normal(size=(n, d)).astype("float32")


def wild(conditional=True, size=8, **arguments):
    """A decoder whose logits depend on everything that they may depend on."""
    decoder = PixelCNN(**{"features": 3, "layers_per_block": 1, "seed": 0, **arguments})
    x = images(1, size)
    decoder([x, codes(1)] if conditional else x)
    rng = np.random.RandomState(0)
    for weight in decoder.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.35)
    return decoder


def derivatives(decoder, size, seed):
    """|d logit_i / d pixel_j| of all pixels, (n, n), and |d logit_i / d z|, (n,).

    By one gradient: a batch of n copies, of each of which another logit counts.
    """
    n = size * size
    x, z = (a.repeat(n, axis=0) for a in (images(1, size, seed), codes(1, seed=seed)))

    def loss(x, z):
        logits = ops.reshape(decoder([x, z]), (n, n))
        return ops.sum(logits * ops.eye(n))

    of_x, of_z = gradients(loss, x, z)
    return np.abs(of_x.reshape(n, n)), np.abs(of_z).max(axis=1)


@core
@pytest.mark.parametrize("conditioning", ["image", "layers"])
def test_a_logit_depends_on_earlier_pixels_alone_and_on_the_code(conditioning):
    # For every pixel. Zero is exactly zero: no path leads there.
    size = 8
    of_x, of_z = derivatives(wild(conditioning=conditioning), size, seed=0)
    assert (of_x[np.triu_indices(size * size)] == 0).all()
    assert (of_z[0] == 0) == (conditioning == "image") and (of_z[1:] > 0).all()
    for i, j in itertools.product(range(size), range(size)):
        pixel = size * i + j
        if j:
            assert of_x[pixel, pixel - 1] > 0
        if i:
            assert of_x[pixel, pixel - size] > 0


def test_all_rows_but_the_one_above_are_in_sight_as_a_whole():
    # Coarser maps know the rows above the last even one. The row above, and the pixel's
    # own, are seen as far as the windows at full size reach.
    size = 12
    seen = sum(derivatives(wild(size=size), size, seed)[0] for seed in (0, 1))
    row = np.arange(size * size) // size
    assert (seen[row[:, None] - row >= 2] > 0).all()


@core
@pytest.mark.parametrize(
    "conditional, size, layers, conditioning",
    [(True, 8, 1, "image"), (False, 12, 2, "image"), (True, 8, 2, "layers")],
)
def test_samples_are_drawn_from_the_logits_of_one_pass(
    conditional, size, layers, conditioning
):
    decoder = wild(
        conditional, size, layers_per_block=layers, conditioning=conditioning
    )
    z = codes(4)
    x, logits = decoder.draw(z) if conditional else decoder.draw(n=4)
    assert x.shape == (4, size, size, 1) and set(np.unique(x)) == {0.0, 1.0}
    found = array(decoder([x, z] if conditional else x))
    np.testing.assert_allclose(logits, found, rtol=1e-4, atol=1e-4)


def test_samples_have_the_probabilities_of_the_model():
    # 4 x 4 images of a random model: the mean of each pixel under the model is known
    # from its first four pixels, all 16 of whose values have exact probabilities.
    decoder = wild(conditional=False, size=4)
    n = 5000
    drawn = decoder.sample(n=n)[:, 0, :, 0].astype(int)
    counts = np.bincount(drawn @ [8, 4, 2, 1], minlength=16)
    rows = np.array(list(itertools.product([0, 1], repeat=4)), "float32")
    x = np.zeros((16, 4, 4, 1), "float32")
    x[:, 0, :, 0] = rows
    logits = array(decoder(x))[:, 0, :, 0].astype("float64")
    log_p = -np.logaddexp(0, np.where(rows == 1, -logits, logits)).sum(axis=1)
    p = np.exp(log_p)
    assert p.sum() == pytest.approx(1, abs=1e-5)
    assert p.max() > 2 * p.min()
    # Pearson's statistic with 15 degrees of freedom exceeds 37.7 once in a thousand.
    assert ((counts - n * p) ** 2 / (n * p)).sum() < 37.7


@pytest.mark.parametrize("conditional", [False, True])
def test_the_likelihood_sums_to_one(conditional):
    # All 2^16 images of 4 x 4 pixels, of one code.
    decoder = wild(conditional, size=4, features=2, conditioning="layers")
    bits = (np.arange(2**16)[:, None] >> np.arange(16)) & 1
    x = bits.reshape(-1, 4, 4, 1).astype("float32")
    loss = losses.Bernoulli()
    z = codes(1).repeat(2**12, axis=0)
    log_p = np.concatenate(
        [
            -array(loss.call(part, decoder([part, z] if conditional else part)))
            for part in np.split(x, 16)
        ]
    )
    assert np.exp(log_p.astype("float64")).sum() == pytest.approx(1, abs=1e-4)


def weights(decoder):
    return sum(int(np.prod(w.shape)) for w in decoder.trainable_weights)


def test_parameters():
    decoder = PixelCNN()
    decoder.build([(None, 28, 28, 1), (None, 64)])
    sizes = {node.shape[1:3] for node in decoder.logits.ancestors()}
    assert sizes == {(28, 28), (14, 14), (7, 7)}
    n = 64

    def conv(taps, inputs):  # a gate doubles the outputs
        return (taps * inputs + 1) * 2 * n

    condition = (64 + 1) * 2 * 784
    first = conv(6, 2) + conv(3, 2) + conv(2, 2)
    between = 2 * (conv(6, n) + conv(4, n)) + 2 * 2 * conv(4, n)
    going = 6 * (2 * conv(6, n) + 2 * conv(4, n) + conv(1, n))
    coming = 6 * (2 * conv(6, n) + 2 * conv(4, n) + conv(1, n) + conv(1, 2 * n))
    rest = between + going + coming + n + 1
    assert weights(decoder) == condition + first + rest
    # The code in every residual layer, not beside the image: 24 of them, no biases.
    decoder = PixelCNN(conditioning="layers")
    decoder.build([(None, 28, 28, 1), (None, 64)])
    first = conv(6, 1) + conv(3, 1) + conv(2, 1)
    assert weights(decoder) == first + 24 * 64 * 2 * n + rest


def shortcuts_to_itself(decoder):
    """How many residual layers join a map that is their own input."""
    found = []
    for node in decoder.logits.ancestors():
        if node.layer is None and len(node.inputs) == 2:
            x, h = node.inputs
            if type(h.layer) is Window and h.inputs[0].layer is None:
                parts = h.inputs[0].inputs
                found += [x in p.inputs for p in parts if type(p.layer) is Pointwise]
    return sum(found)


@core
def test_shortcuts_join_other_maps_and_old_files_keep_theirs():
    # The same weights, another network.
    new = wild(size=4, layers_per_block=2)
    config = new.get_config()
    assert PixelCNN.from_config(config).shortcuts == "distinct"
    del config["shortcuts"], config["conditioning"]  # as they were saved before
    old = PixelCNN.from_config(config)
    x, z = images(3, 4), codes(3)
    old([x, z])
    old.set_weights(new.get_weights())
    assert shortcuts_to_itself(new) == 0 and shortcuts_to_itself(old) == 2
    assert np.abs(array(old([x, z])) - array(new([x, z]))).max() > 1e-3


@core
@pytest.mark.parametrize("arguments", [{"features": 0}, {"layers_per_block": 1.5}])
def test_bad_arguments_raise(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be an integer"):
        PixelCNN(**arguments)


@core
@pytest.mark.parametrize(
    "shape",
    [
        (None, 8, 10, 1),
        (None, 8, 8, 3),
        (None, 8, 8),
        (None, None, 8, 1),
        [(None, 8, 8, 1), (None, 2, 2)],
        [(None, 8, 8, 1), (None, None)],
        [(None, 8, 8, 1), (None, 2), (None, 2)],
    ],
)
def test_bad_shapes_raise(shape):
    with pytest.raises(ValueError, match="PixelCNN takes images of shape"):
        PixelCNN(2).build(shape)


@core
def test_sampling_asks_for_what_it_needs():
    with pytest.raises(ValueError, match="called once before"):
        PixelCNN(2).sample(n=1)
    conditional = PixelCNN(2)
    conditional.build([(None, 8, 8, 1), (None, 3)])
    with pytest.raises(ValueError, match=r"z must have the width .*\(n, 3\). Rec"):
        conditional.sample(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="given codes z alone to sample. Rec.*n=3"):
        wild(size=4).sample(n=3)
    with pytest.raises(ValueError, match="given a number n alone"):
        wild(conditional=False, size=4).sample(codes(2))
    with pytest.raises(ValueError, match="given a number n alone"):
        wild(conditional=False, size=4).sample()
