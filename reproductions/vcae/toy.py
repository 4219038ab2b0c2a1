r"""Section 6.1 of Variance Constrained Autoencoding: two toys, Figures 2 and 5.

    python reproductions/vcae/toy.py                                   # the mixture
    python reproductions/vcae/toy.py --toy images --dataset mnist --data_dir FOLDER

A mixture of four Gaussians in the plane, which a linear map carries into 100
dimensions, or images; codes have two dimensions and noise of fixed variance. VCAE fixes
the code's variance, cWAE its law. Each run leaves one JSON record; a finished run is
never run twice and an interrupted one resumes. From the records come toy.md, the codes
(Fig. 2) and their histograms (Fig. 5).

The paper does not give the mixture, nor the network, noise and lambda for it. Here the
four means are (+-2, +-2) and the standard deviation is .3 in each direction; the map
has orthonormal columns, so that errors are those in the plane; networks have two hidden
layers of 128; the noise's variance is .01. The other values are the paper's for the
images, with MNIST's lambda of VCAE from App. B.2.
"""

import keras
import numpy as np
import vcae_paper
from absl import app, flags

from echo_keras import (
    data,
    experiments,
    image_experiments,
    metrics,
    networks,
    objectives,
    plots,
    training,
    wae_experiments,
)
from echo_keras.experiments import number
from echo_keras.losses import SquaredError
from echo_keras.studies import records

OUT_DIR = "runs/vcae_toy"
DIMENSIONS = 100
MIXTURE = {
    "code": 2,
    "noise": 0.01,
    "epochs": 50,
    "batch_size": 200,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "examples": 20_000,
}
IMAGES = {**vcae_paper.PLANE, "noise": 0.03, "flow_epochs": None}
WEIGHTS = {"vcae": 1.0, "cwae": 3000.0}
# Test error of the mixture; training and test error of MNIST.
PAPER = {"mixture": {"vcae": 0.067, "cwae": 0.13}}
PAPER_MNIST = {"vcae": (25.52, 27.67), "cwae": (30.09, 31.50)}

FLAGS = flags.FLAGS
flags.DEFINE_enum("toy", "mixture", ["mixture", "images"], "What is encoded.")
flags.DEFINE_list("cwae_lambdas", ["3000"], "Weights of cWAE's distribution penalty.")


def main(argv):
    configs = [
        configuration(method, weight, seed)
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for method, weight in objectives_asked()
    ]
    if FLAGS.toy == "mixture":
        out = experiments.prepare(argv, OUT_DIR)
        function, name, checksum = train_on_mixture, mixture_name, "mixture"
    else:
        out, dataset = image_experiments.prepare(argv, OUT_DIR)
        function, name = vcae_paper.train_and_measure, vcae_paper.run_name
        checksum = dataset.checksum
    try:
        experiments.run_all(function, out, configs, name, checksum)
    finally:  # what is finished is worth a table, whatever failed
        if records.read(out):
            print(f"\n{write_table(out)}\n")
    draw(out, [c for c in configs if c["seed"] == FLAGS.seed], name)


def objectives_asked():
    """Pairs of a method and its lambda."""
    cwae = [("cwae", x) for x in experiments.numbers(FLAGS.cwae_lambdas)]
    return [("vcae", WEIGHTS["vcae"]), *cwae]


def configuration(method, weight, seed):
    """Everything that decides a run's numbers, given the data."""
    if FLAGS.toy == "images":
        return vcae_paper.configuration(method, seed, IMAGES, weight, flow_epochs=None)
    return {
        "dataset": "mixture",
        "method": method,
        "weight": weight,
        "seed": seed,
        **image_experiments.chosen(MIXTURE),
    }


def mixture(n, seed):
    """n draws in 100 dimensions, (n, 100), those in the plane, and the components."""
    # The map is part of the data set, whatever the seed of the draws.
    columns = np.random.RandomState(0).normal(size=(DIMENSIONS, 2))
    basis, _ = np.linalg.qr(columns)
    generator = np.random.RandomState([1, seed])
    component = generator.randint(4, size=n)
    means = 2.0 * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    plane = means[component] + 0.3 * generator.normal(size=(n, 2))
    return (plane @ basis.T).astype("float32"), plane, component


def mixture_name(config):
    """A file name that tells runs apart."""
    method = f"{config['method']}-weight{config['weight']:g}"
    return wae_experiments.run_name({**config, "method": method}, MIXTURE)


