"""Table 3 of the Echo paper: total correlation of Echo noise, by data set.

    python reproductions/table3.py                                  # digits
    python reproductions/table3.py --dataset omniglot --data_dir FOLDER

Trains what table1.py would (Echo, --runs seeds) unless its records and models are in
--out_dir. The noise has the distribution of z, so its total correlation is measured on
draws from q(z), by the second-order formula of App. C, whose value for independent
dimensions is not zero but about d (d - 1) / (2 draws). A line is added to table3.md for
every data set that was ever measured into the same --out_dir.
"""

import collections
import json

import echo_paper
import numpy as np
from absl import app, flags

from echo_keras import training
from echo_keras.experiments import number
from echo_keras.metrics.information import total_correlation
from echo_keras.studies import records

PAPER = {"binary_mnist": 7.3, "omniglot": 18.8, "fashion_mnist": 30.2}

FLAGS = flags.FLAGS
flags.DEFINE_integer("draws", 20000, "Draws of the noise.", 100)


def main(argv):
    out, dataset = echo_paper.prepare(argv)
    folder = out / "table3"
    folder.mkdir(exist_ok=True)
    for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs):
        config = echo_paper.configuration("echo", seed)
        echo_paper.run_all(out, dataset, [config])
        model = echo_paper.load_model(out, config)
        if model is None:
            raise app.UsageError("Table 3 needs the model: choose another --out_dir.")
        noise = np.asarray(model.get_layer("bottleneck").sample(FLAGS.draws))
        record = {
            "config": config,
            "draws": FLAGS.draws,
            "total_correlation": total_correlation(noise),
        }
        training.write_json(folder / f"{echo_paper.run_name(config)}.json", record)
    text = table(folder)
    (out / "table3.md").write_text(text)
    print(f"\n{text}")


def table(folder):
    """One line for each data set and protocol ever measured into the folder."""
    lines = collections.defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        config = record["config"]
        key = config["dataset"], echo_paper.reduction(config)
        lines[key].append(record["total_correlation"])
    body = []
    for (dataset, protocol), measured in lines.items():
        mean = float(np.mean(measured))
        spread = float(np.std(measured, ddof=1)) if len(measured) > 1 else None
        paper = number(PAPER.get(dataset), ".1f")
        cells = [number(mean), number(spread), number(2 * mean), paper, len(measured)]
        body.append([dataset, *cells, protocol])
    header = ["Data", "TC", "sigma", "2 TC, as printed", "paper", "runs", "protocol"]
    return (
        "# Table 3: total correlation of Echo noise\n\n"
        f"{records.markdown(header, body)}\n\n"
        "Nats. TC = -1/2 log det of the correlation matrix, the total correlation of a "
        "Gaussian; the paper prints the formula without the factor 1/2, so that its "
        "numbers may be either. Diagonal Gaussian noise has 0.\n"
    )


if __name__ == "__main__":
    app.run(main)
