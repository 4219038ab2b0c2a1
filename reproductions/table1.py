"""Table 1 of the Echo paper: rate, distortion and -ELBO on held-out images.

    python reproductions/table1.py                          # digits, minutes on a CPU
    python reproductions/table1.py --dataset omniglot --data_dir FOLDER --runs 10

The defaults are the paper's protocol (Sec. 5.1, App. E), or a short one on the
embedded `digits`. Each run leaves one JSON record in --out_dir. A finished run is
never run twice and an interrupted one resumes. From the records come table1.md,
table1.csv and the training curves; from the first run's models the reconstructions
and the images generated from q(z), or from the prior of a VAE.
"""

import collections
import csv
import json
import math
import pathlib

import keras
import numpy as np
from absl import app, flags

from echo_keras import data, evaluation, models, plots, records, training
from echo_keras.layers import EchoBottleneck, GaussianBottleneck

METHODS = ("echo", "vae")
PARAMETRIZATIONS = ("standardized", "paper")

# What the paper trains with, and what a reduced run is measured against.
PROTOCOL = {
    "epochs": 200,
    "batch_size": 100,
    "learning_rate": 3e-4,
    "schedule": "paper",
    "beta": 1.0,
    "train_limit": None,
}
DIGITS_PROTOCOL = {**PROTOCOL, "epochs": 40, "learning_rate": 1e-3}

# Rate, distortion, -ELBO and sigma of the paper's Table 1.
PAPER = {
    ("binary_mnist", "echo"): (26.4, 62.4, 88.8, 0.18),
    ("binary_mnist", "vae"): (26.2, 63.6, 89.8, 0.18),
    ("omniglot", "echo"): (30.2, 84.4, 114.6, 0.30),
    ("omniglot", "vae"): (30.5, 86.5, 117.0, 0.44),
    ("fashion_mnist", "echo"): (16.6, 218.3, 234.9, 0.21),
    ("fashion_mnist", "vae"): (15.7, 219.3, 235.0, 0.10),
}
PAPER_COLUMNS = ("rate", "distortion", "neg_elbo", "sigma")
NAMES = {"echo": "Echo", "vae": "VAE"}
VALIDATION_IMAGES = 2000

FLAGS = flags.FLAGS
flags.DEFINE_enum("dataset", "digits", data.names(), "Data set.")
flags.DEFINE_list("methods", list(METHODS), f"Of {', '.join(METHODS)}.")
flags.DEFINE_integer("runs", 1, "Runs of each method, with seeds from --seed on.", 1)
flags.DEFINE_integer("epochs", None, "Paper: 200.", 1)
flags.DEFINE_float("beta", None, "Weight on the rate. Paper: 1.", 0.0)
flags.DEFINE_integer("batch_size", None, "Paper: 100.", 2)
flags.DEFINE_float("learning_rate", None, "Of Adam. Paper: 3e-4.", 0.0)
flags.DEFINE_enum(
    "schedule",
    None,
    training.SCHEDULES,
    "Second half of training: linear to 0 as in the paper, rising as in the code that "
    "was published, or constant.",
)
flags.DEFINE_enum(
    "parametrization",
    "standardized",
    PARAMETRIZATIONS,
    "Of Echo's f and s; see echo_keras.layers.EchoBottleneck.",
)
flags.DEFINE_string("data_dir", None, "Folder with the data set's files.")
flags.DEFINE_string("out_dir", "runs/table1", "Folder for records, table, figures.")
flags.DEFINE_integer("seed", 0, "Seed of the first run.", 0)
flags.DEFINE_integer("train_limit", None, "Train on the first so many images.", 1)
flags.DEFINE_integer("samples", 1, "Codes drawn for each test image. Paper: 1.", 1)
flags.DEFINE_bool("tensorboard", False, "Also write TensorBoard logs.")


@flags.validator("methods", message=f"the methods are {', '.join(METHODS)}")
def _known(methods):
    return bool(methods) and set(methods) <= set(METHODS)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    out = pathlib.Path(FLAGS.out_dir)
    out.mkdir(parents=True, exist_ok=True)
    dataset = data.load(FLAGS.dataset, FLAGS.data_dir, limit=FLAGS.train_limit)
    print(
        f"{dataset.name}: {dataset.description}\n"
        f"{dataset.source}, {len(dataset.x_train)} training and "
        f"{len(dataset.x_test)} test images, checksum {dataset.checksum}"
    )
    for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs):
        for method in FLAGS.methods:
            run(out, dataset, configuration(method, seed))
    print(f"\n{write_table(out)}\n")
    draw(out, dataset)


