r"""One model for every rate against twelve of one rate each; of no paper of the five.

    python reproductions/multi_rate.py                                       # digits
    python reproductions/multi_rate.py --dataset binary_mnist --data_dir FOLDER

Dense networks of one size, Gaussian and Echo channels, twelve betas from .1 to 10. A
model of one beta is trained with KL annealing from the lowest beta over half of its
steps, the model of all (`echo_keras.multi_rate`) twice as long as one of them, with a
range that widens over a quarter of its steps. Writes a table and a figure.
"""

import numpy as np

from echo_keras import autoencoder, metrics, multi_rate, networks, plots
from echo_keras.layers import BetaSchedule, EchoBottleneck, GaussianBottleneck
from echo_keras.metrics.fronts import area_under_front, common_interval
from echo_keras.studies import Column, Script, Study, Table, start

LOW, HIGH, COUNT = 0.1, 10.0, 12
BETAS = [float(f"{beta:.4g}") for beta in np.geomspace(LOW, HIGH, COUNT)]
LATENT_DIM = 16
BOTTLENECKS = {"echo": EchoBottleneck, "gaussian": GaussianBottleneck}
EPOCHS = 40


def protocol(config):
    return {
        "epochs": EPOCHS * (2 if config.get("model") == "all" else 1),
        "learning_rate": 1e-3,
        "schedule": "paper",
        "train_limit": None if config["dataset"] == "digits" else 10_000,
    }


def configure(config):
    """A model of all betas is one configuration."""
    if config["model"] == "all":
        return None if config["beta"] != BETAS[0] else {**config, "beta": None}
    return config


def build(config, dataset):
    shape, kind = dataset.x_train.shape[1:], BOTTLENECKS[config["channel"]]
    batches = -(-len(dataset.x_train) // config["batch_size"])
    steps = config["epochs"] * batches
    beta = 1.0
    if config["model"] == "one":
        beta = BetaSchedule(steps // 2, start=LOW, end=config["beta"])
    model = autoencoder(
        networks.dense_encoder(shape),
        kind(LATENT_DIM, beta=beta, seed=config["seed"]),
        networks.dense_decoder(LATENT_DIM, shape),
    )
    if config["model"] == "one":
        return model
    levels = COUNT if config["channel"] == "echo" else None
    seed = config["seed"]
    return multi_rate(model, LOW, HIGH, levels, warmup=steps // 4, seed=seed)


def curve(run):
    """Rate and distortion of test images at each beta of a model of all."""
    if run.config["model"] == "one":
        return None
    found = []
    for beta in np.geomspace(LOW, HIGH, COUNT):
        at = metrics.evaluate(run.model.at(beta), run.dataset.x_test)
        found.append({key: at[key] for key in ("rate", "distortion", "neg_elbo")})
    return found


STUDY = Study(
    name="multi_rate",
    build=build,
    protocol=protocol,
    vary={"channel": ["gaussian", "echo"], "model": ["one", "all"], "beta": BETAS},
    configure=configure,
    measures={"curve": curve},
    paper=False,
    choices={"channel": list(BOTTLENECKS), "model": ["one", "all"]},
    described={"model": "Of one beta, or of all."},
)


def split(run):
    """A record of each beta, of one that has them all."""
    if run["config"]["model"] == "one":
        return [run]
    return [
        {**run, "config": {**run["config"], "beta": beta}, "test": {"bank": found}}
        for beta, found in zip(BETAS, run["measures"]["curve"], strict=True)
    ]


def objective(run):
    """D + beta R, what a model of one beta is trained for."""
    tested = run["test"]["bank"]
    return tested["distortion"] + run["config"]["beta"] * tested["rate"]


COLUMNS = [
    Column("Channel", "config.channel"),
    Column(
        "Model of",
        lambda row: {"one": "one beta", "all": "all"}[row[0]["config"]["model"]],
    ),
    Column("beta", "config.beta", "g"),
    Column("Rate", "test.bank.rate"),
    Column("Dist", "test.bank.distortion"),
    Column("-ELBO", "test.bank.neg_elbo"),
    Column("D + beta R", lambda row: f"{np.mean([objective(r) for r in row]):.2f}"),
]


def of(runs, channel, model):
    """The runs of a channel and a kind of model, by beta."""
    found = [r for r in runs if r["config"]["channel"] == channel]
    found = [r for r in found if r["config"]["model"] == model]
    return sorted(found, key=lambda run: run["config"]["beta"])


def curve_of(runs):
    return [(r["test"]["bank"]["rate"], r["test"]["bank"]["distortion"]) for r in runs]


def note(runs):
    said = ["Nats per test image."]
    for channel in BOTTLENECKS:
        one, every = (of(runs, channel, model) for model in ("one", "all"))
        if not one or len(one) != len(every):
            continue
        curves = {"one": curve_of(one), "all": curve_of(every)}
        low, high = common_interval(curves)
        areas = [area_under_front(*np.transpose(c), low, high) for c in curves.values()]
        gaps = [objective(b) - objective(a) for a, b in zip(one, every, strict=True)]
        near, worst = int(np.argmin(np.abs(np.log(BETAS)))), int(np.argmax(gaps))
        # -ELBO is lowest about beta 1, which lies between two of the twelve.
        elbo = [
            min(r["test"]["bank"]["neg_elbo"] for r in each) for each in (one, every)
        ]
        seconds = sum(run["seconds"] for run in one), every[0]["seconds"]
        said.append(
            f"{channel.capitalize()}, {len(one)} models against one of twice the "
            f"epochs: area under the front from {low:.1f} to {high:.1f} nats "
            f"{areas[0]:.1f} against {areas[1]:.1f} "
            f"({areas[1] / areas[0] - 1:+.1%}); lowest -ELBO {elbo[0]:.2f} "
            f"against {elbo[1]:.2f}; D + beta R of the one differs by "
            f"{gaps[near]:+.2f} at beta {BETAS[near]:g} and by {gaps[worst]:+.2f} at "
            f"worst, at {BETAS[worst]:g}; {seconds[0]:.0f} seconds against "
            f"{seconds[1]:.0f}, which is {len(one) * seconds[1] / seconds[0]:.1f} "
            f"times one of {len(one)}."
        )
    return " ".join(said)


TABLE = Table(
    STUDY,
    COLUMNS,
    title="One model for every rate",
    name="multi_rate",
    rows=("channel", "model", "beta"),
    split=split,
    apart=("epochs",),
    note=note,
)


def draw(results):
    runs = [part for run in results.runs for part in split(run)]
    shown = {
        f"{channel}, {name}": curve_of(of(runs, channel, model))
        for channel in BOTTLENECKS
        for model, name in (("one", "twelve models"), ("all", "one model"))
    }
    shown = {name: curve for name, curve in shown.items() if curve}
    dataset = results.configs[0]["dataset"]
    plots.rate_distortion(shown, results.out / f"{dataset}.png")


main = Script(
    STUDY, tables=[TABLE], draw=draw, datasets=["digits", "binary_mnist", "mnist"]
)

if __name__ == "__main__":
    start(main)
