"""Novelty detection and the supervised bottleneck: both scripts on tiny data."""

import json

import numpy as np
import pytest
from absl import app, flags
from absl.testing import flagsaver
from tools import script

from echo_keras import data, training
from echo_keras.layers import max_scale

novelty, supervised = script("bib_ae", "novelty"), script("bib_ae", "supervised")


@pytest.fixture(autouse=True)
def defaults():
    with flagsaver.flagsaver():
        flags.FLAGS(["x"])
        yield


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def one(folder, pattern):
    (path,) = folder.glob(pattern)
    return json.loads(path.read_text())


def forbid_training(monkeypatch):
    def fit(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train", fit)


# Novelty detection


def test_one_class_is_known(call, tmp_path, digits, monkeypatch):
    tiny = ["--epochs=3", "--train_limit=60", "--batch_size=20", "--known=0"]
    both = ["--detectors=vae", "--detectors=bib-ae", f"--out_dir={tmp_path}"]
    call(novelty, *tiny, *both)
    vae, bib_ae = (
        one(tmp_path, f"digits-class0-{m}-*.json") for m in ("vae", "bib-ae")
    )
    of_class = int((digits.y_test == 0).sum())
    for run in (vae, bib_ae):
        assert run["config"]["known"] == 0 and run["config"]["train_limit"] == 60
        assert run["data"]["training_images"] == 60
        assert run["data"]["test_images"] == of_class
        assert run["novel_images"] == {"0": 500 - of_class}
    areas = vae["roc_auc"]["0"]
    assert set(areas) == {"distortion", "rate", "neg_elbo", "combined"}
    assert set(bib_ae["roc_auc"]["0"]) == {*areas, "data"}
    found = [areas["distortion"], bib_ae["roc_auc"]["0"]["combined"]]
    np.testing.assert_allclose(found, STORED["novelty"], atol=0.04)
    text = (tmp_path / "novelty.md").read_text()
    cell = f"{100 * areas['distortion']:.1f}"
    assert f"| VAE | C | {cell} | {cell} |" in text
    cell = f"{100 * bib_ae['roc_auc']['0']['data']:.1f}"
    assert f"| BIB-AE | D | {cell} | {cell} |" in text
    assert "| VAE | D |" not in text
    assert "The paper gives no numbers" in text and "of which there are 60." in text
    forbid_training(monkeypatch)
    call(novelty, *tiny, *both)
    assert (tmp_path / "novelty.md").read_text() == text


def test_all_digits_are_known_and_noise_is_novel(call, tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (40, 28, 28), dtype="uint8")
    np.savez(tmp_path / "fashion_mnist.npz", x_train=pixels, x_test=pixels[:30])
    out = tmp_path / "out"
    call(
        novelty,
        *["--known=all", "--others=fashion_mnist", "--detectors=aae", "--epochs=1"],
        *[f"--data_dir={tmp_path}", f"--out_dir={out}", "--train_limit=200"],
    )
    run = one(out, "digits-all-fashion_mnist-aae-*.json")
    areas = run["roc_auc"]["fashion_mnist"]
    # A deterministic code has no rate: one term is left, and its order.
    assert set(areas) == {"distortion", "combined"}
    assert areas["combined"] == areas["distortion"] > 0.95
    assert run["data"]["test_images"] == 500
    assert run["novel_images"] == {"fashion_mnist": 30}
    # As binary as the digits are.
    treated = data.load("fashion_mnist", tmp_path, binarize="static")
    assert run["other_checksums"] == {"fashion_mnist": treated.checksum}
    text = (out / "novelty.md").read_text()
    assert "| Method | score | fashion_mnist |\n" in text
    assert f"| AAE | C | {100 * areas['distortion']:.1f} |" in text


def test_only_known_images_train(digits):
    part, novel = novelty.only_known(digits, 7, limit=5)
    np.testing.assert_array_equal(part.x_train, digits.x_train[digits.y_train == 7][:5])
    np.testing.assert_array_equal(part.x_test, digits.x_test[digits.y_test == 7])
    np.testing.assert_array_equal(novel, digits.x_test[digits.y_test != 7])
    part, novel = novelty.only_known(digits, "all")
    assert len(part.x_train) == 1297 and len(part.x_test) == 500 and novel is None


def test_what_is_asked_to_be_known(digits):
    assert novelty.asked_for(["each"], digits) == list(range(10))
    assert novelty.asked_for(["3", "5"], digits) == [3, 5]
    assert novelty.asked_for(["all"], digits) == ["all"]
    for wrong in (["3", "ten"], ["all", "3"], []):
        with pytest.raises(
            app.UsageError, match=r"'each', 'all', or classes of digits"
        ):
            novelty.asked_for(wrong, digits)


@pytest.mark.parametrize(
    ("method", "bottleneck", "terms"),
    [
        ("vae", "GaussianBottleneck", set()),
        ("aae", "DeterministicBottleneck", {"marginal_kl"}),
        ("vae-gan", "GaussianBottleneck", {"gan_penalty"}),
        ("bib-ae", "GaussianBottleneck", {"marginal_kl", "gan_penalty"}),
    ],
)
def test_methods_differ_in_their_terms(method, bottleneck, terms):
    model = novelty.build({**novelty.PROTOCOL, "method": method}, (28, 28, 1))
    names = {layer.name for layer in model.layers}
    assert names & {"marginal_kl", "gan_penalty"} == terms
    layer = model.get_layer("bottleneck")
    assert type(layer).__name__ == bottleneck and layer.units == 16
    if "gan_penalty" in terms:
        assert model.get_layer("gan_penalty").logits


def test_discriminators_have_an_optimizer_of_their_own():
    parts = novelty.optimizer(1e-3).optimizers
    assert sorted(round(float(part.beta_1), 6) for part in parts) == [0.5, 0.9]
    assert {round(float(part.learning_rate), 6) for part in parts} == {1e-3}


def test_areas_are_means_over_seeds_and_classes():
    def run(known, seed, area):
        return {
            "config": {"method": "vae", "known": known, "seed": seed},
            "roc_auc": {str(known): {"distortion": area}},
            "data": {"training_images": 100 + known, "description": "made up"},
            "device": "CPU",
            "versions": {"backend": "tensorflow"},
        }

    runs = [run(2, 0, 0.5), run(2, 1, 0.7), run(10, 0, 0.9), run(10, 1, 1.0)]
    protocol = {"task": "one class", "dataset": "made_up", "epochs": 3}
    text = novelty.section(protocol, runs)
    assert "| Method | score | 2 | 10 | mean |" in text
    assert "| VAE | C | 60.0 | 95.0 | 77.5 |" in text
    assert "means over 2 seeds" in text and "of which there are 102 to 110" in text


# The supervised bottleneck


def test_supervised_bottlenecks_are_measured(call, tmp_path, monkeypatch):
    tiny = ["--epochs=2", "--train_limit=300", "--batch_size=50", "--samples=2"]
    arguments = [*tiny, "--betas=0.1", f"--out_dir={tmp_path}"]
    call(supervised, *arguments)
    runs = [one(tmp_path, f"digits-{c}-beta0.1-*.json") for c in ("gaussian", "echo")]
    for run, stored in zip(runs, STORED["supervised"], strict=True):
        test, clean = run["test"], run["measures"]["clean"]
        assert run["config"]["samples"] == 2
        found = test["rate"], test["label_information"], clean["accuracy"]
        np.testing.assert_allclose(found, stored, rtol=0.03, atol=0.03)
        total = test["label_information"] + test["distortion"]
        assert total == pytest.approx(test["label_entropy"])
        assert list(run["measures"]) == [
            *("clean", "gaussian 0.2", "gaussian 0.4", "mask 0.2", "mask 0.5"),
        ]
    gaussian, echo = runs
    assert gaussian["min_rate"] == 0.0
    assert echo["min_rate"] == pytest.approx(-16 * np.log(max_scale(49)))
    assert echo["test"]["rate"] > echo["min_rate"]
    text = (tmp_path / "supervised.md").read_text()
    test = echo["test"]
    assert (
        f"| Echo | 0.1 | {test['rate']:.3f} +- {test['rate_se']:.3f} | "
        f"{test['label_information']:.3f} +- {test['label_information_se']:.3f} |"
    ) in text
    accuracies = " | ".join(
        f"{100 * measured['accuracy']:.1f}" for measured in echo["measures"].values()
    )
    assert f"| {accuracies} |\n" in text
    assert f"Echo's lowest rate is {echo['min_rate']:.3f} nats" in text
    assert "averaged over 2 codes" in text and "first 300 of 1297" in text
    assert (tmp_path / "digits-supervised.png").stat().st_size > 3000
    forbid_training(monkeypatch)
    call(supervised, *arguments)
    assert (tmp_path / "supervised.md").read_text() == text


def test_supervised_protocol():
    configs = supervised.configurations()
    assert len(configs) == 8
    assert {c["samples"] for c in configs} == {10}
    assert {c["beta"] for c in configs} == {1e-3, 1e-2, 1e-1, 1.0}
    assert len({supervised.run_name(c) for c in configs}) == 8
    for config in configs[::4]:
        model = supervised.build(config, (28, 28, 1), 10)
        channel = model.get_layer("bottleneck").channel
        assert channel.initial_beta == config["beta"]
        assert getattr(channel, "d_max", 99) == 99
        assert model.output_shape == (None, 10)
        assert len(model.get_layer("decoder").layers) == 1  # linear


# As first measured, on TensorFlow.
STORED = {
    "novelty": [0.993, 0.970],
    "supervised": [(3.078, 0.400, 0.402), (9.246, 0.548, 0.476)],
}
