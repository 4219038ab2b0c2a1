"""What the scripts of Fixing a Broken ELBO share: model families and their study.

A family is named by its encoder, decoder and marginal, each simple (-) or complex (+),
and v for a VampPrior: "-+v" has the simple encoder, the PixelCNN++ decoder and the
VampPrior. "e-" and "e+" have the Echo channel, whose rate needs no marginal, and "+" is
the PixelCNN++ decoder alone, without a code: the auto-decoding limit.
"""

import functools
import itertools
import json
import pathlib

import keras

from echo_keras import layers, networks, objectives, training
from echo_keras.model import RateDistortionModel
from echo_keras.studies import Study

PUBLISHED = json.loads(
    (pathlib.Path(__file__).parents[1] / "published" / "broken_elbo.json").read_text()
)
LATENT_DIM = 64
ENCODERS = {"-": "Gaussian", "+": "IAF", "e": "Echo", "": "none"}
DECODERS = {"-": "deconvolutions", "+": "PixelCNN++"}
MARGINALS = {"-": "normal", "+": "MAF", "v": "VampPrior", "": "none"}
TWELVE = ["".join(family) for family in itertools.product("-+", "-+", "-+v")]
FAMILIES = [*TWELVE, "e-", "e+", "+"]
POINT = ("test.bank.rate", "test.bank.distortion")


def parts(family):
    """The names of its encoder, decoder and marginal."""
    encoder, decoder, marginal = ("", "+", "") if family == "+" else f"{family} "[:3]
    return ENCODERS[encoder], DECODERS[decoder], MARGINALS[marginal.strip()]


def configure(config):
    """Without what a family or an objective does not have."""
    family = config["family"]
    unused = ["target"] if config["target"] is None else ["beta", "annealing"]
    if family == "+":  # no rate to weigh
        unused = ["beta", "target", "annealing"]
    if parts(family)[1] != "PixelCNN++":
        unused.append("features")
    if parts(family)[2] != "VampPrior":
        unused.append("pseudo_inputs")
    return {k: v for k, v in config.items() if k not in unused}


def build(config, dataset):
    """The autoencoder of a family (App. F).

    Where a flow and a VampPrior meet ("+-v", "++v"), the mixture is of the encoder's
    densities after the flow. All of them have the same flow, whose determinant cancels
    in the rate: so the rate is taken before the flow, and codes pass it on the way to
    the decoder.
    """
    encoder, decoder, marginal = parts(config["family"])
    if encoder == "none":
        inputs = keras.Input(dataset.x_train.shape[1:])
        decoder = layers.PixelCNN(config["features"], name="decoder")
        return RateDistortionModel(inputs, decoder(inputs))
    if "target" in config:
        beta = layers.TargetRateL1(config["target"])
    elif config["annealing"]:
        steps = config["annealing"] * STUDY.steps_per_epoch(config, dataset)
        beta = layers.BetaSchedule(steps, end=config["beta"])
    else:
        beta = config["beta"]
    code = (
        networks.conv_encoder(gated=True),
        functools.partial(networks.conv_decoder, gated=True)
        if decoder == "deconvolutions"
        else lambda _: layers.PixelCNN(config["features"], name="decoder"),
        LATENT_DIM,
        beta,
    )
    if encoder == "Echo":
        return objectives.echo(*code, d_max=config["batch_size"] - 1)
    arguments = {"variance_activation": "softplus"}
    if marginal == "MAF":
        arguments["marginal"] = layers.MAFMarginal(name="maf")
    if marginal == "VampPrior":
        arguments["marginal"] = layers.VampPrior(learned_weights=True, name="vamp")
        pseudo = layers.PseudoInputs(config["pseudo_inputs"], name="pseudo")
        pseudo.adapt(dataset.x_train, "mean", noise=0.05)
        arguments["pseudo_inputs"] = pseudo
    if encoder == "IAF":
        flow = layers.IAFBlock(name="iaf")
        before = marginal == "VampPrior"
        arguments |= {"penalties": [flow]} if before else {"flow": flow}
    return objectives.vae(*code, **arguments)


class Families(Study):
    """A decoder alone has no code: its rate is 0, and its error the -ELBO."""

    def test(self, run):
        found = super().test(run)
        if parts(run.config["family"])[0] == "none":
            for values in found.values():
                values |= {"rate": 0.0, "rate_se": 0.0}
                for end in ("", "_se"):
                    values[f"neg_elbo{end}"] = values[f"distortion{end}"]
        return found


# App. F. As many pseudo-inputs as in the VampPrior's own paper.
STUDY = Families(
    "broken_elbo",
    build,
    {"schedule": "paper", "features": 64, "pseudo_inputs": 500, "annealing": 0},
    quick={"digits": {"epochs": 20, "learning_rate": 1e-3, "features": 16}},
    vary={"family": FAMILIES, "beta": [0.1, 0.15, 0.5, 0.9, 1.0, 1.1, 2.0, 10.0]}
    | {"target": [None]},
    configure=configure,
    optimizer=training.NormalizedAdam,
    unstated=["batch_size", "pseudo_inputs"],
    described={
        "features": "Channels of PixelCNN++.",
        "pseudo_inputs": "Components of the VampPrior.",
        "annealing": "Epochs in which beta rises linearly from 0.",
        "target": "Rates to aim at, in nats, instead of betas.",
    },
)


def category(rate, distortion):
    """What kind of encoder a model is, by the share of its nats that its code carries.

    A rule of our own, which puts the models that the paper names (Sec. 4, Fig. 4) where
    the paper has them.

    >>> [category(r, d) for r, d in ((0.0004, 80.6), (6.2, 74.1), (120.3, 8.1))]
    ['autodecoder', 'semantic encoder', 'syntactic encoder']
    """
    share = rate / (rate + distortion)
    if rate < 1.0:
        return "autodecoder"
    if share <= 0.2:
        return "semantic encoder"
    return "syntactic encoder" if share <= 0.95 else "autoencoder"


def label(config):
    """A run in tables and figures: family and objective."""
    ends = {"target": ", target {:g}", "beta": ", beta {:g}"}
    named = [text.format(config[k]) for k, text in ends.items() if k in config]
    annealed = ", annealed" if config.get("annealing") else ""
    return config["family"] + (named[0] if named else ", alone") + annealed
