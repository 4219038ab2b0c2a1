"""What the scripts of The Variational InfoMax Autoencoder share.

All tables are columns of the same runs: a run trains a method on a data set and
measures everything that its data allow.
"""

import collections
import dataclasses
import functools
import json
import pathlib

import keras
import numpy as np

from echo_keras import metrics, networks, objectives
from echo_keras.layers import Logistic
from echo_keras.losses import SquaredError
from echo_keras.metrics import robustness
from echo_keras.studies import Column, Study, Table, published, records
from echo_keras.studies.measures import feature_network, frechet

PUBLISHED = json.loads(
    (pathlib.Path(__file__).parents[1] / "published" / "vimae.json").read_text()
)
METHODS = {
    "vae": "VAE",
    "beta-h": "beta_H-VAE",
    "beta-a": "beta_A-VAE",
    "vimae-n": "VIMAE-n",
    "vimae-l": "VIMAE-l",
}
# App., MNIST and Omniglot; CelebA and CIFAR-10. beta_A is of Sec. 5.2.
PROTOCOL = {
    "latent_dim": 8,
    "beta_high": 10.0,
    "beta_low": 0.2,
    "weight": 10.0,
    "epochs": 80,
    "learning_rate": 1e-3,
    "filters": 128,
    "labelled": 1000,
    "compared": 10_000,
}
COLOUR = PROTOCOL | {"latent_dim": 64, "beta_high": 100.0, "beta_low": 0.4}
COLOUR |= {"weight": 100.0, "epochs": 60}
CORRUPTIONS = [("gaussian", 0.2), ("gaussian", 0.3), ("gaussian", 0.4)]
CORRUPTIONS += [("mask", 0.2), ("mask", 0.5)]
PARZEN_IMAGES = 1000
OF_OMNIGLOT = {"characters": 5, "train": 60, "draws": 20}


def objective(config, encoder, decoder):
    """The model of a method, around any networks."""
    pair, method = (encoder, decoder, config["latent_dim"]), config["method"]
    if method.startswith("vimae"):
        prior = {"n": "normal", "l": "logistic"}[method[-1]]
        return objectives.vim(*pair, weight=config["weight"], prior=prior)
    betas = {"vae": 1.0, "beta-h": config["beta_high"], "beta-a": config["beta_low"]}
    return objectives.vae(*pair, beta=betas[method])


def build(config, dataset):
    """The networks of the appendix under the method's objective."""
    shape, filters = dataset.x_train.shape[1:], config["filters"]
    decoder = functools.partial(
        networks.wae_decoder, output_shape=shape, filters=filters
    )
    return objective(config, networks.wae_encoder(shape, filters), decoder)


def prior_of(config):
    """The prior of a method as a layer; None for the standard normal."""
    if config["method"] != "vimae-l":
        return None
    return Logistic(objectives.UNIT_LOGISTIC, seed=config["seed"])


def prior_images(run, n):
    """n images decoded from the method's prior, of variance 1 in each dimension."""
    generator = np.random.RandomState(run.config["seed"])
    shape = (n, run.config["latent_dim"])
    if run.config["method"] == "vimae-l":
        z = generator.logistic(scale=objectives.UNIT_LOGISTIC, size=shape)
    else:
        z = generator.normal(size=shape)
    return pixels(run.model, z.astype("float32"))


def pixels(model, codes):
    return np.clip(metrics.decode(model.get_layer("decoder"), codes), 0.0, 1.0)


def posterior(run):
    z = metrics.encode(run.model, run.dataset.x_test)
    return metrics.aggregate_posterior(z, prior_of(run.config))


def fid(run):
    real = metrics.evenly_spaced(run.dataset.x_test, run.config["compared"])
    return frechet(run, real, {"prior": prior_images(run, len(real))})


def parzen(run):
    few = metrics.evenly_spaced(run.dataset.x_test, 2 * PARZEN_IMAGES)
    n = min(run.config["compared"], len(run.dataset.x_test))
    images = prior_images(run, n)
    return metrics.parzen_log_likelihood(images, few[::2], validation=few[1::2])


