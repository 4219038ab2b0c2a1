"""Tests of batches."""

import keras
import numpy as np
import pytest

from echo_keras.training import Batches

core = pytest.mark.core


# Batches


def epoch_of(batches, epoch):
    batches.callback.on_epoch_begin(epoch)
    pairs = [batches[i] for i in range(len(batches))]
    for x, y in pairs:
        np.testing.assert_array_equal(x, y)
    return [x for x, _ in pairs]


NUMBERS = np.arange(10.0)[:, None]


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


def test_fit_tells_the_epoch():
    seen = []

    class Watched(Batches):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            seen.append((self.epoch[0], x))
            return x, y

    inputs = keras.Input((1,))
    model = keras.Model(inputs, layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    batches = Watched(NUMBERS / 10, 5, seed=1)
    model.fit(
        batches,
        initial_epoch=1,
        epochs=3,
        shuffle=False,
        callbacks=[batches.callback],
        verbose=0,
    )
    # Each epoch's own batches were drawn; Keras may have looked at more of them.
    for epoch in (1, 2):
        drawn = np.concatenate([x for e, x in seen if e == epoch])
        assert set(drawn[:, 0]) == set((NUMBERS / 10)[:, 0])


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


