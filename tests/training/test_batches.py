"""Tests of batches: order, noise, targets, and that `fit` moves them on."""

import keras
import numpy as np
import pytest

from echo_keras.training import Batches

NUMBERS = np.arange(10.0)[:, None]


def epoch_of(batches, epoch):
    batches.begin(epoch)
    pairs = [batches[i] for i in range(len(batches))]
    for x, y in pairs:
        np.testing.assert_array_equal(x, y)
    return [x for x, _ in pairs]


def order(batches, epoch):
    return np.concatenate(epoch_of(batches, epoch))[:, 0].tolist()


def test_each_image_once_an_epoch_with_a_short_last_batch():
    batches = Batches(NUMBERS, batch_size=4, seed=0)
    assert len(batches) == 3
    assert [len(x) for x in epoch_of(batches, 0)] == [4, 4, 2]
    assert sorted(order(batches, 3)) == NUMBERS[:, 0].tolist()


def test_order_depends_on_seed_and_epoch_alone():
    first, second = (Batches(NUMBERS, 4, seed=1) for _ in range(2))
    orders = [order(first, epoch) for epoch in range(4)]
    assert order(second, 3) == orders[3]  # epochs 0 to 2 were skipped
    assert order(first, 0) == orders[0]
    assert len(set(map(tuple, orders))) == 4
    assert order(Batches(NUMBERS, 4, seed=2), 0) != orders[0]


class Watched(Batches):
    """Remembers what was read; by batches, as `fit` may shuffle those."""

    def __init__(self, *args, **kwargs):
        self.seen = {}
        super().__init__(*args, **kwargs)

    def batch(self, index, epoch, order):
        x, y = super().batch(index, epoch, order)
        self.seen.setdefault(epoch, {})[index] = x
        return x, y


def model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.core
@pytest.mark.parametrize("binarize", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_fit_sees_the_batches_of_each_epoch(binarize, shuffle):
    x, arguments = NUMBERS / 10, {"batch_size": 3, "seed": 1, "binarize": binarize}
    batches = Watched(x, **arguments)
    read = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: used.append(batches.epoch[0])
    )
    fitted, used = model(), []
    fitted.fit(batches, epochs=3, shuffle=shuffle, callbacks=[read], verbose=0)
    assert used == [0] * 4 + [1] * 4 + [2] * 4
    for epoch in range(3):
        expected = Batches(x, **arguments, epoch=epoch)
        assert sorted(batches.seen[epoch]) == [0, 1, 2, 3]
        for index, found in batches.seen[epoch].items():
            np.testing.assert_array_equal(found, expected[index][0])
    # Other ones in every epoch.
    whole = {
        np.concatenate([batches.seen[epoch][i] for i in range(4)]).tobytes()
        for epoch in range(3)
    }
    assert len(whole) == 3
    # A second call goes on; so does one that says where it begins.
    fitted.fit(batches, epochs=2, initial_epoch=1, verbose=0)
    assert batches.epoch[0] == 4
    resumed = Watched(x, **arguments, epoch=2)
    fitted.fit(resumed, initial_epoch=2, epochs=3, shuffle=shuffle, verbose=0)
    assert resumed.epoch[0] == 3
    for index, found in batches.seen[2].items():
        np.testing.assert_array_equal(resumed.seen[2][index], found)


@pytest.mark.core
def test_an_epoch_that_was_broken_off_is_not_over():
    class Stop(Exception):
        pass

    def stop(batch, logs):
        raise Stop

    batches, fitted = Batches(NUMBERS, 2, seed=0), model()
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
    with pytest.raises(Stop):
        fitted.fit(batches, epochs=2, callbacks=[callback], verbose=0)
    assert batches.epoch[0] == 0


def test_batches_read_to_build_a_loss_are_no_epoch():
    batches = Batches(NUMBERS, 4, seed=0)
    for read, epoch in ((2, 0), (3, 1)):  # of three batches
        batches.on_epoch_begin()
        for index in range(read):
            batches[index]
        batches.on_epoch_end()
        assert batches.epoch[0] == epoch


def test_binarized_afresh_with_the_grey_values_as_means():
    # 4,000 draws of each grey value: 4.5 standard errors, once in 140,000 seeds.
    grey = np.tile(np.array([0.0, 0.1, 0.5, 0.9, 1.0], "float32"), (4000, 1))
    batches = Batches(grey, 1000, seed=0, binarize=True)
    first = epoch_of(batches, 0)
    x = np.concatenate(first)
    assert x.dtype == np.float32 and set(np.unique(x)) == {0, 1}
    error = np.sqrt(grey[0] * (1 - grey[0]) / 4000)
    assert np.all(np.abs(x.mean(0) - grey[0]) <= 4.5 * error)
    again, later = np.concatenate(epoch_of(batches, 0)), epoch_of(batches, 1)
    np.testing.assert_array_equal(again, x)
    assert np.any(later[0] != first[0]) and np.any(first[0] != first[1])


@pytest.mark.parametrize("binarize", [False, True])
def test_targets_stay_with_their_inputs_in_the_order_of_batches(binarize):
    x = (NUMBERS + 1) / 20
    batches = Batches(x, 4, seed=3, y=np.arange(10), binarize=binarize, epoch=5)
    plain = Batches(x, 4, seed=3, epoch=5)
    binary = Batches(x, 4, seed=3, binarize=binarize, epoch=5)
    for index in range(3):
        images, classes = batches[index]
        np.testing.assert_allclose(20 * plain[index][0][:, 0] - 1, classes)
        np.testing.assert_array_equal(images, binary[index][0])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"batch_size": 0}, "batch_size must be an integer >= 1. Received: batch_size"),
        ({"seed": -1}, r"seed must be an integer in \[0, 4294967295\]"),
        ({"epoch": -1}, "epoch must be an integer >= 0"),
        ({"y": np.zeros(9)}, r"each of the 10 rows of x. Received: y of shape \(9,\)"),
    ],
)
def test_bad_arguments_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Batches(**{"x": NUMBERS, "batch_size": 2, "seed": 0, **arguments})
