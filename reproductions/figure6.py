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

import numpy as np
from echo_paper import STUDY, label
from scipy import stats

from echo_keras import plots
from echo_keras.studies import Claim, Option, Script, markdown, start

TESTED = (200, 5000)
CLAIM = (
    "the Anderson-Darling test rejects Gaussian marginals for no dimension of Echo "
    "(App. D.2)"
)


def activations(model, images, codes):
    """Codes of the images (n codes, d), and the rate of each dimension in nats."""
    features = model.get_layer("encoder").predict(images, verbose=0)
    bottleneck = model.get_layer("bottleneck")
    # As the channel gives them: means and variances of dimensions differ there.
    inputs = bottleneck.encode(features)
    # Codes may be of half precision, in which means of thousands of them are wrong.
    drawn = [np.float32(bottleneck.channel(inputs)) for _ in range(codes)]
    rates = np.mean(bottleneck.rate_by_dimension(features), axis=0)
    return np.concatenate(drawn), rates


def choose(rates):
    """Nine dimensions of the highest rates, the lowest, and three that are low."""
    order = np.argsort(rates)[::-1]
    return np.concatenate([order[:9], order[-4:]])


def normality(codes, seed):
    """How many dimensions the Anderson-Darling test rejects at 5 %, and statistics."""
    counts, cells = [], []
    rng = np.random.default_rng(seed)
    for n in TESTED:
        rows = codes[rng.choice(len(codes), min(n, len(codes)), replace=False)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            tests = [stats.anderson(column, "norm") for column in rows.T]
        at = list(tests[0].significance_level).index(5.0)
        rejected = sum(test.statistic > test.critical_values[at] for test in tests)
        median = np.median([test.statistic for test in tests])
        counts.append(int(rejected))
        cells += [f"{rejected} of {len(tests)}", f"{median:.2f}"]
    return counts, cells


def draw(results):
    panels, body, said = {}, [], []
    for config, model in results.models():
        images, codes = results.dataset.x_test, results.options.codes
        z, rates = activations(model, images, codes)
        shown = choose(rates)
        panels[label(config)] = z[:, shown], rates[shown]
        counts, cells = normality(z, results.options.seed)
        body.append([label(config), *cells])
        if config["method"] == "echo":
            here = f"of {z.shape[1]} dimensions {counts[0]} at n = {TESTED[0]} and "
            here += f"{counts[1]} at n = {TESTED[1]}"
            claim = Claim(CLAIM, lambda _, c=counts, h=here: (h, not any(c)))
            said.append(f"- {claim.line([])}\n")
    plots.marginal_densities(panels, results.path("figure6.png"))
    header = ["Method"]
    for n in TESTED:
        header += [f"rejected at 5 %, n = {n}", "median statistic"]
    text = (
        f"# Figure 6: marginal activations, {results.configs[0]['dataset']}, "
        f"{STUDY.deviations(results.configs[0])}\n\n{markdown(header, body)}\n\n"
        "Anderson-Darling test of each dimension against Gaussians.\n\n"
    ) + "".join(said)
    results.path("figure6.md").write_text(text)
    print(f"\n{text}")


main = Script(
    STUDY,
    draw=draw,
    options=[Option("codes", 10, "Codes of each test image.", least=1)],
    defaults={"methods": ["echo", "vae"]},
    without=["runs"],
)

if __name__ == "__main__":
    start(main)
