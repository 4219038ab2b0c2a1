"""Novelty detection with the terms of the bottleneck (BIB-AE paper, Sec. 4.3).

    python reproductions/bib_ae/novelty.py --known 0,1           # digits: a minute
    python reproductions/bib_ae/novelty.py                       # every digit
    python reproductions/bib_ae/novelty.py --dataset mnist --data_dir FOLDER
    python reproductions/bib_ae/novelty.py --dataset mnist --data_dir FOLDER --known all

Models know one class, tested on all test images; or the whole data set, tested against
--others. --train_limit is the most known images.
"""

import dataclasses
import json
import pathlib

import numpy as np
from bib_ae_paper import (
    HIDDEN,
    LATENT_DIM,
    OF_ADAM,
    OF_IMAGES,
    BottleneckStudy,
    dense,
    discriminators,
    optimizers,
)

from echo_keras import data, layers, metrics, objectives
from echo_keras.autoencoders import autoencoder
from echo_keras.studies import (
    Claim,
    Column,
    Option,
    Script,
    Table,
    mean,
    published,
    records,
    start,
)

PUBLISHED = json.loads(
    (pathlib.Path(__file__).parents[1] / "published" / "bib_ae.json").read_text()
)
DETECTORS = {"vae": "VAE", "aae": "AAE", "vae-gan": "VAE/GAN", "bib-ae": "BIB-AE"}
DETECTORS["gpnd"] = "B + C + D"  # what Sec. 4.3 says of its reference [18]
SCORES = {"distortion": "C", "rate": "A", "neg_elbo": "A + C", "data": "D"}
SCORES |= {"marginal": "B", "deviation": "all, deviation"}
SCORES |= {"mahalanobis": "all, Gaussian", "learned": "all, learned"}
SCORES |= {"manifold": "on the manifold"}  # the score of reference [18]


def build(config, dataset):
    encoder, *others = dense(dataset)
    code = encoder(), *others
    images = {"discriminator": layers.conv_discriminator((8, 16, 32)), **OF_IMAGES}
    of_codes = layers.dense_discriminator(HIDDEN)
    if config["method"] == "vae":
        return objectives.vae(*code)
    if config["method"] == "aae":
        return objectives.aae(*code, weight=10.0, discriminator=of_codes)
    if config["method"] == "vae-gan":
        return objectives.vae_gan(*code, **images)
    if config["method"] == "gpnd":
        return autoencoder(
            encoder,
            layers.DeterministicBottleneck(LATENT_DIM, name="bottleneck"),
            others[0],
            [layers.MarginalKLPenalty(10.0, of_codes, name="marginal_kl")],
            gan_penalty=layers.GANPenalty(**images, name="gan_penalty"),
            generated=True,
        )
    return objectives.bib_ae(*code, code_discriminator=of_codes, **images)


def configure(config):
    if config["known"] != "all":
        del config["others"]
    return config


def protocol(config):
    found = {"epochs": 20, "learning_rate": 1e-3}
    return {**found, **discriminators(config), "others": ["fashion_mnist", "omniglot"]}


class Novelty(BottleneckStudy):
    """Trains and tests on known images alone."""

    def load(self, config, data_dir=None):
        whole = super().load({**config, "train_limit": None}, data_dir)
        x, x_test, known = whole.x_train, whole.x_test, config["known"]
        if known != "all":
            if whole.y_train is None or known not in whole.y_train:
                where = f"all or a class of {whole.name}"
                raise ValueError(f"known must be {where}. Received: known={known}")
            x, x_test = x[whole.y_train == known], x_test[whole.y_test == known]
        x, none = x[: config["train_limit"]], dict.fromkeys(("y_train", "y_test"))
        return dataclasses.replace(whole, x_train=x, x_test=x_test, **none)


def others(run):
    """Other data sets, binary or grey as the known images are."""
    names, binarize = run.config.get("others", ()), run.dataset.binarize
    return [data.load(name, run.data_dir, binarize=binarize) for name in names]


def roc_auc(run):
    """The area under the ROC curve of each score, by what is told apart."""
    part, known, samples = run.dataset, run.config["known"], run.config["samples"]
    novel = {other.name: other.x_test for other in others(run)}
    if known != "all":
        whole = data.load(part.name, run.data_dir)
        novel = {f"{known}": whole.x_test[whole.y_test != known]}
    reference = metrics.evenly_spaced(part.x_train, 2000)
    held_out = metrics.evenly_spaced(unseen(run), 2000)
    return metrics.roc_areas(
        run.model,
        novel,
        part.x_test,
        reference,
        samples,
        500,
        held_out=held_out,
        pseudo_novel=cut_up(held_out),
        further={"manifold": metrics.manifold_score(run.model, reference, 500)},
    )


