r"""Invariant representations by Echo (Echo paper, Sec. 6 and its reference 30).

    python reproductions/invariant.py                                  # digits
    python reproductions/invariant.py --dataset mnist --data_dir FOLDER

How much codes tell of a nuisance C, here the class of the image, by the channel, beta,
and whether the decoder is given C. For the code of a decoder that knows C

    I(Z; C) = I(X; Z) - I(X; Z | C) <= I(X; Z) + E[-log p(x|z, c)] - H(X|C),

so that minus the likelihood of a conditional decoder and a rate are all there is to
minimise (Moyer et al. 2018), and no predictor of C has to be fought. With Echo the rate
is I(X; Z), not a bound of it. Predictors of C are trained afterwards, on codes as
drawn.
"""

import dataclasses

import keras
import numpy as np
from keras import ops
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from echo_keras import RateDistortionModel, layers, metrics, networks, plots, training
from echo_keras.studies import (
    Claim,
    Column,
    Script,
    Study,
    Table,
    all_of,
    differ,
    mean_and_error,
    points,
    start,
)
from echo_keras.studies.records import group
from echo_keras.studies.table import plus_minus

CHANNELS = {"echo": "Echo", "vae": "Gaussian"}
DECODERS = {"plain": "without C", "conditional": "with C"}
LATENT_DIM, HIDDEN = 16, (256, 256)
LABELLED = 5000  # codes that train the predictors


def classes_of(dataset):
    return 1 + int(max(dataset.y_train.max(), dataset.y_test.max()))


def with_classes(dataset, config):
    """Images as vectors, with their class one-hot behind the pixels."""
    if dataset.y_train is None:
        raise ValueError(f"dataset must have classes. Received: {dataset.name}")
    classes = classes_of(dataset)

    def joined(x, y):
        one_hot = keras.utils.to_categorical(y, classes)
        return np.concatenate([x.reshape(len(x), -1), one_hot], axis=1, dtype="float32")

    return dataclasses.replace(
        dataset,
        x_train=joined(dataset.x_train, dataset.y_train),
        x_test=joined(dataset.x_test, dataset.y_test),
        x_valid=None,
    )


def pixels(dataset, x):
    """The images in such vectors."""
    return x[:, : x.shape[1] - classes_of(dataset)]


def build(config, dataset):
    """A dense autoencoder of the pixels, whose decoder knows the class or does not."""
    inputs = keras.Input(dataset.x_train.shape[1:])
    n = pixels(dataset, dataset.x_train).shape[1]
    encoder = networks.dense_encoder((n,), HIDDEN)
    arguments = {"beta": config["beta"], "name": "bottleneck"}
    if config["method"] == "echo":
        d_max = config["batch_size"] - 1
        bottleneck = layers.EchoBottleneck(LATENT_DIM, d_max=d_max, **arguments)
    else:
        bottleneck = layers.GaussianBottleneck(LATENT_DIM, **arguments)
    z = bottleneck(encoder(inputs[:, :n]))
    if config["decoder"] == "conditional":
        z = ops.concatenate([z, inputs[:, n:]], axis=1)
    decoder = networks.dense_decoder(z.shape[1], (n,), HIDDEN)
    return RateDistortionModel(inputs, decoder(z))


class Invariant(Study):
    """The targets are the pixels alone."""

    def feed(self, config, dataset):
        y, size = pixels(dataset, dataset.x_train), config["batch_size"]
        x = training.Batches(dataset.x_train, size, config["seed"], y=y)
        return {"x": x, "epochs": config["epochs"]}

    def test(self, run):
        x = run.dataset.x_test
        return {"bank": metrics.evaluate(run.model, x, pixels(run.dataset, x))}


