"""All nine methods train on tiny data, against stored numbers, on every backend."""

import csv
import json

import echo_paper
import keras
import pytest
import table1
from absl import flags
from absl.testing import flagsaver

from echo_keras import data

BACKEND = keras.backend.backend()
TINY = ["--epochs=1", "--train_limit=100", "--batch_size=50"]

# -ELBO on the 360 test digits after two steps, as first measured: initial weights and
# noise differ between backends.
STORED = {
    "tensorflow": {},
    "jax": {},
    "torch": {},
}

# Trainable weights of the paper's network (App. E), of 750 pseudo-inputs, and of a flow
# of four mean-only steps with three hidden layers of 640 units.
NETWORK, PSEUDO, DENSE_FLOW = 1_398_849, 750 * 784, 3_448_448
MASKED_FLOW = 1_781_008
FLOWS = {"vae-maf": 1, "iaf-prior": 1, "iaf-mmd": 1, "iaf-maf": 2, "iaf-vamp": 1}
# The paper's column, in millions.
COLUMN = {
    "echo": 1.40,
    "vae": 1.40,
    "infovae": 1.40,
    "vae-maf": 3.12,
    "vae-vamp": 1.99,
    "iaf-prior": 3.12,
    "iaf-mmd": 3.12,
    "iaf-maf": 4.84,
    "iaf-vamp": 3.71,
}


@pytest.fixture(scope="module")
def out(call, tmp_path_factory):
    out = tmp_path_factory.mktemp("methods")
    call(table1, f"--out_dir={out}", "--methods=all", *TINY)
    return out


@pytest.fixture(scope="module")
def records(out):
    found = {}
    for path in out.glob("*.json"):
        record = json.loads(path.read_text())
        found[record["config"]["method"]] = record
    return found


@pytest.mark.core
@pytest.mark.parametrize("method", echo_paper.METHODS)
def test_stored_numbers(records, method):
    found = records[method]["test"]["batch"]["neg_elbo"]
    assert found == pytest.approx(STORED[BACKEND][method], rel=2e-3)


@pytest.mark.parametrize("method", echo_paper.METHODS)
def test_parameters(records, method):
    record, flows = records[method], FLOWS.get(method, 0)
    base = NETWORK + PSEUDO * method.endswith("vamp")
    assert record["dense_parameters"] == base + flows * DENSE_FLOW
    assert record["parameters"] == base + flows * MASKED_FLOW
    # The paper counts half of a flow's kernels and none of its biases: of four steps,
    # 32 x 640 + 640 x 640 + 640 x 640 + 640 x 32 each.
    kernels = 4 * (2 * 640 * 32 + 2 * 640 * 640)
    assert round((base + flows * kernels / 2) / 1e6, 2) == COLUMN[method]


def test_the_table_has_every_method_and_both_orders(out):
    with open(out / "table1.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == list(echo_paper.METHODS)
    text = (out / "table1.md").read_text()
    assert "From the lowest -ELBO:" in text
    for label in echo_paper.METHODS.values():
        assert f"| {label} |" in text


def test_the_papers_order_is_quoted_where_it_has_one():
    rows = [
        {"method": m, "paper_neg_elbo": table1.PAPER["binary_mnist"][m][2]}
        for m in echo_paper.METHODS
    ]
    order = table1.order_of(rows, "paper_neg_elbo")
    assert order[:3] == ["Echo", "IAF-Vamp", "VAE-Vamp"] and order[-1] == "IAF+MMD"


def as_published(method):
    with flagsaver.flagsaver():
        flags.FLAGS(["x", "--as_published"])
        return echo_paper.configuration(method, 0)


def test_as_published_changes_the_three_rows_alone():
    for method in echo_paper.METHODS:
        changed = method in echo_paper.PUBLISHED_OTHERWISE
        assert bool(as_published(method).get("as_published")) == changed
        assert ("as_published" in echo_paper.run_name(as_published(method))) == changed


def test_as_published_vamp_and_mmd():
    import numpy as np

    images = data.load("digits", limit=50).x_train
    model = echo_paper.build(as_published("vae-vamp"), images)
    pseudo = np.asarray(model.get_layer("pseudo").pseudo_inputs)
    # All start alike, at the mean image; as the paper says they start around it.
    np.testing.assert_allclose(pseudo, images.mean(0)[None].repeat(750, 0), atol=1e-6)
    assert model.get_layer("bottleneck").channel.marginal.as_published
    model = echo_paper.build(
        {**as_published("vae-vamp"), "as_published": False}, images
    )
    pseudo = np.asarray(model.get_layer("pseudo").pseudo_inputs)
    assert pseudo.std(axis=0).mean() > 0.01
    model = echo_paper.build(as_published("iaf-mmd"), images)
    assert float(model.get_layer("mmd").weight.value) == 0
