r"""Figure 8 of Variance Constrained Autoencoding: codes, and what a flow makes of them.

    python reproductions/vcae/figure8.py                       # digits
    python reproductions/vcae/figure8.py --dataset mnist --data_dir FOLDER

VCAE and cWAE with codes in the plane (App. B.2, C.4), then a flow fitted to each: where
the codes lie, and where the flow's inverse puts them, which should look like N(0, I).
The figure comes with figure8.md, which says how far both clouds are from it.
"""

import keras
from vcae_paper import METHODS, PLANE, encode, second_stage, study

from echo_keras import metrics, plots
from echo_keras.studies import Script, markdown, records, start

STUDY = study(
    "vcae_figure8", PLANE, [("vcae", 1.0), ("cwae", 100.0)], ["epochs", "flow_epochs"]
)


def draw(results):
    dataset, panels, body = results.dataset, {}, []
    x, classes = dataset.x_test[:5000], dataset.y_test
    classes = None if classes is None else classes[:5000]
    for config, model in results.models():
        folder = STUDY.folder(results.out, config)
        marginal = second_stage(model, dataset, config, folder)
        codes = encode(model, x)
        base = keras.ops.convert_to_numpy(marginal.flow.inverse(codes)[0])
        method = METHODS[config["method"]]
        for title, z in ((method, codes), (f"{method}, inverse of the flow", base)):
            panels[title] = z, classes
            found = metrics.aggregate_posterior(z).values()
            body.append([title, *(f"{value:.4f}" for value in found)])
    if not panels:
        return
    plots.codes_in_plane(panels, results.path("figure8.png"))
    header = ["Codes of test images", "sum of Var(z)", "MMD to N(0, I)"]
    text = (
        "# Figure 8 of Variance Constrained Autoencoding\n\n"
        f"## {dataset.name}: {STUDY.deviations(results.configs[0], ['noise'])}\n\n"
        f"{markdown([*header, 'excess kurtosis'], body)}\n\n"
        f"{records.provenance(results.runs)}\n"
    )
    (results.out / "figure8.md").write_text(text)
    print(f"\n{text}")


main = Script(STUDY, draw=draw, without=["runs", "noise"])

if __name__ == "__main__":
    start(main)
