r"""Figure 4 of the Echo paper: the code of a model against the factors of its images.

    python reproductions/figure4.py --out_dir runs/table2      # its best Echo model
    python reproductions/figure4.py --model my.keras --images shapes3d_rendered

One row for each dimension of the code, one column for each factor: the mean of f(x), or
of a Gaussian's mean, over all images that share a value of the factor, one line for
each shape; and over the positions a heat map. Works for any model with one bottleneck
of the library. Without --model it draws the model of Table 2 that has the highest MIG
among those with an Echo channel and independent factors.
"""

import pathlib

import keras
import numpy as np
import table2

from echo_keras import metrics, plots
from echo_keras.data import factors
from echo_keras.studies import Command, Option, records, start


def best_echo(out, setting=None):
    """The model of the highest MIG, of (beta, gamma) or all, and its run's name."""
    configs = [
        run["config"]
        for run in sorted(
            records.read(out), key=lambda run: -run["measures"]["scores"]["mig"]
        )
        if (run["config"]["method"], run["config"]["dataset"]) == ("echo", "dsprites")
        and setting in (None, (run["config"]["beta"], run["config"]["gamma"]))
    ]
    for config, model in table2.STUDY.models(out, configs):
        return model, table2.STUDY.run_name(config)
    raise SystemExit(
        f"{out} must hold models of Table 2 with an Echo channel. Received: none. Run "
        "table2.py with the same --out_dir, or name a --model."
    )


def draw(options):
    out = pathlib.Path(options.out_dir)
    if options.model is None:
        (setting,) = table2.pairs([options.setting]) if options.setting else [None]
        model, name = best_echo(out, setting)
    elif not pathlib.Path(options.model).is_file():
        raise SystemExit(f"--model must be a .keras file. Received: {options.model}")
    else:
        model = keras.saving.load_model(options.model)
        name = pathlib.Path(options.model).stem
    dataset = factors.load(options.images, options.data_dir)
    rows = dataset.sample(options.drawn, np.random.RandomState(options.seed))
    encoder = metrics.representation(model)
    codes = metrics.map_batches(lambda part: encoder(dataset.images(part)), rows)
    path = out / f"{name}-figure4.png"
    out.mkdir(parents=True, exist_ok=True)
    plots.codes_by_factor(codes, dataset.factors(rows), dataset.factor_names, path)
    print(f"{path}: {name}, {len(rows):,} images of {dataset.name}")


main = Command(
    draw,
    [
        Option("model", None, "A saved model, .keras.", str),
        Option("setting", None, "A pair beta:gamma. Default: that of most MIG.", str),
        Option("images", "dsprites", "What it encodes.", str, factors.names()),
        Option("drawn", 100_000, "Images over which means are taken.", least=1),
        Option("seed", 0, "Seed of the images drawn.", least=0),
        Option("data_dir", None, "Folder with the data set's files.", str),
        Option("out_dir", "runs/table2", "Folder of the runs, and for the figure."),
    ],
)

if __name__ == "__main__":
    start(main)
