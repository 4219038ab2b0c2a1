r"""Appendix C of Fixing a Broken ELBO: what bounds say where the entropy is known.

    python reproductions/broken_elbo/appendix_c.py --runs 5               # blocks
    python reproductions/broken_elbo/appendix_c.py --dataset binary_mnist \
        --data_dir FOLDER --train_limit 5000 --runs 5

Small dense networks, a Gaussian and an Echo channel, seven betas. `blocks` is made up
and its entropy H known, so that H - D <= I(X; Z) <= R are bounds and no estimates; of
MNIST nobody knows H. E <= I_d(X; Z) <= G are those of the generative path (Eq. 9 to
11), which need the channel's density: Echo has none. U and S split H - D by the
model's own density (Eq. 12 to 15). The paper gives numbers of none of them.
"""

import numpy as np

from echo_keras import metrics, networks, objectives, plots
from echo_keras.data import blocks
from echo_keras.metrics.batching import with_standard_error
from echo_keras.studies import Claim, Column, Script, Study, Table, mean, spread, start
from echo_keras.studies.records import get, group

LATENT_DIM = 16
CHANNELS = ["gaussian", "echo"]
BETAS = [0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 3.0]
ROW = ("channel", "beta")
ERRORS = 3.0  # standard errors by which an estimate of a gap may be below 0


def build(config, dataset):
    shape, hidden = dataset.x_train.shape[1:], [config["units"]] * 2
    make, more = objectives.vae, {}
    if config["channel"] == "echo":
        make, more = objectives.echo, {"d_max": config["batch_size"] - 1}
    return make(
        networks.dense_encoder(shape, hidden),
        networks.dense_decoder(LATENT_DIM, shape, hidden),
        LATENT_DIM,
        config["beta"],
        seed=config["seed"],
        **more,
    )


def log_density(run, x):
    """The exact log-probability of images, where their law is known."""
    return blocks.log_prob(x) if run.config["dataset"] == "blocks" else None


def representational(run):
    """H - D and what R has beyond it, of the same test images: little is noise."""
    x = run.dataset.x_test
    known = log_density(run, x)
    if known is None:
        return None
    rate, distortion = metrics.per_example(run.model, x)
    return {
        "entropy": blocks.entropy(),
        **with_standard_error("lower", -known - distortion),
        **with_standard_error("gap", rate + distortion + known),
    }


def generative(run):
    """E and G (Eq. 9, 10), with the model's own density for q and with the data's."""
    n, channel = run.config["generated"], run.config["channel"]
    if not n or channel == "echo":
        return None
    how = {"seed": run.config["seed"], "samples": run.config["weights"]}
    found = metrics.generative_information(run.model, n, **how)
    if run.config["dataset"] == "blocks":
        how["log_density"] = blocks.log_prob
        with_truth = metrics.generative_information(run.model, n, **how)
        for key in ("generative_upper", "generative_upper_se"):
            found[f"true_{key}"] = with_truth[key]
    return found


def split_bound(run):
    """U and S (Eq. 13, 14), with q(x) the model's own density, of some test images."""
    n = run.config["generated"]
    if not n or run.config["channel"] == "echo":
        return None
    x = metrics.evenly_spaced(run.dataset.x_test, n)
    _, distortion = metrics.per_example(run.model, x)
    weights = run.config["weights"]
    log_q = metrics.per_example_likelihood(run.model, x, samples=weights)
    u, _ = metrics.density_bounds(distortion, -log_q)
    found = with_standard_error("U", u)
    known = log_density(run, x)
    if known is not None:
        found |= with_standard_error("S", known - log_q)
    return found


STUDY = Study(
    name="broken_elbo_appendix_c",
    build=build,
    protocol={
        "epochs": 50,
        "learning_rate": 1e-3,
        "units": 128,
        "generated": 2000,
        "weights": 100,
    },
    vary={"channel": CHANNELS, "beta": BETAS},
    measures={
        "representational": representational,
        "generative": generative,
        "split": split_bound,
    },
    paper=False,
    described={
        "units": "Of both hidden layers of each network.",
        "generated": "Images that each model draws for E and G; 0 for neither.",
        "weights": "Codes of an image whose likelihood is estimated.",
    },
)
MEASURES = "measures"
R, D, NEG_ELBO = (f"test.bank.{n}" for n in ("rate", "distortion", "neg_elbo"))
LOWER = f"{MEASURES}.representational.lower"
GAP = f"{MEASURES}.representational.gap"
E, G, TRUE_G = (
    f"{MEASURES}.generative.{name}"
    for name in ("generative_lower", "generative_upper", "true_generative_upper")
)
U, S = f"{MEASURES}.split.U", f"{MEASURES}.split.S"
H = f"{MEASURES}.representational.entropy"


def looseness(runs):
    """G - E of a row."""
    low, high = mean(runs, E), mean(runs, G)
    return None if low is None or high is None else high - low


def memory(runs):
    """By how much the -ELBO of training images exceeds H; below 0 it has overfitted."""
    seen, entropy = mean(runs, "test.training_set.neg_elbo"), mean(runs, H)
    return None if entropy is None else seen - entropy


