"""Figure 7 of the Echo paper: f(x) against S(x), sorted by likelihood.

    python reproductions/figure7.py                                  # digits
    python reproductions/figure7.py --dataset omniglot --data_dir FOLDER

For each test image: its pointwise information -sum_j log s_j(x), the norm of f(x), and
log p(x|z), by which images are sorted (App. D.3). Rank correlations go to a table.
"""

import dataclasses

import echo_paper
import numpy as np
from scipy import stats

from echo_keras import metrics, plots
from echo_keras.studies import Claim, Option, Script, markdown, start

STUDY = dataclasses.replace(echo_paper.STUDY, vary={"method": ["echo"]})


def draw(results):
    models = list(results.models())
    if not models:
        raise SystemExit("Figure 7 needs the model: choose another --out_dir.")
    ((config, model),) = models
    x, codes = results.dataset.x_test, results.options.codes
    information, distortion = metrics.per_example(model, x, samples=codes)
    features = model.get_layer("encoder").predict(x, verbose=0)
    f = np.asarray(model.get_layer("bottleneck").encode(features)[0])
    standardized = (f - f.mean(axis=0)) / f.std(axis=0)
    values = {
        "pointwise information": information,
        "norm of f": np.linalg.norm(f, axis=1),
        # Dimensions differ in scale and place, which the rate does not see.
        "norm of f, standardised": np.linalg.norm(standardized, axis=1),
    }
    shown = {name: values[name] for name in list(values)[:2]}
    plots.sorted_by(-distortion, shown, "log p(x|z)", results.path("figure7.png"))
    body, correlations = [], []
    for name, found in values.items():
        test = stats.spearmanr(found, -distortion)
        correlations.append((test.statistic, test.pvalue))
        chance = f"{test.pvalue:.2g}" if test.pvalue else "< 1e-300"
        body.append([name, f"{test.statistic:.2f}", chance])
    (rank, p_value), *_ = correlations
    claim = Claim(
        "Echo has higher mutual information on examples where the likelihood is high "
        "(App. D.3)",
        lambda _: (
            f"rank correlation {rank:.2f}, information from {information.min():.1f} to "
            f"{information.max():.1f} nats",
            # Of thousands of images every correlation is significant.
            rank > 0 if p_value < 0.05 and abs(rank) > 0.1 else None,
        ),
    )
    header = ["", "rank correlation with the log-likelihood", "p-value"]
    text = (
        f"# Figure 7: {config['dataset']}, {STUDY.deviations(config)}\n\n"
        f"{markdown(header, body)}\n\nSpearman's, over {len(x)} test images; log "
        f"p(x|z) is the mean over {codes} codes of each.\n\n- {claim.line([])}\n"
    )
    results.path("figure7.md").write_text(text)
    print(f"\n{text}")


main = Script(
    STUDY,
    draw=draw,
    options=[Option("codes", 10, "Codes of each test image.", least=1)],
    without=["runs", "methods", "variant"],
)

if __name__ == "__main__":
    start(main)
