"""What the scripts of The Variational InfoMax Autoencoder share: methods and tables.

A run measures all that its data allow: every table is made of the same records.
"""

import collections
import dataclasses
import functools
import json
import pathlib

import keras
import numpy as np
import vimae_information

from echo_keras import metrics, networks, objectives, training
from echo_keras.layers import Logistic
from echo_keras.losses import SquaredError
from echo_keras.studies import (
    Claim,
    Column,
    Study,
    Table,
    all_of,
    differ,
    mean,
    mean_and_error,
    plus_minus,
    published,
    records,
    spread,
)
from echo_keras.studies.measures import FEATURES, feature_network, frechet

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
DENSE = {"latent_dim": 8, "beta_high": 10.0, "beta_low": 0.2, "weight": 10.0}
DENSE |= {"epochs": 80, "learning_rate": 1e-3}
DENSE |= {"kernel": "imq", "divergence": "mmd2", "variant": "paper"}
DENSE["input_noise"] = None
PROTOCOL = {**DENSE, "filters": 128, "labelled": 1000, "compared": 10_000}
PROTOCOL |= {"label_draws": 10, "features": "labels"}
COLOUR = {"latent_dim": 64, "beta_high": 100.0, "beta_low": 0.4, "weight": 100.0}
COLOUR = {**PROTOCOL, **COLOUR, "epochs": 60}
CORRUPTIONS = [("gaussian", 0.2), ("gaussian", 0.3), ("gaussian", 0.4)]
CORRUPTIONS += [("mask", 0.2), ("mask", 0.5)]
PARZEN_IMAGES = 1000
PRETRAINED = 0.1  # where that code stops
CODES = {"sampled": True, "mean": False}
DESCRIBED = {
    "beta_high": "beta of beta_H-VAE.",
    "beta_low": "beta of beta_A-VAE.",
    "weight": "Weight on the MMD of VIMAE.",
    "kernel": "Of the MMD of VIMAE.",
    "divergence": "Of VIMAE: MMD, the paper's Eq. 13, or its square, as WAE has it.",
    "variant": "Of VIMAE: the paper's words, or what the code of WAE does.",
    "input_noise": "Bound of the noise on VIMAE's input. Default: .01, code .02.",
    "features": "Network of the Frechet distance; see echo_keras.studies.measures.",
    "labelled": "Labelled examples that train the SVM.",
    "label_draws": "Machines, each with labelled examples of its own.",
}


CHOICES = {
    "kernel": ["imq", "rbf"],
    "divergence": ["mmd2", "mmd"],
    "variant": ["paper", "published_code"],
    "features": list(FEATURES),
}
OF_VIMAE = ("weight", "kernel", "divergence", "variant", "input_noise")


def configure(config):
    """Without what a method does not have."""
    vimae = config["method"].startswith("vimae")
    return {key: v for key, v in config.items() if vimae or key not in OF_VIMAE}


def objective(config, encoder, decoder):
    """The model of a method, around any networks."""
    method, code = config["method"], (encoder, decoder, config["latent_dim"])
    if method.startswith("vimae"):
        prior = {"n": "normal", "l": "logistic"}[method[-1]]
        return objectives.vim(
            *code,
            weight=config["weight"],
            prior=prior,
            input_noise=config["input_noise"],
            kernel=config["kernel"],
            squared=config["divergence"] == "mmd2",
            variant=config["variant"],
        )
    betas = {"vae": 1.0, "beta-h": config["beta_high"], "beta-a": config["beta_low"]}
    return objectives.vae(*code, beta=betas[method])


def build(config, dataset):
    """The networks of the appendix under the method's objective."""
    arguments = dataset.x_train.shape[1:], config["filters"]
    encoder = networks.wae_encoder(*arguments)
    model = objective(config, encoder, lambda n: networks.wae_decoder(n, *arguments))
    return pretrained(model, config, dataset)


def pretrained(model, config, dataset):
    """With the encoder begun as the code of Wasserstein autoencoders does."""
    if config.get("variant") == "published_code":
        start = optimizer(config["learning_rate"])
        training.pretrain_encoder(
            model,
            dataset.x_train,
            optimizer=start,
            tolerance=PRETRAINED,
            seed=config["seed"],
        )
    return model


def optimizer(rate):
    return keras.optimizers.Adam(rate, beta_1=0.5)


def rotated(x, y):
    """Images in all four rotations, with their labels."""
    turns = [np.rot90(x, k, axes=(1, 2)) for k in range(4)]
    return np.concatenate(turns), np.tile(y, 4)


def with_rotations(dataset, config):
    """Omniglot's training images in all four rotations (App.)."""
    if config["dataset"] != "omniglot_alphabets":
        return dataset
    x, y = rotated(dataset.x_train, dataset.y_train)
    description = f"{dataset.description}; training images in four rotations"
    return dataclasses.replace(dataset, x_train=x, y_train=y, description=description)


