"""Free bits: what the loss has, what is logged, and where the gradient ends."""

import keras
import numpy as np
import pytest
from keras import ops
from tools import array, gradients, small_networks

from echo_keras import losses, objectives
from echo_keras.layers import (
    EchoSample,
    GaussianBottleneck,
    GaussianSample,
    IAFBlock,
    Logistic,
    TargetRate,
    TargetRateL1,
)
from echo_keras.layers.base import example_weights

pytestmark = pytest.mark.core

MEAN = np.array([[0.2, 1.0, 0.0], [0.4, 2.0, 0.1], [-0.2, -1.5, 0.0]], "float32")
RATES = 0.5 * MEAN**2  # unit variance
FREE = 0.3


def loss_of(channel, *inputs, **arguments):
    channel(list(inputs), **arguments)
    return float(array(channel.losses[0]))


def test_the_loss_has_the_threshold_where_a_dimension_lies_below():
    channel = GaussianSample(beta=2.0, free_bits=FREE)
    means = RATES.mean(0)
    assert (means < FREE).tolist() == [True, False, True]
    loss = loss_of(channel, MEAN, np.zeros_like(MEAN), training=True)
    assert loss == pytest.approx(2 * (2 * FREE + means[1]), rel=1e-5)
    # The logged rate is the true one.
    assert float(array(channel.last_rate)) == pytest.approx(means.sum(), rel=1e-5)


def test_the_mean_over_the_batch_comes_before_the_maximum():
    # One example of 0 nats and one of 1: it is their mean that is compared.
    mean = np.sqrt([[0.0], [2.0]]).astype("float32")
    assert loss_of(
        GaussianSample(free_bits=0.6), mean, np.zeros((2, 1))
    ) == pytest.approx(0.6)
    assert loss_of(
        GaussianSample(free_bits=0.4), mean, np.zeros((2, 1))
    ) == pytest.approx(0.5)


def test_nothing_below_the_threshold_has_a_gradient_and_all_above_its_own():
    channel = GaussianSample(beta=2.0, free_bits=FREE)
    log_var = np.zeros_like(MEAN)
    channel.build([MEAN.shape, MEAN.shape])

    def loss(mean, log_var):
        return 2.0 * channel._charged([mean, log_var])

    of_mean, of_log_var = gradients(loss, MEAN, log_var - 0.5)
    assert not of_mean[:, [0, 2]].any() and not of_log_var[:, [0, 2]].any()
    np.testing.assert_allclose(of_mean[:, 1], 2 * MEAN[:, 1] / 3, rtol=1e-5)
    expected = 2 * 0.5 * (np.exp(-0.5) - 1) / 3
    np.testing.assert_allclose(of_log_var[:, 1], expected, rtol=1e-5)


def test_echo_counts_nats_of_its_scale():
    channel = EchoSample(d_max=20, free_bits=1.5, seed=0)
    log_s = np.tile(np.array([[-0.5, -3.0]], "float32"), (6, 1))
    f = np.random.RandomState(0).uniform(-1, 1, (6, 2)).astype("float32")
    loss = loss_of(channel, f, log_s, training=True)
    low, high = np.array([0.5, 3.0]) - np.log(channel.r)
    assert low < 1.5 < high
    assert loss == pytest.approx(1.5 + high, rel=1e-5)
    assert float(array(channel.last_rate)) == pytest.approx(low + high, rel=1e-5)


def test_weights_of_examples_count_in_the_mean():
    channel = GaussianSample(free_bits=FREE)
    weights = np.array([0.0, 2.0, 1.0], "float32")
    with example_weights(ops.convert_to_tensor(weights)):
        loss = loss_of(channel, MEAN, np.zeros_like(MEAN))
    means = (weights[:, None] * RATES).mean(0)
    assert loss == pytest.approx(np.maximum(means, FREE).sum(), rel=1e-5)


