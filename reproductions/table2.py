r"""Table 2 of the Echo paper: disentanglement on dSprites.

    python reproductions/table2.py                             # days on a CPU
    python reproductions/table2.py --steps 5000 --betas 1 --gammas 20 --votes 2000

Echo and VAE with weights beta on the rate and gamma on the code's total correlation,
on factors that are independent and on a part of the images in which they are not
(Sec. 5.3). Without --betas and --gammas all of the paper's: beta 1, 4 and 8 with
gamma 0, and beta 1 with gamma 20, 50 and 100. Each run leaves one JSON record; a
finished run is never run twice and an interrupted one resumes. From the records come
table2.md and table2.csv.

Scores are of the code without noise: of the mean, or f(x). The published code scored
noisy codes, which is meaningless for Echo when its noise comes from a batch that
shares a factor. Images are dSprites rendered by echo_keras.render, unless --data_dir
holds the published file.
"""

import collections
import csv
import json

import numpy as np
from absl import app, flags

from echo_keras import experiments, networks, objectives
from echo_keras.data import factors
from echo_keras.experiments import number
from echo_keras.layers import TotalCorrelationPenalty
from echo_keras.studies import records

OUT_DIR = "runs/table2"
CHANNELS = {"echo": "Echo", "vae": "VAE"}
FACTORS = {"independent": "dsprites", "dependent": "dsprites_dependent"}
CODE = 10
# The paper's rows, (beta, gamma): FactorVAE score and MIG of Echo and VAE, on
# independent and on dependent factors.
PAPER = {
    (1, 0): ((0.83, 0.65, 0.16, 0.07), (0.70, 0.60, 0.11, 0.08)),
    (4, 0): ((0.78, 0.65, 0.18, 0.10), (0.67, 0.60, 0.11, 0.07)),
    (8, 0): ((0.75, 0.69, 0.18, 0.13), (0.56, 0.56, 0.06, 0.06)),
    (1, 20): ((0.78, 0.72, 0.30, 0.17), (0.65, 0.60, 0.16, 0.07)),
    (1, 50): ((0.79, 0.73, 0.30, 0.18), (0.58, 0.53, 0.16, 0.07)),
    (1, 100): ((0.77, 0.70, 0.29, 0.18), (0.49, 0.53, 0.09, 0.08)),
}
# As Locatello et al. (2019), whose protocol the paper follows (App. E).
PROTOCOL = {"steps": 300_000, "batch_size": 64, "learning_rate": 1e-4, "votes": 10_000}

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum("channels", list(CHANNELS), list(CHANNELS), "Channels.")
flags.DEFINE_multi_enum("factors", list(FACTORS), list(FACTORS), "Of the images.")


def main(argv):
    out = experiments.prepare(argv, OUT_DIR)
    configs = [
        configuration(channel, FACTORS[kind], beta, gamma, seed)
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for kind in FLAGS.factors
        for beta, gamma in settings()
        for channel in FLAGS.channels
    ]
    checksums = {}
    for name in {config["dataset"] for config in configs}:
        dataset = factors.load(name, FLAGS.data_dir)
        print(f"{name}: {dataset.description}; {dataset.source}, {dataset.checksum}")
        checksums[name] = dataset.checksum
    try:
        experiments.run_all(train_and_measure, out, configs, run_name, checksums)
    finally:  # what is finished is worth a table, whatever failed
        if records.read(out):
            print(f"\n{write_table(out)}\n")


def settings():
    """Pairs of beta and gamma: those of the paper, or what the flags say."""
    if FLAGS.betas is None and FLAGS.gammas is None:
        return list(PAPER)
    betas = experiments.numbers(FLAGS.betas)
    gammas = experiments.numbers(FLAGS.gammas)
    pairs = [(beta, 0.0) for beta in betas]
    pairs += [(1.0, gamma) for gamma in gammas if (1.0, gamma) not in pairs]
    return pairs


def configuration(channel, dataset, beta, gamma, seed):
    """Everything that decides a run's numbers, given the images."""
    config = {
        "dataset": dataset,
        "method": channel,
        "beta": float(beta),
        "gamma": float(gamma),
        "seed": seed,
        **PROTOCOL,
        "votes": FLAGS.votes,
    }
    if FLAGS.steps is not None:
        config["steps"] = FLAGS.steps
    if channel == "echo":
        config["d_max"] = config["batch_size"] - 1
    return config


