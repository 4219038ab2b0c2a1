r"""Figures 3 and 7 of Fixing a Broken ELBO: families in the rate-distortion plane.

    python reproductions/broken_elbo/figure3.py                 # digits
    python reproductions/broken_elbo/figure3.py --dataset omniglot --data_dir FOLDER \
        --families=all --betas=.1,.5,.9,1,1.1 --annealing=100

Draws all runs in --out_dir, of this call and earlier ones: the phase diagram, and the
fronts by encoder, decoder and marginal of the paper's twelve families. On Omniglot the
figure has the number 7. What --flows, --binarize and "kind" mean stands in
broken_elbo_paper.py. With --generated=N, N images that each model draws give bounds of
the information in what it generates, E <= I_d(X; Z) <= G (App. C, Eq. 9 to 11).
"""

import math

from broken_elbo_claims import CLAIMS
from broken_elbo_paper import (
    DATASETS,
    DECODERS,
    FAMILIES,
    FLOWS,
    MARGINALS,
    POINT,
    PUBLISHED,
    STUDY,
    TWELVE,
    kind,
    label,
    parts,
)

from echo_keras import data, plots
from echo_keras.metrics import entropy_bound, pareto_front
from echo_keras.studies import Column, Script, Table, mean, points, start
from echo_keras.studies.records import get, read
from echo_keras.studies.table import plus_minus

BOUNDS = {
    "E": "measures.generative.generative_lower",
    "G": "measures.generative.generative_upper",
}


def published(axis):
    """The paper's points are of models with KL annealing (Sec. 4, App. B)."""

    def of(runs):
        config = runs[0]["config"]
        keys = config["dataset"], config["family"], f"{config.get('beta', 0):g}"
        point = get(PUBLISHED["point"], keys) if config.get("annealing") else None
        return point and point[axis]

    return of


def plane(runs):
    """Rates and distortions of runs."""
    return [[get(run, path) for run in runs] for path in POINT]


def bits_per_dimension(runs):
    """Of a decoder alone, whose error is the -ELBO: nats over 784 pixels and log 2."""
    config = runs[0]["config"]
    if config["family"] != "+":
        return None
    pixels = math.prod(data.DATASETS[config["dataset"]].shape)
    return mean(runs, POINT[1]) / (pixels * math.log(2))


def columns(section):
    entropy = entropy_bound(*plane(section))
    # A decoder alone has no code, and no place on a front of codes.
    coded = [run for run in section if run["config"]["family"] != "+"]
    front = [coded[i] for i in pareto_front(*plane(coded))] if coded else []

    def on_front(runs):
        return ("yes" if runs[0] in front else "no") if runs[0] in coded else None

    measured = [
        Column(name, plus_minus(path, error=f"{path}_se"))
        for name, path in BOUNDS.items()
        if any(get(run, path) is not None for run in section)
    ]
    return [
        Column("Family, objective", lambda runs: label(runs[0]["config"])),
        Column("seed", "config.seed", "g"),
        Column("Rate", POINT[0]),
        Column("Dist", POINT[1]),
        Column("-ELBO", "test.bank.neg_elbo"),
        Column("H-hat - Dist (no bound)", lambda runs: entropy - mean(runs, POINT[1])),
        *measured,
        Column("bits per dimension", bits_per_dimension, ".4f"),
        Column("kind", kind),
        Column("on the front", on_front),
        Column("Params (M)", lambda runs: runs[0]["parameters"] / 1e6),
        Column("paper's Rate, annealed", published(0), "g"),
        Column("paper's Dist, annealed", published(1), "g"),
    ]