def predict(run):
    """What predictors of C find in codes: accuracies, and I(Z; C) from below."""
    bottleneck = run.model.get_layer("bottleneck")
    encoder = keras.Model(run.model.input, bottleneck.output)
    train = np.random.RandomState(0).permutation(len(run.dataset.x_train))[:LABELLED]
    y, y_test = run.dataset.y_train[train], run.dataset.y_test
    z, z_test = (
        encoder.predict(x, batch_size=500, verbose=0)
        for x in (run.dataset.x_train[train], run.dataset.x_test)
    )
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    linear.fit(z, y)
    machine = make_pipeline(StandardScaler(), SVC()).fit(z, y)
    shares = np.bincount(y_test) / len(y_test)
    accuracy = machine.score(z_test, y_test)
    return {
        "linear": linear.score(z_test, y_test),
        "machine": accuracy,
        "machine_se": (accuracy * (1 - accuracy) / len(y_test)) ** 0.5,
        "chance": shares.max(),
        "information": stats.entropy(shares)
        - log_loss(y_test, linear.predict_proba(z_test)),
    }


STUDY = Invariant(
    "invariant",
    build,
    {"epochs": 40, "learning_rate": 1e-3, "schedule": "paper"},
    vary={
        "method": list(CHANNELS),
        "decoder": list(DECODERS),
        "beta": [0.5, 1.0, 2.0, 4.0],
    },
    transform=with_classes,
    measures={"nuisance": predict},
    paper=False,
)
MACHINE = "measures.nuisance.machine"


def less_told(runs):
    """The predictor's accuracy with the plain decoder and the conditional one.

    Judged where the information is least, at the highest beta.
    """
    lower, here = [], []
    highest = max(run["config"]["beta"] for run in runs)
    for same in group(runs, ("method", "beta")):
        plain, conditional = (
            mean_and_error(
                [run for run in same if run["config"]["decoder"] == decoder],
                *(MACHINE, f"{MACHINE}_se"),
            )
            for decoder in DECODERS
        )
        config = same[0]["config"]
        if plain and conditional and config["beta"] == highest:
            lower.append(differ(conditional, plain))
            here.append(
                f"{CHANNELS[config['method']]} at beta {config['beta']:g} "
                f"{conditional[0]:.1%} against {plain[0]:.1%}"
            )
    return (", ".join(here), all_of(lower)) if lower else None


def note(runs):
    chance = runs[0]["measures"]["nuisance"]["chance"]
    return (
        "Nats per test image; ± is the standard deviation over runs. C is the class. "
        "Accuracies on C of a support vector machine and of logistic regression on "
        f"codes as drawn, {LABELLED:,} of training images; the most frequent class has "
        f"{chance:.1%}. I(Z; C): H(C) less the cross-entropy of the logistic "
        "regression, a lower bound that may be below 0."
    )


TABLE = Table(
    STUDY,
    [
        Column("Channel", lambda runs: CHANNELS[runs[0]["config"]["method"]]),
        Column("Decoder", lambda runs: DECODERS[runs[0]["config"]["decoder"]]),
        Column("beta", "config.beta", "g"),
        Column("Rate", plus_minus("test.bank.rate")),
        Column("Dist", plus_minus("test.bank.distortion")),
        Column("accuracy on C", plus_minus(MACHINE, ".1%")),
        Column("of a linear one", plus_minus("measures.nuisance.linear", ".1%")),
        Column("I(Z; C), at least", plus_minus("measures.nuisance.information")),
        Column("runs", len, "d"),
    ],
    title="Invariant representations (Echo paper, Sec. 6)",
    name="invariant",
    rows=("method", "decoder", "beta"),
    note=note,
    claims=[
        Claim(
            "Echo should serve invariant representations as well (Sec. 6): accuracy "
            "on C with a decoder that knows it and without",
            less_told,
        )
    ],
)


def draw(results):
    curves = points(
        results.runs,
        lambda c: f"{CHANNELS[c['method']]}, decoder {DECODERS[c['decoder']]}",
        "test.bank.rate",
        MACHINE,
    )
    plots.scatter(curves, "rate, nats", "accuracy on C", results.path("invariant.png"))


main = Script(STUDY, [TABLE], draw)

if __name__ == "__main__":
    start(main)
