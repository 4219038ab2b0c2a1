r"""Tables 3 and 10 of Variance Constrained Autoencoding: disentanglement on 3D Shapes.

    python reproductions/vcae/table3.py --data_dir FOLDER --runs 5    # days on a CPU
    python reproductions/vcae/table3.py --shapes shapes3d_rendered --steps 2000

Three objectives with a penalty on total correlation (Sec. 6.4, App. B.5): a variance
constraint (TC-VCAE) and an MMD to the normal prior (TC-cWAE), both with noise of fixed
variance, and FactorVAE. Each run leaves one JSON record; a finished run is never run
twice and an interrupted one resumes. From the records come table3.md, with the run of
the best score for each method, and table10.md with all runs.

FOLDER holds the published 3dshapes.h5. shapes3d_rendered are other images, ours, of
the same factors. The errors that the paper reports, some 3,500, are too large for
squared errors of 12,288 pixels in [0, 1]; they are read as cross-entropies, as in Kim &
Mnih (2018), whose set-up the paper follows. TC-cWAE has the MMD of Tolstikhin et al.
(2018), which the paper follows there: pairs of an example with itself are left out.
"""

import collections
import json

from absl import app, flags

from echo_keras import experiments, networks, objectives
from echo_keras.data import factors
from echo_keras.experiments import number
from echo_keras.layers import TotalCorrelationPenalty
from echo_keras.studies import records

OUT_DIR = "runs/vcae_table3"
CODE = 6
GAMMA = 7.0
NOISE_VARIANCE = 0.1
# Error and score of five runs (Table 10).
PAPER = {
    "tc-vcae": [
        (3538.53, 0.93),
        (3578.88, 0.69),
        (3549.36, 0.64),
        (3529.74, 0.91),
        (3538.55, 0.87),
    ],
    "tc-cwae": [
        (3518.62, 0.53),
        (3516.12, 0.55),
        (3517.69, 0.56),
        (3513.09, 0.58),
        (3522.99, 0.49),
    ],
    "factorvae": [
        (3518.21, 0.78),
        (3517.20, 0.90),
        (3507.24, 0.60),
        (3521.96, 0.93),
        (3508.93, 0.67),
    ],
}
# The run of the best score (Table 3). An error of 3,531 is not among Table 10's.
PAPER_BEST = {
    "tc-vcae": (3538.0, 0.93),
    "tc-cwae": (3531.0, 0.58),
    "factorvae": (3522.0, 0.93),
}
NAMES = {"tc-vcae": "TC-VCAE", "tc-cwae": "TC-cWAE", "factorvae": "FactorVAE"}
PROTOCOL = {"steps": 500_000, "batch_size": 64, "learning_rate": 1e-4, "votes": 10_000}

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum("objectives", list(NAMES), list(NAMES), "Objectives.")
flags.DEFINE_enum("shapes", "shapes3d", ["shapes3d", "shapes3d_rendered"], "Images.")


def main(argv):
    out = experiments.prepare(argv, OUT_DIR)
    dataset = factors.load(FLAGS.shapes, FLAGS.data_dir)
    print(f"{dataset.name}: {dataset.description}; {dataset.source}")
    configs = [
        configuration(objective, seed)
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for objective in FLAGS.objectives
    ]
    try:
        experiments.run_all(train_and_measure, out, configs, run_name, dataset.checksum)
    finally:  # what is finished is worth a table, whatever failed
        if records.read(out):
            print(f"\n{write_tables(out)}\n")


def configuration(objective, seed):
    """Everything that decides a run's numbers, given the images."""
    config = {"dataset": FLAGS.shapes, "method": objective, "seed": seed, **PROTOCOL}
    if FLAGS.steps is not None:
        config["steps"] = FLAGS.steps
    return {**config, "votes": FLAGS.votes}


