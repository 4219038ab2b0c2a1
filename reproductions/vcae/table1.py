r"""Table 1 of Variance Constrained Autoencoding: overfitting 600 images.

    python reproductions/vcae/table1.py                       # digits
    python reproductions/vcae/table1.py --dataset mnist --data_dir FOLDER --runs 5

Seven models with codes in the plane (Sec. 6.2, App. B.1): noise of variance .2, .1 and
none, under a variance constraint (VCAE) or a distribution constraint (cWAE, WAE), and a
VAE. The paper says neither for how many epochs nor whether errors are of codes with
noise; here both kinds are given.
"""

from vcae_paper import PLANE, PUBLISHED, label, study

from echo_keras.studies import Column, Script, Table, mean, spread, start

# Method, variance of the noise, the paper's training and test error.
ROWS = {(row[0], row[1]): row[2:] for row in PUBLISHED["table1"]}
WEIGHTS = {"vcae": 2.0, "dvcae": 2.0, "cwae": 100.0, "wae": 100.0}
TEST = "test.bank.distortion"

STUDY = study(
    "vcae_table1",
    PLANE | {"train_limit": 600, "flow_epochs": None},
    [(method, noise, WEIGHTS.get(method)) for method, noise in ROWS],
    unstated=["epochs"],
    keys=("method", "noise", "weight"),
    quick={"epochs": 20, "batch_size": 50, "learning_rate": 1e-3, "filters": 16},
)


def paper(column):
    def of(runs):
        config = runs[0]["config"]
        return ROWS[config["method"], config.get("noise")][column]

    return of


def gap(runs):
    return mean(runs, TEST) - mean(runs, "measures.train.error")


TABLE = Table(
    STUDY,
    [
        Column("Model", lambda runs: label(runs[0]["config"])),
        Column("runs", len, "d"),
        Column("Train", "measures.train.error"),
        Column("Test", TEST),
        Column("spread", lambda runs: spread(runs, TEST)),
        Column("Test - Train", gap),
        Column("Train, code without noise", "measures.train_mean.error"),
        Column("Test, code without noise", "measures.test_mean.error"),
        Column("sum of Var(z)", "measures.posterior.summed_variance"),
        Column("paper's Train", paper(0)),
        Column("paper's Test", paper(1)),
        Column("paper's Test - Train", lambda runs: paper(1)(runs) - paper(0)(runs)),
    ],
    title="Table 1 of Variance Constrained Autoencoding",
    name="table1",
    rows=("method", "noise", "weight"),
    note="Squared error summed over pixels, means over runs; the spread is the "
    "standard deviation of the test error over runs. Train and Test have noise on the "
    "code as in training. Both constraints ask for a summed variance of 2.",
)
main = Script(STUDY, [TABLE], without=["flow_epochs", "compared"])

if __name__ == "__main__":
    start(main)
