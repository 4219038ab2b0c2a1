r"""Novelty detection with the terms of the bottleneck (BIB-AE paper, Sec. 4.3).

    python reproductions/bib_ae/novelty.py --known 0,1           # digits: a minute
    python reproductions/bib_ae/novelty.py                       # every digit
    python reproductions/bib_ae/novelty.py --dataset mnist --data_dir FOLDER
    python reproductions/bib_ae/novelty.py --dataset mnist --data_dir FOLDER --known all

Four objectives, VAE, AAE, VAE/GAN and BIB-AE, on dense networks learn what is known:
one class of a data set, tested on all its test images; or, with --known=all, the whole
data set, tested against the test images of --others. How well each term of a model at a
single image tells novel from known images is measured by the area under the ROC curve.
Each run leaves one JSON record; a finished run is never run twice and an interrupted
one resumes. From the records comes novelty.md.

The paper says what could be done and gives neither a protocol nor numbers.
--train_limit is the most images that are known to a model.
"""

import collections
import dataclasses

import keras
import numpy as np
from absl import app, flags

from echo_keras import (
    data,
    experiments,
    image_experiments,
    networks,
    objectives,
    training,
    wae_experiments,
)
from echo_keras.experiments import number
from echo_keras.layers import conv_discriminator, dense_discriminator
from echo_keras.metrics import novelty
from echo_keras.studies import records

OUT_DIR = "runs/bib_ae_novelty"
DETECTORS = {"vae": "VAE", "aae": "AAE", "vae-gan": "VAE/GAN", "bib-ae": "BIB-AE"}
SCORES = {
    "distortion": "C",
    "rate": "A",
    "neg_elbo": "A + C",
    "data": "D",
    "combined": "all, standardised",
}
PROTOCOL = {
    "code": 16,
    "hidden": 256,
    "discriminator_filters": 8,
    "epochs": 20,
    "batch_size": 100,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "train_limit": None,
    "samples": 1,
}
# On the embedded digits, where a class has 130 images.
DIGITS = {"epochs": 40, "batch_size": 32}
REFERENCE_IMAGES = 2000
BATCH = 500  # of what is only measured

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "known",
    ["each"],
    "Classes that a model is trained on, each by itself; 'each' class; or 'all' images "
    "of the data set, tested against other data sets.",
)
flags.DEFINE_multi_enum(
    "others",
    ["fashion_mnist", "omniglot"],
    data.names(),
    "--known=all: novel data sets.",
)
flags.DEFINE_multi_enum("detectors", list(DETECTORS), list(DETECTORS), "Objectives.")


def main(argv):
    out = experiments.prepare(argv, OUT_DIR)
    dataset = data.load(FLAGS.dataset, FLAGS.data_dir)
    configs = configurations(dataset)
    try:
        experiments.run_all(train_and_measure, out, configs, run_name, dataset.checksum)
    finally:  # what is finished is worth a table, whatever failed
        if records.read(out):
            print(f"\n{write_table(out)}\n")


def configurations(dataset):
    """Those that the flags ask for: every seed, kind of known images and method."""
    own = DIGITS if dataset.name == "digits" else {}
    protocol = image_experiments.chosen({**PROTOCOL, **own})
    return [
        {
            "dataset": dataset.name,
            "task": "all" if known == "all" else "one class",
            "known": known,
            "others": FLAGS.others if known == "all" else [],
            "method": method,
            "seed": seed,
            **protocol,
        }
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for known in asked_for(FLAGS.known, dataset)
        for method in FLAGS.detectors
    ]


def asked_for(known, dataset):
    """Classes as ints, or "all": what --known says.

    Raises:
        app.UsageError: a class is not among those of the data set.
    """
    if known == ["all"]:
        return known
    if dataset.y_train is None:
        raise app.UsageError(f"{dataset.name} has no classes; ask for --known=all.")
    classes = np.unique(dataset.y_train).tolist()
    if known == ["each"]:
        return classes
    wrong = [name for name in known if name not in map(str, classes)]
    if wrong or not known:
        raise app.UsageError(
            f"--known takes 'each', 'all', or classes of {dataset.name}, which are "
            f"{', '.join(map(str, classes))}; found {', '.join(known) or 'nothing'}."
        )
    return [int(name) for name in known]


def run_name(config):
    """A file name that tells runs apart."""
    known = config["known"]
    named = ["all", *config["others"]] if known == "all" else [f"class{known}"]
    name = "-".join([config["dataset"], *named])
    return wae_experiments.run_name({**config, "dataset": name}, PROTOCOL)


def build(config, image_shape):
    """Dense networks under the method's objective."""
    hidden = (config["hidden"],) * 2
    pair = (
        networks.dense_encoder(image_shape, hidden),
        lambda units: networks.dense_decoder(units, image_shape, hidden),
        config["code"],
    )
    filters = [times * config["discriminator_filters"] for times in (1, 2, 4)]
    # Weights, since distortions are of the order of 100 nats, and B and D of 1.
    of_images = {
        "discriminator": conv_discriminator(filters),
        "logits": True,
        "weight": 5.0,
    }
    of_codes = dense_discriminator(hidden)
    if config["method"] == "vae":
        return objectives.vae(*pair)
    if config["method"] == "aae":
        return objectives.aae(*pair, weight=10.0, discriminator=of_codes)
    if config["method"] == "vae-gan":
        return objectives.vae_gan(*pair, **of_images)
    return objectives.bib_ae(*pair, code_discriminator=of_codes, **of_images)