def test_masked_positions_carry_nothing_and_have_no_gradient():
    channel = GaussianSample(free_bits=FREE)
    mean = np.full((2, 3, 1), 2.0, "float32")
    mask = np.array([[True, True, False], [True, False, False]])
    channel([mean, np.zeros_like(mean)], mask=[ops.convert_to_tensor(mask)] * 2)
    # 2 nats at each position that counts, in the mean of two examples.
    assert float(array(channel.losses[0])) == pytest.approx(2 + 1 + FREE)
    assert float(array(channel.last_rate)) == pytest.approx(3.0)


def test_a_rule_sees_the_true_rate_and_weighs_what_is_charged():
    rule = TargetRate(2.0, step_size=0.1, smoothing=0.0)
    channel = GaussianSample(beta=rule, free_bits=FREE)
    loss = loss_of(channel, MEAN, np.zeros_like(MEAN), training=True)
    means = RATES.mean(0)
    beta = np.exp(0.1 * (means.sum() - 2) / 2)
    assert float(array(channel.beta)) == pytest.approx(beta, rel=1e-5)
    assert loss == pytest.approx(beta * np.maximum(means, FREE).sum(), rel=1e-5)


@pytest.mark.parametrize("beta", [1.0, TargetRate(2.0)])
def test_none_are_as_if_there_were_no_such_argument(beta):
    losses = {
        loss_of(GaussianSample(beta=beta, **given), MEAN, 0 * MEAN, training=True)
        for given in ({}, {"free_bits": 0.0})
    }
    assert len(losses) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"free_bits": -1.0}, "free_bits must be a finite number >= 0"),
        ({"free_bits": "1"}, "free_bits must be a finite number >= 0"),
        ({"marginal": Logistic}, "no sum over dimensions. Received: .*=Logistic"),
        ({"flow": lambda: IAFBlock(2, (4,))}, "no sum over dimensions"),
        ({"beta": TargetRateL1(2.0)}, "free_bits must be 0 beside TargetRateL1"),
    ],
)
def test_where_the_rate_is_no_sum_it_is_refused(arguments, message):
    arguments = {
        k: v() if k in ("flow", "marginal") else v for k, v in arguments.items()
    }
    with pytest.raises(ValueError, match=message):
        GaussianSample(**{"free_bits": 0.5, **arguments})


@pytest.mark.parametrize("objective", [objectives.vae, objectives.echo])
def test_objectives_train_with_it_and_files_keep_it(objective, tmp_path):
    free = {"free_bits": 0.25} if objective is objectives.vae else {"free_bits": 5.0}
    if objective is objectives.echo:
        free |= {"d_max": 5, "bank_size": 8}
    model = objective(*small_networks(), 2, **free)
    model.compile("adam", losses.Gaussian())
    x = np.random.RandomState(0).random_sample((8, 8)).astype("float32")
    log = model.fit(x, batch_size=8, verbose=0).history
    channel = model.get_layer("bottleneck").channel
    assert channel.free_bits == free["free_bits"]
    # The loss has more than the rate where a dimension lies below.
    added = log["loss"][0] - log["distortion"][0]
    assert added >= 2 * free["free_bits"] - 1e-4 and added > log["rate"][0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("bottleneck").channel.free_bits == free["free_bits"]


def test_a_dimension_that_would_be_given_up_keeps_its_nats():
    """A code of no use is worth no nat: its rate falls to 0, or to the threshold."""
    x = 3 * np.random.RandomState(0).normal(size=(64, 2)).astype("float32")
    ends = []
    for free in (0.0, 0.5):
        bottleneck = GaussianBottleneck(2, noise_variance=1.0, free_bits=free)
        inputs = keras.Input((2,))
        model = keras.Model(inputs, 0.0 * bottleneck(inputs))
        bottleneck.heads[0].kernel.assign(np.eye(2))
        # Plain descent: the momentum of Adam would carry it on below the threshold.
        model.compile(keras.optimizers.SGD(0.01), losses.Gaussian())
        rows = np.tile(x, (60, 1))
        model.fit(rows, rows, batch_size=64, shuffle=False, verbose=0)
        ends.append(float(array(bottleneck.channel.last_rate)))
    assert ends[0] < 0.1 and 0.8 < ends[1] <= 1.0
