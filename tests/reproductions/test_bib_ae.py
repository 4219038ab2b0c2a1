"""The BIB-AE paper: the scripts of every objective and of compression, on tiny data."""

import json

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from tools import script

from echo_keras import objectives as library
from echo_keras.layers import GANPenalty, MarginalKLPenalty

objectives, compression = (
    script("bib_ae", "objectives"),
    script("bib_ae", "compression"),
)
TINY = ["--epochs=1", "--train_limit=100", "--batch_size=20"]


@pytest.fixture(autouse=True)
def defaults():
    with flagsaver.flagsaver():
        flags.FLAGS(["x"])
        yield


def one(folder, pattern):
    (path,) = folder.glob(pattern)
    return json.loads(path.read_text())


TERMS = {
    "vae": "A",
    "beta_vae": "A",
    "aae": "B",
    "stochastic_aae": "B",
    "info_vae": "AB",
    "gan": "D",
    "vae_gan": "AD",
    "bib_ae": "ABD",
    "shannon_ae": "",
    "generative_compression": "D",
    "echo": "",
    "wae": "",
    "vim": "",
    "vcae": "",
}


@pytest.mark.parametrize("name", objectives.NAMED)
def test_objectives_have_the_terms_of_their_equation(name):
    model = objectives.build({"method": name, "batch_size": 20}, (28, 28, 1))
    terms = {
        "A": any(
            hasattr(x, "heads") and len(x.heads) == 2 and x.channel.initial_beta > 0
            for x in model.layers
            if x.name == "bottleneck" and name != "echo"
        ),
        "B": any(isinstance(x, MarginalKLPenalty) for x in model.layers),
        "D": any(isinstance(x, GANPenalty) for x in model.layers),
    }
    assert {term for term, there in terms.items() if there} == set(TERMS[name])


def test_every_objective_of_the_library_is_in_the_table():
    functions = {
        name
        for name in vars(library)
        if callable(getattr(library, name))
        and getattr(library, name).__module__ == library.__name__
        and not name.startswith("_")
    }
    others = {"networks", "information_bottleneck"}
    assert functions - others == set(TERMS) - {"beta_vae", "stochastic_aae"}


def test_objectives_measures_the_terms(call, tmp_path):
    arguments = ["--named=bib_ae", "--named=gan", "--compared=100"]
    call(objectives, *TINY, *arguments, f"--out_dir={tmp_path}")
    bib, gan = (one(tmp_path, f"digits-{name}-*.json") for name in ("bib_ae", "gan"))
    assert set(bib["terms"]) == {"A", "B", "D", "posterior"}
    assert set(gan["terms"]) == {"D"} and gan["test"]["bank"]["distortion"] == 0.0
    assert bib["terms"]["A"] == pytest.approx(bib["test"]["bank"]["rate"], rel=1e-4)
    found = [bib["test"]["bank"]["distortion"], bib["terms"]["A"]]
    np.testing.assert_allclose(found, STORED["bib_ae"], rtol=0.02)
    text = (tmp_path / "objectives.md").read_text()
    assert "| BIB-AE | 26 | 0 |" in text and "| GAN | 24 | 0 | - | - | - | - |" in text
    assert (tmp_path / "digits-generated.png").stat().st_size > 3000


def test_a_discriminator_of_its_own_finds_the_divergence():
    generator = np.random.RandomState(0)
    z, z_test = (
        (1.0 + generator.normal(size=(n, 3))).astype("float32") for n in (8000, 4000)
    )
    # Means 1 apart in each of three dimensions: 1.5 nats.
    assert objectives.divergence_from_normal(z, z_test) == pytest.approx(1.5, abs=0.2)


def test_compression_writes_files_of_the_rate(call, tmp_path):
    arguments = ["--coders=quantized", "--coders=vae", "--betas=1"]
    arguments += ["--codebook_sizes=4"]
    call(compression, *TINY, *arguments, f"--out_dir={tmp_path}")
    run = one(tmp_path, "digits-quantized-4words-*.json")
    file = run["file"]
    assert file["exact"] and file["examples"] == 500
    assert file["file_bytes"] - file["payload_bytes"] == 34
    bits = 8 * file["payload_bytes"] / file["examples"]
    assert file["rate_bits"] <= bits <= 1.02 * file["rate_bits"]
    found = [run["test"]["bank"]["distortion"], run["test"]["bank"]["rate"]]
    np.testing.assert_allclose(found, STORED["quantized"], rtol=0.02)
    text = (tmp_path / "compression.md").read_text()
    assert "| Quantised, 16 of 4 codewords | 0 |" in text
    assert "| Gaussian, beta 1 | 0 |" in text and f"| {file['file_bytes']} |" in text
    assert (tmp_path / "compression.png").stat().st_size > 5000


# As first measured, on TensorFlow.
STORED = {"bib_ae": [502.38, 3.272], "quantized": [501.43, 3.921]}