def holds(gap, error, name):
    """A verdict: is a gap that must be positive so, but for its standard error?"""

    def verdict(runs):
        found = [(get(run, gap), error(run)) for run in runs]
        found = [(value, se) for value, se in found if value is not None]
        if not found:
            return None
        good = sum(value >= -ERRORS * se for value, se in found)
        values = [value for value, _ in found]
        here = (
            f"{name} in {good} of {len(found)} runs, a gap of {min(values):.2f} to "
            f"{max(values):.2f} nats"
        )
        return here, good == len(found)

    return verdict


def with_generative_gap(runs):
    """Records that hold G - E, from the same draws as both."""
    found = []
    for run in runs:
        bounds = get(run, "measures.generative")
        if bounds:
            gap = bounds["generative_upper"] - bounds["generative_lower"]
            errors = bounds["generative_upper_se"], bounds["generative_lower_se"]
            found.append({"gap": gap, "se": float(np.hypot(*errors))})
    return found


def loose(runs):
    """G - E by beta: is it least at 1?"""
    rows = group([run for run in runs if get(run, E) is not None], ROW)
    gaps = {row[0]["config"]["beta"]: looseness(row) for row in rows}
    if len(gaps) < 2 or 1.0 not in gaps:
        return None
    shown = ", ".join(f"{gaps[beta]:.2f} at {beta:g}" for beta in sorted(gaps))
    return f"G - E is {shown}", min(gaps, key=gaps.get) == 1.0


CLAIMS = [
    Claim(
        "H - D <= I(X; Z) <= R (Eq. 2, D.1, D.2)",
        holds(GAP, lambda run: get(run, f"{GAP}_se"), "H - D <= R"),
    ),
    Claim(
        "E <= I_d(X; Z) <= G (Eq. 11)",
        lambda runs: holds("gap", lambda run: run["se"], "E <= G")(
            with_generative_gap(runs)
        ),
    ),
    Claim("E and G are loose where beta is not 1 (App. C)", loose),
]
NOTE = (
    "Nats per test image, means over seeds. H - D from the exact log-probability of "
    "the test images, where H is known; sd over seeds beside R. E and G from images "
    "that the model draws. Both columns of G are upper bounds: the first, with the "
    "model's own density for q(x), is too high where the codes that weigh it are too "
    'few, at high rates; "G, q = p*", with the law of the data, by how far generated '
    "images are from the data, KL[p_d || p*]. U and S with the model's density: "
    "U - S = H - D. Training -ELBO - H, of which 0 is the target (Eq. 16 puts S of n "
    "images at H - log n, and so -log q of them at H): below 0 the model knows its "
    "training images better than their law does."
)
TABLE = Table(
    STUDY,
    [
        Column("Channel", "config.channel"),
        Column("beta", "config.beta", "g"),
        Column("runs", lambda runs: str(len(runs))),
        Column("R", R),
        Column("sd", lambda runs: spread(runs, R)),
        Column("D", D),
        Column("-ELBO", NEG_ELBO),
        Column("H - D", LOWER),
        Column("R - (H - D)", GAP),
        Column("E", E),
        Column("G", G),
        Column("G - E", looseness),
        Column("G, q = p*", TRUE_G),
        Column("U", U),
        Column("S", S),
        Column("training -ELBO - H", memory),
    ],
    title="Appendix C of Fixing a Broken ELBO: bounds of information over beta",
    name="appendix_c",
    rows=ROW,
    note=NOTE,
    claims=CLAIMS,
)
BOUNDS = {"R": R, "H - D": LOWER, "G": G, "E": E}


def draw(results):
    """The bounds over beta, every seed a point, a panel for each channel."""
    from matplotlib.figure import Figure

    runs = results.runs
    shown = [c for c in CHANNELS if any(r["config"]["channel"] == c for r in runs)]
    figure = Figure((5.4 * len(shown), 4.2), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(shown), sharey=True))
    for channel, one in zip(shown, axes, strict=True):
        groups = {
            name: [
                (run["config"]["beta"], get(run, path))
                for run in runs
                if run["config"]["channel"] == channel and get(run, path) is not None
            ]
            for name, path in BOUNDS.items()
        }
        groups = {name: points for name, points in groups.items() if points}
        plots.scatter(groups, "beta", "nats per image", axes=one)
        for line, points in zip(one.get_lines(), groups.values(), strict=False):
            betas, values = np.transpose(points)
            each = np.unique(betas)
            middle = [values[betas == beta].mean() for beta in each]
            one.plot(each, middle, lw=1, color=line.get_color())
        one.set(xscale="log", title=f"{results.configs[0]['dataset']}, {channel}")
    # E falls far below the others at a low beta, where these could not be told apart.
    rest = [get(run, path) for run in runs for path in (R, LOWER, G)]
    axes[0].set_ylim(bottom=min(0.0, *(v for v in rest if v is not None)) - 5.0)
    figure.savefig(results.path("appendix_c.png"), dpi=120)


main = Script(
    STUDY, [TABLE], draw, datasets=["blocks", "digits", "binary_mnist", "mnist"]
)

if __name__ == "__main__":
    start(main)