def run_name(config):
    """A file name that tells runs apart."""
    parts = [config["dataset"], config["method"], f"{config['steps']}steps"]
    if config["votes"] != PROTOCOL["votes"]:
        parts.append(f"{config['votes']}votes")
    return "-".join([*parts, f"seed{config['seed']}"])


def build(objective):
    """The network of Kim & Mnih (2018), as Table 4 of the paper lists it."""
    pair = (
        lambda: networks.factor_encoder((64, 64, 3), (4, 4, 4, 4), activation=None),
        lambda units: networks.factor_decoder(units, 3),
        CODE,
    )
    penalties = [TotalCorrelationPenalty(GAMMA, name="tc")]
    if objective == "factorvae":
        return objectives.vae(*pair, penalties=penalties)
    fixed = {"noise_variance": NOISE_VARIANCE, "penalties": penalties}
    if objective == "tc-cwae":
        return objectives.wae(*pair, weight=2500.0, **fixed)
    # v is the number of code dimensions, as in all of the paper (Sec. 4).
    return objectives.vcae(*pair, weight=1.0, variance=CODE, **fixed)


def train_and_measure(config, out, data_dir=None, tensorboard=False):
    """One run, from its configuration to its record. Resumes; writes no record."""
    _, record = experiments.train_on_factors(
        config,
        lambda: build(config["method"]),
        experiments.run_folder(out, run_name(config)),
        data_dir,
        tensorboard,
    )
    return {"experiment": "vcae_table3", **record}


def write_tables(out):
    """Writes table3.md and table10.md from the records in `out`; returns both."""
    groups = collections.defaultdict(list)
    for record in records.read(out):
        config = record["config"]
        protocol = {name: config[name] for name in ("dataset", *PROTOCOL)}
        groups[json.dumps(protocol)].append(record)
    best, every = [], []
    for protocol, runs in groups.items():
        best.append(section(json.loads(protocol), runs, only_best=True))
        every.append(section(json.loads(protocol), runs, only_best=False))
    texts = []
    for number_, sections in (3, best), (10, every):
        title = f"# Table {number_} of Variance Constrained Autoencoding"
        texts.append("\n\n".join([title, *sections]))
        (out / f"table{number_}.md").write_text(texts[-1] + "\n")
    return "\n\n".join(texts)


def section(protocol, runs, only_best):
    """One table in Markdown: what shares images and a protocol."""
    body = []
    for objective, name in NAMES.items():
        of_it = [run for run in runs if run["config"]["method"] == objective]
        of_it.sort(key=lambda run: run["config"]["seed"])
        paper = PAPER[objective]
        if only_best:
            of_it = sorted(of_it, key=lambda run: -run["scores"]["factor_vae"])[:1]
            paper = [PAPER_BEST[objective]]
        for k, run in enumerate(of_it):
            error, score = paper[k] if k < len(paper) else (None, None)
            test, last = run["test"]["bank"], run["history"][-1]
            body.append(
                [
                    name,
                    run["config"]["seed"],
                    number(test["distortion"], ".1f"),
                    number(error, ".1f"),
                    number(run["scores"]["factor_vae"]),
                    number(score),
                    number(run["scores"]["mig"]),
                    number(last["tc"]),
                    number(test["rate"]),
                ]
            )
    header = ["Method", "seed", "Error", "paper's", "FactorVAE score", "paper's"]
    header += ["MIG", "TC", "KL to N(0, I)"]
    devices = {f"{run['device']}, {run['versions']['backend']}" for run in runs}
    described = sorted({run["data"]["description"] for run in runs})
    return (
        f"## {protocol['dataset']}: {experiments.reduction(protocol, PROTOCOL)}\n\n"
        f"{records.markdown(header, body)}\n\n"
        "Error: cross-entropy in nats per image. Scores of the mean code, in [0, 1]; "
        "TC is what the discriminator estimated in the last epoch, in nats. "
        f"Data: {'; '.join(described)}. Device: {' and '.join(sorted(devices))}."
    )


if __name__ == "__main__":
    app.run(main)
