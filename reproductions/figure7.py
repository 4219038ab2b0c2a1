"""Figure 7 of the Echo paper: f(x) against S(x), sorted by likelihood.

    python reproductions/figure7.py                                  # digits
    python reproductions/figure7.py --dataset omniglot --data_dir FOLDER

For each test image: its pointwise information -sum_j log s_j(x), the norm of f(x), and
log p(x|z), by which images are sorted (App. D.3). Rank correlations go to a table.
"""

import echo_paper
import numpy as np
from absl import app, flags
from matplotlib import figure as mpl
from scipy import stats

from echo_keras import image_experiments, metrics
from echo_keras.experiments import number
from echo_keras.studies import records

FLAGS = flags.FLAGS


def main(argv):
    out, dataset = echo_paper.prepare(argv)
    config = echo_paper.configuration("echo", FLAGS.seed)
    echo_paper.run_all(out, dataset, [config])
    model = echo_paper.load_model(out, config)
    if model is None:
        raise app.UsageError("Figure 7 needs the model: choose another --out_dir.")
    information, distortion = metrics.per_example(
        model, dataset.x_test, samples=FLAGS.codes
    )
    features = model.get_layer("encoder").predict(dataset.x_test, verbose=0)
    f = np.asarray(model.get_layer("bottleneck").encode(features)[0])
    norms = {
        "norm of f": np.linalg.norm(f, axis=1),
        # Dimensions differ in scale and place, which the rate does not see.
        "norm of f, standardised": np.linalg.norm(
            (f - f.mean(axis=0)) / f.std(axis=0), axis=1
        ),
    }
    name = f"{dataset.name}-{image_experiments.protocol_name(config)}-figure7"
    draw(-distortion, information, norms, out / f"{name}.png")
    correlations = {
        title: stats.spearmanr(values, -distortion)
        for title, values in {"pointwise information": information, **norms}.items()
    }
    body = [
        [
            title,
            number(correlation.statistic),
            f"{correlation.pvalue:.2g}" if correlation.pvalue else "< 1e-300",
        ]
        for title, correlation in correlations.items()
    ]
    header = ["", "rank correlation with the log-likelihood", "p-value"]
    text = (
        f"# Figure 7: {dataset.name}, {echo_paper.reduction(config)}\n\n"
        f"{records.markdown(header, body)}\n\n"
        f"Spearman's, over {len(distortion)} test images; log p(x|z) is the mean over "
        f"{FLAGS.codes} codes of each.\n"
    )
    (out / f"{name}.md").write_text(text)
    print(f"\n{text}")


def draw(likelihood, information, norms, path):
    order = np.argsort(likelihood)
    figure = mpl.Figure((9, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    window = max(1, len(order) // 50)
    smooth = np.ones(window) / window
    panels = {"pointwise information (nats)": information, **norms}
    del panels["norm of f, standardised"]
    for cell, (title, values) in zip(axes, panels.items(), strict=True):
        cell.plot(values[order], ",", color="C0", alpha=0.5)
        running = np.convolve(values[order], smooth, mode="valid")
        cell.plot(np.arange(len(running)) + window / 2, running, color="C1")
        cell.set(xlabel="test images, sorted by log p(x|z)", title=title)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    app.run(main)
