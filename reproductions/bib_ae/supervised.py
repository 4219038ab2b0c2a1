"""The supervised bottleneck in the information plane (BIB-AE paper, Sec. 2.1, App. A).

    python reproductions/bib_ae/supervised.py                       # digits: a minute
    python reproductions/bib_ae/supervised.py --dataset mnist --data_dir FOLDER

Classifiers of a random code that minimise H(C|Z) + beta I(X; Z) (Eq. 9). The paper,
whose beta is the reciprocal of ours, gives neither a protocol nor numbers.
"""

import math

from bib_ae_paper import LATENT_DIM, PROTOCOL, dense
from bib_ae_samples import of_data

from echo_keras import layers, losses, metrics, objectives, plots, training
from echo_keras.metrics import classification, robustness
from echo_keras.studies import (
    Claim,
    Column,
    Script,
    Study,
    Table,
    mean,
    points,
    records,
    start,
)
from echo_keras.studies.table import plus_minus

CHANNELS = {"gaussian": "Gaussian", "echo": "Echo"}
CORRUPTIONS = {f"{kind} {x:g}": (kind, x) for kind, x in robustness.CORRUPTIONS}


def build(config, dataset):
    """A dense encoder, a channel, and a linear decoder to logits."""
    arguments = {"beta": config["beta"], "name": "bottleneck"}
    if config["method"] == "echo":
        d_max = config["batch_size"] - 1
        bottleneck = layers.EchoBottleneck(LATENT_DIM, d_max=d_max, **arguments)
    else:
        bottleneck = layers.GaussianBottleneck(LATENT_DIM, **arguments)
    encoder, *_ = dense(dataset)
    classes = 1 + int(max(dataset.y_train.max(), dataset.y_test.max()))
    return objectives.information_bottleneck(encoder(), bottleneck, classes)


class Supervised(Study):
    """Trains with labels, and measures what codes tell of them."""

    def feed(self, config, dataset):
        if dataset.y_train is None:
            raise ValueError(f"dataset must have classes. Received: {dataset.name}")
        batch_size, seed = config["batch_size"], config["seed"]
        x = training.Batches(dataset.x_train, batch_size, seed, y=dataset.y_train)
        return {"x": x, "epochs": config["epochs"]}

    def test(self, run):
        x, y = run.dataset.x_test, run.dataset.y_test
        samples = run.config["samples"]
        return {"bank": metrics.information_plane(run.model, x, y, samples)}


def classify(run):
    """Accuracy and calibration, of clean and of corrupted images."""
    seen = {"clean": run.dataset.x_test}
    for name, corruption in CORRUPTIONS.items():
        seen[name] = metrics.corrupt(seen["clean"], *corruption, run.config["seed"])
    found = {}
    for name, x in seen.items():
        _, logits = classification.forward(run.model, x, run.config["samples"])
        logits = metrics.predictive(logits)
        found[name] = metrics.classification_metrics(logits, run.dataset.y_test)
    return found


def channel(config):
    return CHANNELS[config["method"]]


def min_rate(run):
    return getattr(run.model.get_layer("bottleneck").channel, "min_rate", 0.0)


STUDY = Supervised(
    "bib_ae_supervised",
    build,
    {**PROTOCOL, "epochs": 20, "samples": 10},
    quick={"digits": {"epochs": 40}},
    vary={"method": list(CHANNELS), "beta": [1e-3, 1e-2, 1e-1, 1.0]},
    loss=losses.CategoricalNLL(),
    measures={"classification": classify, "min_rate": min_rate},
    paper=False,
)


def trade_off(runs):
    """Whether each channel's I(Z; C) falls as beta grows, by two standard errors."""
    found, told = [], []
    for group in records.group(runs, ["method"]):
        group = sorted(group, key=lambda run: run["config"]["beta"])
        ends = [group[0], group[-1]]
        if ends[0]["config"]["beta"] == ends[1]["config"]["beta"]:
            return None
        low, high = (records.get(run, TOLD) for run in ends)
        error = math.hypot(*(records.get(run, f"{TOLD}_se") for run in ends))
        told.append(None if abs(low - high) < 2 * error else low > high)
        betas = [run["config"]["beta"] for run in ends]
        found.append(
            f"{channel(group[0]['config'])} from {low:.2f} to {high:.2f} nats of the "
            f"class at beta {betas[0]:g} and {betas[1]:g}"
        )
    agrees = None if None in told else all(told)
    return "; ".join(found), agrees


def note(runs):
    entropy = mean(runs, "test.bank.label_entropy")
    lowest = max(run["measures"]["min_rate"] for run in runs)
    said = (
        "Nats per test image; standard errors over images. The rate of the Gaussian "
        "channel is an upper bound on I(X; Z); Echo's is I(X; Z) of the population "
        f"whenever q(z) has a density, and at least {lowest:.3f}. I(Z; C) is the "
        f"lower bound H(C) less the cross-entropy, of H(C) = {entropy:.3f}. NLL, ECE "
        "(15 equal bins) and accuracy are of class probabilities averaged over codes, "
        "which is less sure than it is right: an ECE above the share of errors is "
        "underconfidence. The last columns are accuracies on images with noise of the "
        "given standard deviation, or the given share of pixels set to 0."
    )
    return " ".join(filter(None, [said, of_data(runs)]))


RATE, TOLD = "test.bank.rate", "test.bank.label_information"
CLEAN = "measures.classification.clean."
NLL = CLEAN + "negative_log_likelihood"


def kept(runs):
    """I(X; Z), of a Gaussian channel an upper bound."""
    shown = plus_minus(RATE, ".3f", f"{RATE}_se")(runs)
    return f"at most {shown}" if runs[0]["config"]["method"] == "gaussian" else shown


def accuracy(seen):
    path = ("measures", "classification", seen)
    return plus_minus((*path, "accuracy"), ".1%", (*path, "accuracy_se"))


TABLE = Table(
    STUDY,
    [
        Column("Channel", lambda runs: channel(runs[0]["config"])),
        Column("beta", "config.beta", "g"),
        Column("I(X; Z)", kept),
        Column("I(Z; C)", plus_minus(TOLD, ".3f", f"{TOLD}_se")),
        Column("NLL", plus_minus(NLL, ".3f", f"{NLL}_se")),
        Column("ECE", CLEAN + "calibration_error", ".1%"),
        Column("accuracy", accuracy("clean")),
    ]
    + [
        Column(name.replace("gaussian", "noise"), accuracy(name))
        for name in CORRUPTIONS
    ],
    title="The supervised information bottleneck",
    name="supervised",
    rows=("method", "beta"),
    note=note,
    claims=[
        Claim(
            "beta trades information on the class against that on the image (Eq. 9)",
            trade_off,
        )
    ],
)


def curve(config):
    bound = " (rate, an upper bound)" if config["method"] == "gaussian" else ""
    return channel(config) + bound


def draw(results):
    curves = points(results.runs, curve, "config.beta", RATE, TOLD)
    entropy = mean(results.runs, "test.bank.label_entropy")
    plots.information_plane(curves, entropy, results.path("supervised.png"))


main = Script(STUDY, [TABLE], draw)

if __name__ == "__main__":
    start(main)
