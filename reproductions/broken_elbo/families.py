"""What the scripts of Fixing a Broken ELBO share: model families, protocol, runs.

A family is named by its encoder, decoder and marginal, each simple (-) or complex (+),
and v for a VampPrior: "-+v" has the simple encoder, the PixelCNN++ decoder and the
VampPrior. "e-" and "e+" have the Echo channel, whose rate needs no marginal, and "+" is
the PixelCNN++ decoder alone, without a code: the auto-decoding limit.

A script defines what it varies, calls `run_all` with the configurations it wants, and
reads their records. A finished run is never run twice.
"""

import functools
import itertools

import keras
from absl import flags

from echo_keras import experiments, image_experiments, networks, objectives, training
from echo_keras.layers import (
    BetaSchedule,
    IAFBlock,
    MAFMarginal,
    PixelCNN,
    PseudoInputs,
    TargetRateL1,
    VampPrior,
)
from echo_keras.model import RateDistortionModel

OUT_DIR = "runs/broken_elbo"
CODE = 64
ENCODERS = {"-": "Gaussian", "+": "IAF", "e": "Echo"}
DECODERS = {"-": "deconvolutions", "+": "PixelCNN++"}
MARGINALS = {"-": "normal", "+": "MAF", "v": "VampPrior"}
TWELVE = ["".join(family) for family in itertools.product("-+", "-+", "-+v")]
FAMILIES = [*TWELVE, "e-", "e+", "+"]

# What the paper trains with (App. F), and what a reduced run is measured against. It
# does not say the batch size, nor how many pseudo-inputs there are: 500 as in the
# VampPrior's own paper.
PROTOCOL = {
    "epochs": 200,
    "batch_size": 100,
    "learning_rate": 3e-4,
    "schedule": "paper",
    "train_limit": None,
    "features": 64,
    "pseudo_inputs": 500,
}
DIGITS_PROTOCOL = {**PROTOCOL, "epochs": 20, "learning_rate": 1e-3, "features": 16}

FLAGS = flags.FLAGS
flags.DEFINE_list("families", ["---", "-+-"], f"Of {', '.join(FAMILIES)}; or all.")
flags.DEFINE_list("targets", None, "Rates to aim at, in nats, instead of betas.")
flags.DEFINE_integer(
    "annealing", 0, "Epochs in which beta rises linearly from 0; 0: none.", 0
)
flags.DEFINE_integer("features", None, "Channels of PixelCNN++. Paper: 64.", 1)
flags.DEFINE_integer("pseudo_inputs", None, "Components of the VampPrior.", 1)


@flags.validator("families", message=f"families are {', '.join(FAMILIES)}, or all")
def _known(families):
    return families == ["all"] or bool(families) and set(families) <= set(FAMILIES)


def families():
    return FAMILIES if FLAGS.families == ["all"] else FLAGS.families


def parts(family):
    """The names of its encoder, decoder and marginal."""
    if family == "+":
        return "none", DECODERS["+"], "none"
    encoder, decoder, *marginal = family
    return (
        ENCODERS[encoder],
        DECODERS[decoder],
        MARGINALS[marginal[0]] if marginal else "none",
    )


def prepare(argv):
    """The output folder and the data set that the flags name."""
    return image_experiments.prepare(argv, OUT_DIR)


def configuration(family, seed, beta=None, target=None):
    """Everything that decides a run's numbers, given the data.

    Args:
        family: One of `FAMILIES`.
        seed: Int >= 0.
        beta: The weight on the rate, which may rise from 0 (--annealing).
        target: Nats, in the place of beta.
    """
    protocol = DIGITS_PROTOCOL if FLAGS.dataset == "digits" else PROTOCOL
    config = {
        "dataset": FLAGS.dataset,
        "family": family,
        "beta": beta,
        "target": target,
        "annealing": 0 if beta is None else FLAGS.annealing,
        "seed": seed,
        "samples": FLAGS.samples,
        **image_experiments.chosen(protocol),
    }
    if family == "+":  # no rate to weigh
        config.update(beta=None, target=None, annealing=0)
    elif family[1] == "-":
        del config["features"]
    if not family.endswith("v"):
        del config["pseudo_inputs"]
    return config


def configurations(betas):
    """Those that the flags ask for: every family at every beta, or target, and seed."""
    objectives = [{"beta": beta} for beta in betas]
    if FLAGS.targets:
        objectives = [{"target": t} for t in experiments.numbers(FLAGS.targets)]
    found = [
        configuration(family, seed, **objective)
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs)
        for objective in objectives
        for family in families()
    ]
    return [c for i, c in enumerate(found) if c not in found[:i]]


def run_name(config):
    """A file name that tells runs apart, and begins with no - like a flag."""
    parts = [config["dataset"], "family" + config["family"], objective_name(config)]
    parts.append(image_experiments.protocol_name({**config, "beta": 1}))
    if config.get("features", 64) != 64:
        parts.append(f"{config['features']}features")
    if config.get("pseudo_inputs", 500) != 500:
        parts.append(f"{config['pseudo_inputs']}pseudo")
    return "_".join([*parts, f"seed{config['seed']}"])


