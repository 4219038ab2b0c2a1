"""Tests of the vector quantiser: assignment, gradients, codebooks, rate, dither."""

import json

import keras
import numpy as np
import pytest
from hypothesis import settings
from keras import ops
from scipy import stats
from tools import array, gradients

from echo_keras import RateDistortionModel
from echo_keras.layers import VectorQuantizer
from echo_keras.layers.codebook import FLOOR, divide_frequencies
from echo_keras.losses import SquaredError

pytestmark = pytest.mark.core

quick = settings(max_examples=30, deadline=None, derandomize=True, database=None)


def normal(shape, seed=0):
    return np.random.RandomState(seed).normal(size=shape).astype("float32")


def quantizer(codebook, **arguments):
    """A built layer with given codewords (groups, codewords, width)."""
    groups, codewords, width = codebook.shape
    initializer = keras.initializers.Constant(codebook)
    layer = VectorQuantizer(
        codewords, groups=groups, initializer=initializer, **arguments
    )
    layer.build((None, groups * width))
    return layer


def nearest(z, codebook):
    """Indices (..., groups) by brute force, in float64."""
    groups, _, width = codebook.shape
    z = z.astype("float64").reshape(*z.shape[:-1], groups, 1, width)
    return np.square(z - codebook).sum(-1).argmin(-1)


def chosen(index, codebook):
    """Codewords (..., d) of indices (..., groups)."""
    z = codebook[np.arange(len(codebook)), index]
    return z.reshape(*index.shape[:-1], -1)


def mixed(frequencies):
    frequencies = np.asarray(frequencies, "float64")
    return (1 - FLOOR) * frequencies + FLOOR / frequencies.shape[-1]


def losses(layer, z, training=False, trainable=()):
    """Losses of a call, as tensors, leaving the state as it is."""
    state = [ops.convert_to_tensor(v) for v in layer.non_trainable_variables]
    trainable = list(trainable) or layer.trainable_variables
    call = layer.stateless_call(
        trainable, state, z, training=training, return_losses=True
    )
    return call[2]


# The nearest codeword


