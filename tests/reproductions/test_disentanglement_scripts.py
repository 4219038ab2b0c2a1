"""Table 2, Figure 4 and the tables of Variance Constrained Autoencoding, in small."""

import importlib.util
import json
import math
import pathlib

import figure4
import keras
import numpy as np
import pytest
import table2
from absl import app

from echo_keras import experiments, networks

spec = importlib.util.spec_from_file_location(
    "vcae_table3", pathlib.Path(table2.__file__).parent / "vcae" / "table3.py"
)
vcae_table3 = importlib.util.module_from_spec(spec)
spec.loader.exec_module(vcae_table3)

TINY = "--steps=4", "--votes=20"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHO_KERAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def out(call, tmp_path_factory):
    out = tmp_path_factory.mktemp("table2")
    call(
        table2, f"--out_dir={out}", "--betas=4", "--gammas=20", "--channels=echo",
        "--factors=independent", *TINY,
    )  # fmt: skip
    return out


def test_networks_have_the_parameters_of_the_papers():
    # Kernels and biases, from the lists of layers in FactorVAE's and VCAE's appendices.
    convolutions = 16 * 32 + 32, 16 * 32 * 32 + 32, 4 * 32 * 64 + 64, 4 * 64 * 64 + 64
    encoder = sum(convolutions) + 1024 * 256 + 256
    assert networks.factor_encoder().count_params() == encoder
    transposed = 16 * 64 * 64 + 64, 16 * 64 * 32 + 32, 16 * 32 * 32 + 32, 16 * 32 + 1
    decoder = 10 * 256 + 256 + 256 * 1024 + 1024 + sum(transposed)
    assert networks.factor_decoder(10).count_params() == decoder
    model = table2.build(
        {"method": "echo", "d_max": 63, "beta": 1.0, "gamma": 20.0, "seed": 0}
    )
    discriminator = 11 * 1000 + 5 * 1001 * 1000 + 1001 * 2
    heads = 2 * 257 * 10
    found = sum(math.prod(w.shape) for w in model.trainable_weights)
    assert found == encoder + heads + decoder + discriminator
    assert model.get_layer("tc").initial_weight == 20.0
    assert model.get_layer("bottleneck").channel.initial_beta == 1.0
    vae = table2.build({"method": "vae", "beta": 4.0, "gamma": 0.0})
    assert vae.get_layer("bottleneck").channel.initial_beta == 4.0
    assert vae.count_params() == encoder + heads + decoder + 2  # beta and last_rate
    # Solved from the remainder bound for d_max 63 and M 1.
    assert model.get_layer("bottleneck").channel.r == pytest.approx(0.75908, abs=1e-5)
    encoder = sum([48 * 32 + 32, 16 * 32 * 32 + 32, 16 * 32 * 64 + 64, 16 * 64**2 + 64])
    vcae = networks.factor_encoder((64, 64, 3), (4, 4, 4, 4), activation=None)
    assert vcae.count_params() == encoder + 1024 * 256 + 256
    assert vcae.layers[-1].activation is keras.activations.linear


def test_settings_are_the_papers_or_the_flags(call):
    seen = []

    class Script:
        __name__ = "x"

        @staticmethod
        def main(argv):
            seen.append(table2.settings())

    for arguments in ([], ["--betas=1,4"], ["--betas=4", "--gammas=0,20"]):
        call(Script(), *arguments)
    assert seen[0] == [(1, 0), (4, 0), (8, 0), (1, 20), (1, 50), (1, 100)]
    assert seen[1] == [(1.0, 0.0), (4.0, 0.0)]
    assert seen[2] == [(4.0, 0.0), (1.0, 0.0), (1.0, 20.0)]


def test_table2_stored_numbers(out):
    found = {}
    for path in out.glob("*.json"):
        record = json.loads(path.read_text())
        last = record["history"][-1]
        found[record["config"]["gamma"]] = last["distortion"], last["rate"]
        assert record["config"]["steps"] == 4 and len(record["history"]) == 1
        assert record["config"]["d_max"] == 63  # all others of a batch of 64
        assert record["data"]["images"] == 737_280
        assert 0 <= record["scores"]["mig"] <= 1
    # Stored: TensorFlow 2.21 on a CPU.
    for gamma, expected in STORED.items():
        np.testing.assert_allclose(found[gamma], expected, rtol=1e-3)


