r"""Tables 6 to 9 of Variance Constrained Autoencoding: which lambda.

    python reproductions/vcae/table6.py                       # digits
    python reproductions/vcae/table6.py --dataset mnist --data_dir FOLDER     # 6 and 7
    python reproductions/vcae/table6.py --dataset celeba --data_dir FOLDER    # 8 and 9

VCAE and cWAE over the paper's lambdas (App. B.3.2, B.4.2): errors, the summed variance
of the code, which both constraints want to be the number of its dimensions, and the
Frechet distance of images from the prior. Runs are those of table2.py where they agree.
"""

from vcae_paper import METHODS, PUBLISHED, STUDY, features

from echo_keras.studies import Column, Option, Script, Table, start

PAPER = PUBLISHED["table6"]


def paper_of(dataset):
    return PAPER["celeba" if dataset == "celeba" else "mnist"]


def vary(options):
    """Every constraint at every lambda, the paper's unless --lambdas names others."""
    pairs = [
        (method, float(weight))
        for method in options.constraints
        for weight in options.lambdas or paper_of(options.dataset)[method]
    ]
    return {("method", "weight"): pairs}


def paper(column):
    def of(runs):
        config = runs[0]["config"]
        rows = PAPER.get(config["dataset"], {}).get(config["method"], {})
        return rows.get(f"{config['weight']:g}", (None,) * 4)[column]

    return of


def table(method, number):
    """Tables 6 (8 of CelebA) and 7 (9)."""
    return Table(
        STUDY,
        [
            Column("lambda", "config.weight", "g"),
            Column("runs", len, "d"),
            Column("Train", "measures.train.error"),
            Column("Test", "test.bank.distortion"),
            Column(features, "measures.fid.prior"),
            Column("sum of Var(z)", "measures.posterior.summed_variance"),
            Column("log p(z) of the flow, training", "measures.flow.train"),
            Column("test", "measures.flow.test"),
            Column("paper's Train", paper(0)),
            Column("paper's Test", paper(1)),
            Column("paper's FID N(0, I)", paper(2)),
            Column("paper's sum of Var(z)", paper(3)),
        ],
        title=f"Tables {number} and {number + 2} of VCAE: {METHODS[method]}",
        name=f"table{number}",
        rows=("method", "weight"),
        sort=lambda run: (run["config"]["weight"], run["config"]["seed"]),
        select=lambda run: run["config"]["method"] == method,
        note="Squared error summed over pixels, with noise on the code; log p(z) in "
        "nats per code.",
    )


main = Script(
    STUDY,
    [table("vcae", 6), table("cwae", 7)],
    options=[
        Option("constraints", ["vcae", "cwae"], "Methods.", [str], ["vcae", "cwae"]),
        Option("lambdas", None, "Weights. Default: the paper's.", [float], least=0),
    ],
    vary=vary,
)

if __name__ == "__main__":
    start(main)
