r"""The supervised bottleneck in the information plane (BIB-AE paper, Sec. 2.1, App. A).

    python reproductions/bib_ae/supervised.py                       # digits: a minute
    python reproductions/bib_ae/supervised.py --dataset mnist --data_dir FOLDER

Classifiers that tell the class from a random code z, trained on H(C|Z) + beta I(X; Z)
(Eq. 9) along a sweep of beta, with two channels: Echo, whose I(X; Z) is exact, and a
Gaussian one, whose I(X; Z) is bounded from above by its rate. What the code keeps of
images and what it tells of their classes, accuracy and calibration are measured on test
images, and accuracy on corrupted ones too. Each run leaves one JSON record; a finished
run is never run twice and an interrupted one resumes. From the records come
supervised.md and a figure for each data set.

beta weighs I(X; Z): the reciprocal of the paper's. The paper gives neither a protocol
nor numbers. --samples, 10 here by default, is the number of codes that are drawn for
each test image.
"""

import collections

import numpy as np
from absl import app, flags
from matplotlib import figure as mpl

from echo_keras import (
    data,
    experiments,
    image_experiments,
    losses,
    networks,
    objectives,
    training,
    wae_experiments,
)
from echo_keras.experiments import number
from echo_keras.layers import EchoBottleneck, GaussianBottleneck
from echo_keras.metrics import classification, robustness
from echo_keras.studies import records

OUT_DIR = "runs/bib_ae_supervised"
CHANNELS = {"gaussian": "Gaussian", "echo": "Echo"}
BETAS = (1e-3, 1e-2, 1e-1, 1.0)
PROTOCOL = {
    "code": 16,
    "hidden": 256,
    "epochs": 20,
    "batch_size": 100,
    "learning_rate": 1e-3,
    "schedule": "paper",
    "train_limit": None,
    "samples": 10,
}
# On the embedded digits: 1,297 images.
DIGITS = {"epochs": 40}

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum("bottleneck", list(CHANNELS), list(CHANNELS), "Channels.")


def main(argv):
    out, dataset = image_experiments.prepare(argv, OUT_DIR)
    if dataset.y_train is None:
        raise app.UsageError(f"{dataset.name} has no classes to learn.")
    configs = configurations()
    try:
        experiments.run_all(train_and_measure, out, configs, run_name, dataset.checksum)
    finally:  # what is finished is worth a table, whatever failed
        if records.read(out):
            print(f"\n{write_table(out)}\n")
            draw(out)


def configurations():
    """Those that the flags ask for: every seed, channel and beta."""
    protocol = {**PROTOCOL, **(DIGITS if FLAGS.dataset == "digits" else {})}
    chosen = image_experiments.chosen(protocol)
    if not FLAGS["samples"].present:  # its default is for other scripts
        chosen["samples"] = protocol["samples"]
    return [
        {
            "dataset": FLAGS.dataset,
            "method": channel,
            "beta": beta,
            "seed": seed,
            **chosen,
        }
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for channel in FLAGS.bottleneck
        for beta in experiments.numbers(FLAGS.betas) or BETAS
    ]


def run_name(config):
    """A file name that tells runs apart."""
    method = f"{config['method']}-beta{config['beta']:g}"
    return wae_experiments.run_name({**config, "method": method}, PROTOCOL)


def build(config, image_shape, classes):
    """A dense encoder, a channel, and a linear decoder to logits."""
    arguments = {"beta": config["beta"], "name": "bottleneck"}
    if config["method"] == "echo":
        d_max = config["batch_size"] - 1
        bottleneck = EchoBottleneck(config["code"], d_max=d_max, **arguments)
    else:
        bottleneck = GaussianBottleneck(config["code"], **arguments)
    encoder = networks.dense_encoder(image_shape, (config["hidden"],) * 2)
    return objectives.information_bottleneck(encoder, bottleneck, classes)


def train_and_measure(config, out, data_dir=None, tensorboard=False):
    """One run, from its configuration to its record. Resumes; writes no record."""
    dataset = data.load(config["dataset"], data_dir, limit=config["train_limit"])
    x, y = dataset.x_train, dataset.y_train
    classes = int(max(y.max(), dataset.y_test.max())) + 1
    model, history = training.train(
        lambda: build(config, x.shape[1:], classes),
        classification.LabelledBatches(x, y, config["batch_size"], config["seed"]),
        experiments.run_folder(out, run_name(config)),
        epochs=config["epochs"],
        batch_size=config["batch_size"],
        learning_rate=config["learning_rate"],
        schedule=config["schedule"],
        loss=losses.CategoricalNLL(),
        seed=config["seed"],
        tensorboard=tensorboard,
    )
    samples = config["samples"]
    test = classification.information_plane(
        model, dataset.x_test, dataset.y_test, samples
    )
    measured = {
        label: classification_metrics(model, images, dataset.y_test, samples)
        for label, images in corrupted(dataset.x_test, config["seed"]).items()
    }
    channel = model.get_layer("bottleneck").channel
    return {
        "experiment": "bib_ae_supervised",
        "config": config,
        "data": {
            "source": dataset.source,
            "description": dataset.description,
            "checksum": dataset.checksum,
            "training_images": len(x),
            "test_images": len(dataset.x_test),
        },
        **records.environment(),
        **image_experiments.parameters(model),
        "seconds": round(sum(logs["seconds"] for logs in history), 1),
        "min_rate": getattr(channel, "min_rate", 0.0),
        "test": test,
        "measures": measured,
        "history": history,
    }


