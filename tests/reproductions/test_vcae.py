"""Variance Constrained Autoencoding: every script but Table 3's, on tiny data."""

import json
import pathlib

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from tools import script

from echo_keras import data, metrics, training
from echo_keras.layers import DeterministicBottleneck, MAFBlock

table1, table2, table6 = (script("vcae", f"table{n}") for n in (1, 2, 6))
toy, figure8 = script("vcae", "toy"), script("vcae", "figure8")
vcae_paper = table1.vcae_paper

TINY = ["--epochs=1", "--filters=2", "--train_limit=60", "--batch_size=20"]
OF_FLOWS = [*TINY, "--flow_epochs=1", "--compared=100"]


@pytest.fixture(autouse=True)
def defaults():
    with flagsaver.flagsaver():
        flags.FLAGS(["x"])
        yield


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """One folder for Tables 2 and 6 and Figure 8, which share a feature network."""
    return tmp_path_factory.mktemp("vcae")


def one(folder, pattern):
    (path,) = folder.glob(pattern)
    return json.loads(path.read_text())


# What a configuration builds and trains


def configuration(method, paper=vcae_paper.GENERATION, **changes):
    flags.FLAGS(["x", "--dataset=mnist"])
    config = vcae_paper.configuration(method, 0, paper, 2.0, **changes)
    return {**config, "filters": 2}


@pytest.mark.parametrize("method", vcae_paper.METHODS)
def test_methods_have_the_layers_that_the_paper_gives_them(method):
    config = configuration(method)
    model = vcae_paper.build(config, (28, 28, 1))
    bottleneck = model.get_layer("bottleneck")
    names = [layer.name for layer in model.layers]
    assert bottleneck.units == 16
    deterministic = type(bottleneck) is DeterministicBottleneck
    assert deterministic == (method in ("wae", "dvcae"))
    if method in ("cwae", "vcae"):
        assert bottleneck.channel.noise_variance == 0.05
        assert bottleneck.channel.initial_beta == 0.0
    assert ("mmd" in names) == (method in ("wae", "cwae"))
    assert ("variance" in names) == (method in ("vcae", "dvcae"))
    if method == "cwae":
        penalty = model.get_layer("mmd")
        assert (penalty.kernel, penalty.estimator) == ("imq", "unbiased")
        assert penalty.initial_weight == 2.0
    if method == "vcae":
        assert model.get_layer("variance").target == 16.0
    if method == "vae-iaf":
        assert bottleneck.context_units == 16 and bottleneck.channel.flow.steps == 6


def test_iaf_trains_twice_as_long_at_a_tenth_of_the_rate():
    config = configuration("vae-iaf")
    assert (config["epochs"], config["learning_rate"]) == (200, 1e-4)
    config = configuration("vae-iaf", vcae_paper.CELEBA)
    assert (config["epochs"], config["code"]) == (140, 64)
    flags.FLAGS(["x", "--dataset=mnist", "--epochs=7"])
    assert vcae_paper.configuration("vae-iaf", 0, vcae_paper.GENERATION)["epochs"] == 7


@pytest.mark.parametrize(
    ("method", "epochs", "expected"),
    [("vae", 100, [30, 50]), ("vae", 20, [6, 10]), ("vae-iaf", 200, [30, 50])],
)
def test_the_rate_is_cut_where_the_paper_cuts_it(method, epochs, expected, monkeypatch):
    given = {}

    def record(config, build, folder, data_dir, tensorboard, **arguments):
        given.update(arguments)
        return {}

    monkeypatch.setattr(vcae_paper.image_experiments, "train_and_measure", record)
    config = {**configuration(method), "epochs": epochs}
    vcae_paper.train_and_measure(config, pathlib.Path("nowhere"))
    ends, factors = np.transpose(given["schedule"])
    np.testing.assert_allclose(ends, expected)
    np.testing.assert_allclose(factors, [0.5, 0.1])


def test_second_stage_is_the_flow_of_table_5():
    chain = vcae_paper.latent_flow.maf_chain(seed=0)
    blocks = [flow for flow in chain.flows if isinstance(flow, MAFBlock)]
    assert [b.units_per_hidden for b in blocks] == [(64, 64)] * 6


# The scripts


def test_mixture_of_the_toy_has_its_moments_and_is_a_plane():
    x, plane, component = toy.mixture(20_000, seed=3)
    assert np.linalg.matrix_rank(x[:100].astype("float64"), tol=1e-4) == 2
    # The map keeps lengths, so that errors are those in the plane.
    np.testing.assert_allclose(
        np.linalg.norm(x, axis=1), np.linalg.norm(plane, axis=1), rtol=1e-4
    )
    for k, mean in enumerate([(-2, -2), (-2, 2), (2, -2), (2, 2)]):
        here = plane[component == k]
        np.testing.assert_allclose(here.mean(axis=0), mean, atol=0.02)
        np.testing.assert_allclose(here.std(axis=0), 0.3, atol=0.02)


def test_toy_shows_the_variance_constraint_ahead(call, tmp_path):
    call(toy, "--epochs=3", f"--out_dir={tmp_path}")
    vcae, cwae = (
        one(tmp_path, f"mixture-{method}-*.json") for method in ("vcae", "cwae")
    )
    errors = [run["test"]["bank"]["distortion"] for run in (vcae, cwae)]
    np.testing.assert_allclose(errors, STORED["toy"], rtol=0.02)
    text = (tmp_path / "toy.md").read_text()
    assert "the paper gives none" in text and "0.067" in text and "0.13" in text
    for picture in ("codes", "histograms"):
        assert (tmp_path / f"mixture-{picture}.png").stat().st_size > 5000