def optimizer(rate):
    """Adam, and for discriminators Adam at the same rate with less memory."""
    discriminators = keras.optimizers.Adam(rate, beta_1=0.5)
    return training.with_discriminator_optimizer(
        keras.optimizers.Adam(rate), discriminators
    )


def only_known(dataset, known, limit=None):
    """The data set without images of other classes, and those of its test set."""
    x, x_test, novel = dataset.x_train, dataset.x_test, None
    if known != "all":
        x = x[dataset.y_train == known]
        of_class = dataset.y_test == known
        x_test, novel = x_test[of_class], x_test[~of_class]
    part = dataclasses.replace(
        dataset, x_train=x[:limit], y_train=None, x_test=x_test, y_test=None
    )
    return part, novel


def train_and_measure(config, out, data_dir=None, tensorboard=False):
    """One run, from its configuration to its record. Resumes; writes no record."""
    dataset = data.load(config["dataset"], data_dir)
    part, rest = only_known(dataset, config["known"], config["train_limit"])
    # Binary or grey as the known images are: that alone shall not tell.
    others = {
        name: data.load(name, data_dir, binarize=dataset.binarize)
        for name in config["others"]
    }
    novel = {name: other.x_test for name, other in others.items()}
    if rest is not None:
        novel = {str(config["known"]): rest}

    def measure(model, part):
        some = wae_experiments.some(part.x_train, REFERENCE_IMAGES)
        reference = novelty.scores(model, some, config["samples"], BATCH)

        def scores(x):
            found = novelty.scores(model, x, config["samples"], BATCH)
            return {**found, "combined": novelty.combined_score(found, reference)}

        known = scores(part.x_test)
        return {
            "roc_auc": {
                label: {
                    name: novelty.roc_auc(values, known[name])
                    for name, values in scores(x).items()
                }
                for label, x in novel.items()
            },
            "novel_images": {label: len(x) for label, x in novel.items()},
            "other_checksums": {name: x.checksum for name, x in others.items()},
        }

    record = image_experiments.train_and_measure(
        {**config, "train_limit": None},
        lambda images, steps: build(config, images.shape[1:]),
        experiments.run_folder(out, run_name(config)),
        data_dir,
        tensorboard,
        echoes=["bank"],
        optimizer=optimizer,
        treat=lambda dataset: part,
        measure=measure,
    )
    return {"experiment": "bib_ae_novelty", **record, "config": config}


def write_table(out):
    """Writes novelty.md from the records in `out`; returns it."""
    groups = records.by_protocol(records.read(out), ["task", "dataset", *PROTOCOL])
    sections = [section(protocol, runs) for protocol, runs in groups]
    text = "\n\n".join(["# Novelty detection with the terms of the BIB-AE", *sections])
    (out / "novelty.md").write_text(text + "\n")
    return text


def section(protocol, runs):
    """One table in Markdown: what shares data and a protocol."""
    one_class = protocol["task"] == "one class"
    areas = collections.defaultdict(list)
    for run in runs:
        for label, of_label in run["roc_auc"].items():
            for score, area in of_label.items():
                areas[run["config"]["method"], score, label].append(area)
    labels = {label for _, _, label in areas}
    labels = sorted(labels, key=int) if one_class else sorted(labels)
    body = []
    for method, name in DETECTORS.items():
        for score, terms in SCORES.items():
            found = [np.mean(areas.get((method, score, x), np.nan)) for x in labels]
            if np.isnan(found).all():
                continue
            cells = [number(100 * area, ".1f") for area in found]
            if one_class:
                cells.append(number(100 * np.mean(found), ".1f"))
            body.append([name, terms, *cells])
    header = ["Method", "score", *labels, *(["mean"] if one_class else [])]
    trained_on = sorted({run["data"]["training_images"] for run in runs})
    images = " to ".join(f"{n:,}" for n in sorted({trained_on[0], trained_on[-1]}))
    seeds = len({run["config"]["seed"] for run in runs})
    known = (
        "The class in a column is known, all others are novel."
        if one_class
        else f"{protocol['dataset']} is known, the data set in a column is novel."
    )
    own = {k: v for k, v in protocol.items() if k not in ("task", "schedule")}
    return (
        f"## {protocol['dataset']}, {protocol['task']} known: "
        f"{wae_experiments.own_protocol(own)}\n\n"
        f"{records.markdown(header, body)}\n\n"
        "Area under the ROC curve in percent, 50 for a score that says nothing; test "
        f"images, means over {seeds} seed{'s' * (seeds > 1)}. {known} Scores: the "
        "rate (A), the distortion (C), both, minus the discriminator's log-ratio of the image "
        "itself (D), and the mean of A, C and D, as far as the model has them, each "
        f"standardised by training images, of which there are {images}. The paper "
        f"gives no numbers. {wae_experiments.provenance(runs)}"
    )


if __name__ == "__main__":
    app.run(main)
