r"""Figures 2, 3 and 5 of the Echo paper: rate-distortion curves.

    python reproductions/rate_distortion.py               # digits, on a CPU
    python reproductions/rate_distortion.py --dataset binary_mnist --data_dir FOLDER \
        --methods echo,vae,iaf-prior --runner ray --address auto

One model for each method and beta, by default the paper's twenty betas (App. E): the
Pareto front of each method, the area under it by which methods are ranked, and
reconstructions at similar rates, each the mean of ten codes. Records are those of
table1.py: with the same --out_dir its models at beta 1 are used.
"""

import dataclasses

import echo_paper
import numpy as np
from echo_paper import ECHO, LATENT_DIM, echo_arguments, label

from echo_keras import metrics, plots
from echo_keras.layers import EchoBottleneck
from echo_keras.metrics.fronts import common_interval
from echo_keras.studies import (
    Claim,
    Column,
    Option,
    RateDistortionCurve,
    Script,
    Table,
    start,
)

BETAS = [0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5]
BETAS += [0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
STUDY = dataclasses.replace(
    echo_paper.STUDY, vary={**echo_paper.STUDY.vary, "beta": BETAS}
)


def curves(runs, folder="."):
    """The `RateDistortionCurve` of each method, as the paper evaluates."""
    found = {}
    for run in runs:
        found.setdefault(label(run["config"]), []).append(run)
    return {
        name: RateDistortionCurve.from_records(found[name], STUDY, folder, "batch")
        for name in found
    }


def pairs(runs):
    return {name: curve.pairs for name, curve in curves(runs).items()}


def columns(runs):
    on_front = {
        (name, point.beta)
        for name, curve in curves(runs).items()
        for point in curve.front
    }

    def front(row):
        config = row[0]["config"]
        return "yes" if (label(config), config["beta"]) in on_front else "no"

    return [
        Column("Method", lambda row: label(row[0]["config"])),
        Column("beta", "config.beta", "g"),
        Column("seed", "config.seed", "g"),
        Column("Rate", "test.batch.rate"),
        Column("Dist", "test.batch.distortion"),
        Column("-ELBO", "test.batch.neg_elbo"),
        Column("on the front", front),
    ]


def note(runs):
    """The methods ranked by the area under their fronts."""
    text = "Nats per test image; echoes from the other images of the test batch. "
    found = curves(runs)
    low, high = common_interval(pairs(runs))
    if low >= high:
        return text + "The methods' rates do not overlap: no common area."
    areas = {name: curve.area(low, high) for name, curve in found.items()}
    ranked = "; ".join(
        f"{name} {areas[name]:.1f} (mean distortion {areas[name] / (high - low):.2f})"
        for name in sorted(areas, key=areas.get)
    )
    chords = "; ".join(
        f"{name} {sum(low <= s <= high for low, high, s in curve.slopes)} of "
        f"{len(curve.slopes)}"
        for name, curve in found.items()
    )
    return (
        f"{text}Area under the lower convex hull of each front, rates from {low:.2f} "
        f"to {high:.2f}, which all methods reach: {ranked}. "
        f"Chords whose slope -dD/dR lies between their betas, as at the optimum "
        f"(App. A): {chords}."
    )


def gap(found, low, high):
    """How much less distortion Echo has than the VAE, a mean over rates: nats."""
    areas = [found[name].area(low, high) for name in ("VAE", "Echo")]
    return (areas[0] - areas[1]) / (high - low)


def echo_has_less_distortion(runs):
    """At the lower and the upper half of the rates that both channels reach."""
    found = {k: c for k, c in curves(runs).items() if k in ("VAE", "Echo")}
    if len(found) < 2:
        return None
    low, high = common_interval({name: c.pairs for name, c in found.items()})
    if low >= high:
        return None
    middle = (low + high) / 2
    halves = [(low, middle), (middle, high)]
    gaps = [gap(found, *half) for half in halves]
    here = " and ".join(
        f"{value:+.1f} nats at rates of {start:.0f} to {end:.0f}"
        for value, (start, end) in zip(gaps, halves, strict=True)
    )
    return f"VAE - Echo {here}", min(gaps) > 0 if whole(runs) else None


def whole(runs):
    """Whether no run is shorter than the paper's: else its model is not the optimum."""
    return all((STUDY.share_of_updates(run) or 0) >= 1 for run in runs)


def slopes_are_those_of_beta(runs):
    """Whether each chord of a front is as steep as one of its betas, or between."""
    chords = [slope for curve in curves(runs).values() for slope in curve.slopes]
    if not chords:
        return None
    inside = sum(low <= s <= high for low, high, s in chords)
    agrees = inside == len(chords) if whole(runs) else None
    return f"{inside} of {len(chords)} chords between two betas", agrees


CLAIMS = [
    Claim(
        "Echo has less distortion than a VAE at equal rates, the more the higher they "
        "are (Sec. 5.2)",
        echo_has_less_distortion,
    ),
    Claim("the slope dD/dR of the curve is -beta (App. A)", slopes_are_those_of_beta),
]
TABLE = Table(
    STUDY,
    columns,
    title="Rate and distortion",
    name="rate_distortion",
    rows=("method", *ECHO, "variant", "beta", "seed"),
    note=note,
    claims=CLAIMS,
)


def draw(results):
    text = TABLE.render(results.runs)
    results.path("rate_distortion.md").write_text(text + "\n")
    print(f"\n{text}\n")
    echo = [c for c in results.configs if c["method"] == "echo"]
    lowest = None
    if echo:
        channel = EchoBottleneck(LATENT_DIM, **echo_arguments(echo[0])).channel
        lowest = -LATENT_DIM * np.log(channel.r)
    points, path = pairs(results.runs), results.path("rate_distortion.png")
    plots.rate_distortion(points, path, min_rate=lowest)
    images = metrics.evenly_spaced(results.dataset.x_test, 12)
    rows, found = {"input": images}, curves(results.runs, results.out)
    for target in np.linspace(*common_interval(points), results.options.shown):
        for name, curve in found.items():
            text = f"{name}, {curve.nearest(target)['rate']:.1f} nats"
            rows[text] = plots.mean_reconstruction(curve.at_rate(target), images)
    if len(rows) > 1:
        plots.image_rows(rows, results.path("matched_rates.png"))


main = Script(
    STUDY,
    draw=draw,
    options=[Option("shown", 4, "Rates at which reconstructions are shown.", least=1)],
    defaults={"methods": ["echo", "vae"]},
)

if __name__ == "__main__":
    start(main)