def objective_name(config):
    """What a run minimises beside its distortion, as a part of a file name."""
    if config["family"] == "+":
        return "alone"
    if config["target"] is not None:
        return f"target{config['target']:g}"
    annealed = f"-annealed{config['annealing']}" if config["annealing"] else ""
    return f"beta{config['beta']:g}{annealed}"


def build(config, images, steps_per_epoch):
    """The autoencoder of a family (App. F).

    Where a flow and a VampPrior meet ("+-v", "++v"), the mixture is of the encoder's
    densities after the flow. All of them have the same flow, whose determinant cancels
    in the rate: so the rate is taken before the flow, and codes pass it on the way to
    the decoder.

    Args:
        config: As `configuration` returns it.
        images: Training images, from which pseudo-inputs start.
        steps_per_epoch: Int, for the annealing.
    """
    family = config["family"]
    if family == "+":
        inputs = keras.Input(images.shape[1:])
        decoder = PixelCNN(config["features"], name="decoder")
        return RateDistortionModel(inputs, decoder(inputs))
    encoder = networks.conv_encoder(gated=True)
    beta = config["beta"]
    if config["target"] is not None:
        beta = TargetRateL1(config["target"])
    elif config["annealing"]:
        beta = BetaSchedule(config["annealing"] * steps_per_epoch, end=beta)
    if family[1] == "+":

        def decoder(units):
            return PixelCNN(config["features"], name="decoder")

    else:
        decoder = functools.partial(networks.conv_decoder, gated=True)
    if family[0] == "e":
        d_max = config["batch_size"] - 1
        return objectives.echo(encoder, decoder, CODE, beta, d_max=d_max)
    arguments = {}
    if family[2] == "+":
        arguments["marginal"] = MAFMarginal(name="maf")
    if family[2] == "v":
        arguments["marginal"] = VampPrior(learned_weights=True, name="vamp")
        pseudo = PseudoInputs(config["pseudo_inputs"], name="pseudo")
        pseudo.adapt(images, "mean", noise=0.05)
        arguments["pseudo_inputs"] = pseudo
    if family[0] == "+":
        flow = IAFBlock(name="iaf")
        arguments |= {"penalties": [flow]} if family[2] == "v" else {"flow": flow}
    return objectives.vae(
        encoder, decoder, CODE, beta, variance_activation="softplus", **arguments
    )


def train_and_measure(config, out, data_dir=None, tensorboard=False):
    """One run, from its configuration to its record. Resumes; writes no record."""
    record = image_experiments.train_and_measure(
        config,
        lambda images, steps: build(config, images, steps),
        experiments.run_folder(out, run_name(config)),
        data_dir,
        tensorboard,
        echoes=["bank"],
        optimizer=training.NormalizedAdam,
    )
    return {"experiment": "broken_elbo", **record}


def run_all(out, dataset, configs):
    """Trains what has no record yet; returns the records, in order."""
    return experiments.run_all(
        train_and_measure, out, configs, run_name, dataset.checksum
    )


def load_model(out, config):
    """The trained model of a run, or None with a line that says it is gone."""
    return experiments.load_model(out, run_name(config))


def reduction(configs):
    """Says in what the runs' protocol departs from the paper's, or that it does not."""
    shared = {k: v for config in configs for k, v in config.items()}
    return experiments.reduction(shared, PROTOCOL)


def category(rate, distortion):
    """What kind of encoder a model is, by the share of its nats that its code carries.

    A rule of our own, which puts the models that the paper names (Sec. 4, Fig. 4) where
    the paper has them: an autodecoder has a rate below 1 nat; of the others a semantic
    encoder has up to a fifth of rate + distortion in its code, an autoencoder more than
    95 %, and a syntactic encoder what is between.

    >>> [category(r, d) for r, d in ((0.0004, 80.6), (6.2, 74.1), (120.3, 8.1))]
    ['autodecoder', 'semantic encoder', 'syntactic encoder']
    >>> category(156, 4.8)
    'autoencoder'
    """
    share = rate / (rate + distortion)
    if rate < 1.0:
        return "autodecoder"
    if share <= 0.2:
        return "semantic encoder"
    return "syntactic encoder" if share <= 0.95 else "autoencoder"


def point(record):
    """(rate, distortion) of a run on test images, in nats."""
    test = record["test"]["bank"]
    return test["rate"], test["distortion"]


def label(config):
    """A run in tables and figures: family and objective."""
    if config["family"] == "+":
        return "+, alone"
    if config["target"] is not None:
        return f"{config['family']}, target {config['target']:g}"
    annealed = ", annealed" if config["annealing"] else ""
    return f"{config['family']}, beta {config['beta']:g}{annealed}"
