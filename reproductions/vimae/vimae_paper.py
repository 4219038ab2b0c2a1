"""What the scripts of The Variational InfoMax Autoencoder share: methods and tables.

All tables are columns of the same runs: a run trains a method on a data set and
measures everything that its data allow, so that a script's table comes from records
which another script may have made. A finished run is never run twice.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Callable

import keras
import numpy as np
from absl import flags

from echo_keras import (
    experiments,
    image_experiments,
    metrics,
    networks,
    objectives,
    wae_experiments,
)
from echo_keras.experiments import number
from echo_keras.layers import Logistic
from echo_keras.losses import SquaredError
from echo_keras.metrics import disentanglement, robustness, sample_quality
from echo_keras.studies import records

OUT_DIR = "runs/vimae"
METHODS = {
    "vae": "VAE",
    "beta-h": "beta_H-VAE",
    "beta-a": "beta_A-VAE",
    "vimae-n": "VIMAE-n",
    "vimae-l": "VIMAE-l",
}
# App., MNIST and Omniglot; CelebA and CIFAR-10. beta_A is of Sec. 5.2.
PROTOCOL = {
    "code": 8,
    "beta_high": 10.0,
    "beta_low": 0.2,
    "weight": 10.0,
    "epochs": 80,
    "batch_size": 100,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "train_limit": None,
    "filters": 128,
}
COLOUR = {
    **PROTOCOL,
    "code": 64,
    "beta_high": 100.0,
    "beta_low": 0.4,
    "weight": 100.0,
    "epochs": 60,
}
# On the embedded digits, to see a script run: minutes instead of days.
DIGITS = {"epochs": 20, "batch_size": 50, "filters": 16}
CORRUPTIONS = [
    ("gaussian", 0.2),
    ("gaussian", 0.3),
    ("gaussian", 0.4),
    ("mask", 0.2),
    ("mask", 0.5),
]
PARZEN_IMAGES = 1000
OF_OMNIGLOT = {"characters": 5, "train": 60, "test": 20, "draws": 20}

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum("infomax", list(METHODS), list(METHODS), "Methods.")
flags.DEFINE_integer(
    "labelled", 1000, "Labelled examples that train the SVM. Paper: 1,000.", 2
)


@dataclasses.dataclass
class Table:
    """What a script shows of the runs.

    Attributes:
        number: The table's number in the paper.
        header: Names of the columns behind method and seed.
        cells: Function from a record to the strings of these columns.
        note: Sentences under the table.
    """

    number: int
    header: list[str]
    cells: Callable
    note: str


def main(argv, table):
    """Trains what has no record yet, and renders a table from all records."""
    out, dataset = image_experiments.prepare(argv, OUT_DIR)
    configs = configurations()
    try:
        run_all(out, dataset, configs)
    finally:  # what is finished is worth a table, whatever failed
        if records.read(out):
            print(f"\n{write_table(out, table)}\n")
    return out, dataset, configs


def paper_of(name):
    """The paper's protocol on a data set."""
    return COLOUR if name in ("cifar10", "celeba") else PROTOCOL


def configurations():
    """Those that the flags ask for: every method and seed."""
    protocol = paper_of(FLAGS.dataset)
    own = DIGITS if FLAGS.dataset == "digits" else {}
    return [
        {
            "dataset": FLAGS.dataset,
            "method": method,
            "seed": seed,
            "samples": FLAGS.samples,
            "compared": FLAGS.compared,
            "labelled": FLAGS.labelled,
            **image_experiments.chosen({**protocol, **own}),
        }
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for method in FLAGS.infomax
    ]


def run_name(config):
    """A file name that tells runs apart."""
    paper = {**paper_of(config["dataset"]), "labelled": 1000, "compared": 10_000}
    return wae_experiments.run_name(config, paper)


def objective(config, encoder, decoder):
    """The model of a method, around any networks."""
    pair = (encoder, decoder, config["code"])
    method = config["method"]
    if method.startswith("vimae"):
        prior = {"n": "normal", "l": "logistic"}[method[-1]]
        return objectives.vim(*pair, weight=config["weight"], prior=prior)
    betas = {"vae": 1.0, "beta-h": config["beta_high"], "beta-a": config["beta_low"]}
    return objectives.vae(*pair, beta=betas[method])


