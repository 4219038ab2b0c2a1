r"""Table 1 of Variance Constrained Autoencoding: overfitting 600 images.

    python reproductions/vcae/table1.py                       # digits
    python reproductions/vcae/table1.py --dataset mnist --data_dir FOLDER --runs 5

Seven models with codes in the plane learn the first 600 images (Sec. 6.2, App. B.1):
noise of variance .2, .1 and none, under a variance constraint (VCAE) or a distribution
constraint (cWAE, WAE), and a VAE. Each run leaves one JSON record; a finished run is
never run twice and an interrupted one resumes. From the records comes table1.md.

The paper says neither for how many epochs nor whether errors are of codes with noise;
here both kinds are given, and the default is 100 epochs of 3 batches.
"""

import numpy as np
import vcae_paper
from absl import app, flags

from echo_keras import data, experiments, wae_experiments
from echo_keras.experiments import number
from echo_keras.studies import records

OUT_DIR = "runs/vcae_table1"
PAPER = {**vcae_paper.PLANE, "train_limit": 600, "flow_epochs": None}
# Method, variance of the noise, the paper's training and test error.
ROWS = [
    ("vcae", 0.2, 22.16, 41.96),
    ("cwae", 0.2, 18.06, 44.56),
    ("vcae", 0.1, 17.02, 47.39),
    ("cwae", 0.1, 15.19, 47.39),
    ("dvcae", None, 16.56, 53.16),
    ("wae", None, 14.79, 58.50),
    ("vae", None, 10.45, 53.32),
]
WEIGHTS = {"vcae": 2.0, "dvcae": 2.0, "cwae": 100.0, "wae": 100.0}

FLAGS = flags.FLAGS


def main(argv):
    out = experiments.prepare(argv, OUT_DIR)
    configs = [
        configuration(method, noise, seed)
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for method, noise, *_ in ROWS
    ]
    limit = configs[0]["train_limit"]
    dataset = data.load(FLAGS.dataset, FLAGS.data_dir, limit=limit)
    try:
        vcae_paper.run_all(out, dataset, configs)
    finally:  # what is finished is worth a table, whatever failed
        if records.read(out):
            print(f"\n{write_table(out)}\n")


def configuration(method, noise, seed):
    """Everything that decides a run's numbers, given the data."""
    fixed = {"flow_epochs": None}
    if noise is not None:
        fixed["noise"] = noise
    if FLAGS.train_limit is None:
        fixed["train_limit"] = PAPER["train_limit"]
    if FLAGS.dataset == "digits" and FLAGS.learning_rate is None:
        fixed["learning_rate"] = 1e-3
    return vcae_paper.configuration(method, seed, PAPER, WEIGHTS.get(method), **fixed)


def reduction(protocol):
    """Says in what a protocol departs from the paper's, or that it does not."""
    return experiments.reduction(protocol, {**PAPER, **vcae_paper.UNKNOWN})


def write_table(out):
    """Writes table1.md from the records in `out`; returns it."""
    shared = [k for k in PAPER if k not in ("noise", "flow_epochs")]
    groups = records.by_protocol(records.read(out), ["dataset", *shared])
    parts = [section(protocol, runs) for protocol, runs in groups]
    text = "\n\n".join(["# Table 1 of Variance Constrained Autoencoding", *parts])
    (out / "table1.md").write_text(text + "\n")
    return text


def section(protocol, runs):
    """One table in Markdown: what shares data and a protocol."""
    body = []
    for method, noise, *paper in ROWS:
        of_it = [
            run
            for run in runs
            if run["config"]["method"] == method and run["config"].get("noise") == noise
        ]
        if not of_it:
            continue
        errors = np.array(
            [
                (r["train"]["error"], r["test"]["bank"]["distortion"])
                + (r["train_mean"]["error"], r["test_mean"]["error"])
                for r in of_it
            ]
        )
        mean, spread = errors.mean(axis=0), np.full(4, np.nan)
        if len(of_it) > 1:
            spread = errors.std(axis=0, ddof=1)
        body.append(
            [
                vcae_paper.label(of_it[0]["config"]),
                len(of_it),
                *(number(x) for x in mean[:2]),
                number(spread[1]),
                number(mean[1] - mean[0]),
                *(number(x) for x in mean[2:]),
                number(np.mean([r["posterior"]["summed_variance"] for r in of_it])),
                *(number(x) for x in paper),
                number(paper[1] - paper[0]),
            ]
        )
    header = ["Model", "runs", "Train", "Test", "spread", "Test - Train"]
    header += ["Train, code without noise", "Test", "sum of Var(z)"]
    header += ["paper's Train", "Test", "Test - Train"]
    return (
        f"## {protocol['dataset']}: {reduction(protocol)}\n\n"
        f"{records.markdown(header, body)}\n\n"
        "Squared error summed over pixels, means over runs; the spread is the standard "
        "deviation of the test error over runs. Train and Test have noise on the code "
        "as in training. Both constraints ask for a summed variance of 2. "
        f"{wae_experiments.provenance(runs)}"
    )


if __name__ == "__main__":
    app.run(main)
