"""A new paper with two methods and one table is a short script, and runs as one."""

import os
import runpy
import subprocess
import sys

import pytest

PAPER = '''
"""Table 1 of a paper that was written this morning."""

from echo_keras import networks, objectives
from echo_keras.losses import Bernoulli
from echo_keras.studies import Column, Script, Study, Table, published, start

METHODS = {"echo": "Echo", "vae": "VAE"}
PAPER = {"digits": {"echo": 281.6, "vae": 288.2}}


def build(config, dataset):
    shape, hidden = dataset.x_train.shape[1:], (config["hidden"],)
    pair = (
        networks.dense_encoder(shape, hidden),
        lambda latent_dim: networks.dense_decoder(latent_dim, shape, hidden),
        config["latent_dim"],
    )
    if config["method"] == "echo":
        return objectives.echo(*pair, d_max=config["batch_size"] - 1)
    return objectives.vae(*pair)


STUDY = Study(
    "new_paper",
    build,
    protocol={"epochs": 100, "learning_rate": 1e-3, "latent_dim": 2, "hidden": 64},
    quick={"digits": {"epochs": 5, "batch_size": 50}},
    vary={"method": list(METHODS)},
    loss=Bernoulli(),
    described={"hidden": "Units of the hidden layer."},
)
TABLE = Table(
    STUDY,
    title="Table 1 of a new paper",
    name="table1",
    columns=[
        Column("Method", lambda runs: METHODS[runs[0]["config"]["method"]]),
        Column("seed", "config.seed", "g"),
        Column("Rate", "test.bank.rate"),
        Column("Distortion", "test.bank.distortion"),
        Column("paper's -ELBO", published(PAPER, "dataset", "method")),
    ],
    note="Nats per test image.",
)
main = Script(STUDY, [TABLE])

if __name__ == "__main__":
    start(main)
'''


def test_a_script_of_less_than_80_lines_trains_tabulates_and_refuses(tmp_path):
    assert len(PAPER.splitlines()) < 80
    path = tmp_path / "table1.py"
    path.write_text(PAPER)

    # In two processes, which find the study in the script by its name.
    flags = "--train_limit=60", "--epochs=1", "--hidden=8", "--workers=2"
    done = subprocess.run(
        [sys.executable, path, *flags],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    out = tmp_path / "runs" / "new_paper"
    assert {path.stem for path in out.glob("*.json")} == {
        f"digits-{method}-epochs1-batch_size50-train_limit60-hidden8-seed0"
        for method in ("echo", "vae")
    }
    text = (out / "table1.md").read_text()
    assert text.count("\n| Echo | 0 | ") == text.count("\n| VAE | 0 | ") == 1
    assert "epochs 1 (paper 100)" in text and " 288.20 |" in text

    main = runpy.run_path(str(path))["main"]
    with pytest.raises(SystemExit, match="(?s)'gammas'.*--methods, --epochs"):
        main(["table1", "--gammas=20"])
