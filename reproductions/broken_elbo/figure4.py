r"""Figures 4 to 6, 8 and 9 of Fixing a Broken ELBO: what the models of Figure 3 draw.

    python reproductions/broken_elbo/figure4.py --show=sweep --family=-+v
    python reproductions/broken_elbo/figure4.py --show=families     # all at beta 1
    python reproductions/broken_elbo/figure4.py --show=frontier     # the best of all

Shows models that figure3.py left in --out_dir: a family at each beta (Fig. 4 a, b; 8 on
Omniglot), each family at beta 1 (Fig. 4 c, 5), or the Pareto front (Fig. 4 d, 6; 9 on
Omniglot). Two pictures: reconstructions, z ~ e(z|x), and generations, z ~ m(z), with
x ~ d(x|z): an image drawn from each z, and the mean of several.
"""

import pathlib

import keras
import numpy as np
from broken_elbo_paper import DATASETS, FAMILIES, POINT, STUDY, has_code, kind, label

from echo_keras import metrics, plots
from echo_keras.layers import PixelCNN
from echo_keras.layers.backend import no_gradients
from echo_keras.studies import Command, Option, start
from echo_keras.studies.records import get, read
from echo_keras.studies.script import COMMON


def point(run):
    return [get(run, path) for path in POINT]


def select_runs(options):
    """The records that --show asks for, by increasing rate."""
    runs = read(options.out_dir)
    runs = [run for run in runs if run["config"]["dataset"] == options.dataset]
    if options.show == "sweep":
        runs = [run for run in runs if run["config"]["family"] == options.family]
    elif options.show == "families":
        runs = [run for run in runs if run["config"].get("beta") == 1]
    elif runs := [run for run in runs if run["config"]["family"] != "+"]:
        front = metrics.pareto_front(*np.transpose([point(run) for run in runs]))
        runs = [runs[i] for i in front]
    return sorted(runs, key=point)


def codes(model, x):
    """Codes of the images, and as many from the marginal; None without a code."""
    if not has_code(model):
        return {"reconstructions": None, "generations": None}
    bottleneck = model.get_layer("bottleneck")
    encoded = keras.Model(model.input, bottleneck.output)(x, training=False)
    return {"reconstructions": encoded, "generations": bottleneck.sample(len(x))}


def draw(model, z, n):
    """n binary images: one from d(x|z) for each code z, NumPy (n, 28, 28, 1)."""
    decoder = model.get_layer("decoder")
    if z is None:
        return decoder.sample(n=n)
    names = [layer.name for layer in model.layers]
    # A flow, if there is one.
    for layer in model.layers[names.index("bottleneck") + 1 : names.index("decoder")]:
        z = layer(z)
    if isinstance(decoder, PixelCNN):
        return decoder.sample(z)
    logits = decoder(z, training=False)
    images = model.loss.sample(logits)
    return keras.ops.convert_to_numpy(images)


def show(options):
    runs = select_runs(options)
    if not runs:
        raise SystemExit(
            f"{options.out_dir} must hold what --show={options.show} shows of "
            f"{options.dataset}. Received: no such record. figure3.py makes them."
        )
    out, many = pathlib.Path(options.out_dir), options.averaged
    dataset = STUDY.load(runs[0]["config"], options.data_dir)
    x = metrics.evenly_spaced(dataset.x_test, 12)
    pictures = {"reconstructions": {"data": x}, "generations": {}}
    tested = {STUDY.run_name(run["config"]): run for run in runs}
    for config, model in STUDY.models(out, [run["config"] for run in runs]):
        run = tested[STUDY.run_name(config)]
        rate, distortion = point(run)
        numbers = f"R {rate:.1f}, D {distortion:.1f}: {kind([run])}"
        with no_gradients():
            for name, z in codes(model, x).items():
                drawn = [draw(model, z, len(x)) for _ in range(many)]
                pictures[name][f"{label(config)}\n{numbers}"] = drawn[0]
                mean = f"{label(config)}: mean of {many}"
                pictures[name][mean] = np.mean(drawn, axis=0)
    which = options.family if options.show == "sweep" else options.show
    for name, rows in pictures.items():
        if len(rows) > 1:
            path = out / f"{options.dataset}-figure4-{which}-{name}.png"
            plots.image_rows(rows, path)


KINDS = ["sweep", "families", "frontier"]
OPTIONS = [
    Option("dataset", "digits", "Data set.", choices=DATASETS),
    Option("show", "sweep", "Which models.", choices=KINDS),
    Option("family", "-+v", "The family of --show=sweep.", choices=FAMILIES),
    Option(
        "averaged", 5, "Images drawn from a code, of which the mean shows.", least=1
    ),
    Option("out_dir", "runs/broken_elbo", "Folder of figure3.py's records."),
    COMMON[1],  # data_dir
]
main = Command(show, OPTIONS)

if __name__ == "__main__":
    start(main)
