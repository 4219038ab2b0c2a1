"""Draws the figure of README.md and of the site's first page from committed records.

python docs/figures.py
"""

import json
import pathlib

from echo_keras import plots
from echo_keras.studies import points, records

ROOT = pathlib.Path(__file__).resolve().parents[1]
RUNS = ROOT / "reproductions" / "results" / "bib_ae_compression"
FIGURE = ROOT / "docs" / "_static" / "rate_distortion.png"
LABELS = {"echo": "Echo", "vae": "VAE"}


def read() -> list[records.Record]:
    """Records of the two methods, at four weights beta each."""
    return [r for r in records.read(RUNS) if r["config"]["method"] in LABELS]


def protocol() -> str:
    """What was trained on, for how long; the same in all runs."""
    (said,) = {
        f"{r['data']['training_examples']:,} images, {r['config']['epochs']} epochs"
        for r in read()
    }
    return said


def curves() -> dict[str, list[tuple[float, float]]]:
    """Rate and distortion of test images of MNIST, a point for each beta."""
    return points(
        read(),
        lambda config: LABELS[config["method"]],
        "test.bank.rate",
        "test.bank.distortion",
    )


def main() -> None:
    figure = plots.rate_distortion(curves())
    (axes,) = figure.axes
    axes.set_title(f"MNIST, {protocol()}", fontsize=11)
    figure.set_size_inches(6.0, 4.2)
    # The points stand in the file, so that a test can tell where it comes from.
    metadata = {"Description": json.dumps(curves()), "Software": None}
    figure.savefig(FIGURE, dpi=130, bbox_inches="tight", metadata=metadata)


if __name__ == "__main__":
    main()