def accuracy(run):
    """Accuracies of an SVM on codes of corrupted test images; None without labels."""
    dataset, seed = run.dataset, run.config["seed"]
    network = metrics.representation(run.model)
    encode = functools.partial(metrics.map_batches, network)
    if dataset.name == "omniglot_alphabets":
        return accuracy_on_characters(encode, dataset, seed)
    if dataset.y_train is None:
        return None
    n = min(run.config["labelled"], len(dataset.y_train))
    rows = robustness.stratified_subset(dataset.y_train, n, seed=seed)
    train = dataset.x_train[rows], dataset.y_train[rows]
    test = dataset.x_test, dataset.y_test
    return robustness.svm_accuracy(encode, *train, *test, CORRUPTIONS, seed=seed)


def accuracy_on_characters(encode, dataset, seed):
    """Mean accuracies on random sets of five characters of the evaluation alphabets.

    Each character is there in 80 images, 20 drawings in four rotations; 60 of them
    train the SVM and 20 test it, a whole drawing on one side (Sec. 5.3).
    """
    many, generator = [], np.random.RandomState(seed)
    rows_of = collections.defaultdict(list)
    for row, label in enumerate(dataset.y_test):
        rows_of[label].append(row)
    for draw in range(OF_OMNIGLOT["draws"]):
        names = sorted(rows_of)
        labels = generator.choice(names, OF_OMNIGLOT["characters"], replace=False)
        rows = np.array([generator.permutation(rows_of[label]) for label in labels])
        split, sides = rows.shape[1] * OF_OMNIGLOT["train"] // 80, []
        for part in (rows[:, :split].ravel(), rows[:, split:].ravel()):
            sides += rotated(dataset.x_test[part], dataset.y_test[part])
        many.append(robustness.svm_accuracy(encode, *sides, CORRUPTIONS, seed=draw))
    found = {label: np.array([one[label] for one in many]) for label in many[0]}
    means = {label: float(values.mean()) for label, values in found.items()}
    for label in [label for label in found if not label.endswith("_se")]:
        error = found[label].std(ddof=1) / np.sqrt(len(many))
        means[f"{label}_se"] = float(error)
    return means


def rotated(x, y):
    """Images in all four rotations, with their labels."""
    turns = [np.rot90(x, k, axes=(1, 2)) for k in range(4)]
    return np.concatenate(turns), np.tile(y, 4)


def transform(dataset, config):
    """Training images of Omniglot in all four rotations (App.)."""
    if dataset.name != "omniglot_alphabets":
        return dataset
    x, y = rotated(dataset.x_train, dataset.y_train)
    description = f"{dataset.description}; training images in four rotations"
    return dataclasses.replace(dataset, x_train=x, y_train=y, description=description)


STUDY = Study(
    "vimae",
    build,
    lambda config: COLOUR if config["dataset"] in ("cifar10", "celeba") else PROTOCOL,
    quick={"digits": {"epochs": 20, "batch_size": 50, "filters": 16}},
    vary={"method": list(METHODS)},
    loss=SquaredError(),
    optimizer=functools.partial(keras.optimizers.Adam, beta_1=0.5),
    transform=transform,
    measures={
        "test_mean": lambda run: metrics.squared_error(
            run.model, run.dataset.x_test, noisy=False
        ),
        "posterior": posterior,
        "fid": fid,
        "parzen": parzen,
        "accuracy": accuracy,
    },
    prepare=feature_network,
    described={
        "beta_high": "Weight on the rate of beta_H.",
        "beta_low": "Weight on the rate of beta_A.",
        "weight": "Weight of the MMD.",
        "labelled": "Labelled examples that train the SVM.",
    },
)


def table(number, columns, note):
    """A table of the study with a row for each run."""
    first = [
        Column("Method", lambda runs: METHODS[runs[0]["config"]["method"]]),
        Column("seed", "config.seed", "g"),
    ]
    title = f"Table {number} of The Variational InfoMax Autoencoder"
    return Table(STUDY, [*first, *columns], title, f"table{number}", note=note)


def accuracy_table(number, corrupted, note=""):
    """Tables 2 to 4: accuracies in percent, and the paper's beside them."""

    def percent(label):
        def of(runs):
            found = records.get(runs[0], ["measures", "accuracy", label])
            return None if found is None else 100 * found

        return of

    paper, ours = PUBLISHED[f"table{number}"], []
    for i, label in enumerate(corrupted):
        ours.insert(i, Column(label, percent(label), ".1f"))
        of_paper = published(paper, "dataset", "method", column=i)
        ours.append(Column(f"paper's {label}", of_paper, ".0f"))
    return table(
        number,
        ours,
        "Percent right of an SVM on codes without noise; noise of the given standard "
        f"deviation on each pixel, or the given share of pixels set to 0.{note}",
    )
