"""Figure 6 of the Echo paper: marginal activations q(z_j), dimension by dimension.

    python reproductions/figure6.py                                  # digits
    python reproductions/figure6.py --dataset omniglot --data_dir FOLDER

Shown are thirteen dimensions of each method: the nine with the highest rates, three
with low rates, and the one with the lowest. Densities by Gaussian kernels with Scott's
rule, from several codes of each test image (App. D.2; the paper takes 2,000 each).
Anderson-Darling statistics of all dimensions go to a table, at two sample sizes: with
enough points the test rejects any law that is not exactly Gaussian.
"""

import warnings

import echo_paper
import numpy as np
from absl import app, flags
from echo_paper import label
from matplotlib import figure as mpl
from scipy import stats

from echo_keras import image_experiments
from echo_keras.experiments import number
from echo_keras.studies import records

TESTED = (200, 5000)

FLAGS = flags.FLAGS


def main(argv):
    out, dataset = echo_paper.prepare(argv)
    configs = [echo_paper.configuration(m, FLAGS.seed) for m in echo_paper.methods()]
    echo_paper.run_all(out, dataset, configs)
    panels, body = {}, []
    for config in configs:
        model = echo_paper.load_model(out, config)
        if model is None:
            continue
        codes, rates = activations(model, dataset.x_test, FLAGS.codes)
        chosen = choice(rates)
        panels[label(config)] = codes[:, chosen], rates[chosen]
        body.append([label(config), *normality(codes, FLAGS.seed)])
    name = f"{dataset.name}-{image_experiments.protocol_name(configs[0])}-figure6"
    draw(panels, out / f"{name}.png")
    text = report(dataset.name, configs[0], body)
    (out / f"{name}.md").write_text(text)
    print(f"\n{text}")


def activations(model, images, codes):
    """Codes of the images (n codes, d), and the rate of each dimension in nats."""
    features = model.get_layer("encoder").predict(images, verbose=0)
    bottleneck = model.get_layer("bottleneck")
    drawn = [np.asarray(bottleneck(features)) for _ in range(codes)]
    return np.concatenate(drawn), np.mean(
        bottleneck.rate_by_dimension(features), axis=0
    )


def choice(rates):
    """Nine dimensions of the highest rates, the lowest, and three that are low."""
    order = np.argsort(rates)[::-1]
    return np.concatenate([order[:9], order[-4:]])


def normality(codes, seed):
    """How many dimensions the Anderson-Darling test rejects at 5 %, and statistics."""
    cells = []
    rng = np.random.default_rng(seed)
    for n in TESTED:
        rows = codes[rng.choice(len(codes), min(n, len(codes)), replace=False)]
        statistic, critical = [], None
        for column in rows.T:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                test = stats.anderson(column, "norm")
            statistic.append(test.statistic)
            critical = test.critical_values[list(test.significance_level).index(5.0)]
        rejected = int(np.sum(np.array(statistic) > critical))
        cells += [f"{rejected} of {len(statistic)}", number(np.median(statistic))]
    return cells


def report(dataset, config, body):
    header = ["Method"]
    for n in TESTED:
        header += [f"rejected at 5 %, n = {n}", "median statistic"]
    return (
        f"# Figure 6: marginal activations, {dataset}, "
        f"{echo_paper.reduction(config)}\n\n"
        f"{records.markdown(header, body)}\n\n"
        "Anderson-Darling test of each dimension against Gaussians.\n"
    )


def draw(panels, path):
    figure = mpl.Figure((6.2 * len(panels), 4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    rng = np.random.default_rng(0)
    for cell, (title, (codes, rates)) in zip(axes, panels.items(), strict=True):
        # The estimate's cost grows with its points, its shape hardly changes.
        rows = codes[rng.choice(len(codes), min(20000, len(codes)), replace=False)]
        grid = np.linspace(*np.quantile(rows, [0.0005, 0.9995]), 300)
        for column, rate in zip(rows.T, rates, strict=True):
            density = stats.gaussian_kde(column, bw_method="scott")
            cell.plot(grid, density(grid), lw=1, label=f"{rate:.2f} nats")
        cell.set(title=title, xlabel="z_j", ylabel="density")
        cell.legend(fontsize=6, ncols=2)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    app.run(main)