def prior_codes(config, n):
    """n codes from the method's prior, of variance 1 in each dimension."""
    generator, shape = np.random.RandomState(config["seed"]), (n, config["latent_dim"])
    if config["method"] == "vimae-l":
        z = generator.logistic(scale=objectives.UNIT_LOGISTIC, size=shape)
    else:
        z = generator.normal(size=shape)
    return z.astype("float32")


def pixels(model, codes):
    return np.clip(metrics.images(model, codes), 0.0, 1.0)


def test_mean(run):
    return metrics.squared_error(run.model, run.dataset.x_test, noisy=False)


def posterior(run):
    """How far codes of test images are from the method's prior."""
    prior = None
    if run.config["method"] == "vimae-l":
        prior = Logistic(objectives.UNIT_LOGISTIC, seed=run.config["seed"])
    z = metrics.encode(run.model, run.dataset.x_test, batch_size=500)
    return metrics.aggregate_posterior(z, prior)


def generated(run):
    """Test images, and as many from the prior."""
    real = metrics.evenly_spaced(run.dataset.x_test, run.config["compared"])
    return real, pixels(run.model, prior_codes(run.config, len(real)))


def fid(run):
    real, images = generated(run)
    return frechet(run, real, {"prior": images})


def information(run):
    return vimae_information.information(run, prior_codes)


def parzen(run):
    few = metrics.evenly_spaced(run.dataset.x_test, 2 * PARZEN_IMAGES)
    _, images = generated(run)
    return metrics.parzen_log_likelihood(images, few[::2], validation=few[1::2])


def accuracy(run):
    """Of an SVM on codes, by which codes it sees; None without labels.

    The paper's are samples of q(z|x + nu) (Sec. 5.3); the means are beside them.
    """
    dataset = run.dataset
    if dataset.y_train is None:
        return None
    return {name: accuracy_on(run, noisy) for name, noisy in CODES.items()}


def accuracy_on(run, noisy):
    """Accuracies on samples or on means of q(z|x)."""
    represent = functools.partial(metrics.encode, run.model, noisy=noisy)
    dataset, seed = run.dataset, run.config["seed"]
    if dataset.name == "omniglot_alphabets":
        return accuracy_on_characters(represent, dataset, seed)
    return metrics.svm_accuracy(
        represent,
        *(dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test),
        CORRUPTIONS,
        seed=seed,
        labelled=min(run.config["labelled"], len(dataset.y_train)),
        draws=run.config["label_draws"],
    )