def build(config, image_shape):
    """The networks of the appendix under the method's objective."""
    filters = config["filters"]
    return objective(
        config,
        networks.wae_encoder(image_shape, filters),
        lambda units: networks.wae_decoder(units, image_shape, filters),
    )


def optimizer(rate):
    return keras.optimizers.Adam(rate, beta_1=0.5)


def train_and_measure(config, out, data_dir=None, tensorboard=False):
    """One run, from its configuration to its record. Resumes; writes no record."""
    record = image_experiments.train_and_measure(
        config,
        lambda images, steps: build(config, images.shape[1:]),
        experiments.run_folder(out, run_name(config)),
        data_dir,
        tensorboard,
        echoes=["bank"],
        optimizer=optimizer,
        loss=SquaredError(),
        treat=with_rotations if config["dataset"] == "omniglot_alphabets" else None,
        measure=lambda model, dataset: measured(model, dataset, config, out, data_dir),
    )
    return {"experiment": "vimae", **record}


def measured(model, dataset, config, out, data_dir):
    """Errors, codes, and the quality of images and of codes as features."""
    decoder = model.get_layer("decoder")
    found = {
        "test_mean": wae_experiments.error(model, dataset.x_test, noisy=False),
        "posterior": metrics.aggregate_posterior(
            metrics.encode(model, dataset.x_test), prior_of(config)
        ),
    }
    real = wae_experiments.some(dataset.x_test, config["compared"])
    images = wae_experiments.pixels(decoder, prior_codes(config, len(real)))
    network, described = wae_experiments.features(
        config["dataset"], data_dir, pathlib.Path(out)
    )
    found["fid"] = {
        **described,
        **wae_experiments.distances(network, real, {"prior": images}),
    }
    few = wae_experiments.some(dataset.x_test, 2 * PARZEN_IMAGES)
    found["parzen"] = sample_quality.parzen_log_likelihood(
        images, few[::2], validation=few[1::2]
    )
    network = disentanglement.representation(model)

    def represent(x):
        return metrics.map_batches(network, x)

    if dataset.name == "omniglot_alphabets":
        found["accuracy"] = accuracy_on_characters(represent, dataset, config["seed"])
    elif dataset.y_train is not None:
        n = min(config["labelled"], len(dataset.y_train))
        rows = robustness.labelled(dataset.y_train, n, seed=config["seed"])
        found["accuracy"] = robustness.svm_accuracy(
            represent,
            dataset.x_train[rows],
            dataset.y_train[rows],
            dataset.x_test,
            dataset.y_test,
            CORRUPTIONS,
            seed=config["seed"],
        )
    return found


def prior_of(config):
    """The prior of a method as a layer; None for the standard normal."""
    if config["method"] != "vimae-l":
        return None
    return Logistic(objectives.UNIT_LOGISTIC, seed=config["seed"])


def prior_codes(config, n):
    """n codes from the method's prior, of variance 1 in each dimension."""
    generator = np.random.RandomState(config["seed"])
    shape = (n, config["code"])
    if config["method"] == "vimae-l":
        z = generator.logistic(scale=objectives.UNIT_LOGISTIC, size=shape)
    else:
        z = generator.normal(size=shape)
    return z.astype("float32")


