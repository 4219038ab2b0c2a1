r"""Tables 6 to 9 of Variance Constrained Autoencoding: which lambda.

    python reproductions/vcae/table6.py                       # digits
    python reproductions/vcae/table6.py --dataset mnist --data_dir FOLDER     # 6 and 7
    python reproductions/vcae/table6.py --dataset celeba --data_dir FOLDER    # 8 and 9

VCAE and cWAE over the paper's lambdas (App. B.3.2, B.4.2): errors, the summed variance
of the code, which both constraints want to be the number of its dimensions, and for
cWAE the Fréchet distance of images from the prior. Each run leaves one JSON record, the
same as table2.py's where lambda and --flow_epochs are the same; a finished run is never
run twice. From the records comes table6.md.
"""

import vcae_paper
from absl import app, flags

from echo_keras import experiments, image_experiments, wae_experiments
from echo_keras.experiments import number
from echo_keras.studies import records

OUT_DIR = "runs/vcae_table2"
# lambda: training and test error, FID of the prior's images, summed variance.
PAPER = {
    ("mnist", "vcae"): {
        0.05: (1.35, 5.19, None, 17.29),
        0.1: (1.36, 5.15, None, 16.05),
        0.5: (1.47, 5.01, None, 16.40),
        1.0: (1.52, 5.60, None, 16.86),
        1.5: (1.56, 5.76, None, 16.70),
    },
    ("mnist", "cwae"): {
        5.0: (1.24, 5.17, 27.27, 23.45),
        10.0: (1.27, 5.15, 26.26, 19.85),
        25.0: (1.28, 5.33, 27.38, 17.55),
        50.0: (1.36, 5.56, 30.08, 16.51),
        75.0: (1.43, 6.023, 33.46, 15.78),
        100.0: (1.48, 6.26, 33.57, 15.67),
        150.0: (1.53, 6.67, 34.27, 15.55),
    },
    ("celeba", "vcae"): {
        0.05: (59.98, 97.82, None, 65.24),
        0.1: (60.26, 96.63, None, 64.64),
        0.5: (62.77, 94.40, None, 63.47),
    },
    ("celeba", "cwae"): {
        100.0: (60.63, 97.78, 61.99, 73.52),
        250.0: (61.59, 99.25, 61.70, 68.32),
        500.0: (61.24, 98.81, 59.05, 66.93),
        750.0: (63.22, 96.04, 61.29, 65.70),
        1000.0: (65.94, 98.22, 64.63, 65.72),
    },
}
NUMBERS = {
    ("mnist", "vcae"): 6,
    ("mnist", "cwae"): 7,
    ("celeba", "vcae"): 8,
    ("celeba", "cwae"): 9,
}

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum(
    "constraints", ["vcae", "cwae"], ["vcae", "cwae"], "What lambda is the weight of."
)
flags.DEFINE_list("lambdas", None, "Weights; default: the paper's for each method.")


def main(argv):
    out, dataset = image_experiments.prepare(argv, OUT_DIR)
    configs = [
        configuration(method, weight, seed)
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for method in FLAGS.constraints
        for weight in experiments.numbers(FLAGS.lambdas) or paper(method)
    ]
    try:
        vcae_paper.run_all(out, dataset, configs)
    finally:  # what is finished is worth a table, whatever failed
        if records.read(out):
            print(f"\n{write_table(out)}\n")


def paper(method, name=None):
    """The paper's rows of a method, by lambda: MNIST's, unless the data are CelebA."""
    name = name or FLAGS.dataset
    return PAPER["celeba" if name == "celeba" else "mnist", method]


def configuration(method, weight, seed):
    """Everything that decides a run's numbers, given the data."""
    celeba = FLAGS.dataset == "celeba"
    of_paper = vcae_paper.CELEBA if celeba else vcae_paper.GENERATION
    return vcae_paper.configuration(method, seed, of_paper, weight)


def write_table(out):
    """Writes table6.md from the records in `out`; returns it."""
    groups = {}
    for run in records.read(out):
        config = run["config"]
        if config["method"] not in ("vcae", "cwae"):
            continue
        of_paper = (
            vcae_paper.CELEBA
            if config["dataset"] == "celeba"
            else vcae_paper.GENERATION
        )
        key = (
            config["dataset"],
            config["method"],
            experiments.reduction(config, of_paper),
        )
        groups.setdefault(key, []).append(run)
    parts = [section(*key, runs) for key, runs in sorted(groups.items())]
    title = "# Tables 6 to 9 of Variance Constrained Autoencoding"
    text = "\n\n".join([title, *parts])
    (out / "table6.md").write_text(text + "\n")
    return text


def section(name, method, reduction, runs):
    """One table in Markdown: a method on a data set by one protocol."""
    body = []
    for run in sorted(runs, key=lambda r: (r["config"]["weight"], r["config"]["seed"])):
        weight = run["config"]["weight"]
        theirs = [None] * 4
        if (name, method) in PAPER:
            theirs = PAPER[name, method].get(weight, theirs)
        body.append(
            [
                f"{weight:g}",
                run["config"]["seed"],
                number(run["train"]["error"]),
                number(run["test"]["bank"]["distortion"]),
                number(run["fid"]["prior"]),
                number(run["posterior"]["summed_variance"]),
                *(number(x) for x in theirs),
            ]
        )
    features = runs[0]["fid"]["features"]
    header = ["lambda", "seed", "Train", "Test", f"{features}: N(0, I)"]
    header += ["sum of Var(z)", "paper's Train", "Test", "FID N(0, I)", "sum of Var(z)"]
    table = NUMBERS.get((name, method))
    number_ = f" (Table {table})" if table else ""
    return (
        f"## {vcae_paper.METHODS[method]}{number_}, {name}: {reduction}\n\n"
        f"{records.markdown(header, body)}\n\n"
        "Squared error summed over pixels, with noise on the code. "
        f"{wae_experiments.provenance(runs)}"
    )


if __name__ == "__main__":
    app.run(main)