def accuracy_on_characters(represent, dataset, seed):
    """Mean accuracies on 20 sets of five characters of alphabets that are new.

    Each character is there in 80 images, 20 drawings in four rotations; 60 of them
    train the SVM and 20 test it, a whole drawing on one side (Sec. 5.3).
    """
    found, generator = collections.defaultdict(list), np.random.RandomState(seed)
    labels = np.unique(dataset.y_test)
    for draw in range(20):
        chosen = generator.choice(labels, 5, replace=False)
        rows = [np.flatnonzero(dataset.y_test == label) for label in chosen]
        rows, sides = np.array([generator.permutation(row) for row in rows]), []
        for part in np.split(rows, [rows.shape[1] * 60 // 80], axis=1):
            part = part.ravel()
            sides += rotated(dataset.x_test[part], dataset.y_test[part])
        one = metrics.svm_accuracy(represent, *sides, CORRUPTIONS, seed=draw)
        for key, value in one.items():
            if not key.endswith(("_se", "_sd")):
                found[key].append(value)
    means = {key: float(np.mean(values)) for key, values in found.items()}
    for key, values in found.items():
        means[f"{key}_sd"] = float(np.std(values, ddof=1))
    return means


STUDY = Study(
    "vimae",
    build,
    lambda config: COLOUR if config["dataset"] in ("cifar10", "celeba") else PROTOCOL,
    quick={"digits": {"epochs": 20, "batch_size": 50, "filters": 16}},
    vary={"method": list(METHODS)},
    loss=SquaredError(),
    optimizer=optimizer,
    transform=with_rotations,
    measures={"test_mean": test_mean, "posterior": posterior, "fid": fid}
    | {"parzen": parzen, "accuracy": accuracy, "information": information},
    prepare=feature_network,
    described=DESCRIBED,
    choices=CHOICES,
    configure=configure,
)


def changed(config):
    """In what a method departs from the defaults."""
    betas = {"beta-h": ["beta_high"], "beta-a": ["beta_low"]}
    return [
        f"{key.replace('_', ' ')} {config[key]}"
        for key in [*betas.get(config["method"], ()), *OF_VIMAE]
        if key in config and config[key] != STUDY.protocol_of(config).get(key)
    ]


def as_in_paper(config):
    return not changed(config)


def label(config):
    return ", ".join([METHODS[config["method"]], *changed(config)])


def table(name, columns, note, study=STUDY, claims=()):
    """A table or figure of the paper: a row for each method, means over runs."""
    first = [Column("Method", lambda runs: label(runs[0]["config"]))]
    first.append(Column("runs", len, "d"))
    title = f"{name[:-1].title()} {name[-1]} of The Variational InfoMax Autoencoder"
    return Table(
        study,
        [*first, *columns],
        title,
        name,
        rows=("method", "beta_low", *OF_VIMAE),
        note=note,
        claims=claims,
    )


def of_paper(number, column=None):
    """Function from runs to the paper's number, which is of its beta and lambda."""
    numbers = PUBLISHED[f"table{number}"]
    found = published(numbers, "dataset", "method", column=column)
    return lambda runs: found(runs) if as_in_paper(runs[0]["config"]) else None


def percent(codes, label, runs):
    """Percent right, and the deviation over runs and labelled sets."""
    path = ("measures", "accuracy", codes)
    value = mean(runs, (*path, label))
    if value is None:
        return None
    over_sets, over_runs = (
        mean(runs, (*path, f"{label}_sd")),
        spread(runs, (*path, label)),
    )
    # The mean over labelled sets of a run varies by sd / sqrt(sets) on its own.
    error = [e for e in (over_sets, over_runs) if e is not None]
    return f"{100 * value:.1f}" + (f" ± {100 * max(error):.1f}" if error else "")


def with_information(runs):
    """The runs whose records have entropies: older ones do not."""
    return [run for run in runs if records.get(run, "measures.information")]


def information_of(name):
    """A column of an entropy or what follows from it, over the runs that have it."""
    of = plus_minus(f"measures.information.{name}")
    return lambda runs: of(with_information(runs))


def accuracy_table(number, corrupted, note="", claims=()):
    """Tables 2 to 4: accuracies by what test images have suffered."""
    columns = []
    for codes in CODES:
        columns += [
            Column(f"{x}, {codes}", functools.partial(percent, codes, x))
            for x in corrupted
        ]
    for i, name in enumerate(corrupted):
        columns.append(Column(f"paper's {name}", of_paper(number, i), ".0f"))
    text = (
        "Percent right of an SVM on codes: samples of q(z|x), as in the paper, and "
        "their means; a code of VIMAE has no noise, so that both are one. Noise of the "
        "given deviation on each pixel, or the given share of pixels set to 0. After ± "
        "is the standard deviation over labelled sets, or over runs where that is "
        "larger. The machine is inductive: it does not see the test images' codes, as "
        "the paper's transductive one may."
    )
    more = note if callable(note) else lambda runs: note

    return table(
        f"table{number}",
        columns,
        lambda runs: text + more(runs),
        claims=claims,
    )


def of_method(runs, method):
    """The runs of a method at the paper's beta and lambda: those that claims are of."""
    runs = [run for run in runs if run["config"]["method"] == method]
    return [run for run in runs if as_in_paper(run["config"])]


def by_method(runs, path, error=None):
    """Of each method the mean of a number over runs, and its error."""
    return {m: mean_and_error(of_method(runs, m), path, error) for m in METHODS}


def leads(*columns, codes="sampled"):
    """A verdict on both VIMAE above all others, in each of these columns."""

    def verdict(runs):
        said, ahead = [], []
        for label in columns:
            value = by_method(runs, ("measures", "accuracy", codes, label))
            if None in value.values():
                return None
            ours = min(value["vimae-n"], value["vimae-l"])
            best = max(v for m, v in value.items() if not m.startswith("vimae"))
            said.append(f"{label}: {100 * ours[0]:.1f} against {100 * best[0]:.1f}")
            ahead.append(differ(best, ours))
        return "; ".join(said), all_of(ahead)

    return verdict


def withstand(*corrupted):
    """The claim on accuracies of Tables 2 to 4."""
    text = "codes of both VIMAE withstand noise and masks better than others (Sec. 5.3)"
    return Claim(text, leads(*corrupted))


def lowest(path, *methods, but=(), sign=1, form=".2f"):
    """A verdict on these methods having the lowest of sign times a number.

    `but` are methods that the claim leaves out. A single run tells nothing: errors over
    images or codes are not those of another training.
    """

    def verdict(runs):
        value = by_method(runs, path)
        if None in value.values():
            return None
        value = {m: (sign * v, error) for m, (v, error) in value.items()}
        said = ", ".join(f"{METHODS[m]} {v:{form}}" for m, (v, _) in value.items())
        ours = max(value[method] for method in methods)
        others = min(v for m, v in value.items() if m not in (*methods, *but))
        return said, differ(ours, others)

    return verdict


def collapse_of_beta_a(runs):
    """Whether the codes of beta_A-VAE tell little more than chance at noise .4."""
    path = ("measures", "accuracy", "sampled", "gaussian 0.4")
    found = mean_and_error(of_method(runs, "beta-a"), path)
    if found is None:
        return None
    return f"{100 * found[0]:.1f} percent", differ(found, (0.3, 0.0))
