"""All nine methods train on tiny data, against stored numbers, on every backend."""

import echo_paper
import keras
import pytest
import table1
from absl import flags
from absl.testing import flagsaver

from echo_keras import data, image_experiments, metrics, training

BACKEND = keras.backend.backend()
IMAGES, BATCH = 50, 25

# -ELBO on 50 test digits after two steps, as first measured: initial weights and noise
# differ between backends.
STORED = {
    "tensorflow": {
        "echo": 569.05,
        "vae": 534.23,
        "infovae": 522.93,
        "vae-maf": 534.33,
        "vae-vamp": 531.82,
        "iaf-prior": 525.47,
        "iaf-mmd": 534.01,
        "iaf-maf": 530.56,
        "iaf-vamp": 538.72,
    },
    "jax": {
        "echo": 573.20,
        "vae": 532.67,
        "infovae": 526.47,
        "vae-maf": 539.09,
        "vae-vamp": 535.13,
        "iaf-prior": 534.65,
        "iaf-mmd": 539.49,
        "iaf-maf": 535.32,
        "iaf-vamp": 536.02,
    },
    "torch": {
        "echo": 553.30,
        "vae": 536.51,
        "infovae": 528.01,
        "vae-maf": 541.42,
        "vae-vamp": 538.20,
        "iaf-prior": 539.04,
        "iaf-mmd": 541.39,
        "iaf-maf": 542.33,
        "iaf-vamp": 522.54,
    },
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
def digits():
    return data.load("digits", limit=IMAGES)


@pytest.fixture(autouse=True)
def defaults():
    with flagsaver.flagsaver():
        flags.FLAGS(["x"])
        yield


@pytest.mark.core
@pytest.mark.parametrize("method", echo_paper.METHODS)
def test_stored_numbers(method, digits, tmp_path):
    config = echo_paper.configuration(method, 0, batch_size=BATCH)
    if method == "echo":
        config["d_max"] = BATCH - 1
    model, _ = training.train(
        lambda: echo_paper.build(config, digits.x_train),
        digits.x_train,
        tmp_path,
        epochs=1,
        batch_size=BATCH,
        learning_rate=1e-3,
        verbose=0,
    )
    test = metrics.evaluate(
        model, digits.x_test[:IMAGES], echoes="batch", batch_size=BATCH
    )
    assert test["neg_elbo"] == pytest.approx(STORED[BACKEND][method], rel=5e-4)


@pytest.mark.parametrize("method", echo_paper.METHODS)
def test_parameters(method, digits):
    model = echo_paper.build(echo_paper.configuration(method, 0), digits.x_train)
    counts, flows = image_experiments.parameters(model), FLOWS.get(method, 0)
    base = NETWORK + PSEUDO * method.endswith("vamp")
    assert counts["dense_parameters"] == base + flows * DENSE_FLOW
    assert counts["parameters"] == base + flows * MASKED_FLOW
    # The paper counts half of a flow's kernels and none of its biases: of four steps,
    # 32 x 640 + 640 x 640 + 640 x 640 + 640 x 32 each.
    kernels = 4 * (2 * 640 * 32 + 2 * 640 * 640)
    assert round((base + flows * kernels / 2) / 1e6, 2) == COLUMN[method]


def test_the_table_ranks_methods_and_quotes_the_papers_order():
    rows = [
        table1.summary({"method": m}, [record(m, 100.0 - i)])
        for i, m in enumerate(echo_paper.METHODS)
    ]
    text = table1.section({**echo_paper.PROTOCOL, "dataset": "omniglot"}, rows, [R])
    assert "From the lowest -ELBO: IAF-Vamp, IAF-MAF, IAF+MMD," in text
    assert "The paper's order: Echo, VAE-Vamp, IAF-Vamp," in text
    for label in echo_paper.METHODS.values():
        assert f"| {label} |" in text


def record(method, neg_elbo):
    test = {"rate": 20.0, "distortion": neg_elbo - 20, "neg_elbo": neg_elbo}
    return {
        "config": {**echo_paper.PROTOCOL, "dataset": "omniglot", "method": method},
        "test": {"batch": test, "bank": test},
        "parameters": 1,
        "data": {"description": "d"},
        "device": "a device",
        "versions": {"backend": "b"},
    }


R = record("echo", 1.0)


def test_the_papers_order_is_quoted_where_it_has_one():
    rows = [
        {"method": m, "paper_neg_elbo": table1.PAPER["binary_mnist"][m][2]}
        for m in echo_paper.METHODS
    ]
    order = table1.order_of(rows, "paper_neg_elbo")
    assert order[:3] == ["Echo", "IAF-Vamp", "VAE-Vamp"] and order[-1] == "IAF+MMD"


def as_published(method):
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
    assert model.get_layer("bottleneck").channel.marginal.variant == "published_code"
    model = echo_paper.build(
        {**as_published("vae-vamp"), "as_published": False}, images
    )
    pseudo = np.asarray(model.get_layer("pseudo").pseudo_inputs)
    assert pseudo.std(axis=0).mean() > 0.01
    model = echo_paper.build(as_published("iaf-mmd"), images)
    assert float(model.get_layer("mmd").weight.value) == 0