def configuration(method, seed):
    """Everything that decides a run's numbers, given the data."""
    protocol = DIGITS_PROTOCOL if FLAGS.dataset == "digits" else PROTOCOL
    config = {
        "dataset": FLAGS.dataset,
        "method": method,
        "seed": seed,
        "samples": FLAGS.samples,
    }
    for name, value in protocol.items():
        chosen = getattr(FLAGS, name)
        config[name] = value if chosen is None else chosen
    if method == "echo":
        config["parametrization"] = FLAGS.parametrization
        # The paper's choice, so that the batch provides all echoes.
        config["d_max"] = config["batch_size"] - 1
    return config


def run_name(config):
    """A file name that tells runs apart."""
    method = config["method"]
    if config.get("parametrization") == "paper":
        method += "-as_in_paper"
    return f"{config['dataset']}-{method}-{protocol_name(config)}-seed{config['seed']}"


def protocol_name(config):
    """The epochs, and what else departs from the paper's protocol."""
    parts = [f"{config['epochs']}epochs"]
    if config["train_limit"]:
        parts.append(f"{config['train_limit']}images")
    if config["beta"] != 1:
        parts.append(f"beta{config['beta']:g}")
    if config["batch_size"] != 100:
        parts.append(f"batch{config['batch_size']}")
    if config["schedule"] != "paper":
        parts.append(config["schedule"])
    if config["learning_rate"] != 3e-4:
        parts.append(f"rate{config['learning_rate']:g}")
    if config["samples"] != 1:
        parts.append(f"{config['samples']}samples")
    return "-".join(parts)


def build(config):
    """The paper's network around the method's bottleneck."""
    if config["method"] == "echo":
        bottleneck = EchoBottleneck(
            32,
            parametrization=config["parametrization"],
            d_max=config["d_max"],
            beta=config["beta"],
            name="bottleneck",
        )
    else:
        bottleneck = GaussianBottleneck(32, beta=config["beta"], name="bottleneck")
    return models.conv_autoencoder(bottleneck)


