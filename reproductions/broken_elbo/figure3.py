r"""Figures 3 and 7 of Fixing a Broken ELBO: families in the rate-distortion plane.

    python reproductions/broken_elbo/figure3.py                 # digits
    python reproductions/broken_elbo/figure3.py --dataset omniglot --data_dir FOLDER \
        --families=all --betas=.1,.5,.9,1,1.1 --annealing=100

Draws all runs in --out_dir, of this call and earlier ones: the phase diagram, and the
fronts by encoder, decoder and marginal. On Omniglot the figure has the number 7.
"""

from broken_elbo_paper import FAMILIES, POINT, PUBLISHED, STUDY, category, label, parts

from echo_keras import plots
from echo_keras.metrics import entropy_bound, pareto_front
from echo_keras.studies import Column, Script, Table, mean, points, start
from echo_keras.studies.records import get, read


def published(axis):
    def of(runs):
        config = runs[0]["config"]
        keys = config["dataset"], config["family"], f"{config.get('beta', 0):g}"
        point = get(PUBLISHED["point"], keys)
        return point and point[axis]

    return of


def columns(section):
    rate, distortion = [[get(run, path) for run in section] for path in POINT]
    entropy = entropy_bound(rate, distortion)
    front = [section[i] for i in pareto_front(rate, distortion)]
    return [
        Column("Family, objective", lambda runs: label(runs[0]["config"])),
        Column("seed", "config.seed", "g"),
        Column("Rate", POINT[0]),
        Column("Dist", POINT[1]),
        Column("-ELBO", "test.bank.neg_elbo"),
        Column("H - Dist", lambda runs: entropy - mean(runs, POINT[1])),
        Column("kind", lambda runs: category(*(mean(runs, path) for path in POINT))),
        Column("on the front", lambda runs: "yes" if runs[0] in front else "no"),
        Column("Params (M)", lambda runs: runs[0]["parameters"] / 1e6),
        Column("paper's Rate", published(0), "g"),
        Column("paper's Dist", published(1), "g"),
    ]


def note(section):
    entropy = entropy_bound(*([get(run, path) for run in section] for path in POINT))
    paper = PUBLISHED["neg_elbo"].get(section[0]["config"]["dataset"], "none")
    return (
        "Nats per test image. A family is encoder, decoder, marginal: - simple, + IAF, "
        "PixelCNN++ or MAF, v VampPrior, e the Echo channel. H, the lowest -ELBO of "
        f"these runs, {entropy:.2f} (paper: {paper}), is an upper bound of the data's "
        "entropy; H - Dist <= I(X; Z) <= Rate as far as H is the entropy. Kinds: "
        "autodecoder, a rate below 1 nat; semantic encoder, up to 20 % of the -ELBO in "
        "the rate; autoencoder, more than 95 %; syntactic encoder, what is between."
    )


def order(run):
    config = run["config"]
    objective = "target" in config, config.get("target", config.get("beta", 0.0))
    return FAMILIES.index(config["family"]), objective, config["seed"]


TABLE = Table(
    STUDY,
    columns,
    title="Figures 3 and 7 of Fixing a Broken ELBO",
    name="figure3",
    rows=("family", "beta", "target", "annealing", "seed"),
    sort=order,
    apart=("features", "pseudo_inputs"),
    note=note,
)


def draw(results):
    for rows in TABLE.sections(read(results.out)):
        runs = [run for row in rows for run in row]
        path = f"{results.out / STUDY.protocol_name(runs[0]['config'])}"
        by_family = points(runs, lambda config: config["family"], *POINT)
        plots.phase_diagram(by_family, f"{path}-figure3.png", skew=True)
        for i, part in enumerate(("encoder", "decoder", "marginal")):
            curves = points(runs, lambda c, i=i: parts(c["family"])[i], *POINT)
            plots.phase_diagram(curves, f"{path}-by_{part}.png", fronts="each")


main = Script(STUDY, [TABLE], draw, defaults={"families": ["---", "-+-"]})

if __name__ == "__main__":
    start(main)
