"""Draws the figure of README.md and of the site's first page from committed records.

python docs/figures.py
"""

import pathlib

from echo_keras import plots
from echo_keras.studies import points, records

ROOT = pathlib.Path(__file__).resolve().parents[1]
RUNS = ROOT / "reproductions" / "results" / "bib_ae_compression"
FIGURE = ROOT / "docs" / "_static" / "rate_distortion.png"
LABELS = {"echo": "Echo: I(X; Z)", "vae": "VAE: an upper bound of it"}


def curves() -> dict[str, list[tuple[float, float]]]:
    """Rate and distortion of test images of MNIST, a point for each beta."""
    runs = [r for r in records.read(RUNS) if r["config"]["method"] in LABELS]
    return points(
        runs,
        lambda config: LABELS[config["method"]],
        "test.bank.rate",
        "test.bank.distortion",
    )


def main() -> None:
    figure = plots.rate_distortion(curves())
    (axes,) = figure.axes
    axes.set_title("MNIST, test images", fontsize=11)
    figure.set_size_inches(6.0, 4.2)
    figure.savefig(FIGURE, dpi=130, bbox_inches="tight")


if __name__ == "__main__":
    main()
