"""The notebooks run from top to bottom, as scripts."""

import json
import pathlib
import re

import keras
import matplotlib
import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="of the default backend"
)


def script(notebook):
    """A notebook's code cells one after another, without IPython's own lines.

    Each training has an eighth of its epochs, and a curve its first point.
    """
    cells = json.loads(notebook.read_text())["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    lines = "\n\n".join(code).splitlines()
    text = "\n".join(re.sub(r"^( *)%.*", r"\1pass", line) for line in lines)
    text, found = re.subn(r"epochs=(\d+)", lambda m: f"epochs={int(m[1]) // 8}", text)
    assert found, f"{notebook.name} trains nothing"
    # A notebook shows the figure that a cell ends with; a script writes it.
    text = re.sub(r"^plots\.", "figure = plots.", text, flags=re.M)
    parts = text.split("figure = plots.")
    parts = [parts[0], *(f"{part}\n\nkeep(figure)\n" for part in parts[1:])]
    keep = (
        "def keep(figure, n=[0]):\n    n[0] += 1\n    figure.savefig(f'{n[0]}.png')\n"
    )
    text = keep + "figure = plots.".join(parts)
    text = text.replace("steps=250", "steps=3")
    text = re.sub(r"(betas=\[[^,]+), .*\],", r"\1],", text)
    return re.sub(r"(for (?:beta|codewords) in \([^,]+,) .*\):", r"\1):", text)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Function that runs a notebook in an empty folder and returns what it prints."""

    def run(name):
        monkeypatch.chdir(tmp_path)
        matplotlib.use("Agg")
        keras.utils.clear_session()
        code = compile(script(EXAMPLES / name), name, "exec")
        exec(code, {"__name__": "__main__"})
        return capsys.readouterr().out

    return run


def count_figures(folder):
    """How many figures a notebook has shown, none of them empty."""
    files = list(folder.glob("*.png"))
    assert all(file.stat().st_size > 1500 for file in files)
    return len(files)


def test_echo_autoencoder(run, tmp_path):
    printed = run("01_echo_autoencoder.ipynb")
    assert count_figures(tmp_path) == 7
    # What the text promises: rate + distortion as printed, for both models.
    lines = [line for line in printed.splitlines() if " + distortion " in line]
    assert [line.split(":")[0] for line in lines] == ["Echo", "VAE"]
    for line in lines:
        words = line.split()
        rate, distortion, total = (float(words[i]) for i in (2, 5, 7))
        assert rate + distortion == pytest.approx(total, abs=0.11)
        assert total < 400  # untrained models lose 543 nats, 784 log 2


def test_objectives(run, tmp_path):
    printed = run("02_objectives.ipynb")
    lines = [line for line in printed.splitlines() if "MMD to the prior" in line]
    names = [line.split("  ")[0] for line in lines]
    assert names == ["A + C: VAE", "B + C: AAE", "A + C + D: VAE/GAN"]
    # What the text promises: a term that looks at the prior keeps codes near it. The
    # codes of an autoencoder without one have a variance of dozens.
    for line in lines:
        assert float(line.split("summed variance ")[1].split()[0]) < 8
    assert count_figures(tmp_path) == 2


def test_compression(run, tmp_path):
    printed = run("03_compression.ipynb")
    size = float(re.search(r"bytes: ([\d.]+) bits per image", printed)[1])
    promised = float(re.search(r"rate promised ([\d.]+)", printed)[1])
    assert promised <= size < promised + 2  # and a header for 500 images
    assert "CRC-32" in printed
    assert count_figures(tmp_path) == 2


def test_anomalies(run, tmp_path):
    printed = run("04_anomalies.ipynb")
    areas = re.findall(r"'neg_elbo': ([\d.]+)", printed)
    # Malignant rows are told by models that have hardly been trained.
    assert len(areas) == 2 and all(float(area) > 0.8 for area in areas)
    assert float(re.search(r"isolation forest ([\d.]+)", printed)[1]) > 0.9
    assert count_figures(tmp_path) == 1


def test_disentanglement(run, tmp_path):
    printed = run("05_disentanglement.ipynb")
    scores = re.findall(r"beta [\d.]+: rate ([\d.]+) nats, MIG ([\d.]+)", printed)
    assert len(scores) == 2 and all(0 <= float(mig) < 1 for _, mig in scores)
    assert count_figures(tmp_path) == 3


def test_one_model_every_rate(run, tmp_path):
    printed = run("06_one_model_every_rate.ipynb")
    rows = re.findall(r"\| ([\d.]+) \| ([\d.]+) ± ", printed)
    betas = {float(beta): float(rate) for beta, rate in rows}
    assert len(betas) == 13 and betas[0.5] > betas[10.0]
    assert len(re.findall(r"beta [\d.]+: rate", printed)) == 1
    assert count_figures(tmp_path) == 2


NOTEBOOKS = sorted(p.name for p in EXAMPLES.glob("*.ipynb"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_shows_what_it_printed_and_drew(name):
    path = EXAMPLES / name
    assert path.stat().st_size < 400_000
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    images = [o for o in outputs if "image/png" in o.get("data", {})]
    lines = "\n".join("".join(cell["source"]) for cell in code)
    shown = re.findall(r"^(?:plots\.|curve\.plot)", lines, flags=re.M)
    assert len(images) == len(shown) > 0


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_opens_on_colab_and_installs_itself(name):
    first, second, *_ = json.loads((EXAMPLES / name).read_text())["cells"]
    assert f"/blob/main/examples/{name})" in "".join(first["source"])
    assert "%pip install -q" in "".join(second["source"])
