r"""Figures 2, 3 and 5 of the Echo paper: rate-distortion curves.

    python reproductions/rate_distortion.py               # digits, on a CPU
    python reproductions/rate_distortion.py --dataset binary_mnist --data_dir FOLDER \
        --methods echo,vae,iaf-prior --runner ray --address auto

One model for each method and beta, by default at the paper's twenty betas (App. E).
From the records come a figure of rate against distortion, and rate_distortion.md:
the Pareto front of each method, and the area under it by which methods are ranked;
from the models, reconstructions at similar rates (each the mean of ten codes).
Records are those of table1.py: with the same --out_dir its models at beta 1 are used.
"""

import collections

import echo_paper
import numpy as np
from absl import app, flags
from echo_paper import label

from echo_keras import experiments, image_experiments, plots
from echo_keras.experiments import number
from echo_keras.layers import max_scale
from echo_keras.metrics.fronts import (
    area_under_front,
    common_interval,
    pareto_front,
)
from echo_keras.studies import records

PAPER_BETAS = [0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5]
PAPER_BETAS += [0.6, 0.7, 0.8, 0.9, 1, 1.5, 2, 3, 4, 6]

FLAGS = flags.FLAGS
flags.DEFINE_integer("shown", 4, "Rates at which reconstructions are shown.", 1)


def main(argv):
    out, dataset = echo_paper.prepare(argv)
    betas = sorted(experiments.numbers(FLAGS.betas) or PAPER_BETAS)
    if betas[0] == 0:
        raise app.UsageError("--betas: a curve needs numbers > 0, found 0.")
    configs = [
        echo_paper.configuration(method, seed, beta=beta)
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for beta in betas
        for method in echo_paper.methods()
    ]
    runs = echo_paper.run_all(out, dataset, configs)
    curves = collections.defaultdict(list)
    for run in runs:
        curves[label(run["config"])].append(run)
    name = (
        f"{dataset.name}-{image_experiments.protocol_name({**configs[0], 'beta': 1})}"
    )
    text = report(dataset, configs[0], curves)
    (out / f"{name}-rate_distortion.md").write_text(text)
    print(f"\n{text}")
    plots.rate_distortion(
        {method: points(of_method) for method, of_method in curves.items()},
        out / f"{name}-rate_distortion.png",
        min_rate=lowest_rate(configs),
    )
    draw_matched(out, dataset, curves, out / f"{name}-matched_rates.png")


def points(runs):
    """(rate, distortion) of each run, as the paper evaluates."""
    tests = [run["test"]["batch"] for run in runs]
    return [(test["rate"], test["distortion"]) for test in tests]


def lowest_rate(configs):
    for config in configs:
        if config["method"] == "echo":
            return -echo_paper.CODE * np.log(max_scale(config["d_max"]))
    return None


def report(dataset, config, curves):
    """Every model, its place on the front, and the methods ranked by area."""
    protocol = {k: v for k, v in config.items() if k != "beta"}
    sections = [
        f"# Rate and distortion: {dataset.name}, {echo_paper.reduction(protocol)}",
        "Nats per test image; echoes from the other images of the test batch.",
    ]
    low, high = common_interval({m: points(runs) for m, runs in curves.items()})
    if low < high:
        areas = {
            method: area_under_front(*np.transpose(points(runs)), low, high)
            for method, runs in curves.items()
        }
        body = [
            [method, number(areas[method], ".1f"), number(areas[method] / (high - low))]
            for method in sorted(areas, key=areas.get)
        ]
        header = ["Method", "area under the front", "mean distortion"]
        sections += [
            f"Rates from {low:.2f} to {high:.2f}, which all methods reach; smaller is "
            "better. The lower convex hull of each front counts.",
            records.markdown(header, body),
        ]
    else:
        sections.append("The methods' rates do not overlap: no common area.")
    body = []
    for method, runs in curves.items():
        front = set(pareto_front(*np.transpose(points(runs))))
        for i, run in enumerate(runs):
            test = run["test"]["batch"]
            cells = [number(test[k]) for k in ("rate", "distortion", "neg_elbo")]
            beta, seed = run["config"]["beta"], run["config"]["seed"]
            body.append(
                [method, f"{beta:g}", seed, *cells, "yes" if i in front else "no"]
            )
    header = ["Method", "beta", "seed", "Rate", "Dist", "-ELBO", "on the front"]
    sections.append(records.markdown(header, body))
    return "\n\n".join(sections) + "\n"


def draw_matched(out, dataset, curves, path):
    """Reconstructions at similar rates, by each method's model with the nearest."""
    low, high = common_interval({m: points(runs) for m, runs in curves.items()})
    images = image_experiments.twelve(dataset)
    rows = {"input": images}
    for target in np.linspace(low, high, FLAGS.shown):
        for method, runs in curves.items():
            run = min(runs, key=lambda r: abs(r["test"]["batch"]["rate"] - target))
            model = echo_paper.load_model(out, run["config"])
            if model is not None:
                rate = run["test"]["batch"]["rate"]
                text = f"{method}, {rate:.1f} nats"
                rows[text] = plots.mean_reconstruction(model, images)
    if len(rows) > 1:
        plots.image_rows(rows, path)


if __name__ == "__main__":
    app.run(main)
