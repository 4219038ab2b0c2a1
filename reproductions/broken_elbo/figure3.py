r"""Figures 3 and 7 of Fixing a Broken ELBO: families in the rate-distortion plane.

    python reproductions/broken_elbo/figure3.py                 # digits
    python reproductions/broken_elbo/figure3.py --dataset omniglot --data_dir FOLDER \
        --families=all --betas=.1,.5,.9,1,1.1 --annealing=100

Trains every family of --families at every beta (or --targets: D + |target - R|), by the
paper's protocol or a short one on the embedded `digits`. Each run leaves one JSON
record; a finished run is never run twice and an interrupted one resumes. From all
records of the data set in --out_dir, of this call and earlier ones, come figure3.md
with every run, the phase diagram (R against D, and R against R + D), and the fronts by
encoder, decoder and marginal. On Omniglot the paper's figure has the number 7.
"""

import collections
import json

import families
import numpy as np
from absl import app, flags

from echo_keras import experiments, plots
from echo_keras.experiments import number
from echo_keras.image_experiments import protocol_name
from echo_keras.metrics.fronts import entropy_bound, pareto_front
from echo_keras.studies import records

PAPER_BETAS = [0.1, 0.15, 0.5, 0.9, 1.0, 1.1, 2.0, 10.0]
# The numbers that the paper's text gives, (rate, distortion) by data, family and beta,
# of test images after 200 epochs with annealing; and its lowest -ELBO.
PAPER = {
    ("binary_mnist", "-+v", 0.1): (156, 4.8),
    ("binary_mnist", "-+v", 0.15): (120.3, 8.1),
    ("binary_mnist", "-+v", 1.0): (6.2, 74.1),
    ("binary_mnist", "-+v", 1.1): (0.0004, 80.6),
    ("omniglot", "+-+", 1.0): (0.77, 89.60),
}
PAPER_ENTROPY = {"binary_mnist": 80.2, "omniglot": 90.37}
OF_FAMILIES = ("features", "pseudo_inputs")

FLAGS = flags.FLAGS


def main(argv):
    out, dataset = families.prepare(argv)
    configs = families.configurations(experiments.numbers(FLAGS.betas) or PAPER_BETAS)
    try:
        families.run_all(out, dataset, configs)
    finally:  # what is finished is worth a figure, whatever failed
        for name, runs in by_protocol(records.read(out), dataset.name).items():
            text = report(dataset.name, runs)
            (out / f"{name}-figure3.md").write_text(text)
            print(f"\n{text}")
            draw(runs, out, name)


def by_protocol(runs, dataset):
    """The runs on a data set, grouped by the protocol that they share."""
    groups = collections.defaultdict(list)
    for run in sorted(runs, key=order):
        config = run["config"]
        if config["dataset"] == dataset:
            # What only some families have does not part them.
            shared = {k: config[k] for k in families.PROTOCOL if k not in OF_FAMILIES}
            groups[json.dumps(shared)].append(run)
    return {
        f"{dataset}-{protocol_name({**runs[0]['config'], 'beta': 1})}": runs
        for runs in groups.values()
    }


def order(run):
    """By family, targets after betas."""
    config = run["config"]
    family = families.FAMILIES.index(config["family"])
    by_target = config["beta"] is None
    objective = config["target"] if by_target else config["beta"]
    return family, by_target, objective, config["annealing"], config["seed"]


def report(dataset, runs):
    """Every run, its bounds on the information, its place on the front, its kind."""
    points = np.array([families.point(run) for run in runs])
    entropy = entropy_bound(*points.T)
    front = set(pareto_front(*points.T))
    body = []
    for i, (run, (rate, distortion)) in enumerate(zip(runs, points, strict=True)):
        config = run["config"]
        theirs = PAPER.get((dataset, config["family"], config["beta"]), (None, None))
        body.append(
            [
                families.label(config),
                config["seed"],
                number(rate),
                number(distortion),
                number(rate + distortion),
                number(entropy - distortion),
                families.category(rate, distortion),
                "yes" if i in front else "no",
                number(run["parameters"] / 1e6),
                *(number(x, "g") for x in theirs),
            ]
        )
    header = ["Family, objective", "seed", "Rate", "Dist", "-ELBO", "H - Dist", "kind"]
    header += ["on the front", "Params (M)", "paper's Rate", "Dist"]
    devices = {f"{run['device']}, {run['versions']['backend']}" for run in runs}
    configs = [run["config"] for run in runs]
    theirs = PAPER_ENTROPY.get(dataset)
    beside = f" (paper: {theirs})" if theirs else ""
    figure = 7 if dataset == "omniglot" else 3
    sections = [
        f"# Figure {figure} of Fixing a Broken ELBO",
        f"## {dataset}: {families.reduction(configs)}",
        records.markdown(header, body),
        "Nats per test image. A family is encoder, decoder, marginal: - simple, + IAF, "
        "PixelCNN++ or MAF, v VampPrior, e the Echo channel. H, the lowest -ELBO of "
        f"these runs, {entropy:.2f}{beside}, is an upper bound of the data's entropy; "
        "H - Dist <= I(X; Z) <= Rate as far as H is the entropy. Kinds: autodecoder, a "
        "rate below 1 nat; semantic encoder, up to 20 % of the -ELBO in the rate; "
        "autoencoder, more than 95 %; syntactic encoder, what is between. Data: "
        f"{runs[0]['data']['description']}. Device: {' and '.join(sorted(devices))}.",
    ]
    return "\n\n".join(sections) + "\n"


def draw(runs, out, name):
    """The phase diagram of all families, and the fronts by each of their parts."""
    plots.phase_diagram(by(str, runs), out / f"{name}-figure3.png", skew=True)
    for i, part in enumerate(("encoder", "decoder", "marginal")):
        curves = by(lambda family, i=i: families.parts(family)[i], runs)
        plots.phase_diagram(curves, out / f"{name}-by_{part}.png", fronts="each")


def by(of_family, runs):
    """The points of runs, grouped by something that their family has."""
    groups = collections.defaultdict(list)
    for run in runs:
        groups[of_family(run["config"]["family"])].append(families.point(run))
    return groups


if __name__ == "__main__":
    app.run(main)
