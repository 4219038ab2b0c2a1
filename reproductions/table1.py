r"""Table 1 of the Echo paper: rate, distortion and -ELBO on held-out images.

    python reproductions/table1.py                      # digits, minutes on a CPU
    python reproductions/table1.py --dataset omniglot --data_dir FOLDER \
        --methods all --runs 10 --runner ray --address auto

The defaults are the paper's protocol (Sec. 5.1, App. E), or a short one on the
embedded `digits`. Each run leaves one JSON record in --out_dir; a finished run is never
run twice and an interrupted one resumes. From the records come table1.md, table1.csv
and the training curves; from the first run's models the reconstructions and the images
generated from q(z), or from the marginal of other methods.
"""

import math

import numpy as np
from echo_paper import ECHO, METHODS, PUBLISHED, STUDY, kept, label, standard_error
from keras import ops

from echo_keras import metrics, plots
from echo_keras.studies import (
    Claim,
    Column,
    Script,
    Table,
    mean,
    published,
    spread,
    start,
)
from echo_keras.studies.records import group
from echo_keras.training import best_epoch

PAPER = PUBLISHED["table1"]  # rate, distortion, -ELBO, sigma
NEG_ELBO = "test.batch.neg_elbo"
LOG = STUDY.best
ROW = ("method", *ECHO, "variant", "stopped")


def paper(column):
    return published(PAPER, "dataset", "method", column=column)


def split(run):
    """A run, and a second time as its model was at its best validation epoch.

    Where that was the last epoch both are one, and only the VAE's is shown: whoever
    claims to be below a VAE has to be below the one that was stopped in time.
    """
    best, history = run.get("best"), run.get("history") or [{}]
    if best is None and all(LOG in logs for logs in history):
        epoch = best_epoch(history, LOG)  # a record of before they were kept
        if epoch == len(history):
            best = {"epoch": epoch, "test": run["test"]}
    runs = [run]
    last = best is not None and best["epoch"] == len(history)
    if best is not None and (not last or run["config"]["method"] == "vae"):
        config = {**run["config"], "stopped": True}
        runs.append({**run, "config": config, "test": best["test"], "best": best})
    return runs


def name(runs):
    """The method, and at which epochs it was stopped."""
    text = label(runs[0]["config"])
    if "stopped" in runs[0]["config"]:
        epochs = ", ".join(str(n) for n in sorted({r["best"]["epoch"] for r in runs}))
        text += f", at its best validation epoch ({epochs})"
    return text


def difference(runs):
    of_paper, sigma = paper(2)(runs), paper(3)(runs)
    return of_paper and (mean(kept(runs), NEG_ELBO) - of_paper) / sigma


def lowest_in_validation(runs):
    """The lowest -ELBO of the validation images, and the epoch that had it."""
    found = []
    for run in kept(runs):
        history = run.get("history")
        if not history or any(LOG not in logs for logs in history):
            return None
        epoch = best_epoch(history, LOG)
        found.append((history[epoch - 1][LOG], epoch))
    lowest, epochs = (np.mean(column) for column in zip(*found, strict=True))
    return f"{lowest:.2f} ({epochs:.0f})"


def note(runs):
    """What the columns are, the order of the methods, and Echo beside the VAE."""
    rows = {name(row): row for row in group(runs, ROW)}
    text = (
        "Nats per test image. Echoes come from the other images of the test batch, as "
        'in the paper; in the column "bank" from training images. sigma: standard '
        "deviation over runs. Parameters: those that autoregressive masks leave, and "
        "all. The difference of -ELBO is in units of the paper's sigma. Training mode: "
        "of the same test images as the model is trained, echoes and statistics of the "
        "batch. In brackets the epoch with the lowest -ELBO of validation images."
    )
    last = {k: row for k, row in rows.items() if "stopped" not in row[0]["config"]}
    if len(last) > 2:
        ours = sorted(last, key=lambda name: mean(kept(rows[name]), NEG_ELBO))
        text += f" From the lowest -ELBO: {', '.join(ours)}."
        of_paper = {
            METHODS[r[0]["config"]["method"]]: paper(2)(r) for r in last.values()
        }
        if None not in of_paper.values():
            text += (
                f" The paper's order: {', '.join(sorted(of_paper, key=of_paper.get))}."
            )
    for method, echo in last.items():
        if method.startswith("Echo") and "VAE" in rows:
            gap = mean(kept(echo), NEG_ELBO) - mean(kept(rows["VAE"]), NEG_ELBO)
            error = math.hypot(standard_error(echo), standard_error(rows["VAE"]))
            text += f" {method} - VAE: {gap:+.2f} nats of -ELBO"
            if math.isnan(error):
                text += "; one run of a method gives no standard error over runs."
            else:
                text += f", {gap / error:+.1f} standard errors over runs."
    return text


