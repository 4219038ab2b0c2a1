r"""Figure 4 of the Echo paper: the code of a model against the factors of its images.

    python reproductions/figure4.py --out_dir runs/table2      # its best Echo model
    python reproductions/figure4.py --model my.keras --images shapes3d_rendered

One row for each dimension of the code, one column for each factor: the mean of f(x),
or of a Gaussian's mean, over all images that share a value of the factor, one line
for each shape; and over the positions a heat map. Works for any model with one
bottleneck of the library. Without --model it draws the model of Table 2 that has the
highest MIG among those with an Echo channel and independent factors.
"""

import pathlib

import keras
import numpy as np
import table2
from absl import app, flags

from echo_keras import experiments, plots
from echo_keras.data import factors
from echo_keras.metrics import disentanglement
from echo_keras.studies import records

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "A saved model, .keras.")
flags.DEFINE_enum("images", "dsprites", factors.names(), "What it encodes.")
flags.DEFINE_integer("drawn", 100_000, "Images over which means are taken.", 1)


def main(argv):
    out = experiments.prepare(argv, table2.OUT_DIR)
    if FLAGS.model:
        path = pathlib.Path(FLAGS.model)
        if not path.is_file():
            raise app.UsageError(
                f"--model: expected a .keras file, found none at {path}."
            )
        model, name = keras.saving.load_model(path), path.stem
    else:
        model, name = best_echo(out)
    dataset = factors.load(FLAGS.images, FLAGS.data_dir)
    rows = dataset.sample(FLAGS.drawn, np.random.RandomState(FLAGS.seed))
    represent = disentanglement.representation(model)
    codes = np.concatenate(
        [
            represent(dataset.images(rows[start : start + 1000]))
            for start in range(0, len(rows), 1000)
        ]
    )
    path = out / f"{name}-figure4.png"
    plots.codes_by_factor(codes, dataset.factors(rows), dataset.factor_names, path)
    print(f"{path}: {name}, {len(rows):,} images of {dataset.name}")


def best_echo(out):
    """The model of the highest MIG, and its run's name."""
    runs = [
        record
        for record in records.read(out)
        if record["config"]["method"] == "echo"
        and record["config"]["dataset"] == "dsprites"
    ]
    for run in sorted(runs, key=lambda run: -run["scores"]["mig"]):
        name = table2.run_name(run["config"])
        model = experiments.load_model(out, name)
        if model is not None:
            return model, name
    raise app.UsageError(
        f"expected models of Table 2 with an Echo channel in {out}, found none: run "
        "table2.py with the same --out_dir, or name a --model."
    )


if __name__ == "__main__":
    app.run(main)
