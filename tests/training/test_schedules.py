"""Tests of the learning-rate schedules."""

import json

import keras
import numpy as np
import pytest
from tools import array

from echo_keras.training import HalfwaySchedule, learning_rates

core = pytest.mark.core


def rates(schedule, epochs, at, steps=10):
    rate = HalfwaySchedule(1.0, epochs, steps, schedule)
    return [float(array(rate(round(epoch * steps)))) for epoch in at]


@core
@pytest.mark.parametrize(
    ("schedule", "epochs", "at", "expected"),
    [
        ("paper", 4, (0, 1.9, 2, 3, 3.5, 4, 5), (1, 1, 1, 0.5, 0.25, 0, 0)),
        ("paper", 5, (2.9, 3, 4, 5), (1, 1, 0.5, 0)),
        ("paper", 1, (0, 0.9), (1, 1)),
        ("published_code", 4, (0, 1.9, 2, 2.9, 3, 3.9), (1, 1, 0.01, 0.01, 0.99, 0.99)),
        ("published_code", 5, (2.9, 3, 3.9, 4), (1, 0.01, 0.01, 0.99)),
        ("published_code", 3, (1.9, 2, 2.9), (1, 0.01, 0.01)),
        ("published_code", 1, (0, 0.9), (1, 1)),
        ("constant", 4, (0, 2, 3.9), (1, 1, 1)),
    ],
)
def test_schedule(schedule, epochs, at, expected):
    np.testing.assert_allclose(rates(schedule, epochs, at), expected, atol=1e-6)


@core
def test_schedule_of_the_published_code_at_200_epochs():
    rate = HalfwaySchedule(3e-4, 200, 500, "published_code")
    at = [0, 99.998, 100, 100.998, 101, 150, 199, 199.998]
    found = [float(array(rate(round(500 * epoch)))) for epoch in at]
    step = (2.97e-4 - 3e-6) / 99
    expected = [3e-4, 3e-4, 3e-6, 3e-6, 3e-6 + step, 3e-6 + 50 * step, 2.97e-4, 2.97e-4]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@core
def test_schedule_of_the_paper_falls_evenly_to_zero_at_200_epochs():
    at = [0, 100, 125, 150, 175, 200]
    found = rates("paper", 200, at, steps=500)
    np.testing.assert_allclose(found, [1, 1, 0.75, 0.5, 0.25, 0], atol=1e-6)


@core
def test_schedule_serializes():
    rate = HalfwaySchedule(1e-3, 7, 9, "published_code")
    again = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(keras.saving.serialize_keras_object(rate)))
    )
    assert type(again) is HalfwaySchedule
    assert again.get_config() == rate.get_config()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            (1.0, 2, 2, "cosine"),
            "published_code, constant. Received: schedule='cosine'",
        ),
        (
            (0.0, 2, 2),
            "learning_rate must be a finite number > 0. Received: .*=0.0",
        ),
        ((-1.0, 2, 2), "learning_rate must be .* Received: learning_rate=-1.0"),
        ((float("nan"), 2, 2), "learning_rate must be .* Received: learning_rate=nan"),
        ((1.0, 0, 2), "epochs must be an integer >= 1. Received: epochs=0"),
        ((1.0, 2, 0), "steps_per_epoch must be .* Received: steps_per_epoch=0"),
    ],
)
def test_bad_schedule_raises(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        HalfwaySchedule(*arguments)


@core
def test_rates_cut_after_given_epochs():
    rate = learning_rates(1e-3, 100, 600, [(30, 0.5), (50, 0.1)])
    at = [0, 29.9, 30.1, 49.9, 50.1, 100]
    found = [float(array(rate(round(600 * epoch)))) for epoch in at]
    np.testing.assert_allclose(found, [1e-3, 1e-3, 5e-4, 5e-4, 1e-4, 1e-4], rtol=1e-6)


@core
def test_rates_by_name_are_those_of_the_class():
    rate = learning_rates(1.0, 4, 10, "published_code")
    assert isinstance(rate, HalfwaySchedule) and rate.schedule == "published_code"


@pytest.mark.parametrize(
    "schedule", [[], None, 0.1, [0.5], [(0.5, 0.1), (0.2, 0.01)], [("1", 0.1)]]
)
def test_a_schedule_that_is_no_list_of_rising_epochs_raises(schedule):
    with pytest.raises(ValueError, match="schedule.* must be .* Received: "):
        learning_rates(1.0, 2, 2, schedule)
