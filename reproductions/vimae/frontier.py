"""What beta and lambda trade in The Variational InfoMax Autoencoder: a frontier.

    python reproductions/vimae/frontier.py                       # digits
    python reproductions/vimae/frontier.py --dataset mnist --data_dir FOLDER

The paper has one beta for each of its three VAEs and one lambda for VIMAE. Here they
vary: the information of the code, the distance of codes from the prior and of images
from the data, and the accuracy of an SVM on codes, clean and corrupted. Runs are those
of the paper's tables where they agree.
"""

from matplotlib.figure import Figure
from vimae_paper import OF_VIMAE, STUDY, information_of, percent

from echo_keras import plots
from echo_keras.studies import (
    Claim,
    Column,
    Option,
    Script,
    Table,
    differ,
    mean_and_error,
    plus_minus,
    points,
    records,
    start,
)

BETAS = [0.2, 1.0, 3.0, 10.0]
LAMBDAS = [1.0, 10.0, 100.0, 1000.0]
NAMES = {"vae": "VAE, beta", "vimae-n": "VIMAE-n, lambda"}
MASKED = ("measures", "accuracy", "sampled", "mask 0.5")
PANELS = {
    "test error": "test.bank.distortion",
    "MMD to N(0, I)": "measures.posterior.mmd",
    "Fréchet distance": "measures.fid.prior",
    "SVM, share right, half masked": MASKED,
}
INFORMATION = "measures.information.information"


def vary(options):
    """VAEs over beta, the paper's where it has one, and VIMAE-n over lambda."""
    paper = STUDY.protocol_of({"dataset": options.dataset})
    low, weight = paper["beta_low"], paper["weight"]
    named = {1.0: "vae", paper["beta_high"]: "beta-h"}
    found = [
        (named[beta], low, weight) if beta in named else ("beta-a", beta, weight)
        for beta in options.betas
    ]
    found += [("vimae-n", low, weight) for weight in options.lambdas]
    return {("method", "beta_low", "weight"): found}


def kind(config):
    return NAMES["vimae-n" if config["method"] == "vimae-n" else "vae"]


def value(config):
    """Beta, or lambda."""
    betas = {"vae": 1.0, "beta-h": config["beta_high"], "beta-a": config["beta_low"]}
    return betas.get(config["method"], config.get("weight"))


def order(run):
    return kind(run["config"]), value(run["config"])


def best(runs, path, sign=1):
    """Of each kind the value that has the least of sign times a number, and that."""
    found = {}
    for group in records.group(runs, ("method", "beta_low", "weight")):
        known = mean_and_error(group, path)
        if known is None:
            continue
        name = kind(group[0]["config"])
        if name not in found or sign * known[0] < sign * found[name][1][0]:
            found[name] = value(group[0]["config"]), known
    return found


def bracketed(runs, found):
    """Whether a beta on either side of the VAE's best was tried; None if not."""
    name = NAMES["vae"]
    tried = [value(run["config"]) for run in runs if kind(run["config"]) == name]
    return min(tried) < found[name][0] < max(tried) or None


def better(path, sign=1, form=".1f"):
    """A verdict on the best lambda having less of sign times a number than any beta."""

    def verdict(runs):
        found = best(runs, path, sign)
        if len(found) < 2:
            return None
        said = ", ".join(f"{n} {v:g}: {x[0]:{form}}" for n, (v, x) in found.items())
        pair = [found[NAMES[name]][1] for name in ("vimae-n", "vae")][::sign]
        return said, bracketed(runs, found) and differ(*pair)

    return verdict


def in_percent(label):
    return lambda runs: percent("sampled", label, runs)


CORRUPTED = ["clean", "gaussian 0.4", "mask 0.5"]
TABLE = Table(
    STUDY,
    [
        Column("Model", lambda runs: kind(runs[0]["config"])),
        Column("value", lambda runs: value(runs[0]["config"]), "g"),
        Column("runs", len, "d"),
        Column("rate", plus_minus("test.bank.rate")),
        Column("h(Z)", information_of("entropy")),
        Column("I(X; Z)", information_of("information")),
        Column("Test error", plus_minus("test.bank.distortion")),
        Column("MMD to the prior", plus_minus("measures.posterior.mmd", ".4f")),
        Column("sum of Var(z)", "measures.posterior.summed_variance"),
        Column("Fréchet distance", plus_minus("measures.fid.prior", ".1f")),
        *(Column(f"{label}, percent", in_percent(label)) for label in CORRUPTED),
    ],
    title="The frontier of beta and lambda",
    name="frontier",
    rows=("method", "beta_low", *OF_VIMAE),
    select=lambda run: run["config"]["method"] != "vimae-l",
    sort=order,
    note="The prior is N(0, I); beta 0.2, 1 and 10 and lambda 10 are the paper's on "
    "images of 28 x 28. ± is the standard deviation over runs, or over labelled sets. "
    "Accuracy of an SVM on samples of the code, as in Tables 2 to 4; h(Z) and I(X; Z) "
    "in nats, as in Table 1: noise on the input, of one size for all lambdas, is all "
    "that bounds I(X; Z) of VIMAE.",
    claims=[
        Claim(
            "VIMAE generates images closer to the data than a VAE of any beta "
            "(Sec. 5.2, App.)",
            better("measures.fid.prior"),
        ),
        Claim(
            "its codes withstand masks better than those of a VAE of any beta "
            "(Sec. 5.3)",
            better(MASKED, sign=-1, form=".1%"),
        ),
    ],
)


def draw(results):
    """Four numbers against the information of the code, named by beta or lambda."""
    figure = Figure((10, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    for (name, path), one in zip(PANELS.items(), axes.flat, strict=True):
        found = points(results.runs, kind, INFORMATION, path)
        if not found:
            continue
        plots.scatter(found, "I(X; Z), nats", name, axes=one)
        named = points(
            results.runs, lambda c: f"{kind(c)} {value(c):g}", INFORMATION, path
        )
        for label, places in named.items():
            # VIMAE's stand at the right edge.
            left = label.startswith(NAMES["vimae-n"])
            one.annotate(
                label.split()[-1],
                places[0],
                xytext=(-6 if left else 6, 4),
                textcoords="offset points",
                ha="right" if left else "left",
            )
    figure.savefig(results.path("frontier.png"), dpi=80)


main = Script(
    STUDY,
    [TABLE],
    draw,
    options=[
        Option("betas", BETAS, "Betas of VAEs.", [float], least=0),
        Option("lambdas", LAMBDAS, "Weights of VIMAE's penalty.", [float], least=0),
    ],
    vary=vary,
    without=["beta_low", "weight", "methods"],
)

if __name__ == "__main__":
    start(main)
