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

from echo_keras import experiments, models

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
    assert models.factor_encoder().count_params() == encoder
    transposed = 16 * 64 * 64 + 64, 16 * 64 * 32 + 32, 16 * 32 * 32 + 32, 16 * 32 + 1
    decoder = 10 * 256 + 256 + 256 * 1024 + 1024 + sum(transposed)
    assert models.factor_decoder(10).count_params() == decoder
    model = table2.build(
        {"method": "echo", "d_max": 63, "beta": 1.0, "gamma": 20.0, "seed": 0}
    )
    critic = 11 * 1000 + 5 * 1001 * 1000 + 1001 * 2
    heads = 2 * 257 * 10
    found = sum(math.prod(w.shape) for w in model.trainable_weights)
    assert found == encoder + heads + decoder + critic
    # Solved from the remainder bound for d_max 63 and M 1.
    assert model.get_layer("bottleneck").channel.r == pytest.approx(0.75908, abs=1e-5)
    encoder = sum([48 * 32 + 32, 16 * 32 * 32 + 32, 16 * 32 * 64 + 64, 16 * 64**2 + 64])
    vcae = models.factor_encoder((64, 64, 3), (4, 4, 4, 4), activation=None)
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


def test_vcae_tables(call, tmp_path):
    call(vcae_table3, f"--out_dir={tmp_path}", "--shapes=shapes3d_rendered", *TINY)
    text = (tmp_path / "table3.md").read_text()
    assert "steps 4 (paper 500,000)" in text and "not" in text
    for line in ("| TC-VCAE | 0 |", "| TC-cWAE | 0 |", "| FactorVAE | 0 |"):
        assert line in text
    assert "3538.5" in text and "3578.9" not in text
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
