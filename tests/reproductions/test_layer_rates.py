"""Rates of a classifier's layers: the committed table, and a run of a few images."""

import json

import numpy as np
import pytest
from render import script


@pytest.fixture(scope="module")
def layer_rates():
    return script("", "layer_rates")


def test_the_table_is_rendered_from_what_was_read(layer_rates, repository):
    place = repository / "reproductions" / "results" / "layer_rates"
    content = json.loads((place / "layer_rates.json").read_text())
    assert layer_rates.table(content) == (place / "layer_rates.md").read_text()
    for reading in content["readings"]:
        inside, last = reading["path"][-2:]
        assert inside["loss"] <= reading["limit"] < last["loss"]
        assert min(inside["rate"], last["rate"]) <= reading["rate"]


def test_a_network_of_few_images_is_read(layer_rates):
    random = np.random.RandomState(0)

    class Images:
        x_train, x_test = random.random_sample((2, 60, 28, 28, 1)).astype("float32")
        y_train, y_test = random.randint(0, 10, (2, 60))

    (found,) = layer_rates.read(Images, 0, 1, 1, 0.5, ["logits"])
    assert found["layer"] == "logits" and found["numbers"] == 10
    assert found["rate"] >= 0 and 0 <= found["score"] <= 1