def run_name(config):
    """A file name that tells runs apart."""
    parts = [config["dataset"], config["method"], f"beta{config['beta']:g}"]
    parts += [f"gamma{config['gamma']:g}", f"{config['steps']}steps"]
    if config["votes"] != PROTOCOL["votes"]:
        parts.append(f"{config['votes']}votes")
    return "-".join([*parts, f"seed{config['seed']}"])


def build(config):
    """The network of Locatello et al. (2019) around the channel."""
    arguments = {"beta": config["beta"], "penalties": []}
    if config["gamma"]:
        arguments["penalties"] = [TotalCorrelationPenalty(config["gamma"], name="tc")]
    pair = networks.factor_encoder, networks.factor_decoder, CODE
    if config["method"] == "echo":
        return objectives.echo(*pair, d_max=config["d_max"], **arguments)
    return objectives.vae(*pair, **arguments)


def train_and_measure(config, out, data_dir=None, tensorboard=False):
    """One run, from its configuration to its record. Resumes; writes no record."""
    _, record = experiments.train_on_factors(
        config,
        lambda: build(config),
        experiments.run_folder(out, run_name(config)),
        data_dir,
        tensorboard,
    )
    return {"experiment": "table2", **record}


def write_table(out):
    """Writes table2.md and table2.csv from the records in `out`; returns the text."""
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for record in records.read(out):
        config = record["config"]
        protocol = json.dumps({name: config[name] for name in PROTOCOL})
        row = config["dataset"], config["beta"], config["gamma"], config["method"]
        groups[protocol][row].append(record)
    sections, lines = [], []
    for protocol, runs in groups.items():
        protocol = json.loads(protocol)
        rows = [summary(row, runs[row]) for row in sorted(runs)]
        sections.append(section(protocol, rows, sum(runs.values(), [])))
        lines += [{**protocol, **row} for row in rows]
    text = "\n\n".join(sections)
    (out / "table2.md").write_text(f"# Table 2 of the Echo paper\n\n{text}\n")
    with open(out / "table2.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return text


def summary(row, runs):
    """One row: means over runs, their spread, and the paper's numbers."""
    dataset, beta, gamma, channel = row
    result = {"dataset": dataset, "beta": beta, "gamma": gamma, "method": channel}
    for name in ("factor_vae", "mig"):
        scores = [run["scores"][name] for run in runs]
        result[name] = float(np.mean(scores))
        spread = np.std(scores, ddof=1) if len(scores) > 1 else None
        result[f"{name}_sigma"] = spread if spread is None else float(spread)
    for name in ("rate", "distortion"):
        result[name] = float(np.mean([run["test"]["bank"][name] for run in runs]))
    tc = [run["history"][-1].get("tc") for run in runs]
    result["tc"] = None if None in tc else float(np.mean(tc))
    result["runs"] = len(runs)
    independent, dependent = PAPER.get((beta, gamma), [(None,) * 4] * 2)
    paper = independent if dataset == "dsprites" else dependent
    column = list(CHANNELS).index(channel)
    result["paper_factor_vae"], result["paper_mig"] = paper[column], paper[2 + column]
    return result


def section(protocol, rows, runs):
    """One table in Markdown: what shares a protocol."""
    kinds = {dataset: kind for kind, dataset in FACTORS.items()}
    body = [
        [
            f"{CHANNELS[row['method']]}, {kinds[row['dataset']]}",
            *(f"{row[name]:g}" for name in ("beta", "gamma")),
            *(number(row[name]) for name in ("factor_vae", "factor_vae_sigma")),
            number(row["paper_factor_vae"]),
            *(number(row[name]) for name in ("mig", "mig_sigma", "paper_mig")),
            *(number(row[name]) for name in ("rate", "distortion", "tc")),
            row["runs"],
        ]
        for row in rows
    ]
    header = ["Channel, factors", "beta", "gamma", "FactorVAE", "sigma", "paper's"]
    header += ["MIG", "sigma", "paper's", "Rate", "Dist", "TC", "runs"]
    described = sorted({run["data"]["description"] for run in runs})
    devices = {f"{run['device']}, {run['versions']['backend']}" for run in runs}
    return (
        f"## dSprites: {experiments.reduction(protocol, PROTOCOL)}\n\n"
        f"{records.markdown(header, body)}\n\n"
        "Scores of the code without noise, in [0, 1], MIG from as many images as there "
        "are votes; sigma is the standard deviation over runs, and the paper's are "
        "means of ten. Echo's code is standardized. Rate and distortion in nats per "
        "image, with echoes from the bank; TC is what the discriminator estimated in the last "
        f"epoch, in nats. Data: {'; '.join(described)}. Device: "
        f"{' and '.join(sorted(devices))}."
    )


if __name__ == "__main__":
    app.run(main)
