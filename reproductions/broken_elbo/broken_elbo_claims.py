"""What Fixing a Broken ELBO says of Figures 3 to 9, and what runs say of it."""

import collections

from broken_elbo_paper import (
    DECODERS,
    ENCODERS,
    MARGINALS,
    POINT,
    PUBLISHED,
    TWELVE,
    kind,
    label,
    parts,
)

from echo_keras.metrics import area_under_front, common_interval
from echo_keras.studies import Claim
from echo_keras.studies.records import get

SAMPLING = 22.0  # nats, of the pixels of binary MNIST (Sec. 4)
NEAR = 5.0  # nats between fronts that "track one another"; a bound of our own
SWEEP = {
    1.1: "autodecoder",
    1.0: "semantic encoder",
    0.15: "syntactic encoder",
    0.1: "autoencoder",
}


def point(run):
    """Rate and distortion; a rate below 0 is an error of its estimate."""
    rate, distortion = (get(run, path) for path in POINT)
    return max(rate, 0.0), distortion


def long_enough(runs):
    """Fewer passes or images rank models by how fast they learn."""
    return all(
        run["config"]["epochs"] >= 100 and not run["config"].get("train_limit")
        for run in runs
    )


def judged(runs, here, agrees):
    return here, agrees if long_enough(runs) else None


def of_paper(runs):
    """Those of the paper's families, with an IAF that sees the image or not."""
    return [run for run in runs if run["config"]["family"] in TWELVE]


def best(runs):
    run = min(runs, key=lambda run: sum(point(run)))
    return label(run["config"]), *point(run)


def lowest(runs):
    """The lowest -ELBO and its rate."""
    runs = of_paper(runs)
    paper = PUBLISHED["neg_elbo"].get(runs[0]["config"]["dataset"]) if runs else None
    if paper is None:
        return None
    name, rate, distortion = best(runs)
    here = f"{rate + distortion:.2f} at a rate of {rate:.2f} ({name})"
    agrees = rate < 1.0 and abs(rate + distortion - paper) < 1.0
    return judged(runs, here, agrees)


def ignored(runs):
    """Whether PixelCNN++ leaves the code unused at beta 1."""
    runs = [
        run
        for run in of_paper(runs)
        if parts(run["config"])[1] == DECODERS["+"]
        and run["config"].get("beta") == 1
        and not run["config"].get("annealing")
    ]
    if not runs:
        return None
    rates = [f"{point(run)[0]:.2f} ({run['config']['family']})" for run in runs]
    agrees = all(point(run)[0] < 1.0 for run in runs)
    return judged(runs, f"rates {', '.join(rates)}", agrees)


def lowest_rates(runs):
    """The best -ELBO of either decoder below 22 nats."""
    runs = [run for run in of_paper(runs) if point(run)[0] < SAMPLING]
    found = [
        [run for run in runs if parts(run["config"])[1] == name]
        for name in DECODERS.values()
    ]
    if not all(found):
        return None
    simple, complex_ = (sum(best(group)[1:]) for group in found)
    here = f"-ELBO {simple:.1f} against {complex_:.1f} below {SAMPLING:g} nats"
    return judged(runs, here, simple > complex_ + 1.0)


def apart(part, names, low=0.0):
    """A verdict: do the fronts of two kinds of a part stay within 5 nats?"""

    def verdict(runs):
        curves = {
            name: [
                point(run)
                for run in of_paper(runs)
                if parts(run["config"])[part] == name
            ]
            for name in names
        }
        if not all(curves.values()):
            return None
        start, end = common_interval(curves)
        start = max(start, low)
        if not start < end:
            return None
        areas = [
            area_under_front(*zip(*points, strict=True), start, end)
            for points in curves.values()
        ]
        gap = (areas[1] - areas[0]) / (end - start)
        here = (
            f"{names[1]} has {abs(gap):.1f} nats {'less' if gap < 0 else 'more'} "
            f"distortion than {names[0]}, a mean over rates {start:.0f} to {end:.0f}"
        )
        return judged(runs, here, abs(gap) < NEAR)

    return verdict


def sweep(runs):
    """Kinds of the annealed -+v model by beta."""
    found = {
        run["config"].get("beta"): run
        for run in runs
        if run["config"]["family"] == "-+v" and run["config"].get("annealing")
    }
    shown = [beta for beta in SWEEP if beta in found]
    if len(shown) < 2:
        return None
    kinds = {beta: kind([found[beta]]) for beta in shown}
    here = ", ".join(f"{name} at {beta:g}" for beta, name in kinds.items())
    agrees = all(SWEEP[beta] == name for beta, name in kinds.items())
    return judged(found.values(), here, agrees)


def equal_elbo(runs):
    """Kinds of the models whose -ELBO is within 2 nats of the lowest."""
    runs = of_paper(runs)
    if len(runs) < 2:
        return None
    limit = sum(best(runs)[1:]) + 2.0
    kinds = collections.Counter(kind([run]) for run in runs if sum(point(run)) <= limit)
    here = "within 2 nats of the lowest -ELBO " + ", ".join(
        f"{count} {name}" for name, count in sorted(kinds.items())
    )
    return judged(runs, here, len(kinds) > 2)


def loose(runs):
    """G - E of models at beta 1 and at others."""
    gaps = {True: [], False: []}
    for run in runs:
        found = get(run, "measures.generative")
        if found and "beta" in run["config"]:
            gap = found["generative_upper"] - found["generative_lower"]
            gaps[run["config"]["beta"] == 1].append(gap)
    if not all(gaps.values()):
        return None
    at_one, else_ = (sum(gaps[key]) / len(gaps[key]) for key in (True, False))
    here = f"G - E {at_one:.1f} nats at beta 1, {else_:.1f} at others, means over runs"
    return judged(runs, here, else_ > at_one)


CLAIMS = [
    Claim(
        "the best -ELBO is 80.2 nats at a rate of 0 on binary MNIST, 90.37 at .77 on "
        "Omniglot (Sec. 4, App. B)",
        lowest,
    ),
    Claim("simple decoders fail at the lowest rates (Fig. 3a iii)", lowest_rates),
    Claim(
        "above 22 nats the fronts of both decoders largely track one another "
        "(Fig. 3a iii)",
        apart(1, list(DECODERS.values()), SAMPLING),
    ),
    Claim(
        "from simple to complex encoders there is no systematic trend (Fig. 3a ii)",
        apart(0, [ENCODERS["-"], ENCODERS["+"]]),
    ),
    *(
        Claim(
            "from simple to complex marginals there is no systematic trend "
            "(Fig. 3a iv)",
            apart(2, [MARGINALS["-"], MARGINALS[other]]),
        )
        for other in "+v"
    ),
    Claim(
        "at beta 1 a powerful decoder leaves its code independent of the image "
        "(Fig. 4c, 5)",
        ignored,
    ),
    Claim(
        "with KL annealing -+v is an autodecoder at beta 1.1, a semantic encoder at 1, "
        "a syntactic one at .15 and an autoencoder at .1 (Fig. 4a, b)",
        sweep,
    ),
    Claim(
        "models of almost the same -ELBO are syntactic encoders, semantic encoders and "
        "autodecoders (Fig. 4d)",
        equal_elbo,
    ),
    Claim(
        "bounds of the generative information are loose where beta is not 1 (App. C)",
        loose,
    ),
]