STORED = {0.0: (2838.63, 9.6606), 20.0: (2838.37, 9.6733)}


def test_table2_text(out):
    text = (out / "table2.md").read_text()
    assert "steps 4 (paper 300,000), votes 20 (paper 10,000)" in text
    assert "| Echo, independent | 4 | 0 |" in text and " 0.78 " in text
    assert "| Echo, independent | 1 | 20 |" in text and " 0.30 " in text
    assert "dSprites, rendered" in text
    assert len((out / "table2.csv").read_text().splitlines()) == 3


def test_table2_runs_nothing_twice(call, out, capsys):
    call(
        table2, f"--out_dir={out}", "--betas=4", "--gammas=20", "--channels=echo",
        "--factors=independent", *TINY,
    )  # fmt: skip
    assert capsys.readouterr().out.count("not run again") == 2


def test_table2_averages_runs():
    def run(mig):
        return {
            "scores": {"mig": mig, "factor_vae": 0.5},
            "test": {"bank": {"rate": 1.0, "distortion": 2.0}},
            "history": [{}],
        }

    row = table2.summary(("dsprites_dependent", 1.0, 50.0, "vae"), [run(0.1), run(0.3)])
    assert row["mig"] == pytest.approx(0.2)
    assert row["mig_sigma"] == pytest.approx(0.1 * math.sqrt(2))
    assert (row["paper_factor_vae"], row["paper_mig"]) == (0.53, 0.07)


def test_figure4_draws_the_best_model_and_any_other(call, out, tmp_path):
    call(figure4, f"--out_dir={out}", "--drawn=500")
    (drawn,) = out.glob("*-figure4.png")
    path = out / "checkpoints" / drawn.name.removesuffix("-figure4.png")
    call(
        figure4, f"--out_dir={tmp_path}", f"--model={path / 'checkpoint.keras'}",
        "--drawn=500",
    )  # fmt: skip
    assert (tmp_path / "checkpoint-figure4.png").stat().st_size > 10_000


def test_figure4_takes_the_echo_model_of_the_highest_mig(tmp_path, monkeypatch):
    config = {"beta": 1.0, "steps": 4, "votes": 20, "seed": 0}
    for method, dataset, gamma, score in (
        ("echo", "dsprites", 0.0, 0.1),
        ("echo", "dsprites", 20.0, 0.2),
        ("echo", "dsprites", 50.0, 0.3),
        ("vae", "dsprites", 0.0, 0.4),
        ("echo", "dsprites_dependent", 0.0, 0.5),
    ):
        own = {**config, "method": method, "dataset": dataset, "gamma": gamma}
        record = {"config": own, "test": {}, "scores": {"mig": score}}
        (tmp_path / f"{table2.run_name(own)}.json").write_text(json.dumps(record))
    monkeypatch.setattr(experiments, "load_model", lambda out, name: name)
    name = "dsprites-echo-beta1-gamma{}-4steps-20votes-seed0"
    assert figure4.best_echo(tmp_path)[1] == name.format(50)
    # The next best, where the best has no model left.
    monkeypatch.setattr(
        experiments, "load_model", lambda out, name: None if "50" in name else name
    )
    assert figure4.best_echo(tmp_path)[1] == name.format(20)
    monkeypatch.setattr(experiments, "load_model", lambda out, name: None)
    with pytest.raises(app.UsageError, match="expected models of Table 2 with an Echo"):
        figure4.best_echo(tmp_path)


