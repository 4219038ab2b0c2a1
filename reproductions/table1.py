r"""Table 1 of the Echo paper: rate, distortion and -ELBO on held-out images.

    python reproductions/table1.py                      # digits, minutes on a CPU
    python reproductions/table1.py --dataset omniglot --data_dir FOLDER \
        --methods all --runs 10 --runner ray --address auto

The defaults are the paper's protocol (Sec. 5.1, App. E), or a short one on the
embedded `digits`. Each run leaves one JSON record in --out_dir. A finished run is
never run twice and an interrupted one resumes. From the records come table1.md,
table1.csv and the training curves; from the first run's models the reconstructions
and the images generated from q(z), or from the marginal of other methods.
"""

import collections
import csv
import json
import math

import echo_paper
from absl import app, flags
from echo_paper import label

from echo_keras import image_experiments, plots
from echo_keras.experiments import number
from echo_keras.studies import records

# Rate, distortion, -ELBO and sigma.
PAPER = {
    "binary_mnist": {
        "echo": (26.4, 62.4, 88.8, 0.18),
        "vae": (26.2, 63.6, 89.8, 0.18),
        "infovae": (26.0, 64.0, 90.0, 0.14),
        "vae-maf": (26.1, 63.7, 89.8, 0.15),
        "vae-vamp": (26.3, 63.0, 89.3, 0.19),
        "iaf-prior": (26.5, 63.5, 90.0, 0.13),
        "iaf-mmd": (26.3, 63.6, 90.1, 0.15),
        "iaf-maf": (26.4, 63.6, 89.9, 0.18),
        "iaf-vamp": (26.4, 62.8, 89.2, 0.18),
    },
    "omniglot": {
        "echo": (30.2, 84.4, 114.6, 0.30),
        "vae": (30.5, 86.5, 117.0, 0.44),
        "infovae": (30.3, 87.3, 117.6, 0.51),
        "vae-maf": (30.5, 86.4, 116.9, 0.31),
        "vae-vamp": (30.8, 84.3, 115.1, 0.28),
        "iaf-prior": (30.5, 86.7, 117.2, 0.36),
        "iaf-mmd": (30.7, 86.4, 117.1, 0.28),
        "iaf-maf": (30.6, 86.5, 117.1, 0.24),
        "iaf-vamp": (30.4, 85.0, 115.4, 0.20),
    },
    "fashion_mnist": {
        "echo": (16.6, 218.3, 234.9, 0.21),
        "vae": (15.7, 219.3, 235.0, 0.10),
        "infovae": (15.6, 219.5, 235.1, 0.10),
        "vae-maf": (15.7, 219.3, 234.9, 0.14),
        "vae-vamp": (15.9, 218.5, 234.4, 0.08),
        "iaf-prior": (15.8, 219.1, 234.9, 0.10),
        "iaf-mmd": (15.7, 219.2, 234.9, 0.13),
        "iaf-maf": (15.8, 219.1, 234.9, 0.14),
        "iaf-vamp": (16.0, 218.3, 234.3, 0.16),
    },
}
PAPER_COLUMNS = ("rate", "distortion", "neg_elbo", "sigma")
# What tells the rows of one table apart.
ROW = ("method", "parametrization", "as_published")

FLAGS = flags.FLAGS
flags.DEFINE_float("beta", None, "Weight on the rate. Paper: 1.", 0.0)


def main(argv):
    out, dataset = echo_paper.prepare(argv)
    configs = [
        echo_paper.configuration(method, seed)
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for method in echo_paper.methods()
    ]
    try:
        echo_paper.run_all(out, dataset, configs)
    finally:  # what is finished is worth a table, whatever failed
        if records.read(out):
            print(f"\n{write_table(out)}\n")
    draw(out, dataset)