def echo_is_below_the_vae(runs):
    """Of the whole protocol alone: the order of shorter runs is that of the start."""
    rows = {name(row): kept(row) for row in group(runs, ROW)}
    echo = {k: row for k, row in rows.items() if k.startswith("Echo")}
    if "VAE" not in rows or not echo or runs[0]["config"]["dataset"] not in PAPER:
        return None
    vae = {k: row for k, row in rows.items() if k.split(",")[0] == "VAE"}
    means = {k: mean(row, NEG_ELBO) for k, row in {**echo, **vae}.items()}
    here = ", ".join(f"{k} {value:.2f}" for k, value in means.items())
    whole = all((STUDY.share_of_updates(run) or 0) >= 1 for run in runs)
    below = min(means[k] for k in echo) < min(means[k] for k in vae)
    return here, below if whole else None


TABLE = Table(
    STUDY,
    title="Table 1 of the Echo paper",
    name="table1",
    rows=ROW,
    apart=("beta",),
    split=split,
    keep=kept,
    columns=[
        Column("Method", name),
        Column("Rate", "test.batch.rate"),
        Column("Dist", "test.batch.distortion"),
        Column("-ELBO", NEG_ELBO),
        Column("sigma", lambda runs: spread(kept(runs), NEG_ELBO)),
        Column("se over images", "test.batch.neg_elbo_se"),
        Column("runs", lambda runs: f"{len(kept(runs))} of {len(runs)}"),
        Column("-ELBO, bank", "test.bank.neg_elbo"),
        Column("Dist, training mode", "test.training_mode.distortion"),
        Column("-ELBO, training set", "test.training_set.neg_elbo"),
        Column("lowest in validation", lowest_in_validation),
        Column("Params (M)", lambda runs: runs[0]["parameters"] / 1e6),
        Column("dense", lambda runs: runs[0]["dense_parameters"] / 1e6),
        Column("paper's Rate", paper(0)),
        Column("paper's Dist", paper(1)),
        Column("paper's -ELBO", paper(2)),
        Column("paper's sigma", paper(3)),
        Column("difference", difference, "+.1f"),
    ],
    # Of a rate-distortion curve in the same folder only beta 1 belongs here.
    select=lambda record: record["config"]["beta"] == 1.0,
    note=note,
    claims=[Claim("Echo's -ELBO is below the VAE's (Table 1)", echo_is_below_the_vae)],
)


def draw(results):
    """Figures of the first run of each method: images, and curves of all."""
    runs = zip(results.configs, results.runs, strict=True)
    first = results.options.seed
    plots.training_curves(
        {label(c): run["history"] for c, run in runs if c["seed"] == first},
        results.path("curves.png"),
    )
    for config, model in results.models():
        path = results.out / results.study.run_name(config)
        images = metrics.evenly_spaced(results.dataset.x_test, 12)
        plots.reconstructions(model, images, f"{path}-reconstructions.png")
        codes = model.get_layer("bottleneck").sample(100)
        drawn = metrics.images(model, ops.convert_to_numpy(codes))
        plots.generations(drawn, f"{path}-generations.png")


main = Script(
    STUDY, [TABLE], draw, defaults={"methods": ["echo", "vae"]}, without=["beta"]
)

if __name__ == "__main__":
    start(main)
