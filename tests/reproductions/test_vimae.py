"""The Variational InfoMax Autoencoder: every script on tiny data."""

import dataclasses
import json

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from tools import script

from echo_keras import data, training
from echo_keras.layers import DeterministicBottleneck, Logistic

tables = {n: script("vimae", f"table{n}") for n in range(1, 6)}
figure1 = script("vimae", "figure1")
vimae_paper = figure1.vimae_paper

TINY = ["--epochs=1", "--train_limit=100", "--batch_size=20"]
TWO = ["--infomax=vae", "--infomax=vimae-l"]
OF_TABLES = [*TINY, *TWO, "--filters=2", "--compared=200", "--labelled=50"]


@pytest.fixture(autouse=True)
def defaults():
    with flagsaver.flagsaver():
        flags.FLAGS(["x"])
        yield


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("vimae")


def one(folder, pattern):
    (path,) = folder.glob(pattern)
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("dataset", "method", "beta"),
    [
        ("mnist", "vae", 1.0),
        ("mnist", "beta-h", 10.0),
        ("mnist", "beta-a", 0.2),
        ("cifar10", "beta-h", 100.0),
        ("cifar10", "beta-a", 0.4),
    ],
)
def test_elbo_methods_differ_in_beta(dataset, method, beta):
    flags.FLAGS(["x", f"--dataset={dataset}", f"--infomax={method}", "--filters=2"])
    (config,) = vimae_paper.configurations()
    shape = (32, 32, 3) if dataset == "cifar10" else (28, 28, 1)
    bottleneck = vimae_paper.build(config, shape).get_layer("bottleneck")
    assert bottleneck.channel.initial_beta == beta
    assert bottleneck.units == {"mnist": 8, "cifar10": 64}[dataset]


@pytest.mark.parametrize(
    ("method", "logistic"), [("vimae-n", False), ("vimae-l", True)]
)
def test_infomax_methods_differ_in_their_prior(method, logistic):
    flags.FLAGS(["x", "--dataset=mnist", f"--infomax={method}", "--filters=2"])
    (config,) = vimae_paper.configurations()
    model = vimae_paper.build(config, (28, 28, 1))
    penalty = model.get_layer("mmd")
    assert isinstance(penalty.prior, Logistic) == logistic
    assert penalty.initial_weight == 10.0
    assert type(model.get_layer("bottleneck")) is DeterministicBottleneck
    assert model.get_layer("input_noise").bound == 0.01
    codes = vimae_paper.prior_codes(config, 20_000)
    np.testing.assert_allclose(codes.var(axis=0), 1.0, atol=0.06)
    kurtosis = (codes**4).mean() / (codes**2).mean() ** 2
    assert kurtosis == pytest.approx(4.2 if logistic else 3.0, rel=0.05)


def test_adam_has_the_papers_momentum():
    adam = vimae_paper.optimizer(1e-3)
    assert (adam.beta_1, adam.beta_2) == (0.5, 0.999)


def test_table1_measures_everything_once(call, out):
    call(tables[1], *OF_TABLES, f"--out_dir={out}")
    runs = [one(out, f"digits-{method}-*.json") for method in ("vae", "vimae-l")]
    found = [
        (run["test"]["bank"]["distortion"], run["parzen"]["log_likelihood_parzen"])
        for run in runs
    ]
    np.testing.assert_allclose(found, STORED["table1"], rtol=0.02)
    assert runs[1]["test"]["bank"]["rate"] == 0.0
    text = (out / "table1.md").read_text()
    nll = -runs[0]["parzen"]["log_likelihood_parzen"]
    assert f"| VAE | 0 | {nll:.2f} |" in text
    for picture in ("reconstructions", "generations"):
        assert (out / f"digits-{picture}.png").stat().st_size > 3000


@pytest.mark.parametrize(
    ("number", "columns"),
    [
        (2, ["clean", "gaussian 0.3", "mask 0.2"]),
        (3, ["clean", "gaussian 0.2", "gaussian 0.4", "mask 0.2", "mask 0.5"]),
        (4, ["clean", "gaussian 0.2", "gaussian 0.4", "mask 0.2", "mask 0.5"]),
    ],
)
def test_accuracies_come_from_the_same_runs(number, columns, call, out, monkeypatch):
    forbid_training(monkeypatch)
    call(tables[number], *OF_TABLES, f"--out_dir={out}")
    run = one(out, "digits-vimae-l-*.json")
    cells = " | ".join(f"{100 * run['accuracy'][c]:.1f}" for c in columns)
    assert f"| VIMAE-l | 0 | {cells} |" in (out / f"table{number}.md").read_text()
    if number == 3:
        found = [run["accuracy"][c] for c in ("clean", "mask 0.5")]
        np.testing.assert_allclose(found, STORED["table3"], atol=0.03)


