r"""Figure 8 of Variance Constrained Autoencoding: codes, and what a flow makes of them.

    python reproductions/vcae/figure8.py                       # digits
    python reproductions/vcae/figure8.py --dataset mnist --data_dir FOLDER

VCAE and cWAE with codes in the plane (App. B.2 and C.4), then a flow fitted to each:
where the codes lie, and where the flow's inverse puts them, which should look like N(0,
I). Each run leaves one JSON record; a finished run is never run twice and an
interrupted one resumes. The figure comes with figure8.md, which says how far both
clouds are from a standard normal.
"""

import keras
import vcae_paper
from absl import app, flags

from echo_keras import experiments, image_experiments, metrics, plots, wae_experiments
from echo_keras.experiments import number
from echo_keras.studies import records

OUT_DIR = "runs/vcae_figure8"
WEIGHTS = {"vcae": 1.0, "cwae": 100.0}

FLAGS = flags.FLAGS


def main(argv):
    out, dataset = image_experiments.prepare(argv, OUT_DIR)
    configs = [
        vcae_paper.configuration(method, FLAGS.seed, vcae_paper.PLANE, weight)
        for method, weight in WEIGHTS.items()
    ]
    runs = vcae_paper.run_all(out, dataset, configs)
    x, classes = dataset.x_test[:5000], dataset.y_test
    classes = classes if classes is None else classes[:5000]
    panels, body = {}, []
    for config in configs:
        model = vcae_paper.load_model(out, config)
        if model is None:
            continue
        folder = experiments.run_folder(out, vcae_paper.run_name(config))
        marginal = vcae_paper.second_stage(model, dataset, config, folder)
        codes = metrics.encode(model, x)
        with metrics.no_gradients():
            base = keras.ops.convert_to_numpy(marginal.flow.inverse(codes)[0])
        method = vcae_paper.METHODS[config["method"]]
        for title, z in ((method, codes), (f"{method}, inverse of the flow", base)):
            panels[title] = z, classes
            found = metrics.aggregate_posterior(z)
            body.append([title, *(number(x, ".4f") for x in found.values())])
    if not panels:
        return
    plots.codes_in_plane(panels, out / f"{dataset.name}-figure8.png")
    header = ["Codes of test images", "sum of Var(z)", "MMD to N(0, I)"]
    header += ["excess kurtosis"]
    reduction = experiments.reduction(
        configs[0], {**vcae_paper.PLANE, **vcae_paper.UNKNOWN}
    )
    text = "\n\n".join(
        [
            "# Figure 8 of Variance Constrained Autoencoding",
            f"## {dataset.name}: {reduction}",
            records.markdown(header, body),
            wae_experiments.provenance(runs),
        ]
    )
    (out / "figure8.md").write_text(text + "\n")
    print(f"\n{text}\n")


if __name__ == "__main__":
    app.run(main)