@pytest.mark.parametrize("shape", [(5, 6), (3, 2, 2, 6)])
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_output_is_the_nearest_codeword_of_each_group(shape, groups):
    codebook = normal((groups, 7, 6 // groups), seed=1)
    layer = quantizer(codebook)
    z = normal(shape, seed=2)
    index = nearest(z, codebook)
    assert len(np.unique(index)) > 1
    np.testing.assert_array_equal(array(layer.indices(z)), index)
    # The codeword itself, to the last bit.
    np.testing.assert_array_equal(array(layer(z)), chosen(index, codebook))


def test_codes_far_from_zero_find_their_codeword():
    # Codewords 0.01 apart at 1000, where float32 has steps of 6e-5.
    codebook = (1000 + np.arange(64).reshape(1, 64, 1) / 100).astype("float32")
    z = np.random.RandomState(2).uniform(1000, 1000.63, (200, 1)).astype("float32")
    index = array(quantizer(codebook).indices(z))
    np.testing.assert_array_equal(index, nearest(z, codebook))


def test_indices_decode_to_what_the_layer_returns():
    layer = quantizer(normal((3, 5, 2), seed=1))
    z = normal((4, 2, 6))
    index = layer.indices(z)
    assert tuple(index.shape) == (4, 2, 3)
    assert keras.backend.standardize_dtype(index.dtype) == "int32"
    codes = layer.decode_indices(index)
    np.testing.assert_array_equal(array(codes), array(layer(z)))
    np.testing.assert_array_equal(array(layer.indices(codes)), array(index))


# Gradients


@pytest.mark.parametrize("update", ["ema", "gradient"])
@pytest.mark.parametrize("training", [False, True])
def test_the_gradient_passes_straight_through(update, training):
    layer = quantizer(normal((2, 4, 3)), update=update, dither=0.1)
    weight = normal((5, 6), seed=3)

    def weighted(z):
        state = [ops.convert_to_tensor(v) for v in layer.non_trainable_variables]
        call = layer.stateless_call(
            layer.trainable_variables, state, z, training=training
        )
        return ops.sum(ops.multiply(call[0], weight))

    (found,) = gradients(weighted, normal((5, 6), seed=2))
    np.testing.assert_allclose(found, weight, rtol=1e-6)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_commitment_is_the_weighted_squared_error(update):
    codebook = normal((2, 4, 3))
    layer = quantizer(codebook, update=update, commitment=0.4, beta=0.0)
    z = normal((5, 2, 6), seed=2)
    error = z - chosen(nearest(z, codebook), codebook)
    layer(z)
    mean = np.square(error).sum((1, 2)).mean()
    expected = [0.4 * mean] + [mean] * (update == "gradient") + [0.0]
    np.testing.assert_allclose([array(x) for x in layer.losses], expected, rtol=1e-5)
    (found,) = gradients(lambda z: sum(losses(layer, z)), z)
    np.testing.assert_allclose(found, 0.4 * 2 * error / 5, rtol=1e-4, atol=1e-6)


def test_without_commitment_the_rate_is_the_only_loss():
    layer = quantizer(normal((1, 4, 3)), commitment=0.0)
    layer(normal((5, 3)))
    assert len(layer.losses) == 1


def test_the_codebook_loss_draws_codewords_to_the_mean_of_their_codes():
    codebook = normal((2, 4, 3))
    layer = quantizer(codebook, update="gradient")
    z = normal((6, 6), seed=2)
    index = nearest(z, codebook)
    (found,) = gradients(
        lambda shift: sum(losses(layer, z, trainable=[shift])),
        np.zeros_like(codebook),
    )
    expected = np.zeros_like(codebook)
    for example, group in np.ndindex(6, 2):
        j = index[example, group]
        part = z[example, 3 * group : 3 * group + 3]
        expected[group, j] += 2 * (codebook[group, j] - part) / 6
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# Moving codebooks and frequencies


def test_moving_averages_are_those_of_counts_and_sums():
    codebook = normal((2, 4, 3))
    codebook[1, 3] = 1e3
    layer = quantizer(codebook, decay=0.6, dead_code_threshold=None)
    counts, sums = np.zeros((2, 4)), np.zeros((2, 4, 3))
    expected = codebook.astype("float64")
    used = np.zeros((2, 4), bool)
    for t, rows in enumerate((7, 3, 5, 4), start=1):
        z = normal((rows, 6), seed=t)
        index = nearest(z, expected)
        hits = np.eye(4)[index]
        rate = max(1 - 0.6, 1 / t)
        counts += rate * (hits.mean(0) - counts)
        parts = z.reshape(rows, 2, 3)
        sums += rate * (np.einsum("vgk,vgw->gkw", hits, parts) / rows - sums)
        used |= hits.any(0)
        expected = np.where(
            used[:, :, None], sums / np.maximum(counts, 1e-9)[:, :, None], expected
        )
        layer(z, training=True)
        np.testing.assert_allclose(array(layer.frequencies), counts, rtol=1e-5)
        np.testing.assert_allclose(array(layer.codebook()), expected, rtol=1e-4)
    assert not used[1, 3] and used.sum() == 7  # the one without codes has stayed
    before = array(layer.codebook())
    layer(normal((5, 6), seed=9))
    np.testing.assert_array_equal(array(layer.codebook()), before)
    np.testing.assert_allclose(array(layer.frequencies), counts, rtol=1e-5)


def is_row_of(codebook, z):
    """Which codewords (groups, codewords) are sub-vectors of codes (n, d)."""
    groups, _, width = codebook.shape
    parts = z.reshape(-1, groups, width).transpose(1, 0, 2)
    return (codebook[:, :, None] == parts[:, None]).all(-1).any(-1)


@pytest.mark.parametrize("codewords", [5, 12])
def test_the_first_batch_in_fit_provides_the_codewords(codewords):
    inputs = keras.Input((4,))
    layer = VectorQuantizer(
        codewords, groups=2, update="gradient", dead_code_threshold=None
    )
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    z = normal((8, 4))
    model.fit(z, z, verbose=0)
    codebook = array(layer.codebook())
    assert is_row_of(codebook, z).all()
    for group in codebook:  # different ones, as far as there are
        assert len(np.unique(group, axis=0)) == min(codewords, 8)
    model.fit(10 + z, z, verbose=0)  # not the second one
    np.testing.assert_array_equal(array(layer.codebook()), codebook)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_an_unused_codeword_comes_back_after_so_many_training_batches(update):
    codebook = normal((2, 3, 2))
    codebook[1, 2] = 1e3
    layer = quantizer(codebook, update=update, dead_code_threshold=3)
    if update == "gradient":
        layer.shift.assign(np.full((2, 3, 2), 0.25))
    far = array(layer.codebook())[1, 2]
    # Every other codeword has a code of its own.
    z = np.repeat(codebook[:, :2].transpose(1, 0, 2).reshape(2, 4), 2, axis=0)
    z = np.concatenate([z, [[*codebook[0, 2], *codebook[1, 0]]]])
    for _ in range(5):
        layer(z)
    for _ in range(2):
        layer(z, training=True)
        np.testing.assert_array_equal(array(layer.codebook())[1, 2], far)
    layer(z, training=True)
    revived = array(layer.codebook())[1, 2]
    assert np.abs(z[:, 2:] - revived).max(1).min() < 1e-6
    # It takes half of what belonged to the codeword whose code it is now.
    of_first = np.abs(z[0, 2:] - revived).max() < 1e-6
    expected = [0.3, 0.4, 0.3] if of_first else [0.6, 0.2, 0.2]
    np.testing.assert_allclose(array(layer.frequencies)[1], expected, rtol=1e-5)
    assert np.abs(array(layer.codebook())).max() < 10


def test_revived_codewords_share_the_frequency_of_a_parent():
    frequencies = np.array([[0.5, 0.1, 0.3, 0.1], [0.2, 0.3, 0.4, 0.1]], "float32")
    dead = np.array([[False, True, False, True], [False, True, False, False]])
    parents = np.array([[2, 0, 0, 0], [1, 2, 3, 0]], "int32")
    found = divide_frequencies(
        *map(ops.convert_to_tensor, (frequencies, dead, parents))
    )
    share = (0.5 + 0.1 + 0.1) / 3
    expected = [[share, share, 0.3, share], [0.2, 0.35, 0.35, 0.1]]
    np.testing.assert_allclose(array(found), expected, rtol=1e-6)


def test_a_frozen_layer_does_not_learn():
    layer = VectorQuantizer(4, dead_code_threshold=1, trainable=False)
    layer.build((None, 3))
    weights = [array(w) for w in layer.weights if w is not layer.last_rate]
    layer(normal((5, 3)), training=True)
    for old, new in zip(
        weights, [w for w in layer.weights if w is not layer.last_rate], strict=True
    ):
        np.testing.assert_array_equal(array(new), old)


# The rate


def dyadic(**arguments):
    """Levels 0, 1, 2, 3 of probability 1/2, 1/4, 1/8, 1/8."""
    layer = quantizer(np.arange(4.0).reshape(1, 4, 1), **arguments)
    layer.frequencies.assign([[0.5, 0.25, 0.125, 0.125]])
    return layer


def test_the_rate_is_the_entropy_of_codes_that_follow_the_frequencies():
    layer = dyadic()
    z = np.array([[0], [0], [0], [0], [1], [1], [2], [3]], "float32")
    p = mixed([[0.5, 0.25, 0.125, 0.125]])[0]
    expected = -np.log(p)[[0, 0, 0, 0, 1, 1, 2, 3]]
    draw = layer.draw(z)
    np.testing.assert_array_equal(array(draw.z), array(layer(z)))
    for rate in (
        draw.rate,
        draw.log_ratio,
        layer.rate(z),
        array(layer.rate_bits(z)) * np.log(2),
    ):
        np.testing.assert_allclose(array(rate), expected, rtol=1e-5)
    np.testing.assert_allclose(array(layer.last_rate), expected.mean(), rtol=1e-5)
    # 1.75 bits, and what the probability set aside costs.
    excess = expected.mean() - 1.75 * np.log(2)
    assert 0 < excess < FLOOR
    np.testing.assert_allclose(layer.code_probabilities(), [p], rtol=1e-6)
    assert layer.code_probabilities().dtype == "float64"
    np.testing.assert_allclose(layer.entropy(), -p @ np.log(p), rtol=1e-6)
    np.testing.assert_allclose(layer.perplexity(), [2**1.75], rtol=1e-3)


def test_a_codeword_never_seen_costs_what_is_set_aside():
    layer = dyadic()
    layer.frequencies.assign([[1.0, 0.0, 0.0, 0.0]])
    rate = array(layer.rate(np.array([[3.0], [0.0]])))
    np.testing.assert_allclose(rate[0], np.log(4 / FLOOR), rtol=1e-5)
    assert 0 < rate[1] < FLOOR


def test_frequencies_of_given_indices_make_the_rate_their_entropy():
    layer = VectorQuantizer(5, groups=2, seed=0)
    z = normal((30, 3, 4))
    layer(z, training=True)
    index = array(layer.indices(z))
    layer.set_frequencies(index)
    entropy = 0.0
    for group in range(2):
        shares = np.unique(index[..., group], return_counts=True)[1] / 90
        entropy -= 3 * np.sum(shares * np.log(shares))
    rate = array(layer.rate(z)).mean()
    assert entropy < rate + 1e-4 < entropy + 6 * FLOOR
    assert abs(layer.entropy() - entropy) < 0.05


@pytest.mark.parametrize(
    "indices", [np.zeros((3, 1), int), np.zeros((0, 2), int), [[0, 5]], [[-1, 0]]]
)
def test_frequencies_of_bad_indices_raise(indices):
    layer = VectorQuantizer(5, groups=2)
    layer.build((None, 4))
    with pytest.raises(ValueError, match="^indices must .* groups = 2, not be empty"):
        layer.set_frequencies(indices)


def test_rates_of_groups_and_positions_add_up():
    layer = VectorQuantizer(4, groups=2, seed=0)
    layer.build((None, 3, 5, 2))
    layer.frequencies.assign([[0.5, 0.25, 0.125, 0.125], [0.1, 0.2, 0.3, 0.4]])
    z = normal((6, 3, 5, 2))
    p = layer.code_probabilities()
    index = array(layer.indices(z))
    length = -np.log(p[np.arange(2), index])
    np.testing.assert_allclose(array(layer.rate(z)), length.sum((1, 2, 3)), rtol=1e-5)
    entropy = -15 * np.sum(p * np.log(p))
    np.testing.assert_allclose(layer.entropy(), entropy, rtol=1e-6)
    assert tuple(layer.sample(2).shape) == (2, 3, 5, 2)


def test_unknown_batch_and_image_sizes():
    inputs = keras.Input((None, None, 4))
    layer = VectorQuantizer(8, groups=2, seed=0)
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, 4)
    for shape in ((3, 2, 2, 4), (1, 5, 1, 4)):
        z = normal(shape)
        np.testing.assert_array_equal(model.predict(z, verbose=0), array(layer(z)))
        # Without frequencies all codewords are alike.
        positions = shape[1] * shape[2]
        expected = np.full(shape[0], positions * 2 * np.log(8))
        np.testing.assert_allclose(array(layer.rate(z)), expected, rtol=1e-5)
    for method in (layer.entropy, lambda: layer.sample(2)):
        with pytest.raises(ValueError, match=r"Received: positions=\(None, None\)"):
            method()


def test_fit_logs_the_code_length_under_the_frequencies_so_far():
    inputs = keras.Input((3,))
    same = keras.layers.Dense(3, use_bias=False, kernel_initializer="identity")
    layer = VectorQuantizer(4, beta=0.5, commitment=0.0, dead_code_threshold=2, seed=1)
    model = RateDistortionModel(inputs, layer(same(inputs)))
    model.compile(keras.optimizers.SGD(0.0), SquaredError())
    z = normal((8, 3))
    log = model.fit(z, z, batch_size=4, shuffle=False, epochs=2, verbose=0).history
    again = VectorQuantizer(4, beta=0.5, commitment=0.0, dead_code_threshold=2, seed=1)
    for epoch in range(2):
        rates = []
        for start in (0, 4):
            batch = z[start : start + 4]
            again(batch, training=True)
            rates.append(float(array(again.last_rate)))
        np.testing.assert_allclose(log["rate"][epoch], np.mean(rates), rtol=1e-4)
    rate = array(layer.rate(z)).mean()
    log = model.evaluate(z, z, verbose=0, return_dict=True)
    np.testing.assert_allclose(log["rate"], rate, rtol=1e-5)
    np.testing.assert_allclose(log["loss"], log["distortion"] + 0.5 * rate, rtol=1e-5)


# Soft assignment


def soft_length(z, codebook, p, temperature):
    """Mean code length of soft assignments, in float64."""
    groups, _, width = codebook.shape
    z = z.astype("float64").reshape(len(z), groups, 1, width)
    logits = -np.square(z - codebook).sum(-1) / temperature
    share = np.exp(logits - logits.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    return -np.sum(share * np.log(p)) / len(z)


def skewed(temperature):
    layer = quantizer(normal((2, 3, 2)), temperature=temperature, commitment=0.0)
    layer.frequencies.assign([[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    return layer


def test_the_gradient_of_the_rate_is_that_of_the_soft_assignment():
    layer = skewed(0.7)
    z = normal((3, 4), seed=2)
    (found,) = gradients(lambda z: losses(layer, z)[-1], z)
    codebook, p = array(layer.codebook()).astype("float64"), layer.code_probabilities()
    expected = np.zeros_like(found)
    for place in np.ndindex(3, 4):
        step = np.zeros((3, 4))
        step[place] = 1e-5
        above, below = (soft_length(z + s, codebook, p, 0.7) for s in (step, -step))
        expected[place] = (above - below) / 2e-5
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    # The value is that of the hard one, which other losses share.
    hard = array(skewed(None).rate(z)).mean()
    np.testing.assert_allclose(array(losses(layer, z)[-1]), hard, rtol=1e-5)


def test_the_rate_of_the_soft_assignment_leaves_the_codewords_alone():
    codebook, z = normal((2, 3, 2)), normal((3, 4), seed=2)
    layer = quantizer(codebook, update="gradient", temperature=0.7)
    layer.frequencies.assign([[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    (found,) = gradients(
        lambda shift: losses(layer, z, trainable=[shift])[-1] + 0.0 * ops.sum(shift),
        np.zeros_like(codebook),
    )
    np.testing.assert_array_equal(found, np.zeros_like(codebook))


def test_the_soft_assignment_hardens_as_it_cools():
    z = normal((3, 4), seed=2)
    size = [
        np.abs(gradients(lambda z, t=t: losses(skewed(t), z)[-1], z)[0]).max()
        for t in (0.3, 0.003)
    ]
    assert size[0] > 0.1 and size[1] < 1e-6
    codebook = array(skewed(None).codebook()).astype("float64")
    cold = soft_length(z, codebook, skewed(None).code_probabilities(), 0.003)
    np.testing.assert_allclose(cold, array(skewed(None).rate(z)).mean(), rtol=1e-5)


def test_the_hard_rate_has_no_gradient():
    z = normal((3, 4), seed=2)
    (found,) = gradients(lambda z: losses(skewed(None), z)[-1] + 0.0 * ops.sum(z), z)
    np.testing.assert_array_equal(found, np.zeros_like(z))


# Dither


# The code length in the choice of a codeword


def two_words(length_weight, p=(0.9, 0.1)):
    layer = quantizer(np.array([[[-1.0], [1.0]]]), length_weight=length_weight)
    layer.frequencies.assign([p])
    return layer


@pytest.mark.parametrize("length_weight", [0.0, 0.5, 1.5])
def test_the_border_of_two_codewords_moves_towards_the_rarer(length_weight):
    """(z + 1)^2 - w log p = (z - 1)^2 - w log q, at z = w / 4 log(p / q)."""
    layer = two_words(length_weight)
    (p, q) = mixed([0.9, 0.1])
    border = length_weight / 4 * np.log(p / q)
    z = np.linspace(-2, 2, 4001)[:, None].astype("float32")
    z = z[np.abs(z[:, 0] - border) > 1e-5]
    np.testing.assert_array_equal(array(layer.indices(z)), z > border)
    np.testing.assert_array_equal(array(layer(z)), np.where(z > border, 1.0, -1.0))


def test_codes_of_chosen_codewords_cost_least_in_all():
    codebook = normal((2, 5, 3), seed=1)
    layer = quantizer(codebook, length_weight=0.7)
    p = np.random.RandomState(0).dirichlet(np.ones(5), 2)
    layer.frequencies.assign(p)
    z = normal((200, 6), seed=2)
    apart = z.astype("float64").reshape(200, 2, 1, 3) - codebook
    cost = np.square(apart).sum(-1) - 0.7 * np.log(mixed(p))
    index = cost.argmin(-1)
    assert np.mean(index != nearest(z, codebook)) > 0.05
    np.testing.assert_array_equal(array(layer.indices(z)), index)
    length = -np.log(mixed(p))[np.arange(2), index].sum(1)
    np.testing.assert_allclose(array(layer.rate(z)), length, rtol=1e-5)


def entropy_learned(length_weight):
    codebook = np.linspace(-2, 2, 8).reshape(1, 8, 1)
    layer = quantizer(
        codebook, length_weight=length_weight, decay=0.5, dead_code_threshold=None
    )
    z = normal((2_000, 1))
    for _ in range(40):
        layer(z, training=True)
    error = np.square(z - array(layer(z))).mean()
    return layer.entropy(), error


def test_more_weight_on_lengths_is_less_entropy_and_more_error():
    entropies, errors = zip(*map(entropy_learned, (0.0, 0.1, 0.5, 20.0)), strict=True)
    assert np.all(np.diff(entropies) < -0.1) and np.all(np.diff(errors) > 0.005)
    # One codeword for all, at their mean: entropy 0 but for what is set aside.
    assert entropies[-1] < 0.02 and errors[-1] == pytest.approx(1.0, abs=0.1)
    # Shannon: no code of error D of a unit Gaussian is shorter than log(1 / D) / 2.
    bound = 0.5 * np.log(1 / np.array(errors[:2]))
    assert np.all(np.array(entropies[:2]) > bound)


def test_dither_is_uniform_in_training_and_at_inference():
    codebook = normal((2, 3, 2))
    layer = quantizer(codebook, dither=0.2, decay=0.0, dead_code_threshold=None, seed=1)
    z = normal((4000, 4), seed=2)
    codeword = chosen(nearest(z, codebook), codebook)
    noise = [array(layer(z)) - codeword, array(layer(z, training=True)) - codeword]
    codes = array(layer.decode_indices(layer.indices(z)))
    noise.append(codes - chosen(array(layer.indices(z)), array(layer.codebook())))
    for u in noise:
        assert np.abs(u).max() <= 0.2 + 1e-6
        # False alarm once in a thousand seeds.
        law = stats.uniform(-0.2, 0.4)
        assert stats.kstest(u.ravel(), law.cdf).pvalue > 1e-3
    assert np.abs(noise[0] - noise[1]).min() > 0


def test_dither_costs_nothing():
    rates = [array(dyadic(dither=h).rate(np.zeros((2, 1)))) for h in (0.0, 5.0)]
    np.testing.assert_array_equal(*rates)
    layer = dyadic(dither=5.0)
    layer(np.zeros((2, 1)))
    np.testing.assert_allclose(array(layer.last_rate), rates[0].mean(), rtol=1e-6)


def test_samples_follow_the_frequencies():
    layer = dyadic(seed=3)
    levels = array(layer.sample(4000)).ravel()
    counts = [np.sum(levels == level) for level in range(4)]
    # False alarm once in a thousand seeds.
    expected = 4000 * layer.code_probabilities()[0]
    assert stats.chisquare(counts, expected, sum_check=False).pvalue > 1e-3


# Keras


def test_training_continues_from_a_saved_model(tmp_path):
    inputs = keras.Input((4,))
    layer = VectorQuantizer(
        5,
        groups=2,
        decay=0.8,
        temperature=0.5,
        dither=0.1,
        dead_code_threshold=3,
        initializer=keras.initializers.RandomUniform(seed=3),
        beta=0.3,
    )
    model = keras.Model(inputs, layer(inputs))
    z = normal((6, 4))
    for _ in range(2):
        model(z, training=True)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    configs = [json.dumps(m.get_config(), sort_keys=True) for m in (model, loaded)]
    assert configs[0] == configs[1]
    for _ in range(3):
        found, expected = loaded(z, training=True), model(z, training=True)
        np.testing.assert_array_equal(array(found), array(expected))
    for new, old in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(array(new), array(old))
    clone = keras.models.clone_model(model).layers[-1]
    assert clone.get_config() == layer.get_config()


# Bad input


@pytest.mark.parametrize(
    "name, values, sentence",
    [
        ("codewords", (1, 2.5, 2**16 + 1, np.inf), r"an integer in \[2, 65536\]"),
        ("groups", (0, 1.5, np.inf), "an integer >= 1"),
        ("dead_code_threshold", (0, 1.5, np.inf), "an integer >= 1, or None"),
        ("commitment", (-1.0, np.inf, np.nan), "a finite number >= 0"),
        ("dither", (-1.0, np.inf, np.nan), "a finite number >= 0"),
        ("beta", (-1.0, np.inf, np.nan), "a finite number >= 0, .* or a rule .*"),
        ("temperature", (0.0, -1.0, np.inf, np.nan), "a finite number > 0, or None"),
        ("decay", (-0.1, 1.0, np.nan), r"a number in \[0, 1\)"),
        ("update", ("adam",), "one of ema, gradient"),
    ],
)
def test_bad_arguments_raise(name, values, sentence):
    for value in values:
        received = f"^{name} must be {sentence}. Received: {name}={value!r}$"
        with pytest.raises(ValueError, match=received):
            VectorQuantizer(**{"codewords": 4, name: value})


@pytest.mark.parametrize("value", [2, np.float32(2), np.bool_(True), np.ones(3)])
def test_values_are_no_initializer(value):
    with pytest.raises(ValueError, match="^initializer must be a Keras initializer"):
        VectorQuantizer(4, initializer=value)


@pytest.mark.parametrize("shape", [(None, 5), (None, None), (4,)])
def test_codes_that_do_not_split_into_groups_raise(shape):
    with pytest.raises(ValueError, match="d known and a multiple of groups = 2"):
        VectorQuantizer(4, groups=2).build(shape)


def test_indices_of_another_number_of_groups_raise():
    with pytest.raises(ValueError, match=r"groups = 1. Received: \(3, 2\)$"):
        dyadic().decode_indices(np.zeros((3, 2), "int32"))


def test_a_layer_that_is_not_built_has_no_codewords():
    with pytest.raises(ValueError, match="^VectorQuantizer is not built"):
        VectorQuantizer(4).code_probabilities()