def test_table5_has_the_distance_of_generated_images(call, out, monkeypatch):
    forbid_training(monkeypatch)
    call(tables[5], *OF_TABLES, f"--out_dir={out}")
    run = one(out, "digits-vae-*.json")
    np.testing.assert_allclose(run["fid"]["prior"], STORED["table5"], rtol=0.05)
    row = f"| VAE | 0 | FID-digits_classifier | {run['fid']['prior']:.2f} | 200 |"
    assert row in (out / "table5.md").read_text()


def forbid_training(monkeypatch):
    def fit(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train", fit)


def test_every_published_number_is_in_its_table():
    for number, rows in ((2, 3), (3, 5), (4, 5)):
        ((_, paper),) = tables[number].PAPER.items()
        assert set(paper) == set(vimae_paper.METHODS)
        assert {len(values) for values in paper.values()} == {rows}
    # The best of each column of Table 3, which the paper sets in bold.
    best = np.max(list(tables[3].PAPER["mnist"].values()), axis=0)
    np.testing.assert_array_equal(best, tables[3].PAPER["mnist"]["vimae-l"])


def test_figure1_shows_codes_in_the_plane(call, tmp_path):
    call(figure1, *TINY, *TWO, f"--out_dir={tmp_path}")
    run = one(tmp_path, "digits-vae-*.json")
    # Four layers of the encoder with two heads, and four of the decoder.
    encoder = 785 * 256 + 2 * 257 * 256 + 2 * 257 * 2
    decoder = 3 * 256 + 2 * 257 * 256 + 257 * 784
    assert run["parameters"] == encoder + decoder
    np.testing.assert_allclose(run["posterior"]["mmd"], STORED["figure1"], atol=0.02)
    assert f"{run['posterior']['mmd']:.4f}" in (tmp_path / "figure1.md").read_text()
    assert (tmp_path / "digits-figure1.png").stat().st_size > 3000


# Characters of alphabets that were never seen


def alphabets(characters=8, noise=0.0):
    """Characters that are bright in a block of their own, 20 drawings of each."""
    generator = np.random.RandomState(0)
    x = np.zeros((characters * 20, 28, 28, 1), "float32")
    y = np.repeat(np.arange(characters), 20)
    for row, label in enumerate(y):
        x[row, 2 : 5 + label, 3 : 6 + 2 * label] = 1.0
    x += noise * generator.random_sample(x.shape).astype("float32")
    return dataclasses.replace(
        data.load("digits"),
        name="omniglot_alphabets",
        x_train=x,
        y_train=y,
        x_test=np.clip(x, 0, 1),
        y_test=y,
    )


def test_five_characters_are_told_apart_by_pixels_and_not_by_nothing():
    dataset = alphabets(noise=0.1)
    found = vimae_paper.accuracy_on_characters(
        lambda x: x.reshape(len(x), -1), dataset, seed=0
    )
    assert found["clean"] > 0.95
    assert set(found) >= {"clean_se", "mask 0.5", "gaussian 0.4_se"}
    blind = vimae_paper.accuracy_on_characters(
        lambda x: np.random.RandomState(0).normal(size=(len(x), 2)), dataset, seed=0
    )
    # Chance is a fifth; 20 draws of 100 test images, five standard errors.
    assert abs(blind["clean"] - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 2000)


def test_drawings_stand_on_one_side_with_all_their_rotations(monkeypatch):
    dataset = alphabets(noise=0.1)
    sides = []

    def spy(represent, x_train, y_train, x_test, y_test, corruptions, seed):
        sides.append((x_train, y_train, x_test, y_test))
        return {"clean": 1.0}

    monkeypatch.setattr(vimae_paper.robustness, "svm_accuracy", spy)
    vimae_paper.accuracy_on_characters(None, dataset, seed=0)
    assert len(sides) == 20
    x_train, y_train, x_test, y_test = sides[0]
    assert (len(x_train), len(x_test)) == (300, 100)
    assert set(np.bincount(y_train)) <= {0, 60} and set(np.bincount(y_test)) <= {0, 20}
    sums = [set(x.sum(axis=(1, 2, 3)).round(3)) for x in (x_train, x_test)]
    assert len(sums[0]) == 75 and not sums[0] & sums[1]


def test_rotations_are_quarter_turns():
    x = np.arange(4.0).reshape(1, 2, 2, 1)
    turned, y = vimae_paper.rotated(x, np.array([7]))
    np.testing.assert_array_equal(turned[1, :, :, 0], [[1, 3], [0, 2]])
    assert len({image.tobytes() for image in turned}) == 4
    np.testing.assert_array_equal(y, [7, 7, 7, 7])
    described = vimae_paper.with_rotations(data.load("digits", limit=5))
    assert len(described.x_train) == 20 and "rotations" in described.description


# As first measured, on TensorFlow.
STORED = {
    "table1": [(228.42, -623.00), (237.46, -622.07)],
    "table3": [0.166, 0.170],
    "table5": 716.7,
    "figure1": 0.673,
}