def classification_metrics(model, x, y, samples):
    """Accuracy and calibration of probabilities averaged over codes."""
    _, logits = classification.forward(model, x, samples)
    return classification.classification_metrics(classification.predictive(logits), y)


def corrupted(x, seed):
    """Test images, clean and with each corruption."""
    named = {
        f"{kind} {amount:g}": robustness.corrupt(x, kind, amount, seed)
        for kind, amount in robustness.CORRUPTIONS
    }
    return {"clean": x, **named}


def grouped(out):
    """Records by data and protocol."""
    return records.by_protocol(records.read(out), ["dataset", *PROTOCOL])


def by_beta(runs):
    """Pairs of (channel, beta) and its runs of all seeds, in order."""
    found = collections.defaultdict(list)
    for run in runs:
        found[run["config"]["method"], run["config"]["beta"]].append(run)
    order = list(CHANNELS)
    return sorted(found.items(), key=lambda kv: (order.index(kv[0][0]), kv[0][1]))


def mean(runs, *path):
    """The mean over runs of what stands in a record under these keys."""
    values = []
    for value in runs:
        for key in path:
            value = value[key]
        values.append(value)
    return np.mean(values)


def write_table(out):
    """Writes supervised.md from the records in `out`; returns it."""
    sections = [section(protocol, runs) for protocol, runs in grouped(out)]
    text = "\n\n".join(["# The supervised information bottleneck", *sections])
    (out / "supervised.md").write_text(text + "\n")
    return text


def section(protocol, runs):
    """One table in Markdown: what shares data and a protocol."""
    labels = list(runs[0]["measures"])
    body = []
    for (channel, beta), of_it in by_beta(runs):
        accuracies = [mean(of_it, "measures", x, "accuracy") for x in labels]
        body.append(
            [
                CHANNELS[channel],
                f"{beta:g}",
                *(
                    f"{mean(of_it, 'test', name):.3f} +- "
                    f"{mean(of_it, 'test', f'{name}_se'):.3f}"
                    for name in ("rate", "label_information")
                ),
                number(
                    mean(of_it, "measures", "clean", "negative_log_likelihood"), ".3f"
                ),
                number(
                    100 * mean(of_it, "measures", "clean", "calibration_error"), ".1f"
                ),
                *(number(100 * x, ".1f") for x in accuracies),
            ]
        )
    header = ["Channel", "beta", "I(X; Z)", "I(Z; C)", "NLL", "ECE %"]
    header += ["accuracy %", *labels[1:]]
    seeds = len({run["config"]["seed"] for run in runs})
    lowest = [run["min_rate"] for run in runs if run["config"]["method"] == "echo"]
    echo = f" Echo's lowest rate is {lowest[0]:.3f} nats." if lowest else ""
    own = {k: v for k, v in protocol.items() if k not in ("samples", "schedule")}
    return (
        f"## {protocol['dataset']}: {wae_experiments.own_protocol(own)}\n\n"
        f"{records.markdown(header, body)}\n\n"
        "Test images. Nats with standard errors over images: I(X; Z) is exact for Echo "
        "and an upper bound for the Gaussian channel; I(Z; C) is the lower bound H(C) "
        f"less the cross-entropy, of H(C) = {mean(runs, 'test', 'label_entropy'):.3f} "
        f"nats.{echo} NLL, ECE (15 bins of equal width) and accuracy are of class "
        f"probabilities averaged over {protocol['samples']} codes for each image; the "
        "last columns have noise of the given standard deviation on each pixel, or the "
        f"given share of pixels set to 0. Means over {seeds} seed{'s' * (seeds > 1)}. "
        "beta weighs I(X; Z): the reciprocal of the paper's, which gives no numbers. "
        f"{wae_experiments.provenance(runs)}"
    )


def draw(out):
    """The information plane, a figure for each data set and protocol."""
    for i, (protocol, runs) in enumerate(grouped(out)):
        curves = collections.defaultdict(list)
        for (channel, beta), of_it in by_beta(runs):
            point = [mean(of_it, "test", k) for k in ("rate", "label_information")]
            curves[channel].append((beta, *point))
        figure = mpl.Figure((6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        for channel, points in curves.items():
            betas, rate, label_information = np.transpose(points)
            axes.plot(rate, label_information, "o-", label=CHANNELS[channel])
            # Above the points of one channel, below those of the other.
            above = channel == "gaussian"
            side, offset = ("right", (-3, 6)) if above else ("left", (3, -11))
            for beta, *point in zip(betas, rate, label_information, strict=True):
                axes.annotate(
                    rf"$\beta$ = {beta:g}",
                    point,
                    xytext=offset,
                    textcoords="offset points",
                    ha=side,
                    fontsize=8,
                )
        entropy = mean(runs, "test", "label_entropy")
        axes.axhline(entropy, ls=":", color="0.4", label="H(C)")
        # Of a Markov chain from C over X to Z.
        axes.plot(
            [0, entropy], [0, entropy], "--", color="0.6", label="I(Z; C) = I(X; Z)"
        )
        axes.set(xlabel="I(X; Z) (nats)", ylabel="bound on I(Z; C) (nats)")
        axes.margins(x=0.12)  # room for names
        axes.grid(alpha=0.3)
        axes.legend()
        suffix = f"-{i}" if i else ""
        figure.savefig(out / f"{protocol['dataset']}-supervised{suffix}.png", dpi=110)


if __name__ == "__main__":
    app.run(main)