def note(section):
    entropy = entropy_bound(*plane(section))
    paper = PUBLISHED["neg_elbo"].get(section[0]["config"]["dataset"], "none")
    text = (
        "Nats per test image. A family is encoder, decoder, marginal: - simple, + IAF, "
        "PixelCNN++ or MAF, v VampPrior, e the Echo channel; + alone, without a code, "
        "is on no front. H-hat, the lowest -ELBO of these runs, "
        f"{entropy:.2f} (paper: {paper}), is an upper bound of the data's entropy H. "
        "H - Dist <= I(X; Z) <= Rate; with H-hat in the place of H the lower bound is "
        "none, and for the best run it is its rate. Rates below 0, errors of Monte "
        "Carlo estimates, count as 0 in H-hat and the front. Kinds: autodecoder, a "
        "rate below 1 nat; at its least rate, Echo within 1 nat of the lowest that its "
        "channel can have; semantic encoder, up to 20 % of the -ELBO in the rate; "
        "autoencoder, more than 95 %; syntactic encoder, what is between; untrained, "
        "no better than the mean image."
    )
    if any(get(run, path) is not None for run in section for path in BOUNDS.values()):
        text += (
            " E <= I_d(X; Z) <= G: bounds of the information between codes from the "
            "marginal and the images decoded from them (App. C), with standard errors."
        )
    return text


def order(run):
    config = run["config"]
    objective = "target" in config, config.get("target", config.get("beta", 0.0))
    place = FAMILIES.index(config["family"]), FLOWS.index(config.get("flow", FLOWS[0]))
    return *place, objective, config["seed"]


TABLE = Table(
    STUDY,
    columns,
    title="Figures 3 and 7 of Fixing a Broken ELBO",
    name="figure3",
    rows=("family", "flow", "conditioning", "parametrization", "beta", "target")
    + ("annealing", "seed"),
    sort=order,
    apart=("features", "pseudo_inputs", "generated", "shortcuts"),
    note=note,
    claims=CLAIMS,
)


# As in the paper: shape, lightness and fill.
SHAPES = dict(zip([*MARGINALS.values(), "none"], "os^DX", strict=True))
SHADES = dict(zip(DECODERS.values(), ("#7db3ea", "#12325c"), strict=True))
FILLS = {"Gaussian": "full", "IAF": "none", "IAF, fixed": "bottom", "Echo": "left"}


def style(config):
    """How a family is marked: shape, lightness and fill."""
    encoder, decoder, marginal = parts(config)
    return {
        "marker": SHAPES[marginal],
        "color": SHADES[decoder],
        "fillstyle": FILLS.get(encoder, "full"),
        "markerfacecoloralt": "white",
        "mew": 1.2,
        "ms": 6,
        "alpha": 0.9,
    }


def family(config):
    """A family as legends have it."""
    return f"{config['family']} {' · '.join(parts(config))}"


def draw(results):
    for rows in TABLE.sections(read(results.out)):
        runs = [run for row in rows for run in row]
        config = {k: v for run in runs for k, v in run["config"].items()}
        path = f"{results.out / STUDY.protocol_name(runs[0]['config'])}"
        entropy = entropy_bound(*plane(runs))
        title = f"{config['dataset']}: {STUDY.deviations(config, TABLE.rows)}"

        def save(name, figure, path=path, title=title):
            figure.supxlabel(title, fontsize=8, wrap=True)
            figure.savefig(f"{path}-{name}.png", dpi=200)

        coded = [run for run in runs if run["config"]["family"] != "+"]
        if coded:
            styles = {family(run["config"]): style(run["config"]) for run in coded}
            shown = {"entropy": entropy, "skew": True, "styles": styles}
            curves = points(coded, family, *POINT)
            save("figure3", plots.phase_diagram(curves, **shown))
        twelve = [run for run in coded if run["config"]["family"] in TWELVE]
        for i, part in enumerate(("encoder", "decoder", "marginal") if twelve else ()):
            curves = points(twelve, lambda c, i=i: parts(c)[i], *POINT)
            shown = {"entropy": entropy, "fronts": "each"}
            save(f"by_{part}", plots.phase_diagram(curves, **shown))


main = Script(
    STUDY,
    [TABLE],
    draw,
    defaults={"families": ["---", "-+-"], "flows": FLOWS[:1]},
    datasets=["digits", *(name for name in DATASETS if name != "digits")],
)

if __name__ == "__main__":
    start(main)
