r"""Table 2 of the Echo paper: disentanglement on dSprites.

    python reproductions/table2.py                             # days on a CPU
    python reproductions/table2.py --steps 5000 --settings 1:20 --votes 2000

Echo and VAE with weights beta on the rate and gamma on the code's total correlation, on
independent factors and on a part of the images in which they are not (Sec. 5.3). Scores
are of the mean code E[z|x] of both channels. The published code scored noisy codes,
which is meaningless for Echo when its noise comes from a batch that shares a factor;
beside them stand scores of noisy codes, with echoes from the bank. A figure shows the
MIG every 3,000 steps. Images are rendered, unless --data_dir holds the published file.
"""

from echo_paper import (
    ECHO,
    ECHO_CHOICES,
    ECHO_DESCRIBED,
    PUBLISHED,
    echo_arguments,
    label,
    of_echo,
)

from echo_keras import networks, objectives, plots
from echo_keras.layers import TotalCorrelationPenalty
from echo_keras.studies import (
    Claim,
    Column,
    FactorStudy,
    Option,
    Script,
    Table,
    all_of,
    differ,
    mean_and_error,
    sampled_scores,
    scores,
    spread,
    start,
)
from echo_keras.studies.factor_study import REMOVED_PAIRS, STEPS_PER_EPOCH
from echo_keras.studies.records import group

FACTORS = {"dsprites": "independent", "dsprites_dependent": "dependent"}
LATENT_DIM = 10
# From data set, method and "beta:gamma" to FactorVAE score and MIG.
PAPER = PUBLISHED["table2"]
SETTINGS = list(PAPER["dsprites"]["echo"])


def pairs(settings):
    try:
        found = [tuple(map(float, setting.split(":"))) for setting in settings]
        if all(len(pair) == 2 and min(pair) >= 0 for pair in found):
            return found
    except ValueError:
        pass
    raise ValueError(
        f"--settings must be pairs beta:gamma of numbers >= 0, such as 0:1,1:20. "
        f"Received: {','.join(settings)}"
    )


def build(config, dataset):
    """The network of Locatello et al. (2019) around the channel."""
    gamma, pair = config["gamma"], (networks.factor_encoder, networks.factor_decoder)
    penalties = [TotalCorrelationPenalty(gamma, name="tc")] if gamma else []
    if config["method"] == "vae":
        return objectives.vae(*pair, LATENT_DIM, config["beta"], penalties)
    arguments = echo_arguments(config)
    return objectives.echo(*pair, LATENT_DIM, config["beta"], penalties, **arguments)


def configure(config):
    config = of_echo(config)
    if FACTORS[config["dataset"]] == "independent" or config["removed_pairs"] == "own":
        del config["removed_pairs"]
    return config


STUDY = FactorStudy(
    "table2",
    build,
    # The rest is of Locatello et al. (2019), as the paper says (App. E).
    protocol={"removed_pairs": "own", **ECHO},
    vary={
        "dataset": list(FACTORS),
        ("beta", "gamma"): pairs(SETTINGS),
        "method": ["echo", "vae"],
    },
    configure=configure,
    measures={"scores": scores, "sampled": sampled_scores},
    measure_every=3,  # of 1,000 steps each
    described={"removed_pairs": "Of dependent factors: each seed's own, or shared."}
    | ECHO_DESCRIBED,
    choices={"removed_pairs": REMOVED_PAIRS, **ECHO_CHOICES},
)


def name(runs):
    config = runs[0]["config"]
    shared = ", shared pairs" if "removed_pairs" in config else ""
    return f"{label(config)}, {FACTORS[config['dataset']]}{shared}"


def paper(column):
    def of(runs):
        config = runs[0]["config"]
        rows = PAPER[config["dataset"]][config["method"]]
        return rows.get(f"{config['beta']:g}:{config['gamma']:g}", (None,) * 2)[column]

    return of


def sigma(score):
    return lambda runs: spread(runs, f"measures.scores.{score}")


def better(score):
    """A verdict on Echo's score above the VAE's, at each setting and data set."""

    def verdict(runs):
        whole = all((STUDY.share_of_updates(run) or 0) >= 1 for run in runs)
        ahead, here = [], []
        for same in group(runs, ("dataset", "removed_pairs", "beta", "gamma")):
            echo, vae = (
                mean_and_error(
                    [r for r in same if r["config"]["method"] == method], score
                )
                for method in ("echo", "vae")
            )
            if echo and vae:
                ahead.append(differ(vae, echo))
                here.append(f"{echo[0]:.2f} against {vae[0]:.2f}")
        if not here:
            return None
        return ", ".join(here), all_of(ahead) if whole else None

    return verdict


CLAIMS = [
    Claim(f"Echo's {name} is above the VAE's everywhere (Sec. 5.3)", better(score))
    for name, score in (
        ("FactorVAE score", "measures.scores.factor_vae"),
        ("MIG", "measures.scores.mig"),
    )
]

NOTE = (
    "Scores of the mean code E[z|x], in [0, 1]. FactorVAE is the standard's, of "
    "dimensions whose standard deviation is .05 or more; beside it that of used "
    "dimensions, with a rate .1 nats above the channel's least. Sigma is the standard "
    "deviation over runs, and the paper's are means of ten. Rate "
    "and distortion in nats per image, with echoes from the bank; "
    "TC: estimated by the discriminator in the last epoch, in nats."
)
TABLE = Table(
    STUDY,
    [
        Column("Channel, factors", name),
        Column("beta", "config.beta", "g"),
        Column("gamma", "config.gamma", "g"),
        Column("FactorVAE", "measures.scores.factor_vae"),
        Column("sigma", sigma("factor_vae")),
        Column("paper's", paper(0)),
        Column("of used dims", "measures.scores.factor_vae_used"),
        Column("used dims", "measures.scores.used", ".1f"),
        Column("MIG", "measures.scores.mig"),
        Column("sigma of MIG", sigma("mig")),
        Column("paper's MIG", paper(1)),
        Column("FactorVAE, noisy", "measures.sampled.factor_vae"),
        Column("MIG, noisy", "measures.sampled.mig"),
        Column("Rate", "test.bank.rate"),
        Column("Dist", "test.bank.distortion"),
        Column("TC", "history.-1.tc"),
        Column("runs", len, "d"),
    ],
    title="Table 2 of the Echo paper",
    name="table2",
    rows=("dataset", "removed_pairs", "beta", "gamma", "method", *ECHO),
    note=NOTE,
    claims=CLAIMS,
)


def draw(results):
    """The MIG of each model over its training."""
    curves = {}
    for run in results.runs:
        measured = [
            (n * min(run["config"]["steps"], STEPS_PER_EPOCH) / 1000, found["mig"])
            for n, logs in enumerate(run["history"], 1)
            if (found := logs.get("measured"))
        ]
        if measured:
            config = run["config"]
            setting = f"beta {config['beta']:g}, gamma {config['gamma']:g}"
            curves.setdefault(f"{name([run])}, {setting}", []).extend(measured)
    if curves:
        axes = "thousands of steps", "MIG of the mean code"
        plots.scatter(curves, *axes, results.path("mig.png"))


main = Script(
    STUDY,
    [TABLE],
    draw,
    options=[Option("settings", SETTINGS, "Pairs beta:gamma.", [str])],
    vary=lambda options: {("beta", "gamma"): pairs(options.settings)},
    datasets=list(FACTORS),
)

if __name__ == "__main__":
    start(main)
