"""The scripts of The Variational InfoMax Autoencoder."""

import dataclasses

import numpy as np
import pytest
from tools import script

from echo_keras import data
from echo_keras.studies import parse, records

table1, table2, table4, table5, figure1 = (
    script("vimae", name)
    for name in ("table1", "table2", "table4", "table5", "figure1")
)
vimae_paper = __import__("vimae_paper")
STUDY = vimae_paper.STUDY
TINY = ["--epochs=1", "--train_limit=60", "--batch_size=30", "--methods=vimae-l"]


@pytest.mark.parametrize(
    ("dataset", "latent_dim", "weight"), [("mnist", 8, 10.0), ("cifar10", 64, 100.0)]
)
def test_the_protocol_is_that_of_the_data(dataset, latent_dim, weight):
    options = parse(table1.main.flags(), [f"--dataset={dataset}"])
    found = {c["method"]: c for c in table1.main.chosen(options)}
    assert list(found) == list(vimae_paper.METHODS)
    for config in found.values():
        assert (config["latent_dim"], config["weight"]) == (latent_dim, weight)
        assert STUDY.deviations(config) == "the paper's protocol"


@pytest.mark.parametrize("method", vimae_paper.METHODS)
def test_each_method_has_its_objective(method):
    (config,) = STUDY.configs("mnist", method=[method], filters=2)
    model = STUDY.build(config, data.load("digits", limit=9))
    bottleneck = model.get_layer("bottleneck")
    betas = {"vae": 1.0, "beta-h": 10.0, "beta-a": 0.2}
    if method in betas:
        assert bottleneck.channel.initial_beta == betas[method]
        return
    mmd = model.get_layer("mmd")
    assert mmd.initial_weight == 10.0
    logistic = type(mmd.prior).__name__ == "Logistic"
    assert logistic == (method == "vimae-l")


def test_one_run_measures_what_all_tables_need(tmp_path):
    arguments = [f"--out_dir={tmp_path}", *TINY, "--filters=2", "--compared=40"]
    table1.main(["table1", *arguments, "--labelled=40"])
    (run,) = records.read(tmp_path)
    measures = run["measures"]
    assert set(measures) == {"test_mean", "posterior", "fid", "parzen", "accuracy"}
    assert measures["fid"]["images"] == 40
    labels = {"clean", "gaussian 0.2", "gaussian 0.3", "gaussian 0.4"}
    labels |= {"mask 0.2", "mask 0.5"}
    assert labels <= set(measures["accuracy"])
    assert 0 <= measures["accuracy"]["clean"] <= 1
    nll = -measures["parzen"]["log_likelihood_parzen"]
    assert f"| VIMAE-l | 0 | {nll:.2f} |" in (tmp_path / "table1.md").read_text()
    assert len(list(tmp_path.glob("*.png"))) == 2
    for script_, number in ((table2, 2), (table4, 4), (table5, 5)):
        (table,) = script_.main.tables
        text = table.render([run])
        assert text.startswith(f"# Table {number} of The Variational InfoMax")
    accuracy = 100 * measures["accuracy"]["mask 0.2"]
    assert f" {accuracy:.1f} |" in table2.TABLE.render([run])


def test_data_without_labels_have_no_accuracy():
    digits = dataclasses.replace(data.load("digits", limit=9), y_train=None)
    bottleneck = type("Model", (), {})()
    run = vimae_paper.Study.__init__.__globals__["Run"](
        STUDY, {"seed": 0, "labelled": 5}, bottleneck, digits, None, None
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vimae_paper.metrics, "representation", lambda model: None)
        assert vimae_paper.accuracy(run) is None


def test_figure_1_draws_codes_and_their_divergence(tmp_path):
    figure1.main(["figure1", f"--out_dir={tmp_path}", *TINY])
    (run,) = records.read(tmp_path)
    assert run["config"]["latent_dim"] == 2 and "filters" not in run["config"]
    mmd = run["measures"]["posterior"]["mmd"]
    assert f"| VIMAE-l | {mmd:.4f} |" in (tmp_path / "figure1.md").read_text()
    assert len(list(tmp_path.glob("*-figure1.png"))) == 1


def test_images_are_turned_by_right_angles_with_their_labels():
    x, y = np.arange(8.0).reshape(2, 2, 2, 1), np.array([5, 7])
    turned, labels = vimae_paper.rotated(x, y)
    assert labels.tolist() == [5, 7] * 4
    np.testing.assert_array_equal(turned[2], np.rot90(x[0]))
    np.testing.assert_array_equal(turned[4], x[0][::-1, ::-1])


def test_a_drawing_of_a_character_is_on_one_side_only():
    # A code that tells drawings apart by heart would be right on what it has seen.
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 20)
    x = rng.random((120, 4, 4, 1)).astype("float32")
    dataset = dataclasses.replace(data.load("digits", limit=9), x_test=x, y_test=y)

    def encode(images):
        return np.asarray(images).reshape(len(images), -1)

    found = vimae_paper.accuracy_on_characters(encode, dataset, seed=0)
    # Chance is 1/5; 20 draws of 100 test images each.
    assert found["clean"] == pytest.approx(0.2, abs=4 * found["clean_se"] + 0.01)


def test_accuracies_on_characters_are_means_over_draws_with_standard_errors(
    monkeypatch,
):
    monkeypatch.setattr(
        vimae_paper.robustness,
        "svm_accuracy",
        lambda *args, seed: {"clean": float(seed), "clean_se": 9.0},
    )
    x, y = np.zeros((120, 4, 4, 1)), np.repeat(np.arange(6), 20)
    dataset = dataclasses.replace(data.load("digits", limit=9), x_test=x, y_test=y)
    found = vimae_paper.accuracy_on_characters(None, dataset, seed=0)
    # The variance of 0, ..., 19 is 20 x 21 / 12 over n - 1, that of its mean a 20th.
    assert found == {"clean": 9.5, "clean_se": pytest.approx((35 / 20) ** 0.5)}
