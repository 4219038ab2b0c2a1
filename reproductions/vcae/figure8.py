r"""Figure 8 of Variance Constrained Autoencoding: codes, and what a flow makes of them.

    python reproductions/vcae/figure8.py                       # digits
    python reproductions/vcae/figure8.py --dataset mnist --data_dir FOLDER

VCAE and cWAE with codes in the plane (App. B.2, C.4), then a flow fitted to each: where
the codes lie, and where the flow's inverse puts them, which should look like N(0, I).
The table says how far both clouds are from it, and how likely the flow finds codes that
it was not fitted to.
"""

import dataclasses

import keras
from vcae_paper import METHODS, PLANE, encode, second_stage, study

from echo_keras import metrics, plots
from echo_keras.studies import (
    Claim,
    Column,
    Script,
    Table,
    all_of,
    differ,
    mean,
    start,
)

POINTS = 5000


def clouds(model, dataset, config, folder):
    """Codes of test images, and where the flow's inverse puts them."""
    marginal = second_stage(model, dataset, config, folder)
    codes = encode(model, metrics.evenly_spaced(dataset.x_test, POINTS))
    return codes, keras.ops.convert_to_numpy(marginal.flow.inverse(codes)[0])


def distances(run):
    """How far from N(0, I) both clouds are."""
    codes, base = clouds(run.model, run.dataset, run.config, run.folder)
    return {
        "codes": metrics.aggregate_posterior(codes),
        "inverse": metrics.aggregate_posterior(base),
    }


STUDY = study(
    "vcae_figure8", PLANE, [("vcae", 1.0), ("cwae", 100.0)], ["epochs", "flow_epochs"]
)
# No images are generated, and so no network compares them.
STUDY = dataclasses.replace(
    STUDY,
    measures={k: f for k, f in STUDY.measures.items() if k != "fid"}
    | {"clouds": distances},
    prepare=None,
)


def nearer(runs):
    """Whether each flow's inverse brings codes nearer to N(0, I), by MMD."""
    said, agrees = [], []
    for run in runs:
        found = run["measures"]["clouds"]
        before, after = (
            (found[k]["mmd"], found[k]["mmd_se"]) for k in ("codes", "inverse")
        )
        said.append(
            f"{METHODS[run['config']['method']]} {before[0]:.4f} to {after[0]:.4f}"
        )
        agrees.append(differ(after, before))
    return "MMD " + ", ".join(said), all_of(agrees)


def of(cloud, name, form=".2f"):
    header = {"summed_variance": "sum of Var(z)", "mmd": "MMD to N(0, I)"}
    header["excess_kurtosis"] = "excess kurtosis"
    prefix = "" if cloud == "codes" else "flow's inverse: "
    return Column(
        prefix + header[name],
        lambda runs: mean(runs, f"measures.clouds.{cloud}.{name}"),
        form,
    )


TABLE = Table(
    STUDY,
    [
        Column("Model", lambda runs: METHODS[runs[0]["config"]["method"]]),
        Column("lambda", "config.weight", "g"),
        Column("Test error", "test.bank.distortion"),
        of("codes", "summed_variance"),
        of("codes", "mmd", ".4f"),
        of("codes", "excess_kurtosis"),
        of("inverse", "summed_variance"),
        of("inverse", "mmd", ".4f"),
        of("inverse", "excess_kurtosis"),
        Column("log p(z) of the flow, training", "measures.flow.train"),
        Column("test", "measures.flow.test"),
    ],
    title="Figure 8 of Variance Constrained Autoencoding",
    name="figure8",
    rows=("method", "weight", "seed"),
    note=f"Codes with noise of {POINTS:,} test images from all over their file, in the "
    "plane; squared error summed over pixels; log p(z) in nats per code, the noise "
    "drawn afresh.",
    claims=[Claim("the inverse of the flow is like N(0, I) (Fig. 8)", nearer)],
)


def draw(results):
    """Both clouds of each model, coloured by class."""
    dataset, panels = results.dataset, {}
    classes = dataset.y_test
    if classes is not None:
        classes = metrics.evenly_spaced(classes, POINTS)
    for config, model in results.models():
        folder = STUDY.folder(results.out, config)
        codes, base = clouds(model, dataset, config, folder)
        method = METHODS[config["method"]]
        panels[method] = codes, classes
        panels[f"{method}, inverse of the flow"] = base, classes
    if panels:
        plots.codes_in_plane(panels, results.path("figure8.png"))


main = Script(STUDY, [TABLE], draw, without=["runs", "noise", "compared"])

if __name__ == "__main__":
    start(main)
