"""The supervised bottleneck in the information plane (BIB-AE paper, Sec. 2.1, App. A).

    python reproductions/bib_ae/supervised.py                       # digits: a minute
    python reproductions/bib_ae/supervised.py --dataset mnist --data_dir FOLDER

Classifiers of a random code that minimise H(C|Z) + beta I(X; Z) (Eq. 9). The paper,
whose beta is the reciprocal of ours, gives neither a protocol nor numbers.
"""

from bib_ae_paper import LATENT_DIM, PROTOCOL, dense

from echo_keras import layers, losses, metrics, objectives, plots, training
from echo_keras.metrics import classification, robustness
from echo_keras.studies import Column, Script, Study, Table, mean, points, start
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


def note(runs):
    entropy = mean(runs, "test.bank.label_entropy")
    lowest = max(run["measures"]["min_rate"] for run in runs)
    return (
        "Nats per test image with standard errors: I(X; Z) is exact for Echo, at least "
        f"{lowest:.3f}, and an upper bound for the Gaussian channel; I(Z; C) is the "
        f"lower bound H(C) less the cross-entropy, of H(C) = {entropy:.3f}. NLL, ECE "
        "(15 equal bins) and accuracy are of class probabilities averaged over codes; "
        "the last columns have noise of the given standard deviation, or the given "
        "share of pixels set to 0."
    )


RATE, TOLD = "test.bank.rate", "test.bank.label_information"
CLEAN = "measures.classification.clean."
TABLE = Table(
    STUDY,
    [
        Column("Channel", lambda runs: channel(runs[0]["config"])),
        Column("beta", "config.beta", "g"),
        Column("I(X; Z)", plus_minus(RATE, ".3f", f"{RATE}_se")),
        Column("I(Z; C)", plus_minus(TOLD, ".3f", f"{TOLD}_se")),
        Column("NLL", CLEAN + "negative_log_likelihood", ".3f"),
        Column("ECE", CLEAN + "calibration_error", ".1%"),
        Column("accuracy", CLEAN + "accuracy", ".1%"),
    ]
    + [
        Column(name, ("measures", "classification", name, "accuracy"), ".1%")
        for name in CORRUPTIONS
    ],
    title="The supervised information bottleneck",
    name="supervised",
    rows=("method", "beta"),
    note=note,
)


def draw(results):
    curves = points(results.runs, channel, "config.beta", RATE, TOLD)
    entropy = mean(results.runs, "test.bank.label_entropy")
    plots.information_plane(curves, entropy, results.path("supervised.png"))


main = Script(STUDY, [TABLE], draw)

if __name__ == "__main__":
    start(main)