def test_vcae_models_are_those_of_appendix_b5():
    for objective in vcae_table3.NAMES:
        model = vcae_table3.build(objective)
        tc = model.get_layer("tc")
        assert tc.initial_weight == 7.0
        assert sum(w.shape[0] == 1000 for w in tc.trainable_weights) == 12
        channel = model.get_layer("bottleneck").channel
        assert model.get_layer("bottleneck").units == 6
        fixed = objective != "factorvae"
        assert channel.noise_variance == (0.1 if fixed else None)
        assert channel.initial_beta == (0.0 if fixed else 1.0)
        added = {layer.name for layer in model.layers} & {"variance", "mmd"}
        expected = {"tc-vcae": {"variance"}, "tc-cwae": {"mmd"}, "factorvae": set()}
        assert added == expected[objective]
        for name in added:  # before the total correlation, on the noisy code
            assert model.layers.index(model.get_layer(name)) < model.layers.index(tc)
        if objective == "tc-vcae":
            layer = model.get_layer("variance")
            assert (layer.initial_weight, layer.target) == (1.0, 6.0)
        if objective == "tc-cwae":
            layer = model.get_layer("mmd")
            assert (layer.initial_weight, layer.kernel) == (2500.0, "imq")
            # 2 d / (2 d + |x - y|^2), without the pairs of an example with itself.
            assert layer.bandwidth is None and layer.estimator == "unbiased"


def test_vcae_papers_numbers():
    # Table 3 has the scores of the best runs of Table 10.
    for objective, runs in vcae_table3.PAPER.items():
        error, score = vcae_table3.PAPER_BEST[objective]
        best = max(runs, key=lambda run: run[1])
        assert len(runs) == 5 and best[1] == score
        assert objective == "tc-cwae" or abs(best[0] - error) < 0.6


def test_training_is_that_of_locatello(monkeypatch, tmp_path):
    """A constant rate of 1e-4 with Adam (.9, .999), and of the discriminator (.5, .9)."""

    class Stop(Exception):
        pass

    def train(build, batches, folder, **arguments):
        optimizer = arguments["optimizer"](arguments["learning_rate"])
        discriminators, others = optimizer.optimizers
        for adam, betas in ((discriminators, (0.5, 0.9)), (others, (0.9, 0.999))):
            assert isinstance(adam, keras.optimizers.Adam)
            assert float(adam.learning_rate) == pytest.approx(1e-4)
            assert (adam.beta_1, adam.beta_2) == betas
        assert arguments["schedule"] == "constant" and arguments["epochs"] == 300
        assert len(batches) == 1000 and batches[0][0].shape == (64, 64, 64, 1)
        raise Stop

    monkeypatch.setattr(experiments.training, "train", train)
    config = {"dataset": "dsprites", "seed": 0, **table2.PROTOCOL}
    with pytest.raises(Stop):
        experiments.train_on_factors(config, None, tmp_path)


def test_vcae_tables(call, tmp_path):
    call(vcae_table3, f"--out_dir={tmp_path}", "--shapes=shapes3d_rendered", *TINY)
    text = (tmp_path / "table3.md").read_text()
    assert "steps 4 (paper 500,000)" in text and "not" in text
    for line in ("| TC-VCAE | 0 |", "| TC-cWAE | 0 |", "| FactorVAE | 0 |"):
        assert line in text
    assert "3538.0" in text and "3531.0" in text and "3578.9" not in text
    assert "3513.1" not in text  # of Table 10's best
    every = (tmp_path / "table10.md").read_text()
    assert "3538.5" in every and "3518.6" in every and "3531.0" not in every
    for path in tmp_path.glob("*.json"):
        record = json.loads(path.read_text())
        last = record["history"][-1]
        np.testing.assert_allclose(
            last["distortion"], VCAE[record["config"]["method"]], rtol=1e-3
        )
        added = {"tc-vcae": "variance", "tc-cwae": "mmd"}.get(
            record["config"]["method"]
        )
        assert added is None or added in last


VCAE = {"factorvae": 8515.7, "tc-cwae": 8517.14, "tc-vcae": 8517.14}


def test_steps_must_fill_epochs():
    config = {"dataset": "shapes3d_rendered", "steps": 1500}
    with pytest.raises(ValueError, match="multiple of 1000"):
        experiments.train_on_factors(config, None, None)