def accuracy_on_characters(represent, dataset, seed):
    """Mean accuracies on random sets of five characters of the evaluation alphabets.

    Each character is there in 80 images, 20 drawings in four rotations; 60 of them
    train the SVM and 20 test it, a whole drawing on one side (Sec. 5.3).
    """
    many = []
    generator = np.random.RandomState(seed)
    rows_of = collections.defaultdict(list)
    for row, label in enumerate(dataset.y_test):
        rows_of[label].append(row)
    for draw in range(OF_OMNIGLOT["draws"]):
        labels = generator.choice(
            sorted(rows_of), OF_OMNIGLOT["characters"], replace=False
        )
        rows = np.array([generator.permutation(rows_of[label]) for label in labels])
        split = rows.shape[1] * OF_OMNIGLOT["train"] // 80
        sides = []
        for part in (rows[:, :split].ravel(), rows[:, split:].ravel()):
            x, y = rotated(dataset.x_test[part], dataset.y_test[part])
            sides += [x, y]
        many.append(robustness.svm_accuracy(represent, *sides, CORRUPTIONS, seed=draw))
    means = {}
    for label in many[0]:
        values = [one[label] for one in many]
        means[label] = float(np.mean(values))
    for label in [k for k in means if not k.endswith("_se")]:
        spread = np.std([one[label] for one in many], ddof=1)
        means[f"{label}_se"] = float(spread / np.sqrt(len(many)))
    return means


def rotated(x, y):
    """Images in all four rotations, with their labels."""
    turns = [np.rot90(x, k, axes=(1, 2)) for k in range(4)]
    return np.concatenate(turns), np.tile(y, 4)


def run_all(out, dataset, configs):
    """Trains what has no record yet; returns the records, in order."""
    # Here and once: runs in other processes then only load the network.
    wae_experiments.features(FLAGS.dataset, FLAGS.data_dir, out)
    return experiments.run_all(
        train_and_measure, out, configs, run_name, dataset.checksum
    )


def load_model(out, config):
    """The trained model of a run, or None with a line that says it is gone."""
    return experiments.load_model(out, run_name(config))


def write_table(out, table):
    """Writes a script's table from the records in `out`; returns it.

    Args:
        out: Folder of the records.
        table: A `Table`.
    """
    shared = ["dataset", "labelled", *PROTOCOL]
    sections = []
    for protocol, runs in records.by_protocol(records.read(out), shared):
        paper = {**paper_of(protocol["dataset"]), "labelled": 1000}
        order = list(METHODS)
        runs.sort(
            key=lambda r: (order.index(r["config"]["method"]), r["config"]["seed"])
        )
        body = [
            [METHODS[r["config"]["method"]], r["config"]["seed"], *table.cells(r)]
            for r in runs
        ]
        sections.append(
            f"## {protocol['dataset']}: {experiments.reduction(protocol, paper)}\n\n"
            f"{records.markdown(['Method', 'seed', *table.header], body)}\n\n"
            f"{table.note} {wae_experiments.provenance(runs)}"
        )
    title = f"# Table {table.number} of The Variational InfoMax Autoencoder"
    text = "\n\n".join([title, *sections])
    (out / f"table{table.number}.md").write_text(text + "\n")
    return text


def theirs(run, published):
    """The paper's numbers of a run's method on its data, or Nones."""
    config = run["config"]
    rows = published.get(config["dataset"], {})
    length = len(next(iter(next(iter(published.values())).values())))
    return rows.get(config["method"], (None,) * length)


def accuracies(run, labels):
    """Cells: accuracies in percent."""
    found = run.get("accuracy", {})
    return [number(percent(found.get(label)), ".1f") for label in labels]


def percent(x):
    return None if x is None else 100 * x


def accuracy_table(table, corrupted, published, note=""):
    """The `Table` of accuracies, Tables 2 to 4.

    Args:
        table: Its number.
        corrupted: What test images have suffered: labels of `robustness.svm_accuracy`.
        published: Dict from a data set to a dict from a method to percents.
        note: More sentences under the table.
    """

    def cells(run):
        paper = [number(x, ".0f") for x in theirs(run, published)]
        return accuracies(run, corrupted) + paper

    return Table(
        number=table,
        header=[*corrupted, *(f"paper's {name}" for name in corrupted)],
        cells=cells,
        note="Percent right of an SVM on codes without noise; noise of the given "
        "standard deviation on each pixel, or the given share of pixels set to 0."
        + note,
    )


def with_rotations(dataset):
    """The data set, its training images in all four rotations (App.)."""
    x, y = rotated(dataset.x_train, dataset.y_train)
    description = f"{dataset.description}; training images in four rotations"
    return dataclasses.replace(dataset, x_train=x, y_train=y, description=description)
