"""Table 3 of the Echo paper: total correlation of Echo noise, by data set.

    python reproductions/table3.py                                  # digits
    python reproductions/table3.py --dataset omniglot --data_dir FOLDER

Trains what table1.py would (Echo) unless its records and models are in --out_dir. The
noise has the distribution of z, so its total correlation is measured on draws from
q(z), by the second-order formula of App. C, whose value for independent dimensions is
not zero but about d (d - 1) / (2 draws).
"""

import dataclasses

import echo_paper
import numpy as np

from echo_keras._files import write_json
from echo_keras.metrics import total_correlation
from echo_keras.studies import (
    Claim,
    Column,
    Option,
    Script,
    Table,
    mean,
    published,
    records,
    spread,
    start,
)

STUDY = dataclasses.replace(echo_paper.STUDY, vary={"method": ["echo"]})
TC = "measures.total_correlation"
TABLE = Table(
    STUDY,
    [
        Column("Data", "config.dataset"),
        Column("TC", TC),
        Column("sigma", lambda runs: spread(runs, TC)),
        Column("2 TC, as printed", lambda runs: 2 * mean(runs, TC)),
        Column("paper", published(echo_paper.PUBLISHED["table3"], "dataset"), ".1f"),
        Column("runs", len, "d"),
    ],
    title="Table 3: total correlation of Echo noise",
    name="table3",
    rows=("method",),
    note="Nats. TC = -1/2 log det of the correlation matrix, the total correlation of "
    "a Gaussian; the paper prints the formula without the factor 1/2, so that its "
    "numbers may be either. Diagonal Gaussian noise has 0.",
    claims=[
        Claim(
            "Echo noise is dependent across dimensions (App. C)",
            # Independent dimensions have about d (d - 1) / 2 draws: .025 for 32.
            lambda runs: (
                f"total correlation {mean(runs, TC):.2f}",
                mean(runs, TC) > 0.1,
            ),
        )
    ],
)


def draw(results):
    """Measures every model that is left, and writes the table of all ever measured."""
    folder = results.out / "table3"
    folder.mkdir(exist_ok=True)
    runs = {STUDY.run_name(run["config"]): run for run in results.runs}
    for config, model in STUDY.models(results.out, results.configs):
        run, draws = runs[STUDY.run_name(config)], results.options.draws
        noise = np.asarray(model.get_layer("bottleneck").sample(draws))
        found = {"total_correlation": total_correlation(noise), "draws": draws}
        record = {**run, "measures": found, "history": []}
        write_json(folder / f"{STUDY.run_name(config)}.json", record)
    measured = records.read(folder)
    if not measured:
        raise SystemExit("Table 3 needs the models: choose another --out_dir.")
    print(f"\n{TABLE.write(measured, results.out)}\n")


main = Script(
    STUDY,
    draw=draw,
    options=[Option("draws", 20000, "Draws of the noise.", least=100)],
    without=["methods", "variant"],
)

if __name__ == "__main__":
    start(main)