def test_toy_of_images(call, tmp_path):
    call(toy, "--toy=images", *TINY, f"--out_dir={tmp_path}", "--cwae_lambdas=10")
    run = one(tmp_path, "digits-cwae-code2-noise0.03-weight10-*.json")
    assert run["config"]["flow_epochs"] is None and "fid" not in run
    assert (tmp_path / "digits-codes.png").exists()


def test_table1_compares_noise_and_constraints(call, tmp_path, monkeypatch):
    rows = [row for row in table1.ROWS if row[0] in ("dvcae", "vae")]
    monkeypatch.setattr(table1, "ROWS", [table1.ROWS[0], *rows])
    call(table1, *TINY, f"--out_dir={tmp_path}")
    runs = [
        one(tmp_path, f"digits-{name}-*.json")
        for name in ("vcae-code2-noise0.2-weight2", "dvcae-code2-weight2", "vae-code2")
    ]
    found = [run["test"]["bank"]["distortion"] for run in runs]
    np.testing.assert_allclose(found, STORED["table1"], rtol=1e-3)
    noiseless = runs[1]
    assert noiseless["test_mean"]["error"] == pytest.approx(found[1], rel=1e-5)
    assert noiseless["test"]["bank"]["rate"] == 0.0
    text = (tmp_path / "table1.md").read_text()
    assert "epochs 1, batch size 20 (paper 200)" in text
    assert "dVCAE (no noise) | 1 |" in text
    # The paper's gap between test and training error.
    assert "| 22.16 | 41.96 | 19.80 |" in text


def test_table1_trains_on_600_images_if_not_told_otherwise():
    flags.FLAGS(["x", "--dataset=mnist"])
    config = table1.configuration("cwae", 0.1, 0)
    paper = {"code": 2, "noise": 0.1, "weight": 100.0, "train_limit": 600}
    paper |= {"batch_size": 200, "learning_rate": 1e-4, "filters": 128}
    assert paper.items() <= config.items()


def test_table2_measures_errors_and_images_of_every_sampler(call, out):
    models = ["--models=vcae", "--models=vae-iaf"]
    call(table2, *OF_FLOWS, *models, f"--out_dir={out}")
    vcae = one(out, "digits-vcae-code16-noise0.05-weight0.1-*.json")
    iaf = one(out, "digits-vae-iaf-code16-*.json")
    assert set(vcae["fid"]) - set(iaf["fid"]) == {"flow"}
    found = [vcae["test"]["bank"]["distortion"], iaf["test"]["bank"]["distortion"]]
    np.testing.assert_allclose(found, STORED["table2"], rtol=1e-3)
    distances = [vcae["fid"][k] for k in ("prior", "gaussian", "flow", "posterior")]
    np.testing.assert_allclose(distances, STORED["table2_fid"], rtol=0.01)
    # Real images are nearest to real ones.
    assert vcae["fid"]["training images"] < min(distances)
    assert vcae["fid"]["features"] == "FID-digits_classifier"
    text = (out / "table2.md").read_text()
    assert "FID-digits_classifier: N(0, I)" in text
    assert (out / "digits-generated.png").stat().st_size > 5000


def test_second_stage_is_read_again_and_samples(call, out):
    run = one(out, "digits-vcae-code16-noise0.05-weight0.1-*.json")
    config = run["config"]
    folder = out / "checkpoints" / vcae_paper.run_name(config)
    model = vcae_paper.load_model(out, config)
    # Without data: nothing is trained.
    sampler = vcae_paper.second_stage(model, None, config, folder)
    assert tuple(sampler.sample(3).shape) == (3, 16)


def test_table6_shares_its_runs_with_table2(call, out, monkeypatch):
    def fit(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train", fit)
    lambdas = ["--constraints=vcae", "--lambdas=0.1"]
    call(table6, *OF_FLOWS, *lambdas, f"--out_dir={out}")
    text = (out / "table6.md").read_text()
    assert "## VCAE, digits: reduced" in text and "\n| 0.1 | 0 |" in text


def test_table6_asks_for_the_papers_lambdas():
    flags.FLAGS(["x", "--dataset=mnist"])
    assert list(table6.paper("vcae")) == [0.05, 0.1, 0.5, 1.0, 1.5]
    flags.FLAGS(["x", "--dataset=celeba"])
    assert list(table6.paper("cwae")) == [100, 250, 500, 750, 1000]
    assert table6.configuration("cwae", 5.0, 0)["code"] == 64


def test_figure8_shows_codes_and_what_the_flow_makes_of_them(call, out):
    call(figure8, *OF_FLOWS, f"--out_dir={out}")
    text = (out / "figure8.md").read_text()
    assert "| VCAE, inverse of the flow |" in text and "| cWAE |" in text
    assert (out / "digits-figure8.png").stat().st_size > 5000
    config = one(out, "digits-vcae-code2-noise0.01-weight1-*.json")["config"]
    folder = out / "checkpoints" / vcae_paper.run_name(config)
    model = vcae_paper.load_model(out, config)
    flow = vcae_paper.second_stage(model, None, config, folder).flow
    z = metrics.encode(model, data.load("digits").x_test[:50])
    base = metrics.map_batches(lambda x: flow.inverse(x)[0], z)
    again = metrics.map_batches(lambda x: flow.transform(x)[0], base)
    np.testing.assert_allclose(again, z, atol=1e-3)


# As first measured, on TensorFlow.
STORED = {
    "toy": [0.07006, 0.28346],
    "table1": [237.518, 222.437, 232.917],
    "table2": [236.521, 222.863],
    "table2_fid": [710.98, 747.42, 747.36, 747.36],
}
