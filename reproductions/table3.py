"""Table 3 of the Echo paper: total correlation of Echo noise, by data set.

    python reproductions/table3.py                                  # digits
    python reproductions/table3.py --dataset omniglot --data_dir FOLDER

Trains what table1.py would (Echo) unless its records and models are in --out_dir. The
noise has the distribution of z, so its total correlation is measured on draws from
q(z), by the second-order formula of App. C, whose value for independent dimensions is
not zero but about d (d - 1) / (2 draws). TC(Z|X) is that of S(x) times these draws, a
mean over test images: TC(Z) itself for a diagonal S, and for `--scale triangular` what
the paper leaves to the future.
"""

import dataclasses

import echo_paper
import numpy as np
from echo_paper import label
from keras import ops

from echo_keras import metrics
from echo_keras._files import write_json
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
from echo_keras.studies.records import get

STUDY = dataclasses.replace(echo_paper.STUDY, vary={"method": ["echo"]})
TC = "measures.total_correlation"
GIVEN_X = "measures.conditional_total_correlation"
IMAGES = 1000


def identity(runs):
    """TC(Z) beside TC(Z|X), of each form of S."""
    found = {
        run["config"].get("scale", "diagonal"): (get(run, TC), get(run, GIVEN_X))
        for run in runs
        if get(run, GIVEN_X) is not None
    }
    if not found:
        return None
    here = ", ".join(
        f"{name} S {tc:.2f} and {given:.2f}" for name, (tc, given) in found.items()
    )
    gaps = {name: abs(tc - given) for name, (tc, given) in found.items()}
    same = gaps.get("diagonal", 0.0) < 1e-3
    return here, same and gaps["triangular"] > 0.1 if "triangular" in gaps else None


TABLE = Table(
    STUDY,
    [
        Column("Data", "config.dataset"),
        Column("Echo", lambda runs: label(runs[0]["config"])),
        Column("TC", TC),
        Column("sigma", lambda runs: spread(runs, TC)),
        Column("TC given x", GIVEN_X),
        Column("Rate", "test.bank.rate"),
        Column("Dist", "test.bank.distortion"),
        Column("2 TC, as printed", lambda runs: 2 * mean(runs, TC)),
        Column("paper", published(echo_paper.PUBLISHED["table3"], "dataset"), ".1f"),
        Column("runs", len, "d"),
    ],
    title="Table 3: total correlation of Echo noise",
    name="table3",
    rows=("method", "scale", "multiplicative"),
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
        ),
        Claim("TC(Z) = TC(Z|X) for a diagonal S, not in general (App. C)", identity),
    ],
)


def measure(model, images, draws):
    """TC of the noise, and TC(Z|X) over some of the images, in nats."""
    bottleneck = model.get_layer("bottleneck")
    noise = np.asarray(bottleneck.channel.sample(draws))
    if bottleneck.channel.multiplicative:
        noise = np.log(noise)  # z is the exponential of what is added
    images = metrics.evenly_spaced(images, IMAGES)
    features = model.get_layer("encoder").predict(images, verbose=0)
    scales = bottleneck.channel.noise_scale(bottleneck.encode(features))
    scales = ops.convert_to_numpy(scales)
    return {
        "total_correlation": metrics.total_correlation(noise),
        "conditional_total_correlation": metrics.conditional_total_correlation(
            noise, scales
        ),
        "draws": draws,
    }


def draw(results):
    """Measures every model that is left, and writes the table of all ever measured."""
    folder = results.out / "table3"
    folder.mkdir(exist_ok=True)
    runs = {STUDY.run_name(run["config"]): run for run in results.runs}
    for config, model in STUDY.models(results.out, results.configs):
        run, draws = runs[STUDY.run_name(config)], results.options.draws
        found = measure(model, results.dataset.x_test, draws)
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
