"""Every Python block of the READMEs runs, one after another, on little data."""

import os
import re
import subprocess
import sys

import pytest

# Trainings are cut short, and what is not on every machine is replaced.
SHORTER = {
    r"epochs=\d+": "epochs=1",
    r"steps=\d+": "steps=2",
    r'data\.load\("\w+"\)': 'data.load("digits", limit=100)',
    r'study\.configs\("digits", runs=2\)': 'study.configs("digits", train_limit=100)',
    r"wae_(\w+)(\(\))?": r"dense_\1",
    r"flow\(codes,": "flow(codes, epochs=1,",
}


def blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.M | re.S)


@pytest.fixture(scope="module")
def said(repository, tmp_path_factory):
    """What the blocks of both READMEs print, in one process of their own."""
    code = blocks(repository / "README.md")
    code += blocks(repository / "reproductions" / "README.md")
    text = "\n".join(code)
    for pattern, shorter in SHORTER.items():
        text = re.sub(pattern, shorter, text)
    text = text.replace("dense_encoder,", "dense_encoder((28, 28, 1)),")
    text = text.replace(
        "networks.dense_decoder,", "lambda d: networks.dense_decoder(d, (28, 28, 1)),"
    )
    folder = tmp_path_factory.mktemp("readme")
    (folder / "blocks.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "blocks.py"],
        cwd=folder,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_study_prints_its_table(said):
    assert "| beta | Rate |" in said
    assert re.search(r"\| 0.5 \| \d+\.\d\d \|", said)


def test_fit_logs_rate_and_distortion(said):
    assert re.search(r"distortion: \d.* - neg_elbo: \d.* - rate: \d", said)