def write_table(out):
    """Writes table1.md and table1.csv from the records in `out`; returns the text."""
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for record in records.read(out):
        protocol = dict(record["config"])
        # Of a rate-distortion curve in the same folder, one beta belongs here.
        if protocol["beta"] != (1.0 if FLAGS.beta is None else FLAGS.beta):
            continue
        protocol.pop("seed")
        protocol.pop("d_max", None)
        row = {name: protocol.pop(name, None) for name in ROW}
        groups[json.dumps(protocol)][json.dumps(row)].append(record)
    sections, lines = [], []
    for protocol, runs in groups.items():
        protocol = json.loads(protocol)
        rows = [summary(json.loads(row), runs[row]) for row in runs]
        order = list(echo_paper.METHODS)
        rows.sort(key=lambda row: (order.index(row["method"]), label(row)))
        sections.append(section(protocol, rows, sum(runs.values(), [])))
        lines += [{**protocol, **row} for row in rows]
    text = "\n\n".join(sections)
    (out / "table1.md").write_text(f"# Table 1 of the Echo paper\n\n{text}\n")
    with open(out / "table1.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return text


def summary(row, runs):
    """One row: our means over runs, the paper's numbers, and their difference."""
    of_dataset = PAPER.get(runs[0]["config"]["dataset"], {})
    paper = of_dataset.get(row["method"], (None,) * 4)
    first = runs[0]
    row = {
        **row,
        **records.summarize(runs),
        "neg_elbo_bank": records.summarize(runs, echoes="bank")["neg_elbo"],
        "parameters": first["parameters"],
        "dense_parameters": first.get("dense_parameters", first["parameters"]),
        **dict(zip([f"paper_{name}" for name in PAPER_COLUMNS], paper, strict=True)),
        "difference": None,
    }
    if paper[2]:
        row["difference"] = (row["neg_elbo"] - paper[2]) / paper[3]
    return row


def section(protocol, rows, runs):
    """One table in Markdown: the methods that share a data set and a protocol."""
    body = [
        [
            label(row),
            *(number(row[name]) for name in ("rate", "distortion", "neg_elbo")),
            number(row["sigma"]),
            f"{row['kept']} of {row['runs']}",
            number(row["neg_elbo_bank"]),
            number(row["parameters"] / 1e6),
            number(row["dense_parameters"] / 1e6),
            *(number(row[f"paper_{name}"]) for name in PAPER_COLUMNS),
            number(row["difference"], "+.1f"),
        ]
        for row in rows
    ]
    devices = {f"{run['device']}, {run['versions']['backend']}" for run in runs}
    devices = " and ".join(sorted(devices))
    header = ["Method", "Rate", "Dist", "-ELBO", "sigma", "runs", "-ELBO, bank"]
    header += ["Params (M)", "dense", "paper's Rate", "Dist", "-ELBO", "sigma"]
    text = (
        f"## {protocol['dataset']}: {echo_paper.reduction(protocol)}\n\n"
        f"{records.markdown([*header, 'difference'], body)}\n\n"
        "Nats per test image. Echoes come from the other images of the test batch, as "
        'in the paper; in the column "bank" from training images. sigma: standard '
        "deviation over runs. Parameters: those that autoregressive masks leave, and "
        "all. The difference of -ELBO is in units of the paper's sigma. Data: "
        f"{runs[0]['data']['description']}. Device: {devices}."
    )
    ours = order_of(rows, "neg_elbo")
    if len(ours) > 2:
        text += f"\n\nFrom the lowest -ELBO: {', '.join(ours)}."
        if rows[0]["paper_neg_elbo"]:
            theirs = ", ".join(order_of(rows, "paper_neg_elbo"))
            text += f" The paper's order: {theirs}."
    for echo in rows:
        for vae in rows:
            if (echo["method"], vae["method"]) == ("echo", "vae"):
                text += f"\n\n{comparison(echo, vae)}"
    return text


def order_of(rows, column):
    """The labels of the methods, each once, sorted by a column."""
    ranked = sorted(rows, key=lambda row: row[column] or math.inf)
    if column.startswith("paper"):
        return list(dict.fromkeys(echo_paper.METHODS[r["method"]] for r in ranked))
    return [label(row) for row in ranked]


def comparison(echo, vae):
    """How far Echo's mean -ELBO lies from the VAE's, in standard errors."""
    gap = echo["neg_elbo"] - vae["neg_elbo"]
    text = f"{label(echo)} - VAE: {gap:+.2f} nats of -ELBO"
    error = math.sqrt(
        echo["sigma"] ** 2 / echo["kept"] + vae["sigma"] ** 2 / vae["kept"]
    )
    if math.isnan(error):
        return f"{text}; one run of a method gives no standard error over runs."
    return f"{text}, {gap / error:+.1f} standard errors over runs."


def draw(out, dataset):
    """Figures of the first run of each method: images, and curves of all runs."""
    histories = {}
    for method in echo_paper.methods():
        config = echo_paper.configuration(method, FLAGS.seed)
        name = echo_paper.run_name(config)
        record = json.loads((out / f"{name}.json").read_text())
        histories[label(config)] = record["history"]
        model = echo_paper.load_model(out, config)
        if model is None:
            continue
        images = image_experiments.twelve(dataset)
        plots.reconstructions(model, images, out / f"{name}-reconstructions.png")
        codes = model.get_layer("bottleneck").sample(100)
        decoder = model.get_layer("decoder")
        plots.generations(decoder, codes, out / f"{name}-generations.png")
    curves = f"{dataset.name}-{image_experiments.protocol_name(config)}-curves.png"
    plots.training_curves(histories, out / curves)


if __name__ == "__main__":
    app.run(main)
