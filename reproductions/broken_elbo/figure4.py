r"""Figures 4 to 6, 8 and 9 of Fixing a Broken ELBO: what the models of Figure 3 draw.

    python reproductions/broken_elbo/figure4.py --show=sweep --family=-+v
    python reproductions/broken_elbo/figure4.py --show=families     # all at beta 1
    python reproductions/broken_elbo/figure4.py --show=frontier     # the best of all

Takes the records and models that figure3.py left in --out_dir: a family at each beta
(Fig. 4 a, b; 8 on Omniglot), each family at beta 1 (Fig. 4 c, 5), or the runs on the
Pareto front (Fig. 4 d, 6; 9 on Omniglot). Two pictures: reconstructions of test images,
z ~ e(z|x) and x ~ d(x|z), and generations, z ~ m(z) and x ~ d(x|z). For each model one
image drawn from each z, and the mean of five; its rate, its distortion, and the kind of
encoder that it is by the rule of `families.category`.
"""

import families
import keras
import numpy as np
from absl import app, flags

from echo_keras import image_experiments, metrics, plots
from echo_keras.layers import PixelCNN
from echo_keras.losses import Bernoulli
from echo_keras.metrics.fronts import pareto_front
from echo_keras.studies import records

FLAGS = flags.FLAGS
flags.DEFINE_enum("show", "sweep", ["sweep", "families", "frontier"], "Which models.")
flags.DEFINE_string("family", "-+v", "The family of --show=sweep.")
flags.DEFINE_integer(
    "averaged", 5, "Images drawn from a code, of which the mean shows.", 1
)


def main(argv):
    out, dataset = families.prepare(argv)
    runs = [r for r in records.read(out) if r["config"]["dataset"] == dataset.name]
    runs = chosen(runs)
    if not runs:
        raise app.UsageError(
            f"no record in {out} is what --show={FLAGS.show} shows of {dataset.name}; "
            "figure3.py makes them."
        )
    x = image_experiments.twelve(dataset)
    pictures = {"reconstructions": {"data": x}, "generations": {}}
    for run in runs:
        model = families.load_model(out, run["config"])
        if model is None:
            continue
        rate, distortion = families.point(run)
        text = (
            f"{families.label(run['config'])}\nR {rate:.1f}, D {distortion:.1f}: "
            f"{families.category(rate, distortion)}"
        )
        for name, z in codes(model, x).items():
            drawn = [draw(model, z, len(x)) for _ in range(FLAGS.averaged)]
            pictures[name][text] = drawn[0]
            mean = f"{families.label(run['config'])}: mean of {FLAGS.averaged}"
            pictures[name][mean] = np.mean(drawn, axis=0)
    which = FLAGS.family if FLAGS.show == "sweep" else FLAGS.show
    for name, rows in pictures.items():
        if len(rows) > 1:
            plots.image_rows(rows, out / f"{dataset.name}-figure4-{which}-{name}.png")


def chosen(runs):
    """The records that --show asks for, by increasing rate."""
    if FLAGS.show == "sweep":
        runs = [r for r in runs if r["config"]["family"] == FLAGS.family]
    elif FLAGS.show == "families":
        runs = [r for r in runs if r["config"]["beta"] == 1]
    elif runs:
        front = pareto_front(*np.transpose([families.point(r) for r in runs]))
        runs = [runs[i] for i in front]
    return sorted(runs, key=families.point)


def codes(model, x):
    """Codes of the images, and as many from the marginal; None without a code."""
    if "bottleneck" not in [layer.name for layer in model.layers]:
        return {"reconstructions": None, "generations": None}
    bottleneck = model.get_layer("bottleneck")
    with metrics.no_gradients():
        encoded = keras.Model(model.input, bottleneck.output)(x, training=False)
        return {"reconstructions": encoded, "generations": bottleneck.sample(len(x))}


def draw(model, z, n):
    """n binary images: one from d(x|z) for each code z, NumPy (n, 28, 28, 1)."""
    decoder = model.get_layer("decoder")
    if z is None:
        return decoder.sample(n=n)
    names = [layer.name for layer in model.layers]
    between = model.layers[names.index("bottleneck") + 1 : names.index("decoder")]
    with metrics.no_gradients():
        for layer in between:  # a flow, if there is one
            z = layer(z)
        if isinstance(decoder, PixelCNN):
            return decoder.sample(z)
        logits = decoder(z, training=False)
        images = Bernoulli().sample(logits, keras.random.SeedGenerator())
    return keras.ops.convert_to_numpy(images)


if __name__ == "__main__":
    app.run(main)