def run(out, dataset, config):
    """Trains and measures one model, unless its record is there already."""
    name = run_name(config)
    path = out / f"{name}.json"
    if path.exists():
        done = json.loads(path.read_text())
        if done["data"]["checksum"] != dataset.checksum:
            raise ValueError(
                f"{path.name} was made with other data ({done['data']['checksum']}) "
                f"than the data found now ({dataset.checksum}): choose another "
                "--out_dir."
            )
        print(f"{name}: finished before, not run again")
        return
    print(f"{name}: training")
    every = max(1, len(dataset.x_test) // VALIDATION_IMAGES)
    model, history = training.train(
        lambda: build(config),
        dataset.x_train,
        out / "checkpoints" / name,
        epochs=config["epochs"],
        batch_size=config["batch_size"],
        learning_rate=config["learning_rate"],
        schedule=config["schedule"],
        seed=config["seed"],
        binarize=dataset.binarize == "dynamic",
        validation=dataset.x_test[::every],
        tensorboard=FLAGS.tensorboard,
    )
    # As in the paper the echoes come from the other images of the test batch. The
    # second result is what a user's `predict` does.
    test = {
        echoes: evaluation.evaluate(
            model,
            dataset.x_test,
            samples=config["samples"],
            echoes=echoes,
            batch_size=config["batch_size"],
        )
        for echoes in evaluation.ECHOES
    }
    record = {
        "experiment": "table1",
        "config": config,
        "data": {
            "source": dataset.source,
            "description": dataset.description,
            "checksum": dataset.checksum,
            "training_images": len(dataset.x_train),
            "test_images": len(dataset.x_test),
            "validation": f"every {every}. test image" if every > 1 else "test images",
        },
        **records.environment(),
        "parameters": sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        "seconds": round(sum(logs["seconds"] for logs in history), 1),
        "test": test,
        "history": history,
    }
    training.write_json(path, record)


def write_table(out):
    """Writes table1.md and table1.csv from the records in `out`; returns the text."""
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for record in records.read(out):
        protocol = dict(record["config"])
        protocol.pop("seed")
        protocol.pop("d_max", None)
        method = protocol.pop("method"), protocol.pop("parametrization", None)
        groups[json.dumps(protocol)][method].append(record)
    sections, lines = [], []
    for protocol, methods in groups.items():
        protocol = json.loads(protocol)
        rows = [
            summary(*method, runs) for method, runs in sorted(methods.items(), key=str)
        ]
        sections.append(section(protocol, rows, sum(methods.values(), [])))
        lines += [{**protocol, **row} for row in rows]
    text = "\n\n".join(sections)
    (out / "table1.md").write_text(f"# Table 1 of the Echo paper\n\n{text}\n")
    with open(out / "table1.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return text


def summary(method, parametrization, runs):
    """One row: our means over runs, the paper's numbers, and their difference."""
    paper = PAPER.get((runs[0]["config"]["dataset"], method), (None,) * 4)
    row = {
        "method": method,
        "parametrization": parametrization,
        **records.summarize(runs),
        "neg_elbo_bank": records.summarize(runs, echoes="bank")["neg_elbo"],
        "parameters": runs[0]["parameters"],
        **dict(zip([f"paper_{name}" for name in PAPER_COLUMNS], paper, strict=True)),
        "difference": None,
    }
    if paper[2]:
        row["difference"] = (row["neg_elbo"] - paper[2]) / paper[3]
    return row


def section(protocol, rows, runs):
    """One table in Markdown: the methods that share a data set and a protocol."""

    def number(x, form=".2f"):
        return "-" if x is None or math.isnan(x) else format(x, form)

    body = [
        [
            label(row["method"], row["parametrization"]),
            *(number(row[name]) for name in ("rate", "distortion", "neg_elbo")),
            number(row["sigma"]),
            f"{row['kept']} of {row['runs']}",
            number(row["neg_elbo_bank"]),
            number(row["parameters"] / 1e6),
            *(number(row[f"paper_{name}"]) for name in PAPER_COLUMNS),
            number(row["difference"], "+.1f"),
        ]
        for row in rows
    ]
    devices = {f"{run['device']}, {run['versions']['backend']}" for run in runs}
    devices = " and ".join(sorted(devices))
    header = ["Method", "Rate", "Dist", "-ELBO", "sigma", "runs", "-ELBO, bank"]
    header += ["Params (M)", "paper's Rate", "Dist", "-ELBO", "sigma", "difference"]
    text = (
        f"## {protocol['dataset']}: {reduction(protocol)}\n\n"
        f"{records.markdown(header, body)}\n\n"
        "Nats per test image. Echoes come from the other images of the test batch, as "
        'in the paper; in the column "bank" from training images. sigma: standard '
        "deviation over runs. The difference of -ELBO is in units of the paper's "
        f"sigma. Data: {runs[0]['data']['description']}. Device: {devices}."
    )
    for echo in rows:
        for vae in rows:
            if (echo["method"], vae["method"]) == ("echo", "vae"):
                text += f"\n\n{comparison(echo, vae)}"
    return text


def reduction(protocol):
    """Says in what a protocol departs from the paper's, or that it does not."""
    changes = []
    for name, value in PROTOCOL.items():
        if protocol[name] == value:
            continue
        label = name.replace("_", " ")
        if value is None:
            changes.append(f"{label} {protocol[name]:,}")
        else:
            changes.append(f"{label} {protocol[name]} (paper {value})")
    if not changes:
        return "the paper's protocol"
    return "reduced or changed protocol: " + ", ".join(changes)


def comparison(echo, vae):
    """How far Echo's mean -ELBO lies from the VAE's, in standard errors."""
    gap = echo["neg_elbo"] - vae["neg_elbo"]
    which = label("echo", echo["parametrization"])
    text = f"{which} - VAE: {gap:+.2f} nats of -ELBO"
    error = math.sqrt(
        echo["sigma"] ** 2 / echo["kept"] + vae["sigma"] ** 2 / vae["kept"]
    )
    if math.isnan(error):
        return f"{text}; one run of a method gives no standard error over runs."
    return f"{text}, {gap / error:+.1f} standard errors over runs."


def draw(out, dataset):
    """Figures of the first run of each method: images, and curves of all runs."""
    histories = {}
    # From all over the file, which may be sorted.
    images = dataset.x_test[:: max(1, len(dataset.x_test) // 12)][:12]
    for method in FLAGS.methods:
        config = configuration(method, FLAGS.seed)
        name = run_name(config)
        record = json.loads((out / f"{name}.json").read_text())
        histories[label(method, config.get("parametrization"))] = record["history"]
        path = out / "checkpoints" / name / "checkpoint.keras"
        if not path.exists():
            print(f"{name}: no model is left to draw images with")
            continue
        model = keras.saving.load_model(path)
        plots.reconstructions(model, images, out / f"{name}-reconstructions.png")
        codes = model.get_layer("bottleneck").sample(100)
        decoder = model.get_layer("decoder")
        plots.generations(decoder, codes, out / f"{name}-generations.png")
    curves = f"{dataset.name}-{protocol_name(config)}-curves.png"
    plots.training_curves(histories, out / curves)


def label(method, parametrization):
    return NAMES[method] + " (paper's f and s)" * (parametrization == "paper")


if __name__ == "__main__":
    app.run(main)
