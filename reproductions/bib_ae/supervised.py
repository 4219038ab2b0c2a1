"""The supervised bottleneck in the information plane (BIB-AE paper, Sec. 2.1, App. A).

    python reproductions/bib_ae/supervised.py                       # digits: a minute
    python reproductions/bib_ae/supervised.py --dataset mnist --data_dir FOLDER

Classifiers of a random code z that minimise H(C|Z) + beta I(X; Z) (Eq. 9); beta is the
reciprocal of the paper's. The paper gives neither a protocol nor numbers.
"""

from bib_ae_paper import LATENT_DIM, PROTOCOL, dense

from echo_keras import layers, losses, metrics, objectives, plots, training
from echo_keras.metrics import classification, robustness
from echo_keras.studies import Column, Script, Study, Table, mean, start
from echo_keras.studies.records import get

CHANNELS = {"gaussian": "Gaussian", "echo": "Echo"}
CORRUPTED = [f"{kind} {amount:g}" for kind, amount in robustness.CORRUPTIONS]


def build(config, dataset):
    """A dense encoder, a channel, and a linear decoder to logits."""
    arguments = {"beta": config["beta"], "name": "bottleneck"}
    if config["method"] == "echo":
        d_max = config["batch_size"] - 1
        bottleneck = layers.EchoBottleneck(LATENT_DIM, d_max=d_max, **arguments)
    else:
        bottleneck = layers.GaussianBottleneck(LATENT_DIM, **arguments)
    classes = 1 + int(max(dataset.y_train.max(), dataset.y_test.max()))
    encoder, *_ = dense(dataset)
    return objectives.information_bottleneck(encoder(), bottleneck, classes)


class Supervised(Study):
    """Learns with labels, and measures what the code tells of them."""

    def feed(self, config, dataset):
        if dataset.y_train is None:
            raise ValueError(f"dataset must have classes. Received: {dataset.name}")
        batch_size, seed, y = config["batch_size"], config["seed"], dataset.y_train
        x = training.Batches(dataset.x_train, batch_size, seed, y=y)
        return {"x": x, "epochs": config["epochs"]}

    def test(self, run):
        data, samples = run.dataset, run.config["samples"]
        plane = metrics.information_plane(run.model, data.x_test, data.y_test, samples)
        return {"bank": plane}


def classify(run):
    """Accuracy and calibration, of clean and of corrupted images."""
    found, x, y = {}, run.dataset.x_test, run.dataset.y_test
    for label, corruption in zip(["clean", *CORRUPTED], [None, *robustness.CORRUPTIONS]):
        seen = metrics.corrupt(x, *corruption, run.config["seed"]) if corruption else x
        _, logits = classification.forward(run.model, seen, run.config["samples"])
        found[label] = metrics.classification_metrics(metrics.predictive(logits), y)
    return found


STUDY = Supervised(
    "bib_ae_supervised",
    build,
    {**PROTOCOL, "epochs": 20, "samples": 10},
    quick={"digits": {"epochs": 40}},
    vary={"method": list(CHANNELS), "beta": [1e-3, 1e-2, 1e-1, 1.0]},
    loss=losses.CategoricalNLL(),
    measures={
        "classification": classify,
        "min_rate": lambda run: getattr(
            run.model.get_layer("bottleneck").channel, "min_rate", 0.0
        ),
    },
    paper=False,
)


def accuracy(header, label):
    path = ["measures", "classification", label, "accuracy"]
    return Column(header, lambda runs: 100 * mean_of(runs, *path), ".1f")


def with_error(header, name):
    """A column of a number with its standard error over images."""
    ends = [f"test.bank.{name}", f"test.bank.{name}_se"]
    text = lambda runs: " +- ".join(f"{mean(runs, end):.3f}" for end in ends)
