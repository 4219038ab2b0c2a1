"""The notebooks run from top to bottom, as scripts."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"


def script(notebook):
    """A notebook's code cells one after another, without lines for the shell.

    Each training has an eighth of its epochs, and a curve its first point.
    """
    cells = json.loads(notebook.read_text())["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    lines = "\n\n".join(code).splitlines()
    text = "\n".join(line for line in lines if not line.startswith("!"))
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
    return re.sub(r"(for beta in \([^,]+,) .*\):", r"\1):", text)


def run(name, folder):
    """What a notebook prints, run in a folder of its own."""
    path = folder / "notebook.py"
    path.write_text(script(EXAMPLES / name))
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", path],
        cwd=folder,
        env={**os.environ, "MPLBACKEND": "Agg", "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def count_figures(folder):
    """How many figures a notebook has shown, none of them empty."""
    files = list(folder.glob("*.png"))
    assert all(file.stat().st_size > 5000 for file in files)
    return len(files)


def test_echo_autoencoder(tmp_path):
    printed = run("01_echo_autoencoder.ipynb", tmp_path)
    assert count_figures(tmp_path) == 7
    # What the text promises: rate + distortion as printed, for both models.
    lines = [line for line in printed.splitlines() if " + distortion " in line]
    assert [line.split(":")[0] for line in lines] == ["Echo", "VAE"]
    for line in lines:
        words = line.split()
        rate, distortion, total = (float(words[i]) for i in (2, 5, 7))
        assert rate + distortion == pytest.approx(total, abs=0.11)
        assert total < 400  # untrained models lose 543 nats, 784 log 2


def test_objectives(tmp_path):
    printed = run("02_objectives.ipynb", tmp_path)
    lines = [line for line in printed.splitlines() if "MMD to the prior" in line]
    names = [line.split("  ")[0] for line in lines]
    assert names == ["A + C: VAE", "B + C: AAE", "A + C + D: VAE/GAN"]
    # What the text promises: a term that looks at the prior keeps codes near it. The
    # codes of an autoencoder without one have a variance of dozens.
    for line in lines:
        assert float(line.split("summed variance ")[1].split()[0]) < 8
    assert count_figures(tmp_path) == 2


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.ipynb")))
def test_notebook_is_committed_without_outputs(name):
    for cell in json.loads((EXAMPLES / name).read_text())["cells"]:
        assert not cell.get("outputs") and not cell.get("execution_count")