def unseen(run):
    """Known images beyond --train_limit, or if there are few, those of training."""
    limit = run.config["train_limit"]
    x = STUDY.load({**run.config, "train_limit": None}, run.data_dir).x_train
    return x if limit is None or len(x) < limit + 20 else x[limit:]


def cut_up(x):
    """Images whose halves or quarters have changed places, three of each."""
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    steps = (rows, 0), (0, columns), (rows, columns)
    return np.concatenate([np.roll(x, step, axis=(1, 2)) for step in steps])


def checksums(run):
    return {other.name: other.checksum for other in others(run)}


STUDY = Novelty(
    "bib_ae_novelty",
    build,
    protocol,
    quick={"digits": {"epochs": 40, "batch_size": 32}},
    vary={"known": [*range(10), "all"], "method": list(DETECTORS)},
    configure=configure,
    measures={"roc_auc": roc_auc, "other_checksums": checksums},
    paper=False,
    described={"others": "--known=all: novel data sets."},
    choices={"others": data.names()},
)


def split(run):
    """A record for each score that the model has."""
    areas, config = run["measures"]["roc_auc"], run["config"]
    return [
        {**run, "config": {**config, "score": score}}
        | {"area": {label: area[score] for label, area in areas.items()}}
        for score in SCORES
        if all(score in area for area in areas.values())
    ]


def columns(section):
    def area(label):
        return lambda runs: mean(
            [r for r in runs if label in r["area"]], f"area.{label}"
        )

    labels = sorted({label for run in section for label in run["area"]})
    found = [Column(label, area(label), ".1%") for label in labels]

    def overall(runs):
        areas = [column.of(runs) for column in found]
        return None if None in areas else sum(areas) / len(areas)

    of_classes = "others" not in section[0]["config"]
    return [
        Column("Method", published(DETECTORS, "method")),
        Column("score", published(SCORES, "score")),
        *found,
        *[Column("mean", overall, ".1%")] * of_classes,
    ]


def of_images(section):
    """Does D tell novel images, by two standard errors over what is novel?"""
    found, lowest, highest = [], [], []
    for row in records.group(section, ["method"]):
        by_score = {
            score: [
                a
                for r in row
                if r["config"]["score"] == score
                for a in r["area"].values()
            ]
            for score in ("data", "distortion")
        }
        areas = by_score["data"]
        if areas:
            at, spread = np.mean(areas), 2 * np.std(areas) / len(areas) ** 0.5
            lowest.append(at - spread)
            highest.append(at + spread)
            name = DETECTORS[row[0]["config"]["method"]]
            found.append(f"{name} {at:.1%} (C {np.mean(by_score['distortion']):.1%})")
    if not found:
        return None
    agrees = True if min(lowest) > 0.5 else False if max(highest) < 0.5 else None
    return f"mean areas of D {', '.join(found)}", agrees


def elsewhere(section):
    """What a detector that is no autoencoder has on the same classes."""
    config = section[0]["config"]
    areas = PUBLISHED["novelty"].get(config["dataset"])
    if areas is None or "others" in config:
        return ""
    return (
        " For comparison Deep SVDD (Ruff et al., 2018; all training images of a class, "
        f"ten runs) has {', '.join(map(str, areas))} %, {np.mean(areas):.1f} in the "
        "mean."
    )


def note(section):
    of_adam = optimizers(section)
    return NOTE + elsewhere(section) + (f" {of_adam}" if of_adam else "")


NOTE = (
    "Area under the ROC curve of test images, 50 % for a score that says nothing. "
    "The class in a column is known, all others are novel; or the data set is known, "
    "that in a column novel. Scores: the rate (A), the distortion (C), both, minus a "
    "discriminator's log-ratio of the image itself (D) or of its code (B), and all: by "
    "how many standard deviations A, B, C and D, as far as a model has them, are off "
    "their means over training images, whether above or below. Fitted to known images "
    "beyond the train limit (without one, to training images): a Gaussian to these "
    "terms (Gaussian), and a logistic regression that tells them from images whose "
    "halves or quarters have changed places (learned). On the manifold: minus the "
    "log-density of the image around the decoder's linearized manifold, fitted to "
    "training images."
)
TABLE = Table(
    STUDY,
    columns,
    title="Novelty detection with the terms of the BIB-AE",
    name="novelty",
    rows=("method", "score", *OF_ADAM),
    split=split,
    sort=lambda run: [
        list(names).index(run["config"][key])
        for key, names in (("method", DETECTORS), ("score", SCORES))
    ],
    note=note,
    claims=[Claim("the output of term D detects outliers (Sec. 4.3)", of_images)],
)


def vary(options):
    known = options.known and [int(x) if x.isdigit() else x for x in options.known]
    return {"known": known or list(range(10))}


KNOWN = Option("known", None, "Classes, each by itself; or all. Default: each.", [str])
main = Script(STUDY, [TABLE], options=[KNOWN], without=["knowns"], vary=vary)

if __name__ == "__main__":
    start(main)