def build(config):
    """Dense networks under the method's objective."""
    pair = (
        networks.dense_encoder((DIMENSIONS,), (128, 128)),
        lambda units: networks.dense_decoder(units, (DIMENSIONS,), (128, 128)),
        config["code"],
    )
    of_method = {"vcae": objectives.vcae, "cwae": objectives.wae}[config["method"]]
    return of_method(*pair, weight=config["weight"], noise_variance=config["noise"])


def train_on_mixture(config, out, data_dir=None, tensorboard=False):
    """One run on the mixture, from its configuration to its record. Resumes."""
    x, _, _ = mixture(config["examples"], seed=0)
    x_test, _, _ = mixture(10_000, seed=1)
    model, history = training.train(
        lambda: build(config),
        x,
        experiments.run_folder(out, mixture_name(config)),
        epochs=config["epochs"],
        batch_size=config["batch_size"],
        learning_rate=config["learning_rate"],
        schedule=config["schedule"],
        loss=SquaredError(),
        seed=config["seed"],
        tensorboard=tensorboard,
    )
    return {
        "experiment": "vcae_toy",
        "config": config,
        "data": {
            "description": "four Gaussians in the plane, in 100 dimensions",
            "checksum": "mixture",
        },
        **records.environment(),
        **image_experiments.parameters(model),
        "seconds": round(sum(logs["seconds"] for logs in history), 1),
        "test": {"bank": metrics.evaluate(model, x_test, batch_size=1000)},
        "train": wae_experiments.error(model, x),
        "posterior": metrics.aggregate_posterior(metrics.encode(model, x_test)),
        "history": history,
    }


def write_table(out):
    """Writes toy.md from the records in `out`; returns it."""
    parts = ["# Section 6.1 of Variance Constrained Autoencoding"]
    groups = {}
    for run in records.read(out):
        config = run["config"]
        key = config["dataset"], protocol_of(config)
        groups.setdefault(key, []).append(run)
    for (name, reduction), runs in sorted(groups.items()):
        body = []
        for run in sorted(runs, key=order):
            config, posterior = run["config"], run["posterior"]
            paper = [None, PAPER.get(name, {}).get(config["method"])]
            if name == "mnist":
                paper = PAPER_MNIST[config["method"]]
            digits = ".4f" if name == "mixture" else ".2f"
            body.append(
                [
                    f"{vcae_paper.METHODS[config['method']]}, {config['weight']:g}",
                    config["seed"],
                    number(run["train"]["error"], digits),
                    number(run["test"]["bank"]["distortion"], digits),
                    number(posterior["summed_variance"]),
                    number(posterior["mmd"], ".4f"),
                    number(posterior["excess_kurtosis"]),
                    *(number(x, ".3g") for x in paper),
                ]
            )
        header = ["Model, lambda", "seed", "Train", "Test", "sum of Var(z)"]
        header += ["MMD to N(0, I)", "excess kurtosis", "paper's Train", "Test"]
        parts += [
            f"## {name}: {reduction}",
            records.markdown(header, body),
            "Squared error summed over dimensions or pixels, with noise on the code. "
            f"{wae_experiments.provenance(runs)}",
        ]
    text = "\n\n".join(parts)
    (out / "toy.md").write_text(text + "\n")
    return text


def protocol_of(config):
    """Says what of the protocol is not the paper's."""
    if config["dataset"] != "mixture":
        return experiments.reduction(config, {**IMAGES, **vcae_paper.UNKNOWN})
    ours = {name: config[name] for name in ("examples", "epochs")}
    return wae_experiments.own_protocol(ours)


def order(run):
    config = run["config"]
    return config["method"] != "vcae", config["weight"], config["seed"]


def draw(out, configs, name):
    """The codes of each model in the plane, and their histograms."""
    if FLAGS.toy == "mixture":
        x, plane, classes = mixture(5000, seed=1)
        panels = {"data": (plane, classes)}
    else:
        dataset = data.load(FLAGS.dataset, FLAGS.data_dir)
        x, classes = dataset.x_test[:5000], dataset.y_test
        classes = classes if classes is None else classes[:5000]
        panels = {}
    codes = {}
    for config in configs:
        model = experiments.load_model(out, name(config))
        if model is not None:
            method = vcae_paper.METHODS[config["method"]]
            label = f"{method}, lambda {config['weight']:g}"
            codes[label] = metrics.encode(model, x)
            panels[label] = codes[label], classes
        keras.utils.clear_session()
    if codes:
        which = configs[0]["dataset"]
        plots.codes_in_plane(panels, out / f"{which}-codes.png")
        plots.code_histograms(codes, out / f"{which}-histograms.png")


if __name__ == "__main__":
    app.run(main)
