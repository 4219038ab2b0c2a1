r"""Figure 1 of The Variational InfoMax Autoencoder: codes in the plane.

    python reproductions/vimae/figure1.py                       # digits
    python reproductions/vimae/figure1.py --dataset mnist --data_dir FOLDER

Five methods with three hidden layers of 256 units and codes of two dimensions (Sec.
5.1): where the codes of test images lie, and how far their law is from the method's
prior by MMD. Each run leaves one JSON record; a finished run is never run twice and an
interrupted one resumes.

The paper's beta, lambda and training here are taken to be those of MNIST elsewhere in
it.
"""

import vimae_paper
from absl import app, flags

from echo_keras import (
    experiments,
    image_experiments,
    metrics,
    networks,
    plots,
    wae_experiments,
)
from echo_keras.experiments import number
from echo_keras.losses import SquaredError
from echo_keras.studies import records

OUT_DIR = "runs/vimae_figure1"
PROTOCOL = {k: v for k, v in vimae_paper.PROTOCOL.items() if k != "filters"}
PROTOCOL["code"] = 2

FLAGS = flags.FLAGS


def main(argv):
    out, dataset = image_experiments.prepare(argv, OUT_DIR)
    own = {"epochs": 40, "batch_size": 50} if FLAGS.dataset == "digits" else {}
    configs = [
        {
            "dataset": FLAGS.dataset,
            "method": method,
            "seed": FLAGS.seed,
            "samples": FLAGS.samples,
            **image_experiments.chosen({**PROTOCOL, **own}),
        }
        for method in FLAGS.infomax
    ]
    runs = experiments.run_all(
        train_and_measure, out, configs, run_name, dataset.checksum
    )
    body = [
        [
            vimae_paper.METHODS[run["config"]["method"]],
            number(run["posterior"]["mmd"], ".4f"),
            number(run["posterior"]["summed_variance"]),
            number(run["posterior"]["excess_kurtosis"]),
            number(run["test"]["bank"]["distortion"]),
        ]
        for run in runs
    ]
    header = ["Method", "MMD to its prior", "sum of Var(z)", "excess kurtosis"]
    header += ["Test error"]
    text = "\n\n".join(
        [
            "# Figure 1 of The Variational InfoMax Autoencoder",
            f"## {dataset.name}: {experiments.reduction(configs[0], PROTOCOL)}",
            records.markdown(header, body),
            "Codes of test images, drawn from q(z|x); both priors have a summed "
            "variance of 2, and an excess kurtosis of 0 (normal) or 1.2 (logistic). "
            f"{wae_experiments.provenance(runs)}",
        ]
    )
    (out / "figure1.md").write_text(text + "\n")
    print(f"\n{text}\n")
    draw(out, dataset, runs)


def run_name(config):
    """A file name that tells runs apart."""
    return wae_experiments.run_name(config, PROTOCOL)


def train_and_measure(config, out, data_dir=None, tensorboard=False):
    """One run, from its configuration to its record. Resumes; writes no record."""

    def build(images, steps):
        shape = images.shape[1:]
        return vimae_paper.objective(
            config,
            networks.dense_encoder(shape),
            lambda units: networks.dense_decoder(units, shape),
        )

    def measure(model, dataset):
        z = metrics.encode(model, dataset.x_test)
        prior = vimae_paper.prior_of(config)
        return {"posterior": metrics.aggregate_posterior(z, prior)}

    record = image_experiments.train_and_measure(
        config,
        build,
        experiments.run_folder(out, run_name(config)),
        data_dir,
        tensorboard,
        echoes=["bank"],
        optimizer=vimae_paper.optimizer,
        loss=SquaredError(),
        measure=measure,
    )
    return {"experiment": "vimae_figure1", **record}


def draw(out, dataset, runs):
    """The codes of test images, a panel for each method."""
    x, classes = dataset.x_test[:5000], dataset.y_test
    classes = classes if classes is None else classes[:5000]
    panels = {}
    for run in runs:
        model = experiments.load_model(out, run_name(run["config"]))
        if model is not None:
            method = vimae_paper.METHODS[run["config"]["method"]]
            title = f"{method}\nMMD {run['posterior']['mmd']:.4f}"
            panels[title] = metrics.encode(model, x), classes
    if panels:
        plots.codes_in_plane(panels, out / f"{dataset.name}-figure1.png")


if __name__ == "__main__":
    app.run(main)
